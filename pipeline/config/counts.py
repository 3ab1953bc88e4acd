"""Counts with optional units: 500, 10k, 50M, 1e6, 1,000,000."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Annotated, Any

import click
from pydantic import BeforeValidator, Field

from mathpipe.generate.layout import LARGEST_COUNT

COUNT_FORMS = "an integer such as 500, 10k, 50M, 1e6 or 1,000,000"
_LONGEST_TEXT = 40
_GROUPED = r"[0-9]{1,3}(?:,[0-9]{3})+"
_DIGITS = r"[0-9]+(?:_[0-9]+)*"
_INTEGER = re.compile(rf"([+-]?)(?:({_GROUPED})|({_DIGITS}(?:\.[0-9]+)?(?:[eE]\+?[0-9]{{1,2}})?) ?([kKmMgGbB]?))")
_GROUPED_BY_POINTS = re.compile(r"[+-]?[0-9]{1,3}(?:\.[0-9]{3})+")
_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "b": 10**9}


def parse_integer(text: str) -> int:
    """Parse a decimal integer: ``500``, ``010`` (ten), ``10k``, ``1.5M``, ``1e6``, ``1_000`` or ``1,000``.

    A comma only separates thousands. ValueError for anything else: ``1,5k`` is 1.5k to half of the world, and ``1.000`` is a
    thousand to it.
    """
    stripped = text.strip()
    match = _INTEGER.fullmatch(stripped) if len(stripped) <= _LONGEST_TEXT else None
    if match is None:
        hint = "; a comma only separates thousands: write 1500 or 1.5k" if "," in stripped else ""
        raise ValueError(f"{text!r} is not a count: write {COUNT_FORMS}{hint}")
    if _GROUPED_BY_POINTS.fullmatch(stripped):
        raise ValueError(f"{text!r} may be a thousand times more: write 1000 or 1,000 for a thousand, 1 for one")
    sign, grouped, digits, unit = match.groups()
    number = Decimal((grouped or digits).replace(",", "").replace("_", "")) * _UNITS[(unit or "").lower()]
    if number != number.to_integral_value():
        raise ValueError(f"{text!r} is not a whole number")
    return -int(number) if sign == "-" else int(number)


def parse_count(value: object) -> int:
    """Parse a count from 0 to ``LARGEST_COUNT``: text that ``parse_integer`` reads, or a whole number. ValueError otherwise.

    >>> parse_count("50M")
    50000000
    """
    if isinstance(value, str):
        number = parse_integer(value)
    elif isinstance(value, int | float) and not isinstance(value, bool) and value == value:
        if value in (float("inf"), float("-inf")) or value != int(value):
            raise ValueError(f"{value!r} is not a whole number")
        number = int(value)
    else:
        raise ValueError(f"{value!r} is not a count: write {COUNT_FORMS}")
    if not 0 <= number <= LARGEST_COUNT:
        raise ValueError(f"{value} is out of range: 0 to {LARGEST_COUNT:,}")
    return number


Count = Annotated[int, BeforeValidator(parse_count), Field(ge=0)]


class CountRange(click.IntRange):
    """An option that is a count, within bounds: read as counts are read in files and with ``-S``."""

    name = "count"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            number = parse_integer(value) if isinstance(value, str) else value
        except ValueError as error:
            self.fail(str(error), param, ctx)
        return super().convert(number, param, ctx)


def format_count(n: int) -> str:
    """Format a count: 10000 as 10k, 50000000 as 50M; counts that are not round with commas."""
    for size, unit in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if n and n % size == 0:
            return f"{n // size}{unit}"
    return f"{n:,}"
