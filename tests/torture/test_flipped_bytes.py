"""Every single byte of a few small files flipped, one after the other: a result, or an error that names the file."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torture_work as work
from torture_figures import figures, number_of_trials, share
from torture_files import mutate, read_mutated
from torture_processes import Child, command, isolated

pytestmark = pytest.mark.torture
_BATCH, _MOST = 500, 3_000

Change = tuple[str, int, int]
VERIFY = [["verify", "{}/data", "--workers", "0", "--quiet"]]
FILES: dict[str, list[list[str]]] = {
    "data/manifest.json": VERIFY,
    "data/train/00000.parquet": VERIFY,
    "params.yaml": [["train", "--data", "{}/data", "--run", "{}/other", "--quiet", "--params", "{}/params.yaml"]],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A dataset of ten examples, a file of parameters, and a run."""
    place = tmp_path_factory.mktemp("flipped")
    work.make_tiny(str(place / "data"))
    (place / "params.yaml").write_text(
        "train:\n  batch: 4\n  steps: 1\n  warmup: 0\n  clip: null\n  model:\n    norm: pre\n"
    )
    if share() is not None:
        line = ["train", "--data", str(place / "data"), "--run", str(place / "run"), "--quiet"]
        model = [
            f"model.{part}_{size}" for part in ("encoder", "decoder") for size in ("width=8", "heads=1", "layers=1")
        ]
        run = Child(
            place / "log",
            command,
            [*line, *(p for each in ("steps=1", "warmup=0", "batch=4", *model) for p in ("-S", each))],
        )
        assert run.wait() == 0, (place / "log").read_text()
    yield place
    shutil.rmtree(place, ignore_errors=True)


def flips(size: int, whole: int) -> list[Change]:
    """Every byte XOR a random value; of a file of more than ``whole`` bytes as many, evenly spaced."""
    rng = np.random.default_rng(size)
    positions = np.arange(size)[:: max(1, size // number_of_trials(20, min(size, whole)))]
    return [("flipped", int(position), int(rng.integers(1, 256))) for position in positions]


@pytest.mark.parametrize("name", FILES)
def test_each_byte_of_a_file(name: str, folder: Path) -> None:
    if share() is None and name == "params.yaml":
        pytest.skip("part of `make torture` alone: it trains")
    try_all(name, folder, lambda part: read_mutated(str(folder), name, FILES[name], part))


def test_bytes_of_a_checkpoint(folder: Path) -> None:
    if share() is None:
        pytest.skip("part of `make torture` alone: it trains a model")
    name = "run/checkpoint.pt"
    try_all(name, folder, lambda part: load_changed(str(folder / "run"), part))


def try_all(name: str, folder: Path, faults_of: Callable[[list[Change]], list[tuple[str, str]]]) -> None:
    with figures("hostile input", f"single bytes of {name} flipped") as counts:
        size = (folder / name).stat().st_size
        changes = flips(size, _MOST)
        counts.details["bytes of the file"] = size
        for first in range(0, len(changes), _BATCH):
            part = changes[first : first + _BATCH]
            outcome = isolated(faults_of, part, seconds=10.0 * len(part))
            counts.largest("MB", outcome.megabytes)
            if outcome.ending != "value" or outcome.megabytes > 1_000:
                counts.failed(f"{name}, bytes {part[0][1]} to {part[-1][1]}: {outcome}")
                continue
            for what, fault in outcome.value:
                counts.failed(f"{what}: {fault}")
            counts.survived(len(part) - len({what.partition(",")[2] for what, _ in outcome.value}))


def load_changed(run: str, changes: list[Change]) -> list[tuple[str, str]]:
    """What is wrong with loading a checkpoint after each change: it must be refused."""
    from mathpipe.datasets.errors import UserError
    from mathpipe.train.run.checkpoint import load_model

    faults, path = [], Path(run) / "checkpoint.pt"
    content = path.read_bytes()
    for change in changes:
        path.write_bytes(mutate(content, *change))
        try:
            load_model(run)
            faults.append((f"load of checkpoint, {change}", "not noticed"))
        except UserError as error:
            if str(path) not in str(error):
                faults.append((f"load of checkpoint, {change}", f"names no file: {error}"))
        except Exception as error:
            faults.append((f"load of checkpoint, {change}", f"{type(error).__name__}: {str(error)[:150]}"))
    path.write_bytes(content)
    return faults
