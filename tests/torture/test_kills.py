"""Kill -9 at random moments: after the same command again, bytes, weights and predictions equal those of undisturbed runs."""

from __future__ import annotations

import json
import random
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torture_work as work
from torture_figures import Figures, figures, number_of_trials, share
from torture_processes import Child, command

pytestmark = pytest.mark.torture

Contents = Callable[[Path], dict[str, bytes]]
Start = Callable[[Path], Child]


def kill_often(counts: Figures, kills: int, folder: Path, start: Start, check: Callable[[Path], str | None]) -> None:
    """Kill a process again and again until its work is done, in as many directories as it takes to kill so often.

    ``start(target)`` does the work in a directory; ``check(target)`` says how the result differs from an undisturbed one.
    """
    started = time.monotonic()
    assert start(folder / "whole").wait() == 0, (folder / "log").read_text()[-2000:]
    duration = time.monotonic() - started
    assert check(folder / "whole") is None
    dice, done = random.Random(kills), 0
    while done < kills:
        target, here = folder / f"killed-{done}", 0
        while done + here < kills and here < 8:
            if not start(target).kill_after(dice.uniform(0, duration)):
                break
            here += 1
        code = start(target).wait()
        difference = check(target) if code == 0 else f"exit code {code}: {(folder / 'log').read_text()[-500:]}"
        if difference is None:
            counts.survived(here)
        else:
            counts.failed(f"after {here} kills: {difference}")
        done += here
        shutil.rmtree(target, ignore_errors=True)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, contents: Contents) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("undisturbed") / "d"
    work.generate(str(folder))
    return contents(folder)


def compare_bytes(expected: dict[str, bytes], actual: dict[str, bytes]) -> str | None:
    names = sorted(name for name in expected.keys() | actual.keys() if expected.get(name) != actual.get(name))
    return f"differing files: {', '.join(names[:5])}" if names else None


@pytest.mark.parametrize(
    ("workers", "small", "whole"), [(0, 3, 40), (2, 0, 25)], ids=["one process", "two local workers"]
)
def test_generation(
    workers: int, small: int, whole: int, tmp_path: Path, undisturbed: dict[str, bytes], contents: Contents
) -> None:
    kills = number_of_trials(small, whole)
    if not kills:
        pytest.skip("part of `make torture` alone: workers take seconds to start")
    with figures("kills", f"generation, {'two local workers' if workers else 'one process'}") as counts:
        kill_often(
            counts,
            kills,
            tmp_path,
            lambda target: Child(tmp_path / "log", work.generate, str(target), workers),
            lambda target: compare_bytes(undisturbed, contents(target)),
        )


@pytest.mark.parametrize("victim", ["worker", "scheduler"])
def test_generation_on_a_cluster(
    victim: str, new_cluster: Any, tmp_path: Path, undisturbed: dict[str, bytes], contents: Contents
) -> None:
    """A real scheduler and workers. A killed worker is replaced by another; after its scheduler died, the command runs again."""
    kills = number_of_trials(0, 25 if victim == "worker" else 10)
    if not kills:
        pytest.skip("part of `make torture` alone: clusters take seconds to start")
    with figures("kills", f"generation on a Dask cluster, a dying {victim}") as counts:
        cluster, dice = new_cluster("0", "1"), random.Random(kills)
        for k in range(kills):
            target = tmp_path / f"d{k}"
            first = Child(tmp_path / "log", work.generate, str(target), 0, cluster.address)
            time.sleep(dice.uniform(0.0, 2.0))
            if victim == "worker":
                cluster.kill(dice.choice([name for name in cluster.processes if name != "scheduler"]))
                cluster.start_worker(str(k + 2))
                code = first.wait()
            else:
                cluster.stop()
                first.wait()
                cluster = new_cluster("0", "1")
                code = Child(tmp_path / "log", work.generate, str(target), 0, cluster.address).wait()
            difference = compare_bytes(undisturbed, contents(target))
            if code == 0 and difference is None:
                counts.survived()
            else:
                counts.failed(f"exit code {code}, {difference}: {(tmp_path / 'log').read_text()[-500:]}")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "inverse"
    work.generate(str(folder))
    return folder


def fewer_steps() -> list[str]:
    """In the test suite a third of the steps."""
    return ["steps=20"] if share() is None else []


def test_training(tmp_path: Path, data: Path) -> None:
    whole: dict[str, Any] = {}

    def check(run: Path) -> str | None:
        state = work.state_of_run(run)
        whole.setdefault("state", state)
        differing = [
            name for name in whole["state"].keys() | state.keys() if whole["state"].get(name) != state.get(name)
        ]
        return f"differing: {differing}" if differing else None

    with figures("kills", "training") as counts:
        kill_often(
            counts,
            number_of_trials(1, 30),
            tmp_path,
            lambda target: Child(tmp_path / "log", work.train, str(data), str(target), *fewer_steps()),
            check,
        )


def test_evaluation(tmp_path: Path, data: Path) -> None:
    run, whole = tmp_path / "run", dict[str, Any]()
    assert Child(tmp_path / "log", work.train, str(data), str(run), *fewer_steps()).wait() == 0

    def check(target: Path) -> str | None:
        metrics = json.loads((target / "metrics.json").read_text()) | {"seconds": 0}
        table = pq.read_table(target / "predictions.parquet")
        failures = (target / "failures.jsonl.zst").read_bytes()
        names = sorted(str(path.relative_to(target)) for path in target.rglob("*") if path.is_file())
        expected = whole.setdefault("all", (metrics, table, failures, names))
        same = [metrics == expected[0], table.equals(expected[1]), failures == expected[2], names == expected[3]]
        return None if all(same) else f"metrics, predictions, failures, names equal: {same}"

    with figures("kills", "evaluation") as counts:
        kill_often(
            counts,
            number_of_trials(1, 30),
            tmp_path,
            lambda target: Child(tmp_path / "log", work.evaluate, str(run), str(target)),
            check,
        )


@pytest.mark.parametrize("name", ["import", "dedupe", "export"])
def test_files(name: str, tmp_path: Path, data: Path, contents: Contents) -> None:
    """Import, dedupe, export."""
    work.write_records(tmp_path / "records.jsonl", 5_000)
    lines: dict[str, Callable[[Path], list[str]]] = {
        "import": lambda target: [
            *("import", "--task", "transpose", "--train", str(tmp_path / "records.jsonl")),
            *("--out", str(target), "--quiet"),
        ],
        "dedupe": lambda target: ["dedupe", str(data), str(target), "--workers", "0", "--quiet"],
        "export": lambda target: ["export", str(data), "--out", str(target / "train.txt"), "--quiet"],
    }
    whole: dict[str, dict[str, bytes]] = {}

    def check(target: Path) -> str | None:
        files = contents(target)
        if name == "export":  # a killed one leaves its hidden temporary file in a folder that may be the user's
            files = {file: content for file, content in files.items() if not file.startswith(".train.txt.writing-")}
        return compare_bytes(whole.setdefault("bytes", files), files)

    def start(target: Path) -> Child:
        if name == "export":
            target.mkdir(exist_ok=True)
        return Child(tmp_path / "log", command, lines[name](target))

    with figures("kills", name) as counts:
        kill_often(counts, number_of_trials(1, 10), tmp_path, start, check)


def test_a_kill_is_a_kill(tmp_path: Path, data: Path) -> None:
    """The harness does kill: the process ends by signal 9, and its unfinished dataset is no dataset yet."""
    child = Child(tmp_path / "log", work.generate, str(tmp_path / "d"))
    while not list((tmp_path / "d").rglob("*.parquet")):
        time.sleep(0.005)
    child.kill()
    assert child.wait() == -signal.SIGKILL
    assert not (tmp_path / "d" / "manifest.json").exists()
