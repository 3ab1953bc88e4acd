"""What a bare command works on: the newest dataset under ``data/``, the newest run under ``runs/``."""

from __future__ import annotations

from pathlib import Path

from mathpipe.datasets.errors import UserError
from mathpipe.datasets.format.manifest import MANIFEST
from mathpipe.train.run.checkpoint import CHECKPOINT


def newest_dataset(root: Path = Path("data")) -> str:
    """The whole dataset under ``data/`` that was finished last; UserError where there is none."""
    return _newest(
        root, MANIFEST, "dataset", "`mathpipe generate --task add --dim 3 --n 200k` makes one; or pass --data DIR"
    )


def newest_run(root: Path = Path("runs")) -> str:
    """The run under ``runs/`` with the newest checkpoint; UserError where there is none."""
    return _newest(root, CHECKPOINT, "run", "`mathpipe train` makes one; or pass --run DIR")


def _newest(root: Path, marker: str, what: str, next_step: str) -> str:
    found = [path for path in root.glob(f"*/{marker}") if ".old-" not in path.parent.name]
    if not found:
        raise UserError(
            f"there is no {what} under {root}/", expected=f"{root}/<name>/{marker}", got="none", next_step=next_step
        )
    return str(max(found, key=lambda path: path.stat().st_mtime).parent)
