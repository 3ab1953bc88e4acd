"""Number encodings, from numbers to tokens: P10, P1000, B1999 and FP15 (Charton 2022, "Linear Algebra with Transformers", table 1).

All encodings represent the decimals sign * m * 10^e with m of ``precision + 1`` digits; they differ in tokens per number:

=======  ================  ==========================================================
name     tokens/number     tokens of 3.14
=======  ================  ==========================================================
P10      5                 ``+ 3 1 4 E-2``
P1000    3                 ``+ 314 E-2``
B1999    2                 ``N314 E-2``
FP15     1                 ``FP314/-2`` (magnitudes 1e-7 to 1e9; absolute steps below)
=======  ================  ==========================================================

Ids of an encoding are 0..size-1; ``encode`` and ``decode`` are exact inverses on the grid.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike

from mathpipe.datasets.containers.array_types import Floats, Ints, Mask, Tokens
from mathpipe.datasets.errors import UserError, did_you_mean
from mathpipe.datasets.tokenizers.decimal_grid import compose, decompose

MAX_EXPONENT = 100


@dataclass(frozen=True)
class NumberEncoding(ABC):
    """Encodes numbers as ``tokens_per_number`` tokens each. ``precision``: digits after the first (1 to 4)."""

    precision: int = 2

    def __post_init__(self) -> None:
        if not 1 <= self.precision <= 4:
            raise UserError("precision is out of range", expected="1 to 4 digits after the first", got=self.precision)

    @property
    def name(self) -> str:
        return type(self).__name__

    @property
    def digits(self) -> int:
        return self.precision + 1

    @property
    @abstractmethod
    def tokens_per_number(self) -> int: ...

    @cached_property
    @abstractmethod
    def vocabulary(self) -> tuple[str, ...]:
        """The token of each id."""

    @property
    def size(self) -> int:
        return len(self.vocabulary)

    @abstractmethod
    def encode(self, values: ArrayLike) -> Tokens:
        """Token ids of each number, shape ``values.shape + (tokens_per_number,)``, int32 in 0..size-1.

        Values off the decimal grid are rounded to the nearest. UserError for a value that the encoding cannot represent.
        """

    @abstractmethod
    def decode(self, tokens: ArrayLike) -> tuple[Floats, Mask]:
        """(values, decodable) of token ids (..., tokens_per_number), any integers; what is not a number gives 0 and False."""

    def _split(self, values: ArrayLike) -> tuple[Mask, Ints, Ints]:
        negative, mantissa, exponent = decompose(values, self.digits)
        if np.any(np.abs(exponent) > MAX_EXPONENT):
            value = np.asarray(values, dtype=np.float64)[np.abs(exponent) > MAX_EXPONENT].flat[0]
            raise self._range_error(value, f"exponents -{MAX_EXPONENT} to {MAX_EXPONENT}")
        return negative, mantissa, exponent

    def _range_error(self, value: float, expected: str) -> UserError:
        return UserError(
            f"{self.name} cannot represent {value:g}",
            expected=expected,
            got=f"{value:g}",
            next_step="choose another number encoding",
        )


def _exponent_tokens() -> list[str]:
    return [f"E{e}" for e in range(-MAX_EXPONENT, MAX_EXPONENT + 1)]


def _clip(tokens: ArrayLike, width: int, size: int) -> tuple[Ints, Mask]:
    """Ids (..., width) clipped to 0..size-1, and a mask (...) of the numbers whose ids were all in this range."""
    t = np.asarray(tokens, dtype=np.int64)
    if t.ndim == 0 or t.shape[-1] != width:
        raise ValueError(f"expected tokens of shape (..., {width}), got {t.shape}")
    return np.clip(t, 0, size - 1), np.asarray(((t >= 0) & (t < size)).all(axis=-1))


class P10(NumberEncoding):
    """Sign, one token a digit, exponent: ``+ 3 1 4 E-2``. Ids: ``+``, ``-``, digits, exponents."""

    @property
    def tokens_per_number(self) -> int:
        return self.digits + 2

    @cached_property
    def vocabulary(self) -> tuple[str, ...]:
        return ("+", "-", *map(str, range(10)), *_exponent_tokens())

    def encode(self, values: ArrayLike) -> Tokens:
        negative, mantissa, exponent = self._split(values)
        tokens = np.empty((*mantissa.shape, self.tokens_per_number), dtype=np.int32)
        tokens[..., 0] = negative & (mantissa != 0)
        for position in range(self.digits, 0, -1):
            mantissa, digit = np.divmod(mantissa, 10)
            tokens[..., position] = digit + 2
        tokens[..., -1] = exponent + (12 + MAX_EXPONENT)
        return tokens

    def decode(self, tokens: ArrayLike) -> tuple[Floats, Mask]:
        t, ok = _clip(tokens, self.tokens_per_number, self.size)
        digits = t[..., 1:-1] - 2
        ok &= (t[..., 0] < 2) & ((digits >= 0) & (digits < 10)).all(axis=-1) & (t[..., -1] >= 12)
        mantissa = digits @ (10 ** np.arange(self.digits)[::-1])
        return _compose(ok, t[..., 0] == 1, mantissa, t[..., -1] - (12 + MAX_EXPONENT))


class P1000(NumberEncoding):
    """Sign, mantissa as one token, exponent: ``+ 314 E-2``. Ids: ``+``, ``-``, mantissas 0..999, exponents."""

    @property
    def tokens_per_number(self) -> int:
        return 3

    @property
    def mantissas(self) -> int:
        return int(10**self.digits)

    @cached_property
    def vocabulary(self) -> tuple[str, ...]:
        return ("+", "-", *map(str, range(self.mantissas)), *_exponent_tokens())

    def encode(self, values: ArrayLike) -> Tokens:
        negative, mantissa, exponent = self._split(values)
        tokens = np.empty((*mantissa.shape, 3), dtype=np.int32)
        tokens[..., 0] = negative & (mantissa != 0)
        tokens[..., 1] = mantissa + 2
        tokens[..., 2] = exponent + (2 + self.mantissas + MAX_EXPONENT)
        return tokens

    def decode(self, tokens: ArrayLike) -> tuple[Floats, Mask]:
        t, ok = _clip(tokens, 3, self.size)
        sign, mantissa, exponent = t[..., 0], t[..., 1] - 2, t[..., 2] - (2 + self.mantissas)
        ok &= (sign < 2) & (mantissa >= 0) & (mantissa < self.mantissas) & (exponent >= 0)
        return _compose(ok, sign == 1, mantissa, exponent - MAX_EXPONENT)


class B1999(NumberEncoding):
    """Signed mantissa as one token, exponent: ``N314 E-2``. Ids: mantissas -1000..1000 (the outermost unused), exponents."""

    @property
    def tokens_per_number(self) -> int:
        return 2

    @property
    def bound(self) -> int:
        return int(10**self.digits)

    @cached_property
    def vocabulary(self) -> tuple[str, ...]:
        return (*(f"N{m}" for m in range(-self.bound, self.bound + 1)), *_exponent_tokens())

    def encode(self, values: ArrayLike) -> Tokens:
        negative, mantissa, exponent = self._split(values)
        tokens = np.empty((*mantissa.shape, 2), dtype=np.int32)
        tokens[..., 0] = np.where(negative, -mantissa, mantissa) + self.bound
        tokens[..., 1] = exponent + (2 * self.bound + 1 + MAX_EXPONENT)
        return tokens

    def decode(self, tokens: ArrayLike) -> tuple[Floats, Mask]:
        t, ok = _clip(tokens, 2, self.size)
        mantissa, exponent = t[..., 0] - self.bound, t[..., 1] - (2 * self.bound + 1)
        ok &= (np.abs(mantissa) < self.bound) & (exponent >= 0)
        return _compose(ok, mantissa < 0, np.abs(mantissa), exponent - MAX_EXPONENT)


class FP15(NumberEncoding):
    """One token a number: ``FP314/-2``, 16 decades from 1e-7 to 1e9.

    Below the first decade the step is absolute (1e-9 with 3 digits): mantissas -99..99 at the smallest exponent, including zero.
    Two tokens, ``FP-NaN`` and ``FP+NaN``, mark a number out of range; they cannot be decoded.
    Ids: for each exponent, mantissas -999..-100 then 100..999; then the absolute ones; then the two NaN.
    """

    first_decade: ClassVar[int] = -7
    decades: ClassVar[int] = 16

    @property
    def tokens_per_number(self) -> int:
        return 1

    @property
    def lowest(self) -> int:
        """Smallest mantissa in a full decade: 100."""
        return int(10**self.precision)

    @property
    def mantissas_per_sign(self) -> int:
        """Mantissas of one sign in a decade: 900."""
        return 9 * self.lowest

    @property
    def smallest_exponent(self) -> int:
        return self.first_decade - self.precision

    @property
    def num_normal(self) -> int:
        """Number of tokens with a full mantissa: 28,800."""
        return 2 * self.mantissas_per_sign * self.decades

    @cached_property
    def vocabulary(self) -> tuple[str, ...]:
        low, high = self.lowest, 10 * self.lowest
        mantissas = [*range(-high + 1, -low + 1), *range(low, high)]
        exponents = range(self.smallest_exponent, self.smallest_exponent + self.decades)
        absolute = [f"FP{m}/{self.smallest_exponent}" for m in range(-low + 1, low)]
        return (*(f"FP{m}/{e}" for e in exponents for m in mantissas), *absolute, "FP-NaN", "FP+NaN")

    def encode(self, values: ArrayLike) -> Tokens:
        tokens = self.encode_or_nan(values)
        is_nan = tokens[..., 0] >= self.size - 2
        if is_nan.any():
            value = float(np.asarray(values, dtype=np.float64)[is_nan].flat[0])
            raise self._range_error(value, "magnitudes below 1e9")
        return tokens

    def encode_or_nan(self, values: ArrayLike) -> Tokens:
        """As ``encode``, but a number out of range (or NaN) becomes a NaN token instead of an error."""
        x = np.asarray(values, dtype=np.float64)
        in_range = np.abs(x) < 10.0 ** (self.first_decade + self.decades)
        tiny = np.abs(x) < 10.0**self.first_decade
        negative, mantissa, exponent = decompose(np.where(in_range & ~tiny, x, 1.0), self.digits)
        position = np.where(negative, 10 * self.lowest - 1 - mantissa, mantissa - self.lowest + self.mantissas_per_sign)
        tokens = 2 * self.mantissas_per_sign * (exponent - self.smallest_exponent) + position
        if tiny.any():
            steps = np.rint(np.where(tiny, x, 0.0) / 10.0**self.smallest_exponent).astype(np.int64)
            carry = np.abs(steps) == self.lowest  # rounds up into the first decade
            first = np.where(steps < 0, self.mantissas_per_sign - 1, self.mantissas_per_sign)
            tokens = np.where(tiny, np.where(carry, first, self.num_normal + self.lowest - 1 + steps), tokens)
        outside = ~in_range | (exponent >= self.smallest_exponent + self.decades)
        tokens = np.where(outside, self.size - 1 - (x < 0), tokens)
        return tokens.astype(np.int32)[..., None]

    def decode(self, tokens: ArrayLike) -> tuple[Floats, Mask]:
        t, ok = _clip(tokens, 1, self.size)
        token = t[..., 0]
        decade, position = np.divmod(token, 2 * self.mantissas_per_sign)
        negative = position < self.mantissas_per_sign
        mantissa = np.where(negative, 10 * self.lowest - 1 - position, position - self.mantissas_per_sign + self.lowest)
        exponent = decade + self.smallest_exponent
        absolute = token >= self.num_normal
        steps = token - (self.num_normal + self.lowest - 1)
        ok &= token < self.size - 2
        return _compose(
            ok,
            np.where(absolute, steps < 0, negative),
            np.where(absolute, np.abs(steps), mantissa),
            np.where(absolute, self.smallest_exponent, exponent),
        )


def _compose(ok: Mask, negative: Mask, mantissa: Ints, exponent: Ints) -> tuple[Floats, Mask]:
    return compose(negative & ok, np.where(ok, mantissa, 0), np.where(ok, exponent, 0)), ok


ENCODINGS: dict[str, Callable[[int], NumberEncoding]] = {"P10": P10, "P1000": P1000, "B1999": B1999, "FP15": FP15}


def get_number_encoding(name: str, precision: int = 2) -> NumberEncoding:
    """The number encoding of this name; UserError for an unknown one."""
    if name not in ENCODINGS:
        raise UserError(
            f"unknown number encoding {name!r}",
            expected=", ".join(ENCODINGS),
            got=repr(name),
            next_step=did_you_mean(name.upper(), ENCODINGS),
        )
    return ENCODINGS[name](precision)
