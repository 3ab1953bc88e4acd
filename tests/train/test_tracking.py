"""Experiment trackers: what each received, resumption in the same run, and what happens if one fails."""

from __future__ import annotations

import json
import struct
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from mathpipe.datasets.errors import UserError
from mathpipe.train.config import TrainConfig
from mathpipe.train.run.metrics_log import MetricsLog, read_metrics_log
from mathpipe.train.tracking.tracker import TRACKING, TrackedRun, flat_parameters
from mathpipe.train.trainer import TrainResult, train

Tiny = Callable[..., TrainConfig]
Series = dict[str, list[tuple[int, float]]]


class Recorder:
    """A tracker that keeps its points."""

    def __init__(self, logged_step: int = 0, fails_at: int | None = None) -> None:
        self.logged_step, self.fails_at = logged_step, fails_at
        self.points: list[tuple[int, dict[str, float]]] = []
        self.failed: list[bool] = []

    def log(self, step: int, values: Mapping[str, float]) -> None:
        if step == self.fails_at:
            raise ConnectionError("server gone")
        self.points.append((step, dict(values)))

    def finish(self, failed: bool) -> None:
        self.failed.append(failed)


def test_tracker_gets_the_points_that_it_lacks(tmp_path: Path) -> None:
    path = tmp_path / "curves.jsonl"
    with MetricsLog(path, 0) as log:
        for step in (1, 2, 3, 4):
            log.add(step, {"loss": float(step)})
    fresh, earlier = Recorder(), Recorder(logged_step=2)
    with MetricsLog(path, 3, [fresh, earlier]) as log:
        log.add(4, {"loss": 4.0})
    assert [step for step, _ in fresh.points] == [1, 2, 3, 4] and [step for step, _ in earlier.points] == [3, 4]
    assert fresh.failed == [False]
    with pytest.raises(KeyError), MetricsLog(path, 4, [fresh]):
        raise KeyError
    with pytest.raises(KeyboardInterrupt), MetricsLog(path, 4, [fresh]):
        raise KeyboardInterrupt
    assert fresh.failed == [False, True, False]


def test_failing_tracker_does_not_end_a_run(tmp_path: Path) -> None:
    broken, working = Recorder(fails_at=2), Recorder()
    with (
        pytest.warns(UserWarning, match="Recorder failed.*server gone"),
        MetricsLog(tmp_path / "curves.jsonl", 0, [broken, working]) as log,
    ):
        for step in (1, 2, 3):
            log.add(step, {"loss": 1.0})
    assert len(broken.points) == 1 and len(working.points) == len(read_metrics_log(tmp_path / "curves.jsonl")) == 3


def test_run_remembers_its_identity(tmp_path: Path) -> None:
    run = TrackedRun(tmp_path, "wandb")
    assert run.run_id is None
    run.start("a")
    run.write(7)
    TrackedRun(tmp_path, "mlflow").start("b")
    again = TrackedRun(tmp_path, "wandb")
    assert (again.run_id, again.logged_step) == ("a", 7)
    again.start("c")
    assert TrackedRun(tmp_path, "wandb").logged_step == 0 and TrackedRun(tmp_path, "mlflow").run_id == "b"
    (tmp_path / TRACKING).write_text("{")
    assert TrackedRun(tmp_path, "wandb").run_id is None


def test_flat_parameters() -> None:
    assert flat_parameters({"a": {"b": 1, "c": {"d": None}}, "e": ["x", 2]}) == {
        "a.b": 1,
        "a.c.d": None,
        "e": '["x", 2]',
    }


@pytest.mark.parametrize("name", ["wandb", "mlflow", "trackio"])
def test_missing_package_is_named(
    tiny: Tiny, data: Any, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in [m for m in sys.modules if m.split(".")[0] == name]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(UserError, match=rf"track={name} needs the package {name}.*pip install 'mathpipe\[{name}\]'"):
        train(tiny(track=name), data, None, tmp_path / "run", dvclive=False)


# Each function returns (metric -> points, parameters as text) of the only run in the tracker's store.


def read_tensorboard(run_dir: Path, store: Path) -> tuple[Series, Mapping[str, str]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run_dir / "tensorboard"))
    events.Reload()
    series = {tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]}
    text = events.Tensors("parameters/text_summary")[0].tensor_proto.string_val[0].decode()
    cells = [line.strip("| ").split(" | ") for line in text.splitlines()[2:]]
    return series, {cell[0]: cell[-1] for cell in cells}


def read_mlflow(run_dir: Path, store: Path) -> tuple[Series, Mapping[str, str]]:
    from mlflow.tracking import MlflowClient

    client = MlflowClient()
    experiment = client.get_experiment_by_name("mathpipe")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED" and run.info.run_name == "run"
    names = run.data.metrics
    return {
        n: [(m.step, m.value) for m in client.get_metric_history(run.info.run_id, n)] for n in names
    }, run.data.params


def read_trackio(run_dir: Path, store: Path) -> tuple[Series, Mapping[str, str]]:
    from trackio.sqlite_storage import SQLiteStorage

    (name,) = SQLiteStorage.get_runs("mathpipe")
    assert name.startswith("run-")
    series: Series = {}
    for point in SQLiteStorage.get_logs("mathpipe", name):
        for metric, value in point.items():
            if metric not in ("step", "timestamp"):
                series.setdefault(metric, []).append((point["step"], value))
    config = SQLiteStorage.get_run_config("mathpipe", name) or {}
    return series, {key: str(value) for key, value in config.items()}


def wandb_records(file: Path) -> Iterator[bytes]:
    """The records of an offline file: LevelDB's log format, in blocks of 32 KiB after a header of 7 bytes."""
    data, position, parts = file.read_bytes(), 7, b""
    while position + 7 <= len(data):
        if 32_768 - position % 32_768 < 7:  # padding at the end of a block
            position += 32_768 - position % 32_768
            continue
        length, part_type = struct.unpack_from("<HB", data, position + 4)
        parts += data[position + 7 : position + 7 + length]
        position += 7 + length
        if part_type in (1, 4):  # a whole record, or its last part
            yield parts
            parts = b""


def read_wandb(run_dir: Path, store: Path) -> tuple[Series, Mapping[str, str]]:
    from wandb.proto import wandb_internal_pb2 as records

    series: Series = {}
    parameters: dict[str, str] = {}
    identities = set()
    for file in sorted((run_dir / "wandb").glob("offline-run-*/*.wandb")):
        deadline = time.monotonic() + 60  # another process writes the file
        while not (parsed := [records.Record.FromString(data) for data in wandb_records(file)]) or not parsed[
            -1
        ].HasField("exit"):
            assert time.monotonic() < deadline
            time.sleep(0.2)
        for record in parsed:
            if record.WhichOneof("record_type") == "run":
                identities.add(record.run.run_id)
                parameters |= {item.key: str(json.loads(item.value_json)) for item in record.run.config.update}
            if record.WhichOneof("record_type") == "history":
                values = {"/".join(i.nested_key) or i.key: json.loads(i.value_json) for i in record.history.item}
                for name, value in values.items():
                    if not name.startswith("_"):
                        series.setdefault(name, []).append((record.history.step.num, value))
    assert len(identities) == 1
    return series, parameters


READERS: dict[str, Callable[[Path, Path], tuple[Series, Mapping[str, str]]]] = {
    "tensorboard": read_tensorboard,
    "mlflow": read_mlflow,
    "trackio": read_trackio,
    "wandb": read_wandb,
}


def stop_after(count: int) -> Callable[[Any], dict[str, float]]:
    """Metrics for the trainer; the run is interrupted at evaluation number ``count``."""
    import os
    import signal

    calls = []

    def evaluate(model: Any) -> dict[str, float]:
        calls.append(1)
        if len(calls) == count:
            os.kill(os.getpid(), signal.SIGINT)
        return {"accuracy": 0.5}

    return evaluate


@pytest.mark.filterwarnings("ignore")  # of the packages
@pytest.mark.timeout(900)  # MLflow migrates its SQLite store, step by step
@pytest.mark.parametrize("name", READERS)
def test_resumed_run_goes_on_in_the_same_run(
    tiny: Tiny,
    data: Any,
    tmp_path: Path,
    name: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip(name)
    store = tmp_path / "store"
    store.mkdir()
    for variable, value in {
        "WANDB_MODE": "offline",
        "MLFLOW_TRACKING_URI": f"sqlite:///{store}/mlflow.db",
        "TRACKIO_DIR": str(store),
    }.items():
        monkeypatch.setenv(variable, value)
    if name == "trackio":  # it reads the directory when it is imported
        for module in [m for m in sys.modules if m.split(".")[0] == "trackio"]:
            monkeypatch.delitem(sys.modules, module)
    run_dir, config = tmp_path / "run", tiny(steps=20, track=name)
    result: TrainResult = train(config, data, data, run_dir, evaluate=stop_after(2), dvclive=False)
    assert result.outcome == "interrupted" and result.step == 10
    assert train(config, data, data, run_dir, evaluate=stop_after(-1), dvclive=False).step == 20
    assert capsys.readouterr().out == "", "standard output belongs to results"
    series, parameters = READERS[name](run_dir, store)
    expected: Series = {}
    for point in read_metrics_log(run_dir / "curves.jsonl"):
        for metric, value in point.items():
            if metric != "step":
                expected.setdefault(metric, []).append((int(point["step"]), value))
    assert {metric: [step for step, _ in points] for metric, points in series.items()} == {
        metric: [step for step, _ in points] for metric, points in expected.items()
    }
    for metric, points in expected.items():
        assert [v for _, v in series[metric]] == pytest.approx([v for _, v in points], rel=1e-6)
    for key, text in {"task": "transpose", "batch": str(config.batch), "model.norm": "pre"}.items():
        assert parameters[key] == text
    untracked = train(tiny(steps=20), data, data, tmp_path / "untracked", evaluate=stop_after(-1), dvclive=False)
    first, second = (
        torch.load(folder / "checkpoint.pt", weights_only=True)["model"] for folder in (run_dir, untracked.run_dir)
    )
    assert all(torch.equal(first[key], second[key]) for key in first)
