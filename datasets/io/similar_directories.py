"""Suggestions for a misspelt directory: which one beside it may be meant."""

from __future__ import annotations

from pathlib import Path

from mathpipe.datasets.errors import nearest
from mathpipe.datasets.io.storage import Storage

_MAX_LISTED = 5


def similar_directories(url: str, file: str, parent: str) -> list[str]:
    """The local directory with this file that a misspelt path may mean: one of a similar name, or one in ``parent``."""
    if Storage(url).local_path is None:
        return []
    path = Path(url)
    for folder in (path.parent, *([Path(parent)] if path.name == url else [])):
        names = [marker.parent.name for marker in folder.glob(f"*/{file}")]
        match = path.name if path.name in names else nearest(path.name, names)
        if match is not None:
            return [str(folder / match)]
    return []


def suggest(directories: list[str]) -> str:
    """``did you mean data/add?``; empty if there are no directories."""
    if not directories:
        return ""
    if len(directories) == 1:
        return f"did you mean {directories[0]}?"
    others = ", ".join(directories[1:_MAX_LISTED]) + (", ..." if len(directories) > _MAX_LISTED else "")
    return f"did you mean {directories[0]}? It also holds {others}"
