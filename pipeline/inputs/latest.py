"""Default inputs of commands: the latest dataset under ``data/`` and the latest run under ``runs/``."""

from __future__ import annotations

from pathlib import Path

from mathpipe.datasets.errors import UserError
from mathpipe.datasets.format.manifest import MANIFEST, read_manifest
from mathpipe.generate.splits import TRAIN
from mathpipe.train.run.run_record import CHECKPOINT


def latest_dataset(root: Path = Path("data")) -> str:
    """The complete dataset under ``data/`` with training examples that was finished last; UserError if there is none.

    If no dataset has training examples, the last one, for the caller to refuse.
    """
    next_step = "generate one, such as `mathpipe generate --task add --dim 3 --n 200k`, or pass --data DIR"
    datasets = _latest_first(root, MANIFEST, "dataset", next_step)
    return next((data for data in datasets if TRAIN in read_manifest(data).splits), datasets[0])


def latest_run(root: Path = Path("runs")) -> str:
    """The run under ``runs/`` with the latest checkpoint; UserError if there is none."""
    return _latest_first(root, CHECKPOINT, "run", "start one with `mathpipe train`, or pass --run DIR")[0]


def _latest_first(root: Path, marker: str, what: str, next_step: str) -> list[str]:
    markers = [path for path in root.glob(f"*/{marker}") if ".old-" not in path.parent.name]
    if not markers:
        raise UserError(
            f"there is no {what} under {root}/", expected=f"{root}/<name>/{marker}", got="none", next_step=next_step
        )
    return [str(path.parent) for path in sorted(markers, key=lambda path: path.stat().st_mtime, reverse=True)]
