"""Files with a byte flipped, or cut off: a result or an error that names the file, no crash, no code run, within 1 GB and 10 s."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torture_work as work
from torture_figures import figures, number_of_trials
from torture_files import mutations, read_mutated
from torture_processes import Child, command, isolated

from mathpipe.train.run.checkpoint import read_checkpoint, save_checkpoint

pytestmark = pytest.mark.torture
_BATCH = 20

DATASET = [
    ["verify", "{}/data", "--workers", "0", "--quiet"],
    ["show", "{}/data"],
    ["export", "{}/data", "--out", "{}/export.txt", "--quiet"],
]
TRAINING = ["train", "--data", "{}/data", "--run", "{}/other", "--quiet"]
RUN = [["eval", "--run", "{}/run", "--data", "{}/data", "--limit", "20", "--quiet"]]
FILES: list[tuple[str, list[list[str]], int]] = [  # file, commands, trials of the whole programme
    ("data/manifest.json", DATASET, 400),
    ("data/__records/test/00000.json", [["generate", *work.SMALL, "--out", "{}/data", "--quiet"], DATASET[0]], 200),
    ("data/train/00000.parquet", DATASET, 400),
    ("data/test/00000.parquet", DATASET[:1], 200),
    ("run/checkpoint.pt", RUN, 250),
    ("run/run.json", [*RUN, ["report", "{}/run"]], 150),
    ("evaluation/predictions.parquet", [["failures", "{}/evaluation"], ["report", "{}/evaluation"]], 150),
    ("evaluation/failures.jsonl.zst", [["failures", "{}/evaluation/failures.jsonl.zst"]], 100),
    ("evaluation/metrics.json", [["report", "{}/evaluation"]], 50),
    ("params.yaml", [[*TRAINING, "--params", "{}/params.yaml", "-S", "steps=1", "-S", "warmup=0"]], 100),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A dataset, a run, its evaluation and a file of parameters."""
    place = tmp_path_factory.mktemp("files")
    generated = Child(place / "log", command, ["generate", *work.SMALL, "--out", str(place / "data"), "--quiet"])
    assert generated.wait() == 0, (place / "log").read_text()
    assert Child(place / "log", work.train, str(place / "data"), str(place / "run"), "steps=6").wait() == 0
    evaluation = [
        "eval",
        "--run",
        str(place / "run"),
        "--verbose",
        "--quiet",
        "--limit",
        "40",
        "--out",
        str(place / "evaluation"),
    ]
    assert Child(place / "log", command, evaluation).wait() == 0, (place / "log").read_text()
    (place / "params.yaml").write_text(
        "train:\n  batch: 4\n  lr: 3.0e-3\n  warmup: 1\n  clip: null\n  model:\n    norm: pre\n"
    )
    (place / "data.log.jsonl").unlink(missing_ok=True)
    yield place
    shutil.rmtree(place, ignore_errors=True)


@pytest.mark.parametrize(("name", "commands", "whole"), FILES, ids=[name for name, *_ in FILES])
def test_mutated_file(name: str, commands: list[list[str]], whole: int, folder: Path) -> None:
    number = number_of_trials(2, whole)
    changes = list(mutations((folder / name).stat().st_size, number, seed=len(name)))
    with figures("hostile input", f"mutated {name}") as counts:
        for first in range(0, len(changes), _BATCH):
            part = changes[first : first + _BATCH]
            seconds = 10.0 * len(part) * len(commands)
            outcome = isolated(read_mutated, str(folder), name, commands, part, seconds=seconds)
            counts.largest("seconds of one", outcome.seconds / len(part))
            counts.largest("MB", outcome.megabytes)
            if outcome.ending != "value" or outcome.megabytes > 1_000:
                counts.failed(f"{name}, {part}: {outcome}")
                continue
            for what, fault in outcome.value:
                counts.failed(f"{what}: {fault}")
            counts.survived(len(part) - len({what.partition(",")[2] for what, _ in outcome.value}))


class _Code:
    """Unpickled, it would run code."""

    def __init__(self, trace: str) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (self.trace,)


@pytest.mark.parametrize("place", ["checkpoint with its own SHA-256", "published checkpoint", "weights of a run"])
def test_pickled_code_is_not_run(place: str, folder: Path, tmp_path: Path) -> None:
    trace = tmp_path / "code-has-run"
    shutil.copytree(folder / "run", tmp_path / "run")
    path = tmp_path / "run" / "checkpoint.pt"
    if place == "published checkpoint":
        path = tmp_path / "model.pth"
        torch.save({"encoder": _Code(str(trace)), "decoder": {}, "params": {}}, path)
        line = ["import-model", str(path), "--out", str(tmp_path / "imported")]
    else:
        state = read_checkpoint(path)
        state["model" if place == "weights of a run" else "extra"] = _Code(str(trace))
        save_checkpoint(path, state)  # with the right SHA-256
        line = ["eval", "--run", str(tmp_path / "run"), "--data", str(folder / "data"), "--quiet"]
    with figures("hostile input", f"pickled code, {place}") as counts:
        outcome = isolated(_answer, line, seconds=30.0)
        assert outcome.ending == "value", outcome
        code, err = outcome.value
        assert code == 2 and str(path) in err and not trace.exists(), err
        counts.survived()
    function, arguments = _Code(str(trace)).__reduce__()  # what was not done
    function(*arguments)
    assert trace.exists()


def _answer(line: list[str]) -> tuple[int, str]:
    from torture_processes import run_command

    code, _, err = run_command(line)
    return code, err


def test_checkpoint_with_repaired_checksum(folder: Path, tmp_path: Path) -> None:
    """A flipped byte before the checksum was computed, as by a program that is wrong or hostile."""
    content = (folder / "run" / "checkpoint.pt").read_bytes()[:-32]
    with figures("hostile input", "checkpoints with a flipped byte and their own SHA-256") as counts:
        changes = list(mutations(len(content), number_of_trials(3, 200), seed=5))
        for first in range(0, len(changes), _BATCH):
            part = changes[first : first + _BATCH]
            outcome = isolated(_load_repaired, str(tmp_path), content, part, seconds=10.0 * len(part))
            if outcome.ending != "value":
                counts.failed(str(outcome))
                continue
            for fault in outcome.value:
                counts.failed(fault)
            counts.survived(len(part) - len(outcome.value))


def _load_repaired(place: str, content: bytes, changes: list[tuple[str, int, int]]) -> list[str]:
    import hashlib

    from torture_files import mutate

    from mathpipe.datasets.errors import UserError
    from mathpipe.train.run.checkpoint import load_model

    faults, path = [], Path(place) / "checkpoint.pt"
    for change in changes:
        changed = mutate(content, *change)
        path.write_bytes(changed + hashlib.sha256(changed).digest())
        try:
            load_model(place)
        except UserError as error:
            if place not in str(error):
                faults.append(f"{change}: names no file: {error}")
        except Exception as error:
            faults.append(f"{change}: {type(error).__name__}: {str(error)[:150]}")
    return faults
