"""The training loop: metrics, resume after stops and kills, changed configurations, early stopping."""

from __future__ import annotations

import gc
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from mathpipe.datasets.dataset import open_dataset
from mathpipe.datasets.errors import UserError
from mathpipe.generate.build.dataset_builder import make_dataset
from mathpipe.generate.layout import Layout
from mathpipe.generate.tasks.task_registry import get_task
from mathpipe.train.config import ModelConfig, TrainConfig
from mathpipe.train.model.transformer import Transformer
from mathpipe.train.optim.train_step import TrainStep
from mathpipe.train.run.checkpoint import build_model, load_model, read_checkpoint
from mathpipe.train.run.metrics_log import read_metrics_log
from mathpipe.train.runtime.distributed import Distributed, initialised
from mathpipe.train.trainer import TrainResult, build_record, check_problems, train

Tiny = Callable[..., TrainConfig]


def weights(run_dir: Path) -> dict[str, Tensor]:
    return {name: w.clone() for name, w in load_model(run_dir)[0].state_dict().items()}


def equal(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def without_times(points: list[dict[str, float]]) -> list[dict[str, float]]:
    return [{name: value for name, value in point.items() if name != "seconds"} for point in points]


def train_quietly(config: TrainConfig, data: Any, run_dir: Path, **more: Any) -> TrainResult:
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


def test_run_logs_metrics_and_writes_summary(tiny: Tiny, data: Any, run_dir: Path) -> None:
    result = train(tiny(), data, data, run_dir, evaluate=lambda model: {"accuracy": 0.5})
    assert (result.step, result.session_steps, result.outcome) == (12, 12, "finished")
    points = read_metrics_log(run_dir / "curves.jsonl")
    assert [p["step"] for p in points] == [3, 5, 6, 9, 10, 12]
    assert [p["step"] for p in points if "valid_loss" in p] == [5, 10, 12]
    assert result.metrics == {"valid_loss": points[-1]["valid_loss"], "accuracy": 0.5}
    summary = json.loads((run_dir / "summary.json").read_text())
    assert summary["metrics"] == result.metrics and summary["examples"] == 96
    model, record = load_model(run_dir)
    assert (record.step, record.task, record.config) == (12, "transpose", tiny()) and not model.training


class Reports:
    """A progress reporter that records its calls."""

    def __init__(self) -> None:
        self.started: list[tuple[int, int, int]] = []
        self.steps: list[dict[str, float]] = []
        self.closed = 0

    def start(self, step: int, steps: int, batch: int) -> None:
        self.started.append((step, steps, batch))

    def step(self, metrics: Mapping[str, float]) -> None:
        self.steps.append(dict(metrics))

    def close(self) -> None:
        self.closed += 1


def test_progress_receives_every_step(tiny: Tiny, data: Any, run_dir: Path) -> None:
    first, second = Reports(), Reports()
    train_quietly(tiny(steps=20), data, run_dir, evaluate=stop_after(2), progress=first)
    assert (first.started, len(first.steps), first.closed) == ([(0, 20, 8)], 10, 1)
    train_quietly(tiny(steps=20), data, run_dir, evaluate=stop_after(-1), progress=second)
    assert (second.started, len(second.steps), second.closed) == ([(10, 20, 8)], 10, 1)
    logged = [{"step": k, **point} for k, point in enumerate(first.steps + second.steps, 1) if point]
    assert logged == read_metrics_log(run_dir / "curves.jsonl")


def test_dvclive_matches_metrics_log_after_resume(tiny: Tiny, data: Any, run_dir: Path) -> None:
    config = tiny(steps=20)
    first = train(config, data, data, run_dir, evaluate=stop_after(2))
    assert (first.step, first.outcome) == (10, "interrupted")
    with (run_dir / "curves.jsonl").open("a") as beyond_the_checkpoint:
        beyond_the_checkpoint.write('{"step": 12, "train_loss": 1.0}\n{"step": 15, "tra')
    train(config, data, data, run_dir, evaluate=stop_after(-1))
    points = read_metrics_log(run_dir / "curves.jsonl")
    assert [p["step"] for p in points] == [3, 5, 6, 9, 10, 12, 15, 18, 20]
    table = (run_dir / "dvclive" / "plots" / "metrics" / "train_loss.tsv").read_text().split("\n")
    expected = [f"{p['step']}\t{p['train_loss']}" for p in points if "train_loss" in p]
    assert table[0] == "step\ttrain_loss" and [line.strip() for line in table[1:-1]] == expected
    assert json.loads((run_dir / "dvclive" / "metrics.json").read_text())["step"] == 20


def test_dvclive_in_git_repository_without_dvc(
    tiny: Tiny, data: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    monkeypatch.chdir(tmp_path)
    train(tiny(steps=5), data, None, tmp_path / "run")
    assert not (tmp_path / ".dvc").exists() and (tmp_path / "run" / "dvclive" / "metrics.json").exists()


def test_gradient_accumulation_does_not_change_losses(tiny: Tiny, data: Any, tmp_path: Path) -> None:
    for parts in (1, 3):
        train_quietly(tiny(accumulate=parts, log_every=1, optimiser="muon"), data, tmp_path / str(parts))
    a, b = ([p["train_loss"] for p in read_metrics_log(tmp_path / str(k) / "curves.jsonl")] for k in (1, 3))
    assert a == pytest.approx(b, rel=1e-4)


def test_best_checkpoint_and_patience(tiny: Tiny, data: Any, run_dir: Path) -> None:
    scores = iter([0.3, 0.5, 0.4, 0.5, 0.1, 0.9])
    config = tiny(steps=60, best_metric="accuracy", patience=3, keep_every=10, label="first try")
    result = train_quietly(config, data, run_dir, evaluate=lambda model: {"accuracy": next(scores)})
    assert (result.step, result.outcome) == (25, "no longer better")
    assert load_model(run_dir, name="best")[1].step == 10
    assert [p.name for p in sorted((run_dir / "checkpoints").glob("*.pt"))] == [
        "best.pt",
        "step-00000010.pt",
        "step-00000020.pt",
    ]
    assert load_model(run_dir, name="checkpoints/step-00000020.pt")[1].step == 20
    summary = json.loads((run_dir / "summary.json").read_text())
    assert (summary["best"], summary["best_step"], summary["label"]) == (0.5, 10, "first try")
    assert train_quietly(config, data, run_dir).session_steps == 0


def test_best_metric_and_patience_after_resume(tiny: Tiny, data: Any, tmp_path: Path) -> None:
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

    whole = train_quietly(config, data, tmp_path / "whole", evaluate=scored(-1))
    assert train_quietly(config, data, tmp_path / "parts", evaluate=scored(2)).outcome == "interrupted"
    parts = train_quietly(config, data, tmp_path / "parts", evaluate=scored(-1))
    assert (parts.step, parts.outcome) == (whole.step, whole.outcome)
    assert equal(weights(tmp_path / "whole"), weights(tmp_path / "parts"))


def test_learning_curve_is_plotted(tiny: Tiny, data: Any, run_dir: Path) -> None:
    pytest.importorskip("matplotlib")
    train_quietly(tiny(), data, run_dir, evaluate=lambda model: {"accuracy": 0.5})
    assert (run_dir / "learning_curve.png").read_bytes().startswith(b"\x89PNG")


def test_tensorboard_logging_requires_package(
    tiny: Tiny, data: Any, run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(UserError, match=r"pip install 'mathpipe\[tensorboard\]'"):
        train_quietly(tiny(track="tensorboard"), data, run_dir)


@pytest.mark.parametrize("dropout", [0.0, 0.1])
def test_resumed_run_has_identical_weights(tiny: Tiny, data: Any, tmp_path: Path, dropout: float) -> None:
    model = ModelConfig(**(tiny().model.model_dump() | {"dropout": dropout, "dtype": "bfloat16"}))
    config = tiny(model=model, eval_every=1, steps=15)
    train_quietly(config, data, tmp_path / "whole", evaluate=stop_after(-1))
    for calls in random.Random(7).sample(range(1, 14), 3):
        result = train_quietly(config, data, tmp_path / "parts", evaluate=stop_after(calls))
    while result.outcome == "interrupted":
        result = train_quietly(config, data, tmp_path / "parts", evaluate=stop_after(-1))
    assert equal(weights(tmp_path / "whole"), weights(tmp_path / "parts"))
    a, b = (without_times(read_metrics_log(tmp_path / run / "curves.jsonl")) for run in ("whole", "parts"))
    assert a == b


def test_evaluation_does_not_affect_training(tiny: Tiny, data: Any, tmp_path: Path) -> None:
    model = ModelConfig(**(tiny().model.model_dump() | {"dropout": 0.2}))
    train_quietly(tiny(model=model), data, tmp_path / "without")

    def sample_noise(model: Transformer) -> dict[str, float]:
        return {"noise": float(torch.rand(7).sum())}

    train_quietly(tiny(model=model), data, tmp_path / "with", evaluate=sample_noise)
    assert equal(weights(tmp_path / "without"), weights(tmp_path / "with"))


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
def test_killed_run_has_identical_weights_after_resume(tiny: Tiny, data: Any, tmp_path: Path) -> None:
    train_quietly(tiny(steps=40, eval_every=1), data, tmp_path / "whole", evaluate=lambda model: {"accuracy": 0.0})
    run_dir, moment = tmp_path / "killed", random.Random(3)
    arguments = [sys.executable, "-c", CHILD, str(Path(__file__).with_name("conftest.py")), str(run_dir)]
    kills = 0
    for goal in (6, 22, None):  # wait for this step, then a little, then kill; the last goes to the end
        child = subprocess.Popen(arguments)
        while goal is not None and child.poll() is None:
            points = read_metrics_log(run_dir / "curves.jsonl")
            if points and points[-1]["step"] >= goal:
                time.sleep(moment.uniform(0, 0.1))
                child.kill()
                break
            time.sleep(0.005)
        kills += child.wait(timeout=120) == -signal.SIGKILL
    assert kills == 2
    assert equal(weights(tmp_path / "whole"), weights(run_dir))
    points = read_metrics_log(run_dir / "curves.jsonl")
    assert [p["step"] for p in points] == list(range(1, 41))
    assert without_times(points) == without_times(read_metrics_log(tmp_path / "whole" / "curves.jsonl"))


def test_finished_run_is_not_trained_again(tiny: Tiny, data: Any, run_dir: Path) -> None:
    train_quietly(tiny(), data, run_dir)
    before = weights(run_dir)
    (run_dir / "summary.json").unlink()
    again = train_quietly(tiny(), data, run_dir)
    assert (again.step, again.session_steps, again.outcome) == (12, 0, "finished")
    assert equal(before, weights(run_dir)) and (run_dir / "summary.json").exists()


def test_stop_metric_ends_run(tiny: Tiny, data: Any, run_dir: Path) -> None:
    config = tiny(steps=100, stop_metric="accuracy", stop_at=0.9)
    scores = iter([0.1, 0.95])
    result = train_quietly(config, data, run_dir, evaluate=lambda model: {"accuracy": next(scores)})
    assert (result.step, result.outcome) == (10, "target reached")
    assert train_quietly(config, data, run_dir).session_steps == 0


def test_stop_metric_loss_is_minimised(tiny: Tiny, data: Any, run_dir: Path) -> None:
    result = train_quietly(tiny(stop_metric="valid_loss", stop_at=100.0), data, run_dir)
    assert (result.step, result.outcome) == (5, "target reached")


def test_unknown_stop_metric_is_an_error(tiny: Tiny, data: Any, run_dir: Path) -> None:
    with pytest.raises(UserError, match="'acuracy' is not measured"):
        train_quietly(tiny(stop_metric="acuracy", stop_at=1.0), data, run_dir)


@pytest.mark.parametrize(
    ("change", "key"),
    [({"lr": 1e-3}, "lr differs"), ({"seed": 1}, "seed differs"), ({"steps": 13}, "steps differs")],
    ids=["lr", "seed", "steps"],
)
def test_changed_configuration_is_rejected(
    tiny: Tiny, data: Any, run_dir: Path, change: dict[str, Any], key: str
) -> None:
    train_quietly(tiny(), data, run_dir)
    before = weights(run_dir)
    with pytest.raises(UserError, match=key) as error:
        train_quietly(tiny(**change), data, run_dir)
    (name, value) = next(iter(change.items()))
    assert f"{name} = {getattr(tiny(), name)!r}" in str(error.value) and f"{name} = {value!r}" in str(error.value)
    assert equal(before, weights(run_dir))


def test_changed_model_reports_nested_key(tiny: Tiny, data: Any, run_dir: Path) -> None:
    train_quietly(tiny(), data, run_dir)
    other = ModelConfig(**(tiny().model.model_dump() | {"norm": "post"}))
    with pytest.raises(UserError, match=r"model\.norm = 'pre', as in the run\. Got: model\.norm = 'post'"):
        train_quietly(tiny(model=other), data, run_dir)


def test_changed_dataset_is_rejected(tiny: Tiny, data: Any, run_dir: Path) -> None:
    train_quietly(tiny(), data, run_dir)
    data.digest = "d2"
    with pytest.raises(UserError, match="another dataset: dataset_digest differs"):
        train_quietly(tiny(), data, run_dir)


@pytest.mark.parametrize(
    ("encodings", "message"),
    [
        (
            ("P1000", "P10", 2),
            r"Expected: P10 \(\d+ tokens, 5 a number\) for problems, P10.* Got: P1000 \(.*3 a number\) for pro",
        ),
        (("P10", "B1999", 2), r"Got: P10 \(.*\) for problems, B1999 \(.*\) for solutions"),
        (("P10", "P10", 3), r"5 a number\) for problems.* Got: P10 \(.*6 a number\)"),
    ],
)
def test_data_opened_with_other_encodings_is_rejected(
    tiny: Tiny, addition: Path, run_dir: Path, encodings: tuple[str, str, int], message: str
) -> None:
    right, wrong = open_dataset(addition, "train", "P10", "P10"), open_dataset(addition, "train", *encodings)
    for splits in ((wrong, None), (right, wrong)):
        with pytest.raises(UserError, match=message):
            train(tiny(), *splits, run_dir, dvclive=False)
    assert not run_dir.exists()


def test_splits_of_other_sizes_have_the_same_encodings(tiny: Tiny, tmp_path: Path) -> None:
    """Longer sequences of the same alphabet validate a run; those of another alphabet are refused."""
    splits = {}
    for name, task, bits in (("short", "xor", 3), ("long", "xor", 4), ("sort", "sort", None)):
        spec = get_task(task).make_spec({} if bits is None else {"bits": bits})
        make_dataset(spec, Layout({"train": 40}, 40), tmp_path / name)
        splits[name] = open_dataset(tmp_path / name)
    config = TrainConfig(**(tiny(steps=4).model_dump() | {"input_encoding": None, "output_encoding": None}))
    assert train(config, splits["short"], splits["long"], tmp_path / "run", dvclive=False).step == 4
    with pytest.raises(UserError, match="other encodings"):
        train(config, splits["short"], splits["sort"], tmp_path / "other", dvclive=False)


def test_defaults_of_open_dataset_and_configuration_agree(tiny: Tiny, addition: Path, run_dir: Path) -> None:
    config = TrainConfig(**(tiny(steps=4).model_dump() | {"input_encoding": None, "output_encoding": None}))
    assert train(config, open_dataset(addition), None, run_dir, dvclive=False).step == 4


def test_restart_moves_other_run_to_backup(tiny: Tiny, data: Any, run_dir: Path) -> None:
    for lr in (3e-3, 2e-3, 1e-3):
        result = train_quietly(tiny(lr=lr), data, run_dir, on_mismatch="restart")
        assert result.session_steps == 12
    rates = [load_model(run_dir.with_name(name))[1].config.lr for name in ("small.old-1", "small.old-2", "small")]
    assert rates == [3e-3, 2e-3, 1e-3]


def test_restart_resumes_same_run(tiny: Tiny, data: Any, run_dir: Path) -> None:
    train_quietly(tiny(), data, run_dir, evaluate=stop_after(1))
    result = train_quietly(tiny(), data, run_dir, on_mismatch="restart")
    assert result.session_steps == 7 and not run_dir.with_name("small.old-1").exists()


def test_mutable_settings_on_resume(tiny: Tiny, data: Any, run_dir: Path) -> None:
    train_quietly(tiny(), data, run_dir, evaluate=stop_after(1))
    assert train_quietly(tiny(checkpoint_every=5, threads=2), data, run_dir).session_steps == 7


def test_loaded_checkpoint_is_freed(tiny: Tiny, data: Any, run_dir: Path) -> None:
    """A resumed run holds no more tensors than an uninterrupted one at the same step."""
    counts: list[int] = []

    def count_tensors(model: Transformer) -> dict[str, float]:
        gc.collect()
        counts.append(sum(type(item) in (Tensor, torch.nn.Parameter) for item in gc.get_objects()))
        return {}

    train_quietly(tiny(), data, run_dir.with_name("whole"), evaluate=count_tensors)
    uninterrupted = counts.copy()
    counts.clear()
    train_quietly(tiny(), data, run_dir, evaluate=stop_after(1))
    train_quietly(tiny(), data, run_dir, evaluate=count_tensors)
    parameters = len(weights(run_dir))
    assert len(counts) == 2
    assert all(count < uninterrupted[-1] + parameters / 2 for count in counts)


def test_divergence_is_reported_and_not_saved(tiny: Tiny, data: Any, run_dir: Path) -> None:
    def diverge(model: Transformer) -> dict[str, float]:
        model.output_bias.fill_(float("nan"))
        return {}

    with pytest.raises(UserError, match="training diverged"):
        train_quietly(tiny(eval_every=5, checkpoint_every=4, steps=100), data, run_dir, evaluate=diverge)
    assert read_checkpoint(run_dir / "checkpoint.pt")["state"]["step"] == 4


def test_more_processes_than_gpus_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_RANK", "1")
    with pytest.raises(UserError, match=r"more processes than GPUs.*at most 1.*process 2"), initialised():
        pass


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_cuda_graphs_require_cuda(tiny: Tiny, data: Any, run_dir: Path) -> None:
    with pytest.raises(UserError, match=r"cuda_graphs needs one process on CUDA.*1 processes on cpu"):
        train_quietly(tiny(cuda_graphs=True), data, run_dir)


@pytest.mark.parametrize("more", [{"compile": True}, {"backbone": {"pretrained": False}}])
def test_cuda_graphs_exclude_backbone_and_compile(tiny: Tiny, more: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="cuda_graphs requires model"):
        TrainConfig.model_validate({**tiny().model_dump(), "cuda_graphs": True, **more})


def test_training_outside_main_thread(tiny: Tiny, data: Any, run_dir: Path) -> None:
    results: list[TrainResult] = []
    worker = threading.Thread(target=lambda: results.append(train_quietly(tiny(), data, run_dir)))
    worker.start()
    worker.join()
    assert results[0].outcome == "finished"


def test_tiny_model_learns(tiny: Tiny, data: Any, run_dir: Path) -> None:
    config = tiny(steps=200, batch=32, lr=1e-2, warmup=20, eval_every=200, checkpoint_every=200)
    result = train_quietly(config, data, run_dir)
    assert result.metrics["valid_loss"] < 0.4


def test_resume_on_stored_dataset(tiny: Tiny, addition: Path, tmp_path: Path) -> None:
    splits = [open_dataset(addition, split, "P10", "P10") for split in ("train", "valid")]
    config = tiny(steps=9, eval_every=3, batch=16, deterministic=torch.cuda.is_available())
    train(config, *splits, tmp_path / "whole", evaluate=stop_after(-1), dvclive=False)
    train(config, *splits, tmp_path / "parts", evaluate=stop_after(1), dvclive=False)
    result = train(config, *splits, tmp_path / "parts", evaluate=stop_after(-1), dvclive=False)
    assert result.session_steps == 6 and equal(weights(tmp_path / "whole"), weights(tmp_path / "parts"))


def test_train_step_sets_training_mode(tiny: Tiny, data: Any) -> None:
    """Backbones of transformers are loaded in evaluation mode, without dropout."""
    config = tiny(model=tiny().model.model_copy(update={"dropout": 0.3}))
    model = build_model(build_record(config, data)).eval()
    dummy = check_problems(model, data, "cpu")
    TrainStep(model, config, data.source.vocabulary, dummy, Distributed(0, 1, "cpu"))
    assert all(module.training for module in model.modules())
