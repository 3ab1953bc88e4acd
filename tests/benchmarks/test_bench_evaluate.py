"""Decoding, verification and analyses per CPU-second of one thread: ``make bench``.

The published code, on one core of the same kind of machine: greedy decoding of the 5x5 inverse model, 79 tokens, 16.8 problems per
CPU-second; beam 10 of the transposition model 2.19; verification of eigenvectors about 2,000.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture
from threadpoolctl import threadpool_limits

from mathpipe.datasets.containers.ragged_matrices import Matrices
from mathpipe.datasets.format.matrix_columns import MatrixExamples
from mathpipe.datasets.io.storage import Storage
from mathpipe.datasets.tokenizers.matrix_tokenizer import MatrixTokenizer
from mathpipe.datasets.tokenizers.tokenizer import END, PAD
from mathpipe.evaluate.adapters.matrix_adapter import MatrixAdapter
from mathpipe.evaluate.build_report import build_report
from mathpipe.evaluate.decode.beam_search import beam_search
from mathpipe.evaluate.decode.decoding import decoding_mode, greedy
from mathpipe.evaluate.decode.hypotheses import Decoding, Hypotheses
from mathpipe.evaluate.predictions import PredictionsWriter
from mathpipe.evaluate.score.matrix_verifier import ScoredMatrices
from mathpipe.evaluate.score.scoring import append_end
from mathpipe.generate.tasks.matrix_task import MATRIX_OUTCOMES
from mathpipe.generate.tasks.task_registry import matrix_task
from mathpipe.train.config import ModelConfig
from mathpipe.train.model.transformer import Transformer

pytestmark = pytest.mark.benchmark(timer=time.process_time)  # CPU time, since machines are shared

# random models of the published shapes (presets lawt/inverse, lawt/transpose); END is forbidden, so that every token is decoded
PUBLISHED = {"norm": "post", "cross_query": "input", "positions": "learned"}
INVERSE = {"encoder_layers": 6, "encoder_width": 516, "encoder_heads": 12, "decoder_width": 512, "decoder_heads": 8}
TRANSPOSE = {"encoder_layers": 1, "encoder_width": 256, "encoder_heads": 8, "decoder_width": 256, "decoder_heads": 8}


def rate(benchmark: BenchmarkFixture, work: Callable[[], object], items: int, rounds: int = 3) -> None:
    """Items per CPU-second of the median round, one thread."""
    torch.set_num_threads(1)
    with threadpool_limits(1):
        benchmark.pedantic(work, rounds=rounds, warmup_rounds=1)
    benchmark.extra_info["per_cpu_second"] = items / benchmark.stats.stats.median
    print(f"\n{benchmark.name}: {items / benchmark.stats.stats.median:,.1f} per CPU-second")  # noqa: T201


def model(shape: dict[str, int], source: str, dtype: str) -> Transformer:
    torch.manual_seed(0)
    config = ModelConfig.model_validate({**PUBLISHED, **shape, "decoder_layers": 1, "dtype": dtype})
    transformer = Transformer(
        config, MatrixTokenizer.named(source).format, MatrixTokenizer.named("P1000").format
    ).eval()
    with torch.no_grad():
        transformer.output_bias[[END, PAD]] = -1000
    return transformer


def sources(name: str, count: int, n: int) -> torch.Tensor:
    matrices = Matrices.from_dense(np.random.default_rng(0).uniform(-10, 10, (count, n, n)))
    return torch.from_numpy(MatrixTokenizer.named(name).encode(matrices)[0].astype(np.int64))


@pytest.mark.benchmark(group="decoding", timer=time.process_time)
@pytest.mark.parametrize("dtype", ["auto", "float32"])
def test_greedy_inverse(benchmark: BenchmarkFixture, dtype: str) -> None:
    transformer, source = model(INVERSE, "FP15", dtype), sources("FP15", 128, 5)

    def work() -> None:
        with decoding_mode(transformer):
            assert greedy(transformer, source, 79).tokens.shape == (128, 79)

    rate(benchmark, work, 128)


@pytest.mark.benchmark(group="decoding", timer=time.process_time)
@pytest.mark.parametrize(("n", "count"), [(5, 64), (5, 256), (5, 512), (10, 16)])
def test_beam_transposition(benchmark: BenchmarkFixture, n: int, count: int) -> None:
    transformer, source = model(TRANSPOSE, "P1000", "auto"), sources("P1000", count, n)
    length = 3 * n * n + 4

    def work() -> None:
        with decoding_mode(transformer):
            assert beam_search(transformer, source, length, Decoding(beam=10)).tokens.shape == (10 * count, length)

    rate(benchmark, work, count, rounds=1)


def scored_answers(task: str, count: int) -> tuple[MatrixExamples, Hypotheses, Callable[[], ScoredMatrices]]:
    verifier, tokenizer = matrix_task(task), MatrixTokenizer.named("P1000")
    problems = verifier.sample(np.random.default_rng(0), count, verifier.default_spec)
    rows = MatrixExamples(np.arange(count), problems, verifier.solve(problems).solutions)
    predictions = Matrices(rows.solutions.values * 1.01, rows.solutions.rows, rows.solutions.cols)
    decoded = Hypotheses(append_end(*tokenizer.encode(predictions)), -np.random.default_rng(1).exponential(size=count))
    return rows, decoded, lambda: MatrixAdapter(verifier).score(tokenizer, rows, decoded)


@pytest.mark.benchmark(group="verification", timer=time.process_time)
@pytest.mark.parametrize("task", ["inverse", "transpose", "eigenvectors"])
def test_verification(benchmark: BenchmarkFixture, task: str) -> None:
    """The errors of predictions that are given as matrices."""
    rows, decoded, _ = scored_answers(task, 50_000)
    answers = MatrixTokenizer.named("P1000").decode(decoded.tokens)[0]
    verify = matrix_task(task).errors
    rate(benchmark, lambda: verify(rows.problems, rows.solutions, answers), 50_000)


@pytest.mark.benchmark(group="verification", timer=time.process_time)
@pytest.mark.parametrize("task", ["inverse", "transpose", "eigenvectors"])
def test_scoring(benchmark: BenchmarkFixture, task: str) -> None:
    """Scoring of tokens: decoding, encoded references, errors of both, properties, outcomes."""
    _, _, work = scored_answers(task, 50_000)
    rate(benchmark, work, 50_000)


@pytest.mark.benchmark(group="analyses", timer=time.process_time)
@pytest.mark.parametrize("task", ["inverse", "eigenvectors"])
def test_report(benchmark: BenchmarkFixture, tmp_path: Path, task: str) -> None:
    """The report of 50,000 predictions, with every failure."""
    _, _, work = scored_answers(task, 50_000)
    tokenizer = MatrixTokenizer.named("P1000")
    with (tmp_path / "predictions.parquet").open("wb") as file:
        predictions = PredictionsWriter(file, {"task": task, "split": "test", "outcomes": list(MATRIX_OUTCOMES)})
        predictions.append(MatrixAdapter(matrix_task(task)).table(work(), "test", tokenizer, tokenizer))
        predictions.close()
    rate(benchmark, lambda: build_report(Storage(str(tmp_path)), verbose=True), 50_000)
