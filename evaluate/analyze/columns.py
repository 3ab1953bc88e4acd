"""The columns of a predictions file, by what they are: measures of a prediction, covariates of its problem."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.types as types
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# a column before ``problem`` is of the hypothesis, one after it of the problem
_OF_HYPOTHESIS = {
    *("row", "split", "rank", "prediction", "decoded", "decoded_rows", "decoded_cols"),
    *("outcome", "passed", "log_probability", "confused_with"),
}
_OF_PROBLEM = {
    *("problem_tokens", "problem", "clean_problem", "reference", "reference_rows", "reference_cols"),
    *("reference_error_l1", "correct_rank"),
}


def measure_names(table: pa.Table | pa.Schema) -> list[str]:
    """Error measures and single properties of predictions, in the order of the file."""
    return [name for name in _split(table)[0] if name not in _OF_HYPOTHESIS]


def covariate_names(table: pa.Table | pa.Schema) -> list[str]:
    """What may explain a failure, in the order of the file."""
    return [name for name in _split(table)[1] if name not in _OF_PROBLEM]


def _split(table: pa.Table | pa.Schema) -> tuple[list[str], list[str]]:
    """Names of numeric columns before and after the first column that is of the problem."""
    schema = table if isinstance(table, pa.Schema) else table.schema
    cut = next(k for k, name in enumerate(schema.names) if name in _OF_PROBLEM)
    numeric = [_is_number(schema.field(name).type) for name in schema.names]
    sides = schema.names[:cut], schema.names[cut:]
    return [n for n, yes in zip(sides[0], numeric, strict=False) if yes], [
        n for n, yes in zip(sides[1], numeric[cut:], strict=True) if yes
    ]


def _is_number(kind: pa.DataType) -> bool:
    return bool(types.is_integer(kind) or types.is_floating(kind))


def numbers(table: pa.Table, name: str) -> Floats:
    """A column as float64, NaN where null."""
    return np.asarray(table[name].cast(pa.float64()).to_numpy(), dtype=np.float64)


def texts(table: pa.Table, name: str) -> NDArray[np.object_]:
    """A column of strings."""
    return np.asarray(table[name].to_numpy(zero_copy_only=False), dtype=object)


def flags(table: pa.Table, name: str) -> NDArray[np.bool_]:
    """A column of true and false."""
    return np.asarray(table[name].to_numpy(zero_copy_only=False), dtype=np.bool_)
