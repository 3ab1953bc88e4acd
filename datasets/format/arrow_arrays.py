"""Convert NumPy arrays to Arrow arrays and back, without pandas.

``pa.array`` and ``to_numpy`` of Arrow import pandas, which costs half a second of CPU time, to check for a series. Arrow's buffers
need no pandas, and share memory in both directions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray


def from_numpy(values: NDArray[Any]) -> pa.Array:
    """An Arrow array (n,) of the same type, without nulls."""
    contiguous = np.ascontiguousarray(values)
    return pa.Array.from_buffers(
        pa.from_numpy_dtype(contiguous.dtype), len(contiguous), [None, pa.py_buffer(contiguous)]
    )


def to_numpy(column: pa.Array | pa.ChunkedArray) -> NDArray[Any]:
    """A NumPy array (n,), read-only if it shares Arrow's memory; ``pa.ArrowInvalid`` for null values."""
    dtype = np.dtype(column.type.to_pandas_dtype())
    if isinstance(column, pa.ChunkedArray):
        chunks = [to_numpy(chunk) for chunk in column.chunks]
        return chunks[0] if len(chunks) == 1 else np.concatenate([np.empty(0, dtype=dtype), *chunks])
    if column.null_count:
        raise pa.ArrowInvalid(f"{column.null_count} values are null")
    if not len(column):  # an array without elements may have no buffer
        return np.empty(0, dtype=dtype)
    return np.frombuffer(column.buffers()[1], dtype, len(column), column.offset * dtype.itemsize)


def strings(texts: Sequence[str]) -> pa.Array:
    """An Arrow array of strings."""
    encoded = [text.encode() for text in texts]
    offsets = np.cumsum([0, *(len(text) for text in encoded)], dtype=np.int32)
    return pa.StringArray.from_buffers(len(encoded), pa.py_buffer(offsets), pa.py_buffer(b"".join(encoded)))
