"""``mathpipe presets``: list the presets by paper and table, or print one."""

from __future__ import annotations

import click
import yaml

from mathpipe.pipeline.config.preset_catalogue import file_preset_names, preset_file, preset_text
from mathpipe.pipeline.config.published_tables import SIZES, Experiment, Size, experiments_of, load_table, table_names
from mathpipe.pipeline.config.stage_parameters import EvaluateParams
from mathpipe.pipeline.config.yaml_text import load_text
from mathpipe.pipeline.published.costs import (
    DEVICES,
    DEVICES_LONG,
    format_seconds,
    generation_seconds,
    training_seconds,
)
from mathpipe.pipeline.published.figures import published_figures

NO_FIGURE = "no figure in our sources"


@click.command("presets")
@click.argument("name", required=False)
def presets(name: str | None) -> None:
    """List the presets, or print one for use as params.yaml.

    The experiments of published tables stand by paper, with the published figures and the measured cost of training. TABLE/ROW is
    the published form and TABLE/ROW:cpu a form of at most ten CPU-minutes. `mathpipe presets TABLE` lists a table in full.

    \b
    Example:
      mathpipe presets inverse-2x2 > params.yaml
      mathpipe presets lawt-tasks
      mathpipe presets lawt-tasks/svd:cpu
    """
    if name is None:
        click.echo("\n".join(_listing()))
    elif name in table_names():
        click.echo("\n".join(_table_lines(name, all_points=True)))
    else:
        click.echo(with_evaluation_defaults(preset_text(name)))


def with_evaluation_defaults(text: str) -> str:
    """The text of a preset, with the default section ``evaluate`` if it has none: DVC's stages need every section."""
    if "evaluate" in load_text(text, "the preset"):
        return text.rstrip()
    defaults = {"evaluate": EvaluateParams().model_dump(mode="json")}
    return f"{text.rstrip()}\n{yaml.safe_dump(defaults, sort_keys=False).rstrip()}"


def _listing() -> list[str]:
    """All presets: the experiments of published tables by paper, then the files."""
    lines: list[str] = []
    paper = None
    for table in sorted(table_names(), key=lambda name: (load_table(name).paper, name)):
        if load_table(table).paper != paper:
            paper = load_table(table).paper
            lines += ["", paper] if lines else [paper]
        lines += _table_lines(table, all_points=False)
    lines += ["", "Files of parameters"]
    for name in file_preset_names():
        title = preset_file(name).read_text(encoding="utf-8").splitlines()[0]
        lines.append(f"  {name:<22}{title.lstrip('# ').removesuffix('; changes:')}")
    lines += [
        "",
        DEVICES_LONG,
        "`mathpipe presets NAME` prints a preset or the points of a table; `mathpipe replicate TABLE` runs it.",
    ]
    return lines


def _table_lines(table: str, all_points: bool) -> list[str]:
    """A table: one line for each row, or for each point of its grid, with figures and cost."""
    definition = load_table(table)
    lines = [f"  {table}: {definition.title}"]
    rows: dict[str, list[Experiment]] = {}
    for experiment in experiments_of(table):
        rows.setdefault(experiment.name if all_points else experiment.row, []).append(experiment)
    for name, points in rows.items():
        first = points[0]
        count = f", {len(points)} points" if len(points) > 1 else ""
        lines.append(
            f"    {table}/{name}: {first.definition.about}{count}; published: {published_figures(points) or NO_FIGURE}"
        )
        for size in reversed(SIZES):
            lines.append(f"      {size:<5}{_form(first, size)}; {_cost(points, size)}")
    return lines


def _form(experiment: Experiment, size: Size) -> str:
    needs = experiment.needs(size)
    return experiment.about(size) + (f"; needs {needs}" if needs else "")


def _cost(points: list[Experiment], size: Size) -> str:
    """Generation and training where they were timed, on each device; a range over the points of a family."""
    costs = []
    for device, name in DEVICES.items():
        times = [t[device] for t in (training_seconds(point, size) for point in points) if device in t]
        if times:
            costs.append(f"{_range(times)} on {name}")
    built = [seconds for seconds in (generation_seconds(point, size) for point in points) if seconds is not None]
    generation = f"generation {_range(built)} on {DEVICES['epyc']}, " if built and max(built) >= 10 else ""
    return f"{generation}training {', '.join(costs) or 'not timed'}"


def _range(times: list[float]) -> str:
    low, high = format_seconds(min(times)), format_seconds(max(times))
    return low if low == high else f"{low} to {high}"
