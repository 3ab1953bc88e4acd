"""The predictions file: Parquet, one row a hypothesis. Every table, plot and failure analysis is a query over it.

=====================  ==========================================================================================
row, split, rank       the problem, its split, and the place of the hypothesis among the problem's own (0 is best)
prediction             the predicted words, as written, without the end
decoded                the matrix read from them, row by row, ``decoded_rows`` x ``decoded_cols``; null when malformed.
                       Of expressions the list of word ids
outcome                see ``mathpipe.evaluate.score.matrix_scoring`` and ``mathpipe.evaluate.score.sequence_scoring``
passed                 whether it is right by mathematics, whatever its words
log_probability        of all words, the end included
error_l1, ...          every error measure of the task; null where nothing of the right shape was read
...                    single properties of the prediction, see ``mathpipe.evaluate.score.diagnostics``
confused_with          another problem, of those the task names, for which it is right within 5 %; null for none
problem                the problem's words in the input encoding (on rank 0 only, like all that follows)
problem                its entries, ``rows`` x ``cols``; with noise as written, and ``clean_problem`` besides
reference              the stored answer, ``reference_rows`` x ``reference_cols``; of expressions its words
reference_error_l1     error_l1 of the stored answer itself, as the output encoding writes it
correct_rank           the rank of the best-scoring right hypothesis of the problem, null where none is right
rows, cols, ...        covariates, see ``mathpipe.evaluate.analyze.covariates``
task                   in co-training, which of the tasks the problem is
spectrum               of tasks that take one: where the data are a mixture, the one by which the problem was drawn, else null
=====================  ==========================================================================================

The footer says under ``mathpipe.evaluation`` (JSON) which run, dataset, task and encodings these are.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from mathpipe.datasets.containers.ragged_matrices import SPECTRA, Matrices
from mathpipe.datasets.errors import UserError
from mathpipe.datasets.tokenizers.bit_tokenizer import BitTokenizer
from mathpipe.datasets.tokenizers.expression_tokenizer import ExpressionTokenizer
from mathpipe.datasets.tokenizers.matrix_tokenizer import MatrixTokenizer
from mathpipe.evaluate.analyze.covariates import bit_covariates, covariates, expression_covariates
from mathpipe.evaluate.score.matrix_scoring import TOLERANCE, ScoredHypotheses, ScoredMatrices
from mathpipe.evaluate.score.sequence_scoring import ScoredSequences
from mathpipe.evaluate.score.wrong_problem_answers import confused_with
from mathpipe.generate.tasks.matrices.cotraining import NAMES
from mathpipe.generate.tasks.registry import Task

METADATA = b"mathpipe.evaluation"

Mask = NDArray[np.bool_]


def predictions_table(
    scored: ScoredMatrices, split: str, source: MatrixTokenizer, target: MatrixTokenizer, task: Task
) -> pa.Table:
    """The rows of the predictions file for a run of scored hypotheses of matrices."""
    best, problems = scored.best, scored.problems
    columns = _first_columns(scored, split, token_strings(target, scored.decoded.tokens, scored.lengths))
    columns |= {
        **_matrix_columns("decoded", scored.matrices, scored.readable),
        **_outcome_columns(scored),
        **{name: _numbers(values) for name, values in scored.errors.items()},
        **_confusion_column(scored, task),
        "problem_tokens": pa.array(_where(best, token_strings(source, *source.encode(problems.problems))), pa.string()),
        "problem": _matrix_columns("problem", problems.problems, best)["problem"],
    }
    if problems.clean is not None:
        columns["clean_problem"] = _matrix_columns("problem", problems.clean, best)["problem"]
    columns |= _matrix_columns("reference", problems.solutions, best)
    columns["reference_error_l1"] = _numbers(scored.reference_errors["error_l1"], best)
    columns["correct_rank"] = _numbers(scored.correct_rank)
    covariate_values = covariates(problems.problems.take(best), task.symmetric)
    columns |= {name: _spread(values, best) for name, values in covariate_values.items()}
    if task.has_task_tokens:
        columns["task"] = _named(problems.problems.task_ids, NAMES, best)
    if task.takes_spectrum:
        columns["spectrum"] = _named(problems.problems.spectra, SPECTRA, best)
    return pa.table(columns)


def _confusion_column(scored: ScoredMatrices, task: Task) -> dict[str, pa.Array]:
    if not task.wrong_problems:
        return {}
    readable = ~np.isnan(scored.errors["error_l1"])
    names = confused_with(task, scored.problems.solved, scored.matrices, readable, TOLERANCE)
    return {"confused_with": pa.array(names, pa.string())}


def sequence_table(
    scored: ScoredSequences,
    split: str,
    source: ExpressionTokenizer | BitTokenizer,
    target: ExpressionTokenizer | BitTokenizer,
) -> pa.Table:
    """The rows of the predictions file for a run of scored hypotheses of expressions or bits."""
    best, problems = scored.best, scored.problems
    columns = _first_columns(scored, split, token_strings(target, scored.decoded.tokens, scored.lengths))
    words = scored.sequences
    columns["decoded"] = pa.ListArray.from_arrays(
        pa.array(words.offsets, pa.int32()), pa.array(words.values, pa.uint8()), mask=pa.array(~scored.readable)
    )
    columns |= _outcome_columns(scored)
    columns |= {name: _numbers(values) for name, values in scored.errors.items()}
    for name, sequences, writer in (
        ("problem_tokens", problems.problems, source),
        ("reference", problems.solutions, target),
    ):
        columns[name] = pa.array(_where(best, token_strings(writer, *writer.encode(sequences))), pa.string())
    columns["correct_rank"] = _numbers(scored.correct_rank)
    measure = bit_covariates if isinstance(target, BitTokenizer) else expression_covariates
    covariate_values = measure(problems.problems.take(best), problems.solutions.take(best))
    columns |= {name: _spread(values, best) for name, values in covariate_values.items()}
    columns |= {
        name: _spread(np.asarray(values)[best], best)
        for name, values in problems.columns.items()
        if name not in columns
    }
    return pa.table(columns)


def _first_columns(scored: ScoredHypotheses, split: str, written: list[str]) -> dict[str, pa.Array]:
    return {
        "row": pa.array(scored.problems.row, pa.int64()),
        "split": pa.array([split] * len(scored), pa.string()),
        "rank": pa.array(scored.rank, pa.int32()),
        "prediction": pa.array(written, pa.string()),
    }


def _outcome_columns(scored: ScoredHypotheses) -> dict[str, pa.Array]:
    names = list(scored.outcomes)
    return {
        "outcome": pa.DictionaryArray.from_arrays(pa.array(scored.outcome, pa.int8()), names).cast(pa.string()),
        "passed": pa.array(scored.passed),
        "log_probability": _numbers(scored.decoded.log_probability),
    }


class PredictionsWriter:
    """Appends runs of scored hypotheses to an open file; memory does not grow with their number."""

    def __init__(self, file: IO[bytes], metadata: Mapping[str, Any]) -> None:
        self._file = pa.PythonFile(file, mode="w")
        self._metadata = {METADATA: json.dumps(metadata, sort_keys=True).encode()}
        self._writer: pq.ParquetWriter | None = None

    def append(self, table: pa.Table) -> None:
        if self._writer is None:
            schema = table.schema.with_metadata(self._metadata)
            self._writer = pq.ParquetWriter(
                self._file, schema, compression="zstd", use_dictionary=["split", "outcome"], write_statistics=True
            )
        self._writer.write_table(table.replace_schema_metadata(self._metadata))

    def close(self) -> None:
        """Write the footer; the file underneath stays open: who opened it closes it."""
        if self._writer is not None:
            self._writer.close()


def read_predictions(path: str | Path, columns: Sequence[str] | None = None, filesystem: Any = None) -> pa.Table:
    """The predictions file, or those of some columns that it has; UserError where it is none."""
    try:
        file = pq.ParquetFile(str(path), filesystem=filesystem)
        with file:
            return file.read(None if columns is None else [c for c in columns if c in file.schema_arrow.names])
    except (OSError, pa.ArrowInvalid) as error:
        raise UserError(
            f"{path} is no predictions file", got=str(error), next_step="`mathpipe eval` writes one for a run"
        ) from error


def predictions_metadata(path: str | Path, filesystem: Any = None) -> dict[str, Any]:
    """What the footer says of the run, dataset, task and encodings; UserError where it is no predictions file."""
    try:
        return read_footer(path, filesystem)
    except (OSError, pa.ArrowInvalid, ValueError) as error:
        raise UserError(
            f"{path} is no predictions file", got=str(error), next_step="`mathpipe eval` writes one for a run"
        ) from error


def read_footer(path: str | Path, filesystem: Any = None) -> dict[str, Any]:
    """The JSON of a file's footer."""
    with pq.ParquetFile(str(path), filesystem=filesystem) as file:
        text = (file.schema_arrow.metadata or {}).get(METADATA)
    return dict(json.loads(text)) if text else {}


def token_strings(
    writer: MatrixTokenizer | ExpressionTokenizer | BitTokenizer,
    tokens: NDArray[np.integer[Any]],
    lengths: NDArray[np.int64],
) -> list[str]:
    """The words of each row, with spaces between; ids outside the vocabulary show as ``<id>``."""
    if tokens.size and (tokens.min() < 0 or tokens.max() >= len(writer.vocabulary)):
        return [" ".join(writer.ids_to_tokens(row[:length])) for row, length in zip(tokens, lengths, strict=True)]
    words = np.array(writer.vocabulary, dtype=object)[tokens]
    return [" ".join(row[:length]) for row, length in zip(words, lengths, strict=True)]


def _matrix_columns(name: str, matrices: Matrices, present: Mask) -> dict[str, pa.Array]:
    """A list of entries and the shape, null where not ``present``."""
    kept = matrices if present.all() else _blanked(matrices, present)
    lists = pa.ListArray.from_arrays(
        pa.array(kept.offsets, pa.int32()), pa.array(kept.values, pa.float64()), mask=pa.array(~present)
    )
    return {
        name: lists,
        f"{name}_rows": pa.array(matrices.rows, pa.int32(), mask=~present),
        f"{name}_cols": pa.array(matrices.cols, pa.int32(), mask=~present),
    }


def _blanked(matrices: Matrices, present: Mask) -> Matrices:
    """The same matrices, 0 x 0 where not ``present``."""
    values = matrices.values[np.repeat(present, matrices.sizes)]
    return Matrices(values, np.where(present, matrices.rows, 0), np.where(present, matrices.cols, 0))


def _numbers(values: NDArray[np.float64] | NDArray[np.int64], present: Mask | None = None) -> pa.Array:
    """Numbers of their own kind, null where not ``present`` and where NaN."""
    missing = np.isnan(values)
    return pa.array(values, mask=missing if present is None else missing | ~present)


def _spread(values: NDArray[Any], present: Mask) -> pa.Array:
    """Numbers of the present rows, in their places; null elsewhere."""
    whole = np.zeros(len(present), dtype=values.dtype)
    whole[present] = values
    missing = ~present
    if values.dtype.kind == "f":
        missing = missing | np.isnan(whole)
    return pa.array(whole, mask=missing)


def _named(which: NDArray[np.uint8] | None, names: Sequence[str], present: Mask) -> pa.Array:
    """The name of each, null where not ``present``; nulls where none is known."""
    if which is None:
        return pa.nulls(len(present), pa.string())
    return pc.if_else(pa.array(present), pa.array(list(names)).take(pa.array(which)), pa.scalar(None, pa.string()))


def _where(present: Mask, texts: list[str]) -> list[str | None]:
    return [text if there else None for text, there in zip(texts, present.tolist(), strict=True)]
