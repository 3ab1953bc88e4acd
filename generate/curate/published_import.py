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

from mathpipe.datasets.containers.ragged_sequences import Sequences
from mathpipe.datasets.errors import UserError
from mathpipe.datasets.expressions.vocabulary import COEFFICIENTS, IDS, TOKENS, UNKNOWNS, VARIABLES
from mathpipe.datasets.format.example_formats import TokenFormat
from mathpipe.datasets.format.manifest import MANIFEST, Manifest, ShardRecord, Split, parse_record, shard_file
from mathpipe.datasets.format.sequence_columns import SequenceExamples
from mathpipe.datasets.io.published_text import Pair, RejectedLine, checksum, read_pairs
from mathpipe.datasets.io.storage import HashingFile, Storage
from mathpipe.generate.build.locking import lock_directory
from mathpipe.generate.provenance import collect_provenance
from mathpipe.generate.spec import DatasetSpec, ImportedSpec, SourceFile
from mathpipe.generate.splits import TEST, TRAIN, VALID, sequence_hash
from mathpipe.generate.tasks.registry import SequenceTask, sequence_task

MAX_LISTED_LINES = 20  # skipped lines that are shown
_EXPECTED = "lines count|problem<TAB>solution as prefix tokens, of this task and correct"
SHARD_ROWS = 100_000
_BATCH_LINES = 5_000
_IMPORT_FILE = re.compile(r"\d+\.parquet|_\d+\.json|\..*\.writing-.*")
_SYMBOLS = bytes(IDS[word] for word in (*VARIABLES, *COEFFICIENTS, *UNKNOWNS))
NO_PAIR, FOREIGN = "not a pair", "symbols of another task"
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
    on_rows: Callable[[int], object] = lambda rows: None,
) -> ImportResult:
    """Read the files of each split (train, valid, test) into a dataset at ``url``.

    ``check``: verify every solution, three times as slow as reading it; otherwise wrong solutions are written as well.
    UserError if more than ``max_bad`` lines are skipped, if no line remains, or if ``url`` holds anything else.
    """
    expression_task = _expression_task(task)
    storage = Storage(url)
    sources = [SourceFile(split=s, name=p.rsplit("/", 1)[-1], sha256=checksum(p)) for s in files for p in files[s]]
    spec = DatasetSpec(task=task, problems=ImportedSpec(sources=tuple(sources), checked=check))
    with lock_directory(storage):
        _check_free(storage, spec)
        _clear(storage)
        skipped = _SkippedLines(max_bad)
        verifier = _Verifier(expression_task, skipped) if check else None
        problem_sets: dict[str, _ProblemSet] = {}
        overlaps: dict[tuple[str, str], int] = {}
        records: dict[str, list[ShardRecord]] = {}
        for split in (TEST, VALID, TRAIN):  # train last: it is compared with the others while it is read
            if split not in files:
                continue
            rows = _batches(files[split], split, expression_task, verifier, skipped)
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
                expected=_EXPECTED,
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
    return ImportResult(
        manifest, dict(skipped.kinds), skipped.first, verifier.num_verified if verifier else 0, overlaps
    )


def _expression_task(name: str) -> SequenceTask:
    """The task of this name; UserError if its problems are not expressions."""
    task = sequence_task(name)
    if task.kind != "expressions":
        raise UserError(
            f"only expressions can be imported, and {name} has none",
            expected="a task of expressions, such as integration-bwd or ode1",
            got=repr(name),
            next_step=f"`mathpipe generate --task {name}` generates its problems",
        )
    return task


@dataclass
class _SkippedLines:
    """Skipped lines: counts by reason, the first lines, and counts since the last ``take``."""

    limit: int | None
    first: list[RejectedLine] = field(default_factory=list)
    kinds: Counter[str] = field(default_factory=Counter)
    since: Counter[str] = field(default_factory=Counter)

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
                expected=_EXPECTED,
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
    paths: Sequence[str], split: str, task: SequenceTask, verifier: _Verifier | None, skipped: _SkippedLines
) -> Iterator[SequenceExamples]:
    lines = itertools.chain.from_iterable(read_pairs(path, split) for path in paths)
    while chunk := list(itertools.islice(lines, _BATCH_LINES)):
        pairs = []
        for line in chunk:
            if isinstance(line, RejectedLine):
                skipped.add(NO_PAIR, line)
            elif (reason := _foreign_symbol(task, line)) is not None:
                skipped.add(FOREIGN, line.reject(reason))
            else:
                pairs.append(line)
        problems, solutions = ([getattr(pair, side) for pair in pairs] for side in ("problem", "solution"))
        row = np.zeros(len(pairs), dtype=np.int64)
        rows = SequenceExamples(row, Sequences.from_list(problems), Sequences.from_list(solutions))
        if verifier is not None and pairs:
            rows = rows.take(verifier.correct(pairs, rows))
        if len(rows):
            yield rows


def _foreign_symbol(task: SequenceTask, pair: Pair) -> str | None:
    """Describes the first symbol of a pair that its task does not use; None if there is none."""
    if task.symbols is None:
        return None
    for side, tokens, allowed in zip(("problem", "solution"), (pair.problem, pair.solution), task.symbols, strict=True):
        foreign = tokens.translate(None, _all_but_foreign(allowed))
        if foreign:
            return f"{side}: {TOKENS[foreign[0]]!r} does not occur in a {side} of {task.name}"
    return None


@functools.cache
def _all_but_foreign(allowed: tuple[str, ...]) -> bytes:
    """All ids except those of symbols that are not allowed."""
    foreign = set(_SYMBOLS) - {IDS[word] for word in allowed}
    return bytes(k for k in range(256) if k not in foreign)


@dataclass
class _Verifier:
    """Verifies every pair with its task and skips those that are not correct."""

    task: SequenceTask
    skipped: _SkippedLines
    num_verified: int = 0

    def correct(self, pairs: Sequence[Pair], rows: SequenceExamples) -> NDArray[np.int64]:
        """Indices of the pairs with correct solutions."""
        self.num_verified += len(pairs)
        outcomes = self.task.verify(rows.problems, rows.solutions, rows.solutions).outcome.tolist()
        names = [self.task.outcomes[k] for k in outcomes]
        for pair, name in zip(pairs, names, strict=True):
            if name not in self.task.correct_outcomes:
                self.skipped.add(f"solution not correct ({name})", pair.reject(f"its solution is not correct ({name})"))
        return np.flatnonzero([name in self.task.correct_outcomes for name in names])


class _ShardWriter:
    """Writes the shards of one split in sequence."""

    def __init__(
        self, spec: DatasetSpec, split: str, storage: Storage, shard_rows: int, skipped: _SkippedLines
    ) -> None:
        self._spec, self._split, self._storage, self._size, self._skipped = spec, split, storage, shard_rows, skipped
        self._pending: list[SequenceExamples] = []
        self._rows = 0
        self._records: list[ShardRecord] = []
        self._hashes: list[Hashes] = []

    def add(self, rows: SequenceExamples, hashes: Hashes | None) -> None:
        if hashes is not None:
            self._hashes.append(hashes)
        self._pending.append(rows)
        while sum(map(len, self._pending)) >= self._size:
            pending = SequenceExamples.concatenate(self._pending)
            self._write(pending.take(np.arange(self._size)))
            self._pending = [pending.take(np.arange(self._size, len(pending)))]

    def finish(self) -> list[ShardRecord]:
        if any(map(len, self._pending)):
            self._write(SequenceExamples.concatenate(self._pending))
        return self._records

    def hashes(self) -> Hashes:
        return np.concatenate(self._hashes) if self._hashes else np.empty(0, dtype=np.uint64)

    def _write(self, rows: SequenceExamples) -> None:
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
