"""``mathpipe replicate``: every experiment runs from its problems to its record; interruptions, seeds and the page of results."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mathpipe.datasets.errors import UserError
from mathpipe.pipeline.cli import main
from mathpipe.pipeline.config.counts import parse_count
from mathpipe.pipeline.config.parameter_files import Sections, merge
from mathpipe.pipeline.config.published_tables import Evaluation, Experiment, experiments, experiments_of, table_names
from mathpipe.pipeline.config.stage_parameters import GenerateParams
from mathpipe.pipeline.published import replication
from mathpipe.pipeline.published.costs import (
    DEFAULT_EXAMPLES,
    DEFAULT_STEPS,
    format_seconds,
    generation_seconds,
    rates,
    training_seconds,
)
from mathpipe.pipeline.published.dvc_experiments import run_in_dvc
from mathpipe.pipeline.published.records import (
    Measurement,
    SeedResult,
    add_seed,
    measurement,
    missing_seeds,
    read_record,
    record_path,
)
from mathpipe.pipeline.published.replication import Folders, replicate
from mathpipe.pipeline.published.results_page import page_text, write_page
from mathpipe.train.config import TrainConfig

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "docs" / "results"
MODEL = {
    side + size: n for side in ("encoder_", "decoder_") for size, n in (("layers", 1), ("width", 32), ("heads", 2))
}
BACKBONE = {"layers": 1, "width": 32, "heads": 2}
SLOW = ("ode1", "ode2", "integration-fwd", "integration-ibp")  # a chunk of problems takes seconds


def tiny(experiment: Experiment) -> Sections:
    """The CPU-sized form with few problems, two steps and a small model."""
    sections = experiment.sections("cpu")
    shape = {"backbone": BACKBONE} if "backbone" in sections["train"] else {"model": MODEL}
    train = {"steps": 2, "warmup": 0, "batch": 4, "eval_every": 2, "valid_examples": 4, **shape}
    splits = {name: {**changes, "n": 20} for name, changes in sections["generate"].get("extra_test", {}).items()}
    generate = {"n": 200, "valid": 20, "test": 20, "extra_test": splits}
    return merge(sections, {"generate": generate, "train": train, "evaluate": {"limit": 4}})


def all_experiments() -> list[Any]:
    """Every point of every table. Slow: all but the first of each row (of the gallery, of each task), and slow problems."""
    first: dict[str, Experiment] = {}
    for experiment in experiments():
        key = experiment.preset if experiment.row == "gallery" else f"{experiment.table}/{experiment.row}"
        first.setdefault(key, experiment)
    fast = {experiment.preset for experiment in first.values() if not _generates_slowly(experiment)}
    return [pytest.param(e, id=e.preset, marks=[] if e.preset in fast else [pytest.mark.slow]) for e in experiments()]


def _generates_slowly(experiment: Experiment) -> bool:
    tasks = {experiment.sections("cpu")["generate"]["task"]}
    tasks |= {evaluation.generate.get("task") for evaluation in experiment.evaluations.values()}
    return bool(tasks & set(SLOW))


def small_test_data(evaluation: Evaluation) -> Evaluation:
    """The evaluation with few problems of another dataset."""
    return evaluation.model_copy(update={"generate": {**evaluation.generate, "n": 200}} if evaluation.generate else {})


@pytest.mark.parametrize("experiment", all_experiments())
def test_cpu_form_runs_from_problems_to_record(
    experiment: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluations = {name: small_test_data(evaluation) for name, evaluation in experiment.evaluations.items()}
    monkeypatch.setattr(Experiment, "evaluations", property(lambda _: evaluations))
    parameters, folders = tiny(experiment), Folders(tmp_path / "data", tmp_path / "runs")
    result = replicate(experiment, "cpu", parameters, 0, folders)
    add_seed(tmp_path / "results", experiment, "cpu", parameters, result)
    record = read_record(record_path(tmp_path / "results", experiment.table, experiment.name, "cpu"))
    assert record is not None and record.parameters == parameters and record.seeds == [result]
    assert result.steps == 2 and result.examples == 8 and result.measurements.keys() == evaluations.keys()
    for measured in result.measurements.values():
        assert measured.value is not None and 0 <= measured.value <= 1 and measured.problems == 4
        assert measured.interval is None or measured.interval[0] <= measured.value <= measured.interval[1]
    page = page_text(tmp_path / "results")
    row = experiment.name if len(evaluations) == 1 else f"{experiment.name}: {next(iter(evaluations))}"
    line = next(line for line in page.splitlines() if line.startswith(f"| {row} |"))
    assert " of 4 " in line or "classes, 4 problems" in line


@pytest.fixture
def experiment() -> Experiment:
    return next(e for e in experiments_of("lawt-tasks") if e.name == "transpose")


@pytest.fixture
def small_forms(monkeypatch: pytest.MonkeyPatch) -> None:
    """``mathpipe replicate`` runs the CPU-sized forms at a tiny size."""
    forms = {e: tiny(e) for e in experiments()}
    monkeypatch.setattr(Experiment, "sections", lambda self, size: forms[self])


Run = Callable[[str], str]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    monkeypatch.chdir(tmp_path)

    def run_line(line: str) -> str:
        with pytest.raises(SystemExit) as end:
            main(line.split())
        captured = capsys.readouterr()
        assert not end.value.code, captured.err
        return captured.out + captured.err

    return run_line


COMMAND = "replicate lawt-tasks --row transpose --no-dvc"


@pytest.mark.usefixtures("small_forms")
def test_finished_rows_are_skipped_and_seeds_are_added(run: Run) -> None:
    assert "lawt-tasks/transpose, cpu, seed 0, test: 0.00 % of 4" in run(COMMAND)
    path = Path("docs/results/lawt-tasks/transpose.cpu.json")
    first = path.read_bytes()
    assert "transpose: finished before" in run(COMMAND) and path.read_bytes() == first
    run(f"{COMMAND} --seeds 2")
    record = read_record(path)
    assert record is not None and [s.seed for s in record.seeds] == [0, 1]
    assert record.seeds[1].cpu_seconds["generate"] is None, "the second seed uses the data of the first"
    assert record.command.endswith("--row transpose --size cpu --seeds 2")
    page = Path("docs/results.md").read_text()
    assert "seed 0: 0.00 % (0.00 to 48.99) of 4; seed 1: 0.00 % (0.00 to 48.99) of 4" in page
    assert page == page_text(Path("docs/results"))
    assert "Not run at size cpu: add, matvec, matmul, eigenvalues" in page


@pytest.mark.usefixtures("small_forms")
def test_interrupted_experiment_resumes_at_its_stage(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    commands: list[str] = []
    run_command = replication.run_command

    def interrupted_at_evaluation(arguments: list[str]) -> dict[str, Any]:
        commands.append(arguments[0])
        if arguments[0] == "eval" and commands.count("eval") == 1:
            raise SystemExit(0)  # as a kill would: nothing is written after this point
        return run_command(arguments)

    monkeypatch.setattr(replication, "run_command", interrupted_at_evaluation)
    run(COMMAND)
    assert not Path("docs/results/lawt-tasks").exists()
    run(COMMAND)
    assert commands == ["generate", "train", "eval", "eval"]
    assert read_record(Path("docs/results/lawt-tasks/transpose.cpu.json")) is not None


def test_results_of_other_parameters_are_replaced(experiment: Experiment, tmp_path: Path) -> None:
    folders = Folders(tmp_path / "data", tmp_path / "runs")
    parameters = tiny(experiment)
    record = add_seed(tmp_path, experiment, "cpu", parameters, replicate(experiment, "cpu", parameters, 0, folders))
    changed = merge(parameters, {"train": {"lr": 1e-3}})
    assert (missing_seeds(record, parameters, 2), missing_seeds(record, changed, 2)) == ([1], [0, 1])
    record = add_seed(tmp_path, experiment, "cpu", changed, replicate(experiment, "cpu", changed, 0, folders))
    assert len(record.seeds) == 1 and record.parameters == changed
    assert "(settings have changed since)" in page_text(tmp_path)


@pytest.mark.parametrize(
    ("changes", "time"),
    [
        ({}, "2 min CPU"),
        ({"device_type": "cuda", "device": "NVIDIA H100"}, "4 min"),
        (
            {"cpu_seconds": {"generate": None, "train": None, "evaluate": 10.0}},
            "10 s CPU and 3 min elapsed of resumed training, without generation (data made before)",
        ),
    ],
)
def test_time_on_each_device(changes: dict[str, Any], time: str, experiment: Experiment, tmp_path: Path) -> None:
    result = SeedResult(
        seed=0,
        steps=10,
        examples=640,
        outcome="finished",
        measurements={"test": Measurement(value=0.5, interval=(0.4, 0.6), problems=100, reference=1.0)},
        seconds={"generate": 20.0, "train": 200.0, "evaluate": 20.0},
        cpu_seconds={"generate": 10.0, "train": 100.0, "evaluate": 10.0},
        device="AMD EPYC (AVX2)",
        device_type="cpu",
        threads=1,
        versions={"mathpipe": "0.1.0"},
        date="2026-11-29",
    ).model_copy(update=changes)
    add_seed(tmp_path, experiment, "full", experiment.sections("full"), result)
    line = next(line for line in page_text(tmp_path).splitlines() if line.startswith("| transpose |"))
    assert line == (
        "| transpose | full: 10x10, P1000, 1+1 layers | 99.8 % (5x5, P10) | 50.00 % (40.00 to 60.00) of 100 | 100.00 % |  "
        f"| 640 | {result.device} | {time} |"
    )


def test_damaged_record_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "transpose.cpu.json"
    path.write_text('{"table": "lawt-tasks"}')
    with pytest.raises(UserError, match="is not a record of an experiment"):
        read_record(path)


def test_page_of_results_is_made_from_the_records(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    assert page == page_text(RESULTS), "make it again: mathpipe replicate lawt-tasks --row transpose"
    assert write_page(tmp_path / "docs" / "results").read_text(encoding="utf-8") == page_text(
        tmp_path / "docs" / "results"
    )
    for table in table_names():
        assert f"### {table}: " in page


def test_records_belong_to_experiments() -> None:
    by_path = {record_path(RESULTS, e.table, e.name, size): e for e in experiments() for size in ("cpu", "full")}
    for path in RESULTS.rglob("*.json"):
        record = read_record(path)
        assert path in by_path and record is not None and by_path[path].name == record.row


def test_points_have_different_names() -> None:
    paths = [record_path(RESULTS, e.table, e.name, "cpu").as_posix() for e in experiments()]
    assert len(set(paths)) == len(paths)


def test_measures_and_their_intervals() -> None:
    metrics = {
        "n": 200,
        "accuracy": 0.5,
        "bit_accuracy": 0.9,
        "classes": 50,
        "classes_predicted": 10,
        "reference": {"5%": 1.0, "1%": 0.75},
        "by_tolerance": {"l1": {"5%": 0.5, "1%": 0.25}},
    }
    one_percent = measurement(metrics, "by_tolerance/l1/1%", {}, 0)
    assert (one_percent.value, one_percent.reference) == (0.25, 0.75)
    accuracy = measurement(metrics, "accuracy", {}, 0)
    assert accuracy.interval == pytest.approx((0.4314, 0.5686), abs=1e-4)  # Wilson, 100 of 200
    assert measurement(metrics, "bit_accuracy", {}, 0).interval == pytest.approx((0.8506, 0.9343), abs=1e-4)
    classes = measurement(metrics, "classes_predicted", {}, 0)
    assert (classes.value, classes.interval) == (0.2, None)
    trained = measurement(metrics, "valid_token_accuracy", {"valid_token_accuracy": 0.4}, 1000)
    assert (trained.value, trained.problems) == (0.4, 1000)
    assert measurement(metrics, "no_such_metric", {}, 0).value is None


def test_cost_is_the_measured_rate_times_the_steps(run: Run, experiment: Experiment) -> None:
    assert training_seconds(experiment, "full") == {"epyc": 5.66 * 150_000, "h100": 0.0103 * 150_000}
    listing = run("presets lawt-tasks")
    assert "training 10 days on EPYC, 26 min on H100" in listing
    assert "training not timed" in listing
    ode2 = next(e for e in experiments_of("lc-beams") if e.name == "ode2")
    assert generation_seconds(ode2, "full") == 40_000_000 / 45
    assert generation_seconds(experiment, "full") is None, "transposition was not timed"
    assert [format_seconds(s) for s in (45, 600, 7200, 500_000)] == ["45 s", "10 min", "2 h", "6 days"]


def test_cpu_forms_take_at_most_ten_minutes() -> None:
    names = {e.preset for e in experiments()} | {f"{e.table}/{e.row}" for e in experiments()}
    for size in ("cpu", "full"):
        assert rates()[size].keys() <= names
    for e in experiments():
        generation = generation_seconds(e, "cpu") or 0.0
        seconds = training_seconds(e, "cpu")["epyc"] + generation
        assert seconds <= 540, f"{e.preset}: with its evaluations it would take more than ten minutes"


def test_presets_show_figures_grids_and_needs(run: Run) -> None:
    listing = run("presets")
    assert "lawt-tasks/eigenvectors: eigenvalues and eigenvectors of symmetric matrices; published: 91.96 %" in listing
    assert "lawt-spectra/trained-on: eigenvalues, trained on one spectrum, 7 points" in listing
    assert "beam 1: 93.6 %; beam 10: 95.6 %; beam 50: 96.2 %" in listing and "needs the weights of gpt2" in listing
    assert "report-bits/batch-size/25: " in run("presets report-bits")
    assert "spectrum: laplace" in run("presets lawt-spectra/trained-on/laplace:cpu")


@pytest.mark.slow
def test_rows_are_experiments_of_dvc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a repository with ``replicate/dvc.yaml`` each row is an experiment with its measures; finished rows are none."""
    monkeypatch.chdir(tmp_path)
    for name in ("GIT_AUTHOR", "GIT_COMMITTER"):
        monkeypatch.setenv(f"{name}_NAME", "t")
        monkeypatch.setenv(f"{name}_EMAIL", "t@example.org")
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("DVC_NO_ANALYTICS", "1")
    for path in (".gitignore", "dvc.yaml", "params.yaml", "replicate/dvc.yaml", "replicate/params.yaml"):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / path, tmp_path / path)
    shutil.copytree(RESULTS, tmp_path / "docs" / "results")
    for command in ("git init --quiet", "dvc init --quiet", "git add --all", "git commit --quiet -m begin"):
        subprocess.run(command.split(), check=True)
    row = next(r for p in sorted(RESULTS.rglob("*.cpu.json")) if (r := read_record(p)) is not None)
    arguments = ["replicate", row.table, "--row", row.row]
    skipped = subprocess.run(["mathpipe", *arguments], check=True, capture_output=True, text=True)
    assert f"{row.row}: finished before" in skipped.stderr and not _dvc_experiments()
    experiment = next(e for e in experiments_of(row.table) if e.name == row.row)
    run_in_dvc(experiment, "cpu", len(row.seeds))
    ((name, measures),) = _dvc_experiments().items()
    assert name == f"{row.table}.{row.row.replace('/', '.')}.cpu.{len(row.seeds)}"
    assert json.dumps(next(iter(row.seeds[0].measurements.values())).value) in measures


def _dvc_experiments() -> dict[str, str]:
    """Name -> row of ``dvc exp show`` as text."""
    shown = subprocess.run(["dvc", "exp", "show", "--csv"], check=True, capture_output=True, text=True).stdout
    return {
        row["Experiment"]: str(row) for row in csv.DictReader(io.StringIO(shown)) if row["typ"].startswith("branch")
    }


def test_costs_take_the_defaults_of_the_stages() -> None:
    assert TrainConfig().steps == DEFAULT_STEPS
    assert parse_count(GenerateParams.model_fields["n"].default) == DEFAULT_EXAMPLES
