"""Covariates: what may explain a failure, measured on each problem. Each is a column of the predictions."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mathpipe.datasets.matrices import Matrices, reduce_rows

Column = NDArray[np.float64] | NDArray[np.int64]


def covariates(operands: Matrices) -> dict[str, Column]:
    """For operands A (n matrices), each (n,):

    ``rows``, ``cols``: of the operand as written; ``condition_number``: s_max / s_min of a square operand, infinite where
    it is singular, NaN where it is not square; ``norm``: the Frobenius norm.
    """
    return {
        "rows": operands.rows,
        "cols": operands.cols,
        "condition_number": _condition_numbers(operands),
        "norm": np.sqrt(reduce_rows(operands.values**2, operands, np.add)),
    }


def _condition_numbers(operands: Matrices) -> NDArray[np.float64]:
    condition = np.full(len(operands), np.nan)
    for index, dense in operands.groups():
        if dense.shape[1] == dense.shape[2]:
            condition[index] = np.linalg.cond(dense)
    return condition
