"""Texts parsed per CPU-second of one thread: ``make bench``.

Answers are generated ones of integration-bwd, printed (34 characters of infix, 78 of LaTeX on average), and 5 x 5 matrices of three
decimals. The aim is 2,000 expressions or 20,000 matrices.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from mathpipe.datasets.expressions.infix import parse_infix
from mathpipe.datasets.expressions.latex import parse_latex
from mathpipe.datasets.expressions.prefix import write
from mathpipe.datasets.io.import_records import Record
from mathpipe.datasets.io.matrix_text import parse_matrix
from mathpipe.datasets.rendering.formulas import to_infix, to_latex
from mathpipe.generate.curate.import_batches import import_batch
from mathpipe.generate.dataset_spec import DatasetSpec, ImportedSpec, SourceFormat
from mathpipe.generate.tasks.task_registry import expression_task

pytestmark = pytest.mark.benchmark


def rate(benchmark: BenchmarkFixture, work: Callable[[], object], items: int) -> None:
    """Items per CPU-second of the fastest round."""
    benchmark._timer = time.process_time
    benchmark.pedantic(work, rounds=5, warmup_rounds=1)
    benchmark.extra_info["per_cpu_second"] = round(items / benchmark.stats.stats.min)
    print(f"\n{benchmark.name}: {items / benchmark.stats.stats.min:,.0f} per CPU-second")  # noqa: T201


def generated_pairs(count: int) -> list[tuple[bytes, bytes]]:
    task = expression_task("integration-bwd")
    batches = task.pairs(
        task.default_spec, np.random.default_rng, lambda problems: np.ones(len(problems), dtype=np.bool_)
    )
    pairs: list[tuple[bytes, bytes]] = []
    while len(pairs) < count:
        batch = next(batches)
        pairs += zip(batch.problems.to_list(), batch.solutions.to_list(), strict=True)
    return pairs[:count]


def parse_all(parse: Callable[[str], object], texts: Sequence[str]) -> None:
    for text in texts:
        parse(text)


@pytest.mark.benchmark(group="notations")
@pytest.mark.parametrize("notation", ["infix", "latex"])
def test_expressions(benchmark: BenchmarkFixture, notation: str) -> None:
    """Text to tokens."""
    show, parse = (to_infix, parse_infix) if notation == "infix" else (to_latex, parse_latex)
    texts = [show(solution) for _, solution in generated_pairs(1_000)]
    rate(benchmark, lambda: parse_all(lambda text: write(parse(text)), texts), len(texts))


@pytest.mark.benchmark(group="notations")
@pytest.mark.parametrize("notation", ["decimals", "fractions", "latex"])
def test_matrices(benchmark: BenchmarkFixture, notation: str) -> None:
    """Text to a float64 array of 5 x 5 entries."""
    thousandths = np.random.default_rng(0).integers(-10_000, 10_000, (1_000, 5, 5)).tolist()
    entry = (lambda k: f"{k}/1000") if notation == "fractions" else (lambda k: str(k / 1000))
    if notation == "latex":
        rows = [r"\\".join(" & ".join(map(entry, row)) for row in matrix) for matrix in thousandths]
        texts = [rf"\begin{{pmatrix}} {body} \end{{pmatrix}}" for body in rows]
    else:
        texts = ["[" + ", ".join(f"[{', '.join(map(entry, row))}]" for row in matrix) + "]" for matrix in thousandths]
    rate(benchmark, lambda: parse_all(parse_matrix, texts), len(texts))


@pytest.mark.benchmark(group="notations")
@pytest.mark.parametrize("check", [False, True], ids=["parsed", "verified"])
def test_imported_lines(benchmark: BenchmarkFixture, check: bool) -> None:
    """Lines problem<TAB>solution in infix to pairs of tokens, without and with verification."""
    pairs = generated_pairs(1_000)
    lines = [Record("a", k, f"{to_infix(p)}\t{to_infix(s)}".encode()) for k, (p, s) in enumerate(pairs, start=1)]
    source = SourceFormat(notation="infix")
    spec = DatasetSpec(
        task="integration-bwd",
        problems=ImportedSpec(problem_type="expressions", sources=(), checked=check, source=source),
    )
    assert len(import_batch(spec, lines).examples) == len(lines)
    rate(benchmark, lambda: import_batch(spec, lines), len(lines))
