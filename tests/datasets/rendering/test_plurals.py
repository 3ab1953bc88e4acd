"""Counts with their nouns."""

from __future__ import annotations

import pytest

from mathpipe.datasets.rendering.plurals import counted


@pytest.mark.parametrize(
    ("count", "noun", "text"),
    [
        (1, "evaluation", "1 evaluation"),
        (0, "evaluation", "0 evaluations"),
        (1200, "right answer", "1,200 right answers"),
        (2, "hypothesis", "2 hypotheses"),
        (1, "hypothesis", "1 hypothesis"),
        (3, "small matrix", "3 small matrices"),
    ],
)
def test_counted(count: int, noun: str, text: str) -> None:
    assert counted(count, noun) == text
