"""The decimal grid of all number encodings: x = sign * m * 10^e, with an integer m of exactly ``digits`` digits.

With the default 3 digits m lies in 100..999, and zero is m = 0, e = 0. Rounding is to the nearest grid value (ties to
the even m); a mantissa that rounds up to 1000 carries into the exponent. Everything is vectorised float64.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mathpipe.datasets.containers.array_types import Floats, Ints, Mask
from mathpipe.datasets.errors import UserError

DIGITS = 3  # significant digits of the published encodings
MAX_DECADE = 110  # magnitudes from 1e-110 up to (not including) 1e111 can be decomposed
SMALLEST, LARGEST = 1e-7, 1e9  # range of a dataset: 0, or magnitudes in [1e-7, 1e9)


_DECADES = range(-MAX_DECADE - 1, MAX_DECADE + 2)
_POWERS = np.array([float(f"1e{d}") for d in _DECADES])
_FIRST = _DECADES[0]


def _decade_of_binary_exponent() -> NDArray[np.intp]:
    """For each biased binary exponent b, the index in _POWERS of the decade of 2^(b-1023): exact for x, or one too small."""
    binary = np.ldexp(1.0, np.clip(np.arange(2048) - 1023, -1022, 1023))
    decade = np.searchsorted(_POWERS, binary, side="right") - 1 + _FIRST
    return np.clip(decade, -MAX_DECADE, MAX_DECADE) - _FIRST


_GUESS_INDEX = _decade_of_binary_exponent()
_POWER_ABOVE_GUESS = _POWERS[_GUESS_INDEX + 1]
# 10^|e| is exact in float64 up to 10^22, so one multiplication or division rounds once.
_MULTIPLIERS = {d: np.array([float(f"1e{d - 1 - k}") if k < d - 1 else 1.0 for k in _DECADES]) for d in range(1, 8)}
_DIVISORS = {d: np.array([float(f"1e{k - d + 1}") if k > d - 1 else 1.0 for k in _DECADES]) for d in range(1, 8)}


def decompose(values: ArrayLike, digits: int = DIGITS) -> tuple[Mask, Ints, Ints]:
    """Round x to sign * m * 10^e: (negative, m, e), each of x's shape; m = 0 and e = 0 for zero (and -0).

    Raises UserError for NaN, infinities and magnitudes outside [1e-110, 1e111).
    """
    shape = np.shape(values)
    x = np.asarray(values, dtype=np.float64).reshape(-1)
    magnitude = np.abs(x)
    zero = magnitude == 0
    representable = (magnitude < _POWERS[-1]) & ((magnitude >= _POWERS[1]) | zero)
    if not representable.all():
        raise UserError(
            "a number is outside the range of the decimal grid",
            expected="0 or a magnitude in [1e-110, 1e111)",
            got=float(x[~representable][0]),
        )
    index = _GUESS_INDEX[magnitude.view(np.int64) >> 52]
    index += magnitude >= _POWERS[index + 1]
    mantissa = np.rint(magnitude * _MULTIPLIERS[digits][index] / _DIVISORS[digits][index])
    carry = mantissa == 10.0**digits
    if carry.any():
        mantissa[carry] = 10.0 ** (digits - 1)
        index += carry
    exponent = index + (_FIRST - digits + 1)
    exponent[zero] = 0
    return (x < 0).reshape(shape), mantissa.astype(np.int64).reshape(shape), exponent.astype(np.int64).reshape(shape)


def compose(negative: ArrayLike, mantissa: ArrayLike, exponent: ArrayLike) -> Floats:
    """The float64 nearest to sign * m * 10^e, equal to Python's ``float`` of the same decimal."""
    m = np.asarray(mantissa, dtype=np.float64)
    e = np.asarray(exponent, dtype=np.int64)
    value = m * _POWERS[np.clip(e, 0, 22) - _FIRST] / _POWERS[np.clip(-e, 0, 22) - _FIRST]
    inexact = np.abs(e) > 22
    if np.any(inexact):  # powers of ten beyond 10^22 are inexact: use Python's correctly rounded parser
        value = np.where(inexact, 0.0, value)
        value[inexact] = [float(f"{int(a)}e{int(b)}") for a, b in zip(m[inexact], e[inexact], strict=True)]
    return np.asarray(np.where(np.asarray(negative, dtype=bool), -value, value) + 0.0)


def round_to_grid(values: ArrayLike, digits: int = DIGITS) -> Floats:
    """The nearest grid value of each x, as the float64 of its decimal (3.1400001 becomes 3.14); -0 becomes 0.

    Equal to ``compose(*decompose(x))``, several times faster for magnitudes in [1e-20, 1e20).
    """
    source = np.ascontiguousarray(values, dtype=np.float64).reshape(-1)
    target = np.empty_like(source)
    for start in range(0, len(source), _CHUNK):
        chunk = source[start : start + _CHUNK]
        if not _round_chunk(chunk, target[start : start + _CHUNK], digits):
            target[start : start + _CHUNK] = compose(*decompose(chunk, digits))
    return target.reshape(np.shape(values))


_CHUNK = 8192  # keeps the temporaries of one chunk in L1 and L2 cache


def _round_chunk(x: Floats, out: Floats, digits: int) -> bool:
    """Round x into ``out`` by m = rint(|x| 10^-e), m 10^e; False if a power of ten is inexact or x is not finite."""
    magnitude = np.abs(x)
    largest = magnitude.max()
    if not largest < 1e20:
        return False
    binary = magnitude.view(np.int64) >> 52
    index = _GUESS_INDEX.take(binary)
    index += magnitude >= _POWER_ABOVE_GUESS.take(binary)
    if index.min() + _FIRST < -20 and magnitude[magnitude > 0].min(initial=1.0) < 1e-20:
        return False
    multiplier = _MULTIPLIERS[digits].take(index)
    magnitude *= multiplier
    if largest < 10.0 ** (digits - 1):  # no divisor is needed below 10^(digits - 1)
        np.rint(magnitude, out=magnitude)
        np.divide(magnitude, multiplier, out=magnitude)
    else:
        divisor = _DIVISORS[digits].take(index)
        magnitude /= divisor
        np.rint(magnitude, out=magnitude)
        magnitude *= divisor
        magnitude /= multiplier
    np.copysign(magnitude, x, out=out)
    out += 0.0
    return True


def in_dataset_range(values: ArrayLike) -> Mask:
    """Mask of the x that a dataset may hold: 0, or a magnitude in [1e-7, 1e9); not NaN or infinities."""
    magnitude = np.abs(np.asarray(values, dtype=np.float64))
    result: Mask = ((magnitude >= SMALLEST) & (magnitude < LARGEST)) | (magnitude == 0)
    return result
