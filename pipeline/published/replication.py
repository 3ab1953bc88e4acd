"""Run an experiment of a published table: generate, train, evaluate, with the commands a user would type.

Everything is resumable: finished stages are noted in ``stages.json`` of the experiment's directory, an interrupted one resumes.
"""

from __future__ import annotations

import contextlib
import datetime
import io
import json
import os
import platform
import time
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
import yaml

from mathpipe.datasets.io.atomic_files import write_json
from mathpipe.pipeline.cli import cli
from mathpipe.pipeline.code_version import commit
from mathpipe.pipeline.config.parameter_files import Sections, merge
from mathpipe.pipeline.config.published_tables import Evaluation, Experiment, Size
from mathpipe.pipeline.published.records import Measurement, SeedResult, file_name, measurement, parameters_digest
from mathpipe.train.config import TrainConfig


@dataclass(frozen=True)
class Folders:
    """Where datasets and runs lie."""

    data: Path = Path("data/replicate")
    runs: Path = Path("runs/replicate")

    def dataset(self, generate: dict[str, Any]) -> Path:
        """The directory of a dataset: experiments with the same data share it."""
        return self.data / f"{generate['task']}-{parameters_digest({'generate': generate})[:10]}"

    def seed(self, experiment: Experiment, size: Size, seed: int) -> Path:
        return self.runs / experiment.table / f"{file_name(experiment.name)}.{size}" / f"seed-{seed}"


class Stages:
    """Results of finished stages, in a file; those of other parameters are forgotten."""

    def __init__(self, path: Path, digest: str) -> None:
        self.path = path
        values = json.loads(path.read_text(encoding="utf-8-sig")) if path.exists() else {}
        self.values: dict[str, Any] = values if values.get("digest") == digest else {"digest": digest}

    def run(self, name: str, arguments: list[str]) -> dict[str, Any]:
        """Run a command, unless it finished before. Its result, with ``seconds`` and ``cpu_seconds`` of this process."""
        if name not in self.values:
            started, cpu = time.perf_counter(), _cpu_seconds()
            result = run_command(arguments)
            elapsed, used = time.perf_counter() - started, _cpu_seconds() - cpu
            self.values[name] = {"result": result, "seconds": elapsed, "cpu_seconds": used}
            write_json(self.path, self.values)
        stage: dict[str, Any] = self.values[name]
        return stage


def replicate(experiment: Experiment, size: Size, parameters: Sections, seed: int, folders: Folders) -> SeedResult:
    """Generate, train with this seed, and make all evaluations of an experiment."""
    directory = folders.seed(experiment, size, seed)
    directory.mkdir(parents=True, exist_ok=True)
    sections = merge(parameters, {"train": {"seed": seed}})
    params = directory / "params.yaml"
    params.write_text(yaml.safe_dump(sections, sort_keys=False), encoding="utf-8")
    stages = Stages(directory / "stages.json", parameters_digest(sections))
    data = folders.dataset(sections["generate"])
    seconds: dict[str, float] = {}
    cpu_seconds: dict[str, float | None] = {}

    generated = stages.run("generate", generate_arguments(params, data))
    seconds["generate"] = generated["seconds"]
    is_built = generated["result"]["built_rows"] == sum(s["rows"] for s in generated["result"]["splits"].values())
    cpu_seconds["generate"] = generated["cpu_seconds"] if is_built else None

    run = directory / "run"
    trained = stages.run(
        "train",
        [
            "train",
            "--params",
            str(params),
            "--data",
            str(data),
            "--run",
            str(run),
            "--on-mismatch",
            "restart",
            "--json",
        ],
    )
    result = trained["result"]
    seconds["train"] = result["seconds"]
    cpu_seconds["train"] = trained["cpu_seconds"] if result["session_steps"] == result["step"] else None

    config = TrainConfig.model_validate(sections["train"])
    evaluated = [
        _evaluate(stages, name, evaluation, sections, directory, folders)
        for name, evaluation in experiment.evaluations.items()
    ]
    measurements = {
        name: measurement(metrics, evaluation.measure or experiment.measure, result["metrics"], config.valid_examples)
        for (name, evaluation), metrics in zip(experiment.evaluations.items(), evaluated, strict=True)
    }
    finished = [stage for name, stage in stages.values.items() if name.startswith("eval ")]
    seconds["evaluate"] = sum(stage["seconds"] for stage in finished)
    cpu_seconds["evaluate"] = sum(stage["cpu_seconds"] for stage in finished)
    return _seed_result(seed, config, result, measurements, seconds, cpu_seconds)


def generate_arguments(params: Path, data: Path) -> list[str]:
    return ["generate", "--params", str(params), "--out", str(data), "--on-mismatch", "restart", "--json"]


def _evaluate(
    stages: Stages, name: str, evaluation: Evaluation, sections: Sections, directory: Path, folders: Folders
) -> dict[str, Any]:
    """The metrics of an evaluation. Evaluations that differ in their measure alone share one."""
    changes: Sections = {"evaluate": evaluation.evaluate, "generate": evaluation.generate}
    key = parameters_digest(changes)[:8]
    params = directory / f"params-{key}.yaml"
    changed = merge(sections, changes)
    params.write_text(yaml.safe_dump(changed, sort_keys=False), encoding="utf-8")
    data = folders.dataset(changed["generate"])
    if evaluation.generate:
        stages.run(f"test data {key}", generate_arguments(params, data))
    arguments = ["eval", "--params", str(params), "--run", str(directory / "run"), "--data", str(data), "--json"]
    metrics: dict[str, Any] = stages.run(f"eval {key}", arguments)["result"]
    return metrics


def _seed_result(
    seed: int,
    config: TrainConfig,
    trained: dict[str, Any],
    measurements: dict[str, Measurement],
    seconds: dict[str, float],
    cpu_seconds: dict[str, float | None],
) -> SeedResult:
    return SeedResult(
        seed=seed,
        steps=trained["step"],
        examples=trained["step"] * config.batch,
        outcome=trained["outcome"],
        measurements=measurements,
        seconds={stage: round(value, 1) for stage, value in seconds.items()},
        cpu_seconds={stage: value if value is None else round(value, 1) for stage, value in cpu_seconds.items()},
        device=device_name(),
        device_type="cuda" if torch.cuda.is_available() else "cpu",
        threads=torch.get_num_threads(),
        versions=versions(),
        date=datetime.datetime.now(datetime.UTC).date().isoformat(),
    )


def run_command(arguments: list[str]) -> dict[str, Any]:
    """Run a command of mathpipe in this process, with ``--json``; its output."""
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        cli.main(args=arguments, prog_name="mathpipe", standalone_mode=False)
    result: dict[str, Any] = json.loads(output.getvalue())
    return result


def _cpu_seconds() -> float:
    """CPU seconds of this process and its finished children."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


@cache
def device_name() -> str:
    """The GPU, or else the processor with the widest vector instructions that torch uses."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"{_processor()} ({torch.backends.cpu.get_cpu_capability()})"


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8-sig").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


@cache
def versions() -> dict[str, str]:
    """Versions of mathpipe and of what decides results; the commit, where mathpipe is a Git checkout."""
    libraries = {name: version(name) for name in ("mathpipe", "torch", "numpy")}
    current = commit()
    return {**libraries, "python": platform.python_version(), **({"commit": current} if current else {})}
