"""The error shown to users: what is wrong, expected, got, likely cause, next step."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Wrong arguments, wrong data or a wrong environment, reported in one line; the command line exits with code 2.

    >>> str(UserError("--n is not a count", expected="an integer such as 500, 10k, 50M", got="'ten'"))
    "--n is not a count. Expected: an integer such as 500, 10k, 50M. Got: 'ten'."
    """

    def __init__(
        self,
        what: str,
        *,
        expected: object = None,
        got: object = None,
        cause: str | None = None,
        next_step: str | None = None,
    ) -> None:
        parts = [what]
        parts += [f"Expected: {expected}"] if expected is not None else []
        parts += [f"Got: {got}"] if got is not None else []
        parts += [f"Likely cause: {cause}"] if cause else []
        parts += [f"Next: {next_step}"] if next_step else []
        self.what, self.expected, self.got, self.cause, self.next_step = what, expected, got, cause, next_step
        super().__init__(" ".join(_sentence(part) for part in parts))

    def about(self, what: str) -> UserError:
        """The same error, with other words for what is wrong."""
        return _rebuild(type(self), what, self.expected, self.got, self.cause, self.next_step)

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), self.what, self.expected, self.got, self.cause, self.next_step)


def _rebuild(
    error_class: type[UserError], what: str, expected: object, got: object, cause: str | None, next_step: str | None
) -> UserError:
    return error_class(what, expected=expected, got=got, cause=cause, next_step=next_step)


_LONGEST_QUOTE = 1_000  # characters; a quoted token or number of a hostile file may have millions


def _sentence(text: str) -> str:
    line = " ".join(map(_shorten, str(text).split()))
    return line if line.endswith((".", "?", "!")) else line + "."


def _shorten(text: str) -> str:
    return text if len(text) <= _LONGEST_QUOTE else f"{text[:100]}... ({len(text):,} characters)"


def nearest(name: str, candidates: Iterable[str]) -> str | None:
    """The candidate most similar to ``name``, or None if none is close."""
    matches = difflib.get_close_matches(name, list(candidates), n=1, cutoff=0.5)
    return matches[0] if matches else None


def did_you_mean(name: str, candidates: Iterable[str], prefix: str = "") -> str | None:
    """``did you mean <prefix><candidate>?`` for the nearest candidate, or None if none is close.

    >>> did_you_mean("laplas", ["uniform", "laplace"])
    'did you mean laplace?'
    """
    suggestion = nearest(name, candidates)
    return None if suggestion is None else f"did you mean {prefix}{suggestion}?"
