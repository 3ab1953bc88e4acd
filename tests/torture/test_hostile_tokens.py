"""Fuzzed token sequences through every decoder and verifier: each has an outcome, within 1 GB and 10 s."""

from __future__ import annotations

from collections import Counter

import pytest
from torture_figures import figures, number_of_trials, share
from torture_processes import isolated
from torture_tokens import score_fuzzed

from mathpipe.generate.tasks.task_registry import TASKS

pytestmark = pytest.mark.torture
MAX_SECONDS, MAX_MEGABYTES = 10.0, 1_000.0  # the first for one sequence, so that no batch may take longer by much
ENCODINGS: dict[str, list[str | None]] = {"matrices": ["P10", "P1000", "B1999", "FP15"]}
PER_TASK = {"expressions": 2_000}  # others 2,300: 100,000 in all
SMALL = ["inverse", "integration-bwd", "gcd", "sort", "xor"]


@pytest.mark.parametrize("problem_type", sorted({task.problem_type for task in TASKS.values()}))
def test_every_sequence_has_an_outcome(problem_type: str) -> None:
    names = [name for name, task in TASKS.items() if task.problem_type == problem_type]
    outcomes = Counter[str]()
    with figures("hostile input", f"token sequences, {problem_type}") as counts:
        for name in names if share() is not None else [name for name in names if name in SMALL]:
            encodings = ENCODINGS.get(problem_type, [None]) if name != "cotraining" else ["P10"]
            number = number_of_trials(40, PER_TASK.get(problem_type, 2_300) // len(encodings))
            for encoding in encodings if share() is not None else encodings[:1]:
                outcome = isolated(score_fuzzed, name, encoding, number, 1, seconds=300.0)
                if outcome.ending != "value":
                    counts.failed(f"{name}, {encoding}: {outcome}")
                    continue
                for _, _, outcome_counts, seconds, megabytes in outcome.value:
                    outcomes.update(outcome_counts)
                    counts.largest("seconds of 250", seconds)
                    counts.largest("MB of 250", megabytes)
                    if seconds > 6 * MAX_SECONDS or megabytes > MAX_MEGABYTES:
                        counts.failed(f"{name}, {encoding}: {seconds:.1f} s, {megabytes:.0f} MB")
                    counts.survived(sum(outcome_counts.values()))
        assert outcomes, counts.failures
        well_formed = outcomes.total() - outcomes["malformed"] - outcomes["unterminated"]
        counts.details["well-formed"] = well_formed
    assert 0 < well_formed < outcomes.total()
