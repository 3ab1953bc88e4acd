"""Checks of number encodings that commands are given."""

from __future__ import annotations

from mathpipe.datasets.errors import UserError


def reject_number_encoding(directory: str, flag: str, name: str | None) -> None:
    """Raise UserError if a number encoding is given for a dataset that holds no matrices."""
    if name is not None:
        raise UserError(
            f"{flag} {name}: {directory} holds no matrices, so number encodings do not apply",
            expected="a number encoding for datasets of matrices only",
            got=name,
            next_step=f"leave {flag} out",
        )
