"""Hostile texts and JSON values through ``score``, ``import`` and ``solve``: a result or an error, within 1 GB and 10 s."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torture_work as work
from torture_commands import JSON_VALUES, CommandResult, record, run_lines, write_lines
from torture_figures import Figures, figures, share
from torture_processes import Child, command, isolated
from torture_texts import GOOD, TEXTS, good_pair

from mathpipe.datasets.format.manifest import read_manifest
from mathpipe.generate.curate.import_parts.import_registry import import_part
from mathpipe.generate.tasks.task_registry import load_task

pytestmark = pytest.mark.torture
MAX_SECONDS, MAX_MEGABYTES = 10.0, 1_000.0
_BATCH = 8
TASKS = ["integration-bwd", "ode1", "inverse", "gcd", "sort"]
SMALL_TEXTS, SMALL_VALUES = ["tower", "digits", "code"], ["nested lists", "digits in a list"]


def texts() -> list[str]:
    return list(TEXTS) if share() is not None else SMALL_TEXTS


def json_values() -> dict[str, str]:
    return JSON_VALUES if share() is not None else {name: JSON_VALUES[name] for name in SMALL_VALUES}


def run_all(counts: Figures, lines: list[tuple[str, list[str]]], place: str | None) -> list[CommandResult]:
    """Run command lines in processes of their own, a few in each; a process that ends is repeated for each of its lines alone."""
    results = []
    batches = [lines[first : first + _BATCH] for first in range(0, len(lines), _BATCH)]
    while batches:
        batch = batches.pop(0)
        outcome = isolated(run_lines, batch, seconds=2 * len(batch) * MAX_SECONDS)
        if outcome.ending != "value" and len(batch) > 1:
            batches = [[line] for line in batch] + batches
            continue
        if outcome.ending != "value":
            counts.failed(f"{batch[0][0]}: {outcome}")
            continue
        for result in outcome.value:
            counts.largest("seconds of one", result.seconds)
            counts.largest("MB of one", result.megabytes)
            fault = result.fault(place)
            if result.seconds > MAX_SECONDS or result.megabytes > MAX_MEGABYTES:
                fault = f"{result.seconds:.1f} s, {result.megabytes:.0f} MB"
            if fault is None:
                counts.survived()
                results.append(result)
            else:
                counts.failed(f"{result.name}: {fault}")
    return results


def expect_no_code_run() -> None:
    assert not Path("/tmp/mathpipe-ran-code").exists()


@pytest.mark.parametrize("task", TASKS)
def test_score(task: str, tmp_path: Path) -> None:
    """Each text and each JSON value as answer and as problem, beside a right answer, whose outcome does not suffer."""
    if share() is None and task != "inverse":
        pytest.skip("part of `make torture` alone")
    problem, answer = GOOD[task]
    lines = []
    for k, name in enumerate(texts()):
        pairs = [(problem, TEXTS[name]), (TEXTS[name], answer), (problem, answer)]
        write_lines(tmp_path / f"text-{k}.jsonl", pairs, "jsonl", "answer")
        lines.append((name, score_line(task, tmp_path / f"text-{k}.jsonl")))
    good = json.dumps(problem), json.dumps(answer)
    for k, (name, value) in enumerate(json_values().items()):
        content = record(good[0], value, "answer") + record(value, good[1], "answer") + record(*good, "answer")
        (tmp_path / f"value-{k}.jsonl").write_text(content)
        lines.append((f"{name} as JSON", score_line(task, tmp_path / f"value-{k}.jsonl")))
    with figures("hostile input", f"`score` of {task}") as counts:
        for result in run_all(counts, lines, str(tmp_path)):
            outcomes = [json.loads(line) for line in Path(dict(lines)[result.name][-2]).read_text().splitlines()]
            if result.code == 0 and not (len(outcomes) == 3 and outcomes[-1]["correct"]):
                counts.failed(f"{result.name}: the right answer beside it is not counted: {outcomes[-1:]}")
    expect_no_code_run()


def score_line(task: str, file: Path) -> list[str]:
    return ["score", "--task", task, "--seconds", "4", "--out", f"{file}.out", str(file)]


def right_answer_is_correct(result: CommandResult, folder: Path) -> bool:
    k = list(TEXTS).index(result.name) if result.name in TEXTS and share() is not None else None
    file = folder / f"text-{k}.out" if k is not None else None
    if file is None:
        return True
    outcomes = [json.loads(line) for line in file.read_text().splitlines()]
    return len(outcomes) == 3 and bool(outcomes[-1]["correct"])


@pytest.mark.parametrize("format_", ["jsonl", "text", "csv"])
@pytest.mark.parametrize("task", TASKS)
def test_import(task: str, format_: str, tmp_path: Path) -> None:
    """Each text as problem and as solution beside a good record, which is imported."""
    if share() is None and (task, format_) != ("inverse", "jsonl"):
        pytest.skip("part of `make torture` alone")
    part = import_part(load_task(task))
    notations = list(part.notations) if format_ == "jsonl" else [None]
    lines = []
    for notation in notations if share() is not None else notations[:1]:
        used = notation or part.notations[0]
        problem, solution = good_pair(task, used)
        for k, name in enumerate(texts()):
            file = tmp_path / f"{notation}-{k}.{'txt' if format_ == 'text' else format_}"
            pairs = [(problem, TEXTS[name]), (TEXTS[name], solution), (problem, solution)]
            write_lines(file, pairs, format_, "solution")
            lines.append((f"{name}, {used}", import_line(task, file, notation)))
    if format_ == "jsonl":
        problem, solution = good_pair(task, part.notations[0])
        good = json.dumps(problem), json.dumps(solution)
        for k, (name, value) in enumerate(json_values().items()):
            content = record(good[0], value, "solution") + record(value, good[1], "solution")
            (tmp_path / f"value-{k}.jsonl").write_text(content + record(*good, "solution"))
            lines.append((f"{name} as JSON", import_line(task, tmp_path / f"value-{k}.jsonl", None)))
    with figures("hostile input", f"`import` of {task} as {format_}") as counts:
        for result in run_all(counts, lines, str(tmp_path)):
            if result.code == 0 and not num_imported(dict(lines)[result.name]):
                counts.failed(f"{result.name}: the good record beside it is not imported")
    expect_no_code_run()


def num_imported(line: list[str]) -> int:
    return sum(split.rows for split in read_manifest(line[line.index("--out") + 1]).splits.values())


def import_line(task: str, file: Path, notation: str | None) -> list[str]:
    chosen = [] if notation is None else ["--notation", notation]
    return ["import", "--task", task, "--train", str(file), "--out", f"{file}.d", "--quiet", *chosen]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A run of a few steps for each task."""
    folder = tmp_path_factory.mktemp("runs")
    for task in TASKS:
        sizes = ("--n", "100", "--valid", "20", "--test", "20", "--workers", "0", "--quiet")
        data = str(folder / "data" / task)
        log = folder / "log"
        assert Child(log, command, ["generate", "--task", task, *sizes, "--out", data]).wait() == 0, log.read_text()
        assert Child(log, work.train, data, str(folder / task), "steps=2", "warmup=0").wait() == 0, log.read_text()
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.parametrize("task", TASKS)
def test_solve(task: str, request: pytest.FixtureRequest) -> None:
    """Each text as the problem."""
    if share() is None:
        pytest.skip("part of `make torture` alone: it trains a model")
    run = str(request.getfixturevalue("runs") / task)
    lines = [(name, ["solve", "--run", run, "--beam", "2", "--quiet", "--", text]) for name, text in TEXTS.items()]
    with figures("hostile input", f"`solve` of {task}") as counts:
        run_all(counts, lines, None)
    expect_no_code_run()
