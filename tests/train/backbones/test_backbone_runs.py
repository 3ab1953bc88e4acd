"""Frozen bodies through the shared line: trained, killed and resumed, saved small, loaded, decoded, evaluated."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch

transformers = pytest.importorskip("transformers")

from mathpipe.datasets.dataset import open_dataset  # noqa: E402
from mathpipe.evaluate.decode.decoding import Decoding  # noqa: E402
from mathpipe.evaluate.run import evaluate_run, quick_accuracy, quick_measures  # noqa: E402
from mathpipe.generate.build.dataset_builder import make_dataset  # noqa: E402
from mathpipe.generate.layout import Layout  # noqa: E402
from mathpipe.generate.spec import BitSpec, DatasetSpec  # noqa: E402
from mathpipe.train.config import TrainConfig  # noqa: E402
from mathpipe.train.run.checkpoint import load_model, read_checkpoint  # noqa: E402
from mathpipe.train.trainer import train  # noqa: E402


@pytest.fixture(scope="module")
def bits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    spec = DatasetSpec(task="xor", problems=BitSpec(bits=4, drawn="passes"), chunk_rows=400)
    url = tmp_path_factory.mktemp("bits") / "xor"
    make_dataset(spec, Layout({"train": 2_000, "valid": 10, "test": 10}, 10_000), str(url), workers=0)
    return url


@pytest.fixture(scope="module")
def hidden(tmp_path_factory: pytest.TempPathFactory) -> Path:
    spec = DatasetSpec(task="memory", problems=BitSpec(bits=20, masked=0.5), chunk_rows=100)
    url = tmp_path_factory.mktemp("bits") / "memory"
    make_dataset(spec, Layout({"train": 300, "valid": 7, "test": 20}, 10_000), str(url), workers=0)
    return url


def config(steps: int = 6, body: dict[str, Any] | None = None, **changes: Any) -> TrainConfig:
    small = {"pretrained": False, "layers": 2, "width": 32, "heads": 2, "positions": 64, "dtype": "float32"}
    values = {"body": small | (body or {}), "batch": 8, "steps": steps, "warmup": 0, "lr": 1e-3, "eval_every": 100}
    return TrainConfig.model_validate(values | {"threads": 1, "valid_examples": 10, "checkpoint_every": 3} | changes)


def run(data: Path, where: Path, how: TrainConfig, **more: Any) -> Any:
    splits = (open_dataset(data, split) for split in ("train", "valid"))
    return train(how, *splits, where, dvclive=False, **more)


@pytest.mark.parametrize("changes", [{}, {"read": "written"}, {"trains": "everything", "dropout": 0.1}])
def test_killed_and_resumed_gives_the_same_weights(bits: Path, tmp_path: Path, changes: dict[str, Any]) -> None:
    run(bits, tmp_path / "whole", config(body=changes))

    class Killed(Exception):
        pass

    def killer(model: Any) -> dict[str, float]:
        raise Killed

    with pytest.raises(Killed):
        run(bits, tmp_path / "cut", config(body=changes, eval_every=5), evaluate=killer)
    assert read_checkpoint(tmp_path / "cut" / "checkpoint.pt")["state"]["step"] == 3
    run(bits, tmp_path / "cut", config(body=changes, eval_every=5), evaluate=lambda model: {})
    whole, cut = (read_checkpoint(tmp_path / name / "checkpoint.pt")["model"] for name in ("whole", "cut"))
    assert whole.keys() == cut.keys() and all(torch.equal(whole[name], cut[name]) for name in whole)


def test_a_checkpoint_holds_what_trains_alone(bits: Path, tmp_path: Path) -> None:
    """Adam's two moments included, below 10 % of the body's own file."""
    torch.manual_seed(0)
    shape = transformers.GPT2Config(vocab_size=50, n_positions=64, n_embd=128, n_layer=6, n_head=4)
    transformers.GPT2LMHeadModel(shape).save_pretrained(tmp_path / "body")
    how = config(steps=2, body={"pretrained": True, "weights": str(tmp_path / "body")})
    run(bits, tmp_path / "run", how)
    body, saved = (tmp_path / name for name in ("body/model.safetensors", "run/checkpoint.pt"))
    assert saved.stat().st_size < 0.1 * body.stat().st_size
    state = read_checkpoint(saved)["model"]
    assert not any("attn" in name or "mlp" in name for name in state)
    model, record = load_model(tmp_path / "run")
    assert record.config == how
    for name, weight in model.state_dict().items():
        assert torch.equal(weight, state[name])


@pytest.mark.parametrize("read", ["last", "written"])
def test_a_small_body_learns_and_is_evaluated_like_any_model(bits: Path, tmp_path: Path, read: str) -> None:
    """xor of 4 bits from the random body, all of it training; what is watched agrees with what is evaluated."""
    steps = 250 if read == "last" else 20
    how = config(
        steps,
        {"trains": "everything", "begin": "normal", "read": read, "width": 64},
        batch=16,
        lr=3e-3,
        optimiser="adam",
    )
    result = run(bits, tmp_path / "run", how)
    model, _ = load_model(tmp_path / "run")
    watched = quick_accuracy(model, open_dataset(bits, "test"))
    assert {*watched} == {*quick_measures(open_dataset(bits, "test"))}
    found = evaluate_run(tmp_path / "run", verbose=True)
    assert found.metrics["accuracy"] == watched["accuracy"] and "token_accuracy" in found.text
    assert found.metrics["token_accuracy"] == pytest.approx(watched["token_accuracy"])
    assert found.metrics["bit_accuracy"] == pytest.approx(watched["bit_accuracy"])
    table = pq.read_table(found.predictions)
    assert {"bit_accuracy", "token_accuracy", "solution_ones"} <= set(table.column_names)
    if read == "last":
        assert result.metrics["valid_token_accuracy"] > 0.85 and watched["bit_accuracy"] > 0.85
        assert set(json.loads(Path(found.metrics_file).read_text())["outcomes"]) == {
            *("exact", "wrong_value", "malformed", "unterminated")
        }
    beams = evaluate_run(tmp_path / "run", how=Decoding(beam=3), out_dir=tmp_path / "beam")
    assert beams.metrics["accuracy"] == found.metrics["accuracy"] or read == "written"


def test_memory_by_patches(hidden: Path, tmp_path: Path) -> None:
    run(hidden, tmp_path / "run", config(3, {"patch": 10}))
    found = evaluate_run(tmp_path / "run")
    assert found.metrics["outcomes"]["malformed"]["count"] == found.metrics["outcomes"]["unterminated"]["count"] == 0
    assert 0.3 < found.metrics["bit_accuracy"] < 0.9
    assert pq.read_table(found.predictions, columns=["hidden_bit_accuracy"]).column(0).null_count < 20


def test_two_new_runs_of_one_configuration_are_one_run(bits: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        run(bits, tmp_path / name, config(4))
    a, b = (read_checkpoint(tmp_path / name / "checkpoint.pt")["model"] for name in ("a", "b"))
    assert all(torch.equal(a[name], b[name]) for name in a)
