"""What to import: the files of each split, their format, and which of their columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mathpipe.datasets.errors import UserError, nearest
from mathpipe.datasets.io.source_files import TABLES, column_names
from mathpipe.datasets.io.table_files import expand, read_schema, stored_layouts, stored_tokens
from mathpipe.generate.curate.import_parts.import_part import ImportPart
from mathpipe.generate.dataset_spec import SourceFormat

Files = dict[str, list[str]]  # split -> files
FORMATS = {".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv", ".parquet": "parquet", ".arrow": "arrow"}
_COMPRESSED = (".gz", ".zst")


def find_files(files: Mapping[str, Sequence[str]]) -> Files:
    """The files of each split, those of directories in order."""
    return {split: [file for path in paths for file in expand(path)] for split, paths in files.items()}


def format_of(files: Files) -> str:
    """The format that the extensions of the files name; text for any other. UserError if they differ."""
    formats: dict[str, str] = {}
    for name in (path for paths in files.values() for path in paths):
        stem = next((name.removesuffix(suffix) for suffix in _COMPRESSED if name.endswith(suffix)), name)
        formats.setdefault(next((f for suffix, f in FORMATS.items() if stem.endswith(suffix)), "text"), name)
    if len(formats) > 1:
        raise UserError(
            "the files have several formats",
            expected="files of one format",
            got=", ".join(f"{name} ({file_format})" for file_format, name in formats.items()),
            next_step="import them one by one, or name their format with --format",
        )
    return next(iter(formats))


def resolve_source(task: Any, part: ImportPart, source: SourceFormat, files: Files) -> SourceFormat:
    """The source with all columns to read, and the tokens of stored ids. UserError if a column is missing."""
    if source.notation not in part.notations:
        raise UserError(
            f"{part.problem_type} are not written as {source.notation}",
            expected=f"--notation {' or '.join(part.notations)}",
            got=f"--notation {source.notation}",
        )
    if any(source.layouts) and (task.verifies or not part.takes_layouts):
        raise UserError(
            f"the layout of {part.problem_type} of {task.name} is fixed",
            expected="--problem-layout and --solution-layout with --task none --type integers only",
            next_step="leave them out",
        )
    optional = part.optional_roles(task)
    required = part.required_roles(task, source.notation)
    for role in source.columns.keys() - {*required, *optional}:
        near = nearest(role, (*required, *optional))
        raise UserError(
            f"--columns: {task.name} has no {role!r}",
            expected=", ".join((*required, *optional)),
            got=repr(role),
            next_step=near and f"did you mean {near}={source.columns[role]}?",
        )
    first = next((split, paths[0]) for split, paths in files.items() if paths)
    names = column_names(first[1], first[0], source.format)
    columns = {role: source.columns.get(role, role) for role in required}
    columns |= {r: source.columns.get(r, r) for r in optional if r in source.columns or r in names}
    if source.format == "text" and columns != {"problem": "problem", "solution": "solution"}:
        raise UserError(
            "text files have no columns",
            expected="problem<TAB>solution on each line",
            got=", ".join(f"{role}={column}" for role, column in columns.items()),
            next_step="use --format jsonl, csv or parquet",
        )
    missing = [column for column in columns.values() if names and column not in names]
    if missing:
        raise UserError(
            f"{first[1]} has no column {missing[0]!r}",
            expected=f"columns for {', '.join(columns)}",
            got=", ".join(names[:8]),
            next_step=f"name its columns: --columns problem={nearest('problem', names) or names[0]},solution=...",
        )
    stored: dict[str, Any] = {}
    if source.format in TABLES:
        schema = read_schema(first[1], source.format)
        stored = {"stored_tokens": stored_tokens(schema), "stored_layouts": stored_layouts(schema)}
    return source.model_copy(update={"columns": columns, **stored})
