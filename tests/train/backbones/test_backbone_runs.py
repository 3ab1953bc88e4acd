"""Backbones in the shared pipeline: training, resume, small checkpoints, decoding, evaluation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch

transformers = pytest.importorskip("transformers")

from mathpipe.datasets.dataset import open_dataset  # noqa: E402
from mathpipe.evaluate.decode.decoding import Decoding  # noqa: E402
from mathpipe.evaluate.quick_accuracy import quick_accuracy, quick_metric_names  # noqa: E402
from mathpipe.evaluate.run import evaluate_run  # noqa: E402
from mathpipe.generate.build.dataset_builder import make_dataset  # noqa: E402
from mathpipe.generate.dataset_spec import DatasetSpec  # noqa: E402
from mathpipe.generate.layout import Layout  # noqa: E402
from mathpipe.generate.problem_specs.sequence_spec import BitSpec  # noqa: E402
from mathpipe.train.config import TrainConfig  # noqa: E402
from mathpipe.train.run.checkpoint import load_model, read_checkpoint  # noqa: E402
from mathpipe.train.trainer import train  # noqa: E402


@pytest.fixture(scope="module")
def bits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    spec = DatasetSpec(task="xor", problems=BitSpec(bits=4, sampling="passes"), chunk_rows=400)
    url = tmp_path_factory.mktemp("bits") / "xor"
    make_dataset(spec, Layout({"train": 2_000, "valid": 10, "test": 10}, 10_000), str(url), workers=0)
    return url


@pytest.fixture(scope="module")
def hidden(tmp_path_factory: pytest.TempPathFactory) -> Path:
    spec = DatasetSpec(task="memory", problems=BitSpec(bits=20, masked=0.5), chunk_rows=100)
    url = tmp_path_factory.mktemp("bits") / "memory"
    make_dataset(spec, Layout({"train": 300, "valid": 7, "test": 20}, 10_000), str(url), workers=0)
    return url


def config(steps: int = 6, backbone: dict[str, Any] | None = None, **changes: Any) -> TrainConfig:
    small = {"pretrained": False, "layers": 2, "width": 32, "heads": 2, "positions": 64, "dtype": "float32"}
    values = {
        "backbone": small | (backbone or {}),
        "batch": 8,
        "steps": steps,
        "warmup": 0,
        "lr": 1e-3,
        "eval_every": 100,
    }
    return TrainConfig.model_validate(values | {"threads": 1, "valid_examples": 10, "checkpoint_every": 3} | changes)


def run(data: Path, where: Path, how: TrainConfig, **more: Any) -> Any:
    splits = (open_dataset(data, split) for split in ("train", "valid"))
    return train(how, *splits, where, dvclive=False, **more)


@pytest.mark.parametrize("changes", [{}, {"readout": "autoregressive"}, {"trainable": "all", "dropout": 0.1}])
def test_killed_run_has_identical_weights_after_resume(bits: Path, tmp_path: Path, changes: dict[str, Any]) -> None:
    run(bits, tmp_path / "whole", config(backbone=changes))

    class Killed(Exception):
        pass

    def killer(model: Any) -> dict[str, float]:
        raise Killed

    with pytest.raises(Killed):
        run(bits, tmp_path / "resumed", config(backbone=changes, eval_every=5), evaluate=killer)
    assert read_checkpoint(tmp_path / "resumed" / "checkpoint.pt")["state"]["step"] == 3
    run(bits, tmp_path / "resumed", config(backbone=changes, eval_every=5), evaluate=lambda model: {})
    whole, resumed = (read_checkpoint(tmp_path / name / "checkpoint.pt")["model"] for name in ("whole", "resumed"))
    assert whole.keys() == resumed.keys() and all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_checkpoint_contains_only_trainable_weights(bits: Path, tmp_path: Path) -> None:
    """Adam's two moments included, below 10 % of the size of the backbone's file."""
    torch.manual_seed(0)
    shape = transformers.GPT2Config(vocab_size=50, n_positions=64, n_embd=128, n_layer=6, n_head=4)
    transformers.GPT2LMHeadModel(shape).save_pretrained(tmp_path / "backbone")
    how = config(steps=2, backbone={"pretrained": True, "weights": str(tmp_path / "backbone")})
    run(bits, tmp_path / "run", how)
    backbone, saved = (tmp_path / name for name in ("backbone/model.safetensors", "run/checkpoint.pt"))
    assert saved.stat().st_size < 0.1 * backbone.stat().st_size
    state = read_checkpoint(saved)["model"]
    assert not any("attn" in name or "mlp" in name for name in state)
    model, record = load_model(tmp_path / "run")
    assert record.config == how
    for name, weight in model.state_dict().items():
        assert torch.equal(weight, state[name])


@pytest.mark.parametrize("readout", ["last", "autoregressive"])
def test_small_backbone_learns_and_is_evaluated(bits: Path, tmp_path: Path, readout: str) -> None:
    """xor of 4 bits with a random, fully trainable backbone; quick metrics agree with the evaluation."""
    steps = 250 if readout == "last" else 20
    how = config(
        steps,
        {"trainable": "all", "init": "normal", "readout": readout, "width": 64},
        batch=16,
        lr=3e-3,
        optimiser="adam",
    )
    result = run(bits, tmp_path / "run", how)
    model, _ = load_model(tmp_path / "run")
    watched = quick_accuracy(model, open_dataset(bits, "test"))
    assert {*watched} == {*quick_metric_names(open_dataset(bits, "test"))}
    evaluation = evaluate_run(tmp_path / "run", verbose=True)
    assert evaluation.metrics["accuracy"] == watched["accuracy"] and "token_accuracy" in evaluation.text
    assert evaluation.metrics["token_accuracy"] == pytest.approx(watched["token_accuracy"])
    assert evaluation.metrics["bit_accuracy"] == pytest.approx(watched["bit_accuracy"])
    table = pq.read_table(evaluation.predictions)
    assert {"bit_accuracy", "token_accuracy", "solution_weight"} <= set(table.column_names)
    if readout == "last":
        assert result.metrics["valid_token_accuracy"] > 0.85 and watched["bit_accuracy"] > 0.85
        assert set(evaluation.metrics["outcomes"]) == {"exact", "wrong_value", "malformed", "unterminated"}
    beams = evaluate_run(tmp_path / "run", decoding=Decoding(beam=3), out_dir=tmp_path / "beam")
    assert beams.metrics["accuracy"] == evaluation.metrics["accuracy"] or readout == "autoregressive"


def test_memory_task_with_patches(hidden: Path, tmp_path: Path) -> None:
    run(hidden, tmp_path / "run", config(3, {"patch": 10}))
    evaluation = evaluate_run(tmp_path / "run")
    assert (
        evaluation.metrics["outcomes"]["malformed"]["count"]
        == evaluation.metrics["outcomes"]["unterminated"]["count"]
        == 0
    )
    assert 0.3 < evaluation.metrics["bit_accuracy"] < 0.9
    assert pq.read_table(evaluation.predictions, columns=["hidden_bit_accuracy"]).column(0).null_count < 20


def test_equal_configurations_give_equal_weights(bits: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        run(bits, tmp_path / name, config(4))
    a, b = (read_checkpoint(tmp_path / name / "checkpoint.pt")["model"] for name in ("a", "b"))
    assert all(torch.equal(a[name], b[name]) for name in a)
