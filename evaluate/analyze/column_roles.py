"""Columns of a predictions file by role: error measures of a prediction, covariates of its problem."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.types as types
from numpy.typing import NDArray

from mathpipe.generate.outcomes import EVIDENCE_COUNTS

Floats = NDArray[np.float64]

# columns before ``problem`` describe the hypothesis, later ones the problem
_HYPOTHESIS_COLUMNS = {
    *("row", "split", "rank", "prediction", "decoded", "decoded_rows", "decoded_cols"),
    *("outcome", "passed", "log_probability", "confused_with", "matches_reference"),
    *("evidence", *(f"evidence_{name}" for name in EVIDENCE_COUNTS)),
}
_PROBLEM_COLUMNS = {
    *("problem_tokens", "problem", "clean_problem", "reference", "reference_rows", "reference_cols"),
    *("reference_error_l1", "correct_rank"),
}


def measure_names(table: pa.Table | pa.Schema) -> list[str]:
    """Error measures and single properties of predictions, in file order."""
    return [name for name in _split(table)[0] if name not in _HYPOTHESIS_COLUMNS]


def covariate_names(table: pa.Table | pa.Schema) -> list[str]:
    """Covariates that may explain a failure, in file order."""
    return [name for name in _split(table)[1] if name not in _PROBLEM_COLUMNS]


def _split(table: pa.Table | pa.Schema) -> tuple[list[str], list[str]]:
    """Names of numeric columns before and after the first column that describes the problem."""
    schema = table if isinstance(table, pa.Schema) else table.schema
    first = next(k for k, name in enumerate(schema.names) if name in _PROBLEM_COLUMNS)
    numeric = [_is_number(schema.field(name).type) for name in schema.names]
    sides = schema.names[:first], schema.names[first:]
    return [n for n, yes in zip(sides[0], numeric, strict=False) if yes], [
        n for n, yes in zip(sides[1], numeric[first:], strict=True) if yes
    ]


def _is_number(data_type: pa.DataType) -> bool:
    return bool(types.is_integer(data_type) or types.is_floating(data_type))


def float_column(table: pa.Table, name: str) -> Floats:
    """A column as float64, NaN where null."""
    return np.asarray(table[name].cast(pa.float64()).to_numpy(), dtype=np.float64)


def string_column(table: pa.Table, name: str) -> NDArray[np.object_]:
    """A string column as an object array."""
    return np.asarray(table[name].to_numpy(zero_copy_only=False), dtype=object)


def bool_column(table: pa.Table, name: str) -> NDArray[np.bool_]:
    """A Boolean column."""
    return np.asarray(table[name].to_numpy(zero_copy_only=False), dtype=np.bool_)
