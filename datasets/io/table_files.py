"""Read tables to import: Parquet files, Arrow IPC files and streams, and directories of them as Hugging Face writes them."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq

from mathpipe.datasets.errors import UserError
from mathpipe.datasets.io.import_records import Record

ROWS = 1_000  # of a table that become Python values at a time
_MAGIC = b"ARROW1"
SPLIT_NAMES = {
    "train": "train",
    "valid": "valid",
    "validation": "valid",
    "val": "valid",
    "dev": "valid",
    "test": "test",
}
_SUFFIXES = (".parquet", ".arrow")
_SPEC_KEY, _VOCABULARY_KEY = b"mathpipe.spec", b"mathpipe.vocabulary"


def read_rows(path: str, file_format: str) -> Iterator[Record]:
    """Yield every row of a file in order; memory holds 1,000 rows, and one batch of an Arrow file that is not local."""
    name, number = path.rsplit("/", 1)[-1], 0
    with _damage(path), contextlib.ExitStack() as stack:
        for batch in _batches(path, file_format, stack):
            for first in range(0, batch.num_rows, ROWS):
                for values in batch.slice(first, ROWS).to_pylist():
                    number += 1
                    yield Record(name, number, values, unit="row")


def read_schema(path: str, file_format: str) -> pa.Schema:
    """The schema of a file, with its metadata."""
    with _damage(path), contextlib.ExitStack() as stack:
        if file_format == "parquet":
            return _parquet(path, stack).schema_arrow
        return _arrow(path, stack).schema


def stored_tokens(schema: pa.Schema) -> tuple[str, ...]:
    """The tokens of the ids in a file that mathpipe wrote; empty for other files."""
    tokens = _metadata(schema, _VOCABULARY_KEY) or _stored_problems(schema).get("alphabet")
    if not isinstance(tokens, list) or not all(isinstance(token, str) for token in tokens):
        return ()
    return tuple(tokens)


def stored_layouts(schema: pa.Schema) -> tuple[str, str] | None:
    """The layouts of the flat rows of integers, problem and solution, in a file that mathpipe wrote."""
    problems = _stored_problems(schema)
    layouts = problems.get("problem_layout"), problems.get("solution_layout")
    return (layouts[0], layouts[1]) if isinstance(layouts[0], str) and isinstance(layouts[1], str) else None


def _stored_problems(schema: pa.Schema) -> dict[str, Any]:
    spec = _metadata(schema, _SPEC_KEY)
    problems = spec.get("problems") if isinstance(spec, dict) else None
    return problems if isinstance(problems, dict) else {}


def _metadata(schema: pa.Schema, key: bytes) -> Any:
    try:
        return json.loads((schema.metadata or {}).get(key, b"null"))
    except ValueError:
        return None


def _batches(path: str, file_format: str, stack: contextlib.ExitStack) -> Iterator[pa.RecordBatch]:
    if file_format == "parquet":
        yield from _parquet(path, stack).iter_batches(batch_size=ROWS, use_threads=False)
        return
    reader = _arrow(path, stack)
    if isinstance(reader, pa.ipc.RecordBatchFileReader):
        yield from (reader.get_batch(k) for k in range(reader.num_record_batches))
    else:
        yield from reader


def _open(path: str, stack: contextlib.ExitStack) -> Any:
    """The file, mapped into memory if it is local."""
    fs, name = fsspec.core.url_to_fs(path)
    local = "file" in (fs.protocol if isinstance(fs.protocol, tuple) else (fs.protocol,))
    return stack.enter_context(pa.memory_map(name) if local and fs.size(name) else fs.open(name, "rb"))


def _parquet(path: str, stack: contextlib.ExitStack) -> pq.ParquetFile:
    return stack.enter_context(pq.ParquetFile(_open(path, stack)))


def _arrow(path: str, stack: contextlib.ExitStack) -> Any:
    """A reader of an Arrow IPC file, or of a stream as ``datasets.save_to_disk`` writes it."""
    file = _open(path, stack)
    start = file.read(len(_MAGIC))
    file.seek(0)
    return stack.enter_context(pa.ipc.open_file(file) if start == _MAGIC else pa.ipc.open_stream(file))


@contextlib.contextmanager
def _damage(path: str) -> Iterator[None]:
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        raise UserError(
            f"{path} cannot be read",
            expected="a Parquet file, an Arrow IPC file or an Arrow stream",
            got="no such file" if isinstance(error, FileNotFoundError) else (str(error).splitlines() or ["?"])[0],
            cause="the file is missing, damaged, or its format differs from its extension",
        ) from error


def expand(path: str) -> list[str]:
    """The files of a path: itself, or the tables in a directory, in the order of Hugging Face's ``state.json`` or by name."""
    fs, name = fsspec.core.url_to_fs(path)
    if not fs.isdir(name):
        return [path]
    root = path.rstrip("/")
    if fs.exists(f"{name}/state.json"):
        state = _json(fs, f"{name}/state.json")
        return [f"{root}/{file['filename']}" for file in state["_data_files"]]
    files = sorted(entry.rsplit("/", 1)[-1] for entry in fs.ls(name, detail=False))
    tables = [f"{root}/{file}" for file in files if file.endswith(_SUFFIXES) and file[0] not in "._"]
    if not tables:
        raise UserError(f"{path} holds no table", expected="files that end in .parquet or .arrow", got=files[:5])
    return tables


def find_splits(directory: str) -> tuple[dict[str, list[str]], list[str]]:
    """(split -> its files, names that are no split) of a dataset directory.

    Splits are directories (``save_to_disk``, a dataset of mathpipe), or tables ``train-00000-of-00002.parquet`` in it or its
    ``data/``. ``validation``, ``val`` and ``dev`` are ``valid``. A directory of ``state.json`` alone is ``train``.
    """
    fs, name = fsspec.core.url_to_fs(directory)
    root = directory.rstrip("/")
    if not fs.isdir(name):
        raise UserError(f"{directory} is no directory", expected="a directory with the tables of each split")
    if fs.exists(f"{name}/state.json"):
        return {"train": expand(root)}, []
    splits: dict[str, list[str]] = {}
    others: list[str] = []
    for folder in (root, f"{root}/data"):
        place = folder.replace(root, name, 1)
        if not fs.isdir(place):
            continue
        for entry in sorted(fs.ls(place, detail=True), key=lambda item: str(item["name"])):
            file = str(entry["name"]).rstrip("/").rsplit("/", 1)[-1]
            is_folder = entry["type"] == "directory" or (
                entry["type"] != "file" and fs.isdir(entry["name"])
            )  # or a link
            if file[0] in "._" or (is_folder and file == "data") or not (is_folder or file.endswith(_SUFFIXES)):
                continue
            split = SPLIT_NAMES.get(file if is_folder else file.split(".")[0].split("-")[0])
            if split is None:
                others.append(file)
            else:
                splits.setdefault(split, []).extend(expand(f"{folder}/{file}"))
    if not splits:
        raise UserError(
            f"{directory} holds no split",
            expected="directories or tables named train, validation (or valid, val, dev) or test",
            got=", ".join(others[:5]) or "nothing of the kind",
            next_step="name the files with --train, --valid and --test",
        )
    return splits, others


def _json(fs: Any, name: str) -> Any:
    try:
        return json.loads(fs.cat_file(name))
    except ValueError as error:
        raise UserError(f"{name} cannot be read", expected="JSON, as `datasets` writes it", got=str(error)) from error
