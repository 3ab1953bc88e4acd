"""Verify a stream of answers, one line of JSON or CSV or one row of a table each, in bounded memory and in their order."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import IO, Any

from mathpipe.datasets.errors import UserError, nearest
from mathpipe.datasets.io.import_records import Fault, Record, read_fields
from mathpipe.datasets.io.source_files import column_names, open_file, read_lines, read_records, without_mark
from mathpipe.generate.answers.answer_verifications import MALFORMED, AnswerVerification
from mathpipe.generate.answers.answer_verifier import Answer, AnswerVerifier
from mathpipe.generate.answers.mixture_verifier import MixtureVerifier
from mathpipe.generate.curate.import_sources import format_of
from mathpipe.generate.execution.ordered_map import map_in_order

COLUMNS: Mapping[str, str] = {"problem": "problem", "answer": "answer"}
OPTIONAL_ROLES = ("reference", "id", "task")
INVALID_LINE = "invalid_line"
"""The outcome of a line that is no JSON object with a problem and an answer, or no record of CSV like its header."""
MAX_LINE_BYTES = 1 << 22
_MAY_LACK = ("id", "task")
_BATCH_LINES, _BATCH_BYTES = 128, 1 << 20


@dataclass(frozen=True)
class ScoredLine:
    """The result of line ``number`` (from 1).

    ``identifier``, ``task``: the values of its columns ``id`` and ``task``, if ``--columns`` names them.
    """

    number: int
    verification: AnswerVerification
    identifier: Any = None
    task: Any = None

    def to_json(self) -> dict[str, Any]:
        named = {"id": self.identifier, "task": self.task}
        present = {name: value for name, value in named.items() if value is not None}
        return {"line": self.number, **present, **self.verification.to_json()}


def score_lines(
    lines: Iterable[bytes],
    verifier: AnswerVerifier | MixtureVerifier,
    columns: Mapping[str, str] = COLUMNS,
    workers: int = 0,
) -> Iterator[ScoredLine]:
    """The result of each line of JSON that is not empty, in order.

    ``columns``: role (problem, answer, reference, id, task) -> field of the object; a task needs a ``MixtureVerifier``.
    ``workers``: processes; 0: this one.
    """
    records = (Record("answers", number, line) for number, line in enumerate(lines, start=1))
    yield from _score_records(records, "jsonl", verifier, columns, workers)


def _with_defaults(columns: Mapping[str, str]) -> dict[str, str]:
    """The column of each role; UserError for a role that no answer has."""
    columns, roles = {**COLUMNS, **columns}, (*COLUMNS, *OPTIONAL_ROLES)
    for role, column in columns.items():
        if role not in roles:
            near = nearest(role, roles)
            meant = f"{column}={role}" if column in roles else near and f"{near}={column}"  # or the two are reversed
            raise UserError(
                f"--columns: an answer has no {role!r}",
                expected=", ".join(roles),
                got=role,
                next_step=meant and f"did you mean {meant}?",
            )
    return columns


def _score_records(
    records: Iterable[Record],
    file_format: str,
    verifier: AnswerVerifier | MixtureVerifier,
    columns: Mapping[str, str],
    workers: int,
) -> Iterator[ScoredLine]:
    columns = _with_defaults(columns)
    if verifier.task.needs_reference and "reference" not in columns:
        raise UserError(
            f"{verifier.task.name} verifies by comparison",
            expected="the reference of each problem",
            next_step="name its field: --columns reference=NAME",
        )
    score = functools.partial(_score_batch, verifier, columns, file_format)
    for results in map_in_order(score, _batches(records), workers):
        yield from results


def score_file(
    file: IO[bytes], verifier: AnswerVerifier | MixtureVerifier, columns: Mapping[str, str] = COLUMNS, workers: int = 0
) -> Iterator[ScoredLine]:
    """``score_lines`` of an open file; of a line beyond 4 MiB only the beginning is read."""
    return score_lines(
        without_mark("the file of answers", read_lines(file, MAX_LINE_BYTES)), verifier, columns, workers
    )


def score_path(
    path: str, verifier: AnswerVerifier | MixtureVerifier, columns: Mapping[str, str] = COLUMNS, workers: int = 0
) -> Iterator[ScoredLine]:
    """The results of a file of JSON lines, or of CSV, Parquet or Arrow by its extension; ``.gz`` and ``.zst`` are decompressed.

    UserError if a header or a schema lacks a column.
    """
    file_format = format_of({"answers": [path]})
    if file_format == "text":
        file_format = "jsonl"
    with open_file(path):  # UserError at once if there is no such file
        names = column_names(path, "answers", file_format)
    columns = _with_defaults(columns)
    missing = [column for role, column in columns.items() if names and role != "task" and column not in names]
    if missing:
        raise UserError(
            f"{path} has no column {missing[0]!r}",
            expected=f"columns for {', '.join(columns)}",
            got=", ".join(names[:8]),
            next_step="name them: --columns problem=NAME,answer=NAME"
            if len(names) > 1 or file_format != "csv"
            else "separate the columns by commas",
        )
    records = read_records(path, "answers", file_format, MAX_LINE_BYTES)
    return _score_records(records, file_format, verifier, columns, workers)


def _batches(records: Iterable[Record]) -> Iterator[list[Record]]:
    """Batches of records, smaller where lines are long."""
    batch: list[Record] = []
    size = 0
    for record in records:
        batch.append(record)
        size += len(record.raw)
        if len(batch) == _BATCH_LINES or size >= _BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _score_batch(
    verifier: AnswerVerifier | MixtureVerifier, columns: Mapping[str, str], file_format: str, records: list[Record]
) -> list[ScoredLine]:
    fields = {
        record.number: read_fields(
            record, file_format, columns, MAX_LINE_BYTES, nullable=("answer",), optional=_MAY_LACK
        )
        for record in records
    }
    valid = {number: each for number, each in fields.items() if each is not None and not isinstance(each, Fault)}
    answers = [Answer(each["problem"], each["answer"], each.get("reference")) for each in valid.values()]
    if isinstance(verifier, MixtureVerifier):
        results_of_answers = verifier.verify([each.get("task") for each in valid.values()], answers)
    else:
        results_of_answers = list(verifier.verify(answers))
    verifications = dict(zip(valid, results_of_answers, strict=True))
    results = []
    for number, each in fields.items():
        if isinstance(each, Fault):
            results.append(ScoredLine(number, AnswerVerification(INVALID_LINE, reason=each.reason)))
        elif each is not None:
            results.append(ScoredLine(number, verifications[number], each.get("id"), each.get("task")))
    return results


__all__ = [
    "COLUMNS",
    "INVALID_LINE",
    "MALFORMED",
    "OPTIONAL_ROLES",
    "ScoredLine",
    "score_file",
    "score_lines",
    "score_path",
]
