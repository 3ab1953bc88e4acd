"""Published data files as a dataset: every line read, every answer judged, the published splits kept, what they share counted.

Rows are those of the files in their order; the spec of such a dataset names the files by their sha256. A line is left out that is
no pair, has letters that the task does not write, or an answer that the task's judge does not find right. Memory holds one shard,
and a hash of 8 bytes for each problem of valid and test.
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
from mathpipe.datasets.expressions.vocabulary import COEFFICIENTS, IDS, UNKNOWNS, VARIABLES, WORDS
from mathpipe.datasets.format.example_formats import WordsFormat
from mathpipe.datasets.format.manifest import MANIFEST, Manifest, Record, Split, parse_record, shard_file
from mathpipe.datasets.format.sequence_columns import SequenceRows
from mathpipe.datasets.io.published_text import BadLine, Pair, checksum, read_pairs
from mathpipe.datasets.io.storage import HashingFile, Storage
from mathpipe.generate.build.locking import claimed
from mathpipe.generate.provenance import collect_provenance
from mathpipe.generate.spec import DatasetSpec, ImportedSpec, SourceFile
from mathpipe.generate.splits import TEST, TRAIN, VALID, sequence_hash
from mathpipe.generate.tasks.registry import SequenceTask, sequence_task

LISTED = 20  # lines left out that are shown
_EXPECTED = "lines count|problem<TAB>solution in prefix words, of this task and right"
SHARD_ROWS = 100_000
_BATCH = 5_000
_OURS = re.compile(r"\d+\.parquet|_\d+\.json|\..*\.writing-.*")
_SYMBOLS = bytes(IDS[word] for word in (*VARIABLES, *COEFFICIENTS, *UNKNOWNS))
NO_PAIR, FOREIGN = "no pair", "task_tokens of another task"
Hashes = NDArray[np.uint64]


@dataclass
class Imported:
    """What came of an import. ``overlaps``: how many problems of the second split stand in the first as well.

    ``left_out``: lines by reason; ``bad_lines``: the first of them; ``checked``: answers that were judged.
    """

    manifest: Manifest
    left_out: dict[str, int]
    bad_lines: list[BadLine]
    checked: int
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
) -> Imported:
    """Read the files of each split (train, valid, test) into a dataset at ``url``.

    ``check``: judge every answer, which takes three times as long as reading it; without, wrong ones are written as well.
    UserError where more than ``max_bad`` lines are left out, where none is left, and where something else lies at ``url``.
    """
    taught = _expressions(task)
    storage = Storage(url)
    sources = [SourceFile(split=s, name=p.rsplit("/", 1)[-1], sha256=checksum(p)) for s in files for p in files[s]]
    spec = DatasetSpec(task=task, problems=ImportedSpec(sources=tuple(sources), checked=check))
    with claimed(storage):
        _check_free(storage, spec)
        _clear(storage)
        bad = _Bad(max_bad)
        judging = _Judging(taught, bad) if check else None
        looked_up: dict[str, _Known] = {}
        overlaps: dict[tuple[str, str], int] = {}
        records: dict[str, list[Record]] = {}
        for split in (TEST, VALID, TRAIN):  # train last: it is compared with the others as it goes by
            if split not in files:
                continue
            rows = _batches(files[split], split, taught, judging, bad)
            written = _Writing(spec, split, storage, shard_rows, bad)
            for batch in rows:
                hashes = sequence_hash(batch.problems)
                for known in looked_up.values():
                    known.meet(hashes)
                written.add(batch, hashes if split != TRAIN else None)
                on_rows(len(batch))
            records[split] = written.finish()
            overlaps |= {(split, other): known.met() for other, known in looked_up.items()}
            looked_up[split] = _Known(written.hashes())
        if not any(records.values()):
            raise UserError(
                f"no line of {', '.join(p for paths in files.values() for p in paths)} is a pair of {task}",
                expected=_EXPECTED,
                got="; ".join(map(str, bad.first[:3])) or "empty files",
                next_step="name the files' task (`mathpipe tasks` lists them)" if bad.count else None,
            )
        splits = {split: Split.of(records[split]) for split in (TRAIN, VALID, TEST) if split in records}
        manifest = Manifest(
            spec=spec.model_dump(mode="json"),
            fingerprint=spec.fingerprint,
            shard_rows=shard_rows,
            splits=splits,
            provenance=collect_provenance(),
        )
        manifest.write(storage)
    return Imported(manifest, dict(bad.kinds), bad.first, judging.checked if judging else 0, overlaps)


def _expressions(name: str) -> SequenceTask:
    """The task of this name; UserError where its problems are no expressions, which files hold."""
    task = sequence_task(name)
    if task.kind != "expressions":
        raise UserError(
            f"files hold expressions, which {name} has none of",
            expected="a task of expressions, such as integration-bwd or ode1",
            got=repr(name),
            next_step=f"`mathpipe generate --task {name}` makes its problems",
        )
    return task


@dataclass
class _Bad:
    """Lines that are left out: how many by kind, the first of them, and by kind since it was last asked."""

    most: int | None
    first: list[BadLine] = field(default_factory=list)
    kinds: Counter[str] = field(default_factory=Counter)
    since: Counter[str] = field(default_factory=Counter)

    @property
    def count(self) -> int:
        return sum(self.kinds.values())

    def add(self, kind: str, line: BadLine) -> None:
        self.kinds[kind] += 1
        self.since[kind] += 1
        if len(self.first) < LISTED:
            self.first.append(line)
        if self.most is not None and self.count > self.most:
            raise UserError(
                f"more than {self.most:,} lines are left out",
                expected=_EXPECTED,
                got="; ".join(map(str, self.first[:5])),
                next_step="a larger --max-bad leaves them out",
            )

    def take(self) -> dict[str, int]:
        taken, self.since = dict(self.since), Counter()
        return taken


class _Known:
    """Problems of a split by their hashes, and which of them were met elsewhere."""

    def __init__(self, hashes: Hashes) -> None:
        self._hashes = np.unique(hashes)
        self._met = np.zeros(len(self._hashes), dtype=np.bool_)

    def meet(self, hashes: Hashes) -> None:
        place = np.searchsorted(self._hashes, hashes)
        inside = place < len(self._hashes)
        place, hashes = place[inside], hashes[inside]
        self._met[place[self._hashes[place] == hashes]] = True

    def met(self) -> int:
        """How many since this was last asked."""
        count = int(self._met.sum())
        self._met[:] = False
        return count


def _batches(
    paths: Sequence[str], split: str, task: SequenceTask, judging: _Judging | None, bad: _Bad
) -> Iterator[SequenceRows]:
    lines = itertools.chain.from_iterable(read_pairs(path, split) for path in paths)
    while chunk := list(itertools.islice(lines, _BATCH)):
        pairs = []
        for line in chunk:
            if isinstance(line, BadLine):
                bad.add(NO_PAIR, line)
            elif (why := _foreign(task, line)) is not None:
                bad.add(FOREIGN, line.bad(why))
            else:
                pairs.append(line)
        problems, solutions = ([getattr(pair, side) for pair in pairs] for side in ("problem", "solution"))
        row = np.zeros(len(pairs), dtype=np.int64)
        rows = SequenceRows(row, Sequences.from_list(problems), Sequences.from_list(solutions))
        if judging is not None and pairs:
            rows = rows.take(judging.right(pairs, rows))
        if len(rows):
            yield rows


def _foreign(task: SequenceTask, pair: Pair) -> str | None:
    """The first letter of a pair that its task does not write, told; None where there is none."""
    if task.symbols is None:
        return None
    for side, words, known in zip(("problem", "solution"), (pair.problem, pair.solution), task.symbols, strict=True):
        found = words.translate(None, _without(known))
        if found:
            return f"{side}: {WORDS[found[0]]!r} stands in no {side} of {task.name}"
    return None


@functools.cache
def _without(known: tuple[str, ...]) -> bytes:
    """All ids but those of letters that are not among the known."""
    foreign = set(_SYMBOLS) - {IDS[word] for word in known}
    return bytes(k for k in range(256) if k not in foreign)


@dataclass
class _Judging:
    """The task's judge, asked of every pair; what it does not find right is left out."""

    task: SequenceTask
    bad: _Bad
    checked: int = 0

    def right(self, pairs: Sequence[Pair], rows: SequenceRows) -> NDArray[np.int64]:
        """Places of the pairs whose answers are right."""
        self.checked += len(pairs)
        outcomes = self.task.judge(rows.problems, rows.solutions, rows.solutions).outcome.tolist()
        names = [self.task.outcomes[k] for k in outcomes]
        for pair, name in zip(pairs, names, strict=True):
            if name not in self.task.right:
                self.bad.add(f"answer not right ({name})", pair.bad(f"its answer is not right ({name})"))
        return np.flatnonzero([name in self.task.right for name in names])


class _Writing:
    """The shards of one split, one after the other."""

    def __init__(self, spec: DatasetSpec, split: str, storage: Storage, shard_rows: int, bad: _Bad) -> None:
        self._spec, self._split, self._storage, self._size, self._bad = spec, split, storage, shard_rows, bad
        self._held: list[SequenceRows] = []
        self._rows = 0
        self._records: list[Record] = []
        self._hashes: list[Hashes] = []

    def add(self, rows: SequenceRows, hashes: Hashes | None) -> None:
        if hashes is not None:
            self._hashes.append(hashes)
        self._held.append(rows)
        while sum(map(len, self._held)) >= self._size:
            held = SequenceRows.concatenate(self._held)
            self._write(held.take(np.arange(self._size)))
            self._held = [held.take(np.arange(self._size, len(held)))]

    def finish(self) -> list[Record]:
        if any(map(len, self._held)):
            self._write(SequenceRows.concatenate(self._held))
        return self._records

    def hashes(self) -> Hashes:
        return np.concatenate(self._hashes) if self._hashes else np.empty(0, dtype=np.uint64)

    def _write(self, rows: SequenceRows) -> None:
        index = len(self._records)
        with self._storage.write(shard_file(self._split, index)) as file:
            hashing = HashingFile(file)
            numbered = [rows.numbered(self._rows)]
            WordsFormat({}).write(hashing, numbered, self._spec.to_json(), version("mathpipe"))
        record = Record(
            split=self._split,
            shard=index,
            first_row=self._rows,
            rows=len(rows),
            bytes=hashing.bytes,
            sha256=hashing.sha256,
            fingerprint=self._spec.fingerprint,
            rejected=self._bad.take(),
        )
        record.write(self._storage)
        self._records.append(record)
        self._rows += len(rows)


def _check_free(storage: Storage, spec: DatasetSpec) -> None:
    """UserError where something lies there that is no unfinished import of the same files."""
    names = storage.list()
    found = [f"{split}/{name}" for split in (TRAIN, VALID, TEST) if split in names for name in storage.list(split)]
    strange = [name for name in found if not _OURS.fullmatch(name.rsplit("/", 1)[1])]
    records = [name for name in found if name.endswith(".json")]
    digests = {r.fingerprint for text in storage.read_texts(records).values() if (r := parse_record(text)) is not None}
    if MANIFEST in names or strange or not set(names) <= {TRAIN, VALID, TEST} or not digests <= {spec.fingerprint}:
        raise UserError(
            f"{storage.url} holds something else",
            expected="an empty directory, or an unfinished import of the same files",
            got=", ".join([*strange, *names][:3]),
            next_step="choose another --out, or remove what is there",
        )


def _clear(storage: Storage) -> None:
    """Remove what an import that was stopped left behind: it is read anew."""
    for split in (TRAIN, VALID, TEST):
        storage.remove_unfinished(split)
        for name in storage.list(split):
            storage.remove(f"{split}/{name}")
