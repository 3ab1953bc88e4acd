"""Columns of the predictions file, from arrays with one entry per hypothesis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mathpipe.datasets.containers.ragged_matrices import Matrices
from mathpipe.evaluate.score.scoring import AnswerTokenizer
from mathpipe.generate.outcomes import EVIDENCE, NONE

Mask = NDArray[np.bool_]


def token_strings(
    tokenizer: AnswerTokenizer[Any], tokens: NDArray[np.integer[Any]], lengths: NDArray[np.int64]
) -> list[str]:
    """The tokens of each row, separated by spaces; an id outside the vocabulary shows as ``<id>``."""
    if tokens.size and (tokens.min() < 0 or tokens.max() >= len(tokenizer.vocabulary)):
        return [" ".join(tokenizer.ids_to_tokens(row[:length])) for row, length in zip(tokens, lengths, strict=True)]
    strings = np.array(tokenizer.vocabulary, dtype=object)[tokens]
    return [" ".join(row[:length]) for row, length in zip(strings, lengths, strict=True)]


def text_column(texts: list[str], present: Mask) -> pa.Array:
    """Texts, null where not ``present``."""
    values = [text if shown else None for text, shown in zip(texts, present.tolist(), strict=True)]
    return pa.array(values, pa.string())


def number_column(values: NDArray[np.float64] | NDArray[np.int64], present: Mask | None = None) -> pa.Array:
    """Numbers of the array's type, null where not ``present`` or NaN."""
    missing = np.isnan(values)
    return pa.array(values, mask=missing if present is None else missing | ~present)


def count_column(counts: NDArray[np.float64]) -> pa.Array:
    """Counts as int32, null where NaN."""
    missing = np.isnan(counts)
    return pa.array(np.where(missing, 0, counts).astype(np.int32), mask=missing)


def evidence_column(evidence: NDArray[np.int8]) -> pa.Array:
    """Names of the evidence, null where there is none."""
    index = pa.array(evidence, pa.int8(), mask=evidence == NONE)
    return pa.DictionaryArray.from_arrays(index, list(EVIDENCE)).cast(pa.string())


def at_best(values: NDArray[Any], best: Mask) -> pa.Array:
    """Values (k,) of the k best hypotheses, at their rows; null elsewhere and where NaN."""
    column = np.zeros(len(best), dtype=values.dtype)
    column[best] = values
    missing = ~best
    if values.dtype.kind == "f":
        missing = missing | np.isnan(column)
    return pa.array(column, mask=missing)


def name_column(index: NDArray[np.uint8] | None, names: Sequence[str], present: Mask) -> pa.Array:
    """``names[index]``, null where not ``present``; all null without an index."""
    if index is None:
        return pa.nulls(len(present), pa.string())
    return pc.if_else(pa.array(present), pa.array(list(names)).take(pa.array(index)), pa.scalar(None, pa.string()))


def matrix_columns(name: str, matrices: Matrices, present: Mask) -> dict[str, pa.Array]:
    """A list of entries, and the dimensions; null where not ``present``."""
    values = matrices.values[np.repeat(present, matrices.sizes)]
    sizes = np.where(present, matrices.sizes, 0)
    offsets = np.concatenate([[0], np.cumsum(sizes)])
    entries = pa.ListArray.from_arrays(
        pa.array(offsets, pa.int32()), pa.array(values, pa.float64()), mask=pa.array(~present)
    )
    return {
        name: entries,
        f"{name}_rows": pa.array(matrices.rows, pa.int32(), mask=~present),
        f"{name}_cols": pa.array(matrices.cols, pa.int32(), mask=~present),
    }


def stored_matrices(table: pa.Table, name: str, rows: str, cols: str) -> Matrices:
    """The matrices of a column of entries and its columns of dimensions; 0 x 0 where null."""
    column = table[name].combine_chunks()
    values = np.asarray(pc.list_flatten(column).to_numpy(zero_copy_only=False), dtype=np.float64)
    present = pc.is_valid(column).to_numpy(zero_copy_only=False)
    sides = (pc.fill_null(table[side], 0).to_numpy().astype(np.int64) for side in (rows, cols))
    return Matrices(values, *(np.where(present, side, 0) for side in sides))
