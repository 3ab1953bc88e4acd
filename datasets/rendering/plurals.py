"""Counts with their nouns: ``1 evaluation``, ``2 evaluations``."""

from __future__ import annotations

_IRREGULAR = {"hypothesis": "hypotheses", "matrix": "matrices", "class": "classes", "process": "processes"}


def counted(count: int, noun: str) -> str:
    """The count and the noun, in the plural unless the count is 1.

    >>> counted(1, "evaluation"), counted(1200, "evaluation"), counted(0, "hypothesis")
    ('1 evaluation', '1,200 evaluations', '0 hypotheses')
    """
    return f"{count:,} {noun if count == 1 else plural(noun)}"


def plural(noun: str) -> str:
    """The plural of a noun, by its last word."""
    first, _, last = noun.rpartition(" ")
    return f"{first} {_IRREGULAR.get(last, f'{last}s')}".strip()
