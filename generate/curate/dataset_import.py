"""Import files as a dataset: read every record, verify every solution, keep the splits, count their overlaps.

Rows keep the order of the files; the spec names each file by its sha256. A record is rejected if it is no example of the task, or
has a solution that the task does not verify as correct. Files without validation examples give those of training whose hash lies
in the share of ``valid``, as generation does. Memory holds one chunk of rows, and a hash of 8 bytes for each problem of valid and
test.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from types import MappingProxyType
from typing import Any, Self

import numpy as np

from mathpipe.datasets.errors import UserError
from mathpipe.datasets.format.directory import CARD, RECORDS, record_folder, shard_file
from mathpipe.datasets.format.example_formats import ExampleFormat
from mathpipe.datasets.format.examples import concatenate
from mathpipe.datasets.format.foreign_shards import foreign_shards, other_files
from mathpipe.datasets.format.manifest import MANIFEST, Manifest, ShardRecord, Split, find_manifest, parse_record
from mathpipe.datasets.format.shard_writer import ShardWriter
from mathpipe.datasets.io.foreign_files import is_foreign
from mathpipe.datasets.io.import_records import Fault, Fields, Record, RejectedLine, read_fields
from mathpipe.datasets.io.source_files import checksum, read_records
from mathpipe.datasets.io.storage import HashingFile, Storage, is_temporary
from mathpipe.generate.build.locking import lock_directory
from mathpipe.generate.cards.dataset_card import finish_dataset
from mathpipe.generate.curate.import_batches import ImportedBatch, import_batch
from mathpipe.generate.curate.import_parts.import_part import Hashes, ImportPart
from mathpipe.generate.curate.import_parts.import_registry import import_part, stored_rows
from mathpipe.generate.curate.import_sources import Files, find_files, resolve_source
from mathpipe.generate.curate.notation_suggestions import MAX_RECORDS, suggest_notation
from mathpipe.generate.dataset_spec import DatasetSpec, ImportedSpec, SourceFile, SourceFormat, imported_spec
from mathpipe.generate.execution.ordered_map import map_in_order
from mathpipe.generate.provenance import collect_provenance
from mathpipe.generate.splits import TEST, TRAIN, VALID, in_split
from mathpipe.generate.tasks.task import Task
from mathpipe.generate.tasks.task_registry import load_task

MAX_LISTED_LINES = 20  # rejected lines that are shown
PUBLISHED = SourceFormat()
SHARD_ROWS = 100_000
_BATCH_LINES = 2_000
_WORKER_LINES = range(8, 500)  # of a batch for a worker: lines that need SymPy take seconds each
_FOLDERS = [folder for split in (TRAIN, VALID, TEST) for folder in (split, record_folder(split))]


@dataclass
class ImportResult:
    """The result of an import. ``overlaps``: how many problems of the second split also occur in the first.

    ``skipped``: number of lines by kind; ``skipped_lines``: the first of them; ``num_verified``: verified solutions.
    """

    manifest: Manifest
    skipped: dict[str, int]
    skipped_lines: list[RejectedLine]
    num_verified: int
    overlaps: dict[tuple[str, str], int]


def import_dataset(
    task: str,
    files: Mapping[str, Sequence[str]],
    url: str,
    *,
    check: bool = True,
    max_bad: int | None = None,
    shard_rows: int = SHARD_ROWS,
    source: SourceFormat = PUBLISHED,
    alphabet: tuple[str, ...] | None = None,
    workers: int = 0,
    options: Mapping[str, Any] = MappingProxyType({}),
    on_rows: Callable[[int], object] = lambda rows: None,
) -> ImportResult:
    """Read the files of each split (train, valid, test) into a dataset at ``url``.

    ``check``: verify every solution, three times as slow as reading it; otherwise wrong solutions are written as well.
    ``source``: how the files write examples. ``alphabet``: of sequences, by default the task's or the tokens of the files.
    ``workers``: number of processes that read and verify lines; 0: this one. The dataset does not depend on it.
    ``options``: of the task, by which answers are verified, such as the modulus of ``modular-add``.
    UserError if more than ``max_bad`` lines are rejected, if no line remains, or if ``url`` holds anything else.
    """
    named_task = load_task(task).with_options(options)
    part, split_files = import_part(named_task), find_files(files)
    spec = _dataset_spec(named_task, part, split_files, source, alphabet, check)
    problems = imported_spec(spec)
    expected = _expected(problems.source, task)
    totals = RejectedLines(max_bad, expected)
    import_chunk = functools.partial(import_batch, spec)

    def batches(split: str) -> Iterator[ImportedBatch]:
        records = _records(split_files, split, problems.source.format, part.max_line_bytes)
        for batch in map_in_order(import_chunk, _chunks(records, workers), workers):
            totals.add(batch)
            yield batch
            on_rows(len(batch.examples))

    def no_examples() -> UserError:
        records = itertools.chain.from_iterable(
            _records(split_files, split, problems.source.format, part.max_line_bytes) for split in split_files
        )
        options = suggest_notation(spec, part, list(itertools.islice(records, MAX_RECORDS)))
        return UserError(
            f"no line of {', '.join(p for paths in split_files.values() for p in paths)} is an example of {task}",
            expected=expected,
            got="; ".join(map(str, totals.first[:3])) or "empty files",
            next_step=f"the first lines are examples with {options}"
            if options
            else "name the task and the notation of the files (`mathpipe tasks` lists the tasks)",
        )

    streams = {split: batches(split) for split in split_files}
    manifest, overlaps = write_imported(spec, url, streams, totals, no_examples, shard_rows)
    return ImportResult(manifest, dict(totals.kinds), totals.first, totals.num_verified, overlaps)


def write_imported(
    spec: DatasetSpec,
    url: str,
    batches: Mapping[str, Iterable[ImportedBatch]],
    totals: RejectedLines,
    no_examples: Callable[[], UserError],
    shard_rows: int = SHARD_ROWS,
    extra_folder: str | None = None,
    write_extra: Callable[[Storage], None] = lambda storage: None,
) -> tuple[Manifest, dict[tuple[str, str], int]]:
    """Write the batches of each split as a dataset; (its manifest, how many problems of one split occur in another).

    ``totals``: of the lines that the batches reject. Without any example the error of ``no_examples`` is raised.
    ``write_extra`` writes files into ``extra_folder`` before the manifest completes the dataset.
    """
    storage = Storage(url)
    with lock_directory(storage):
        _check_free(storage, spec, extra_folder)
        _clear(storage)
        with _DatasetWriter(spec, storage, shard_rows, totals) as writer:
            for split in (TEST, VALID, TRAIN):  # train last: it is compared with the others while it is read
                if split in batches:
                    for batch in batches[split]:
                        writer.add(split, batch)
                    writer.finish(split)
        if not any(writer.records.values()):
            raise no_examples()
        manifest = Manifest(
            spec=spec.model_dump(mode="json"),
            fingerprint=spec.fingerprint,
            shard_rows=shard_rows,
            splits={s: Split.from_records(writer.records[s]) for s in (TRAIN, VALID, TEST) if s in writer.records},
            provenance=collect_provenance(),
        )
        write_extra(storage)
        finish_dataset(storage, manifest)
    return manifest, writer.overlaps()


def _dataset_spec(
    task: Task[Any],
    part: ImportPart,
    files: Files,
    source: SourceFormat,
    alphabet: tuple[str, ...] | None,
    check: bool,
) -> DatasetSpec:
    """The spec of the dataset that these files give."""
    source = resolve_source(task, part, source, files)

    def read_all() -> Iterator[Fields]:
        for split in files:
            for record in _records(files, split, source.format, part.max_line_bytes):
                fields = read_fields(record, source.format, source.columns, part.max_line_bytes, counted=part.counted)
                if fields is not None and not isinstance(fields, Fault):
                    yield fields

    sources = [SourceFile(split=s, name=p.rsplit("/", 1)[-1], sha256=checksum(p)) for s in files for p in files[s]]
    problems = ImportedSpec(
        problem_type=part.problem_type,
        sources=tuple(sources),
        task_options=dict(task.chosen_options),
        checked=check and task.verifies,
        valid_cut=TRAIN in files and VALID not in files,
        source=source,
        **part.stored_fields(task, source, alphabet, read_all),
    )
    digest = None if task.origin is None else task.origin.digest
    return DatasetSpec(task=task.name, problems=problems, chunk_rows=part.chunk_rows, source_digest=digest)


def _records(files: Files, split: str, file_format: str, max_bytes: int) -> Iterator[Record]:
    return itertools.chain.from_iterable(read_records(path, split, file_format, max_bytes) for path in files[split])


def _expected(source: SourceFormat, task: str) -> str:
    """Describes the lines that become examples."""
    notation = {
        "tokens": "tokens",
        "infix": "infix",
        "latex": "LaTeX",
        "lists": "nested lists",
        "auto": "any notation",
    }[source.notation]
    columns = ", ".join(source.columns.values())
    pairs = "problem<TAB>solution" if source.format == "text" else f"{source.format} with columns {columns}"
    return f"{pairs} as {notation}, of {task} and correct"


@dataclass
class RejectedLines:
    """Rejected lines: counts by kind, the first lines, and counts since the last ``take``; and the number of verified answers."""

    limit: int | None
    expected: str
    first: list[RejectedLine] = field(default_factory=list)
    kinds: Counter[str] = field(default_factory=Counter)
    since: Counter[str] = field(default_factory=Counter)
    num_verified: int = 0

    def add(self, batch: ImportedBatch) -> None:
        """Count the rejected lines and verified answers of a batch; UserError if more lines are rejected than allowed."""
        self.num_verified += batch.num_verified
        for line in batch.rejected:
            self.kinds[line.kind] += 1
            self.since[line.kind] += 1
            if len(self.first) < MAX_LISTED_LINES:
                self.first.append(line)
            if self.limit is not None and self.kinds.total() > self.limit:
                raise UserError(
                    f"more than {self.limit:,} lines were rejected",
                    expected=self.expected,
                    got="; ".join(map(str, self.first[:5])),
                    next_step="pass a larger --max-bad to leave them out",
                )

    def take(self) -> dict[str, int]:
        counts, self.since = dict(sorted(self.since.items())), Counter()
        return counts


class _DatasetWriter:
    """Writes the batches of each split, and counts the problems that occur in two splits."""

    def __init__(self, spec: DatasetSpec, storage: Storage, shard_rows: int, totals: RejectedLines) -> None:
        self.records: dict[str, list[ShardRecord]] = {}
        self._spec, self._storage, self._shard_rows, self._totals = spec, storage, shard_rows, totals
        self._writers: dict[str, _SplitWriter] = {}
        self._hashes: dict[str, list[Hashes]] = {}
        self._overlaps: dict[tuple[str, str], _Overlap] = {}
        self._cut = imported_spec(spec).valid_cut

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: Any) -> None:
        for writer in self._writers.values():
            writer.abandon(*error)

    def add(self, split: str, batch: ImportedBatch) -> None:
        """Add a batch of a split; without validation files, those of training whose hash names them go to ``valid``."""
        if not (split == TRAIN and self._cut):
            self._add(split, batch.examples, batch.problem_hashes)
            return
        in_valid = in_split(batch.split_hashes, VALID)
        for target, mask in ((VALID, in_valid), (TRAIN, ~in_valid)):
            self._add(target, batch.examples.take(mask), batch.problem_hashes[mask])

    def _add(self, split: str, examples: Any, hashes: Hashes) -> None:
        if split not in self._writers:
            self._writers[split] = _SplitWriter(self._spec, split, self._storage, self._shard_rows)
            finished = {other: hashes for other, hashes in self._hashes.items() if other in self.records}
            self._overlaps |= {(split, other): _Overlap(hashes) for other, hashes in finished.items()}
        for (target, _), overlap in self._overlaps.items():
            if target == split:
                overlap.mark(hashes)
        if split != TRAIN:
            self._hashes.setdefault(split, []).append(hashes)
        self._writers[split].add(examples)

    def finish(self, split: str) -> None:
        """Close the files of a split, and of the validation examples cut from it; the last shard counts rejected lines."""
        for target in (split, VALID) if split == TRAIN and self._cut else (split,):
            if target in self._writers:
                self.records[target] = self._writers[target].finish(self._totals)
            else:
                self.records[target] = []

    def overlaps(self) -> dict[tuple[str, str], int]:
        """How many problems of the second split also occur in the first."""
        return {pair: overlap.count for pair, overlap in self._overlaps.items()}


class _Overlap:
    """The problem hashes of a split, and which of them occur in another split."""

    def __init__(self, hashes: Sequence[Hashes]) -> None:
        self._hashes = np.unique(np.concatenate(hashes))
        self._marked = np.zeros(len(self._hashes), dtype=np.bool_)

    def mark(self, hashes: Hashes) -> None:
        position = np.searchsorted(self._hashes, hashes)
        inside = position < len(self._hashes)
        position, hashes = position[inside], hashes[inside]
        self._marked[position[self._hashes[position] == hashes]] = True

    @property
    def count(self) -> int:
        return int(self._marked.sum())


def _chunks(records: Iterable[Record], workers: int) -> Iterator[list[Record]]:
    """Batches of lines; for workers each is a small part of the lines before it, so that all workers end at about the same time."""
    records, size, count = iter(records), (_WORKER_LINES[0] if workers else _BATCH_LINES), 0
    while chunk := list(itertools.islice(records, size)):
        yield chunk
        count += len(chunk)
        if workers:
            size = min(max(count // (4 * workers), _WORKER_LINES[0]), _WORKER_LINES[-1])


class _SplitWriter:
    """Writes the shards of one split in sequence, chunk by chunk."""

    def __init__(self, spec: DatasetSpec, split: str, storage: Storage, shard_rows: int) -> None:
        self._spec, self._split, self._storage, self._shard_rows = spec, split, storage, shard_rows
        self._format: ExampleFormat = stored_rows(spec).example_format(spec)
        self._pending: list[Any] = []
        self._num_pending = self._rows = 0
        self._shard: _OpenShard | None = None
        self._records: list[ShardRecord] = []

    def add(self, examples: Any) -> None:
        """Buffer the examples, and write all whole chunks."""
        self._pending.append(examples)
        self._num_pending += len(examples)
        while self._num_pending >= (size := self._chunk_size()):
            self._write(size)

    def finish(self, totals: RejectedLines) -> list[ShardRecord]:
        """Write the rest; the records of all shards."""
        if self._num_pending:
            self._write(self._num_pending)
        if self._shard is not None:
            self._close(totals.take())
        return self._records

    def abandon(self, *error: Any) -> None:
        """Remove a shard that is not finished, because of this error."""
        if self._shard is not None:
            self._shard.files.__exit__(*error)

    def _chunk_size(self) -> int:
        """Rows of the next chunk: fewer at the end of a shard."""
        left = self._shard_rows - (0 if self._shard is None else self._shard.rows)
        return min(self._spec.chunk_rows, left or self._shard_rows)

    def _write(self, size: int) -> None:
        pending_rows = concatenate(self._pending)
        if self._shard is not None and self._shard.rows == self._shard_rows:
            self._close({})
        if self._shard is None:
            name = shard_file(self._split, len(self._records))
            self._shard = _OpenShard(self._storage, name, self._format, self._spec)
        self._shard.writer.add(pending_rows.take(np.arange(size)).renumber(self._rows))
        self._rows += size
        self._pending = [pending_rows.take(np.arange(size, len(pending_rows)))]
        self._num_pending -= size

    def _close(self, rejected: dict[str, int]) -> None:
        assert self._shard is not None
        shard = self._shard
        shard.files.close()
        record = ShardRecord(
            split=self._split,
            shard=len(self._records),
            first_row=self._rows - shard.rows,
            rows=shard.rows,
            bytes=shard.hashing.bytes,
            sha256=shard.hashing.sha256,
            fingerprint=self._spec.fingerprint,
            rejected=rejected,
        )
        record.write(self._storage)
        self._records.append(record)
        self._shard = None


class _OpenShard:
    """A shard under construction."""

    def __init__(self, storage: Storage, name: str, example_format: ExampleFormat, spec: DatasetSpec) -> None:
        self.files = contextlib.ExitStack()
        self.hashing = HashingFile(self.files.enter_context(storage.write(name)))
        writer = example_format.writer(self.hashing, spec.to_json(), version("mathpipe"))
        self.writer: ShardWriter = self.files.enter_context(writer)

    @property
    def rows(self) -> int:
        return self.writer.rows


def _check_free(storage: Storage, spec: DatasetSpec, extra_folder: str | None) -> None:
    """UserError unless the directory is empty or holds an import of the same files, finished or not.

    A finished one may be of a process that was killed before it could say so; its manifest is removed.
    """
    names = [name for name in storage.list() if not (is_foreign(name) or is_temporary(name))]
    finished = find_manifest(storage)  # by its name, since the listing of a store may be older
    files = [f"{folder}/{name}" for folder in _FOLDERS for name in storage.list(folder)]
    unrelated = other_files(files) + foreign_shards(storage, files, ())
    records = [name for name in files if name.endswith(".json")]
    fingerprints = {
        r.fingerprint for text in storage.read_texts(records).values() if (r := parse_record(text)) is not None
    }
    if (
        (finished is not None and finished.fingerprint != spec.fingerprint)
        or unrelated
        or not set(names) <= {TRAIN, VALID, TEST, MANIFEST, RECORDS, CARD, *((extra_folder,) if fingerprints else ())}
        or not fingerprints <= {spec.fingerprint}
    ):
        raise UserError(
            f"{storage.url} holds something else",
            expected="an empty directory, or an import of the same files",
            got=", ".join([*unrelated, *(names or [MANIFEST])][:3]),
            next_step="choose another --out, or empty the directory",
        )
    storage.remove(MANIFEST)  # from here on the dataset is incomplete


def _clear(storage: Storage) -> None:
    """Remove the files of an interrupted import, which starts over; ``_check_free`` has found no others."""
    storage.remove_unfinished("")
    for folder in _FOLDERS:
        storage.remove_unfinished(folder)
        for name in storage.list(folder):
            if not is_foreign(name):
                storage.remove(f"{folder}/{name}")
