"""Failure dumps: all failed problems of an evaluation, as zstd-compressed JSON lines in the order of rows.

====================  ===========================================================================================
problem_type          matrices, expressions, sequences or integers
row, split            the problem
outcome               see ``mathpipe.evaluate.score.matrix_verifier`` and ``mathpipe.evaluate.score.token_verifier``
evidence              what the outcome rests on: proven, enclosed or sampled; null if it has none
evidence_counts       the columns ``evidence_points``, ... of the predictions; empty if the verifier counts nothing
problem, reference    the problem and its stored answer: matrices as lists of rows, token sequences as text
prediction            the predicted tokens, without END
decoded               the decoded matrix, or null if malformed or unterminated; null for token sequences
residual              the matrix whose norms the errors are (decoded - reference; for inverse problem x decoded - I), or null
residual_formula      its formula, with H the prediction and X the reference
errors                every error measure; null where undefined or infinite
reference_error_l1    error_l1 of the stored answer itself, as the output encoding rounds it
log_probability       of all predicted tokens, END included
correct_rank          the lowest rank of a correct hypothesis of the problem, null if none
covariates            properties that may explain the failure: dimensions, condition number, tokens, depth, ...
task                  in co-training, the task of the problem, else null
spectrum              in a mixture, the spectrum from which the problem was sampled, else null
confused_with         another problem that the prediction solves, see ``mathpipe.evaluate.predictions``; null if none
====================  ===========================================================================================

Dumps are written and read one problem at a time, in constant memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

import zstandard

from mathpipe.datasets.errors import UserError
from mathpipe.evaluate.failures.failure import Failure


class FailureWriter:
    """Streams failures into an open file. ``count``: number written so far."""

    def __init__(self, file: IO[bytes]) -> None:
        self._stream = zstandard.ZstdCompressor(level=3, write_checksum=True).stream_writer(file, closefd=False)
        self.count = 0

    def append(self, failures: Iterable[Failure]) -> None:
        for failure in failures:
            self._stream.write(failure.to_json().encode() + b"\n")
            self.count += 1

    def close(self) -> None:
        """End the stream; the underlying file stays open."""
        self._stream.close()  # type: ignore[no-untyped-call]


def read_failures(path: str | Path) -> Iterator[Failure]:
    """The failures of a dump, one at a time; UserError if it is missing, truncated, damaged or not a dump."""
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
        raise ValueError("the file is truncated")
