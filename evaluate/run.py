"""One evaluation of a run: decode once, score, write; everything else is a query over what was written.

    test split -> decoding -> scoring by mathematics -> predictions.parquet -> metrics, analyses, failures, report

Results lie in ``<run>/evaluation/<split>``, or with what is not as by default after dots (``test.beam-10.first-1000``):

==============================  ==================================================================
predictions.parquet             one row a hypothesis; all else is a query over it
accuracy_by_tolerance.csv       for a plot
analyses/                       one small table (CSV) and plot (SVG) for each question; analyses.json holds them all
report.html                     a page to read
failures.jsonl.zst              every failed problem, with ``verbose`` only
metrics.json                    written last: if it is there, the evaluation is whole
==============================  ==================================================================

One that was killed goes on where it stopped (see ``mathpipe.evaluate.partial_results``).
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mathpipe.datasets.dataset import Dataset, open_dataset
from mathpipe.datasets.errors import UserError
from mathpipe.datasets.io.storage import Storage
from mathpipe.datasets.tokenizers.matrix_tokenizer import PAD
from mathpipe.evaluate.analyze.baselines import Tally
from mathpipe.evaluate.analyze.summary import Metrics
from mathpipe.evaluate.build_report import METRICS, PREDICTIONS, Described, describe, remove_earlier
from mathpipe.evaluate.decode.beam_search import beam_search
from mathpipe.evaluate.decode.decoding import GREEDY, Decoded, Decoding, decoding_mode, greedy, sample
from mathpipe.evaluate.evaluation_progress import EvaluationProgress, NoProgress
from mathpipe.evaluate.failures.failure_dump import Failure
from mathpipe.evaluate.partial_results import Parts, identity
from mathpipe.evaluate.problem_types import Kind, kind_of
from mathpipe.evaluate.score.matrix_scoring import TOLERANCE, Verdicts
from mathpipe.evaluate.score.token_accuracy import right_tokens
from mathpipe.train.model.interface import Model
from mathpipe.train.run.checkpoint import RunRecord, load_model

_CHUNK_ROWS = 2_000  # problems of a part: what a killed evaluation may have to do again
_CHUNK_WORDS = 2_000_000  # predicted words held at a time: 16 MB of token ids
_TOGETHER = (512, 2_048)  # hypotheses, on a CPU and on a GPU, which takes as long for 2,000 as for 100
_FEWEST = 8  # problems decoded together, however many hypotheses each has


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation found and where it lies. ``worst`` is empty, and ``failures`` None, unless it was verbose."""

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
    how: Decoding = GREEDY,
    workers: int = 0,
) -> Evaluation:
    """Evaluate a checkpoint of ``run_dir`` on a split of its own dataset, or of ``data_dir`` (same task, any spec).

    ``checkpoint``: ``last``, ``best`` or a file in the run's directory. ``limit``: only the first so many rows. ``how``: greedy,
    beam search, sampling, constrained or not. ``device``: CUDA when there is one, else the CPU. ``batch_size``: hypotheses decoded
    together, by default 512 on a CPU and 2,048 on a GPU. ``workers``: processes that judge expressions. ``progress`` is told of
    each batch of problems that was decoded.
    UserError for a run, dataset or split that is missing, damaged or does not fit.
    """
    started = time.perf_counter()
    model, record = load_model(run_dir, chosen_device(device), checkpoint)
    dataset = dataset_of_run(record, data_dir, split)
    n = _row_count(dataset, limit, batch_size)
    kind, clock = kind_of(dataset, workers), Clock()
    max_length = kind.max_length(n)
    other_data = None if data_dir is None or str(data_dir) == record.data else str(data_dir)
    name = _name_of(split, checkpoint, how, None if n == len(dataset) else n, other_data)
    storage = Storage(str(out_dir or Path(run_dir) / "evaluation" / name))
    metadata = _metadata(run_dir, checkpoint, record, dataset, n, max_length, how)
    parts = Parts(
        storage, identity(model, {**metadata, "run": None, "checkpoint": None, "data": None, "chunk": _CHUNK_ROWS})
    )
    yardsticks, tally, count = None, Tally(), 0
    progress = progress or NoProgress()
    with kind.ready(), closing(progress):
        progress.start(n)
        for rows in dataset.chunks(_chunk_size(max_length, how), stop=n):
            found = parts.find(count)
            if found is None:
                yardsticks = yardsticks or kind.yardsticks(n)
                with clock("decoding"):
                    decoded = decode_rows(model, dataset, rows, max_length, batch_size, progress.advance, how, kind)
                with clock("scoring"):
                    scored = kind.score(rows, decoded)
                with clock("yardsticks"):
                    found = yardsticks.tally(scored)  # type: ignore[arg-type]  # of the same kind
                with clock("writing"):
                    parts.write(count, kind.table(scored, split), found)
            else:
                progress.advance(len(rows), fresh=False)
            tally, count = tally + found, count + 1
    with clock("writing"):
        remove_earlier(storage)
        parts.join(count, PREDICTIONS, {**metadata, "yardsticks": tally.to_json(), "outcomes": list(kind.outcomes)})
    with clock("analyses"):
        told = describe(storage, verbose=verbose, seconds=clock.seconds, started=started)
    parts.remove()
    return _evaluation(storage, told)


def _name_of(split: str, checkpoint: str, how: Decoding, limit: int | None, other_data: str | None) -> str:
    """Of the directory of results: the split, and after dots whatever is not as by default. Splits have no dots in their names."""
    parts = [split]
    if other_data is not None:
        parts.append(f"of-{other_data.rstrip('/').rsplit('/', 1)[-1]}")
    if checkpoint != "last":
        parts.append(Path(checkpoint).stem)
    if how.temperature:
        parts.append(f"sampled-{how.samples}-at-{how.temperature:g}-seed-{how.seed}")
    elif how.beam > 1:
        parts.append(f"beam-{how.beam}")
        if how.length_penalty != 1:
            parts.append(f"penalty-{how.length_penalty:g}")
        if not how.early_stopping:
            parts.append("to-the-end")
    if how.constrained:
        parts.append("constrained")
    if limit is not None:
        parts.append(f"first-{limit}")
    return ".".join(parts)


def _evaluation(storage: Storage, told: Described) -> Evaluation:
    return Evaluation(
        directory=storage.path(),
        metrics=told.metrics,
        text=told.text,
        predictions=storage.path(PREDICTIONS),
        metrics_file=storage.path(METRICS),
        curve=told.curve,
        report=told.report,
        failures=told.failures,
        worst=told.worst,
    )


QUICK = ("accuracy", "accuracy_published", "exact", "unreadable", "token_accuracy", "mean_log_probability")


def quick_measures(dataset: Dataset) -> tuple[str, ...]:
    """The names of what ``quick_accuracy`` measures."""
    return (*QUICK, *kind_of(dataset).measures)


def quick_accuracy(
    model: Model, dataset: Dataset, limit: int = 1000, tolerance: float = TOLERANCE, batch_size: int | None = None
) -> dict[str, float]:
    """Greedy accuracy on the first ``limit`` rows, for a model in training, which is left as it was.

    ``accuracy``: passed the error test at ``tolerance``; ``accuracy_published``: passed or exact; ``exact`` and
    ``unreadable``: shares of these outcomes (malformed and unterminated together); ``token_accuracy``: the share of the references'
    words predicted at their place; what the task measures besides, such as ``bit_accuracy``; ``mean_log_probability``.
    """
    n = _row_count(dataset, limit, batch_size)
    kind = kind_of(dataset, tolerance=tolerance)
    max_length, found = kind.max_length(n), list[Verdicts]()
    right, words = 0, 0
    for rows in dataset.chunks(_chunk_size(max_length, GREEDY), stop=n):
        decoded = decode_rows(model, dataset, rows, max_length, batch_size)
        hits, places = right_tokens(decoded.tokens, dataset.encode(rows).target)
        right, words = right + int(hits.sum()), words + int(places.sum())
        found.append(kind.score(rows, decoded))
    names = np.array(kind.outcomes)[np.concatenate([scored.outcome for scored in found])]
    return {
        "accuracy": float(np.concatenate([scored.passed for scored in found]).mean()),
        "accuracy_published": float(np.concatenate([scored.correct_published for scored in found]).mean()),
        "exact": float((names == "exact").mean()),
        "unreadable": float(np.isin(names, ["malformed", "unterminated"]).mean()),
        "token_accuracy": right / words,
        **{
            name: float(np.nan_to_num(np.concatenate([scored.errors[name] for scored in found])).mean())
            for name in kind.measures
        },
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


def decode_rows(
    model: Model,
    dataset: Dataset,
    rows: Any,
    max_length: int,
    batch_size: int | None = None,
    on_rows: Callable[[int], object] = lambda rows: None,
    how: Decoding = GREEDY,
    kind: Kind | None = None,
) -> Decoded:
    """Predictions for rows, in their order; decoded in batches of similar lengths. ``kind`` gives a grammar where one is wanted."""
    model.check(rows)
    encoded = dataset.encode(rows)
    order = np.lexsort((encoded.source_lengths, encoded.target_lengths))
    found: list[Decoded] = []
    with decoding_mode(model) as device:
        together = batch_size or _TOGETHER[device.type == "cuda"]
        size = max(together // how.hypotheses, min(_FEWEST, together))
        for start in range(0, len(rows), size):
            index = order[start : start + size]
            part = _decode(model, encoded.batch(index, device).source, rows.take(index), max_length, how, kind, device)
            found.append(Decoded(part.tokens, part.log_probability, index[part.problem], part.rank))
            on_rows(len(index))
    return _joined(found)


def _decode(
    model: Model,
    source: torch.Tensor,
    rows: Any,
    max_length: int,
    how: Decoding,
    kind: Kind | None,
    device: torch.device,
) -> Decoded:
    def grammar() -> Any:
        return kind.grammar(rows, max_length, device) if how.constrained and kind is not None else None

    if how.temperature:
        return sample(model, source, max_length, rows.row, how, grammar)
    if how.beam > 1:
        return beam_search(model, source, max_length, how, grammar())
    return greedy(model, source, max_length, grammar())


def _joined(parts: list[Decoded]) -> Decoded:
    """All hypotheses in the order of problems and ranks."""
    width = max(part.tokens.shape[1] for part in parts)
    tokens = np.concatenate(
        [np.pad(p.tokens, ((0, 0), (0, width - p.tokens.shape[1])), constant_values=PAD) for p in parts]
    )
    log_probability, problem, rank = (
        np.concatenate([getattr(p, name) for p in parts]) for name in ("log_probability", "problem", "rank")
    )
    order = np.lexsort((rank, problem))
    return Decoded(tokens[order], log_probability[order], problem[order], rank[order])


def _chunk_size(max_length: int, how: Decoding) -> int:
    return max(min(_CHUNK_ROWS, _CHUNK_WORDS // (max_length * how.hypotheses)), 1)


def dataset_of_run(record: RunRecord, data_dir: str | Path | None, split: str) -> Dataset:
    """The split to evaluate on, in the run's encodings; UserError where it does not fit the run."""
    directory = str(data_dir or record.data)
    dataset = open_dataset(directory, split, record.input_encoding, record.output_encoding, record.precision)
    if dataset.task != record.task:
        raise UserError(
            f"{directory} holds another task than the run was trained on", expected=record.task, got=dataset.task
        )
    if data_dir is None and dataset.manifest.spec != record.spec:
        raise UserError(
            f"{directory} no longer holds the data this run was trained on",
            expected=f"the spec {json.dumps(record.spec, sort_keys=True)}",
            got=json.dumps(dataset.manifest.spec, sort_keys=True),
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


def _row_count(dataset: Dataset, limit: int | None, batch_size: int | None) -> int:
    for name, value in (("limit", limit), ("batch_size", batch_size)):
        if value is not None and value < 1:
            raise UserError(f"{name} is out of range", expected="at least 1", got=value)
    n = len(dataset) if limit is None else min(limit, len(dataset))
    if not n:
        raise UserError(f"{dataset.directory}: split {dataset.split} is empty", next_step="choose another split")
    return n


def _metadata(
    run_dir: str | Path, checkpoint: str, record: RunRecord, dataset: Dataset, n: int, max_length: int, how: Decoding
) -> dict[str, Any]:
    """What the predictions file says of itself."""
    return {
        "run": str(run_dir),
        "checkpoint": checkpoint,
        "step": record.step,
        "data": dataset.directory,
        "dataset_digest": dataset.digest,
        "task": dataset.task,
        "kind": dataset.kind,
        "spec": dataset.spec,
        "trained_spec": record.spec,
        "split": dataset.split,
        "rows": n,
        "input_encoding": record.input_encoding,
        "output_encoding": record.output_encoding,
        "precision": record.precision,
        "tolerance": TOLERANCE,
        "decoding": str(how),
        "decoding_settings": asdict(how),
        "max_length": max_length,
    }
