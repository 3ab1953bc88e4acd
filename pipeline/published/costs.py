"""What an experiment costs: measured rates x number of examples or steps. Where nothing was measured there is no cost."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from mathpipe.pipeline.config.counts import parse_count
from mathpipe.pipeline.config.published_tables import Experiment, Size
from mathpipe.pipeline.config.yaml_text import load_values

RATES = Path(__file__).parent / "rates.yaml"
DEVICES = {"epyc": "EPYC", "h100": "H100"}
DEVICES_LONG = "EPYC: one core of an AMD EPYC with AVX2; H100: one NVIDIA H100"
DEFAULT_EXAMPLES = 1_000_000  # of ``GenerateParams``
DEFAULT_STEPS = 900  # of ``TrainConfig``, whose module this listing does not need


@cache
def rates() -> dict[str, dict[str, Any]]:
    """size -> row or point of a table -> device -> seconds of a training step; ``generation``: task -> examples per CPU-second."""
    values: dict[str, dict[str, Any]] = load_values(RATES.read_text(encoding="utf-8"), RATES.name)
    return values


def generation_seconds(experiment: Experiment, size: Size) -> float | None:
    """CPU-seconds on an EPYC that the training problems take; None if generation of this task was not timed."""
    generate = experiment.sections(size)["generate"]
    rate = rates()["generation"].get(generate["task"])
    return None if rate is None else parse_count(generate.get("n", DEFAULT_EXAMPLES)) / rate


def training_seconds(experiment: Experiment, size: Size) -> dict[str, float]:
    """device -> seconds of training, for the devices on which a step of this experiment was measured.

    The rate of a row holds for all points of its grid, unless a point has a rate of its own.
    """
    measured = rates()[size]
    rate = measured.get(experiment.preset, measured.get(f"{experiment.table}/{experiment.row}", {}))
    steps = experiment.sections(size)["train"].get("steps", DEFAULT_STEPS)
    return {device: steps * seconds for device, seconds in rate.items()}


def format_seconds(seconds: float) -> str:
    """A duration with two or three digits: 45 s, 7 min, 18 h, 196 days."""
    for limit, unit, name in ((120, 1, "s"), (7200, 60, "min"), (172_800, 3600, "h")):
        if seconds < limit:
            return f"{seconds / unit:.0f} {name}"
    return f"{seconds / 86_400:.0f} days"
