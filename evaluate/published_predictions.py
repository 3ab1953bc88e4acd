"""Published failure dumps (``.pred`` files of "What is my math transformer doing?", ``eval.*`` of its code) read into predictions.

One record a problem, a blank line between::

    Equation 12 (3/10)
    src=[[ 1.2 -3.4]
     [-5.6  7.8]]
    tgt=['V2', 'V2', '+', '120', 'E-2', ...]
    0 -1.234e-02 ['V2', 'V2', '+', '121', 'E-2', ...]

``src`` is the problem as NumPy prints a matrix, ``tgt`` the reference as a Python list of words, or a matrix where the answer was
accepted without generation (it is then taken as the prediction, too). A hypothesis is a flag (1 right, 0 wrong), a score that
greedy decoding leaves out, and a list of words. Lists are read by a parser of quoted words; nothing is evaluated.

Every prediction is verified anew; the published flag stands beside, in the column ``published_correct``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mathpipe.datasets.containers.ragged_matrices import Matrices
from mathpipe.datasets.errors import UserError
from mathpipe.datasets.format.matrix_columns import MatrixExamples
from mathpipe.datasets.io.storage import Storage
from mathpipe.datasets.tokenizers.matrix_tokenizer import END, PAD, DecodeStatus, MatrixTokenizer
from mathpipe.datasets.tokenizers.number_encodings import ENCODINGS
from mathpipe.evaluate.build_report import PREDICTIONS, ReportResult, build_report, remove_previous_results
from mathpipe.evaluate.decode.decoding import Hypotheses
from mathpipe.evaluate.predictions import PredictionsWriter, predictions_table
from mathpipe.evaluate.score.matrix_scoring import OUTCOMES, TOLERANCE, append_end, score
from mathpipe.generate.tasks.registry import Task, matrix_task

Floats = NDArray[np.float64]
Words = list[str]

SPLIT = "published"
_BATCH = 2_000
_HEAD = re.compile(r"Equation (\d+) \(\d+/\d+\)\s*")
_HYPOTHESIS = re.compile(r"([01])\s+(?:(-?[0-9.]+(?:[eE][-+]?\d+)?|nan|-?inf)\s+)?(\[.*\])\s*")
_LIST = re.compile(r"\[\s*(?:'[^'\\]*'\s*(?:,\s*'[^'\\]*'\s*)*,?\s*)?\]")
_WORD = re.compile(r"'([^'\\]*)'")
_ROW = re.compile(r"\[([^\[\]]*)\]")
_NUMBER = re.compile(r"-?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")


@dataclass(frozen=True)
class Record:
    """One published problem. ``reference``: words, or a matrix; ``hypotheses``: (right, score or NaN, words)."""

    number: int
    problem: Floats
    reference: Words | Floats
    hypotheses: list[tuple[bool, float, Words]] = field(default_factory=list)


def parse_words(text: str) -> Words:
    """A Python list of quoted words; ValueError for anything else."""
    if not _LIST.fullmatch(text.strip()):
        raise ValueError(f"no list of quoted words: {text[:60]!r}")
    return _WORD.findall(text)


def parse_matrix(text: str) -> Floats:
    """A matrix as NumPy prints it; ValueError where it is none."""
    rows = []
    for inside in _ROW.findall(text):
        numbers = inside.split()
        if not all(_NUMBER.fullmatch(n) for n in numbers):
            raise ValueError(f"no numbers: {inside[:60]!r}")
        rows.append([float(n) for n in numbers])
    if not rows or not rows[0] or len({len(row) for row in rows}) > 1 or _ROW.sub("", text).strip(" \n[]"):
        raise ValueError(f"no matrix: {text[:60]!r}")
    return np.array(rows)


def read_published(path: str | Path) -> Iterator[Record]:
    """The records of a file, one at a time; UserError naming the line where it is no such file."""
    lines: list[str] = []
    first = 1
    with Path(path).open(encoding="utf-8", errors="replace") as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                if not lines:
                    first = number
                lines.append(line.rstrip("\n"))
            elif lines:
                yield _record(path, first, lines)
                lines = []
    if lines:
        yield _record(path, first, lines)


def _record(path: str | Path, first: int, lines: list[str]) -> Record:
    try:
        return _parsed(lines)
    except (ValueError, StopIteration) as error:
        raise UserError(
            f"{path}, line {first}: no published failure",
            expected="'Equation I (K/N)', src= with a matrix, tgt= with words or a matrix, then 'V SCORE LIST' a hypothesis",
            got=str(error) or "a record that ends too early",
        ) from error


def _parsed(lines: list[str]) -> Record:
    head = _HEAD.fullmatch(lines[0])
    if head is None:
        raise ValueError(f"{lines[0][:60]!r}")
    parts: dict[str, list[str]] = {}
    hypotheses, name = [], ""
    for line in lines[1:]:
        match = _HYPOTHESIS.fullmatch(line) if "tgt" in parts else None
        if line.startswith(("src=", "tgt=")):
            name = line[:3]
            parts[name] = [line[4:]]
        elif match is not None:
            flag, number, words = match.groups()
            hypotheses.append((flag == "1", float("nan" if number is None else number), parse_words(words)))
        elif name and not hypotheses:
            parts[name].append(line)
        else:
            raise ValueError(f"{line[:60]!r}")
    if parts.keys() != {"src", "tgt"}:
        raise ValueError("src= or tgt= is missing")
    target = "\n".join(parts["tgt"])
    reference = parse_words(target) if "'" in target else parse_matrix(target)
    return Record(int(head[1]), parse_matrix("\n".join(parts["src"])), reference, hypotheses)


def detect_encoding(records: Iterable[Record]) -> str:
    """The encoding in which the references are written; UserError where none reads them."""
    written = [record.reference for record in records if isinstance(record.reference, list)]
    for name in ENCODINGS:
        tokenizer = MatrixTokenizer.named(name)
        if written and (tokenizer.decode(_tokens(tokenizer, written))[1] == DecodeStatus.OK).all():
            return name
    raise UserError(
        "the references are in no known encoding",
        expected=f"words of {', '.join(ENCODINGS)}",
        next_step="name it with --encoding",
    )


def import_published(
    path: str | Path, task_name: str, out: str, encoding: str | None = None, verbose: bool = True
) -> ReportResult:
    """Read a published file into ``out/predictions.parquet``, verified anew, and tell of it as of any evaluation."""
    task = matrix_task(task_name)
    tokenizer = MatrixTokenizer.named(encoding or detect_encoding(islice(read_published(path), 50)))
    storage, records, rows = Storage(out), read_published(path), 0
    metadata = {
        "run": str(path),
        "task": task_name,
        "kind": "matrices",
        "split": SPLIT,
        "outcomes": list(OUTCOMES),
        "output_encoding": tokenizer.encoding.name,
        "tolerance": TOLERANCE,
        "decoding": "as published; scores stand for log probabilities",
    }
    with storage.write(PREDICTIONS) as file:
        predictions = PredictionsWriter(file, metadata)
        while batch := list(islice(records, _BATCH)):
            predictions.append(_table(task, tokenizer, batch, path))
            rows += len(batch)
        predictions.close()
        if not rows:
            raise UserError(f"{path} holds no records", expected="'Equation I (K/N)' at the head of each")
        remove_previous_results(storage)
    return build_report(storage, verbose=verbose)


def _table(task: Task, tokenizer: MatrixTokenizer, batch: list[Record], path: str | Path) -> pa.Table:
    problems = Matrices.from_list([record.problem for record in batch])
    solutions = Matrices.from_list([_reference(tokenizer, record, path) for record in batch])
    rows = MatrixExamples(np.array([record.number for record in batch]), problems, solutions)
    own = append_end(*tokenizer.encode(solutions))
    words: list[Words | NDArray[np.int64]] = []
    correct, scores, problem, rank = [], [], [], []
    for k, record in enumerate(batch):
        hypotheses = record.hypotheses or [(True, float("nan"), own[k])]
        for place, (right, number, said) in enumerate(hypotheses):
            words.append(said)
            correct.append(right)
            scores.append(number)
            problem.append(k)
            rank.append(place)
    decoded = Hypotheses(_tokens(tokenizer, words), np.array(scores), np.array(problem), np.array(rank))
    table = predictions_table(score(task, tokenizer, rows, decoded), SPLIT, tokenizer, tokenizer, task)
    return table.add_column(table.column_names.index("passed") + 1, "published_correct", pa.array(correct))


def _reference(tokenizer: MatrixTokenizer, record: Record, path: str | Path) -> Floats:
    if not isinstance(record.reference, list):
        return record.reference
    matrices, reading = tokenizer.decode(_tokens(tokenizer, [record.reference]))
    if reading[0] != DecodeStatus.OK:
        raise UserError(
            f"{path}, equation {record.number}: the reference cannot be read in {tokenizer.encoding.name}",
            got=" ".join(record.reference[:12]),
            next_step="name the encoding of the answers with --encoding",
        )
    return matrices[0]


def _tokens(tokenizer: MatrixTokenizer, sentences: Iterable[Words | NDArray[np.int64]]) -> NDArray[np.int64]:
    """(n, L): each followed by END; -1 for a word that the encoding does not have."""
    ids = {word: k for k, word in enumerate(tokenizer.vocabulary)}
    rows = [[ids.get(w, -1) for w in s] + [END] if isinstance(s, list) else s.tolist() for s in sentences]
    tokens = np.full((len(rows), max(map(len, rows), default=0)), PAD, dtype=np.int64)
    for i, row in enumerate(rows):
        tokens[i, : len(row)] = row
    return tokens
