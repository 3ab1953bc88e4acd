"""Progress: which steps print a line and what it says, with a fake clock; the bar on a terminal; ``--quiet``."""

from __future__ import annotations

import contextlib
import io
import itertools
import os
import pty
import re
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mathpipe.pipeline.cli import main
from mathpipe.pipeline.progress import (
    MAX_INTERVAL,
    MIN_INTERVAL,
    TENTHS,
    Progress,
    StepProgress,
    format_duration,
    format_rate,
)

TOY = "-S steps=12 -S warmup=2 -S eval_every=6 -S checkpoint_every=6 -S batch=16 -S valid_examples=50 -S threads=1"
TOY += " -S model.encoder_width=32 -S model.decoder_width=32 -S model.encoder_heads=2 -S model.decoder_heads=2"
TOY += " -S log_every=4"
EPSILON = 1e-6  # rounding of sums of floats


class Clock:
    """A fake clock, advanced by the test."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def run_steps(durations: Sequence[float], total: int | None, done: int = 0) -> list[tuple[int, float, str]]:
    """(step, time, text) of every line for steps of these durations; step -1 is ``close``."""
    clock, stream, lines = Clock(), io.StringIO(), []

    def collect(step: int) -> None:
        text = stream.getvalue()
        lines.extend((step, clock.now, line) for line in text.splitlines())
        stream.seek(0)
        stream.truncate()

    progress = Progress("work", stream=stream, clock=clock)
    progress.start(total, done)
    for step, seconds in enumerate(durations):
        clock.now += seconds
        progress.advance(1)
        collect(step)
    progress.close()
    collect(-1)
    return lines


step_durations = st.one_of(
    st.lists(st.floats(0, 200), max_size=60),
    st.lists(st.floats(0, 1), max_size=400),
    st.tuples(st.floats(0.001, 100), st.integers(0, 500)).map(lambda pair: [pair[0]] * pair[1]),
)


@given(step_durations, st.booleans(), st.integers(0, 50), st.integers(0, 50))
def test_intervals_between_lines_are_bounded(
    durations: list[float], total_known: bool, before: int, after: int
) -> None:
    """``before`` steps belong to an earlier session; ``after`` steps are never taken, as when training stops early."""
    lines = run_steps(durations, before + len(durations) + after if total_known else None, before)
    if not durations:
        assert lines == []
        return
    ends = list(itertools.accumulate(durations, initial=1000.0))[1:]
    assert lines[0][:2] == (0, ends[0])
    reported = [int(re.search(r"[\d,]+", text)[0].replace(",", "")) for _, _, text in lines]  # type: ignore[index]
    assert reported[-1] == before + len(durations) and len(set(reported)) == len(reported)
    times = [time for _, time, _ in lines]
    for a, b in itertools.pairwise(times[:-1]):
        assert b - a >= MIN_INTERVAL - EPSILON
    for a, b in itertools.pairwise(times):
        steps_between = [end for end in ends if a < end <= b - EPSILON]
        assert all(end - a < MAX_INTERVAL + EPSILON for end in steps_between), "a step 60 s after a line has one"
    assert len(lines) <= 2 + TENTHS + sum(durations) / MAX_INTERVAL


@given(st.integers(10, 5000), st.integers(0, 5000))
def test_even_steps_print_a_line_every_tenth(total: int, done: int) -> None:
    """If a tenth takes 2 s to 60 s, lines follow the tenths of the whole run, not of the session."""
    done = done % total
    lines = run_steps([300 / total] * (total - done), total, done)
    steps = [done + 1 + (step if step >= 0 else total - done - 1) for step, _, _ in lines]
    tenths = [-(-tenth * total // TENTHS) for tenth in range(1, TENTHS + 1)]
    assert steps[0] == done + 1 and steps[-1] == total
    late = (
        MIN_INTERVAL * total / 300 + 1
    )  # steps by which a line may follow its tenth, if the first line came just before
    assert all(any(tenth <= step <= tenth + late for tenth in tenths) for step in steps[1:])
    assert len(steps) >= sum(tenth > done + 1 for tenth in tenths)


def test_slow_step_prints_a_line_when_it_ends() -> None:
    lines = run_steps([90] * 4, 1000)
    assert [(step, time) for step, time, _ in lines] == [(0, 1090), (1, 1180), (2, 1270), (3, 1360)]


def test_lines_of_examples() -> None:
    texts = [text for _, _, text in run_steps([1, 99, 100, 0.5], 4)]
    assert texts == [
        "work: 1 of 4 examples, 1 examples/s, 3 s left",
        "work: 2 of 4 examples, 0.02 examples/s, 2 min left",
        "work: 3 of 4 examples, 0.015 examples/s, 1 min left",
        "work: 4 of 4 examples, 0.02 examples/s, done after 3 min",
    ]


def test_a_long_first_step_is_announced_once() -> None:
    """By a timer, since nothing has ended; a step, the end or --quiet cancels it."""
    for quiet, steps, expected in ((False, 0, 1), (False, 1, 0), (True, 0, 0)):
        stream = io.StringIO()
        progress = Progress("generate", stream=stream, quiet=quiet)
        progress.start(100)
        progress.explain_silence("the first shards", 0.05)
        for _ in range(steps):
            progress.advance(1)
        time.sleep(0.5)
        lines = [line for line in stream.getvalue().splitlines() if "at work on the first shards" in line]
        assert len(lines) == expected
    progress = Progress("generate", stream=(stream := io.StringIO()))
    progress.start(100)
    progress.explain_silence("the first shards", 0.05)
    progress.close()
    time.sleep(0.2)
    assert stream.getvalue() == ""


def test_unknown_total_prints_no_time_left() -> None:
    texts = [text for _, _, text in run_steps([1, 1, 70, 1], None)]
    assert texts == [
        "work: 1 example, 1 examples/s",
        "work: 3 examples, 0.042 examples/s",
        "work: 4 examples, 0.055 examples/s, after 1 min",
    ]


def test_rate_counts_this_session_only() -> None:
    clock, stream = Clock(), io.StringIO()
    progress = Progress("work", stream=stream, clock=clock)
    progress.start(10_000, 2_000)
    progress.advance(6_000, fresh=False)
    assert stream.getvalue() == "", "items of an earlier session print no line"
    clock.now += 10
    progress.advance(500)
    clock.now += 10
    progress.advance(1_500)
    progress.close()
    assert stream.getvalue().splitlines() == [
        "work: 8,500 of 10,000 examples, 50 examples/s, 30 s left",
        "work: 10,000 of 10,000 examples, 100 examples/s, done after 20 s",
    ]


@pytest.mark.parametrize("total", [0, None, 500])
def test_no_progress_prints_no_line(total: int | None) -> None:
    stream = io.StringIO()
    progress = Progress("work", stream=stream, clock=Clock())
    progress.start(total)
    progress.advance(0)
    progress.advance(total or 0, fresh=False)
    progress.close()
    assert stream.getvalue() == ""


def test_no_elapsed_time_prints_no_rate() -> None:
    assert [text for _, _, text in run_steps([0, 0], 3)] == [
        "work: 1 of 3 examples",
        "work: 2 of 3 examples, after under 1 s",
    ]


def test_lines_of_training() -> None:
    clock, stream = Clock(), io.StringIO()
    progress = StepProgress(stream=stream, clock=clock)
    progress.start(300, 900, 64)
    for step in range(301, 901):
        clock.now += 0.5
        measured: dict[str, float] = {}
        if step % 20 == 0:
            measured |= {"train_loss": 100 / step, "lr": 1e-3, "seconds": clock.now}
        if step in (600, 610, 900):
            measured |= {"valid_loss": 1 / step, "accuracy": 0.5}
        progress.step(measured)
    progress.close()
    assert stream.getvalue().splitlines() == [
        "step 301/900, 128 examples/s, 5 min left",
        "step time measured: 0.5 s, about 5 min left",
        "step 360/900, loss 0.2778, 128 examples/s, 4 min left",
        "step 450/900, loss 0.2273, 128 examples/s, 4 min left",
        "step 540/900, loss 0.1852, 128 examples/s, 3 min left",
        "step 630/900, loss 0.1613, 128 examples/s, 2 min left, "
        "validation at step 610: valid_loss 0.001639, accuracy 0.5",
        "step 720/900, loss 0.1389, 128 examples/s, 2 min left",
        "step 810/900, loss 0.125, 128 examples/s, 45 s left",
        "step 900/900, loss 0.1111, 128 examples/s, done after 5 min, "
        "validation at step 900: valid_loss 0.001111, accuracy 0.5",
    ]


def test_early_stop_prints_last_step() -> None:
    clock, stream = Clock(), io.StringIO()
    progress = StepProgress(stream=stream, clock=clock)
    progress.start(0, 900, 1)
    for _ in range(5):
        clock.now += 1
        progress.step({})
    progress.close()
    progress.close()
    assert stream.getvalue().splitlines()[-1] == "step 5/900, 1 examples/s, after 5 s"
    assert stream.getvalue().count("step 5/") == 1


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "under 1 s"),
        (1, "1 s"),
        (45.4, "45 s"),
        (59.4, "59 s"),
        (59.6, "1 min"),
        (720, "12 min"),
        (3569, "59 min"),
        (3571, "1.0 h"),
        (11_520, "3.2 h"),
        (216_000, "2.5 days"),
    ],
)
def test_format_duration(seconds: float, shown: str) -> None:
    assert format_duration(seconds) == shown


@pytest.mark.parametrize(("rate", "shown"), [(1234.4, "1,234"), (10, "10"), (9.94, "9.9"), (0.345, "0.34")])
def test_format_rate(rate: float, shown: str) -> None:
    assert format_rate(rate) == shown


def test_terminal_shows_bar_instead_of_lines() -> None:
    stream = Terminal()
    progress = StepProgress(stream=stream, clock=Clock())
    progress.start(0, 4, 1000)
    for step in range(1, 5):
        progress.step({"train_loss": step / 4})
    progress.close()
    shown = stream.getvalue()
    assert "\r" in shown and "4.00k/4.00k" in shown and "step 4, loss 1" in shown and "step 4/4" not in shown


@pytest.mark.parametrize("stream", [io.StringIO(), Terminal()])
def test_quiet_prints_nothing(stream: io.StringIO) -> None:
    for progress in (Progress("work", quiet=True, stream=stream), StepProgress(quiet=True, stream=stream)):
        if isinstance(progress, Progress):
            progress.start(1)
            progress.advance(1)
        else:
            progress.start(0, 1, 1)
            progress.step({"train_loss": 1.0})
        progress.close()
    assert stream.getvalue() == ""


COMMANDS = {  # command -> start of its progress lines
    "generate --task add --dim 2 --n 2k --valid 100 --test 100 --workers 0": "generate: 2,200 of 2,200 examples, 0 MB, ",
    "verify {data} --workers 0": "verify: 3,000 of 3,000 examples, ",
    "dedupe {data} distinct --workers 0": "dedupe: 3,000 of 3,000 examples, ",
    "export {data} --out x.txt": "export: 2,000 of 2,000 examples, ",
    "import --task integration-bwd --train {pairs} --out imported": "import: 2 examples, ",
    f"train --data {{data}} --run r {TOY}": "step 12/12, loss ",
    "eval --run {run} --limit 100": "eval: 100 of 100 examples, ",
}


@pytest.fixture(scope="module")
def trained(addition: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "add"
    with pytest.raises(SystemExit):
        main(f"train --data {addition} --run {run} {TOY}".split())
    return run


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    file = tmp_path / "pairs.txt"
    file.write_text("1|sub Y' x\tdiv pow x INT+ 2 INT+ 2\n2|sub Y' INT+ 1\tx\n")
    return file


Call = Callable[[str], tuple[int, str, str]]


@pytest.fixture
def call(
    addition: Path, trained: Path, pairs: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str],
) -> Call:  # fmt: skip
    """``call(line)`` -> exit code, stdout, stderr of a command in an empty directory; both streams are files."""
    monkeypatch.chdir(tmp_path)

    def run(line: str) -> tuple[int, str, str]:
        capfd.readouterr()
        with pytest.raises(SystemExit) as exit_info:
            main(line.format(data=addition, run=trained, pairs=pairs).split())
        return int(exit_info.value.code or 0), *capfd.readouterr()

    return run


@pytest.mark.parametrize("line", COMMANDS)
def test_progress_lines_when_stderr_is_a_file(call: Call, line: str) -> None:
    code, out, err = call(line)
    assert code == 0 and out and "rows/s" not in out
    last = [text for text in err.splitlines() if text.startswith(COMMANDS[line])][-1]
    assert " examples/s" in last or " examples/s" in last
    assert "done after " in last or " of " not in last, "a known total is reached"
    assert all(text.isprintable() and len(text) < 300 for text in err.splitlines()), err
    assert not re.search(r"[\r\x1b]|%\||it/s", err)


@pytest.mark.parametrize("line", COMMANDS)
def test_quiet_keeps_results(call: Call, line: str) -> None:
    code, out, err = call(f"{line} --quiet")
    assert (code, err) == (0, "") and out


def test_quiet_keeps_errors(call: Call) -> None:
    code, _, err = call("verify nothing --quiet")
    assert code == 2 and err.startswith("mathpipe: ") and err.count("\n") == 1
    code, _, err = call(f"train --data {{data}} --run {{run}} {TOY} -S lr=0.5 --quiet")
    assert code == 2 and "lr differs" in err and err.count("\n") == 1


def test_finished_run_prints_no_step_lines(call: Call) -> None:
    code, out, err = call(f"train --data {{data}} --run {{run}} {TOY}")
    assert code == 0 and "nothing to do" in out and not re.search("^step ", err, re.MULTILINE)


@pytest.mark.slow
def test_only_rank_zero_prints(addition: Path, tmp_path: Path) -> None:
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    arguments = ["-m", "--", "mathpipe.pipeline.cli", *f"train --data {addition} --run r {TOY}".split()]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    completed = subprocess.run(
        [*torchrun, *arguments], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert completed.returncode == 0, completed.stderr
    lines = [text for text in completed.stderr.splitlines() if text.startswith("step ")]
    assert [text.split(",")[0] for text in lines] == ["step 1/12", "step 12/12"], completed.stderr
    assert completed.stderr.count("run r: ") == 1


def test_libraries_show_no_progress_bars(tmp_path: Path) -> None:
    """transformers shows bars when it reads and writes weights, even if stderr is a file, unless they are turned off."""
    transformers = pytest.importorskip("transformers")
    shape = transformers.GPT2Config(vocab_size=60_000, n_positions=16, n_embd=2, n_layer=1, n_head=1)
    transformers.GPT2LMHeadModel(shape).save_pretrained(tmp_path / "saved")
    arguments = ["import-model", str(tmp_path / "saved"), "--out", str(tmp_path / "copied")]
    environment = {name: value for name, value in os.environ.items() if name != "HF_HUB_DISABLE_PROGRESS_BARS"}
    completed = subprocess.run(
        [sys.executable, "-m", "mathpipe.pipeline.cli", *arguments], env=environment, capture_output=True, check=True
    )
    assert completed.stdout and b"\r" not in completed.stderr and b"%|" not in completed.stderr


def test_bar_on_a_pseudo_terminal(addition: Path) -> None:
    """Run a command with a pseudo-terminal as stderr."""
    parent, child = pty.openpty()
    termios.tcsetwinsize(child, (24, 100))  # a new one has zero columns, too few for a bar
    command = [sys.executable, "-m", "mathpipe.pipeline.cli", *f"verify {addition} --workers 0".split()]
    completed = subprocess.run(command, stdout=subprocess.PIPE, stderr=child, check=True)
    os.close(child)
    output = b""
    with contextlib.suppress(OSError):  # reading past the end of a pseudo-terminal raises
        while part := os.read(parent, 100_000):
            output += part
    os.close(parent)
    assert b"complete and correct" in completed.stdout
    assert b"%|" in output and b"3.00k/3.00k" in output and b"3,000 of 3,000" not in output
