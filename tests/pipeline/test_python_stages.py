"""The stages as functions: the same datasets and runs as the commands write."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import mathpipe
from mathpipe.pipeline.cli import cli

SIZES = {"train": 1_500, "valid": 30, "test": 40}


def command(line: str) -> None:
    result = CliRunner().invoke(cli, line.split())
    assert result.exit_code == 0, result.output


def shards(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*.parquet"))}


@pytest.mark.parametrize(
    ("task", "options", "flags"),
    [
        ("eigenvalues", {"dim": 3, "max_coeff": 7}, "--dim 3 --max-coeff 7"),
        ("gcd", {"max_int": 5_000}, "--max-int 5000"),
        ("xor", {"bits": 12}, "--bits 12"),
        ("integration-bwd", {"max_operators": 8}, "--max-operators 8"),
    ],
)
def test_make_dataset_writes_what_generate_writes(
    tmp_path: Path, task: str, options: dict[str, Any], flags: str
) -> None:
    spec = mathpipe.get_task(task).make_spec(options, seed=3)
    result = mathpipe.make_dataset(spec, mathpipe.Layout(SIZES, 1_000), tmp_path / "python")
    sizes = f"--n {SIZES['train']} --valid {SIZES['valid']} --test {SIZES['test']} --shard-rows 1000 --workers 0"
    command(f"generate --task {task} {flags} --seed 3 {sizes} --quiet --out {tmp_path / 'command'}")
    manifest = json.loads((tmp_path / "command" / "manifest.json").read_text())
    assert result.built_rows == sum(SIZES.values()) and manifest["fingerprint"] == spec.fingerprint
    assert shards(tmp_path / "python") == shards(tmp_path / "command")
    assert mathpipe.make_dataset(spec, mathpipe.Layout(SIZES, 1_000), tmp_path / "command").built_rows == 0


def test_train_run_recognises_the_finished_run_of_the_command(tmp_path: Path) -> None:
    """A run that a command began, with the same settings in Python: finished, not another run."""
    data, run = tmp_path / "data", tmp_path / "run"
    command(f"generate --task add --dim 2 --n 1000 --valid 30 --test 30 --workers 0 --quiet --out {data}")
    model: dict[str, Any] = {"encoder_width": 16, "decoder_width": 16, "encoder_heads": 2, "decoder_heads": 2}
    settings = {"steps": 4, "warmup": 1, "batch": 8, "eval_every": 2, "threads": 1}
    flags = [f"model.{name}={value}" for name, value in model.items()]
    flags += [f"{name}={value}" for name, value in settings.items()]
    command(f"train --data {data} --run {run} --preset none --quiet " + " ".join(f"-S {flag}" for flag in flags))
    splits = [mathpipe.open_dataset(data, split) for split in ("train", "valid")]
    again = mathpipe.train_run(mathpipe.TrainConfig(model=model, **settings), *splits, run)
    assert (again.outcome, again.step, again.session_steps) == ("finished", 4, 0)
    assert mathpipe.evaluate_run(run).metrics["n"] == 30
