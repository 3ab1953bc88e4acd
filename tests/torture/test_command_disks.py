"""Every command that writes, on a disk that is full or read-only: an error that names the file, nothing half-whole, resumable."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torture_work as work
from torture_disks import SmallDisk, mounted_disk
from torture_figures import figures, number_of_trials, share
from torture_processes import Child, command, isolated, run_command

pytestmark = pytest.mark.torture

_FREE = 64 * 1024  # kB of a disk with enough space
LINES: dict[str, list[str]] = {
    "generate": ["generate", *work.SMALL, "--out", "{disk}/d"],
    "import": ["import", "--task", "transpose", "--train", "{inputs}/records.jsonl", "--out", "{disk}/d"],
    "dedupe": ["dedupe", "{inputs}/data", "{disk}/d", "--workers", "0"],
    "export": ["export", "{inputs}/data", "--out", "{disk}/train.txt"],
    "export to Arrow": ["export", "{inputs}/data", "--out", "{disk}/train.arrow"],
    "train": [
        *("train", "--data", "{inputs}/data", "--run", "{disk}/run"),
        *(part for each in (*work.TRAINING, "steps=12", "checkpoint_every=4") for part in ("-S", each)),
    ],
    "eval": [*("eval", "--run", "{inputs}/run", "--verbose", "--limit", "40"), "--out", "{disk}/evaluation"],
    "report": ["report", "{inputs}/evaluation", "--out", "{disk}/report.html"],
    "score": ["score", "--task", "transpose", "--out", "{disk}/results.jsonl", "{inputs}/answers.jsonl"],
    "export-model": ["export-model", "{inputs}/run", "--out", "{disk}/model"],
    "import-model": ["import-model", "{inputs}/model", "--out", "{disk}/imported"],
}
SMALL = ["import"]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A dataset, a run, its evaluation and exported model, records to import and answers to score."""
    folder = tmp_path_factory.mktemp("inputs")
    log = folder / "log"
    lines = [["generate", *work.SMALL, "--out", str(folder / "data"), "--quiet"]]
    if share() is not None:
        lines += [_filled(LINES[name], folder, folder) for name in ("train", "eval", "export-model")]
    for line in lines:
        assert Child(log, command, line).wait() == 0, log.read_text()
    work.write_records(folder / "records.jsonl", 300)
    answers = [json.loads(line) for line in (folder / "records.jsonl").read_text().splitlines()]
    (folder / "answers.jsonl").write_text(
        "".join(json.dumps({"problem": each["problem"], "answer": each["solution"]}) + "\n" for each in answers)
    )
    (folder / "data.log.jsonl").unlink(missing_ok=True)
    log.unlink()
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    folder = tmp_path / "disk"
    folder.mkdir()
    with mounted_disk(folder) as mounted:
        yield mounted


def _filled(line: list[str], inputs: Path, disk: Path) -> list[str]:
    return [part.replace("{inputs}", str(inputs)).replace("{disk}", str(disk)) for part in line]


def result_of(name: str, folder: Path) -> Any:
    """What a command made, without times."""
    if name == "train":
        return work.state_of_run(folder / "run")
    files = {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.endswith(".log.jsonl")
    }
    if name == "eval":
        metrics = json.loads(files.pop("evaluation/metrics.json")) | {"seconds": 0}
        table = pq.read_table(folder / "evaluation" / "predictions.parquet")
        return metrics, table, files["evaluation/failures.jsonl.zst"], sorted(files)
    return sorted(files) if name in ("report", "export-model", "import-model") else files


def run(name: str, inputs: Path, disk: SmallDisk) -> tuple[int, str]:
    """Exit code and the message of a command, in a process of its own."""
    outcome = isolated(run_command, _filled(LINES[name], inputs, disk.folder), seconds=60.0)
    if outcome.ending != "value":
        return -1, str(outcome)
    code, _, err = outcome.value
    return code, err


def fault_of_error(code: int, err: str, cause: str, disk: SmallDisk) -> str | None:
    """What is wrong with the error of a command that met the fault ``cause``."""
    message = [line for line in err.splitlines() if line.startswith("mathpipe: ")]
    if code != 2 or len(message) != 1 or "Traceback" in err:
        return f"exit code {code}: {err[-400:]}"
    if cause not in message[0]:
        return f"does not say that {cause}: {message[0]}"
    return None if str(disk.folder) in message[0] else f"names no file: {message[0]}"


def half_whole(name: str, whole: Any, disk: SmallDisk) -> str | None:
    """Files under their final names that are not those of an undisturbed run."""
    if not isinstance(whole, dict) or name == "train":
        return None
    files = {file: content for file, content in result_of(name, disk.folder).items() if "/." not in f"/{file}"}
    differing = [file for file, content in files.items() if whole.get(file) != content]
    if name in ("generate", "import", "dedupe") and "d/manifest.json" in files:
        differing.append("d/manifest.json")
    return f"half-whole: {differing}" if differing else None


def finish(name: str, whole: Any, inputs: Path, disk: SmallDisk) -> str | None:
    """Run the command again on the repaired disk, then clear the disk; what differs from an undisturbed run."""
    code, err = run(name, inputs, disk)
    fault = None if code == 0 else f"then exit code {code}: {err[-400:]}"
    if fault is None and result_of(name, disk.folder) != whole:
        fault = "the result differs from that of an undisturbed run"
    disk.clear()
    return fault


def first(*faults: Callable[[], str | None]) -> str | None:
    return next((fault for each in faults if (fault := each()) is not None), None)


@pytest.mark.parametrize("name", LINES)
def test_full_disk(name: str, inputs: Path, disk: SmallDisk) -> None:
    """The disk has room for 4 kB, 8 kB, ... of what the command writes."""
    if share() is None and name not in SMALL:
        pytest.skip("part of `make torture` alone")
    assert run(name, inputs, disk)[0] == 0
    whole, needed = result_of(name, disk.folder), disk.kilobytes()
    disk.clear()
    with figures("disks", f"{name} on a full disk") as counts:
        sizes = range(4, needed + 4, 4)
        for size in sizes[:: max(1, len(sizes) // number_of_trials(1, 6))]:
            disk.resize(size)
            code, err = run(name, inputs, disk)
            fault = None
            if code != 0:
                fault = fault_of_error(code, err, "disk is full", disk) or half_whole(name, whole, disk)
            disk.resize(_FREE)
            again = finish(name, whole, inputs, disk)
            if fault is None and again is None:
                counts.survived()
            else:
                counts.failed(f"with {size} of {needed} kB: {fault or again}")
        counts.details["kB that it writes"] = needed


@pytest.mark.parametrize("name", LINES)
def test_read_only_disk(name: str, inputs: Path, disk: SmallDisk) -> None:
    """An empty disk that is read-only; one that holds the finished result; and inputs that lie on a read-only disk."""
    if share() is None and name not in SMALL:
        pytest.skip("part of `make torture` alone")
    with figures("disks", f"{name} on a read-only disk") as counts:
        disk.set_read_only(True)
        fault = fault_of_error(*run(name, inputs, disk), "read-only", disk)
        disk.set_read_only(False)
        assert run(name, inputs, disk)[0] == 0
        whole = result_of(name, disk.folder)
        disk.set_read_only(True)
        code, err = run(name, inputs, disk)
        refuses = "holds other files" in err  # these commands write new directories alone
        again = None if code == 0 or refuses else fault_of_error(code, err, "read-only", disk)
        changed = None if result_of(name, disk.folder) == whole else "the finished result has changed"
        disk.set_read_only(False)
        disk.clear()
        for case in (fault, again or changed, finish(name, whole, inputs, disk)):
            if case is None:
                counts.survived()
            else:
                counts.failed(case)


@pytest.mark.parametrize("name", [name for name, line in LINES.items() if any("{inputs}" in part for part in line)])
def test_inputs_on_a_read_only_disk(name: str, inputs: Path, disk: SmallDisk, tmp_path: Path) -> None:
    """Nothing is written beside what is only read."""
    if share() is None:
        pytest.skip("part of `make torture` alone")
    shutil.copytree(inputs, disk.folder, dirs_exist_ok=True)
    disk.set_read_only(True)
    (tmp_path / "out").mkdir()
    try:
        with figures("disks", f"{name} with inputs on a read-only disk") as counts:
            line = _filled(LINES[name], disk.folder, tmp_path / "out")
            if name == "eval":
                line += ["--data", str(disk.folder / "data")]
            outcome = isolated(run_command, line, seconds=60.0)
            if outcome.ending == "value" and outcome.value[0] == 0:
                counts.survived()
            else:
                counts.failed(str(outcome))
    finally:
        disk.set_read_only(False)
