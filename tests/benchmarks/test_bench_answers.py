"""Answers of any model per CPU-second of one thread: ``make bench``.

The aims: parsing at least 2,000 infix or 20,000 matrix answers; verification of parsed answers in batches at 80 % of the rate of
the task's own verifier. Answers are those of ``test_bench_notations``, half of them right.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from mathpipe.datasets.rendering.formulas import to_infix, to_latex
from mathpipe.generate.answers.answer_stream import score_lines
from mathpipe.generate.answers.answer_verifier import AnswerVerifier, ParsedAnswer
from mathpipe.generate.tasks.task_registry import expression_task, get_task

pytestmark = pytest.mark.benchmark
ROWS = 512
ROUNDS = 7
BATCH = 128  # as ``mathpipe score`` verifies them


def per_cpu_second(work: Callable[[], object], items: int, rounds: int = 3) -> float:
    """Items per CPU-second of the fastest round, after one to warm up."""
    seconds = []
    for _ in range(rounds + 1):
        started = time.process_time()
        work()
        seconds.append(time.process_time() - started)
    return items / min(seconds[1:])


def report(benchmark: BenchmarkFixture, **figures: float) -> None:
    benchmark.pedantic(lambda: None, rounds=1)  # type: ignore[no-untyped-call]
    benchmark.extra_info.update({name: round(value, 3) for name, value in figures.items()})
    print(f"\n{benchmark.name}: " + ", ".join(f"{name} {value:,.2f}" for name, value in figures.items()))  # noqa: T201


def expressions() -> tuple[AnswerVerifier, list[ParsedAnswer], list[str]]:
    task = expression_task("integration-bwd")
    problems: list[bytes] = []
    solutions: list[bytes] = []
    batches = task.pairs(
        task.default_spec, lambda k: np.random.default_rng([7, k]), lambda p: np.ones(len(p), dtype=bool)
    )
    while len(problems) < ROWS:
        batch = next(batches)
        problems += batch.problems.to_list()
        solutions += batch.solutions.to_list()
    answers = [solutions[i if i % 2 else (i + 2) % ROWS] for i in range(ROWS)]
    parsed = [ParsedAnswer(p, a) for p, a in zip(problems, answers, strict=False)]
    lines = [json.dumps({"problem": to_infix(p.problem), "answer": to_infix(p.answer)}) for p in parsed]
    return AnswerVerifier(task), parsed, lines


def matrices() -> tuple[AnswerVerifier, list[ParsedAnswer], list[str]]:
    task: Any = get_task("inverse")
    dense = np.random.default_rng(7).integers(-1_000, 1_000, (ROWS, 5, 5)) / 100
    wrong = np.arange(ROWS) % 2 == 0
    answers = np.linalg.inv(dense).round(5) * np.where(wrong, 2, 1)[:, None, None]
    parsed = [ParsedAnswer(p, a) for p, a in zip(dense, answers, strict=True)]
    lines = [json.dumps({"problem": p.problem.tolist(), "answer": p.answer.tolist()}) for p in parsed]
    return AnswerVerifier(task), parsed, lines


@pytest.mark.benchmark(group="answers")
@pytest.mark.parametrize("notation", ["infix", "latex", "matrices"])
def test_parsing(benchmark: BenchmarkFixture, notation: str) -> None:
    if notation == "matrices":
        verifier, parsed, _ = matrices()
        texts = [json.dumps(each.answer.tolist()) for each in parsed]
    else:
        verifier, parsed, _ = expressions()
        texts = [(to_infix if notation == "infix" else to_latex)(each.answer) for each in parsed]
    rate = per_cpu_second(lambda: [verifier.parse_answer(text) for text in texts], len(texts))
    report(benchmark, per_cpu_second=rate)


@pytest.mark.benchmark(group="answers")
@pytest.mark.parametrize(
    ("examples", "with_references"),
    [(expressions, False), (matrices, False), (matrices, True)],
    ids=["expressions", "matrices", "matrices with references"],
)
def test_verification(benchmark: BenchmarkFixture, examples: Any, with_references: bool) -> None:
    """Batches of arrays: the task's own verifier (which for matrices without references solves the problems) beside
    ``verify_batch``; then single parsed values, which become arrays first; then whole lines."""
    verifier, parsed, lines = examples()
    part, task = verifier.part, verifier.task
    batches = [parsed[first : first + BATCH] for first in range(0, ROWS, BATCH)]
    arrays = [(part.problem_batch([p.problem for p in b]), part.batch([p.answer for p in b])) for b in batches]
    solve = (
        (lambda problems: task.solve(problems).solutions)
        if task.problem_type == "matrices"
        else lambda problems: problems
    )
    references = [solve(problems) for problems, _ in arrays]

    def internal() -> None:
        for (problems, answers), reference in zip(arrays, references, strict=True):
            task.verify(problems, reference if with_references else solve(problems), answers)

    def outside() -> None:
        for (problems, answers), reference in zip(arrays, references, strict=True):
            verifier.verify_batch(problems, answers, reference if with_references else None)

    def single_values() -> None:
        for batch in batches:
            verifier.verify_parsed(batch)

    rounds = [[per_cpu_second(work, ROWS, 3) for work in (internal, outside, single_values)] for _ in range(ROUNDS)]
    rates = [max(column) for column in zip(*rounds, strict=True)]
    share = statistics.median(each[1] / each[0] for each in rounds)
    whole = per_cpu_second(lambda: list(score_lines([line.encode() for line in lines], verifier)), ROWS)
    report(benchmark, internal=rates[0], arrays=rates[1], share=share, single_values=rates[2], whole_lines=whole)
