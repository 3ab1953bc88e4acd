"""Integer encodings, from integers to tokens, chosen by name when a dataset is opened.

==================  =====================  ==========================================================================
name                tokens of -1234        which integers
==================  =====================  ==========================================================================
base10, base1000    ``- 1 2 3 4``,         all of 64 bits; any base from 2 to 10,000, most significant digit first; zero
                    ``- 1 234``            is ``+ 0``
residues6           ``0 2 1 5 9 1``        |x| < P/2 for the product P of the first k primes (2 to 13 have P = 30030)
residues:89,97      ``12 27``              the same for chosen moduli without common factors
symbol              ``-1234``              the range that the spec states, one token an integer
symbols:0=(,1=)     ``)`` for 1            the listed integers, one token each; a token without a name is the integer
==================  =====================  ==========================================================================

Charton 2024 (arXiv 2308.15594) compares bases; two later papers use base 1000 and residues side by side (arXiv 2502.10335).
Every integer has one encoding: leading zeros and ``- 0`` are not decoded.
"""

from __future__ import annotations

import math
import re
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from mathpipe.datasets.containers.array_types import Ints, Mask
from mathpipe.datasets.errors import UserError

LARGEST_INTEGER = 2**63 - 1
LARGEST_BASE = 10_000
MAX_SYMBOLS = 100_000
PRIMES = (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47)  # their product has 60 bits
Range = tuple[int, int]


class IntegerEncoding(ABC):
    """Encodes integers as tokens of ids 0..size-1. ``decode`` never raises, and inverts ``encode``."""

    @property
    @abstractmethod
    def name(self) -> str: ...

    @property
    @abstractmethod
    def vocabulary(self) -> tuple[str, ...]:
        """The token of each id."""

    @abstractmethod
    def encode(self, values: Ints) -> tuple[Ints, Ints]:
        """(ids of all integers (t,), number of tokens of each (m,)); UserError for an integer that cannot be encoded."""

    @abstractmethod
    def starts(self, ids: Ints, position: Ints) -> Mask:
        """Which tokens begin an integer, (t,). ``position``: of each token in its run, which holds whole integers."""

    @abstractmethod
    def decode(self, ids: Ints, counts: Ints) -> tuple[Ints, Mask]:
        """(integers, which of them are well-formed), (m,) each, of integers of ``counts`` (m,) tokens; 0 if malformed."""

    def _range_error(self, value: int, expected: str) -> UserError:
        return UserError(
            f"the integer encoding {self.name} cannot represent {value}",
            expected=expected,
            got=str(value),
            next_step="choose another encoding, such as base1000",
        )


@dataclass(frozen=True)
class BaseEncoding(IntegerEncoding):
    """A sign, then the digits in ``base`` (2 to 10,000). Ids: ``+``, ``-``, digits."""

    base: int

    def __post_init__(self) -> None:
        if not 2 <= self.base <= LARGEST_BASE:
            raise UserError("the base is out of range", expected=f"base2 to base{LARGEST_BASE}", got=f"base{self.base}")

    @property
    def name(self) -> str:
        return f"base{self.base}"

    @cached_property
    def vocabulary(self) -> tuple[str, ...]:
        return ("+", "-", *map(str, range(self.base)))

    @cached_property
    def _powers(self) -> Ints:
        """base, base^2, ... below 2^63."""
        powers = [self.base]
        while powers[-1] * self.base <= LARGEST_INTEGER:
            powers.append(powers[-1] * self.base)
        return np.array(powers, dtype=np.int64)

    def encode(self, values: Ints) -> tuple[Ints, Ints]:
        if len(values) and values.min() < -LARGEST_INTEGER:
            raise self._range_error(int(values.min()), "integers below 2^63 in magnitude")
        rest = np.abs(values)
        digits = 1 + np.searchsorted(self._powers, rest, side="right")
        counts = digits + 1
        ends = np.cumsum(counts)
        ids = np.empty(int(ends[-1]) if len(ends) else 0, dtype=np.int64)
        ids[ends - counts] = values < 0
        index = np.arange(len(values))
        for place in range(int(digits.max(initial=0))):
            index = index[digits[index] > place]
            rest[index], digit = np.divmod(rest[index], self.base)
            ids[ends[index] - 1 - place] = digit + 2
        return ids, counts

    def starts(self, ids: Ints, position: Ints) -> Mask:
        return np.asarray((ids < 2) | (position == 0))

    def decode(self, ids: Ints, counts: Ints) -> tuple[Ints, Mask]:
        first = np.cumsum(counts) - counts
        digits = counts - 1
        valid = (ids[first] < 2) & (digits >= 1) & (digits <= len(self._powers) + 1)
        negative = ids[first] == 1
        leading = ids[np.minimum(first + 1, len(ids) - 1)] if len(ids) else ids
        valid &= (leading != 2) | ((digits == 1) & ~negative)
        value = np.zeros(len(counts), dtype=np.int64)
        index = np.flatnonzero(valid)
        for place in range(int(digits[index].max(initial=0))):
            index = index[valid[index] & (digits[index] > place)]
            digit = ids[first[index] + 1 + place] - 2
            fits = value[index] <= (LARGEST_INTEGER - digit) // self.base
            valid[index[~fits]] = False
            value[index[fits]] = value[index[fits]] * self.base + digit[fits]
        return np.where(valid, np.where(negative, -value, value), 0), valid


@dataclass(frozen=True)
class ResidueEncoding(IntegerEncoding):
    """x mod m_1, ..., x mod m_k for moduli without common factors, decoded by the Chinese remainder theorem. Ids: residues."""

    moduli: tuple[int, ...]
    name: str = "residues"

    def __post_init__(self) -> None:
        moduli = self.moduli
        coprime = all(math.gcd(a, b) == 1 for k, a in enumerate(moduli) for b in moduli[:k])
        if not (moduli and min(moduli) >= 2 and max(moduli) <= LARGEST_BASE and coprime) or self.product > 2**62:
            raise UserError(
                "the moduli of residues are invalid",
                expected=f"different moduli from 2 to {LARGEST_BASE} without common factors, with a product of at most 2^62",
                got=", ".join(map(str, moduli)) or "none",
            )

    @property
    def product(self) -> int:
        return math.prod(self.moduli)

    @cached_property
    def vocabulary(self) -> tuple[str, ...]:
        return tuple(map(str, range(max(self.moduli))))

    def encode(self, values: Ints) -> tuple[Ints, Ints]:
        largest = (self.product - 1) // 2
        outside = (values > largest) | (values < -largest)
        if outside.any():
            raise self._range_error(int(values[outside][0]), f"integers from {-largest} to {largest}")
        residues = values[:, None] % np.array(self.moduli, dtype=np.int64)
        return residues.reshape(-1), np.full(len(values), len(self.moduli), dtype=np.int64)

    def starts(self, ids: Ints, position: Ints) -> Mask:
        return np.asarray(position % len(self.moduli) == 0)

    def decode(self, ids: Ints, counts: Ints) -> tuple[Ints, Mask]:
        k, moduli = len(self.moduli), np.array(self.moduli, dtype=np.int64)
        valid = counts == k
        first = (np.cumsum(counts) - counts)[valid]
        residues = ids[first[:, None] + np.arange(k)]
        value = np.zeros(len(counts), dtype=np.int64)
        value[valid] = self._combine(residues % moduli)
        valid[valid] = (residues < moduli).all(axis=1)
        valid &= np.abs(value) <= (self.product - 1) // 2
        return np.where(valid, value, 0), valid

    def _combine(self, residues: Ints) -> Ints:
        """The integers in (-P/2, P/2] with these residues (m, k), by Garner's mixed radix: x = c_1 + m_1 (c_2 + m_2 (...))."""
        value, radix = np.zeros(len(residues), dtype=np.int64), 1
        for j, m in enumerate(self.moduli):
            coefficient = (residues[:, j] - value) % m * pow(radix, -1, m) % m
            value += radix * coefficient
            radix *= m
        return np.where(value > radix // 2, value - radix, value)


@dataclass(frozen=True)
class SymbolEncoding(IntegerEncoding):
    """One token for each of ``integers`` (ascending), written as ``tokens``."""

    integers: tuple[int, ...]
    tokens: tuple[str, ...]
    name: str = "symbol"

    def __post_init__(self) -> None:
        reserved = {"<s>", "<pad>", "[", "]"}
        distinct = len({*self.tokens}) == len(self.tokens) and len({*self.integers}) == len(self.integers)
        if not 1 <= len(self.integers) <= MAX_SYMBOLS or not distinct or reserved & {*self.tokens}:
            raise UserError(
                f"the vocabulary of {self.name} is invalid",
                expected=f"1 to {MAX_SYMBOLS:,} different integers with different tokens, none of them {' '.join(reserved)}",
                got=" ".join(self.tokens[:20]) or "nothing",
            )

    @property
    def vocabulary(self) -> tuple[str, ...]:
        return self.tokens

    @cached_property
    def _array(self) -> Ints:
        return np.array(self.integers, dtype=np.int64)

    def encode(self, values: Ints) -> tuple[Ints, Ints]:
        ids = np.minimum(np.searchsorted(self._array, values), len(self._array) - 1)
        outside = self._array[ids] != values
        if outside.any():
            shown = ", ".join(map(str, self.integers[:3])) + (", ..." if len(self.integers) > 3 else "")
            raise self._range_error(int(values[outside][0]), f"one of the {len(self.integers):,} integers {shown}")
        return ids.astype(np.int64), np.ones(len(values), dtype=np.int64)

    def starts(self, ids: Ints, position: Ints) -> Mask:
        return np.ones(len(ids), dtype=np.bool_)

    def decode(self, ids: Ints, counts: Ints) -> tuple[Ints, Mask]:
        return self._array[ids], np.ones(len(ids), dtype=np.bool_)


def get_integer_encoding(name: str, value_range: Range | None = None) -> IntegerEncoding:
    """The encoding of this name; ``value_range``: the (smallest, largest) integer that the spec states, for ``symbol``."""
    if match := re.fullmatch(r"base(\d{1,6})", name):
        return BaseEncoding(int(match[1]))
    if (match := re.fullmatch(r"residues(\d{1,3})", name)) and 1 <= int(match[1]) <= len(PRIMES):
        return ResidueEncoding(PRIMES[: int(match[1])], name)
    if match := re.fullmatch(r"residues:(\d{1,6}(?:,\d{1,6})*)", name):
        return ResidueEncoding(tuple(map(int, match[1].split(","))), name)
    if match := re.fullmatch(r"symbols:(.+)", name):
        return _listed_symbols(name, match[1])
    if name == "symbol":
        return _symbols_of_range(value_range)
    raise UserError(
        f"unknown integer encoding {name!r}",
        expected=f"base2 to base{LARGEST_BASE}, residues1 to residues{len(PRIMES)}, residues:7,9,11, symbol, or symbols:0,1,2",
        got=repr(name),
        next_step="base1000 suits all integers",
    )


def _symbols_of_range(value_range: Range | None) -> SymbolEncoding:
    size = 0 if value_range is None else value_range[1] - value_range[0] + 1
    if value_range is None or not 1 <= size <= MAX_SYMBOLS:
        raise UserError(
            "the encoding symbol needs a small range of integers",
            expected=f"a spec that states a range of at most {MAX_SYMBOLS:,} integers",
            got="no range" if value_range is None else f"{value_range[0]} to {value_range[1]}",
            next_step="choose base1000, or list the integers: symbols:0,1,2",
        )
    integers = range(value_range[0], value_range[1] + 1)
    return SymbolEncoding(tuple(integers), tuple(map(str, integers)))


def _listed_symbols(name: str, text: str) -> SymbolEncoding:
    entries = re.findall(r"(-?\d{1,18})(?:=([^\s,]+))?(?:,|$)", text)
    if ",".join(number + (f"={token}" if token else "") for number, token in entries) != text:
        raise UserError(
            f"{name!r} lists no vocabulary",
            expected="integers with commas, each with an optional token without spaces: symbols:-1,0,1 or symbols:0=(,1=)",
            got=repr(text),
        )
    symbols = sorted((int(number), token or number) for number, token in entries)
    return SymbolEncoding(tuple(n for n, _ in symbols), tuple(token for _, token in symbols), name)
