"""Stream published data files: lines ``count|problem<TAB>solution`` in prefix notation, plain or compressed.

``.gz``, ``.zst`` and archives (``.tar``, ``.tar.gz``, ``.tgz``) are decompressed on the fly. Nothing in a file is evaluated:
tokens are looked up in the vocabulary, and a strict parser checks that they form an expression.
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
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import IO, Any, cast

import fsspec
import numpy as np
import zstandard

from mathpipe.datasets.containers.ragged_sequences import Sequences
from mathpipe.datasets.errors import UserError
from mathpipe.datasets.expressions.prefix import Malformed, parse
from mathpipe.datasets.expressions.validation import prevalidate
from mathpipe.datasets.expressions.vocabulary import IDS

_BATCH_LINES = 1_000  # lines validated together
MAX_LINE_BYTES = 1 << 16  # longer lines are rejected
_COUNT = re.compile(rb"\s*[0-9]+\|")
_ARCHIVES = (".tar", ".tar.gz", ".tgz")


@dataclass(frozen=True)
class RejectedLine:
    """A line that is left out: file, line number (from 1), reason."""

    file: str
    number: int
    reason: str

    def __str__(self) -> str:
        return f"{self.file}, line {self.number:,}: {self.reason}"


@dataclass(frozen=True)
class Pair:
    """A valid line: problem and solution as token ids, file and line number."""

    problem: bytes
    solution: bytes
    file: str = field(default="", compare=False)
    number: int = field(default=0, compare=False)

    def reject(self, reason: str) -> RejectedLine:
        """This line as one that is left out."""
        return RejectedLine(self.file, self.number, reason)


@dataclass(frozen=True)
class Line:
    """A line of a file as it stands there: file, line number (from 1), bytes without line end."""

    file: str
    number: int
    text: bytes

    def reject(self, reason: str) -> RejectedLine:
        """This line as one that is left out."""
        return RejectedLine(self.file, self.number, reason)


def read_lines(path: str, split: str) -> Iterator[Line]:
    """Yield every line of a file in order; from an archive, of the files ending in ``.<split>`` (or of its only file)."""
    try:
        for name, file in _open_texts(path, split):
            for number, text in enumerate(_lines(file), start=1):
                yield Line(name, number, text)
    except (OSError, EOFError, tarfile.TarError, zstandard.ZstdError, zlib.error) as error:
        raise UserError(
            f"{path} cannot be read",
            expected="text, or text compressed as .gz, .zst or .tar.gz",
            got=str(error).splitlines()[0] if str(error) else type(error).__name__,
            cause="the file is damaged, truncated, or its format differs from its extension",
        ) from error


def read_pairs(path: str, split: str) -> Iterator[Pair | RejectedLine]:
    """Yield the pair of every line of a file, or why the line is left out."""
    lines = read_lines(path, split)
    while batch := list(itertools.islice(lines, _BATCH_LINES)):
        yield from parse_lines(batch)


def parse_lines(lines: Sequence[Line]) -> list[Pair | RejectedLine]:
    """The pair of each line, or why it is left out."""
    results = _parse([line.text for line in lines])
    return [
        line.reject(result)
        if isinstance(result, str)
        else Pair(result.problem, result.solution, line.file, line.number)
        for line, result in zip(lines, results, strict=True)
    ]


def parse_line(line: bytes) -> Pair | str:
    """The pair of one line, or the reason to reject it."""
    return _parse([line])[0]


def _parse(lines: list[bytes]) -> list[Pair | str]:
    results = [_look_up(line) for line in lines]
    pairs = [pair for pair in results if isinstance(pair, Pair)]
    sides = ([pair.problem for pair in pairs], [pair.solution for pair in pairs])
    valid = iter(np.logical_and(*(prevalidate(Sequences.from_list(side)) for side in sides)).tolist())
    return [result if isinstance(result, str) or next(valid) else _parse_strictly(result) for result in results]


def _look_up(line: bytes) -> Pair | str:
    """The token ids of a line, before checking that they form expressions."""
    if len(line) > MAX_LINE_BYTES:
        return f"longer than {MAX_LINE_BYTES:,} bytes"
    count = _COUNT.match(line)
    problem, tab, solution = line[count.end() if count else 0 :].partition(b"\t")
    if not tab or b"\t" in solution:
        return "expected problem<TAB>solution"
    sides = []
    for name, text in (("problem", problem), ("solution", solution)):
        try:
            sides.append(bytes(map(IDS.__getitem__, text.decode(errors="replace").split())))
        except KeyError as error:
            return f"{name}: unknown token {error.args[0][:40]!r}"
    return Pair(sides[0], sides[1])


def _parse_strictly(pair: Pair) -> Pair | str:
    """The pair, or the strict parser's reason to reject it."""
    for name, ids in (("problem", pair.problem), ("solution", pair.solution)):
        try:
            parse(ids)
        except Malformed as error:
            return f"{name}: {error}"
    return pair


def checksum(path: str) -> str:
    """sha256 of a file as stored, still compressed."""
    digest = hashlib.sha256()
    with _open(path) as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def _open_texts(path: str, split: str) -> Iterator[tuple[str, IO[bytes]]]:
    """Yield the text files in a file with their names; read each one before advancing."""
    name = path.rsplit("/", 1)[-1]
    with contextlib.ExitStack() as stack:
        raw = stack.enter_context(_open(path))
        if not name.endswith(_ARCHIVES):
            yield name, _decompress(name, raw, stack)
            return
        members = _members(path, split)
        archive = stack.enter_context(tarfile.open(fileobj=raw, mode="r|*"))
        for member in archive:
            if member.name in members and (file := archive.extractfile(member)) is not None:
                yield f"{name}:{member.name}", file


def _decompress(name: str, raw: IO[bytes], stack: contextlib.ExitStack) -> IO[bytes]:
    file: Any = raw
    if name.endswith(".gz"):
        file = gzip.GzipFile(fileobj=raw, mode="rb")
        stack.callback(file.close)
    elif name.endswith(".zst"):
        reader: Any = zstandard.ZstdDecompressor().stream_reader(raw, read_across_frames=True)
        file = io.BufferedReader(reader, 1 << 16)
        stack.callback(file.close)
    return cast("IO[bytes]", file)


def _members(path: str, split: str) -> set[str]:
    """The names of the archive members of a split: those ending in ``.<split>``, or the only file."""
    with _open(path) as raw, tarfile.open(fileobj=raw, mode="r|*") as archive:
        names = [member.name for member in archive if member.isfile()]
    members = {name for name in names if name.endswith((f".{split}", f".{split}.txt"))}
    if not members and len(names) != 1:
        raise UserError(
            f"{path} holds no file of {split}",
            expected=f"a file name ending in .{split}, or a single file",
            got=", ".join(names[:5]) or "an empty archive",
        )
    return members or set(names)


def _open(path: str) -> contextlib.AbstractContextManager[IO[bytes]]:
    """Open a local file or any fsspec URL for reading."""
    try:
        file: Any = fsspec.open(path, "rb").open()
    except (OSError, ValueError, ImportError) as error:
        missing = isinstance(error, FileNotFoundError)
        raise UserError(
            f"{path} cannot be read",
            expected="the path or URL of a text file, plain or compressed as .gz, .zst or .tar.gz",
            got="no such file" if missing else getattr(error, "strerror", None) or str(error) or type(error).__name__,
            next_step="check the spelling of its name and directory" if missing else "choose a file that you may read",
        ) from error
    return contextlib.closing(file)


def _lines(file: IO[bytes]) -> Iterator[bytes]:
    """Lines without line ends; only the beginning of a line that is too long, so that memory stays bounded."""
    while line := file.readline(MAX_LINE_BYTES + 2):
        if not line.endswith(b"\n") and len(line) > MAX_LINE_BYTES:
            while (rest := file.readline(MAX_LINE_BYTES)) and not rest.endswith(b"\n"):
                pass
            yield line
        else:
            yield line.rstrip(b"\r\n")
