"""Failed problems: dumped whole for study, and the worst of them drawn.

A dump is zstd-compressed JSON lines, one failed problem each (its best hypothesis did not pass the error test at 5 %, be it
``exact`` or not), in the order of rows:

====================  ===========================================================================================
row, split            the problem
outcome               see ``mathpipe.evaluate.scoring``
operand, reference    matrices as lists of rows: the problem and its stored answer
prediction            the predicted words, as written, without the end
decoded               the matrix read from them, or null when malformed or unterminated
residual              the matrix whose norms the errors are (decoded - reference; for inverse operand x decoded - I), or null
residual_formula      what it is, with H the prediction and X the reference
errors                every error measure; null where nothing of the right shape was read, and for an infinite one
reference_error_l1    error_l1 of the stored answer itself, as the output encoding writes it
log_probability       of all predicted words, the end included
====================  ===========================================================================================

Written and read one problem at a time, in flat memory.
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
import zstandard
from numpy.typing import NDArray

from mathpipe.datasets.drawing import ASCII, UNICODE, draw_matrix, side_by_side
from mathpipe.datasets.errors import UserError
from mathpipe.datasets.sequences import MatrixWriter
from mathpipe.evaluate.predictions import sentences
from mathpipe.evaluate.scoring import OUTCOMES, Scored
from mathpipe.generate.tasks import Task

Floats = NDArray[np.float64]

WORST = 10
_ODD = ("malformed", "unterminated", "wrong_shape")  # no error measures: the worst show one of each


@dataclass(frozen=True, eq=False)
class Failure:
    """One failed problem; fields as in the dump, matrices as arrays (r, c)."""

    row: int
    split: str
    outcome: str
    operand: Floats
    reference: Floats
    prediction: str
    decoded: Floats | None
    residual: Floats | None
    residual_formula: str
    errors: dict[str, float | None]
    reference_error_l1: float | None
    log_probability: float | None

    @property
    def error(self) -> float:
        """error_l1, -1 where there is no finite one (so that it sorts behind those that have one)."""
        found = self.errors.get("error_l1")
        return -1.0 if found is None else found

    def to_json(self) -> str:
        """One line of a dump."""
        record = {name: _plain(getattr(self, name)) for name in self.__dataclass_fields__}
        return json.dumps(record, allow_nan=False)

    @classmethod
    def from_json(cls, line: str) -> Failure:
        record: dict[str, Any] = json.loads(line)
        for name in ("operand", "reference", "decoded", "residual"):
            record[name] = _array(record.get(name))
        return cls(**record)


def failures(task: Task, scored: Scored, split: str, target: MatrixWriter) -> Iterator[Failure]:
    """The failed problems among scored hypotheses of rank 0."""
    index = np.flatnonzero(~scored.passed & (scored.rank == 0))
    comparable = np.flatnonzero(scored.readable & scored.matrices.same_shape(scored.problems.solutions))
    residuals = _residuals(task, scored, np.intersect1d(index, comparable))
    words = sentences(target, scored.decoded.tokens[index], scored.lengths[index])
    for i, prediction in zip(index.tolist(), words, strict=True):
        reference = scored.problems.solutions[i]
        decoded = scored.matrices[i] if scored.readable[i] else None
        yield Failure(
            row=int(scored.problems.row[i]),
            split=split,
            outcome=OUTCOMES[scored.outcome[i]],
            operand=scored.problems.operands[i],
            reference=reference,
            prediction=prediction,
            decoded=decoded,
            residual=residuals.get(i),
            residual_formula=task.residual_formula,
            errors={name: _finite(values[i]) for name, values in scored.errors.items()},
            reference_error_l1=_finite(scored.reference_errors["error_l1"][i]),
            log_probability=_finite(scored.decoded.log_probability[i]),
        )


def _residuals(task: Task, scored: Scored, index: NDArray[np.int64]) -> dict[int, Floats]:
    """R of the hypotheses at these positions."""
    chosen = scored.problems.take(index)
    found = task.residual(chosen.solved, chosen.solutions, scored.matrices.take(index))
    return dict(zip(index.tolist(), found, strict=True))


@dataclass
class Worst:
    """The failures to show: up to three without error measures, the first of each kind, then the largest errors.

    A failure without error measures says nothing of how far the model is off, and a model in training has thousands; one of
    each kind shows what they look like. All others are ordered by error_l1, infinite ones (a zero reference) last.
    """

    count: int = WORST
    odd: dict[str, Failure] = field(default_factory=dict)
    spare: list[Failure] = field(default_factory=list)
    largest: list[tuple[float, int, Failure]] = field(default_factory=list)

    def add(self, failure: Failure) -> None:
        if failure.outcome in _ODD:
            if failure.outcome not in self.odd:
                self.odd[failure.outcome] = failure
            elif len(self.spare) < self.count:
                self.spare.append(failure)
            return
        heapq.heappush(self.largest, (failure.error, -failure.row, failure))
        if len(self.largest) > self.count:
            heapq.heappop(self.largest)

    def seen(self, found: Iterable[Failure]) -> Iterator[Failure]:
        """The same failures, each looked at on its way."""
        for failure in found:
            self.add(failure)
            yield failure

    def chosen(self) -> list[Failure]:
        """Up to ``count`` failures, in the order in which they are shown."""
        odd = [self.odd[outcome] for outcome in _ODD if outcome in self.odd][: self.count]
        measured = [failure for _, _, failure in sorted(self.largest, key=lambda entry: entry[:2], reverse=True)]
        return [*odd, *measured, *self.spare][: self.count]


class FailureWriter:
    """Streams failures into an open file."""

    def __init__(self, file: IO[bytes]) -> None:
        self._stream = zstandard.ZstdCompressor(level=3).stream_writer(file, closefd=False)
        self.written = 0

    def append(self, found: Iterable[Failure]) -> None:
        for failure in found:
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


def draw_failure(failure: Failure, width: int = 100, colour: bool = False, ascii_only: bool = False) -> list[str]:
    """Operand, reference, prediction and residual side by side, under a line that says what went wrong.

    With ``colour`` the entries that are off by more than 5 % of the reference's largest one are red.
    """
    glyphs = ASCII if ascii_only else UNICODE
    wrong = None
    if failure.residual is not None and failure.decoded is not None:
        wrong = np.abs(failure.decoded - failure.reference) > 0.05 * np.abs(failure.reference).max()
    blocks = [("operand", draw_matrix(failure.operand, glyphs=glyphs))]
    blocks.append(("reference", draw_matrix(failure.reference, glyphs=glyphs)))
    if failure.decoded is not None:
        blocks.append(("prediction", draw_matrix(failure.decoded, marked=wrong, colour=colour, glyphs=glyphs)))
    if failure.residual is not None:
        blocks.append((f"residual {failure.residual_formula}", draw_matrix(failure.residual, glyphs=glyphs)))
    lines = [_headline(failure), *side_by_side(blocks, width=width)]
    if failure.decoded is None:
        lines.append(
            _shortened(f"prediction: {failure.prediction or '(no words)'}", width, ".." if ascii_only else "…")
        )
    return lines


def draw_failures(chosen: Iterable[Failure], width: int = 100, colour: bool = False, ascii_only: bool = False) -> str:
    """Several failures, a blank line between them."""
    return "\n\n".join("\n".join(draw_failure(failure, width, colour, ascii_only)) for failure in chosen)


def _headline(failure: Failure) -> str:
    parts = [f"row {failure.row}", failure.outcome]
    if failure.errors.get("error_l1") is not None:
        own = failure.reference_error_l1
        told = own is not None and own >= 0.001  # the reference is rounded, too: of interest where that costs something
        parts.append(f"error_l1 {failure.error:.3g}" + (f" (the reference's own {own:.3g})" if told else ""))
    if failure.log_probability is not None:
        parts.append(f"log probability {failure.log_probability:.3g}")
    return ", ".join(parts)


def _shortened(text: str, width: int, ellipsis: str) -> str:
    return text if len(text) <= width else text[: max(width - len(ellipsis), 0)] + ellipsis


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray) else value


def _array(value: list[list[float]] | None) -> Floats | None:
    return None if value is None else np.array(value, dtype=np.float64)
