"""Messages for users stay readable, whatever they quote."""

from __future__ import annotations

from mathpipe.datasets.errors import UserError


def test_long_words_are_shortened() -> None:
    message = str(UserError("'x' is not a token", expected="one of 91", got=f"a token {'9' * 1_000_000} of a file"))
    assert len(message) < 300
    assert "999... (1,000,000 characters) of a file." in message


def test_paths_stay_whole() -> None:
    path = "/data/" + "long/" * 100
    assert path in str(UserError(f"{path} cannot be written"))
