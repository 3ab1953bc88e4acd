"""``mathpipe train`` without --preset: the recommended preset of the task, what to expect of it, and how long it takes."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mathpipe.datasets.errors import UserError
from mathpipe.datasets.problem_types.type_registry import problem_type_of
from mathpipe.generate.tasks.task_registry import TASKS
from mathpipe.pipeline.cli import main
from mathpipe.pipeline.config.preset_catalogue import preset_sections
from mathpipe.pipeline.config.published_tables import table_names
from mathpipe.pipeline.config.resolution import ParameterSource
from mathpipe.pipeline.inputs.latest import latest_dataset
from mathpipe.pipeline.progress import MEASURED_STEPS, StepProgress
from mathpipe.pipeline.published.recommended import Device, candidates, recommend, recommended_values
from mathpipe.pipeline.published.records import read_record as read_result
from mathpipe.pipeline.published.training_parameters import recommended_config
from mathpipe.train.config import TrainConfig
from mathpipe.train.run.run_record import read_record

RESULTS = Path(__file__).parents[2] / "docs" / "results"
DEVICES: tuple[Device, ...] = ("cpu", "cuda")
NO_RUN = Path("no-run")
SHORT = "-S steps=2 -S warmup=1 -S batch=8 -S valid_examples=20 -S eval_every=2 -S threads=1"
WITHOUT_PRESET = {
    *("symmetric-inverse", "determinant", "rank", "solve", "pseudo-inverse", "qr", "cholesky", "expm"),
    *("xor", "memory"),
}

Call = Callable[[str], str]


def spec_of(task: str, **options: Any) -> dict[str, Any]:
    """The spec of a dataset, as manifests store it."""
    values: dict[str, Any] = TASKS[task].make_spec(options).model_dump(mode="json")
    return values


def config_of(spec: dict[str, Any], device: Device, *overrides: str, rows: int = 10**9) -> tuple[TrainConfig, str]:
    config, lines = recommended_config(ParameterSource(overrides=overrides), spec, rows, NO_RUN, device)
    return config, "\n".join(lines)


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """Run a command in an empty directory; its stderr."""
    monkeypatch.chdir(tmp_path)

    def run(line: str) -> str:
        with pytest.raises(SystemExit) as exit_info:
            main(line.split())
        captured = capsys.readouterr()
        assert not exit_info.value.code, captured.err
        return captured.err

    return run


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("task", TASKS)
def test_every_task_has_a_fitting_preset_or_the_defaults(task: str, device: Device) -> None:
    spec = spec_of(task)
    choice = recommend(spec, device)
    config, text = config_of(spec, device)
    assert (choice is None) == (task in WITHOUT_PRESET)
    if choice is None:
        assert config == TrainConfig()
        assert f"defaults of `mathpipe train` with 900 steps, since no preset is recommended for {task}" in text
    else:
        sections = preset_sections(choice.preset)
        assert sections["generate"]["task"] == task
        assert config == TrainConfig.model_validate({**sections["train"], "threads": None})
        assert f"preset {choice.preset}, recommended for {task}" in text and config.backbone is None
    adapter = problem_type_of(spec)
    encodings = adapter.default_encodings(spec, config.input_encoding, config.output_encoding)
    assert all(encodings) or not adapter.takes_number_encodings
    adapter.tokenizers(spec, *encodings, config.precision)  # an error for encodings of another problem type
    assert "expected accuracy: " in text


def test_tables_exist_and_reasons_are_of_tasks() -> None:
    values = recommended_values()
    assert {*values["tables"]} <= {*table_names()} and values["not_chosen"].keys() <= TASKS.keys()


def test_measured_figures_are_those_of_the_records() -> None:
    measured = {}
    for task in TASKS:
        for choice in candidates(task, ("cpu",)):
            experiment = choice.experiment
            record = read_result(RESULTS / experiment.table / f"{experiment.name.replace('/', '.')}.cpu.json")
            if record is not None:
                assert record.parameters["train"] == experiment.sections("cpu")["train"]
                measurements = [seed.measurements for seed in record.seeds]
                accuracies = [100 * ((m.get("test") or m["within 5 %"]).value or 0) for m in measurements]
                measured[choice.preset] = [round(min(accuracies), 2), round(max(accuracies), 2)]
    assert recommended_values()["measured"] == measured


@pytest.mark.parametrize(
    ("device", "task", "options", "preset"),
    [
        ("cpu", "inverse", {"dim": 5}, "lawt-tasks/inverse:cpu"),
        ("cpu", "inverse", {"dim": 3}, "lawt-tasks/inverse:cpu"),
        ("cpu", "inverse", {"dim": 2}, "wimtd-failures/inverse:cpu"),
        ("cuda", "inverse", {"dim": 5}, "lawt-tasks/inverse"),
        ("cuda", "inverse", {"dim": 3}, "lawt-tasks/inverse:cpu"),
        ("cuda", "inverse", {"dim": 8}, "lawt-tasks/inverse"),
        ("cpu", "eigenvalues", {"min_dim": 2, "max_dim": 4}, "lawt-dimensions/mixture:cpu"),
        ("cuda", "eigenvalues", {"min_dim": 5, "max_dim": 15}, "lawt-dimensions/mixture"),
        ("cpu", "add", {"dim": 2, "noise": 0.02}, "lawt-noise/add/0.02:cpu"),
        ("cpu", "gcd", {"operands": "log-uniform", "outcome": "log-uniform"}, "integers/gcd/log-uniform outcomes:cpu"),
    ],
)
def test_problems_and_device_decide_among_presets(
    device: Device, task: str, options: dict[str, Any], preset: str
) -> None:
    choice = recommend(spec_of(task, **options), device)
    assert choice is not None and choice.preset == preset


def test_figures_hold_for_the_problems_and_parameters_of_the_preset_alone() -> None:
    spec = spec_of("eigenvalues", dim=3)
    assert "expected accuracy: 98.12 to 98.9 % (measured), training 6 min on one core" in config_of(spec, "cpu")[1]
    assert "expected accuracy: 98.12 to 98.9 %" in config_of(spec, "cpu", "seed=1", "threads=2")[1]
    assert "not known, since parameters of the preset are overridden" in config_of(spec, "cpu", "steps=900")[1]
    assert "400,000 training examples, and the dataset has 1,000" in config_of(spec, "cpu", rows=1000)[1]
    other = config_of(spec_of("eigenvalues", dim=5), "cpu")[1]
    assert "not known, since the preset is for other problems (dim 3, here 5); the preset itself: 98.12" in other
    assert "published size: --preset lawt-tasks/eigenvalues: 100 %" in other and "18 h on one NVIDIA H100" in other
    full = config_of(spec_of("eigenvectors", dim=5), "cuda")[1]
    assert "expected accuracy: 91.96 % (5x5, 50,000 problems) (published)" in full and "published size" not in full
    assert "expected accuracy: not known, training 56 s on one core" in config_of(spec_of("copy"), "cpu")[1]


def test_tasks_outside_the_package_and_imported_problems() -> None:
    spec = spec_of("eigenvalues", dim=3)
    assert recommend({**spec, "source_digest": "0" * 64}, "cpu") is None
    assert recommend({**spec, "task": "none"}, "cpu") is None
    text = config_of({**spec, "problems": {"kind": "imported"}}, "cpu")[1]
    assert "preset lawt-tasks/eigenvalues:cpu" in text and "not known, since the problems are imported" in text


def test_overrides_win_over_the_preset() -> None:
    config, _ = config_of(spec_of("eigenvalues", dim=3), "cpu", "steps=700", "model.encoder_layers=3")
    assert (config.steps, config.model.encoder_layers) == (700, 3)
    assert (config.model.activation, config.input_encoding) == ("swiglu", "P1000")  # those of the preset


def test_overrides_that_exclude_the_preset_are_an_error_that_names_it() -> None:
    spec = spec_of("eigenvalues", dim=3)
    with pytest.raises(UserError, match=r"preset lawt-tasks/eigenvalues:cpu .* -S sets.*--preset none"):
        config_of(spec, "cpu", "model.positions=learned")
    with pytest.raises(UserError, match=r"did you mean train\.steps"):
        config_of(spec, "cpu", "stepz=3")


def test_recommended_preset_is_trained_and_named(call: Call, addition: Path) -> None:
    err = call(f"train --data {addition} --run r {SHORT} -S lr=1e-3")
    assert "parameters: preset lawt-tasks/add:cpu, recommended for add on a CPU" in err
    assert "not known, since the preset is for 200,000 training examples, and the dataset has 2,000" in err
    config = read_record(Path("r")).config
    assert (config.steps, config.lr, config.log_every) == (2, 1e-3, TrainConfig().log_every)
    assert "preset" not in call(f"train --data {addition} --run r2 {SHORT} --quiet")


@pytest.mark.parametrize("options", ["--preset none", "--preset inverse-2x2", "--params params.yaml"])
def test_named_parameters_are_not_replaced(options: str, call: Call, addition: Path) -> None:
    Path("params.yaml").write_text("train: {lr: 0.002}\n")
    err = call(f"train --data {addition} --run r {options} {SHORT}")
    assert "recommended for" not in err and "expected accuracy" not in err
    assert read_record(Path("r")).config.lr == (0.003 if options == "--preset none" else 0.002)


def test_a_file_without_the_section_train_leaves_the_choice(call: Call, addition: Path) -> None:
    Path("params.yaml").write_text("generate: {task: add}\n")
    assert "preset lawt-tasks/add:cpu" in call(f"train --data {addition} --run r --params params.yaml {SHORT}")


@pytest.mark.parametrize("begun_with", ["recommended", "none", "lawt-noise/add/0"])
def test_a_run_goes_on_with_its_parameters_on_another_device(begun_with: str, call: Call, make_small: Any) -> None:
    data = make_small("add", dim=10, train=200, valid=50, test=50)
    preset = "" if begun_with == "recommended" else f"--preset {begun_with}"
    small = "-S model.encoder_width=16 -S model.decoder_width=16 -S model.encoder_heads=2 -S model.decoder_heads=2"
    call(f"train --data {data} --run r {preset} {SHORT} {small}")
    record = read_record(Path("r"))
    overrides = tuple(text for text in f"{SHORT} {small}".split() if text != "-S")
    config, _ = recommended_config(ParameterSource(overrides=overrides), record.spec, 200, Path("r"), "cuda")
    assert config == record.config
    fresh, _ = recommended_config(ParameterSource(overrides=overrides), record.spec, 200, NO_RUN, "cuda")
    assert (fresh == config) == (begun_with == "lawt-noise/add/0")  # else a GPU takes the published form


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def measured_lines(seconds: float, steps: int, first: int = 0) -> list[str]:
    """The lines about the step time; the first step of the session takes a hundred times as long as the others."""
    clock, stream = Clock(), io.StringIO()
    progress = StepProgress(stream=stream, clock=clock)
    progress.start(first, steps, 64)
    for step in range(first, min(steps, first + 3 * MEASURED_STEPS)):
        clock.now += seconds * (100 if step == first else 1)
        progress.step({})
    return [line for line in stream.getvalue().splitlines() if "measured" in line]


def test_step_time_is_measured_after_the_first_step() -> None:
    assert measured_lines(0.5, 1011) == ["step time measured: 0.5 s, about 8 min left"]  # 1,000 steps
    assert measured_lines(0.5, 1511, first=500) == ["step time measured: 0.5 s, about 8 min left"]
    assert measured_lines(20.0, 1000) == ["step time measured: 20 s, about 5.5 h left"]  # after one step of 20 s
    assert measured_lines(0.5, 100) == []  # less than a minute


def test_latest_dataset_has_training_examples(call: Call) -> None:
    call("generate --task add --dim 2 --n 20 --valid 10 --test 10 --out data/add --quiet")
    Path("test.txt").write_text("[[1, 2], [3, 4]]\t[[1, 3], [2, 4]]\n")
    call("import --task transpose --test test.txt --out data/only-test --quiet")
    manifest = Path("data/only-test/manifest.json")
    assert {*json.loads(manifest.read_text())["splits"]} == {"test"}
    newer = Path("data/add/manifest.json").stat().st_mtime + 10
    os.utime(manifest, (newer, newer))
    assert latest_dataset() == "data/add"
