"""Open the tracker that a run names. Each package is imported only here, when a run asks for it.

Projects, servers and offline modes are set by each package's own environment variables: WANDB_PROJECT, WANDB_MODE=offline,
MLFLOW_TRACKING_URI, MLFLOW_EXPERIMENT_NAME, TRACKIO_PROJECT, TRACKIO_DIR.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mathpipe.datasets.errors import UserError
from mathpipe.train.config import TrackerName
from mathpipe.train.tracking.tracker import PROJECT, Parameter, TrackedRun, Tracker

TENSORBOARD_DIRECTORY = "tensorboard"


def open_tracker(name: TrackerName, run_dir: Path, step: int, parameters: Mapping[str, Parameter]) -> Tracker:
    """The tracker ``name`` for the run in ``run_dir``, which continues after ``step``; the same run there if it was tracked before.

    UserError if the package is not installed, or if it cannot start.
    """
    try:
        with contextlib.redirect_stdout(sys.stderr):  # standard output belongs to results
            return _OPEN[name](run_dir, step, parameters)
    except ModuleNotFoundError as error:
        raise UserError(
            f"train.track={name} needs the package {error.name}, which is not installed",
            next_step=f"`pip install 'mathpipe[{name}]'`, or leave train.track out",
        ) from None
    except Exception as error:  # each package has its own exceptions
        raise UserError(
            f"train.track={name} cannot start",
            got=f"{type(error).__name__}: {(str(error).strip().splitlines() or ['no reason given'])[0][:200]}",
            next_step=_OFFLINE[name],
        ) from error


class _Remembered:
    """A tracker whose last step is remembered in the run directory."""

    def __init__(self, run: TrackedRun) -> None:
        self._run = run

    @property
    def logged_step(self) -> int:
        return self._run.logged_step

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self._log(step, dict(values))
        self._run.write(step)

    def _log(self, step: int, values: dict[str, float]) -> None:
        raise NotImplementedError


class _Wandb(_Remembered):
    """A run of Weights & Biases; its files are in ``wandb/`` of the run directory."""

    def __init__(self, run_dir: Path, parameters: Mapping[str, Parameter]) -> None:
        import wandb

        super().__init__(TrackedRun(run_dir, "wandb"))
        self._handle = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            name=run_dir.name,
            id=self._run.run_id or uuid.uuid4().hex[:12],
            resume="allow",
            dir=str(run_dir),
            config=dict(parameters),
            settings=wandb.Settings(console="off", silent=True),
        )
        self._run.start(str(self._handle.id))

    def _log(self, step: int, values: dict[str, float]) -> None:
        self._handle.log(values, step=step)

    def finish(self, failed: bool) -> None:
        self._handle.finish(exit_code=int(failed))


class _Mlflow(_Remembered):
    """A run of MLflow, by its client: the state of ``mlflow.start_run`` in this process is left alone."""

    def __init__(self, run_dir: Path, parameters: Mapping[str, Parameter]) -> None:
        from mlflow.entities import Param
        from mlflow.tracking import MlflowClient

        super().__init__(TrackedRun(run_dir, "mlflow"))
        self._client = MlflowClient()
        run_id = self._run.run_id
        if run_id is not None and self._exists(run_id):
            self._client.update_run(run_id, status="RUNNING")
        else:
            run_id = str(self._client.create_run(self._experiment(), run_name=run_dir.name).info.run_id)
            self._client.log_batch(run_id, params=[Param(name, str(value)[:500]) for name, value in parameters.items()])
        self._run.start(run_id)

    def _exists(self, run_id: str) -> bool:
        from mlflow.exceptions import MlflowException

        try:
            return bool(self._client.get_run(run_id).info.lifecycle_stage == "active")
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return False
            raise

    def _experiment(self) -> str:
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)
        experiment = self._client.get_experiment_by_name(name)
        return str(self._client.create_experiment(name) if experiment is None else experiment.experiment_id)

    def _log(self, step: int, values: dict[str, float]) -> None:
        from mlflow.entities import Metric

        now = int(1000 * time.time())
        self._client.log_batch(
            self._run.run_id, metrics=[Metric(name, value, now, step) for name, value in values.items()]
        )

    def finish(self, failed: bool) -> None:
        self._client.set_terminated(self._run.run_id, "FAILED" if failed else "FINISHED")


class _Trackio(_Remembered):
    """A run of trackio, which has no identity but its name: that of the directory, with random digits."""

    def __init__(self, run_dir: Path, parameters: Mapping[str, Parameter]) -> None:
        import trackio

        super().__init__(TrackedRun(run_dir, "trackio"))
        name = self._run.run_id or f"{run_dir.name}-{uuid.uuid4().hex[:8]}"
        project = os.environ.get("TRACKIO_PROJECT", PROJECT)
        options = {"embed": False, "auto_log_gpu": False, "auto_log_cpu": False}
        self._handle = trackio.init(project, name, config=dict(parameters), resume="allow", **options)
        self._run.start(name)

    def _log(self, step: int, values: dict[str, float]) -> None:
        self._handle.log(values, step=step)

    def finish(self, failed: bool) -> None:
        self._handle.finish()


class _TensorBoard:
    """Event files in ``tensorboard/`` of the run directory; points after the step of the checkpoint are hidden."""

    def __init__(self, run_dir: Path, step: int, parameters: Mapping[str, Parameter]) -> None:
        from torch.utils.tensorboard import SummaryWriter

        directory = run_dir / TENSORBOARD_DIRECTORY
        self.logged_step = step if directory.is_dir() and any(directory.iterdir()) else 0
        self._writer: Any = SummaryWriter(str(directory), purge_step=self.logged_step + 1)
        if not self.logged_step:
            table = "\n".join(f"| {name} | {value} |" for name, value in parameters.items())
            self._writer.add_text("parameters", f"| parameter | value |\n| --- | --- |\n{table}", 0)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)
        self.logged_step = step

    def finish(self, failed: bool) -> None:
        self._writer.close()


_OPEN: dict[TrackerName, Callable[[Path, int, Mapping[str, Parameter]], Tracker]] = {
    "wandb": lambda run_dir, step, parameters: _Wandb(run_dir, parameters),
    "mlflow": lambda run_dir, step, parameters: _Mlflow(run_dir, parameters),
    "trackio": lambda run_dir, step, parameters: _Trackio(run_dir, parameters),
    "tensorboard": _TensorBoard,
}
_OFFLINE: dict[TrackerName, str] = {
    "wandb": "log in with `wandb login`, or set WANDB_MODE=offline",
    "mlflow": "set MLFLOW_TRACKING_URI to a server that runs, or to sqlite:///mlflow.db",
    "trackio": "set TRACKIO_DIR to a directory that you may write to",
    "tensorboard": "make the run directory writable",
}
