"""Texts of absurd depth, length and size: every parser and verifier answers with an outcome, within 1 GB and 10 s of CPU time."""

from __future__ import annotations

from pathlib import Path

import pytest
from torture_figures import figures, share
from torture_processes import isolated
from torture_texts import GOOD, TEXTS, good_pair, verify_texts

from mathpipe.generate.answers.answer_verifier import Answer, AnswerVerifier
from mathpipe.generate.tasks.task_registry import load_task

pytestmark = pytest.mark.torture
MAX_SECONDS, MAX_MEGABYTES = 10.0, 1_000.0


def notations(task: str) -> list[str | None]:
    return [None, *AnswerVerifier(load_task(task)).part.notations]


@pytest.mark.parametrize("task", GOOD)
def test_texts_stand_beside_right_ones(task: str) -> None:
    """Beside a wrong problem no answer would reach its parser."""
    for notation in notations(task):
        problem, answer = good_pair(task, notation)
        (result,) = AnswerVerifier(load_task(task), notation).verify([Answer(problem, answer)])
        assert result.correct, (notation, result)


@pytest.mark.parametrize("task", GOOD)
def test_every_text_has_an_outcome(task: str) -> None:
    names = list(TEXTS) if share() is not None else ["tower", "digits", "lists", "nested functions", "signs", "code"]
    with figures("hostile input", f"texts as answers and problems of {task}") as counts:
        for notation in notations(task) if share() is not None else [None]:
            for batch in _batched(names, 8):
                outcome = isolated(verify_texts, task, notation, list(batch), seconds=2 * len(batch) * MAX_SECONDS)
                if outcome.ending != "value":  # find the text that ended the process
                    for name in batch:
                        alone = isolated(verify_texts, task, notation, [name], seconds=2 * MAX_SECONDS)
                        if alone.ending != "value":
                            counts.failed(f"{task}, {notation}, {name}: {alone}")
                        else:
                            counts.survived(2)
                    continue
                for name, result, reason, seconds, megabytes in outcome.value:
                    counts.largest("seconds of one", seconds)
                    counts.largest("MB of one", megabytes)
                    if seconds > MAX_SECONDS or megabytes > MAX_MEGABYTES or " failed: " in reason:
                        counts.failed(
                            f"{task}, {notation}, {name}: {result}, {reason[:90]}, {seconds:.1f} s, {megabytes:.0f} MB"
                        )
                    else:
                        counts.survived()
    assert not Path("/tmp/mathpipe-ran-code").exists()


def _batched(names: list[str], size: int) -> list[list[str]]:
    return [names[first : first + size] for first in range(0, len(names), size)]
