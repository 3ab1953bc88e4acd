"""The metrics log of a run: one JSON line per logged step, and the same points for DVCLive and TensorBoard.

    {"step": 200, "train_loss": 1.31, "lr": 0.001, "valid_loss": 1.29, ...}

This file is authoritative. A resumed run truncates it to the step of its checkpoint, so that no point occurs twice, and then logs
all points to DVCLive again.
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


def read_metrics_log(path: Path) -> list[Point]:
    """The points of a log in order, without a last line cut short by a kill."""
    if not path.exists():
        return []
    points: list[Point] = []
    for line in path.read_text(encoding="utf-8-sig").splitlines():
        try:
            points.append(json.loads(line))
        except ValueError:
            break
    return points


class MetricsLog:
    """Appends points to the log; a context manager.

    ``live_dir``, ``board_dir``: directories of DVCLive and TensorBoard; None to do without.
    """

    def __init__(self, path: Path, step: int, live_dir: Path | None, board_dir: Path | None = None) -> None:
        """Open to append after ``step``; removes later points."""
        self._board = None if board_dir is None else _board(board_dir, step)
        earlier = [point for point in read_metrics_log(path) if point["step"] <= step]
        write_atomically(path, [(json.dumps(point) + "\n").encode() for point in earlier])
        self._live = None if live_dir is None else _live(live_dir)
        self._file = path.open("a", encoding="utf-8")
        for point in earlier:
            self._log_live(point)

    def add(self, step: int, values: dict[str, float]) -> None:
        """Log the metrics of one step."""
        point: Point = {"step": step, **values}
        self._file.write(json.dumps(point) + "\n")
        self._file.flush()
        self._log_live(point)
        if self._live is not None:
            self._live.make_summary()
        if self._board is not None:
            for name, value in values.items():
                self._board.add_scalar(name, value, step)

    def sync(self) -> None:
        """Sync the log to disk, before the checkpoint of the same step."""
        os.fsync(self._file.fileno())

    def _log_live(self, point: Point) -> None:
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
    """A TensorBoard writer that hides points beyond ``step``."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise UserError(
            "train.tensorboard needs the package tensorboard, which is not installed",
            next_step="`pip install 'mathpipe[tensorboard]'`, or set train.tensorboard=false",
        ) from None
    return SummaryWriter(str(directory), purge_step=step + 1)


def live_class() -> Any:
    """The class ``Live`` of DVCLive, or None where DVCLive is not installed. Slow at the first call: it imports DVC."""
    try:
        from dvclive.live import Live
    except ModuleNotFoundError:
        return None
    return Live


def _live(directory: Path) -> Any:
    """DVCLive as a writer of metrics and plots only, without experiments and dvc.yaml; None where it is not installed.

    In a Git repository without DVC, DVCLive would initialise DVC and stage its files; the subclass prevents this.
    """
    live = live_class()
    if live is None:
        return None
    from scmrepo.exceptions import SCMError  # a dependency of DVCLive

    class Offline(live):  # type: ignore[misc, valid-type]
        def _init_dvc(self) -> None:
            pass

    here = Path.cwd().resolve()
    within_dvc = any((parent / ".dvc").is_dir() for parent in (here, *here.parents))
    settings: dict[str, Any] = {"dir": str(directory), "save_dvc_exp": False, "dvcyaml": None, "report": None}
    if within_dvc:
        with contextlib.suppress(SCMError):  # a Git repository without a commit
            return live(**settings)
    return Offline(**settings)
