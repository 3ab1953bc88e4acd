"""Other problems whose right answers a model may give in place of the asked one's: what a wrong answer may tell.

Each is a function of dense problems, (k, r, c) -> (k, r, c); where it changes nothing, there is no other problem. An
eigenvalue model that has not learned the product of the signs off the diagonal answers, wherever it errs, for a matrix
with one of these signs flipped: half of its answers are wrong, and every one of them is the spectrum of something.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from mathpipe.generate.linalg.batched import transposed

Floats = NDArray[np.float64]
Confusions = Mapping[str, Callable[[Floats], Floats]]


def transpose(a: Floats) -> Floats:
    """A^T; of the square ones alone."""
    return transposed(a) if a.shape[1] == a.shape[2] else a


def negate(a: Floats) -> Floats:
    """-A."""
    return -a


def swap_rows(a: Floats) -> Floats:
    """The first two rows in the other order, which turns the sign of a determinant."""
    order = np.arange(a.shape[1])
    order[:2] = order[:2][::-1]
    return a[:, order]


def flip_largest_off_diagonal(a: Floats) -> Floats:
    """Symmetric A, the largest of its entries off the diagonal with the other sign.

    Spectra depend on the signs off the diagonal by the signs of products around cycles alone. Of three dimensions there is
    one such product, a_12 a_23 a_13, and whichever entry is flipped, the spectrum is the same.
    """
    k, n = a.shape[:2]
    if n < 3:  # a_12 stands in the spectrum by its square
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


SIGN_OFF_DIAGONAL: Confusions = {"a sign off the diagonal flipped": flip_largest_off_diagonal}
TRANSPOSED: Confusions = {"A transposed": transpose}
