"""Environments: endless, seeded, resumable streams of problems with a score."""

from __future__ import annotations

import itertools
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import mathpipe
from mathpipe.datasets.errors import UserError
from mathpipe.generate.splits import TRAIN, in_split, sequence_hash
from mathpipe.generate.tasks.task_registry import get_task

GUIDE = Path(__file__).parents[3] / "docs" / "guides" / "scoring.md"
OPTIONS: list[tuple[str, dict[str, Any]]] = [
    ("inverse", {"dim": 2}),
    ("gcd", {}),
    ("xor", {"bits": 3}),
    ("integration-bwd", {"max_operators": 5}),
]


@pytest.mark.parametrize(("task", "options"), OPTIONS)
def test_stored_solutions_are_right_and_text_reads_back(task: str, options: dict[str, Any]) -> None:
    for problem in itertools.islice(mathpipe.environment(task, seed=5, **options), 5):
        assert problem.score(problem.solution).correct
        assert problem.score("garbage").outcome == "malformed"
        assert mathpipe.verify(task, problem.text, problem.solution).correct


def test_streams_are_seeded_endless_and_resumable() -> None:
    environment = mathpipe.environment("inverse", seed=1, dim=2)
    texts = [problem.text for problem in itertools.islice(environment, 150)]
    assert [p.text for p in itertools.islice(mathpipe.environment("inverse", seed=1, dim=2), 150)] == texts
    assert next(mathpipe.environment("inverse", seed=2, dim=2)).text != texts[0]
    for position in (0, 99, 100, 130):
        first = mathpipe.environment("inverse", seed=1, dim=2)
        for _ in range(position):
            next(first)
        state = json.loads(json.dumps(first.state_dict()))
        second = mathpipe.environment("inverse", seed=1, dim=2)
        second.load_state_dict(state)
        following = next(second)
        assert following.text == texts[position] and following.number == position


def test_problems_belong_to_their_split() -> None:
    spec = get_task("xor").make_spec({"bits": 4}, 3)
    streams = {split: mathpipe.environment(spec, split=split) for split in ("train", "test")}
    problems = {s: [p._problem for p in itertools.islice(stream, 20)] for s, stream in streams.items()}
    part = streams["train"]._verifier.part
    assert in_split(sequence_hash(part.batch(problems["train"])), TRAIN).all()
    assert not in_split(sequence_hash(part.batch(problems["test"])), TRAIN).any()


def test_wrong_states_and_arguments() -> None:
    environment = mathpipe.environment("gcd")
    with pytest.raises(UserError, match="another spec"):
        environment.load_state_dict(mathpipe.environment("gcd", seed=9).state_dict())
    with pytest.raises(UserError, match="another split"):
        environment.load_state_dict(mathpipe.environment("gcd", split="test").state_dict())
    with pytest.raises(UserError, match="no split"):
        mathpipe.environment("gcd", split="tset")
    with pytest.raises(UserError, match="has its options already"):
        mathpipe.environment(environment.spec, dim=3)


def test_latex_problems_take_plain_answers() -> None:
    problem = next(mathpipe.environment("inverse", dim=2, style="latex"))
    assert problem.text.startswith("\\begin{pmatrix}") and problem.score(problem.solution).correct


def test_examples_of_the_guide_run(tmp_path: Path) -> None:
    """Every Python block of the guide, one after the other; the loop of reinforcement learning has 20 lines and learns."""
    blocks = re.findall(r"^```python\n(.*?)^```$", GUIDE.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    script = "\n".join([*blocks, "assert probability > 0.9"])
    subprocess.run([sys.executable, "-c", script], check=True, cwd=tmp_path, timeout=240)
    (loop,) = [block for block in blocks if "environment(" in block]
    assert len(loop.splitlines()) <= 20
