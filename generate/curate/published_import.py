"""Import published data files as a dataset: read every line, verify every solution, keep the splits, count their overlaps.

Rows keep the order of the files; the spec names each file by its sha256. A line is skipped if it is not a pair, holds symbols
that the task does not use, or has a solution that the task does not verify as correct. Memory holds one shard, and a hash of
8 bytes for each problem of valid and test.
"""

from __future__ import annotations

import functools
import itertools
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version

import numpy as np
from numpy.typing import NDArray

from mathpipe.datasets.errors import UserError
from mathpipe.datasets.format.example_formats import TokenFormat
from mathpipe.datasets.format.manifest import MANIFEST, Manifest, ShardRecord, Split, parse_record, shard_file
from mathpipe.datasets.format.sequence_columns import TokenExamples
from mathpipe.datasets.io.published_text import Line, RejectedLine, checksum, read_lines
from mathpipe.datasets.io.storage import HashingFile, Storage
from mathpipe.generate.build.locking import lock_directory
from mathpipe.generate.curate.text_pairs import VerifiedBatch, verified_pairs
from mathpipe.generate.dataset_spec import DatasetSpec, ImportedSpec, SourceFile, TextFormat
from mathpipe.generate.execution.ordered_map import map_in_order
from mathpipe.generate.provenance import collect_provenance
from mathpipe.generate.splits import TEST, TRAIN, VALID, sequence_hash
from mathpipe.generate.tasks.task_registry import expression_task

MAX_LISTED_LINES = 20  # skipped lines that are shown
PUBLISHED = TextFormat()
SHARD_ROWS = 100_000
_BATCH_LINES = 5_000
_WORKER_LINES = range(8, 500)  # of a batch for a worker: lines that need SymPy take seconds each
_IMPORT_FILE = re.compile(r"\d+\.parquet|_\d+\.json|\..*\.writing-.*")
Hashes = NDArray[np.uint64]


@dataclass
class ImportResult:
    """The result of an import. ``overlaps``: how many problems of the second split also occur in the first.

    ``skipped``: number of lines by reason; ``skipped_lines``: the first of them; ``num_verified``: verified solutions.
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
    text: TextFormat = PUBLISHED,
    workers: int = 0,
    on_rows: Callable[[int], object] = lambda rows: None,
) -> ImportResult:
    """Read the files of each split (train, valid, test) into a dataset at ``url``.

    ``check``: verify every solution, three times as slow as reading it; otherwise wrong solutions are written as well.
    ``text``: how the files write pairs. ``workers``: number of processes that read and verify lines; 0: this one. The dataset does
    not depend on it.
    UserError if more than ``max_bad`` lines are skipped, if no line remains, or if ``url`` holds anything else.
    """
    expression_task(task)
    storage = Storage(url)
    sources = [SourceFile(split=s, name=p.rsplit("/", 1)[-1], sha256=checksum(p)) for s in files for p in files[s]]
    spec = DatasetSpec(task=task, problems=ImportedSpec(sources=tuple(sources), checked=check, text=text))
    with lock_directory(storage):
        _check_free(storage, spec)
        _clear(storage)
        skipped = _Totals(max_bad, _expected(text))
        verified = functools.partial(verified_pairs, task, text, check)
        problem_sets: dict[str, _ProblemSet] = {}
        overlaps: dict[tuple[str, str], int] = {}
        records: dict[str, list[ShardRecord]] = {}
        for split in (TEST, VALID, TRAIN):  # train last: it is compared with the others while it is read
            if split not in files:
                continue
            rows = _batches(files[split], split, verified, workers, skipped)
            writer = _ShardWriter(spec, split, storage, shard_rows, skipped)
            for batch in rows:
                hashes = sequence_hash(batch.problems)
                for problem_set in problem_sets.values():
                    problem_set.mark(hashes)
                writer.add(batch, hashes if split != TRAIN else None)
                on_rows(len(batch))
            records[split] = writer.finish()
            overlaps |= {(split, other): problem_set.take_count() for other, problem_set in problem_sets.items()}
            problem_sets[split] = _ProblemSet(writer.hashes())
        if not any(records.values()):
            raise UserError(
                f"no line of {', '.join(p for paths in files.values() for p in paths)} is an example of {task}",
                expected=_expected(text),
                got="; ".join(map(str, skipped.first[:3])) or "empty files",
                next_step="name the task of the files (`mathpipe tasks` lists them)" if skipped.count else None,
            )
        splits = {split: Split.from_records(records[split]) for split in (TRAIN, VALID, TEST) if split in records}
        manifest = Manifest(
            spec=spec.model_dump(mode="json"),
            fingerprint=spec.fingerprint,
            shard_rows=shard_rows,
            splits=splits,
            provenance=collect_provenance(),
        )
        manifest.write(storage)
    return ImportResult(manifest, dict(skipped.kinds), skipped.first, skipped.num_verified, overlaps)


def _expected(text: TextFormat) -> str:
    """Describes the lines that become examples."""
    notation = {"tokens": "prefix tokens", "infix": "infix", "latex": "LaTeX"}[text.notation]
    pairs = "problem<TAB>solution" if text.format == "text" else f"objects with columns {text.problem}, {text.solution}"
    count = "count|" if text == PUBLISHED else ""
    return f"lines {count}{pairs} as {notation}, of this task and correct"


@dataclass
class _Totals:
    """Skipped lines: counts by reason, the first lines, and counts since the last ``take``; and the number of verified answers."""

    limit: int | None
    expected: str
    first: list[RejectedLine] = field(default_factory=list)
    kinds: Counter[str] = field(default_factory=Counter)
    since: Counter[str] = field(default_factory=Counter)
    num_verified: int = 0

    @property
    def count(self) -> int:
        return sum(self.kinds.values())

    def add(self, kind: str, line: RejectedLine) -> None:
        self.kinds[kind] += 1
        self.since[kind] += 1
        if len(self.first) < MAX_LISTED_LINES:
            self.first.append(line)
        if self.limit is not None and self.count > self.limit:
            raise UserError(
                f"more than {self.limit:,} lines were skipped",
                expected=self.expected,
                got="; ".join(map(str, self.first[:5])),
                next_step="pass a larger --max-bad to skip them",
            )

    def take(self) -> dict[str, int]:
        counts, self.since = dict(self.since), Counter()
        return counts


class _ProblemSet:
    """The problem hashes of a split, and which of them occur in another split."""

    def __init__(self, hashes: Hashes) -> None:
        self._hashes = np.unique(hashes)
        self._marked = np.zeros(len(self._hashes), dtype=np.bool_)

    def mark(self, hashes: Hashes) -> None:
        position = np.searchsorted(self._hashes, hashes)
        inside = position < len(self._hashes)
        position, hashes = position[inside], hashes[inside]
        self._marked[position[self._hashes[position] == hashes]] = True

    def take_count(self) -> int:
        """The number of marked problems; clears the marks."""
        count = int(self._marked.sum())
        self._marked[:] = False
        return count


def _batches(
    paths: Sequence[str], split: str, verified: Callable[[Sequence[Line]], VerifiedBatch], workers: int, totals: _Totals
) -> Iterator[TokenExamples]:
    """The verified examples of the files in order; skipped lines and verified answers are counted in ``totals``."""
    lines = itertools.chain.from_iterable(read_lines(path, split) for path in paths)
    for batch in map_in_order(verified, _chunks(lines, workers), workers):
        totals.num_verified += batch.num_verified
        for kind, line in batch.rejected:
            totals.add(kind, line)
        if len(batch.rows):
            yield batch.rows


def _chunks(lines: Iterator[Line], workers: int) -> Iterator[list[Line]]:
    """Batches of lines; for workers each is a small part of the lines before it, so that all workers end at about the same time."""
    size, count = (_WORKER_LINES[0] if workers else _BATCH_LINES), 0
    while chunk := list(itertools.islice(lines, size)):
        yield chunk
        count += len(chunk)
        if workers:
            size = min(max(count // (4 * workers), _WORKER_LINES[0]), _WORKER_LINES[-1])


class _ShardWriter:
    """Writes the shards of one split in sequence."""

    def __init__(self, spec: DatasetSpec, split: str, storage: Storage, shard_rows: int, skipped: _Totals) -> None:
        self._spec, self._split, self._storage, self._size, self._skipped = spec, split, storage, shard_rows, skipped
        self._pending: list[TokenExamples] = []
        self._rows = 0
        self._records: list[ShardRecord] = []
        self._hashes: list[Hashes] = []

    def add(self, rows: TokenExamples, hashes: Hashes | None) -> None:
        if hashes is not None:
            self._hashes.append(hashes)
        self._pending.append(rows)
        while sum(map(len, self._pending)) >= self._size:
            pending = TokenExamples.concatenate(self._pending)
            self._write(pending.take(np.arange(self._size)))
            self._pending = [pending.take(np.arange(self._size, len(pending)))]

    def finish(self) -> list[ShardRecord]:
        if any(map(len, self._pending)):
            self._write(TokenExamples.concatenate(self._pending))
        return self._records

    def hashes(self) -> Hashes:
        return np.concatenate(self._hashes) if self._hashes else np.empty(0, dtype=np.uint64)

    def _write(self, rows: TokenExamples) -> None:
        index = len(self._records)
        with self._storage.write(shard_file(self._split, index)) as file:
            hashing = HashingFile(file)
            numbered = [rows.renumber(self._rows)]
            TokenFormat({}).write(hashing, numbered, self._spec.to_json(), version("mathpipe"))
        record = ShardRecord(
            split=self._split,
            shard=index,
            first_row=self._rows,
            rows=len(rows),
            bytes=hashing.bytes,
            sha256=hashing.sha256,
            fingerprint=self._spec.fingerprint,
            rejected=self._skipped.take(),
        )
        record.write(self._storage)
        self._records.append(record)
        self._rows += len(rows)


def _check_free(storage: Storage, spec: DatasetSpec) -> None:
    """UserError unless the directory is empty or holds an unfinished import of the same files."""
    names = storage.list()
    files = [f"{split}/{name}" for split in (TRAIN, VALID, TEST) if split in names for name in storage.list(split)]
    unrelated = [name for name in files if not _IMPORT_FILE.fullmatch(name.rsplit("/", 1)[1])]
    records = [name for name in files if name.endswith(".json")]
    fingerprints = {
        r.fingerprint for text in storage.read_texts(records).values() if (r := parse_record(text)) is not None
    }
    if (
        MANIFEST in names
        or unrelated
        or not set(names) <= {TRAIN, VALID, TEST}
        or not fingerprints <= {spec.fingerprint}
    ):
        raise UserError(
            f"{storage.url} holds something else",
            expected="an empty directory, or an unfinished import of the same files",
            got=", ".join([*unrelated, *names][:3]),
            next_step="choose another --out, or empty the directory",
        )


def _clear(storage: Storage) -> None:
    """Remove the files of an interrupted import, which starts over."""
    for split in (TRAIN, VALID, TEST):
        storage.remove_unfinished(split)
        for name in storage.list(split):
            storage.remove(f"{split}/{name}")
