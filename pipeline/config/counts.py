"""Counts with optional units: 500, 10k, 50M, 1e6."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Annotated

from pydantic import BeforeValidator, Field

from mathpipe.generate.layout import LARGEST_COUNT

_COUNT = re.compile(r"\s*([0-9][0-9_,]*(?:\.[0-9]+)?(?:[eE]\+?[0-9]{1,2})?)\s*([kKmMgGbB]?)\s*")
_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "b": 10**9}


def parse_count(text: object) -> int:
    """Parse a count: ``500``, ``10k``, ``1.5M``, ``2G``, ``1e6``. Raises ValueError for anything else.

    >>> parse_count("50M")
    50000000
    """
    if isinstance(text, bool):
        raise ValueError(f"{text!r} is not a count: write an integer such as 500, 10k, 50M or 1e6")
    if isinstance(text, int):
        number = Decimal(text)
    elif isinstance(text, float) and text == text:
        number = Decimal(str(text))
    else:
        match = _COUNT.fullmatch(str(text))
        if match is None:
            raise ValueError(f"{text!r} is not a count: write an integer such as 500, 10k, 50M or 1e6")
        number = Decimal(match[1].replace(",", "").replace("_", "")) * _UNITS[match[2].lower()]
    if not number.is_finite() or number != number.to_integral_value():
        raise ValueError(f"{text!r} is not a whole number")
    if not 0 <= number <= LARGEST_COUNT:
        raise ValueError(f"{text} is out of range: 0 to {LARGEST_COUNT:,}")
    return int(number)


Count = Annotated[int, BeforeValidator(parse_count), Field(ge=0)]


def format_count(n: int) -> str:
    """Format a count: 10000 as 10k, 50000000 as 50M; counts that are not round with commas."""
    for size, unit in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if n and n % size == 0:
            return f"{n // size}{unit}"
    return f"{n:,}"
