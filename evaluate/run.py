"""One evaluation of a run: decode once, score, write, summarise.

    test split -> greedy decoding -> scoring by mathematics -> predictions.parquet -> metrics, curve, text

Results lie in ``<run>/evaluation/<split>``:

==============================  ==================================================================
predictions.parquet             one row a hypothesis; all else is a query over it
accuracy_by_tolerance.csv       for a plot
failures.jsonl.zst              every failed problem, with ``verbose`` only
metrics.json                    written last: if it is there, the evaluation is whole
==============================  ==================================================================
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from mathpipe.datasets.errors import UserError
from mathpipe.datasets.matrices import Matrices
from mathpipe.datasets.reader import Dataset, open_dataset
from mathpipe.datasets.sequences import PAD
from mathpipe.datasets.shards import Rows
from mathpipe.datasets.storage import Storage
from mathpipe.evaluate.baselines import Constants, Yardsticks
from mathpipe.evaluate.decoding import Decoded, decoding_mode, greedy
from mathpipe.evaluate.failures import Failure, FailureWriter, Worst, failures
from mathpipe.evaluate.predictions import PredictionsWriter, predictions_table, read_predictions
from mathpipe.evaluate.scoring import OUTCOMES, TOLERANCE, Scored, score
from mathpipe.evaluate.summary import COLUMNS, Metrics, accuracy_curve, summarise, summary_text
from mathpipe.generate.tasks import matrix_task
from mathpipe.train.checkpoint import RunRecord, load_model
from mathpipe.train.model import Transformer

PREDICTIONS = "predictions.parquet"
METRICS = "metrics.json"
CURVE = "accuracy_by_tolerance.csv"
FAILURES = "failures.jsonl.zst"

_CHUNK_ROWS = 10_000
_CHUNK_WORDS = 2_000_000  # predicted words held at a time: 16 MB of token ids
_CONSTANT_ROWS = 10_000  # references from which the constant baselines are taken


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation found and where it lies. ``worst`` is empty, and ``failures`` None, unless it was verbose."""

    directory: str
    metrics: Metrics
    text: str
    predictions: str
    metrics_file: str
    curve: str
    failures: str | None
    worst: tuple[Failure, ...]


def evaluate_run(
    run_dir: str | Path,
    data_dir: str | Path | None = None,
    split: str = "test",
    limit: int | None = None,
    batch_size: int = 256,
    out_dir: str | Path | None = None,
    verbose: bool = False,
    device: str | None = None,
    progress: bool | None = None,
) -> Evaluation:
    """Evaluate the last checkpoint of ``run_dir`` on a split of its own dataset, or of ``data_dir`` (same task, any law).

    ``limit``: only the first so many rows. ``device``: CUDA when there is one, else the CPU. ``progress``: a bar; by default
    only on a terminal. UserError for a run, dataset or split that is missing, damaged or does not fit.
    """
    started = time.perf_counter()
    model, record = load_model(run_dir, chosen_device(device))
    dataset = dataset_of_run(record, data_dir, split)
    n = _row_count(dataset, limit, batch_size)
    task, clock = matrix_task(dataset.task), Clock()
    longest = longest_answer(dataset, n)
    yardsticks = Yardsticks(task, dataset.target, _constants(dataset, n))
    storage, worst = Storage(str(out_dir or Path(run_dir) / "evaluation" / split)), Worst()
    metadata = _metadata(run_dir, record, dataset, n, longest + 1)
    with ExitStack() as files:
        predictions = PredictionsWriter(files.enter_context(storage.write(PREDICTIONS)), metadata)
        dump = FailureWriter(files.enter_context(storage.write(FAILURES))) if verbose else None
        for scored in scored_chunks(model, dataset, n, longest, batch_size, clock, progress):
            with clock("yardsticks"):
                yardsticks.add(scored)
            with clock("writing"):
                predictions.append(predictions_table(scored, split, dataset.source, dataset.target))
                if dump is not None:
                    dump.append(worst.seen(failures(task, scored, split, dataset.target)))
        predictions.close()
        if dump is not None:
            dump.close()
        _remove_earlier(storage, verbose)
    table = read_predictions(storage.path(PREDICTIONS), COLUMNS, storage.fs)
    metrics = summarise(table, task, yardsticks, clock.seconds | {"total": time.perf_counter() - started})
    storage.write_text(CURVE, accuracy_curve(table, task, yardsticks))
    storage.write_text(METRICS, json.dumps(metrics, indent=2, allow_nan=False) + "\n")
    return Evaluation(
        directory=storage.path(),
        metrics=metrics,
        text=summary_text(metrics),
        predictions=storage.path(PREDICTIONS),
        metrics_file=storage.path(METRICS),
        curve=storage.path(CURVE),
        failures=storage.path(FAILURES) if verbose else None,
        worst=tuple(worst.chosen()) if verbose else (),
    )


def quick_accuracy(
    model: Transformer, dataset: Dataset, limit: int = 1000, tolerance: float = TOLERANCE, batch_size: int = 256
) -> dict[str, float]:
    """Greedy accuracy on the first ``limit`` rows, for a model in training, which is left as it was.

    ``accuracy``: passed the error test at ``tolerance``; ``accuracy_published``: passed or exact; ``exact`` and
    ``unreadable``: shares of these outcomes (malformed and unterminated together); ``mean_log_probability``.
    """
    n = _row_count(dataset, limit, batch_size)
    found = list(
        scored_chunks(model, dataset, n, longest_answer(dataset, n), batch_size, tolerance=tolerance, progress=False)
    )
    outcome = np.concatenate([scored.outcome for scored in found])
    names = np.array(OUTCOMES)[outcome]
    return {
        "accuracy": float(np.concatenate([scored.passed for scored in found]).mean()),
        "accuracy_published": float(np.concatenate([scored.correct_published for scored in found]).mean()),
        "exact": float((names == "exact").mean()),
        "unreadable": float(np.isin(names, ["malformed", "unterminated"]).mean()),
        "mean_log_probability": float(np.concatenate([scored.decoded.log_probability for scored in found]).mean()),
    }


@dataclass
class Clock:
    """Adds up the seconds spent on each part."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def __call__(self, part: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[part] = self.seconds.get(part, 0.0) + time.perf_counter() - start


def scored_chunks(
    model: Transformer,
    dataset: Dataset,
    n: int,
    longest: int,
    batch_size: int,
    clock: Clock | None = None,
    progress: bool | None = None,
    tolerance: float = TOLERANCE,
) -> Iterator[Scored]:
    """The first n rows, decoded and scored, a chunk at a time."""
    task, clock = matrix_task(dataset.task), clock or Clock()
    size = max(min(_CHUNK_ROWS, _CHUNK_WORDS // (longest + 1)), 1)
    with tqdm(total=n, unit="problem", desc="evaluate", disable=None if progress is None else not progress) as bar:
        for rows in dataset.chunks(size, stop=n):
            with clock("decoding"):
                decoded = decode_rows(model, dataset, rows, longest + 1, batch_size, bar)
            with clock("scoring"):
                scored = score(task, dataset.target, rows, decoded, tolerance=tolerance)
            yield scored


def decode_rows(
    model: Transformer, dataset: Dataset, rows: Rows, max_length: int, batch_size: int, bar: Any = None
) -> Decoded:
    """Greedy predictions for rows, in their order; decoded in batches of similar lengths."""
    tokens = np.full((len(rows), max_length), PAD, dtype=np.int64)
    log_probability = np.zeros(len(rows))
    order = np.lexsort((rows.operands.sizes, rows.solutions.sizes))
    with decoding_mode(model) as device:
        for start in range(0, len(rows), batch_size):
            index = order[start : start + batch_size]
            decoded = greedy(model, dataset.batch(rows.take(index), device).source, max_length)
            tokens[index, : decoded.tokens.shape[1]] = decoded.tokens
            log_probability[index] = decoded.log_probability
            if bar is not None:
                bar.update(len(index))
    return Decoded(tokens, log_probability)


def longest_answer(dataset: Dataset, n: int) -> int:
    """Words of the longest right answer among the first n rows, END not counted.

    Decoding stops one word later: whatever comes after a complete answer makes it malformed.
    """
    largest = max(int(rows.solutions.sizes.max()) for rows in dataset.chunks(stop=n))
    return dataset.target.length(1, largest)


def dataset_of_run(record: RunRecord, data_dir: str | Path | None, split: str) -> Dataset:
    """The split to evaluate on, in the run's encodings; UserError where it does not fit the run."""
    directory = str(data_dir or record.data)
    dataset = open_dataset(directory, split, record.input_encoding, record.output_encoding, record.precision)
    if dataset.task != record.task:
        raise UserError(
            f"{directory} holds another task than the run was trained on", expected=record.task, got=dataset.task
        )
    if data_dir is None and dataset.manifest.law != record.law:
        raise UserError(
            f"{directory} no longer holds the data this run was trained on",
            expected=f"the law {json.dumps(record.law, sort_keys=True)}",
            got=json.dumps(dataset.manifest.law, sort_keys=True),
            cause="the dataset was generated anew with other parameters",
            next_step=f"train again, or name the dataset to evaluate on, `--data {directory}`, to do so all the same",
        )
    return dataset


def chosen_device(device: str | None) -> str:
    """CUDA when there is one, else the CPU, unless another is asked for."""
    if device is None:
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise UserError(
            "no CUDA device can be used", got=f"device {device!r}", next_step="leave the device out, or name cpu"
        )
    return device


def _row_count(dataset: Dataset, limit: int | None, batch_size: int) -> int:
    for name, value in (("limit", limit), ("batch_size", batch_size)):
        if value is not None and value < 1:
            raise UserError(f"{name} is out of range", expected="at least 1", got=value)
    n = len(dataset) if limit is None else min(limit, len(dataset))
    if not n:
        raise UserError(f"{dataset.directory}: split {dataset.split} is empty", next_step="choose another split")
    return n


def _constants(dataset: Dataset, n: int) -> Constants:
    parts = [rows.solutions for rows in dataset.chunks(stop=min(n, _CONSTANT_ROWS))]
    return Constants.of(Matrices.concatenate(parts))


def _metadata(run_dir: str | Path, record: RunRecord, dataset: Dataset, n: int, max_length: int) -> dict[str, Any]:
    """What the predictions file says of itself."""
    return {
        "run": str(run_dir),
        "step": record.step,
        "data": dataset.directory,
        "dataset_digest": dataset.digest,
        "task": dataset.task,
        "law": dataset.law,
        "split": dataset.split,
        "rows": n,
        "input_encoding": record.input_encoding,
        "output_encoding": record.output_encoding,
        "precision": record.precision,
        "tolerance": TOLERANCE,
        "decoding": "greedy",
        "max_length": max_length,
    }


def _remove_earlier(storage: Storage, verbose: bool) -> None:
    """Before new predictions take their name, what an earlier evaluation said goes: one directory, one evaluation."""
    storage.remove(METRICS)
    if not verbose:
        storage.remove(FAILURES)
