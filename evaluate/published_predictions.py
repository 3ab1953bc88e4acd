"""Import published failure files (``.pred`` files of "What is my math transformer doing?", ``eval.*`` of its code) as predictions.

One record per problem, separated by blank lines::

    Equation 12 (3/10)
    src=[[ 1.2 -3.4]
     [-5.6  7.8]]
    tgt=['V2', 'V2', '+', '120', 'E-2', ...]
    0 -1.234e-02 ['V2', 'V2', '+', '121', 'E-2', ...]

``src`` is the problem as NumPy prints a matrix. ``tgt`` is the reference as a Python list of tokens, or a matrix where the answer
was accepted without generation; that matrix is then the prediction, too. A hypothesis is a flag (1 correct, 0 wrong), a score that
greedy decoding leaves out, and a list of tokens. A parser of quoted strings reads the lists; nothing is evaluated.

Lists that NumPy 2 prints as ``[np.str_('V2'), ...]`` are read as well. A record that is none, such as a matrix with ``nan`` or
shortened with ``...``, is counted and named, and the others are imported.

Every prediction is verified again. The column ``published_correct`` keeps the published flag.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
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
from mathpipe.datasets.tokenizers.matrix_tokenizer import MatrixTokenizer
from mathpipe.datasets.tokenizers.tokenizer import END, PAD, DecodeStatus
from mathpipe.evaluate.adapters.adapter_registry import AnyAdapter, adapter_of
from mathpipe.evaluate.build_report import ReportResult, publish_evaluation
from mathpipe.evaluate.decode.hypotheses import Hypotheses
from mathpipe.evaluate.evaluation_directory import PREDICTIONS, lock_evaluation
from mathpipe.evaluate.predictions import PredictionsWriter
from mathpipe.evaluate.score.scoring import append_end
from mathpipe.generate.tasks.error_measures import TOLERANCE

Floats = NDArray[np.float64]
TokenList = list[str]

SPLIT = "published"
_BATCH = 2_000
_MAX_LISTED = 5  # odd records that are named
_HEAD = re.compile(r"Equation (\d+) \(\d+/\d+\)\s*")
_HYPOTHESIS = re.compile(r"([01])\s+(?:(-?[0-9.]+(?:[eE][-+]?\d+)?|nan|-?inf)\s+)?(\[.*\])\s*")
_NUMPY_TEXT = re.compile(r"np\.str_\(('[^'\\]*')\)")  # as NumPy 2 prints a text in a list
_LIST = re.compile(r"\[\s*(?:'[^'\\]*'\s*(?:,\s*'[^'\\]*'\s*)*,?\s*)?\]")
_TOKEN = re.compile(r"'([^'\\]*)'")
_ROW = re.compile(r"\[([^\[\]]*)\]")
_NUMBER = re.compile(r"-?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")


@dataclass(frozen=True)
class Record:
    """One published problem. ``reference``: tokens, or a matrix; ``hypotheses``: (correct, score or NaN, tokens)."""

    number: int
    problem: Floats
    reference: TokenList | Floats
    hypotheses: list[tuple[bool, float, TokenList]] = field(default_factory=list)


def parse_tokens(text: str) -> TokenList:
    """A Python list of quoted strings; ValueError for anything else."""
    text = _NUMPY_TEXT.sub(r"\1", text)
    if not _LIST.fullmatch(text.strip()):
        raise ValueError(f"not a list of quoted tokens: {text[:60]!r}")
    return _TOKEN.findall(text)


def parse_matrix(text: str) -> Floats:
    """A matrix as NumPy prints it; ValueError for anything else."""
    rows = []
    for row in _ROW.findall(text):
        numbers = row.split()
        if not all(_NUMBER.fullmatch(n) for n in numbers):
            raise ValueError(f"not a row of numbers: {row[:60]!r}")
        rows.append([float(n) for n in numbers])
    if not rows or not rows[0] or len({len(row) for row in rows}) > 1 or _ROW.sub("", text).strip(" \n[]"):
        raise ValueError(f"not a matrix: {text[:60]!r}")
    return np.array(rows)


def read_published(path: str | Path, on_odd: Callable[[UserError], None] | None = None) -> Iterator[Record]:
    """The records of a file, one at a time. ``on_odd`` receives the error of each record that cannot be read, with its line.

    Without ``on_odd`` the first of these errors is raised.
    """
    for first, lines in _blocks(path):
        try:
            record = _parse_record(lines)
        except (ValueError, StopIteration) as error:
            odd = UserError(
                f"{path}, line {first}: not a published failure",
                expected="'Equation I (K/N)', src= with a matrix, tgt= with tokens or a matrix, then 'FLAG SCORE LIST' per "
                "hypothesis",
                got=str(error) or "a truncated record",
            )
            if on_odd is None:
                raise odd from error
            on_odd(odd)
            continue
        yield record


def _blocks(path: str | Path) -> Iterator[tuple[int, list[str]]]:
    """(number of the first line, lines) of the parts of a file that blank lines separate."""
    lines: list[str] = []
    first = 1
    with Path(path).open(encoding="utf-8-sig", errors="replace") as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                if not lines:
                    first = number
                lines.append(line.rstrip("\n"))
            elif lines:
                yield first, lines
                lines = []
    if lines:
        yield first, lines


def _parse_record(lines: list[str]) -> Record:
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
            flag, number, tokens = match.groups()
            hypotheses.append((flag == "1", float("nan" if number is None else number), parse_tokens(tokens)))
        elif name and not hypotheses:
            parts[name].append(line)
        else:
            raise ValueError(f"{line[:60]!r}")
    if parts.keys() != {"src", "tgt"}:
        raise ValueError("src= or tgt= is missing")
    target = "\n".join(parts["tgt"])
    reference = parse_tokens(target) if "'" in target else parse_matrix(target)
    return Record(int(head[1]), parse_matrix("\n".join(parts["src"])), reference, hypotheses)


def detect_encoding(records: Iterable[Record], encodings: Sequence[str]) -> str:
    """The first of the number encodings that decodes the most references; UserError if none decodes more than half of them."""
    references = [record.reference for record in records if isinstance(record.reference, list)]
    decoded = {name: _num_decoded(MatrixTokenizer.named(name), references) for name in encodings}
    best = max(encodings, key=lambda name: decoded[name])  # the first of equal ones
    if 2 * decoded[best] > len(references):
        return best
    raise UserError(
        "the references are in no known encoding",
        expected=f"tokens of {', '.join(encodings)}",
        next_step="name it with --encoding",
    )


def _num_decoded(tokenizer: MatrixTokenizer, references: list[TokenList]) -> int:
    if not references:
        return 0
    return int((tokenizer.decode(_token_ids(tokenizer, references))[1] == DecodeStatus.OK).sum())


@dataclass
class _OddRecords:
    """Records that cannot be imported: their number, and the first of their errors."""

    count: int = 0
    first: list[UserError] = field(default_factory=list)

    def add(self, error: UserError) -> None:
        self.count += 1
        if len(self.first) < _MAX_LISTED:
            self.first.append(error)


def import_published(
    path: str | Path,
    task_name: str,
    out: str,
    encoding: str | None = None,
    verbose: bool = True,
    log: Callable[[str], None] = lambda text: None,
) -> ReportResult:
    """Write a published file to ``out/predictions.parquet``, verified again, and build its report like that of any evaluation.

    ``log`` receives the errors of the first odd records, and their number. UserError if no record can be imported.
    """
    adapter, odd = adapter_of(task_name), _OddRecords()
    encodings = adapter.published_encodings()
    if encoding is None:
        head = list(islice(read_published(path, (unreadable := _OddRecords()).add), 50))
        if not head and unreadable.count:
            raise unreadable.first[0]
        encoding = detect_encoding(head, encodings)
    tokenizer, storage = MatrixTokenizer.named(encoding), Storage(out)
    records, count = _decodable(read_published(path, odd.add), tokenizer, path, odd), 0
    metadata = {
        "run": str(path),
        "task": task_name,
        "problem_type": adapter.problem_type,
        "split": SPLIT,
        "outcomes": list(adapter.outcomes),
        "output_encoding": tokenizer.encoding.name,
        "tolerance": TOLERANCE,
        "decoding": "as published; scores stand for log probabilities",
    }
    with lock_evaluation(storage) as directory:
        with directory.staging.write(PREDICTIONS) as file:
            predictions = PredictionsWriter(file, metadata)
            while batch := list(islice(records, _BATCH)):
                predictions.append(_table(adapter, tokenizer, batch))
                count += len(batch)
            predictions.close()
            if not count:
                raise _no_records(path, odd)
        for error in odd.first:
            log(str(error))
        if odd.count:
            log(f"{odd.count:,} of {count + odd.count:,} records were left out")
        return publish_evaluation(directory, verbose=verbose)


def _no_records(path: str | Path, odd: _OddRecords) -> UserError:
    return (
        odd.first[0]
        if odd.first
        else UserError(f"{path} holds no records", expected="'Equation I (K/N)' at the head of each")
    )


def _decodable(
    records: Iterable[Record], tokenizer: MatrixTokenizer, path: str | Path, odd: _OddRecords
) -> Iterator[tuple[Record, Floats]]:
    """The records with their references as matrices; those that the number encoding cannot decode are odd."""
    for record in records:
        try:
            yield record, _reference(tokenizer, record, path)
        except UserError as error:
            odd.add(error)


def _table(adapter: AnyAdapter, tokenizer: MatrixTokenizer, batch: list[tuple[Record, Floats]]) -> pa.Table:
    problems = Matrices.from_list([record.problem for record, _ in batch])
    solutions = Matrices.from_list([reference for _, reference in batch])
    examples = MatrixExamples(np.array([record.number for record, _ in batch]), problems, solutions)
    references = append_end(*tokenizer.encode(solutions))
    predicted: list[TokenList | NDArray[np.int64]] = []
    flags, scores, problem, rank = [], [], [], []
    for k, (record, _) in enumerate(batch):
        for r, (flag, number, tokens) in enumerate(record.hypotheses or [(True, float("nan"), references[k])]):
            predicted.append(tokens)
            flags.append(flag)
            scores.append(number)
            problem.append(k)
            rank.append(r)
    decoded = Hypotheses(_token_ids(tokenizer, predicted), np.array(scores), np.array(problem), np.array(rank))
    table = adapter.table(adapter.score(tokenizer, examples, decoded), SPLIT, tokenizer, tokenizer)
    return table.add_column(table.column_names.index("passed") + 1, "published_correct", pa.array(flags))


def _reference(tokenizer: MatrixTokenizer, record: Record, path: str | Path) -> Floats:
    if not isinstance(record.reference, list):
        return record.reference
    matrices, status = tokenizer.decode(_token_ids(tokenizer, [record.reference]))
    if status[0] != DecodeStatus.OK:
        raise UserError(
            f"{path}, equation {record.number}: {tokenizer.encoding.name} cannot decode the reference",
            got=" ".join(record.reference[:12]),
            next_step="name the encoding of the answers with --encoding",
        )
    return matrices[0]


def _token_ids(tokenizer: MatrixTokenizer, token_lists: Iterable[TokenList | NDArray[np.int64]]) -> NDArray[np.int64]:
    """(n, L): token ids with END after each list; -1 for a token outside the vocabulary. Arrays of ids stay as they are."""
    ids = {token: k for k, token in enumerate(tokenizer.vocabulary)}
    rows = [[ids.get(t, -1) for t in each] + [END] if isinstance(each, list) else each.tolist() for each in token_lists]
    tokens = np.full((len(rows), max(map(len, rows), default=0)), PAD, dtype=np.int64)
    for i, row in enumerate(rows):
        tokens[i, : len(row)] = row
    return tokens
