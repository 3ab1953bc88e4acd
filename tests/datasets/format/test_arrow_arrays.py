"""NumPy to Arrow and back is the identity, also for slices, chunked and empty arrays."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from mathpipe.datasets.format.arrow_arrays import from_numpy, strings, to_numpy

TYPES = ("uint8", "int8", "int16", "int32", "int64", "float32", "float64")


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("size", [0, 1, 1000])
def test_round_trip(dtype: str, size: int) -> None:
    values = np.arange(size).astype(dtype)
    column = from_numpy(values)
    assert column.equals(pa.array(values))
    for back in (to_numpy(column), to_numpy(pa.chunked_array([column])), to_numpy(pa.chunked_array([], column.type))):
        assert back.dtype == values.dtype
    np.testing.assert_array_equal(to_numpy(column), values)
    np.testing.assert_array_equal(to_numpy(column.slice(size // 3, size // 2)), values[size // 3 :][: size // 2])
    np.testing.assert_array_equal(to_numpy(pa.chunked_array([column, column])), np.concatenate([values, values]))


def test_strided_values() -> None:
    values = np.arange(20).reshape(4, 5)[:, 2]
    assert from_numpy(values).to_pylist() == [2, 7, 12, 17]


def test_nulls_raise() -> None:
    with pytest.raises(pa.ArrowInvalid, match="1 values are null"):
        to_numpy(pa.array([1, None]))


def test_strings() -> None:
    texts = ["a", "", "λ₁", "bc"]
    assert strings(texts).equals(pa.array(texts))
    strings(texts).validate(full=True)
