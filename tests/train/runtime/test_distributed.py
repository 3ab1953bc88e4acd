"""Two processes: agreement with one process, resume after kills, and a changed number of processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mathpipe.train.run.checkpoint import load_model, read_checkpoint
from mathpipe.train.run.metrics_log import read_metrics_log

pytestmark = pytest.mark.slow  # each process takes seconds to start
SCRIPT = """
import os, runpy, signal, sys, time
from pathlib import Path
small = runpy.run_path(sys.argv[1])
from mathpipe.datasets.errors import UserError
from mathpipe.train.trainer import train
data = small["SmallData"](uneven=True)
pause = float(sys.argv[3])
optimiser, calls = sys.argv[6:] or ("adam", 0)
left = int(calls)
def evaluate(model):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(pause)
    return {"accuracy": 0.5}
small_model = small["TINY"].model_copy(update={"dropout": float(sys.argv[5])})
config = small["tiny_config"](
    steps=24, eval_every=4, checkpoint_every=2, log_every=1, accumulate=int(sys.argv[4]), best_metric="valid_loss",
    model=small_model, batch=7, optimiser=optimiser,
)
try:
    result = train(config, data, data, Path(sys.argv[2]), evaluate=evaluate, dvclive=False)
except UserError as problem:
    sys.exit(str(problem))
print(result.rank, result.step, result.outcome, flush=True)
"""


@pytest.fixture
def command(tmp_path: Path) -> list[str]:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    return [str(script), str(Path(__file__).parents[1] / "conftest.py")]


def torchrun(processes: int, arguments: list[str]) -> subprocess.Popen[str]:
    run = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)] if processes > 1 else []
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}  # there may be fewer GPUs
    return subprocess.Popen(
        [sys.executable, *run, *arguments], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def finished(process: subprocess.Popen[str]) -> str:
    out, error = process.communicate(timeout=240)
    assert process.returncode == 0, error[-3000:]
    return out


def losses(run_dir: Path) -> list[float]:
    return [point["train_loss"] for point in read_metrics_log(run_dir / "curves.jsonl")]


def test_two_processes_match_one_and_resume_after_kill(command: list[str], tmp_path: Path) -> None:
    one, two, parts, killed = (tmp_path / name for name in ("one", "two", "parts", "killed"))
    alone = [torchrun(1, [*command, str(one), "0", "1", "0"]), torchrun(1, [*command, str(parts), "0", "3", "0"])]
    assert all("24 finished" in finished(process) for process in alone)
    assert sorted(finished(torchrun(2, [*command, str(two), "0", "2", "0"])).split("\n"))[1:] == [
        "0 24 finished",
        "1 24 finished",
    ]
    assert losses(parts) == pytest.approx(losses(one), rel=1e-5)
    assert losses(two) == pytest.approx(losses(one), rel=1e-5)
    assert (two / "checkpoints/best.pt").exists() and len(losses(two)) == 24

    process = torchrun(2, [*command, str(killed), "0.05", "2", "0"])
    waited = time.monotonic()
    while len(losses(killed)) < 9 and time.monotonic() - waited < 120:
        time.sleep(0.01)
    children = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True, check=False)
    for child in (*children.stdout.split(), process.pid):
        os.kill(int(child), signal.SIGKILL)
    process.communicate()
    assert read_checkpoint(killed / "checkpoint.pt")["state"]["step"] < 24
    finished(torchrun(2, [*command, str(killed), "0", "2", "0"]))
    assert losses(killed) == losses(two)
    a, b = (load_model(run)[0].state_dict() for run in (two, killed))
    assert all(bool((a[name] == b[name]).all()) for name in a)


def test_sigterm_stops_all_processes(command: list[str], tmp_path: Path) -> None:
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    finished(torchrun(2, [*command, str(whole), "0", "1", "0.2"]))
    process = torchrun(2, [*command, str(halves), "0.2", "1", "0.2"])
    while len(losses(halves)) < 6:
        time.sleep(0.01)
    children = subprocess.run(
        ["pgrep", "-P", str(process.pid)], capture_output=True, text=True, check=True
    ).stdout.split()
    os.kill(int(children[0]), signal.SIGTERM)  # one of them alone
    out = finished(process)
    assert out.count("interrupted") == 2
    finished(torchrun(2, [*command, str(halves), "0", "1", "0.2"]))
    assert losses(halves) == losses(whole)


@pytest.mark.parametrize(("optimiser", "close"), [("adam", 1e-5), ("muon", 1e-4)])
def test_resume_with_other_number_of_processes(
    command: list[str], tmp_path: Path, optimiser: str, close: float
) -> None:
    def session(processes: int, run: Path, stop: int) -> str:
        return finished(torchrun(processes, [*command, str(run), "0", "1", "0", optimiser, str(stop)]))

    whole = tmp_path / "whole"
    session(1, whole, 0)
    for before, after in ((1, 2), (2, 1)):
        run = tmp_path / f"{before} then {after}"
        assert session(before, run, 2).count("8 interrupted") == before
        assert session(after, run, 0).count("24 finished") == after
        assert losses(run) == pytest.approx(losses(whole), rel=close)


def test_error_on_rank_zero_stops_all(command: list[str], tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.tex").write_text("years")
    process = torchrun(2, [*command, str(tmp_path / "run"), "0", "1", "0"])
    _, error = process.communicate(timeout=120)
    assert process.returncode and "is not a training run" in error
