"""Failed problems: dumped whole for study, read back, and the worst of them picked. All from the predictions file.

A dump is zstd-compressed JSON lines, one failed problem each (its best hypothesis is not right by mathematics, be it ``exact`` or
not), in the order of rows:

====================  ===========================================================================================
row, split            the problem
outcome               see ``mathpipe.evaluate.score.matrix_scoring``
problem, reference    matrices as lists of rows: the problem and its stored answer. Of expressions: their words, as text
prediction            the predicted words, as written, without the end
decoded               the matrix read from them, or null when malformed or unterminated; of expressions always null
residual              the matrix whose norms the errors are (decoded - reference; for inverse problem x decoded - I), or null
residual_formula      what it is, with H the prediction and X the reference
errors                every error measure; null where nothing of the right shape was read, and for an infinite one
reference_error_l1    error_l1 of the stored answer itself, as the output encoding writes it
log_probability       of all predicted words, the end included
correct_rank          the rank of the best-scoring right hypothesis of the same problem, null where none is right
covariates            what may explain the failure: dimensions, condition number, words, depth, ...
task                  in co-training, which of the tasks the problem is, else null
spectrum              where the data are a mixture, the spectrum by which the problem was drawn, else null
confused_with         another problem for which the prediction is right, see ``mathpipe.evaluate.predictions``; null for none
====================  ===========================================================================================

Written and read one problem at a time, in flat memory. Dumps without the last three are read as if these were null.
"""

from __future__ import annotations

import heapq
import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import zstandard
from numpy.typing import NDArray

from mathpipe.datasets.containers.ragged_matrices import Matrices
from mathpipe.datasets.errors import UserError
from mathpipe.evaluate.analyze.columns import covariate_names, float_column, measure_names
from mathpipe.generate.tasks.matrices.cotraining import task_ids_of
from mathpipe.generate.tasks.registry import Task, get_task, matrix_task

Floats = NDArray[np.float64]

NUM_WORST = 10
_NAMES = ("task", "spectrum", "confused_with")  # columns of names, which not all predictions have
_ODD = (
    "malformed",
    "unterminated",
    "wrong_shape",
    "undecided",
    "timeout",
)  # no value judged wrong: one of each is shown
WORST_ORDER = {
    "matrices": "First one of each kind that has no error (malformed, unterminated, wrong shape), then the largest error_l1.",
    "words": "First one of each kind that is no wrong answer (malformed, unterminated, undecided, timeout), then the most "
    "confident wrong answers: the largest log probability. A problem drawn twice is shown once.",
}


@dataclass(frozen=True, eq=False)
class Failure:
    """One failed problem; fields as in the dump, matrices as arrays (r, c)."""

    row: int
    split: str
    outcome: str
    problem: Floats | str
    reference: Floats | str
    prediction: str
    decoded: Floats | None
    residual: Floats | None
    residual_formula: str
    errors: dict[str, float | None]
    reference_error_l1: float | None
    log_probability: float | None
    correct_rank: int | None = None
    covariates: dict[str, float | None] = field(default_factory=dict)
    task: str | None = None
    spectrum: str | None = None
    confused_with: str | None = None

    @property
    def error(self) -> float:
        """error_l1, -1 where there is no finite one (so that it sorts behind those that have one)."""
        error = self.errors.get("error_l1")
        return -1.0 if error is None else error

    @property
    def confidence(self) -> float:
        """log_probability, -inf where there is none."""
        return -math.inf if self.log_probability is None else self.log_probability

    def value(self, name: str) -> Any:
        """A field, an error measure or a covariate by its name; UserError for an unknown one."""
        for values in (vars(self), self.errors, self.covariates):
            if name in values:
                return values[name]
        raise UserError(
            f"failures have no {name!r}",
            expected=f"one of row, outcome, {', '.join([*_NAMES, 'log_probability', *self.errors, *self.covariates])}",
            got=repr(name),
        )

    def to_json(self) -> str:
        """One line of a dump."""
        record = {name: _plain(getattr(self, name)) for name in self.__dataclass_fields__}
        return json.dumps(record, allow_nan=False)

    @classmethod
    def from_json(cls, line: str) -> Failure:
        record: dict[str, Any] = json.loads(line)
        for name in ("problem", "reference", "decoded", "residual"):
            record[name] = _array(record.get(name))
        return cls(**record)


def failed_rows(predictions: pa.Table) -> pa.Table:
    """The rows of failed problems: rank 0, not right."""
    return predictions.filter(pc.and_(pc.equal(predictions["rank"], 0), pc.invert(predictions["passed"])))


def failures(predictions: pa.Table, task_name: str) -> Iterator[Failure]:
    """The failed problems of a run of predictions, in order."""
    selected = failed_rows(predictions)
    if not len(selected):
        return
    task = get_task(task_name)
    errors = {name: _finite_list(selected, name) for name in measure_names(selected)}
    covariates = {name: _finite_list(selected, name) for name in covariate_names(selected)}
    plain = {name: selected[name].to_pylist() for name in ("row", "split", "outcome", "prediction")}
    special = _MatrixParts(task, selected) if isinstance(task, Task) else _WordParts(selected)
    plain |= {name: selected[name].to_pylist() for name in _NAMES if name in selected.column_names}
    own = _finite_list(selected, "reference_error_l1")
    log_probability, ranks = _finite_list(selected, "log_probability"), selected["correct_rank"].to_pylist()
    for i in range(len(selected)):
        yield Failure(
            **{name: values[i] for name, values in plain.items()},
            **special.of(i),
            errors={name: values[i] for name, values in errors.items()},
            reference_error_l1=own[i],
            log_probability=log_probability[i],
            correct_rank=None if ranks[i] is None else int(ranks[i]),
            covariates={name: values[i] for name, values in covariates.items()},
        )


class _MatrixParts:
    """Problems, references, predictions and residuals of matrices."""

    def __init__(self, task: Task, table: pa.Table) -> None:
        self.formulas = [task.residual_formula] * len(table)
        sides = {name: (f"{name}_rows", f"{name}_cols") for name in ("decoded", "reference")}
        sides |= {"problem": ("rows", "cols")}
        self.problems = _matrices(table, "problem", *sides["problem"])
        self.references = _matrices(table, "reference", *sides["reference"])
        self.decoded = _matrices(table, "decoded", *sides["decoded"])
        self.readable = pc.is_valid(table["decoded"]).to_numpy()
        noisy = "clean_problem" in table.column_names
        solved = _matrices(table, "clean_problem", *sides["problem"]) if noisy else self.problems
        if task.has_task_tokens:
            names = table["task"].to_pylist()
            self.formulas = [matrix_task(name).residual_formula for name in names]
            solved = solved.with_task_ids(task_ids_of(names))
        index = np.flatnonzero(self.readable & self.decoded.same_shape(self.references))
        residuals = task.residual(*(m.take(index) for m in (solved, self.references, self.decoded)))
        self.residuals = dict(zip(index.tolist(), residuals, strict=True))

    def of(self, i: int) -> dict[str, Any]:
        return {
            "problem": self.problems[i],
            "reference": self.references[i],
            "decoded": self.decoded[i] if self.readable[i] else None,
            "residual": self.residuals.get(i),
            "residual_formula": self.formulas[i],
        }


class _WordParts:
    """Problems and references as words."""

    def __init__(self, table: pa.Table) -> None:
        self.problems, self.references = table["problem_tokens"].to_pylist(), table["reference"].to_pylist()

    def of(self, i: int) -> dict[str, Any]:
        return {
            "problem": self.problems[i],
            "reference": self.references[i],
            "decoded": None,
            "residual": None,
            "residual_formula": "",
        }


def _matrices(table: pa.Table, name: str, rows: str, cols: str) -> Matrices:
    """The matrices of a column of lists; 0 x 0 where null."""
    column = table[name].combine_chunks()
    values = np.asarray(pc.list_flatten(column).to_numpy(zero_copy_only=False), dtype=np.float64)
    sides = [np.nan_to_num(float_column(table, side)).astype(np.int64) for side in (rows, cols)]
    there = pc.is_valid(column).to_numpy(zero_copy_only=False)
    return Matrices(values, *(np.where(there, side, 0) for side in sides))


@dataclass
class WorstFailures:
    """The failures to show: of those with no value judged wrong the first of each kind, then the worst wrong answers.

    What cannot be read says nothing of how far the model is off, and a model in training has thousands; one of each kind shows
    what they look like. All others are ordered by error_l1, infinite ones (a zero reference) last. Where errors are equal, as
    those of expressions, which have none, the most confident come first: by log_probability, then in the order of rows. An
    expression drawn twice is shown once.
    """

    count: int = NUM_WORST
    first_by_outcome: dict[str, Failure] = field(default_factory=dict)
    remaining: list[Failure] = field(default_factory=list)
    largest: list[tuple[float, float, int, Failure]] = field(default_factory=list)

    def add(self, failure: Failure) -> None:
        if failure.outcome in _ODD:
            if failure.outcome not in self.first_by_outcome:
                self.first_by_outcome[failure.outcome] = failure
            elif len(self.remaining) < self.count:
                self.remaining.append(failure)
            return
        if isinstance(failure.problem, str) and any(failure.problem == other.problem for *_, other in self.largest):
            return
        heapq.heappush(self.largest, (failure.error, failure.confidence, -failure.row, failure))
        if len(self.largest) > self.count:
            heapq.heappop(self.largest)

    def observe(self, failures: Iterable[Failure]) -> Iterator[Failure]:
        """The same failures, each looked at on its way."""
        for failure in failures:
            self.add(failure)
            yield failure

    def selected(self) -> list[Failure]:
        """Up to ``count`` failures, in the order in which they are shown."""
        first_by_outcome = [self.first_by_outcome[outcome] for outcome in _ODD if outcome in self.first_by_outcome][
            : self.count
        ]
        wrong = [failure for *_, failure in sorted(self.largest, key=lambda entry: entry[:3], reverse=True)]
        return [*first_by_outcome, *wrong, *self.remaining][: self.count]


class FailureWriter:
    """Streams failures into an open file."""

    def __init__(self, file: IO[bytes]) -> None:
        self._stream = zstandard.ZstdCompressor(level=3, write_checksum=True).stream_writer(file, closefd=False)
        self.written = 0

    def append(self, failures: Iterable[Failure]) -> None:
        for failure in failures:
            self._stream.write(failure.to_json().encode() + b"\n")
            self.written += 1

    def close(self) -> None:
        """End the stream; the file underneath stays open: who opened it closes it."""
        self._stream.close()  # type: ignore[no-untyped-call]


def read_failures(path: str | Path) -> Iterator[Failure]:
    """The failures of a dump, one at a time; UserError where it is missing, cut short, damaged or none."""
    number = 0
    try:
        for line in _lines(Path(path)):
            number += 1
            yield Failure.from_json(line)
    except (OSError, ValueError, TypeError, zstandard.ZstdError) as error:
        raise UserError(
            f"{path} cannot be read as a failure dump (after {number:,} lines)",
            expected="zstd-compressed JSON lines, as `mathpipe eval --verbose` writes them",
            got=str(error),
        ) from error


def _lines(path: Path) -> Iterator[str]:
    stream, rest = zstandard.ZstdDecompressor().decompressobj(), b""
    with path.open("rb") as file:
        while compressed := file.read(1 << 12):  # similar lines may become a thousand times as long
            *whole, rest = (rest + stream.decompress(compressed)).split(b"\n")
            for line in whole:
                yield line.decode()
    if not stream.eof or rest:
        raise ValueError("it ends in the middle")


def _finite_list(table: pa.Table, name: str) -> list[float | None]:
    if name not in table.column_names:
        return [None] * len(table)
    return [_finite(value) for value in float_column(table, name).tolist()]


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _plain(value: Any) -> Any:
    """As JSON has it: lists for arrays, null for an entry that is no finite number (a residual that overflowed)."""
    if not isinstance(value, np.ndarray):
        return value
    if np.isfinite(value).all():
        return value.tolist()
    entries = value.astype(object)
    entries[~np.isfinite(value)] = None
    return entries.tolist()


def _array(value: list[list[float]] | str | None) -> Floats | str | None:
    return value if value is None or isinstance(value, str) else np.array(value, dtype=np.float64)
