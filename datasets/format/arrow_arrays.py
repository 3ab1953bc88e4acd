"""NumPy arrays as Arrow arrays and back, without pandas.

``pa.array`` imports pandas, half a second of CPU time, to see whether it was given a series, and so does ``to_numpy``. Arrow's
buffers need no pandas, and share memory in both directions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray


def from_numpy(values: NDArray[Any]) -> pa.Array:
    """Numbers (n,) as an Arrow array (n,) of the same type, without nulls."""
    contiguous = np.ascontiguousarray(values)
    return pa.Array.from_buffers(
        pa.from_numpy_dtype(contiguous.dtype), len(contiguous), [None, pa.py_buffer(contiguous)]
    )


def to_numpy(column: pa.Array | pa.ChunkedArray) -> NDArray[Any]:
    """Numbers (n,), read-only where they share Arrow's memory; ``pa.ArrowInvalid`` where a value is null."""
    kind = np.dtype(column.type.to_pandas_dtype())
    if isinstance(column, pa.ChunkedArray):
        chunks = [to_numpy(chunk) for chunk in column.chunks]
        return chunks[0] if len(chunks) == 1 else np.concatenate([np.empty(0, dtype=kind), *chunks])
    if column.null_count:
        raise pa.ArrowInvalid(f"{column.null_count} values are null")
    if not len(column):  # an array without elements may have no buffer
        return np.empty(0, dtype=kind)
    return np.frombuffer(column.buffers()[1], kind, len(column), column.offset * kind.itemsize)


def strings(texts: Sequence[str]) -> pa.Array:
    """Texts as an Arrow array of strings."""
    encoded = [text.encode() for text in texts]
    offsets = np.cumsum([0, *(len(text) for text in encoded)], dtype=np.int32)
    return pa.StringArray.from_buffers(len(encoded), pa.py_buffer(offsets), pa.py_buffer(b"".join(encoded)))
