"""Records of imported files: one line of a text file or one row of a table each, and why a record is left out."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

Fields = dict[str, Any]  # role, such as "problem" -> text, list, number or None

TOO_LONG, NOT_A_PAIR = "too long", "not problem<TAB>solution"
INVALID_JSON, INVALID_CSV, NOT_AN_OBJECT = "not valid JSON", "not valid CSV", "not a JSON object"
MISSING_COLUMN, NO_VALUE = "missing column", "no value"
MAX_LINE_BYTES = 1 << 16  # of a line of expressions; longer ones are rejected
_COUNT = re.compile(r"\s*[0-9]+\|")


@dataclass(frozen=True)
class Fault:
    """Why a record is no example. ``kind``: under which it is counted; ``reason``: what was expected and got."""

    kind: str
    reason: str

    def __str__(self) -> str:
        return self.reason


@dataclass(frozen=True)
class RejectedLine:
    """A record that is left out: file, number of its line or row (from 1), reason and kind."""

    file: str
    number: int
    reason: str
    kind: str = ""
    unit: str = "line"

    def __str__(self) -> str:
        return f"{self.file}, {self.unit} {self.number:,}: {self.reason}"


@dataclass(frozen=True)
class Record:
    """A line or row as it stands in its file, numbered from 1. ``raw``: bytes without line end, or the values of a row by column.

    ``header``: the names of the columns of a CSV file.
    """

    file: str
    number: int
    raw: bytes | dict[str, Any]
    header: tuple[str, ...] = ()
    unit: str = "line"

    def reject(self, fault: Fault) -> RejectedLine:
        """This record as one that is left out."""
        return RejectedLine(self.file, self.number, fault.reason, fault.kind, self.unit)


def read_fields(
    record: Record,
    file_format: str,
    columns: Mapping[str, str],
    max_bytes: int = MAX_LINE_BYTES,
    *,
    counted: bool = False,
    nullable: tuple[str, ...] = (),
    optional: tuple[str, ...] = (),
) -> Fields | Fault | None:
    """The value of each role (``columns``: role -> column), or what is wrong; None for an empty line of JSON Lines or CSV.

    ``counted``: lines of text may begin with ``count|``, as those of published files do. ``nullable``: roles whose value may be
    null; ``optional``: those that may be missing, too, and are then None.
    """
    if isinstance(record.raw, dict):
        return _select(record.raw, columns, nullable, optional)
    if len(record.raw) > max_bytes:
        return Fault(TOO_LONG, f"longer than {max_bytes:,} bytes")
    values = _READERS[file_format](record, columns, counted)
    return _select(values, columns, nullable, optional) if isinstance(values, dict) else values


def _read_text(record: Record, columns: Mapping[str, str], counted: bool) -> Fields | Fault:
    text = _text(record)
    if counted and (count := _COUNT.match(text)):
        text = text[count.end() :]
    problem, tab, solution = text.partition("\t")
    if not tab or "\t" in solution:
        return Fault(NOT_A_PAIR, "expected problem<TAB>solution")
    return {columns["problem"]: problem, columns["solution"]: solution}


def _read_json(record: Record, columns: Mapping[str, str], counted: bool) -> Fields | Fault | None:
    text = _text(record)
    if not text.strip():
        return None
    try:
        values = json.loads(record.raw if isinstance(record.raw, bytes) else text)
    except (ValueError, RecursionError) as error:
        place = f" (character {error.pos + 1})" if isinstance(error, json.JSONDecodeError) else ""
        return Fault(INVALID_JSON, f"not valid JSON{place}: expected an object with {_names(columns)}")
    if not isinstance(values, dict):
        return Fault(NOT_AN_OBJECT, f"expected a JSON object with {_names(columns)}")
    return values


def _read_csv(record: Record, columns: Mapping[str, str], counted: bool) -> Fields | Fault | None:
    text = _text(record)
    if not text.strip():
        return None
    try:
        (values,) = csv.reader([text], strict=True)
    except (csv.Error, ValueError) as error:
        return Fault(INVALID_CSV, f"not valid CSV ({error}): expected one line a record")
    if len(values) != len(record.header):
        return Fault(INVALID_CSV, f"expected {len(record.header)} fields, as in the header, got {len(values)}")
    return dict(zip(record.header, values, strict=True))


# A line -> its values by column.
_READERS: dict[str, Callable[[Record, Mapping[str, str], bool], Fields | Fault | None]] = {
    "text": _read_text,
    "jsonl": _read_json,
    "csv": _read_csv,
}


def _text(record: Record) -> str:
    assert isinstance(record.raw, bytes)
    return record.raw.decode(errors="replace")


def _select(
    values: Mapping[str, Any], columns: Mapping[str, str], nullable: tuple[str, ...], optional: tuple[str, ...]
) -> Fields | Fault:
    fields: Fields = {}
    for role, column in columns.items():
        if role in optional and values.get(column) is None:
            fields[role] = None
            continue
        if column not in values:
            names = ", ".join(ascii(name)[:40] for name in list(values)[:5])
            return Fault(MISSING_COLUMN, f"no column {column!r}, but {names or 'none'}")
        if values[column] is None and role not in nullable:
            return Fault(NO_VALUE, f"column {column!r} is null, expected a {role.replace('_', ' ')}")
        fields[role] = values[column]
    return fields


def _names(columns: Mapping[str, str]) -> str:
    return ", ".join(columns.values())
