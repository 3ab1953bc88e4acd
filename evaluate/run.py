"""Evaluate a run: decode once, score and write the predictions; everything else is a query over them.

    test split -> decoding -> verification -> predictions.parquet -> metrics, analyses, failures, report

Results are stored in ``<run>/evaluation/<split>``; non-default settings are appended after dots (``test.beam-10.first-1000``):

==============================  ==================================================================
predictions.parquet             one row per hypothesis
accuracy_by_tolerance.csv       accuracy curve, for DVC plots
analyses/                       one small table (CSV) and plot (SVG) per analysis; analyses.json contains all tables
report.html                     HTML report
failures.jsonl.zst              every failed problem, with ``verbose`` only
metrics.json                    written last: its presence means that the evaluation is complete
==============================  ==================================================================

An interrupted evaluation resumes (see ``mathpipe.evaluate.partial_results``).
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mathpipe.datasets.dataset import Dataset, open_dataset
from mathpipe.datasets.errors import UserError
from mathpipe.datasets.io.storage import Storage
from mathpipe.datasets.tokenizers.tokenizer import PAD
from mathpipe.evaluate.adapters.adapter_registry import AnyAdapter, adapter_of_spec
from mathpipe.evaluate.analyze.baselines import BaselineCounts, Baselines
from mathpipe.evaluate.analyze.summary import Metrics
from mathpipe.evaluate.build_report import METRICS, PREDICTIONS, ReportResult, build_report, remove_previous_results
from mathpipe.evaluate.decode.beam_search import beam_search
from mathpipe.evaluate.decode.decoding import GREEDY, Decoding, Hypotheses, decoding_mode, greedy, sample
from mathpipe.evaluate.decode.grammar import Grammar
from mathpipe.evaluate.evaluation_progress import EvaluationProgress, NoProgress
from mathpipe.evaluate.failures.failure import Failure
from mathpipe.evaluate.partial_results import PartialResults, evaluation_fingerprint
from mathpipe.evaluate.score.scoring import ScoredHypotheses
from mathpipe.generate.outcomes import DOMAINS, REAL_DOMAIN, Domain
from mathpipe.generate.tasks.error_measures import TOLERANCE
from mathpipe.generate.tasks.task_registry import task_of_values
from mathpipe.train.model.interface import Model
from mathpipe.train.run.checkpoint import SUMMARY, RunRecord, load_model, tokenizers

CHUNK_ROWS = 2_000  # problems of a part: an interrupted evaluation repeats at most one
_CHUNK_TOKENS = 2_000_000  # predicted tokens in memory: 16 MB
_BATCH_SIZES = (512, 2_048)  # hypotheses on a CPU and on a GPU, where 2,000 take as long as 100
LoadFunction = Callable[[str | Path, str, str], tuple[Model, RunRecord]]
_MIN_PROBLEMS = 8  # minimum number of problems per batch, however many hypotheses each has


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
    model, record = load(run_dir, resolve_device(device), checkpoint)
    log(_describe_checkpoint(Path(run_dir), record))
    dataset = dataset_of_run(record, data_dir, split)
    n = _row_count(dataset, limit, batch_size)
    adapter, timer = adapter_of_spec(dataset.spec, workers, domain=domain), Timer()
    policy = _domain_policy(adapter, domain)
    max_length = adapter.max_length(dataset, n)
    other_data = None if data_dir is None or str(data_dir) == record.data else str(data_dir)
    name = _name_of(split, checkpoint, decoding, policy, None if n == len(dataset) else n, other_data)
    storage = Storage(str(out_dir or Path(run_dir) / "evaluation" / name))
    metadata = {
        **_metadata(run_dir, checkpoint, record, dataset, n, max_length, decoding),
        "problem_type": adapter.problem_type,
        "domain": policy,
    }
    fingerprint = {**metadata, "run": None, "checkpoint": None, "data": None, "chunk": chunk_rows}
    parts = PartialResults(storage, evaluation_fingerprint(model, fingerprint))
    progress = progress or NoProgress()
    evaluator = _PartEvaluator(
        *(model, dataset, adapter, parts, timer, n, max_length, batch_size, decoding, progress),
        decode=decode or decode_examples,
    )
    with adapter.running(), closing(progress):
        progress.start(n)
        chunks = dataset.chunks(_chunk_size(max_length, decoding, chunk_rows), stop=n)
        counts = [evaluator.evaluate(k, examples) for k, examples in enumerate(chunks)]
    with timer("writing"):
        remove_previous_results(storage)
        baselines = sum(counts, BaselineCounts()).to_json()
        parts.join(len(counts), PREDICTIONS, {**metadata, "baselines": baselines, "outcomes": list(adapter.outcomes)})
    with timer("analyses"):
        report = build_report(storage, verbose=verbose, seconds=timer.seconds, started=started)
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
        parts.append(f"of-{other_data.rstrip('/').rsplit('/', 1)[-1]}")
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


QUICK_METRICS = ("accuracy", "accuracy_published", "exact", "invalid", "token_accuracy", "mean_log_probability")


def quick_metric_names(dataset: Dataset) -> tuple[str, ...]:
    """Names of the metrics that ``quick_accuracy`` returns."""
    return (*QUICK_METRICS, *adapter_of_spec(dataset.spec).extra_metrics)


def quick_accuracy(
    model: Model, dataset: Dataset, limit: int = 1000, tolerance: float = TOLERANCE, batch_size: int | None = None
) -> dict[str, float]:
    """Greedy accuracy on the first ``limit`` examples, for a model in training; its mode is restored.

    ``accuracy``: passed the error test at ``tolerance``; ``accuracy_published``: passed, or exactly the reference; ``exact`` and
    ``invalid``: proportions of these outcomes (invalid: malformed or unterminated); ``token_accuracy``: proportion of the
    references' tokens predicted at the same position; the task's own metrics, such as ``bit_accuracy``; ``mean_log_probability``.
    """
    n = _row_count(dataset, limit, batch_size)
    adapter = adapter_of_spec(dataset.spec, tolerance=tolerance)
    max_length, parts = adapter.max_length(dataset, n), list[ScoredHypotheses[Any, Any]]()
    for rows in dataset.chunks(_chunk_size(max_length, GREEDY), stop=n):
        decoded = decode_examples(model, dataset, rows, max_length, batch_size)
        parts.append(adapter.score(dataset.target, rows, decoded))

    def mean(column: Callable[[ScoredHypotheses[Any, Any]], NDArray[Any]]) -> float:
        return float(np.concatenate([column(scored) for scored in parts]).mean())

    unread = [adapter.outcomes.index(name) for name in ("malformed", "unterminated")]
    return {
        "accuracy": mean(lambda scored: scored.passed),
        "accuracy_published": mean(lambda scored: scored.correct_published),
        "exact": mean(lambda scored: scored.outcome == adapter.outcomes.index("exact")),
        "invalid": mean(lambda scored: np.isin(scored.outcome, unread)),
        "token_accuracy": mean(lambda scored: scored.num_correct_tokens) / mean(lambda scored: scored.num_tokens),
        **{name: mean(partial(_measure, name)) for name in adapter.extra_metrics},
        "mean_log_probability": mean(lambda scored: scored.decoded.log_probability),
    }


def _measure(name: str, scored: ScoredHypotheses[Any, Any]) -> NDArray[np.float64]:
    """A measure of every hypothesis, 0 where it is undefined."""
    return np.nan_to_num(scored.errors[name])


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


def decode_examples(
    model: Model,
    dataset: Dataset,
    rows: Any,
    max_length: int,
    batch_size: int | None = None,
    on_rows: Callable[[int], object] = lambda rows: None,
    decoding: Decoding = GREEDY,
    adapter: AnyAdapter | None = None,
) -> Hypotheses:
    """Predictions in the order of ``rows``, decoded in batches of similar lengths. ``adapter`` provides the grammar."""
    model.check(rows)
    encoded = dataset.encode(rows)
    order = np.lexsort((encoded.source_lengths, encoded.target_lengths))
    parts: list[Hypotheses] = []
    with decoding_mode(model) as device:
        batch = batch_size or _BATCH_SIZES[device.type == "cuda"]
        size = max(batch // decoding.hypotheses, min(_MIN_PROBLEMS, batch))
        for start in range(0, len(rows), size):
            index = order[start : start + size]
            source, examples = encoded.batch(index, device).source, rows.take(index)
            grammar = _grammar_factory(adapter, dataset, examples, max_length, decoding, device)
            part = _decode(model, source, examples.row, max_length, decoding, grammar)
            parts.append(Hypotheses(part.tokens, part.log_probability, index[part.problem], part.rank))
            on_rows(len(index))
    return _concatenate(parts)


def _grammar_factory(
    adapter: AnyAdapter | None,
    dataset: Dataset,
    examples: Any,
    max_length: int,
    decoding: Decoding,
    device: torch.device,
) -> Callable[[], Grammar | None]:
    """Makes a new grammar of these examples; each sample of a problem needs its own."""

    def grammar() -> Grammar | None:
        if adapter is None or not decoding.constrained:
            return None
        return adapter.grammar(dataset.target, examples, max_length, device)

    return grammar


def _decode(
    model: Model,
    source: torch.Tensor,
    numbers: NDArray[np.int64],
    max_length: int,
    decoding: Decoding,
    grammar: Callable[[], Grammar | None],
) -> Hypotheses:
    if decoding.temperature:
        return sample(model, source, max_length, numbers, decoding, grammar)
    if decoding.beam > 1:
        return beam_search(model, source, max_length, decoding, grammar())
    return greedy(model, source, max_length, grammar())


def _concatenate(parts: list[Hypotheses]) -> Hypotheses:
    """All hypotheses, sorted by problem and rank."""
    width = max(part.tokens.shape[1] for part in parts)
    tokens = np.concatenate(
        [np.pad(p.tokens, ((0, 0), (0, width - p.tokens.shape[1])), constant_values=PAD) for p in parts]
    )
    log_probability, problem, rank = (
        np.concatenate([getattr(p, name) for p in parts]) for name in ("log_probability", "problem", "rank")
    )
    order = np.lexsort((rank, problem))
    return Hypotheses(tokens[order], log_probability[order], problem[order], rank[order])


def _chunk_size(max_length: int, decoding: Decoding, chunk_rows: int = CHUNK_ROWS) -> int:
    return max(min(chunk_rows, _CHUNK_TOKENS // (max_length * decoding.hypotheses)), 1)


def dataset_of_run(record: RunRecord, data_dir: str | Path | None, split: str) -> Dataset:
    """The split to evaluate on, in the run's encodings; UserError if it does not match the run."""
    directory = str(data_dir or record.data)
    if not directory:
        raise UserError(
            "the run was imported and names no dataset",
            expected=f"a dataset of {record.task}",
            next_step="name one with --data DIR",
        )
    dataset = open_dataset(directory, split, record.input_encoding, record.output_encoding, record.precision)
    if record.imported_from is not None and data_dir is not None and _same_tokens(record, dataset):
        return dataset  # published models are tested on data of other generators
    if not _ask_the_same(dataset.spec, record.spec):
        raise UserError(
            f"{directory} contains another task than the run was trained on",
            expected=_name_task(record.spec),
            got=_name_task(dataset.spec),
        )
    if data_dir is None and dataset.manifest.spec != record.spec:
        raise UserError(
            f"{directory} no longer contains the data of this run",
            expected=f"the spec {json.dumps(record.spec, sort_keys=True)}",
            got=json.dumps(dataset.manifest.spec, sort_keys=True),
            cause="the dataset was regenerated with other parameters",
            next_step=f"train again, or evaluate on it anyway with `--data {directory}`",
        )
    return dataset


def _ask_the_same(spec: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether the tasks are the same, or pose the same question: the generators of integration."""
    if spec.get("source_digest") != other.get("source_digest"):
        return False
    return spec["task"] == other["task"] or task_of_values(spec).question == task_of_values(other).question


def _same_tokens(record: RunRecord, dataset: Dataset) -> bool:
    """Whether the problems of a dataset are written with the tokens of the run."""
    pairs = zip(tokenizers(record), (dataset.source, dataset.target), strict=True)
    return all((a.vocabulary, a.format) == (b.vocabulary, b.format) for a, b in pairs)


def _name_task(spec: dict[str, Any]) -> str:
    """The name of a task, and the digest of its code if it is outside the package."""
    digest = spec.get("source_digest")
    return f"{spec['task']} (source {digest[:12]})" if digest is not None else str(spec["task"])


def resolve_device(device: str | None) -> str:
    """``device``, or CUDA if available, else the CPU."""
    if device is None:
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise UserError(
            "no CUDA device is available", got=f"device {device!r}", next_step="omit the device, or use cpu"
        )
    return device


def _row_count(dataset: Dataset, limit: int | None, batch_size: int | None) -> int:
    for name, value in (("limit", limit), ("batch_size", batch_size)):
        if value is not None and value < 1:
            raise UserError(f"{name} is out of range", expected="at least 1", got=value)
    n = len(dataset) if limit is None else min(limit, len(dataset))
    if not n:
        raise UserError(f"{dataset.directory}: split {dataset.split} is empty", next_step="choose another split")
    return n


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
