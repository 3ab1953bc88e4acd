"""Evaluate a run: decode once, score and write the predictions; everything else is a query over them.

    test split -> decoding -> verification -> predictions.parquet -> metrics, analyses, failures, report

Results are stored in ``<run>/evaluation/<split>``; non-default settings are appended after dots (``test.beam-10.first-1000``):

==============================  ==================================================================
predictions.parquet             one row per hypothesis
accuracy_by_tolerance.csv       accuracy curve, for DVC plots
analyses/                       one small table (CSV) and plot (SVG) per analysis; analyses.json contains all metrics and tables
report.html                     HTML report
failures.jsonl.zst              every failed problem, with ``verbose`` only
metrics.json                    the eight figures that people compare; written last: its presence means that the evaluation is
                                complete
==============================  ==================================================================

An interrupted evaluation resumes (see ``mathpipe.evaluate.partial_results``).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from mathpipe.datasets.dataset import Dataset
from mathpipe.datasets.errors import UserError
from mathpipe.datasets.io.locations import last_name, local_path, same_location
from mathpipe.datasets.io.storage import Storage
from mathpipe.evaluate.adapters.adapter_registry import AnyAdapter, adapter_of_spec
from mathpipe.evaluate.analyze.baselines import BaselineCounts, Baselines
from mathpipe.evaluate.analyze.summary import Metrics
from mathpipe.evaluate.build_report import ReportResult, publish_evaluation
from mathpipe.evaluate.dataset_decoding import CHUNK_ROWS, chunk_size, decode_examples, resolve_device, row_count
from mathpipe.evaluate.decode.hypotheses import GREEDY, Decoding, Hypotheses
from mathpipe.evaluate.evaluation_directory import METRICS, PREDICTIONS, lock_evaluation
from mathpipe.evaluate.evaluation_progress import EvaluationProgress, NoProgress
from mathpipe.evaluate.failures.failure import Failure
from mathpipe.evaluate.partial_results import PartialResults, evaluation_fingerprint
from mathpipe.evaluate.run_dataset import data_of_run, dataset_of_run
from mathpipe.generate.outcomes import DOMAINS, REAL_DOMAIN, Domain
from mathpipe.generate.tasks.error_measures import TOLERANCE
from mathpipe.train.model.interface import Model
from mathpipe.train.run.checkpoint import load_model
from mathpipe.train.run.run_record import SUMMARY, RunRecord

LoadFunction = Callable[[str | Path, str, str], tuple[Model, RunRecord]]


@dataclass(frozen=True)
class EvaluationResult:
    """Metrics and paths of an evaluation. ``worst`` is empty, and ``failures`` None, unless ``verbose``."""

    directory: str
    metrics: Metrics
    text: str
    predictions: str
    metrics_file: str
    curve: str
    report: str
    failures: str | None
    worst: tuple[Failure, ...]


def evaluate_run(
    run_dir: str | Path,
    data_dir: str | Path | None = None,
    split: str = "test",
    limit: int | None = None,
    checkpoint: str = "last",
    batch_size: int | None = None,
    out_dir: str | Path | None = None,
    verbose: bool = False,
    device: str | None = None,
    progress: EvaluationProgress | None = None,
    decoding: Decoding = GREEDY,
    workers: int = 0,
    domain: Domain = "real",
    log: Callable[[str], None] = lambda text: None,
    chunk_rows: int = CHUNK_ROWS,
    load: LoadFunction = load_model,
    decode: Callable[..., Hypotheses] | None = None,
) -> EvaluationResult:
    """Evaluate a checkpoint of ``run_dir`` on a split of its own dataset, or of ``data_dir`` (any spec of the task, or of
    one that asks the same, as the generators of integration do).

    ``checkpoint``: ``last``, ``best`` or a file in the run's directory. ``limit``: maximum number of examples.
    ``decoding``: greedy, beam search or sampling, constrained or not. ``device``: CUDA if available, else the CPU.
    ``batch_size``: hypotheses decoded together, by default 512 on a CPU and 2,048 on a GPU. ``workers``: processes
    that verify expressions. ``domain``: ``complex`` does not count the outcome ``real_domain`` as correct. ``progress`` is updated
    after each decoded batch. ``log`` receives a line that names the checkpoint. ``chunk_rows``: maximum number of problems per
    part. ``load(run_dir, device, checkpoint)`` returns model and record; ``decode`` has the signature of ``decode_examples``, the
    default.
    UserError for a run, dataset or split that is missing, damaged or does not fit.
    """
    started = time.perf_counter()
    run_dir = local_path(run_dir, "the directory of a run")
    model, record = load(run_dir, resolve_device(device), checkpoint)
    log(_describe_checkpoint(run_dir, record))
    dataset = dataset_of_run(record, run_dir, data_dir, split)
    n = row_count(dataset, limit, batch_size)
    adapter, timer = adapter_of_spec(dataset.spec, workers, domain=domain), Timer()
    policy = _domain_policy(adapter, domain)
    max_length = adapter.max_length(dataset, n)
    is_own = data_dir is None or same_location(str(data_dir), data_of_run(record, run_dir))
    other_data = None if is_own else str(data_dir)
    name = _name_of(split, checkpoint, decoding, policy, None if n == len(dataset) else n, other_data)
    storage = Storage(str(out_dir or run_dir / "evaluation" / name))
    metadata = {
        **_metadata(run_dir, checkpoint, record, dataset, n, max_length, decoding),
        "problem_type": adapter.problem_type,
        "domain": policy,
    }
    fingerprint = {**metadata, "run": None, "checkpoint": None, "data": None, "chunk": chunk_rows}
    progress = progress or NoProgress()
    with lock_evaluation(storage) as directory:
        parts = PartialResults(storage, evaluation_fingerprint(model, fingerprint))
        evaluator = _PartEvaluator(
            *(model, dataset, adapter, parts, timer, n, max_length, batch_size, decoding, progress),
            decode=decode or decode_examples,
        )
        with adapter.running(), closing(progress):
            progress.start(n)
            chunks = dataset.chunks(chunk_size(max_length, decoding, chunk_rows), stop=n)
            counts = [evaluator.evaluate(k, examples) for k, examples in enumerate(chunks)]
        with timer("writing"):
            footer = {"baselines": sum(counts, BaselineCounts()).to_json(), "outcomes": list(adapter.outcomes)}
            parts.join(len(counts), directory.staging, PREDICTIONS, {**metadata, **footer})
        report = publish_evaluation(directory, verbose=verbose, seconds=timer.seconds, started=started)
        parts.remove()
    return _evaluation(storage, report)


@dataclass
class _PartEvaluator:
    """Decodes and scores one part after the other, and reuses the parts of an interrupted evaluation."""

    model: Model
    dataset: Dataset
    adapter: AnyAdapter
    parts: PartialResults
    timer: Timer
    n: int
    max_length: int
    batch_size: int | None
    decoding: Decoding
    progress: EvaluationProgress
    decode: Callable[..., Hypotheses]

    @cached_property
    def baselines(self) -> Baselines:
        return self.adapter.baselines(self.dataset, self.n)

    def evaluate(self, k: int, examples: Any) -> BaselineCounts:
        """Write the predictions of part k, unless they are there, and count the passes of the baselines."""
        counts = self.parts.find(k)
        if counts is not None:
            self.progress.advance(len(examples), fresh=False)
            return counts
        dataset, adapter, advance = self.dataset, self.adapter, self.progress.advance
        with self.timer("decoding"):
            decoded = self.decode(
                self.model, dataset, examples, self.max_length, self.batch_size, advance, self.decoding, adapter
            )
        with self.timer("scoring"):
            scored = adapter.score(dataset.target, examples, decoded)
        with self.timer("baselines"):
            counts = self.baselines.count_passes(scored)
        with self.timer("writing"):
            table = adapter.table(scored, dataset.split, dataset.source, dataset.target)
            self.parts.write(k, table, counts)
        return counts


def _domain_policy(adapter: AnyAdapter, domain: Domain) -> Domain | None:
    """The domain, None for tasks without the outcome ``real_domain``; UserError if it is unknown or has no meaning."""
    if domain not in DOMAINS:
        raise UserError(f"there is no domain {domain!r}", expected=f"one of {', '.join(DOMAINS)}", got=domain)
    if REAL_DOMAIN in adapter.outcomes:
        return domain
    if domain != "real":
        raise UserError(
            f"the domain {domain} has no meaning for this task",
            expected=f"a task with the outcome {REAL_DOMAIN}, such as integration-bwd",
            got=f"a task of {adapter.problem_type}",
            next_step="omit --domain",
        )
    return None


def _name_of(
    split: str,
    checkpoint: str,
    decoding: Decoding,
    domain: Domain | None,
    limit: int | None,
    other_data: str | None,
) -> str:
    """Name of the results directory: the split, and the non-default settings after dots. Split names contain no dots."""
    parts = [split]
    if other_data is not None:
        parts.append(f"of-{last_name(other_data)}")
    if checkpoint != "last":
        parts.append(Path(checkpoint).stem)
    if decoding.temperature:
        parts.append(f"sampled-{decoding.samples}-at-{decoding.temperature:g}-seed-{decoding.seed}")
    elif decoding.beam > 1:
        parts.append(f"beam-{decoding.beam}")
        if decoding.length_penalty != 1:
            parts.append(f"penalty-{decoding.length_penalty:g}")
        if not decoding.early_stopping:
            parts.append("no-early-stopping")
    if decoding.constrained:
        parts.append("constrained")
    if domain == "complex":
        parts.append("domain-complex")
    if limit is not None:
        parts.append(f"first-{limit}")
    return ".".join(parts)


def _evaluation(storage: Storage, report: ReportResult) -> EvaluationResult:
    return EvaluationResult(
        directory=storage.path(),
        metrics=report.metrics,
        text=report.text,
        predictions=storage.path(PREDICTIONS),
        metrics_file=storage.path(METRICS),
        curve=report.curve,
        report=report.report,
        failures=report.failures,
        worst=report.worst,
    )


@dataclass
class Timer:
    """Accumulates the seconds spent on each part."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def __call__(self, part: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[part] = self.seconds.get(part, 0.0) + time.perf_counter() - start


def _describe_checkpoint(run_dir: Path, record: RunRecord) -> str:
    """Names the step, and says if training has not finished: its summary is written at the end."""
    if record.imported_from is not None:
        return f"{run_dir}: imported from {record.imported_from}"
    unfinished = "" if (run_dir / SUMMARY).exists() else "; training has not finished"
    return f"{run_dir}: checkpoint of step {record.step:,} of {record.config.steps:,}{unfinished}"


def _metadata(
    run_dir: str | Path,
    checkpoint: str,
    record: RunRecord,
    dataset: Dataset,
    n: int,
    max_length: int,
    decoding: Decoding,
) -> dict[str, Any]:
    """Metadata of the predictions file."""
    return {
        "run": str(run_dir),
        "checkpoint": checkpoint,
        "step": record.step,
        "data": dataset.directory,
        "dataset_digest": dataset.digest,
        "task": dataset.task,
        "spec": dataset.spec,
        "trained_spec": record.spec,
        "split": dataset.split,
        "rows": n,
        "input_encoding": record.input_encoding,
        "output_encoding": record.output_encoding,
        "precision": record.precision,
        "tolerance": TOLERANCE,
        "decoding": str(decoding),
        "decoding_settings": asdict(decoding),
        "max_length": max_length,
    }
