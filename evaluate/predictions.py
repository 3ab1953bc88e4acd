"""The predictions file: Parquet, one row per hypothesis. Every table, plot and failure analysis is a query over it.

=====================  ==========================================================================================
row, split, rank       the problem, its split, and the rank of the hypothesis among those of the problem (0 is best)
prediction             the predicted tokens, without END
decoded                the decoded answer, null if malformed: a matrix row by row, ``decoded_rows`` x ``decoded_cols``,
                       or a list of token ids
outcome                see ``mathpipe.evaluate.score.matrix_verifier`` and ``mathpipe.evaluate.score.token_verifier``
evidence               what the outcome rests on: proven, enclosed or sampled; null if nothing was verified, and for tasks
                       whose verifier names none
evidence_points, ...   for expressions: the points at which it was verified, ``evidence_intervals`` between critical points that
                       hold, ``evidence_untried_intervals``, and ``evidence_jumps`` of an antiderivative where the integrand is
                       continuous; null where not counted
passed                 whether the answer is mathematically correct, whatever its tokens
matches_reference      whether its tokens are exactly those of the reference
log_probability        of all tokens, END included
error_l1, ...          every error measure of the task; null unless the answer has the correct shape
...                    diagnostics of the prediction, see ``mathpipe.evaluate.score.diagnostics``
confused_with          another problem, of those the task names, that the answer solves within 5 %; null if none
problem_tokens         the tokens of the problem in the input encoding (at rank 0 only, like all columns that follow)
problem                entries of a matrix, ``rows`` x ``cols``; with noise the noisy ones, and ``clean_problem``
reference              the stored answer: a matrix, ``reference_rows`` x ``reference_cols``, or tokens
reference_error_l1     error_l1 of the stored answer itself, as the output encoding rounds it
correct_rank           the lowest rank of a correct hypothesis of the problem, null if none
rows, cols, ...        covariates, see ``mathpipe.evaluate.analyze.covariates``
task                   in co-training, the task of the problem
problem_value          of integers: the problem as text, such as (12, 18); ``reference_value`` the stored answer, ``decoded_value``
                       the decoded answer of any rank, null if malformed
spectrum               for tasks that take one: in a mixture, the spectrum from which the problem was sampled, else null
=====================  ==========================================================================================

The footer holds run, dataset, task, problem type and encodings under ``mathpipe.evaluation`` (JSON). The columns that depend on
the problem type come from its adapter (see ``mathpipe.evaluate.adapters``).
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from mathpipe.datasets.errors import UserError

METADATA = b"mathpipe.evaluation"
FOOTER_ENTRIES = (
    *("task", "run", "data", "split", "rows", "outcomes", "decoding_settings", "input_encoding", "output_encoding"),
    *("precision", "dataset_digest", "max_length", "checkpoint", "spec"),
)
_NO_COLUMN = re.compile(r'Field "(.+)" does not exist')


class PredictionsWriter:
    """Appends tables of scored hypotheses to an open file, in constant memory."""

    def __init__(self, file: IO[bytes], metadata: Mapping[str, Any]) -> None:
        self._file = pa.PythonFile(file, mode="w")
        self._metadata = {METADATA: json.dumps(metadata, sort_keys=True).encode()}
        self._writer: pq.ParquetWriter | None = None

    def append(self, table: pa.Table) -> None:
        if self._writer is None:
            schema = table.schema.with_metadata(self._metadata)
            self._writer = pq.ParquetWriter(
                self._file,
                schema,
                compression="zstd",
                use_dictionary=["split", "outcome", "evidence"],
                write_statistics=True,
            )
        self._writer.write_table(table.replace_schema_metadata(self._metadata))

    def close(self) -> None:
        """Write the footer; the underlying file stays open."""
        if self._writer is not None:
            self._writer.close()


@contextlib.contextmanager
def expect_predictions(path: str | Path) -> Iterator[None]:
    """UserError that names ``path`` where the block asks for a column, or an entry of the footer, that the file lacks.

    Also where the file is damaged.
    """
    try:
        yield
    except (OSError, pa.ArrowInvalid) as error:
        if getattr(error, "errno", None) is not None:
            raise  # of the operating system, which names the file
        raise UserError(
            f"{path} is damaged", got=str(error), next_step="evaluate the run again with `mathpipe eval`"
        ) from error
    except KeyError as error:
        column = _NO_COLUMN.match(str(error.args[0]))
        name = column[1] if column else str(error.args[0])
        if column is None and name not in FOOTER_ENTRIES:
            raise
        raise UserError(
            f"{path} has no {'column' if column else 'entry'} {name}",
            expected="predictions that this version of mathpipe wrote",
            cause="another version wrote them",
            next_step="evaluate the run again with `mathpipe eval`",
        ) from error


def read_predictions(path: str | Path, columns: Sequence[str] | None = None, filesystem: Any = None) -> pa.Table:
    """A predictions file, or those of ``columns`` that it has; UserError if it is not such a file."""
    try:
        file = pq.ParquetFile(str(path), filesystem=filesystem)
        with file:
            return file.read(None if columns is None else [c for c in columns if c in file.schema_arrow.names])
    except (OSError, pa.ArrowInvalid) as error:
        raise UserError(
            f"{path} is not a predictions file", got=str(error), next_step="`mathpipe eval` writes one for a run"
        ) from error


def predictions_metadata(path: str | Path, filesystem: Any = None) -> dict[str, Any]:
    """Metadata of the footer: run, dataset, task, encodings; UserError if it is not a predictions file."""
    try:
        return read_footer(path, filesystem)
    except (OSError, pa.ArrowInvalid, ValueError) as error:
        raise UserError(
            f"{path} is not a predictions file", got=str(error), next_step="`mathpipe eval` writes one for a run"
        ) from error


def read_footer(path: str | Path, filesystem: Any = None) -> dict[str, Any]:
    """The JSON of a file's footer."""
    with pq.ParquetFile(str(path), filesystem=filesystem) as file:
        text = (file.schema_arrow.metadata or {}).get(METADATA)
    return dict(json.loads(text)) if text else {}
