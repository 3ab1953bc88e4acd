"""Covariates: properties of each problem that may explain a failure. Each is a column of the predictions."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mathpipe.datasets.containers.ragged_matrices import Matrices, reduce_per_matrix
from mathpipe.datasets.containers.ragged_sequences import Sequences
from mathpipe.datasets.expressions.vocabulary import ARITY, TOKENS
from mathpipe.evaluate.score.diagnostics import condition_numbers

Column = NDArray[np.float64] | NDArray[np.int64]

SPECTRAL = ("eigenvalue_gap", "positive_eigenvalue_fraction", "dominant_eigenvalue_ratio")
_ARITIES = np.array([ARITY.get(token, 0 if token in ("INT+", "INT-") else -1) for token in TOKENS], dtype=np.int64)


def matrix_covariates(problems: Matrices, symmetric: bool = False) -> dict[str, Column]:
    """For problems A (n matrices), each (n,):

    ``rows``, ``cols``: of the problem as written; ``condition_number``: s_max / s_min of a square problem, infinite where
    it is singular, NaN if not square; ``norm``: the Frobenius norm; ``largest``: max|A|. For ``symmetric`` problems
    the shape of their spectrum: ``eigenvalue_gap``: the smallest gap between eigenvalues, relative to the largest magnitude;
    ``positive_eigenvalue_fraction``; ``dominant_eigenvalue_ratio``: max|l| / (sum l^2)^1/2, from n^-1/2 (equal magnitudes)
    to 1 (one dominates, as in heavy-tailed spectra).
    """
    columns: dict[str, Column] = {
        "rows": problems.rows,
        "cols": problems.cols,
        "condition_number": np.full(len(problems), np.nan),
        "norm": np.sqrt(reduce_per_matrix(problems.values**2, problems, np.add)),
        "largest": reduce_per_matrix(np.abs(problems.values), problems, np.maximum),
    }
    if symmetric:
        columns |= {name: np.full(len(problems), np.nan) for name in SPECTRAL}
    for index, dense in problems.groups():
        if dense.shape[1] != dense.shape[2]:
            continue
        if not symmetric:
            columns["condition_number"][index] = condition_numbers(dense)
            continue
        values = np.linalg.eigvalsh(dense)
        magnitudes = np.abs(values)
        largest, smallest = magnitudes.max(axis=1), magnitudes.min(axis=1)
        with np.errstate(divide="ignore", invalid="ignore"):
            columns["condition_number"][index] = np.where(largest > 0, largest / smallest, np.inf)
            gaps = np.diff(values, axis=1).min(axis=1, initial=np.inf)
            columns["eigenvalue_gap"][index] = np.where(np.isfinite(gaps), gaps / largest, np.nan)
            columns["dominant_eigenvalue_ratio"][index] = largest / np.sqrt((values**2).sum(axis=1))
        columns["positive_eigenvalue_fraction"][index] = (values > 0).mean(axis=1)
    return columns


def sequence_covariates(problems: Sequences, solutions: Sequences) -> dict[str, Column]:
    """For sequences over an alphabet, each (n,): tokens of problem and solution, and the Hamming weight of the solution.

    The Hamming weight is the number of tokens other than the first of the alphabet: for bits, the number of ones.
    """
    owner = np.repeat(np.arange(len(solutions)), solutions.lengths)
    weight = np.bincount(owner[solutions.values != 0], minlength=len(solutions)).astype(np.int64)
    return {"problem_length": problems.lengths, "solution_length": solutions.lengths, "solution_weight": weight}


def integer_covariates(problems: Sequences, solutions: Sequences) -> dict[str, Column]:
    """For flat rows of integers, each (n,): integers of problem and solution, and the largest magnitude in the problem."""
    return {
        "problem_length": problems.lengths,
        "solution_length": solutions.lengths,
        "largest": np.maximum.reduceat(np.append(np.abs(problems.values), 0), problems.offsets[:-1])
        * (problems.lengths > 0),
    }


def expression_covariates(problems: Sequences, solutions: Sequences) -> dict[str, Column]:
    """For expressions, each (n,): tokens, operators and tree depth of the problem; tokens and depth of the stored solution.

    In prefix notation each node is one level below the open node that awaits it. Depths are defined for well-formed
    expressions only.
    """
    return {
        "problem_length": problems.lengths,
        "problem_operators": _operators(problems),
        "problem_depth": depths(problems),
        "solution_length": solutions.lengths,
        "solution_depth": depths(solutions),
    }


def _operators(sequences: Sequences) -> NDArray[np.int64]:
    inner = _ARITIES[sequences.values] > 0
    owner = np.repeat(np.arange(len(sequences)), sequences.lengths)
    return np.bincount(owner[inner], minlength=len(sequences)).astype(np.int64)


def depths(sequences: Sequences) -> NDArray[np.int64]:
    """Edges from the root to the deepest leaf of each tree; a loop over positions, vectorised over sequences."""
    n, width = len(sequences), int(sequences.lengths.max(initial=0))
    tokens = sequences.padded(0)
    stack = np.zeros((n, width + 3), dtype=np.int64)  # depths of the open nodes, the next on top
    open_, deepest, rows = np.ones(n, dtype=np.int64), np.zeros(n, dtype=np.int64), np.arange(n)
    for position in range(width):
        arity = np.where(position < sequences.lengths, _ARITIES[tokens[:, position]], -1)
        node = (arity >= 0) & (open_ > 0)
        at, arities = rows[node], arity[node]
        top = open_[at] - 1
        depth = stack[at, top]
        deepest[at] = np.maximum(deepest[at], depth)
        stack[at, top] = depth + 1
        stack[at, top + 1] = depth + 1
        open_[at] = top + np.minimum(arities, 2)
    return deepest
