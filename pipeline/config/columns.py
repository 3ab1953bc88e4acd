"""``--columns problem=a,solution=b``: which column of a file holds what."""

from __future__ import annotations

from collections.abc import Sequence

from mathpipe.datasets.errors import UserError, did_you_mean


def parse_columns(names: str | None, roles: Sequence[str]) -> dict[str, str]:
    """Role -> column; UserError for text that names none. ``roles``: those that every file has."""
    columns: dict[str, str] = {}
    for part in [] if names is None else names.split(","):
        role, equals, column = (piece.strip() for piece in part.partition("="))
        if not equals or not column or not role or role in columns:
            raise UserError(
                f"--columns: {part.strip()!r} names no column",
                expected=",".join(f"{name}=NAME" for name in roles),
                got=repr(names),
                next_step=f"name the column: {role}=NAME"
                if not equals and role in roles
                else did_you_mean(role, set(roles) - columns.keys()),
            )
        columns[role] = column
    return columns
