"""Everything that is told of an evaluation, from its predictions file: metrics, analyses, failures, report.

It can be told again at any time (``mathpipe report``), and of predictions that come from elsewhere.
"""

from __future__ import annotations

import csv
import io
import json
import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mathpipe.datasets.io.storage import Storage
from mathpipe.evaluate.analyze.analyses import Analysis, Subject, analyse, columns_needed, subject_of
from mathpipe.evaluate.analyze.baselines import Tally
from mathpipe.evaluate.analyze.summary import Metrics, summarise, summary_text
from mathpipe.evaluate.failures.failure_dump import Failure, FailureWriter, Worst, failures
from mathpipe.evaluate.predictions import predictions_metadata, read_predictions
from mathpipe.evaluate.report.charts import draw
from mathpipe.evaluate.report.evaluation_page import page

PREDICTIONS = "predictions.parquet"
METRICS = "metrics.json"
CURVE = "accuracy_by_tolerance.csv"
FAILURES = "failures.jsonl.zst"
REPORT = "report.html"
ANALYSES, ALL = "analyses", "analyses/analyses.json"

_TYPICAL = 4  # typical failures that are drawn
_GROUP_ROWS = 20_000  # rows read at a time when failures are looked for


@dataclass(frozen=True)
class Described:
    """What was told, and where it lies."""

    metrics: Metrics
    analyses: list[Analysis]
    text: str
    curve: str
    report: str
    failures: str | None
    worst: tuple[Failure, ...]


def describe(
    storage: Storage, verbose: bool = False, seconds: Mapping[str, float] | None = None, started: float | None = None
) -> Described:
    """Read the predictions in this directory and write everything else; ``metrics.json`` last.

    ``seconds``: what went before, to be told with the metrics; ``started``: when it all began (``perf_counter``).
    """
    path = storage.path(PREDICTIONS)
    metadata = predictions_metadata(path, storage.fs)
    with pq.ParquetFile(path, filesystem=storage.fs) as file:
        columns = columns_needed(file.schema_arrow)
    table = read_predictions(path, columns, storage.fs)
    s = subject_of(table, metadata, Tally(**metadata.get("yardsticks", {"n": 0, "passed": {}})))
    found = analyse(s)
    worst, typical = _failures(storage, s, verbose)
    spent = dict(seconds or {}) | ({} if started is None else {"total": time.perf_counter() - started})
    metrics = summarise(s, spent)
    _write_analyses(storage, found)
    storage.write_text(REPORT, page(metadata, metrics, found, worst, typical))
    storage.write_text(METRICS, json.dumps(metrics, indent=2, allow_nan=False) + "\n")
    return Described(
        metrics,
        found,
        summary_text(metrics, found),
        storage.path(CURVE),
        storage.path(REPORT),
        storage.path(FAILURES) if verbose else None,
        tuple(worst) if verbose else (),
    )


def remove_earlier(storage: Storage) -> None:
    """Before new predictions take their name, what an earlier evaluation said goes: one directory, one evaluation."""
    for name in (METRICS, FAILURES, REPORT, CURVE):
        storage.remove(name)
    for name in list(storage.sizes(ANALYSES)):
        storage.remove(f"{ANALYSES}/{name}")


def _failures(storage: Storage, s: Subject, verbose: bool) -> tuple[list[Failure], list[Failure]]:
    """The worst and the most typical failures; with ``verbose`` all of them go into a dump, one at a time."""
    worst, typical, wanted = Worst(), list[Failure](), set(typical_rows(s))

    def seen() -> Iterator[Failure]:
        for failure in worst.seen(all_failures(storage, s.task)):
            if failure.row in wanted:
                typical.append(failure)
            yield failure

    if verbose:
        with storage.write(FAILURES) as file:
            writer = FailureWriter(file)
            writer.append(seen())
            writer.close()
    else:
        for _ in seen():
            pass
    return worst.chosen(), typical


def all_failures(storage: Storage, task: str, name: str = PREDICTIONS) -> Iterator[Failure]:
    """Every failed problem of a predictions file, in flat memory."""
    with pq.ParquetFile(storage.path(name), filesystem=storage.fs) as file:
        for batch in file.iter_batches(batch_size=_GROUP_ROWS, use_threads=False):
            yield from failures(pa.Table.from_batches([batch]), task)


def typical_rows(s: Subject) -> list[int]:
    """Rows of the failures in the middle: of those with an error, nearest to its median; else of the median length."""
    wrong = ~s.passed & pc.equal(s.table["outcome"], "wrong_value").to_numpy()
    measure = s.of("error_l1") if s.matrices else s.of("problem_words")
    wrong = wrong & (measure == measure) & (measure < math.inf)
    places = wrong.nonzero()[0]
    places = places[measure[places].argsort(kind="stable")]
    middle = max(len(places) // 2 - _TYPICAL // 2, 0)
    rows = s.of("row")
    return [int(rows[k]) for k in places[middle : middle + _TYPICAL]]


def _write_analyses(storage: Storage, found: list[Analysis]) -> None:
    for analysis in found:
        name = CURVE if f"{analysis.name}.csv" == CURVE else f"{ANALYSES}/{analysis.name}.csv"
        storage.write_text(name, as_csv(analysis))
        drawn = draw(analysis, alone=True)
        if drawn is not None:
            storage.write_text(f"{ANALYSES}/{analysis.name}.svg", drawn)
    storage.write_text(ALL, json.dumps([as_json(analysis) for analysis in found], indent=1, allow_nan=False) + "\n")


def as_csv(analysis: Analysis) -> str:
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(analysis.columns)
    table.writerows([["" if value is None else value for value in row] for row in analysis.rows])
    return text.getvalue()


def as_json(analysis: Analysis) -> dict[str, Any]:
    """Plain values; an infinite number as a string."""

    def plain(value: Any) -> Any:
        return str(value) if isinstance(value, float) and not math.isfinite(value) else value

    return {
        "name": analysis.name,
        "title": analysis.title,
        "note": analysis.note,
        "columns": analysis.columns,
        "rows": [[plain(value) for value in row] for row in analysis.rows],
    }
