"""The recommended preset of a dataset: the experiment on its task whose problems have the most options in common with it.

On a CPU only CPU-sized forms are chosen; on a GPU the published form, unless the options of the CPU-sized one are closer.
``recommended.yaml`` names the tables and the measured accuracies.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from mathpipe.generate.cards.spec_parameters import format_value, option_values
from mathpipe.generate.tasks.task_registry import TASKS
from mathpipe.pipeline.config.counts import parse_count
from mathpipe.pipeline.config.preset_catalogue import CPU_SUFFIX
from mathpipe.pipeline.config.published_tables import Experiment, Size, experiments_of
from mathpipe.pipeline.config.stage_parameters import make_spec
from mathpipe.pipeline.config.yaml_text import load_values
from mathpipe.pipeline.published.costs import DEFAULT_EXAMPLES, format_seconds, training_seconds
from mathpipe.pipeline.published.figures import published_figures

RECOMMENDED = Path(__file__).parent / "recommended.yaml"
Device = Literal["cpu", "cuda"]
DEVICE_NAMES: dict[Device, str] = {"cpu": "a CPU", "cuda": "a GPU"}
MAX_VALUE = 40  # characters of a value that a message shows
_COST_DEVICES = {"epyc": "one core of an AMD EPYC", "h100": "one NVIDIA H100"}
SIZES_OF_DEVICE: dict[Device, tuple[Size, ...]] = {"cpu": ("cpu",), "cuda": ("full", "cpu")}


@cache
def recommended_values() -> dict[str, Any]:
    """The content of ``recommended.yaml``: ``tables``, ``not_chosen`` (task -> reason), ``measured`` (preset -> [low, high])."""
    values: dict[str, Any] = load_values(RECOMMENDED.read_text(encoding="utf-8"), RECOMMENDED.name)
    return values


@dataclass(frozen=True)
class Candidate:
    """One size of an experiment."""

    experiment: Experiment
    size: Size

    @property
    def preset(self) -> str:
        return self.experiment.preset + (CPU_SUFFIX if self.size == "cpu" else "")

    @property
    def train(self) -> dict[str, Any]:
        """Its section ``train`` but for ``threads``: records are made with one thread, other runs may use all of them."""
        return {
            name: value for name, value in self.experiment.sections(self.size)["train"].items() if name != "threads"
        }

    def differences(self, spec: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
        """Option of the task -> its value in the preset and in a dataset of this spec, for the options that differ."""
        generate = self.experiment.sections(self.size)["generate"]
        task = TASKS[generate["task"]]
        made_for = make_spec(task, dict(generate.get("spec") or {}), 0, "generate.spec").model_dump(mode="json")
        values, dataset_values = option_values(task, made_for), option_values(task, dict(spec))
        return {
            name: (values.get(name), dataset_values.get(name))
            for name in values | dataset_values
            if name in values.keys() & dataset_values.keys() | {"dim", "min_dim", "max_dim"}
            and values.get(name) != dataset_values.get(name)
        }

    @property
    def examples(self) -> int:
        """The training examples that its figures were measured with."""
        return parse_count(self.experiment.sections(self.size)["generate"].get("n", DEFAULT_EXAMPLES))

    def accuracy(self) -> str | None:
        """``98.1 to 98.9 % (measured)`` or ``over 90 % (published)``; None if neither is known."""
        bounds = recommended_values()["measured"].get(self.preset)
        if bounds is not None:
            return " to ".join(f"{value:g}" for value in dict.fromkeys(bounds)) + " % (measured)"
        figures = published_figures([self.experiment]) if self.size == "full" else None
        return None if figures is None else f"{figures} (published)"

    def cost(self) -> str | None:
        """``training 8 min on one core of an AMD EPYC``, for each device where a step was timed; None if it was not."""
        seconds = training_seconds(self.experiment, self.size)
        costs = [f"{format_seconds(s)} on {_COST_DEVICES[device]}" for device, s in seconds.items()]
        return f"training {', '.join(costs)}" if costs else None

    def figures(self) -> str | None:
        """Accuracy and cost, where either is known."""
        return ", ".join(filter(None, [self.accuracy(), self.cost()])) or None


def candidates(task: str, sizes: tuple[Size, ...] = ("full", "cpu")) -> list[Candidate]:
    """All recommended presets of a task in these sizes; none for a task outside the package."""
    values = recommended_values()
    if task in values["not_chosen"]:
        return []
    return [
        Candidate(experiment, size)
        for table in values["tables"]
        for experiment in experiments_of(table)
        for size in sizes
        if experiment.sections(size)["generate"].get("task") == task
    ]


def is_generated(spec: Mapping[str, Any]) -> bool:
    """Whether the problems of a dataset are those of a task of the package, with its options; imported ones have none."""
    return spec["task"] in TASKS and not spec.get("source_digest") and spec["problems"].get("kind") != "imported"


def recommend(spec: Mapping[str, Any], device: Device) -> Candidate | None:
    """The recommended preset for a dataset of this spec, as it is stored; None if its task has none."""
    if spec.get("source_digest"):
        return None
    choices = candidates(str(spec["task"]), SIZES_OF_DEVICE[device])
    if not is_generated(spec):
        return choices[0] if choices else None
    return min(choices, key=lambda choice: len(choice.differences(spec)), default=None)


def describe(choice: Candidate, spec: Mapping[str, Any], rows: int, device: Device, changed: bool) -> list[str]:
    """What a training with this preset is expected to reach, and its cost.

    ``rows``: training examples of the dataset; ``changed``: some parameters have other values than in the preset.
    """
    lines = [
        f"parameters: preset {choice.preset}, recommended for {spec['task']} on {DEVICE_NAMES[device]}; --preset NAME takes "
        "another, --preset none the defaults"
    ]
    reason = _why_unknown(choice, spec, rows, changed)
    if reason is not None:
        figures = choice.figures()
        lines.append(
            f"expected accuracy: not known, since {reason}" + (f"; the preset itself: {figures}" if figures else "")
        )
    else:
        parts = [choice.accuracy() or "not known", choice.cost()]
        lines.append(f"expected accuracy: {', '.join(filter(None, parts))}")
    full = Candidate(choice.experiment, "full").figures()
    if choice.size == "cpu" and full:
        lines.append(f"published size: --preset {choice.experiment.preset}: {full}")
    return lines


def describe_none(task: str, steps: int) -> list[str]:
    """What a training without a recommended preset uses."""
    reason = recommended_values()["not_chosen"].get(task)
    return [
        f"parameters: the defaults of `mathpipe train` with {steps:,} steps, since no preset is recommended for {task}"
        + (f" ({reason}; `mathpipe presets` lists them)" if reason else ""),
        "expected accuracy: not known; -S sets parameters, --preset NAME takes a preset",
    ]


def _why_unknown(choice: Candidate, spec: Mapping[str, Any], rows: int, changed: bool) -> str | None:
    """Why the figures of the preset say nothing about this training; None if they hold."""
    if not is_generated(spec):
        return "the problems are imported"
    differences = choice.differences(spec)
    if differences:
        values = ", ".join(f"{name} {_text(value)}, here {_text(here)}" for name, (value, here) in differences.items())
        return f"the preset is for other problems ({values})"
    if rows < choice.examples:
        return f"the preset is for {choice.examples:,} training examples, and the dataset has {rows:,}"
    return "parameters of the preset are overridden" if changed else None


def _text(value: Any) -> str:
    text = "unset" if value in (None, "", ()) else format_value(value)
    return text if len(text) <= MAX_VALUE else f"{text[:MAX_VALUE]}..."
