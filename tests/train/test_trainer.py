"""The story of a run, told and told again: resumed, killed, changed, finished."""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from mathpipe.datasets.dataset import open_dataset
from mathpipe.datasets.errors import UserError
from mathpipe.train import trainer
from mathpipe.train.config import ModelConfig, TrainConfig
from mathpipe.train.model.transformer import Transformer
from mathpipe.train.optim.loss import Losing
from mathpipe.train.run import run_directory
from mathpipe.train.run.checkpoint import load_model, read_checkpoint
from mathpipe.train.run.metrics_log import read_curves
from mathpipe.train.trainer import TrainResult, train

Tiny = Callable[..., TrainConfig]


def weights(run_dir: Path) -> dict[str, Tensor]:
    return {name: w.clone() for name, w in load_model(run_dir)[0].state_dict().items()}


def equal(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def without_times(points: list[dict[str, float]]) -> list[dict[str, float]]:
    return [{name: value for name, value in point.items() if name != "seconds"} for point in points]


def quiet(config: TrainConfig, data: Any, run_dir: Path, **more: Any) -> TrainResult:
    return train(config, data, data, run_dir, dvclive=False, **more)


def stop_after(calls: int) -> Callable[[Transformer], dict[str, float]]:
    """An ``evaluate`` that sends this process SIGTERM at its n-th call, as a scheduler would."""
    left = [calls]

    def evaluate(model: Transformer) -> dict[str, float]:
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGTERM)
        return {"calls": 0.0}

    return evaluate


def test_a_run_leaves_what_it_measured(tiny: Tiny, data: Any, run_dir: Path) -> None:
    result = train(tiny(), data, data, run_dir, evaluate=lambda model: {"accuracy": 0.5})
    assert (result.step, result.steps_taken, result.outcome) == (12, 12, "finished")
    points = read_curves(run_dir / "curves.jsonl")
    assert [p["step"] for p in points] == [3, 5, 6, 9, 10, 12]
    assert [p["step"] for p in points if "valid_loss" in p] == [5, 10, 12]
    assert result.metrics == {"valid_loss": points[-1]["valid_loss"], "accuracy": 0.5}
    summary = json.loads((run_dir / "summary.json").read_text())
    assert summary["metrics"] == result.metrics and summary["examples"] == 96
    model, record = load_model(run_dir)
    assert (record.step, record.task, record.config) == (12, "transpose", tiny()) and not model.training


class Reports:
    """A progress reporter that remembers what it was told."""

    def __init__(self) -> None:
        self.started: list[tuple[int, int, int]] = []
        self.steps: list[dict[str, float]] = []
        self.closed = 0

    def start(self, step: int, steps: int, batch: int) -> None:
        self.started.append((step, steps, batch))

    def step(self, measured: Mapping[str, float]) -> None:
        self.steps.append(dict(measured))

    def close(self) -> None:
        self.closed += 1


def test_progress_is_told_of_every_step_and_its_point(tiny: Tiny, data: Any, run_dir: Path) -> None:
    first, second = Reports(), Reports()
    quiet(tiny(steps=20), data, run_dir, evaluate=stop_after(2), progress=first)
    assert (first.started, len(first.steps), first.closed) == ([(0, 20, 8)], 10, 1)
    quiet(tiny(steps=20), data, run_dir, evaluate=stop_after(-1), progress=second)
    assert (second.started, len(second.steps), second.closed) == ([(10, 20, 8)], 10, 1)
    told = [{"step": k, **point} for k, point in enumerate(first.steps + second.steps, 1) if point]
    assert told == read_curves(run_dir / "curves.jsonl")


def test_dvclive_has_the_same_points_once_resumed(tiny: Tiny, data: Any, run_dir: Path) -> None:
    config = tiny(steps=20)
    first = train(config, data, data, run_dir, evaluate=stop_after(2))
    assert (first.step, first.outcome) == (10, "interrupted")
    with (run_dir / "curves.jsonl").open("a") as beyond_the_checkpoint:
        beyond_the_checkpoint.write('{"step": 12, "train_loss": 1.0}\n{"step": 15, "tra')
    train(config, data, data, run_dir, evaluate=stop_after(-1))
    points = read_curves(run_dir / "curves.jsonl")
    assert [p["step"] for p in points] == [3, 5, 6, 9, 10, 12, 15, 18, 20]
    table = (run_dir / "dvclive" / "plots" / "metrics" / "train_loss.tsv").read_text().split("\n")
    expected = [f"{p['step']}\t{p['train_loss']}" for p in points if "train_loss" in p]
    assert table[0] == "step\ttrain_loss" and [line.strip() for line in table[1:-1]] == expected
    assert json.loads((run_dir / "dvclive" / "metrics.json").read_text())["step"] == 20


def test_dvclive_does_not_initialise_dvc_in_a_git_repository(
    tiny: Tiny, data: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    monkeypatch.chdir(tmp_path)
    train(tiny(steps=5), data, None, tmp_path / "run")
    assert not (tmp_path / ".dvc").exists() and (tmp_path / "run" / "dvclive" / "metrics.json").exists()


def test_parts_of_a_batch_change_nothing(tiny: Tiny, data: Any, tmp_path: Path) -> None:
    for parts in (1, 3):
        quiet(tiny(accumulate=parts, log_every=1, optimiser="muon"), data, tmp_path / str(parts))
    a, b = ([p["train_loss"] for p in read_curves(tmp_path / str(k) / "curves.jsonl")] for k in (1, 3))
    assert a == pytest.approx(b, rel=1e-4)


def test_the_best_is_kept_and_patience_ends(tiny: Tiny, data: Any, run_dir: Path) -> None:
    scores = iter([0.3, 0.5, 0.4, 0.5, 0.1, 0.9])
    config = tiny(steps=60, best_metric="accuracy", patience=3, keep_every=10, label="first try")
    result = quiet(config, data, run_dir, evaluate=lambda model: {"accuracy": next(scores)})
    assert (result.step, result.outcome) == (25, "no longer better")
    assert load_model(run_dir, name="best")[1].step == 10
    assert [p.name for p in sorted((run_dir / "checkpoints").iterdir())] == [
        "best.pt",
        "step-00000010.pt",
        "step-00000020.pt",
    ]
    assert load_model(run_dir, name="checkpoints/step-00000020.pt")[1].step == 20
    summary = json.loads((run_dir / "summary.json").read_text())
    assert (summary["best"], summary["best_step"], summary["label"]) == (0.5, 10, "first try")
    assert quiet(config, data, run_dir).steps_taken == 0


def test_patience_and_the_best_go_on_after_an_interruption(tiny: Tiny, data: Any, tmp_path: Path) -> None:
    config = tiny(
        steps=60, best_metric="score", patience=3, optimiser="muon", schedule="cosine-restarts", period=7, accumulate=2
    )

    def scored(stop: int) -> Callable[[Transformer], dict[str, float]]:
        calls = [0]

        def evaluate(model: Transformer) -> dict[str, float]:
            calls[0] += 1
            if calls[0] == stop:
                os.kill(os.getpid(), signal.SIGTERM)
            return {"score": -abs(float(model.output_bias.detach().sum()) * 1e6 % 1)}

        return evaluate

    whole = quiet(config, data, tmp_path / "whole", evaluate=scored(-1))
    assert quiet(config, data, tmp_path / "parts", evaluate=scored(2)).outcome == "interrupted"
    parts = quiet(config, data, tmp_path / "parts", evaluate=scored(-1))
    assert (parts.step, parts.outcome) == (whole.step, whole.outcome)
    assert equal(weights(tmp_path / "whole"), weights(tmp_path / "parts"))


def test_the_learning_curve_is_drawn(tiny: Tiny, data: Any, run_dir: Path) -> None:
    pytest.importorskip("matplotlib")
    quiet(tiny(), data, run_dir, evaluate=lambda model: {"accuracy": 0.5})
    assert (run_dir / "learning_curve.png").read_bytes().startswith(b"\x89PNG")


def test_curves_for_tensorboard_need_it(tiny: Tiny, data: Any, run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(UserError, match="pip install tensorboard"):
        quiet(tiny(tensorboard=True), data, run_dir)


@pytest.mark.parametrize("dropout", [0.0, 0.1])
def test_stopped_anywhere_and_resumed_the_weights_are_the_same_bits(
    tiny: Tiny, data: Any, tmp_path: Path, dropout: float
) -> None:
    model = ModelConfig(**(tiny().model.model_dump() | {"dropout": dropout, "dtype": "bfloat16"}))
    config = tiny(model=model, eval_every=1, steps=15)
    quiet(config, data, tmp_path / "whole", evaluate=stop_after(-1))
    where = random.Random(7).sample(range(1, 14), 3)
    for calls in where:
        result = quiet(config, data, tmp_path / "parts", evaluate=stop_after(calls))
    while result.outcome == "interrupted":
        result = quiet(config, data, tmp_path / "parts", evaluate=stop_after(-1))
    assert equal(weights(tmp_path / "whole"), weights(tmp_path / "parts"))
    a, b = (without_times(read_curves(tmp_path / run / "curves.jsonl")) for run in ("whole", "parts"))
    assert a == b


def test_what_is_measured_does_not_disturb_training(tiny: Tiny, data: Any, tmp_path: Path) -> None:
    model = ModelConfig(**(tiny().model.model_dump() | {"dropout": 0.2}))
    quiet(tiny(model=model), data, tmp_path / "unwatched")

    def draws(model: Transformer) -> dict[str, float]:
        return {"noise": float(torch.rand(7).sum())}

    quiet(tiny(model=model), data, tmp_path / "watched", evaluate=draws)
    assert equal(weights(tmp_path / "unwatched"), weights(tmp_path / "watched"))


CHILD = """
import runpy, sys, time
from pathlib import Path
small = runpy.run_path(sys.argv[1])
from mathpipe.train.trainer import train
def slowly(model):
    time.sleep(0.01)
    return {"accuracy": 0.0}
data = small["SmallData"]()
train(small["tiny_config"](steps=40, eval_every=1), data, data, Path(sys.argv[2]), evaluate=slowly, dvclive=False)
"""


@pytest.mark.slow
def test_killed_at_random_moments_the_weights_are_the_same_bits(tiny: Tiny, data: Any, tmp_path: Path) -> None:
    quiet(tiny(steps=40, eval_every=1), data, tmp_path / "whole", evaluate=lambda model: {"accuracy": 0.0})
    run_dir, moment = tmp_path / "killed", random.Random(3)
    arguments = [sys.executable, "-c", CHILD, str(Path(__file__).with_name("conftest.py")), str(run_dir)]
    kills = 0
    for goal in (6, 22, None):  # wait for this step, then a little, then kill; the last goes to the end
        child = subprocess.Popen(arguments)
        while goal is not None and child.poll() is None:
            points = read_curves(run_dir / "curves.jsonl")
            if points and points[-1]["step"] >= goal:
                time.sleep(moment.uniform(0, 0.1))
                child.kill()
                break
            time.sleep(0.005)
        kills += child.wait(timeout=120) == -signal.SIGKILL
    assert kills == 2
    assert equal(weights(tmp_path / "whole"), weights(run_dir))
    points = read_curves(run_dir / "curves.jsonl")
    assert [p["step"] for p in points] == list(range(1, 41))
    assert without_times(points) == without_times(read_curves(tmp_path / "whole" / "curves.jsonl"))


def test_a_finished_run_is_not_trained_again(tiny: Tiny, data: Any, run_dir: Path) -> None:
    quiet(tiny(), data, run_dir)
    before = weights(run_dir)
    (run_dir / "summary.json").unlink()
    again = quiet(tiny(), data, run_dir)
    assert (again.step, again.steps_taken, again.outcome) == (12, 0, "finished")
    assert equal(before, weights(run_dir)) and (run_dir / "summary.json").exists()


def test_a_target_reached_ends_the_run(tiny: Tiny, data: Any, run_dir: Path) -> None:
    config = tiny(steps=100, stop_metric="accuracy", stop_at=0.9)
    scores = iter([0.1, 0.95])
    result = quiet(config, data, run_dir, evaluate=lambda model: {"accuracy": next(scores)})
    assert (result.step, result.outcome) == (10, "target reached")
    assert quiet(config, data, run_dir).steps_taken == 0


def test_a_loss_reaches_its_target_from_above(tiny: Tiny, data: Any, run_dir: Path) -> None:
    result = quiet(tiny(stop_metric="valid_loss", stop_at=100.0), data, run_dir)
    assert (result.step, result.outcome) == (5, "target reached")


def test_a_target_that_is_not_measured_is_an_error(tiny: Tiny, data: Any, run_dir: Path) -> None:
    with pytest.raises(UserError, match="'acuracy' is not measured"):
        quiet(tiny(stop_metric="acuracy", stop_at=1.0), data, run_dir)


@pytest.mark.parametrize(
    ("change", "key"),
    [({"lr": 1e-3}, "lr differs"), ({"seed": 1}, "seed differs"), ({"steps": 13}, "steps differs")],
    ids=["lr", "seed", "steps"],
)
def test_another_configuration_is_refused(
    tiny: Tiny, data: Any, run_dir: Path, change: dict[str, Any], key: str
) -> None:
    quiet(tiny(), data, run_dir)
    before = weights(run_dir)
    with pytest.raises(UserError, match=key) as refused:
        quiet(tiny(**change), data, run_dir)
    (name, value) = next(iter(change.items()))
    assert f"{name} = {getattr(tiny(), name)!r}" in str(refused.value) and f"{name} = {value!r}" in str(refused.value)
    assert equal(before, weights(run_dir))


def test_another_model_names_its_nested_key(tiny: Tiny, data: Any, run_dir: Path) -> None:
    quiet(tiny(), data, run_dir)
    other = ModelConfig(**(tiny().model.model_dump() | {"norm": "post"}))
    with pytest.raises(UserError, match=r"model\.norm = 'pre', as in the run\. Got: model\.norm = 'post'"):
        quiet(tiny(model=other), data, run_dir)


def test_another_dataset_is_refused(tiny: Tiny, data: Any, run_dir: Path) -> None:
    quiet(tiny(), data, run_dir)
    data.digest = "d2"
    with pytest.raises(UserError, match="another dataset: dataset_digest differs"):
        quiet(tiny(), data, run_dir)


def test_restart_moves_another_run_aside(tiny: Tiny, data: Any, run_dir: Path) -> None:
    for lr in (3e-3, 2e-3, 1e-3):
        result = quiet(tiny(lr=lr), data, run_dir, on_mismatch="restart")
        assert result.steps_taken == 12
    kept = [load_model(run_dir.with_name(name))[1].config.lr for name in ("small.old-1", "small.old-2", "small")]
    assert kept == [3e-3, 2e-3, 1e-3]


def test_restart_goes_on_with_the_same_run(tiny: Tiny, data: Any, run_dir: Path) -> None:
    quiet(tiny(), data, run_dir, evaluate=stop_after(1))
    result = quiet(tiny(), data, run_dir, on_mismatch="restart")
    assert result.steps_taken == 7 and not run_dir.with_name("small.old-1").exists()


def test_threads_and_checkpoints_may_change_between_sittings(tiny: Tiny, data: Any, run_dir: Path) -> None:
    quiet(tiny(), data, run_dir, evaluate=stop_after(1))
    assert quiet(tiny(checkpoint_every=5, threads=2), data, run_dir).steps_taken == 7


def test_a_checkpoint_that_was_read_does_not_stay_in_memory(
    tiny: Tiny, data: Any, run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quiet(tiny(), data, run_dir, evaluate=stop_after(1))
    read: list[weakref.ref[Tensor]] = []

    def watched(path: Path) -> dict[str, Any]:
        saved = read_checkpoint(path)
        read.extend(weakref.ref(weight) for weight in saved["model"].values())
        return saved

    monkeypatch.setattr(run_directory, "read_checkpoint", watched)
    alive: list[int] = []
    quiet(tiny(), data, run_dir, evaluate=lambda model: alive.append(sum(w() is not None for w in read)) or {})
    assert read and alive == [0, 0]


def test_divergence_is_told_and_not_saved(
    tiny: Tiny, data: Any, run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest, steps = Losing.forward, itertools.count(1)

    def broken_from_step_6(self: Losing, batch: Any, scale: Any) -> Tensor:
        return honest(self, batch, scale) * (1.0 if next(steps) < 6 else float("nan"))

    monkeypatch.setattr(Losing, "forward", broken_from_step_6)
    with pytest.raises(UserError, match="training diverged"):
        quiet(tiny(eval_every=100, checkpoint_every=4, steps=100), data, run_dir)
    assert read_checkpoint(run_dir / "checkpoint.pt")["state"]["step"] == 4


def test_more_processes_than_gpus_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_RANK", "1")
    with pytest.raises(UserError, match=r"more processes than GPUs.*at most 1.*process 2"), trainer.joined():
        pass


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_recordings_need_cuda(tiny: Tiny, data: Any, run_dir: Path) -> None:
    with pytest.raises(UserError, match=r"graphs need one process on CUDA.*1 processes on cpu"):
        quiet(tiny(graphs=True), data, run_dir)


@pytest.mark.parametrize("more", [{"compile": True}, {"body": {"pretrained": False}}])
def test_recordings_go_with_plain_models(tiny: Tiny, more: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="graphs go with a model of ours"):
        TrainConfig.model_validate({**tiny().model_dump(), "graphs": True, **more})


def test_outside_the_main_thread_training_works_too(tiny: Tiny, data: Any, run_dir: Path) -> None:
    results: list[TrainResult] = []
    worker = threading.Thread(target=lambda: results.append(quiet(tiny(), data, run_dir)))
    worker.start()
    worker.join()
    assert results[0].outcome == "finished"


def test_a_tiny_model_learns_a_tiny_problem(tiny: Tiny, data: Any, run_dir: Path) -> None:
    config = tiny(steps=200, batch=32, lr=1e-2, warmup=20, eval_every=200, checkpoint_every=200)
    result = quiet(config, data, run_dir)
    assert result.metrics["valid_loss"] < 0.4


def test_a_real_dataset_is_learned_from_and_resumed(tiny: Tiny, addition: Path, tmp_path: Path) -> None:
    splits = [open_dataset(addition, split, "P10", "P10") for split in ("train", "valid")]
    config = tiny(steps=9, eval_every=3, batch=16, deterministic=torch.cuda.is_available())
    train(config, *splits, tmp_path / "whole", evaluate=stop_after(-1), dvclive=False)
    train(config, *splits, tmp_path / "parts", evaluate=stop_after(1), dvclive=False)
    result = train(config, *splits, tmp_path / "parts", evaluate=stop_after(-1), dvclive=False)
    assert result.steps_taken == 6 and equal(weights(tmp_path / "whole"), weights(tmp_path / "parts"))


def test_a_model_that_comes_in_evaluation_mode_learns_with_dropout_from_its_first_step(
    tiny: Tiny, data: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny(model=tiny().model.model_copy(update={"dropout": 0.3}), log_every=1)
    quiet(config, data, tmp_path / "as-built")
    built = trainer.build_model
    monkeypatch.setattr(trainer, "build_model", lambda record: built(record).eval())
    quiet(config, data, tmp_path / "other")
    quiet(config, data, tmp_path / "halves", evaluate=stop_after(1))
    quiet(config, data, tmp_path / "halves", evaluate=lambda model: {"calls": 0.0})
    first, other, halves = (read_curves(tmp_path / n / "curves.jsonl") for n in ("as-built", "other", "halves"))
    assert [p["train_loss"] for p in first] == [p["train_loss"] for p in other] == [p["train_loss"] for p in halves]
