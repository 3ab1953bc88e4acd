"""What an experiment costs: measured seconds of a training step x number of steps. Where nothing was measured there is no cost."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import yaml

from mathpipe.pipeline.config.published_tables import Experiment, Size

RATES = Path(__file__).parent / "rates.yaml"
DEVICES = {"epyc": "one core of an AMD EPYC", "h100": "one NVIDIA H100"}
DEFAULT_STEPS = 900  # of ``TrainConfig``, whose module this listing does not need


@cache
def rates() -> dict[str, dict[str, dict[str, float]]]:
    """size -> row or point of a table -> device -> seconds of a training step."""
    values: dict[str, dict[str, dict[str, float]]] = yaml.safe_load(RATES.read_text(encoding="utf-8"))
    return values


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
