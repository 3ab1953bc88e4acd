"""Build metrics, analyses, failure dump and report of an evaluation from its predictions file.

``mathpipe report`` rebuilds them at any time, also for imported predictions. They are published together, ``metrics.json`` last
(see ``mathpipe.evaluate.evaluation_directory``).
"""

from __future__ import annotations

import csv
import io
import json
import math
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mathpipe.datasets.io.storage import Storage
from mathpipe.evaluate.adapters.adapter_registry import AnyAdapter, adapter_of_spec
from mathpipe.evaluate.analyze.analysis import Analysis
from mathpipe.evaluate.analyze.baselines import BaselineCounts
from mathpipe.evaluate.analyze.evaluation_data import EvaluationData, evaluation_data, required_columns
from mathpipe.evaluate.analyze.summary import Metrics, compared_figures
from mathpipe.evaluate.evaluation_directory import (
    ANALYSES,
    ANALYSES_FILE,
    FAILURES,
    METRICS,
    PREDICTIONS,
    REPORT,
    TOLERANCE_CURVE,
    EvaluationDirectory,
    lock_evaluation,
)
from mathpipe.evaluate.failures.failure import Failure
from mathpipe.evaluate.failures.failure_dump import FailureWriter
from mathpipe.evaluate.failures.shown_failures import ShownFailures
from mathpipe.evaluate.predictions import expect_predictions, predictions_metadata, read_predictions
from mathpipe.evaluate.report.charts import render_chart
from mathpipe.evaluate.report.evaluation_page import page

_NUM_TYPICAL = 4  # typical failures in the report
_GROUP_ROWS = 20_000  # rows read at a time to collect failures


@dataclass(frozen=True)
class ReportResult:
    """Metrics, analyses and the paths of the files written."""

    metrics: Metrics
    analyses: list[Analysis]
    text: str
    curve: str
    report: str
    failures: str | None
    worst: tuple[Failure, ...]


def build_report(storage: Storage, verbose: bool = False) -> ReportResult:
    """Rebuild everything but the predictions of this directory, and with ``verbose`` the failure dump.

    UserError if another process has locked the directory, or it holds no predictions.
    """
    with expect_predictions(storage.path(PREDICTIONS)):
        predictions_metadata(storage.path(PREDICTIONS), storage.fs)
        with lock_evaluation(storage) as directory:
            result = _write_report(directory, storage, verbose, {}, None)
            directory.publish(keep=(PREDICTIONS, FAILURES))
    return result


def render_report(storage: Storage) -> tuple[ReportResult, str]:
    """Metrics and HTML page of an evaluation, built from its predictions; nothing is written to its directory."""
    with expect_predictions(storage.path(PREDICTIONS)), tempfile.TemporaryDirectory() as folder:
        staging = Storage(folder)
        result = _write_report(EvaluationDirectory(storage, staging), storage, False, {}, None)
        return result, staging.read_text(REPORT) or ""


def publish_evaluation(
    directory: EvaluationDirectory,
    verbose: bool = False,
    seconds: Mapping[str, float] | None = None,
    started: float | None = None,
) -> ReportResult:
    """Build everything from the predictions in the staging folder of a locked directory, and publish all of it.

    ``seconds``: durations of earlier steps, stored with the metrics; ``started``: ``perf_counter`` at the start of the evaluation.
    """
    with expect_predictions(directory.staging.path(PREDICTIONS)):
        result = _write_report(directory, directory.staging, verbose, seconds or {}, started)
    directory.publish()
    return result


def _write_report(
    directory: EvaluationDirectory,
    source: Storage,
    verbose: bool,
    seconds: Mapping[str, float],
    started: float | None,
) -> ReportResult:
    """Write metrics, analyses and report of the predictions in ``source`` to the staging folder of ``directory``."""
    path, out, storage = source.path(PREDICTIONS), directory.staging, directory.storage
    metadata = predictions_metadata(path, source.fs)
    spec = metadata.get("spec", metadata)  # published predictions name their task alone
    with expect_predictions(path), pq.ParquetFile(path, filesystem=source.fs) as file:
        columns = required_columns(file.schema_arrow)
    table = read_predictions(path, columns, source.fs)
    baseline_counts = BaselineCounts(**metadata.get("baselines", {"n": 0, "passed": {}}))
    data, adapter = evaluation_data(table, metadata, baseline_counts), adapter_of_spec(spec)
    analyses = adapter.analyse(data)
    shown = _failures(source, out, data, adapter, spec, verbose)
    durations = dict(seconds) | ({} if started is None else {"total": time.perf_counter() - started})
    metrics = adapter.metrics(data) | {"seconds": {name: round(value, 3) for name, value in durations.items()}}
    _write_analyses(out, metrics, analyses)
    out.write_text(REPORT, page(metadata, metrics, analyses, shown, adapter.worst_order))
    out.write_text(METRICS, json.dumps(compared_figures(metrics), indent=2, allow_nan=False) + "\n")
    return ReportResult(
        metrics,
        analyses,
        adapter.summary(metrics, analyses),
        storage.path(TOLERANCE_CURVE),
        storage.path(REPORT),
        storage.path(FAILURES) if verbose else None,
        tuple(shown.worst.selected()) if verbose else (),
    )


def _failures(
    source: Storage, out: Storage, data: EvaluationData, adapter: AnyAdapter, spec: dict[str, Any], verbose: bool
) -> ShownFailures:
    """The failures that the report shows; with ``verbose``, all failures are streamed into a dump."""
    shown = ShownFailures(set(typical_failure_rows(data, adapter.typical_column)))
    observed = shown.observe(iter_failures(source, spec))
    if verbose:
        with out.write(FAILURES) as file:
            writer = FailureWriter(file)
            writer.append(observed)
            writer.close()
    else:
        for _ in observed:
            pass
    return shown


def iter_failures(storage: Storage, spec: dict[str, Any], name: str = PREDICTIONS) -> Iterator[Failure]:
    """Iterate over the failed problems of a predictions file in constant memory."""
    adapter = adapter_of_spec(spec)
    path = storage.path(name)
    with expect_predictions(path), pq.ParquetFile(path, filesystem=storage.fs) as file:
        for batch in file.iter_batches(batch_size=_GROUP_ROWS, use_threads=False):
            yield from adapter.failures(pa.Table.from_batches([batch]))


def typical_failure_rows(data: EvaluationData, column: str) -> list[int]:
    """Rows of the wrong values nearest to the median of a column."""
    wrong = ~data.passed & pc.equal(data.table["outcome"], "wrong_value").to_numpy()
    measure = data.of(column)
    wrong = wrong & (measure == measure) & (measure < math.inf)
    indices = wrong.nonzero()[0]
    indices = indices[measure[indices].argsort(kind="stable")]
    first = max(len(indices) // 2 - _NUM_TYPICAL // 2, 0)
    rows = data.of("row")
    return [int(rows[k]) for k in indices[first : first + _NUM_TYPICAL]]


def _write_analyses(storage: Storage, metrics: Metrics, analyses: list[Analysis]) -> None:
    """A table and a plot of each analysis, and one file with all metrics and all tables."""
    for analysis in analyses:
        name = TOLERANCE_CURVE if f"{analysis.name}.csv" == TOLERANCE_CURVE else f"{ANALYSES}/{analysis.name}.csv"
        storage.write_text(name, analysis_csv(analysis))
        svg = render_chart(analysis, standalone=True)
        if svg is not None:
            storage.write_text(f"{ANALYSES}/{analysis.name}.svg", svg)
    everything = {"metrics": metrics, "analyses": [analysis_json(analysis) for analysis in analyses]}
    storage.write_text(ANALYSES_FILE, json.dumps(everything, indent=1, allow_nan=False) + "\n")


def analysis_csv(analysis: Analysis) -> str:
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(analysis.columns)
    table.writerows([["" if value is None else value for value in row] for row in analysis.rows])
    return text.getvalue()


def analysis_json(analysis: Analysis) -> dict[str, Any]:
    """A JSON-compatible dictionary; infinite numbers become strings."""

    def plain(value: Any) -> Any:
        return str(value) if isinstance(value, float) and not math.isfinite(value) else value

    return {
        "name": analysis.name,
        "title": analysis.title,
        "note": analysis.note,
        "columns": analysis.columns,
        "rows": [[plain(value) for value in row] for row in analysis.rows],
    }
