"""The command line: results on stdout, one line per user error, exit codes."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import pytest

from mathpipe.generate.tasks.task_registry import TASKS
from mathpipe.pipeline.cli import COMMANDS, main

ROOT = Path(__file__).parents[2]
TOY = "-S steps=12 -S warmup=2 -S eval_every=6 -S checkpoint_every=6 -S batch=16 -S valid_examples=50 -S threads=2"
TOY += " -S model.encoder_width=32 -S model.decoder_width=32 -S model.encoder_heads=2 -S model.decoder_heads=2"


class Result(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def ask(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """``ask("generate --task add")`` runs the command in an empty directory, in this process."""
    monkeypatch.chdir(tmp_path)

    def run(line: str) -> Result:
        with pytest.raises(SystemExit) as exit_info:
            main(line.split())
        captured = capsys.readouterr()
        return Result(int(exit_info.value.code or 0), captured.out, captured.err)

    return run


def test_pipeline_from_generate_to_eval(ask) -> None:
    generated = ask("generate --task add --dim 2 --n 3k --valid 200 --test 200 --workers 0")
    assert generated.code == 0 and "train 3k, valid 200, test 200 examples" in generated.out
    assert "nothing left to build" in ask("generate --task add --dim 2 --n 3k --valid 200 --test 200 --workers 0").out
    assert "complete and correct, 3,400 answers" in ask("verify data/add --workers 0").out
    trained = ask(f"train {TOY}")
    assert trained.code == 0 and "runs/add: finished at step 12" in trained.out
    assert "nothing to do" in ask(f"train {TOY}").out
    evaluated = ask("eval --verbose --limit 100")
    assert (
        evaluated.code == 0
        and "accuracy" in evaluated.out
        and "problem" in evaluated.out
        and evaluated.out.startswith("worst failures (10):\n\nrow ")
        and "runs/add, the latest run" in evaluated.err
        and "runs/add: checkpoint of step 12 of 12\n" in evaluated.err
    )
    metrics = json.loads(ask("eval --json --limit 100").out)
    assert metrics["n"] == 100 and metrics["reference"] is not None
    assert Path("runs/add/evaluation/test.first-100/predictions.parquet").exists()


def test_show_prints_matrices_and_tokens(ask, addition: Path) -> None:
    shown = ask(f"show {addition} -k 1 --encoding P10").out
    assert "train    2,000 examples, 2 shards" in shown
    assert "problem tokens: V3 V6" in shown and "solution tokens: V3 V3" in shown
    result = json.loads(ask(f"show {addition} --json -k 2 --start 3").out)
    assert [p["row"] for p in result["problems"]] == [3, 4]
    assert len(result["problems"][0]["problem"]) == 3


def test_defaults_do_not_depend_on_current_directory(ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``params.yaml`` is read only with ``--params``: the spec is the same inside and outside the repository."""
    outside = json.loads(
        ask(f"generate --task add --n 1k --valid 0 --test 0 --workers 0 --json --out {tmp_path}/a").out
    )
    monkeypatch.chdir(ROOT)
    inside = json.loads(ask(f"generate --task add --n 1k --valid 0 --test 0 --workers 0 --json --out {tmp_path}/b").out)
    assert outside["fingerprint"] == inside["fingerprint"]
    named = f"generate --params params.yaml -S generate.n=1k --valid 0 --test 0 --workers 0 --json --out {tmp_path}/c"
    assert json.loads(ask(named).out)["fingerprint"] != inside["fingerprint"]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(ask, command: str) -> None:
    result = ask(f"{command} --help")
    assert result.code == 0 and "Example:" in result.out and f"mathpipe {command}" in result.out


def test_tasks_and_presets_list_all(ask) -> None:
    assert {t["name"] for t in json.loads(ask("tasks --json").out)} == set(TASKS)
    assert "[A B], side by side" in ask("tasks").out
    assert "inverse-2x2" in ask("presets").out
    assert "task: inverse" in ask("presets inverse-2x2").out


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("generate --task invers", "did you mean inverse"),
        ("generat", "did you mean generate"),
        ("generate --task add --n ten", "is not a count"),
        ("generate --task add --n -5", "mathpipe: --n: -5 is out of range: 0 to"),
        ("generate --task add --n 1e15", "out of range"),
        ("generate --task add --dim 51", "102 columns"),
        ("generate --task add --dim x", "mathpipe: --dim is invalid. Expected: an integer such as"),
        ("generate --task add --dim 0", "mathpipe: --dim is invalid. Expected: greater than or equal to 1. Got: 0"),
        ("generate --task add -S spec.dim=x", "mathpipe: generate.spec.dim is invalid. Expected: an integer such as"),
        ("eval --beam 0", "mathpipe: --beam is invalid"),
        ("generate --task add --min-dim 4 --max-dim 3", "min_dim 4 is above max_dim 3"),
        ("generate --task inverse --rectangular", "inverse has no option --rectangular"),
        ("generate --task inverse -S spec.rectangular=true", "needs square matrices"),
        ("generate --task inverse --dim 1 --n 50M", "too few distinct problems"),
        ("generate --task add --seed -1", "mathpipe: --seed is invalid"),
        ("generate --task add --workers -1", "'--workers': -1 is not in the range x>=0"),
        ("generate --task add --max-coeff nan", "mathpipe: --max-coeff is invalid"),
        ("generate --task add --noise inf", "Expected: a finite number. Got: 'inf'"),
        ("train --data {data} -S lr=nan", "Expected: a finite number, less than or equal to 1. Got: 'nan'"),
        ("eval -S length_penalty=nan", "Expected: a finite number, less than or equal to 10. Got: 'nan'"),
        ("eval -S length_penalty=.nan", "unable to parse string as a number. Got: '.nan'"),
        ("import --task ode1 --test none.txt --out d", "Got: no such file. Next: check the spelling of its name"),
        ("bench --out nowhere", "--out nowhere cannot be written. Expected: a directory on the disk to measure"),
        ("generate --task cotraining --task-tokens=", "the task tokens name no task. Expected: task tokens among TADMEFI"),
        ("generate --task add -S train.lr=1", "`mathpipe generate` has no parameter train.lr"),
        ("eval --run r -S train.lr=1", "`mathpipe eval` has no parameter train.lr"),
        ("generate --task add --bogus 1", "add has no option --bogus"),
        ("generate --task", "requires an argument"),
        ("generate", "--task"),
        ("generate --task add --n 1k --out nosuch://x", "cannot be opened"),
        ("generate --task add --n 1k --workers 0 --out /proc/nowhere/d", "cannot be written"),
        ("show nothing", "holds no complete dataset"),
        ("verify nothing", "holds no complete dataset"),
        ("show {data} --split tset", "did you mean test"),
        ("show {data} --start 1M", "beyond the split"),
        ("show {data} --encoding P12", "did you mean P10"),
        ("train", "there is no dataset under data/"),
        ("train --data nothing", "holds no complete dataset"),
        ("train --data {data} -S stepz=3", "did you mean train.steps"),
        ("train --data {data} -S input_encoding=P11", "train.input_encoding"),
        ("train --data {data} -S best_metric=acuracy", "'acuracy' is not measured. Expected: one of valid_loss, accuracy"),
        ("train --data {data} -S stop_metric=accuracy -S stop_at=0.9 -S valid_examples=0", "valid_examples above 0"),
        ("train --data {data} -S batch=5000", "smaller than one batch"),
        ("train --data {data} -S model.encoder_heads=7", "not a multiple"),
        ("train --data {data} --params none.yaml", "cannot be read"),
        ("train --data {data} --preset nonesuch", "unknown preset"),
        ("eval", "there is no run under runs/"),
        ("eval --run nothing", "nothing"),
        ("eval --run {data}", "{data}"),
    ],
)  # fmt: skip
def test_user_errors_print_one_line_and_exit_2(ask, addition: Path, tmp_path: Path, line: str, message: str) -> None:
    result = ask(line.format(data=addition))
    assert result.code == 2, result
    assert message.format(data=addition) in result.err
    assert len([text for text in result.err.splitlines() if text.startswith("mathpipe: ")]) == 1
    assert "Traceback" not in result.err and result.out == ""
    assert not list(tmp_path.rglob("*.parquet"))


def test_verify_exits_1_on_damage(ask, make_small) -> None:
    url = make_small("transpose")
    (url / "test" / "00000.parquet").unlink()
    result = ask(f"verify {url} --workers 0")
    assert result.code == 1 and "test/00000.parquet: is missing" in result.out
    assert json.loads(ask(f"verify {url} --workers 0 --json").out)["damage"][0]["file"] == "test/00000.parquet"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("{", "Invalid JSON: EOF while parsing an object at line 1"),
        ('{"spec": {}}', "fingerprint: Field required"),
        ("[]", "Input should be an object"),
    ],
)
def test_damaged_manifest_is_reported(ask, make_small, text: str, fault: str) -> None:
    url = make_small("transpose")
    (url / "manifest.json").write_text(text)
    result = ask(f"show {url}")
    assert result.code == 2 and "manifest.json cannot be read. Expected: the manifest of a dataset" in result.err
    assert (
        f"Got: {fault}" in result.err and "Next: remove it, and repeat the command that built the dataset" in result.err
    )


def test_generate_rejects_directory_of_other_dataset(ask) -> None:
    assert ask("generate --task add --dim 2 --n 1k --valid 0 --test 0 --workers 0").code == 0
    refused = ask("generate --task add --dim 3 --n 1k --valid 0 --test 0 --workers 0")
    assert refused.code == 2 and "holds another dataset" in refused.err and "max_dim 2" in refused.err
    moved = ask("generate --task add --dim 3 --n 1k --valid 0 --test 0 --workers 0 --on-mismatch restart")
    assert moved.code == 0 and "data/add.old-1" in moved.err
    assert Path("data/add.old-1/manifest.json").exists()


def test_train_rejects_run_of_other_configuration(ask, addition: Path) -> None:
    line = f"train --data {addition} --run r {TOY}"
    assert ask(line).code == 0
    refused = ask(f"{line} -S lr=0.5")
    assert refused.code == 2 and "lr differs" in refused.err
    assert ask(f"{line} -S lr=0.005 --on-mismatch restart").code == 0
    assert Path("r.old-1/checkpoint.pt").exists()


def test_train_warns_of_preset_for_other_task(ask, addition: Path) -> None:
    line = f"train --data {addition} --run r --preset"
    small = TOY.replace("steps=12", "steps=2") + " -S model.encoder_layers=1 -S model.decoder_layers=1"
    other, same = ask(f"{line} fast/transpose {small}"), ask(f"{line} fast/add {small} --on-mismatch restart")
    assert other.code == same.code == 0
    assert other.err.count(f"preset fast/transpose is for transpose, but {addition} holds add") == 1
    assert "fast/add is for" not in same.err


def test_damaged_checkpoint_is_reported(ask, addition: Path) -> None:
    assert ask(f"train --data {addition} --run r {TOY}").code == 0
    file = Path("r/checkpoint.pt")
    file.write_bytes(file.read_bytes()[:-100])
    for line in (f"train --data {addition} --run r {TOY}", "eval --run r"):
        result = ask(line)
        assert result.code == 2 and "is damaged" in result.err and "Traceback" not in result.err


def test_read_only_directory_is_reported(tmp_path: Path) -> None:
    """Run as a user other than root, who may write anywhere."""
    locked = tmp_path / "locked"
    locked.mkdir()
    locked.chmod(stat.S_IRUSR | stat.S_IXUSR | stat.S_IRGRP | stat.S_IXGRP | stat.S_IROTH | stat.S_IXOTH)
    if os.geteuid() == 0 and subprocess.run(["setpriv", "--version"], capture_output=True, check=False).returncode:
        pytest.fail("setpriv (util-linux) is needed to test as another user than root")
    run_as_nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"] if os.geteuid() == 0 else []
    for folder in (tmp_path, *tmp_path.parents):
        if folder.is_relative_to("/tmp") and folder != Path("/tmp"):
            folder.chmod(folder.stat().st_mode | 0o755) if folder != locked else None
    locked.chmod(0o555)
    command = "from mathpipe.pipeline.cli import main; main()"
    arguments = f"generate --task add --dim 2 --n 1k --workers 0 --out {locked}/d".split()
    completed = subprocess.run(
        [*run_as_nobody, sys.executable, "-c", command, *arguments], capture_output=True, text=True, check=False
    )
    assert completed.returncode == 2 and "no permission" in completed.stderr and "Traceback" not in completed.stderr, (
        completed.stderr
    )


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_interrupted_generate_prints_how_to_resume(tmp_path: Path, number: signal.Signals, code: int) -> None:
    command = [
        sys.executable,
        "-m",
        "mathpipe.pipeline.cli",
        "generate",
        "--task",
        "inverse",
        "--n",
        "3M",
        "--workers",
        "2",
    ]
    process = subprocess.Popen(
        command,
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # shells let background jobs ignore it
    )
    start = time.monotonic()
    while not list(tmp_path.glob("data/inverse/__records/train/*.json")) and time.monotonic() - start < 60:
        time.sleep(0.05)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == code, err
    assert "run the same command again to resume" in err and "Traceback" not in err
    assert not list(tmp_path.glob("data/inverse/manifest.json"))


def test_interrupted_training_prints_how_to_resume(tmp_path: Path, addition: Path) -> None:
    line = f"train --data {addition} --run r {TOY} -S steps=4000 -S log_every=1"
    command = [sys.executable, "-m", "mathpipe.pipeline.cli", *line.split()]
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    start = time.monotonic()
    while not (tmp_path / "r" / "checkpoint.pt").exists() and time.monotonic() - start < 60:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "interrupted at step" in out and "run the same command again to resume" in err


def test_no_colours_or_bars_outside_terminals(ask, addition: Path) -> None:
    for line in (
        f"show {addition}",
        f"verify {addition} --workers 0",
        f"train --data {addition} --run r {TOY}",
        "eval --run r --verbose",
    ):
        result = ask(line)
        assert "\x1b" not in result.out + result.err and "it/s" not in result.err and "%|" not in result.err


def test_show_prints_clean_problem_of_noisy_problem(ask, make_small) -> None:
    shown = ask(f"show {make_small('inverse', noise=0.05)} -k 1").out
    assert "clean problem" in shown and "noise of level 0.05" in shown
