"""Covariates: what may explain a failure, measured on each problem. Each is a column of the predictions."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mathpipe.datasets.containers.ragged_matrices import Matrices, reduce_rows
from mathpipe.datasets.containers.ragged_sequences import Sequences
from mathpipe.datasets.expressions.vocabulary import ARITY, IDS, WORDS
from mathpipe.evaluate.score.diagnostics import condition_numbers

Column = NDArray[np.float64] | NDArray[np.int64]

SPECTRAL = ("eigenvalue_gap", "positive_share", "largest_share")
_ARITIES = np.array([ARITY.get(word, 0 if word in ("INT+", "INT-") else -1) for word in WORDS], dtype=np.int64)


def covariates(problems: Matrices, symmetric: bool = False) -> dict[str, Column]:
    """For problems A (n matrices), each (n,):

    ``rows``, ``cols``: of the problem as written; ``condition_number``: s_max / s_min of a square problem, infinite where
    it is singular, NaN where it is not square; ``norm``: the Frobenius norm; ``largest``: max|A|. For ``symmetric`` problems
    the shape of their spectrum: ``eigenvalue_gap``: the smallest gap between eigenvalues, relative to the largest magnitude;
    ``positive_share``: the share of positive eigenvalues; ``largest_share``: max|l| / (sum l^2)^1/2, from n^-1/2 (all of one
    size) to 1 (one alone, as heavy tails have it).
    """
    found: dict[str, Column] = {
        "rows": problems.rows,
        "cols": problems.cols,
        "condition_number": np.full(len(problems), np.nan),
        "norm": np.sqrt(reduce_rows(problems.values**2, problems, np.add)),
        "largest": reduce_rows(np.abs(problems.values), problems, np.maximum),
    }
    if symmetric:
        found |= {name: np.full(len(problems), np.nan) for name in SPECTRAL}
    for index, dense in problems.groups():
        if dense.shape[1] != dense.shape[2]:
            continue
        if not symmetric:
            found["condition_number"][index] = condition_numbers(dense)
            continue
        values = np.linalg.eigvalsh(dense)
        magnitudes = np.abs(values)
        largest, smallest = magnitudes.max(axis=1), magnitudes.min(axis=1)
        with np.errstate(divide="ignore", invalid="ignore"):
            found["condition_number"][index] = np.where(largest > 0, largest / smallest, np.inf)
            gaps = np.diff(values, axis=1).min(axis=1, initial=np.inf)
            found["eigenvalue_gap"][index] = np.where(np.isfinite(gaps), gaps / largest, np.nan)
            found["largest_share"][index] = largest / np.sqrt((values**2).sum(axis=1))
        found["positive_share"][index] = (values > 0).mean(axis=1)
    return found


def bit_covariates(problems: Sequences, solutions: Sequences) -> dict[str, Column]:
    """For bits, each (n,): bits of the problem and of the answer, and how many of the answer's are 1."""
    owner = np.repeat(np.arange(len(solutions)), solutions.lengths)
    ones = np.bincount(owner[solutions.values == 1], minlength=len(solutions)).astype(np.int64)
    return {"problem_words": problems.lengths, "solution_words": solutions.lengths, "solution_ones": ones}


def word_covariates(problems: Sequences, solutions: Sequences) -> dict[str, Column]:
    """For expressions, each (n,): words, operators and depth of the problem's tree, and words of the stored solution.

    In prefix words every word that begins a node stands one level below the node that is waiting for it. Depths are those of
    well-formed expressions; of others they mean nothing.
    """
    return {
        "problem_words": problems.lengths,
        "problem_operators": _operators(problems),
        "problem_depth": depths(problems),
        "solution_words": solutions.lengths,
        "solution_depth": depths(solutions),
    }


def _operators(sequences: Sequences) -> NDArray[np.int64]:
    inner = _ARITIES[sequences.values] > 0
    owner = np.repeat(np.arange(len(sequences)), sequences.lengths)
    return np.bincount(owner[inner], minlength=len(sequences)).astype(np.int64)


def depths(sequences: Sequences) -> NDArray[np.int64]:
    """Edges from the root to the deepest leaf of each tree, all sequences at once, place by place."""
    n, width = len(sequences), int(sequences.lengths.max(initial=0))
    words = sequences.padded(0)
    stack = np.zeros((n, width + 3), dtype=np.int64)  # depths of the nodes that are waited for, the next on top
    open_, deepest, rows = np.ones(n, dtype=np.int64), np.zeros(n, dtype=np.int64), np.arange(n)
    for place in range(width):
        arity = np.where(place < sequences.lengths, _ARITIES[words[:, place]], -1)
        node = (arity >= 0) & (open_ > 0)
        at, kind = rows[node], arity[node]
        top = open_[at] - 1
        depth = stack[at, top]
        deepest[at] = np.maximum(deepest[at], depth)
        stack[at, top] = depth + 1
        stack[at, top + 1] = depth + 1
        open_[at] = top + np.minimum(kind, 2)
    return deepest


def operators_present(sequences: Sequences) -> dict[str, NDArray[np.bool_]]:
    """For each operator that occurs: in which sequences it does, (n,)."""
    owner = np.repeat(np.arange(len(sequences)), sequences.lengths)
    found = {}
    for word, arity in ARITY.items():
        if arity > 0:
            here = np.zeros(len(sequences), dtype=np.bool_)
            here[owner[sequences.values == IDS[word]]] = True
            if here.any():
                found[word] = here
    return found
