"""Published data files, read as a stream: lines ``count|problem<TAB>solution`` in prefix words, plain or compressed.

``.gz``, ``.zst`` and archives (``.tar``, ``.tar.gz``, ``.tgz``) are read as they are. Nothing that stands in a file is
evaluated: words are looked up in the vocabulary, and a strict parser says whether they make an expression.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import itertools
import re
import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import IO, Any, cast

import fsspec
import numpy as np
import zstandard

from mathpipe.datasets.containers.ragged_sequences import Sequences
from mathpipe.datasets.errors import UserError
from mathpipe.datasets.expressions.prefix import Malformed, parse
from mathpipe.datasets.expressions.validation import surely_well_formed
from mathpipe.datasets.expressions.vocabulary import IDS

_TOGETHER = 1_000  # lines checked at once
LONGEST_LINE = 1 << 16  # bytes; a longer one is no line of such a file
_COUNT = re.compile(rb"\s*[0-9]+\|")
_ARCHIVES = (".tar", ".tar.gz", ".tgz")


@dataclass(frozen=True)
class BadLine:
    """A line that is left out: in which file, which line (from 1), why."""

    file: str
    number: int
    why: str

    def __str__(self) -> str:
        return f"{self.file}, line {self.number:,}: {self.why}"


@dataclass(frozen=True)
class Pair:
    """A line that is one: problem and solution as word ids, and where it stands."""

    problem: bytes
    solution: bytes
    file: str = field(default="", compare=False)
    number: int = field(default=0, compare=False)

    def bad(self, why: str) -> BadLine:
        """The line, which is left out after all."""
        return BadLine(self.file, self.number, why)


def read_pairs(path: str, split: str) -> Iterator[Pair | BadLine]:
    """Every line of a file, in order; of an archive, those of its files that end in ``.<split>`` (or of its only file)."""
    try:
        for name, file in _texts(path, split):
            lines, first = _lines(file), 1
            while chunk := list(itertools.islice(lines, _TOGETHER)):
                for number, pair in enumerate(_read(chunk), start=first):
                    if isinstance(pair, str):
                        yield BadLine(name, number, pair)
                    else:
                        yield Pair(pair.problem, pair.solution, name, number)
                first += len(chunk)
    except (OSError, EOFError, tarfile.TarError, zstandard.ZstdError, zlib.error) as problem:
        raise UserError(
            f"{path} cannot be read",
            expected="text, or text compressed as .gz, .zst or .tar.gz",
            got=str(problem).splitlines()[0] if str(problem) else type(problem).__name__,
            cause="the file is damaged, cut short, or has another format than its name says",
        ) from problem


def read_line(line: bytes) -> Pair | str:
    """The pair of one line, or why it is none."""
    return _read([line])[0]


def _read(lines: list[bytes]) -> list[Pair | str]:
    found = [_look_up(line) for line in lines]
    pairs = [pair for pair in found if isinstance(pair, Pair)]
    sides = ([pair.problem for pair in pairs], [pair.solution for pair in pairs])
    sure = np.logical_and(*(surely_well_formed(Sequences.from_list(side)) for side in sides)).tolist()
    each = iter(sure)
    return [pair if isinstance(pair, str) or next(each) else _parsed(pair) for pair in found]


def _look_up(line: bytes) -> Pair | str:
    """The ids of a line's words, not yet known to be expressions."""
    if len(line) > LONGEST_LINE:
        return f"longer than {LONGEST_LINE:,} bytes"
    counted = _COUNT.match(line)
    problem, tab, solution = line[counted.end() if counted else 0 :].partition(b"\t")
    if not tab or b"\t" in solution:
        return "expected problem<TAB>solution"
    sides = []
    for name, text in (("problem", problem), ("solution", solution)):
        try:
            sides.append(bytes(map(IDS.__getitem__, text.decode(errors="replace").split())))
        except KeyError as unknown:
            return f"{name}: {unknown.args[0][:40]!r} is no word"
    return Pair(sides[0], sides[1])


def _parsed(pair: Pair) -> Pair | str:
    """What the strict parser says of a pair."""
    for name, words in (("problem", pair.problem), ("solution", pair.solution)):
        try:
            parse(words)
        except Malformed as malformed:
            return f"{name}: {malformed}"
    return pair


def checksum(path: str) -> str:
    """sha256 of a file as it lies there."""
    digest = hashlib.sha256()
    with _opened(path) as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def _texts(path: str, split: str) -> Iterator[tuple[str, IO[bytes]]]:
    """The text files in a file, by name, each to be read before the next is asked for."""
    name = path.rsplit("/", 1)[-1]
    with contextlib.ExitStack() as held:
        raw = held.enter_context(_opened(path))
        if not name.endswith(_ARCHIVES):
            yield name, _plain(name, raw, held)
            return
        members = _members(path, split)
        archive = held.enter_context(tarfile.open(fileobj=raw, mode="r|*"))
        for member in archive:
            if member.name in members and (file := archive.extractfile(member)) is not None:
                yield f"{name}:{member.name}", file


def _plain(name: str, raw: IO[bytes], held: contextlib.ExitStack) -> IO[bytes]:
    opened: Any = raw
    if name.endswith(".gz"):
        opened = gzip.GzipFile(fileobj=raw, mode="rb")
        held.callback(opened.close)
    elif name.endswith(".zst"):
        reader: Any = zstandard.ZstdDecompressor().stream_reader(raw, read_across_frames=True)
        opened = io.BufferedReader(reader, 1 << 16)
        held.callback(opened.close)
    return cast("IO[bytes]", opened)


def _members(path: str, split: str) -> set[str]:
    """The names in an archive that belong to the split: those ending in ``.<split>``, or its only file."""
    with _opened(path) as raw, tarfile.open(fileobj=raw, mode="r|*") as archive:
        names = [member.name for member in archive if member.isfile()]
    mine = {name for name in names if name.endswith((f".{split}", f".{split}.txt"))}
    if not mine and len(names) != 1:
        raise UserError(
            f"{path} holds no file of {split}",
            expected=f"a file that ends in .{split}, or one file alone",
            got=", ".join(names[:5]) or "an empty archive",
        )
    return mine or set(names)


def _opened(path: str) -> contextlib.AbstractContextManager[IO[bytes]]:
    """A file here or at any fsspec URL, opened for reading."""
    try:
        opened: Any = fsspec.open(path, "rb").open()
    except (OSError, ValueError, ImportError) as error:
        missing = isinstance(error, FileNotFoundError)
        raise UserError(
            f"{path} cannot be read",
            expected="a file of text, or compressed as .gz, .zst or .tar.gz; or the URL of one",
            got="no such file" if missing else getattr(error, "strerror", None) or str(error) or type(error).__name__,
            next_step="look whether its name and folder are spelt right" if missing else "name a file that may be read",
        ) from error
    return contextlib.closing(opened)


def _lines(file: IO[bytes]) -> Iterator[bytes]:
    """Lines without their ends; of one that is too long only its beginning, so that memory stays flat."""
    while line := file.readline(LONGEST_LINE + 2):
        if not line.endswith(b"\n") and len(line) > LONGEST_LINE:
            while (rest := file.readline(LONGEST_LINE)) and not rest.endswith(b"\n"):
                pass
            yield line
        else:
            yield line.rstrip(b"\r\n")
