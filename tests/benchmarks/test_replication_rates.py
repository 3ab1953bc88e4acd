"""Seconds of a training step of the CPU-sized forms: the section ``cpu`` of pipeline/published/rates.yaml.

pytest tests/benchmarks/test_replication_rates.py -m benchmark -s
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

import pytest
import yaml

from mathpipe.datasets.dataset import open_dataset
from mathpipe.pipeline.config.parameter_files import Sections, merge
from mathpipe.pipeline.config.published_tables import Experiment, experiments
from mathpipe.pipeline.published.costs import DEFAULT_STEPS
from mathpipe.pipeline.published.replication import run_command
from mathpipe.train.config import TrainConfig
from mathpipe.train.trainer import build_record, train
from mathpipe.train.training_progress import NoProgress

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(7200)]
STEPS, FIRST = 10, 3  # the first steps compile kernels and fill the allocator
ROWS_OF_POINTS = ("gallery", "batch-size", "cotraining", "plain", "mbart")  # whose points differ in cost


class StepTimes(NoProgress):
    """CPU time of the process after every step."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def step(self, metrics: Mapping[str, float]) -> None:
        self.times.append(time.process_time())


def by_cost() -> dict[str, Experiment]:
    """One experiment of every row, and every point of the rows whose points differ in cost."""
    chosen: dict[str, Experiment] = {}
    for experiment in experiments():
        every_point = experiment.row in ROWS_OF_POINTS or experiment.table in ("lawt-sweep", "lawt-encodings")
        chosen.setdefault(experiment.preset if every_point else f"{experiment.table}/{experiment.row}", experiment)
    return chosen


def seconds_of_step(sections: Sections, folder: Path) -> float:
    """The median CPU time of a step, evaluations not included."""
    sections = merge(sections, {"generate": {"n": 400, "valid": 20, "test": 20}})
    sections["generate"].pop("extra_test", None)
    params, data = folder / "params.yaml", folder / "data"
    params.write_text(yaml.safe_dump(sections))
    run_command(["generate", "--params", str(params), "--out", str(data), "--quiet", "--json"])
    settings = sections["train"] | {"steps": STEPS, "warmup": 0, "stop_metric": None, "stop_at": None}
    config = TrainConfig.model_validate(settings)
    record = build_record(config, open_dataset(str(data), "train", config.input_encoding, config.output_encoding))
    dataset = open_dataset(str(data), "train", record.input_encoding, record.output_encoding)
    times = StepTimes()
    train(config, dataset, None, folder / "run", progress=times, dvclive=False)
    return statistics.median(after - before for before, after in pairwise(times.times[FIRST:]))


def test_rates(tmp_path: Path) -> None:
    """Prints the rates. They are no assertion: other processors differ."""
    for k, (name, experiment) in enumerate(by_cost().items()):
        folder = tmp_path / str(k)
        folder.mkdir()
        sections = experiment.sections("cpu")
        rate = seconds_of_step(sections, folder)
        minutes = rate * sections["train"].get("steps", DEFAULT_STEPS) / 60
        sys.stdout.write(f"  {name}: {{epyc: {rate:.2g}}}  # {minutes:.1f} min\n")
        sys.stdout.flush()
