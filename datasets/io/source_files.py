"""Stream the records of files to import: text, JSON Lines and CSV, plain or compressed; Parquet and Arrow; directories of them.

``.gz``, ``.zst`` and archives (``.tar``, ``.tar.gz``, ``.tgz``) are decompressed on the fly. Memory holds one line, or 1,000 rows
of a table. Nothing in a file is evaluated.
"""

from __future__ import annotations

import codecs
import contextlib
import csv
import gzip
import hashlib
import io
import tarfile
import zlib
from collections.abc import Iterable, Iterator
from typing import IO, Any, cast

import fsspec
import zstandard

from mathpipe.datasets.errors import UserError
from mathpipe.datasets.io.import_records import MAX_LINE_BYTES, Record

TABLES = ("parquet", "arrow")
_ARCHIVES = (".tar", ".tar.gz", ".tgz")


def read_records(path: str, split: str, file_format: str = "text", max_bytes: int = MAX_LINE_BYTES) -> Iterator[Record]:
    """Yield every line or row of a file in order; from an archive, of the files ending in ``.<split>`` (or of its only file)."""
    if file_format in TABLES:
        from mathpipe.datasets.io.table_files import read_rows  # imported late: text needs no Arrow

        yield from read_rows(path, file_format)
        return
    try:
        for name, file in _open_texts(path, split):
            header: tuple[str, ...] = ()
            numbered = enumerate(without_mark(name, read_lines(file, max_bytes)), start=1)
            if file_format == "csv":
                header = _header(name, next(numbered, (1, b""))[1])
            for number, text in numbered:
                yield Record(name, number, text, header)
    except (OSError, EOFError, tarfile.TarError, zstandard.ZstdError, zlib.error) as error:
        raise UserError(
            f"{path} cannot be read",
            expected="text, or text compressed as .gz, .zst or .tar.gz",
            got=str(error).splitlines()[0] if str(error) else type(error).__name__,
            cause="the file is damaged, truncated, or its format differs from its extension",
        ) from error


def column_names(path: str, split: str, file_format: str) -> tuple[str, ...]:
    """The columns that a CSV file or a table names; none for text and JSON Lines."""
    if file_format in TABLES:
        from mathpipe.datasets.io.table_files import read_schema

        return tuple(read_schema(path, file_format).names)
    if file_format != "csv":
        return ()
    for name, file in _open_texts(path, split):
        return _header(name, next(without_mark(name, read_lines(file, MAX_LINE_BYTES)), b""))
    return ()


def _header(name: str, line: bytes) -> tuple[str, ...]:
    try:
        (names,) = csv.reader([line.decode(errors="replace")], strict=True)
    except (csv.Error, ValueError):
        names = []
    if not names or len(set(names)) != len(names):
        raise UserError(
            f"{name} has no header",
            expected="a first line that names the columns, each once, such as problem,solution",
            got=repr(line[:60].decode(errors="replace")),
        )
    return tuple(names)


def checksum(path: str) -> str:
    """sha256 of a file as stored, still compressed."""
    digest = hashlib.sha256()
    with open_file(path) as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def _open_texts(path: str, split: str) -> Iterator[tuple[str, IO[bytes]]]:
    """Yield the text files in a file with their names; read each one before advancing."""
    name = path.rsplit("/", 1)[-1]
    with contextlib.ExitStack() as stack:
        raw = stack.enter_context(open_file(path))
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
    with open_file(path) as raw, tarfile.open(fileobj=raw, mode="r|*") as archive:
        names = [member.name for member in archive if member.isfile()]
    members = {name for name in names if name.endswith((f".{split}", f".{split}.txt"))}
    if not members and len(names) != 1:
        raise UserError(
            f"{path} holds no file of {split}",
            expected=f"a file name ending in .{split}, or a single file",
            got=", ".join(names[:5]) or "an empty archive",
        )
    return members or set(names)


def open_file(path: str) -> contextlib.AbstractContextManager[IO[bytes]]:
    """Open a local file or any fsspec URL for reading."""
    try:
        file: Any = fsspec.open(path, "rb").open()
    except (OSError, ValueError, ImportError) as error:
        missing = isinstance(error, FileNotFoundError)
        raise UserError(
            f"{path} cannot be read",
            expected="the path or URL of a file, or of a directory of Parquet or Arrow files",
            got="no such file" if missing else getattr(error, "strerror", None) or str(error) or type(error).__name__,
            next_step="check the spelling of its name and directory" if missing else "choose a file that you may read",
        ) from error
    return contextlib.closing(file)


def read_lines(file: IO[bytes], max_bytes: int) -> Iterator[bytes]:
    """Lines without line ends; only the beginning of a line that is too long, so that memory stays bounded."""
    while line := file.readline(max_bytes + 2):
        if not line.endswith(b"\n") and len(line) > max_bytes:
            while (rest := file.readline(max_bytes)) and not rest.endswith(b"\n"):
                pass
            yield line
        else:
            yield line.rstrip(b"\r\n")


def without_mark(name: str, lines: Iterable[bytes]) -> Iterator[bytes]:
    """The lines of a text file ``name`` without a byte-order mark of UTF-8; UserError for one of UTF-16 or UTF-32."""
    for k, line in enumerate(lines):
        if k == 0 and line.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_BE)):
            raise UserError(
                f"{name} is not UTF-8",
                expected="text in UTF-8",
                got="the byte-order mark of UTF-16 or UTF-32",
                cause="it was saved as Unicode on Windows",
                next_step=f"convert it: iconv -f UTF-16 -t UTF-8 {name}",
            )
        yield line.removeprefix(codecs.BOM_UTF8) if k == 0 else line
