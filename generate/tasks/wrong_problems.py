"""Wrong problems: other problems whose solutions a model may give instead; they explain wrong predictions.

Each is a function of dense problems, (k, r, c) -> (k, r, c); where it changes nothing, there is no wrong problem. Example: an
eigenvalue model that has not learned the product of the off-diagonal signs solves, in half of the cases, a matrix with one of
these signs flipped.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from mathpipe.generate.linalg.batched import transposed

Floats = NDArray[np.float64]
WrongProblems = Mapping[str, Callable[[Floats], Floats]]


def transpose(a: Floats) -> Floats:
    """A^T, for square A only."""
    return transposed(a) if a.shape[1] == a.shape[2] else a


def negate(a: Floats) -> Floats:
    """-A."""
    return -a


def swap_rows(a: Floats) -> Floats:
    """The first two rows in the other order, which changes the sign of a determinant."""
    order = np.arange(a.shape[1])
    order[:2] = order[:2][::-1]
    return a[:, order]


def flip_largest_off_diagonal(a: Floats) -> Floats:
    """Symmetric A with the sign of its largest off-diagonal entry flipped.

    The spectrum depends on off-diagonal signs only through the signs of products around cycles. In three dimensions there is
    one such product, a_12 a_23 a_13: the spectrum is the same whichever entry is flipped.
    """
    k, n = a.shape[:2]
    if n < 3:  # the spectrum depends on a_12 only through its square
        return a
    i, j = np.triu_indices(n, 1)
    at = np.abs(a[:, i, j]).argmax(axis=1)
    flipped, each = a.copy(), np.arange(k)
    flipped[each, i[at], j[at]] *= -1
    flipped[each, j[at], i[at]] *= -1
    return flipped


def subtract(ab: Floats) -> Floats:
    """[A -B]."""
    changed = ab.copy()
    changed[:, :, ab.shape[2] // 2 :] *= -1
    return changed


def transpose_half(ab: Floats) -> Floats:
    """[A^T B] of [A B], where A is square."""
    half = ab.shape[2] // 2
    return np.concatenate([transpose(ab[:, :, :half]), ab[:, :, half:]], axis=2)


def transpose_all_but_last(av: Floats) -> Floats:
    """[A^T v] of [A v], where A is square."""
    return np.concatenate([transpose(av[:, :, :-1]), av[:, :, -1:]], axis=2)


SIGN_OFF_DIAGONAL: WrongProblems = {"a sign off the diagonal flipped": flip_largest_off_diagonal}
TRANSPOSED: WrongProblems = {"A transposed": transpose}
