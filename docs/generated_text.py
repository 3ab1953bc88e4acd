"""Parts of the documentation that are written from the code and the records while the site is built.

A page names one as ``<!-- insert tasks -->``. The pages themselves stay readable without it.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mathpipe.generate.tasks.task import Task
from mathpipe.generate.tasks.task_registry import TASKS
from mathpipe.pipeline.config.options import task_options
from mathpipe.pipeline.config.published_tables import SIZES, experiments_of
from mathpipe.pipeline.published.records import Record, read_record, record_path

RESULTS = Path(__file__).parent / "results"
_TYPES = ("matrices", "expressions", "integers", "sequences")


def tasks() -> str:
    """Every task of the package by problem type: problem, solution, source, outcomes and options."""
    sections = []
    for problem_type in _TYPES:
        sections.append(f"## Tasks on {problem_type}\n")
        sections += [_task(task) for task in TASKS.values() if task.problem_type == problem_type]
    return "\n".join(sections)


def _task(task: Task[Any]) -> str:
    token = f", task token {task.task_token}" if task.task_token else ""
    outcomes = ", ".join(f"`{name}`" for name in task.outcomes if name in task.correct_outcomes)
    lines = [
        f"### {task.name}\n",
        f"- Problem: {_plain(task.problem)}",
        f"- Solution: {_plain(task.solution)}",
        f"- Source: {_plain(task.source)}{token}",
        f"- Correct outcomes: {outcomes}\n",
        "| option | meaning |\n|---|---|",
        *_options(task),
        "",
    ]
    return "\n".join(lines)


def _options(task: Task[Any]) -> Iterator[str]:
    for option in task_options(task):
        flags = " / ".join([*option.opts, *option.secondary_opts])
        value = f" {option.metavar}" if option.metavar and not option.is_flag else ""
        yield f"| `{(flags + value).replace('|', chr(92) + '|')}` | {_plain(option.help or '')} |"


def _plain(text: str) -> str:
    """A text in which the characters of Markdown mean themselves."""
    return re.sub(r"([\\*_\[\]|<>^$])", r"\\\1", " ".join(text.split()))


def with_plots(page: str) -> str:
    """The page of results with a plot below the heading of every table of which rows were run."""

    def with_plot(heading: re.Match[str]) -> str:
        records = list(_records(heading[1]))
        return f"{heading[0]}\n\n{_plot(heading[1], records)}\n" if records else heading[0]

    return re.sub(r"^### ([\w-]+): .*$", with_plot, page, flags=re.MULTILINE)


def _records(table: str) -> Iterator[Record]:
    for experiment in experiments_of(table):
        for size in SIZES:
            if (record := read_record(record_path(RESULTS, table, experiment.name, size))) is not None:
                yield record


def _plot(table: str, records: list[Record]) -> str:
    """Ours with Wilson's 95 % interval for each seed, beside the published figure, as an SVG within the page."""
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot as plt

    rows = [(record, name) for record in records for name in record.published]
    with plt.rc_context({"svg.hashsalt": table, "svg.fonttype": "none", "font.family": "sans-serif", "font.size": 10}):
        figure, axes = plt.subplots(figsize=(7.5, 0.9 + 0.34 * len(rows)), layout="constrained")
        for k, (record, name) in enumerate(rows):
            _plot_row(axes, k, record, name)
        axes.set_yticks(range(len(rows)), [_label(record, name) for record, name in rows])
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_xlim(-2, 102)
        axes.set_xlabel("right answers (%): circles ours, with 95 % intervals; diamonds published")
        axes.grid(axis="x", color="0.88")
        axes.set_axisbelow(True)
        axes.spines[["top", "right", "left"]].set_visible(False)
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata={"Date": None})
        plt.close(figure)
    svg = re.sub(r"^.*?(?=<svg)", "", text.getvalue(), flags=re.DOTALL)
    label = f"Right answers in the rows of {table} that were run, ours and published"
    return f'<figure class="plot" role="img" aria-label="{label}">{" ".join(svg.split())}</figure>'


def _plot_row(axes: Any, k: int, record: Record, name: str) -> None:
    for seed in record.seeds:
        measured = seed.measurements[name]
        if measured.value is None:
            continue
        low, high = measured.interval or (measured.value, measured.value)
        axes.plot([100 * low, 100 * high], [k, k], color="#1c64b4", linewidth=2)
        axes.plot(100 * measured.value, k, "o", color="#1c64b4", markersize=5)
    published = record.published[name]
    if published is not None and published.value is not None:
        axes.plot(100 * published.value, k, "D", color="#c2571a", markersize=5, fillstyle="none")


def _label(record: Record, name: str) -> str:
    label = record.row if len(record.published) == 1 else f"{record.row}: {name}"
    return f"{label} ({record.size})"
