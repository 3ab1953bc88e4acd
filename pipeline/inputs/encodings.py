"""Encodings of numbers as commands are asked for them."""

from __future__ import annotations

from mathpipe.datasets.errors import UserError


def refuse_encoding(directory: str, flag: str, name: str | None) -> None:
    """UserError where an encoding of numbers is asked for, and there are only words."""
    if name is not None:
        raise UserError(
            f"{flag} {name}: {directory} holds no matrices, and its problems have one way to be written",
            expected="an encoding for datasets of matrices only",
            got=name,
            next_step=f"leave {flag} out",
        )
