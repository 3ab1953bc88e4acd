"""Load: memory stays flat however many rows are generated, verified, read, compared or evaluated.

Each command runs small with every test suite, whose limit is its peak, and large as a slow test. Then the peak of the last quarter
of its time is that of the second.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torture_load
from torture_figures import Figures, figures, share
from torture_memory import MemoryUse, measure, measure_mathpipe

from mathpipe.datasets.format.manifest import read_manifest

pytestmark = [pytest.mark.torture, pytest.mark.timeout(7200)]

SMALL, LARGE, EXPRESSIONS, PROBLEMS = 60_000, 5_000_000, 20_000_000, 1_000_000


def large(rows: int) -> int:
    """The asked share of the large number of rows."""
    return max(SMALL, round((share() or 1.0) * rows))


def record(counts: Figures, rows: int, use: MemoryUse, limit: float, flat: bool = True) -> None:
    """Peaks in MB by quarter of the time. A trial is lost beyond the limit, or if memory has to be ``flat`` and grows."""
    counts.details |= {"rows": rows, "CPU-seconds": use.cpu_seconds}
    counts.details |= {f"MB in quarter {k}": value for k, value in enumerate(use.quarters, 1)}
    if use.peak > limit:
        counts.failed(f"{use.peak:.0f} MB, more than {limit:.0f}")
    elif flat and rows > 10 * SMALL and not use.is_flat:
        counts.failed(f"memory grows: {use.quarters} MB")
    else:
        counts.survived()


@pytest.fixture(scope="module", params=[SMALL, pytest.param(LARGE, marks=pytest.mark.slow)], ids=["small", "5M"])
def generated(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, int]:
    """A dataset of 3x3 inverses, and its number of rows."""
    rows = request.param if request.param == SMALL else large(request.param)
    folder = tmp_path_factory.mktemp("load")
    with figures("load", f"generate, {rows:,} rows") as counts:
        line = ["generate", "--task", "inverse", "--dim", "3", "--n", str(rows), "--out", str(folder / "d")]
        record(counts, rows, measure_mathpipe([*line, "--workers", "0", "--quiet"], folder / "log"), 400)
    return str(folder / "d"), rows


def test_generate_and_verify(generated: tuple[str, int], tmp_path: Path) -> None:
    data, rows = generated
    with figures("load", f"verify, {rows:,} rows") as counts:
        record(counts, rows, measure_mathpipe(["verify", data, "--workers", "0"], tmp_path / "log"), 400)


def test_loader(generated: tuple[str, int], tmp_path: Path) -> None:
    data, rows = generated
    with figures("load", f"loader, an epoch of {rows:,} rows") as counts:
        use = measure([sys.executable, torture_load.__file__, data], tmp_path / "log")
        record(counts, rows, use, 700)


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
@pytest.mark.parametrize("rows", [SMALL, pytest.param(EXPRESSIONS, marks=pytest.mark.slow)], ids=["small", "20M"])
def test_dedupe(rows: int, workers: int, tmp_path: Path) -> None:
    """Within 4 GB, and every duplicate is found."""
    rows = rows if rows == SMALL else large(rows)
    source, target = str(tmp_path / "d"), str(tmp_path / "distinct")
    repeated = torture_load.write_expressions(source, rows)
    with figures("load", f"dedupe, {rows:,} expressions, {workers or 'no'} workers") as counts:
        use = measure_mathpipe(["dedupe", source, target, "--workers", str(workers), "--quiet"], tmp_path / "log")
        counts.details |= {"rows": rows, "duplicates": repeated, "MB": use.peak, "CPU-seconds": use.cpu_seconds}
        left = read_manifest(target).splits["train"].rows
        if use.peak > 4000 or left != rows - repeated:
            counts.failed(f"{use.peak:.0f} MB, {left:,} rows left, {rows - repeated:,} expected")
        else:
            counts.survived()


def evaluated(folder: Path, rows: int) -> MemoryUse:
    """Train a tiny model in ``folder / "run"``, and answer as many problems; each wrong answer is listed."""
    data, run = str(folder / "d"), str(folder / "run")
    sizes = ("--n", "2k", "--valid", "100", "--test", str(rows))
    settings = ["steps=20", "batch=32", "warmup=5", "model.encoder_width=16", "model.decoder_width=16"]
    settings += ["model.encoder_heads=2", "model.decoder_heads=2", "model.decoder_layers=1"]
    changes = [part for value in settings for part in ("-S", value)]
    measure_mathpipe(["generate", "--task", "gcd", *sizes, "--out", data, "--workers", "0"], folder / "log")
    measure_mathpipe(["train", "--preset", "none", "--data", data, "--run", run, *changes], folder / "log")
    return measure_mathpipe(["eval", "--run", run, "--verbose", "--quiet"], folder / "log")


@pytest.mark.parametrize("rows", [2_000, pytest.param(PROBLEMS, marks=pytest.mark.slow)], ids=["small", "1M"])
def test_eval(rows: int, tmp_path: Path) -> None:
    """Decoding takes a part at a time; the analyses at the end hold the columns of all predictions."""
    rows = rows if rows == 2_000 else large(rows)
    with figures("load", f"eval --verbose, {rows:,} problems") as counts:
        record(counts, rows, evaluated(tmp_path, rows), 2000, flat=False)


@pytest.mark.slow
def test_report(tmp_path: Path) -> None:
    """The analyses of a million predictions: those of 2,000 problems, repeated."""
    evaluated(tmp_path, 2_000)
    file = tmp_path / "run" / "evaluation" / "test" / "predictions.parquet"
    table = pq.read_table(file)
    repetitions = large(PROBLEMS) // 2_000
    with pq.ParquetWriter(file, table.schema) as writer:
        for _ in range(repetitions):
            writer.write_table(table)
    rows = repetitions * 2_000
    with figures("load", f"report, {rows:,} predictions") as counts:
        use = measure_mathpipe(["report", str(tmp_path / "run")], tmp_path / "log")
        record(counts, rows, use, 2000, flat=False)


@pytest.mark.parametrize("rows", [2_000, pytest.param(PROBLEMS, marks=pytest.mark.slow)], ids=["small", "1M"])
def test_score(rows: int, tmp_path: Path) -> None:
    rows = rows if rows == 2_000 else large(rows)
    torture_load.write_answers(tmp_path / "answers.jsonl", rows)
    line = ["score", "--task", "gcd", str(tmp_path / "answers.jsonl"), "--out", str(tmp_path / "results.jsonl")]
    with figures("load", f"score, {rows:,} answers") as counts:
        record(counts, rows, measure_mathpipe(line, tmp_path / "log"), 600)
    with (tmp_path / "results.jsonl").open(encoding="utf-8") as lines:
        assert sum(1 for _ in lines) == rows
