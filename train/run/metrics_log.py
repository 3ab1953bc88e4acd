"""The curves of a run: for each step at which something was measured, one JSON line, and the same points for DVCLive.

    {"step": 200, "train_loss": 1.31, "lr": 0.001, "valid_loss": 1.29, ...}

Our file is the truth. A resumed run first cuts it back to its checkpoint's step, so that no point is ever there twice, and then
tells DVCLive the whole story again, whose own files only ever follow.
"""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from mathpipe.datasets.errors import UserError
from mathpipe.datasets.io.atomic_files import write_atomically

Point = dict[str, float]


def read_curves(path: Path) -> list[Point]:
    """The points of a curves file in order; a last line torn by a kill is left out."""
    if not path.exists():
        return []
    points: list[Point] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            points.append(json.loads(line))
        except ValueError:
            break
    return points


class Curves:
    """Points in, one at a time; used as a context.

    ``live_dir``, ``board_dir``: where DVCLive and TensorBoard keep their files, None for without.
    """

    def __init__(self, path: Path, step: int, live_dir: Path | None, board_dir: Path | None = None) -> None:
        """Open for writing after ``step``: later points are cut off."""
        self._board = None if board_dir is None else _board(board_dir, step)
        kept = [point for point in read_curves(path) if point["step"] <= step]
        write_atomically(path, [(json.dumps(point) + "\n").encode() for point in kept])
        self._live = None if live_dir is None else _live(live_dir)
        self._file = path.open("a", encoding="utf-8")
        for point in kept:
            self._show(point)

    def add(self, step: int, values: dict[str, float]) -> None:
        """One step's measurements."""
        point: Point = {"step": step, **values}
        self._file.write(json.dumps(point) + "\n")
        self._file.flush()
        self._show(point)
        if self._live is not None:
            self._live.make_summary()
        if self._board is not None:
            for name, value in values.items():
                self._board.add_scalar(name, value, step)

    def sync(self) -> None:
        """Make all points last: called before a checkpoint that builds on them."""
        os.fsync(self._file.fileno())

    def _show(self, point: Point) -> None:
        if self._live is None:
            return
        self._live.step = int(point["step"])
        for name, value in point.items():
            if name != "step":
                self._live.log_metric(name, value)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        if self._board is not None:
            self._board.close()
        if self._live is not None:
            self._live.end()


def _board(directory: Path, step: int) -> Any:
    """TensorBoard's writer; what it holds beyond ``step`` it hides."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise UserError(
            "curves for TensorBoard were asked for, and it is not installed",
            next_step="`pip install tensorboard`, or set train.tensorboard=false",
        ) from None
    return SummaryWriter(str(directory), purge_step=step + 1)


def _live(directory: Path) -> Any:
    """DVCLive as a writer of metrics and plots only: experiments and dvc.yaml belong to whoever runs the pipeline.

    Inside a Git repository without DVC, DVCLive would initialise DVC and stage its files: there it is kept from looking.
    """
    from dvclive.live import Live  # slow to import (it brings DVC), and not every run wants it
    from scmrepo.exceptions import SCMError

    class Offline(Live):
        def _init_dvc(self) -> None:
            pass

    here = Path.cwd().resolve()
    within_dvc = any((parent / ".dvc").is_dir() for parent in (here, *here.parents))
    settings: dict[str, Any] = {"dir": str(directory), "save_dvc_exp": False, "dvcyaml": None, "report": None}
    if within_dvc:
        with contextlib.suppress(SCMError):  # a Git repository without a commit
            return Live(**settings)
    return Offline(**settings)
