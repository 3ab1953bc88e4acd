"""Right answers of evaluations as a dataset: predictions that passed verification, of any rank, with their origin.

An example is a problem of the evaluated dataset and an answer of the model. Pairs that occur several times are stored once, and
each stays in its split. ``_origin/<split>.arrow`` names, row by row, the evaluation, the row of the problem in its dataset and the
rank of the hypothesis; the spec names run, checkpoint and step of each evaluation.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mathpipe.datasets.dataset import Dataset, open_dataset
from mathpipe.datasets.errors import UserError
from mathpipe.datasets.format.manifest import MANIFEST
from mathpipe.datasets.io.locations import resolve_location
from mathpipe.datasets.io.source_files import checksum
from mathpipe.datasets.io.storage import Storage
from mathpipe.datasets.io.table_files import read_schema
from mathpipe.datasets.rendering.plurals import counted
from mathpipe.datasets.tokenizers.tokenizer import END, PAD, DecodeStatus
from mathpipe.evaluate.evaluation_directory import PREDICTIONS
from mathpipe.evaluate.predictions import expect_predictions, predictions_metadata, read_predictions
from mathpipe.generate.curate.dataset_import import RejectedLines, write_imported
from mathpipe.generate.curate.import_batches import ImportedBatch
from mathpipe.generate.curate.import_parts.import_part import ImportPart
from mathpipe.generate.curate.import_parts.import_registry import IMPORT_PARTS
from mathpipe.generate.dataset_spec import DatasetSpec, ImportedSpec, SourceFile, SourceFormat
from mathpipe.generate.splits import TEST, TRAIN, VALID
from mathpipe.generate.tasks.task import Task
from mathpipe.generate.tasks.task_registry import get_task

SPLITS = (TRAIN, VALID, TEST)
ORIGIN = "_origin"
_COLUMNS = ["row", "rank", "prediction", "passed", "outcome", "evidence", "log_probability"]
_ORIGIN_SCHEMA = pa.schema(
    [
        pa.field("row", pa.int64(), nullable=False),
        pa.field("evaluation", pa.string(), nullable=False),
        pa.field("source_row", pa.int64(), nullable=False),
        pa.field("rank", pa.int32(), nullable=False),
        pa.field("outcome", pa.string()),
        pa.field("evidence", pa.string()),
        pa.field("log_probability", pa.float64()),
    ]
)
_CHUNK_ROWS = 10_000


@dataclass(frozen=True)
class Evaluation:
    """The predictions of one evaluation. ``name``: that of its directory; ``metadata``: of the file."""

    name: str
    predictions: str
    metadata: dict[str, Any]
    dataset: Dataset

    @property
    def split(self) -> str:
        return self.dataset.split

    def origin(self) -> dict[str, Any]:
        """Run, checkpoint and data, as the spec of the harvest stores them."""
        names = ("run", "checkpoint", "step", "data", "dataset_digest", "split", "decoding")
        return {"evaluation": self.name, **{name: self.metadata[name] for name in names}}


@dataclass(frozen=True)
class HarvestResult:
    """``rows``: examples by split; ``num_right``: right hypotheses, ``num_repeated``: those that were there already.

    ``skipped``: evaluations of splits other than train, valid and test.
    """

    rows: dict[str, int]
    num_right: int
    num_repeated: int
    skipped: tuple[str, ...]
    fingerprint: str


def harvest(source: str | Path, out: str) -> HarvestResult:
    """Write the right answers of the evaluations of a run, of one evaluation, or of a predictions file as a dataset.

    UserError if there is no evaluation, no right answer, or the evaluated dataset is gone or another.
    """
    evaluations, skipped = _evaluations(Path(source))
    task = get_task(evaluations[0].metadata["task"], evaluations[0].dataset.spec.get("source_digest"))
    part = IMPORT_PARTS[task.problem_type]
    spec = _spec(task, part, evaluations)
    collection = _Collection(part)
    batches = {s: collection.batches([e for e in evaluations if e.split == s]) for s in SPLITS}
    used = {s: stream for s, stream in batches.items() if s in {e.split for e in evaluations}}
    if TRAIN in used:
        used.setdefault(VALID, iter(()))  # training opens this split; without an evaluation of it, it is empty

    def no_examples() -> UserError:
        return UserError(
            f"{source} holds no right answer",
            got=f"{counted(len(evaluations), 'evaluation')} without a prediction that passed verification",
            next_step="evaluate a better checkpoint, or more hypotheses: mathpipe eval --split train --beam 10",
        )

    manifest, _ = write_imported(
        *(spec, out, used, RejectedLines(None, ""), no_examples),
        extra_folder=ORIGIN,
        write_extra=lambda storage: _write_origins(storage, collection.origins),
    )
    rows = {name: split.rows for name, split in manifest.splits.items()}
    return HarvestResult(rows, collection.num_right, collection.num_repeated, skipped, manifest.fingerprint)


def _evaluations(source: Path) -> tuple[list[Evaluation], tuple[str, ...]]:
    """The evaluations of train, valid and test, in the order of their names; and the names of the others."""
    candidates = [source] if source.is_file() else [source / PREDICTIONS]
    files = [path for path in candidates if path.is_file()] or sorted(source.glob(f"evaluation/*/{PREDICTIONS}"))
    evaluations = [_open_evaluation(path) for path in files]
    fitting = [each for each in evaluations if each.split in SPLITS]
    if not fitting:
        raise UserError(
            f"{source} holds no evaluation",
            expected=f"a run, the directory of an evaluation, or {PREDICTIONS}",
            got=", ".join(each.name for each in evaluations) or "none",
            next_step="evaluate the run first: mathpipe eval --split train --beam 10",
        )
    _check_same_format(fitting)
    return fitting, tuple(each.name for each in evaluations if each.split not in SPLITS)


def _open_evaluation(path: Path) -> Evaluation:
    metadata = predictions_metadata(path)
    if None in (metadata.get("data"), metadata.get("dataset_digest")):
        raise UserError(f"{path} names no dataset", cause="its predictions were imported", next_step="evaluate a run")
    place = resolve_location(metadata["data"], path.parent, lambda place: Storage(place).size(MANIFEST) is not None)
    with expect_predictions(path):
        encodings = (metadata["input_encoding"], metadata["output_encoding"])
        dataset = open_dataset(place, metadata["split"], *encodings, metadata["precision"])
    if dataset.digest != metadata["dataset_digest"]:
        raise UserError(
            f"{place} no longer contains the problems of {path}",
            expected=str(metadata["dataset_digest"])[:12],
            got=dataset.digest[:12],
            next_step="evaluate again",
        )
    return Evaluation(path.parent.name, str(path), metadata, dataset)


def _check_same_format(evaluations: Sequence[Evaluation]) -> None:
    first = evaluations[0].dataset
    for each in evaluations[1:]:
        if each.dataset.task != first.task or _schema(each.dataset).names != _schema(first).names:
            raise UserError(
                f"{each.metadata['data']} and {first.directory} hold examples of different kinds",
                expected="evaluations of one task, on datasets with the same columns",
                next_step="harvest the evaluations one by one",
            )


def _schema(dataset: Dataset) -> pa.Schema:
    return read_schema(f"{dataset.directory}/{dataset.shards.shards[0].file}", "parquet")


def _spec(task: Task[Any], part: ImportPart, evaluations: Sequence[Evaluation]) -> DatasetSpec:
    """The spec of the harvest: an import of predictions, with the origin of each file."""
    dataset = evaluations[0].dataset
    stored = dataset.spec["problems"]
    roles = ["problem", "solution", *(name for name in part.optional_roles(task) if name in _schema(dataset).names)]
    layouts = [stored.get(f"{side}_layout") for side in ("problem", "solution")]
    source = SourceFormat.model_validate(
        {
            "format": "parquet",
            "columns": {role: role for role in roles},
            "stored_layouts": None if None in layouts else layouts,
        }
    )
    alphabet = tuple(stored["alphabet"]) if "alphabet" in stored else None
    fields = part.stored_fields(task, source, alphabet, lambda: iter(()))
    problems = ImportedSpec(
        problem_type=part.problem_type,
        sources=tuple(
            SourceFile(split=e.split, name=f"{e.name}/{PREDICTIONS}", sha256=checksum(e.predictions))
            for e in evaluations
        ),
        checked=True,
        source=source,
        origins=[each.origin() for each in evaluations],
        **fields,
    )
    digest = dataset.spec.get("source_digest")
    return DatasetSpec(task=task.name, problems=problems, chunk_rows=part.chunk_rows, source_digest=digest)


@dataclass
class _Collection:
    """Collects distinct pairs of problem and answer. ``origins``: by split, a table for each batch."""

    part: ImportPart
    origins: dict[str, list[pa.Table]] = field(default_factory=dict)
    num_right: int = 0
    num_repeated: int = 0
    _pairs: set[tuple[int, str]] = field(default_factory=set)

    def batches(self, evaluations: Sequence[Evaluation]) -> Iterator[ImportedBatch]:
        """The new pairs of these evaluations of one split."""
        for evaluation in evaluations:
            with expect_predictions(evaluation.predictions):
                table = read_predictions(evaluation.predictions, _COLUMNS).select(_COLUMNS)
            table = table.filter(pc.equal(table["passed"], True))
            self.num_right += len(table)
            yield from self._of_evaluation(evaluation, table)

    def _of_evaluation(self, evaluation: Evaluation, table: pa.Table) -> Iterator[ImportedBatch]:
        rows = table["row"].to_numpy()
        first = 0
        for examples in evaluation.dataset.chunks(_CHUNK_ROWS, stop=int(rows.max(initial=-1)) + 1):
            index = np.flatnonzero((rows >= first) & (rows < first + len(examples)))
            if len(index):
                repeated = examples.take(rows[index] - first)
                yield self._new_pairs(evaluation, repeated, table.take(pa.array(index)))
            first += len(examples)

    def _new_pairs(self, evaluation: Evaluation, examples: Any, table: pa.Table) -> ImportedBatch:
        predictions = table["prediction"].to_pylist()
        answers, readable = _decode(evaluation.dataset, predictions)
        hashes = self.part.problem_hash(examples)
        new = np.zeros(len(examples), dtype=np.bool_)
        for i, pair in enumerate(zip(hashes.tolist(), predictions, strict=True)):
            new[i] = readable[i] and pair not in self._pairs
            self._pairs.add(pair)
        index = np.flatnonzero(new)
        self.num_repeated += len(examples) - len(index)
        pairs = replace(examples, solutions=answers).take(index)
        self._add_origin(evaluation, table.take(pa.array(index)))
        return ImportedBatch(pairs, hashes[index], self.part.split_hash(pairs), [], len(index))

    def _add_origin(self, evaluation: Evaluation, table: pa.Table) -> None:
        tables = self.origins.setdefault(evaluation.split, [])
        first, n = sum(map(len, tables)), len(table)
        columns = {
            "row": pa.array(np.arange(first, first + n)),
            "evaluation": pa.array([evaluation.name] * n, pa.string()),
            "source_row": table["row"],
            **{name: table[name] for name in ("rank", "outcome", "evidence", "log_probability")},
        }
        tables.append(pa.table([columns[name] for name in _ORIGIN_SCHEMA.names], schema=_ORIGIN_SCHEMA))


def _decode(dataset: Dataset, predictions: Sequence[str]) -> tuple[Any, Any]:
    """(answers as containers hold them, which of them can be read (n,)) of texts of tokens."""
    ids = [dataset.target.tokens_to_ids(text.split()) for text in predictions]
    tokens = np.full((len(ids), max(map(len, ids), default=0) + 1), PAD, dtype=np.int64)
    for row, each in zip(tokens, ids, strict=True):
        row[: len(each)], row[len(each)] = each, END
    answers, status = dataset.target.decode(tokens)
    return answers, status == DecodeStatus.OK


def _write_origins(storage: Storage, origins: dict[str, list[pa.Table]]) -> None:
    for split, tables in origins.items():
        table = pa.concat_tables(tables)
        with (
            storage.write(f"{ORIGIN}/{split}.arrow") as file,
            pa.ipc.new_file(pa.PythonFile(file, mode="w"), table.schema) as writer,
        ):
            writer.write_table(table)


def describe(result: HarvestResult, out: str, *, as_json: bool) -> str:
    """The result as text for a terminal, or as JSON."""
    if as_json:
        return json.dumps(
            {
                "out": out,
                "fingerprint": result.fingerprint,
                "rows": result.rows,
                "right": result.num_right,
                "repeated": result.num_repeated,
                "skipped": list(result.skipped),
            }
        )
    sizes = ", ".join(f"{name} {rows:,}" for name, rows in result.rows.items())
    right = counted(result.num_right, "right answer")
    return f"{out}: {sizes} examples, from {right}, of which {result.num_repeated:,} repeat others"
