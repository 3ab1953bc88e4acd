r"""The answer within a text: all of it, the content of the last ``\boxed{...}``, or the last line that is not empty."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

from mathpipe.datasets.errors import UserError

Extraction = Literal["boxed", "last-line"]
EXTRACTIONS: tuple[Extraction, ...] = get_args(Extraction)
_BOXED = "\\boxed{"
_SIGNS_AROUND = "$ \t\r\n"


class NoAnswer(ValueError):
    """The text holds no answer where one was expected; the message says what is missing."""


def extract_answer(text: str, extraction: Extraction | None) -> str:
    """The answer in a text; NoAnswer if there is none. None: the whole text."""
    return text if extraction is None else _EXTRACTORS[extraction](text)


def check_extraction(extraction: str | None) -> None:
    """UserError for an extraction that does not exist."""
    if extraction is not None and extraction not in EXTRACTIONS:
        raise UserError(
            f"there is no extraction {extraction!r}", expected=f"none, or {' or '.join(EXTRACTIONS)}", got=extraction
        )


def _boxed(text: str) -> str:
    r"""The content of the last ``\boxed{...}`` with balanced braces."""
    start = text.rfind(_BOXED)
    if start < 0:
        raise NoAnswer(f"expected {_BOXED}...}}, got none")
    depth = 1
    for position in range(start + len(_BOXED), len(text)):
        character = text[position]
        if character in "{}" and text[position - 1] != "\\":
            depth += 1 if character == "{" else -1
            if not depth:
                return text[start + len(_BOXED) : position]
    raise NoAnswer(f"{_BOXED} is not closed")


def _last_line(text: str) -> str:
    """The last line that is not empty, without dollar signs around it."""
    line = text.rstrip().rsplit("\n", 1)[-1].strip(_SIGNS_AROUND)
    if not line:
        raise NoAnswer("expected a line with the answer, got none")
    return line


_EXTRACTORS: dict[Extraction, Callable[[str], str]] = {"boxed": _boxed, "last-line": _last_line}
