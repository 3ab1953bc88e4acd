"""Tables of published results as data: each row is an experiment with a published and a CPU-sized form.

A table is a file ``pipeline/published/tables/TABLE.yaml``. A row with a ``grid`` is a family of experiments, one for each
combination of the points of its axes::

    rows:
      batch-size:
        grid:
          batch: {train.batch: [1, 2, 4], "cpu:train.steps": [16000, 8000, 4000]}

The first key of an axis, which may be ``label``, labels its points (``batch-size/1``); the lists of one axis go together.
``cpu:`` and ``full:`` restrict a key to one size.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from mathpipe.datasets.errors import UserError, did_you_mean
from mathpipe.pipeline.config.parameter_files import SECTIONS, Sections, merge, read_preset, set_value
from mathpipe.pipeline.config.yaml_text import load_values

TABLES = Path(__file__).parents[1] / "published" / "tables"
PRESETS = Path(__file__).parents[1] / "presets"
Size = Literal["cpu", "full"]
SIZES: tuple[Size, ...] = get_args(Size)
LABEL = "label"  # key of an axis that names its points


class Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Figure(Settings):
    """A published figure: a percentage, or ``text`` where the source gives no number. ``note``: where its setup differs."""

    value: Annotated[float, Field(ge=0, le=100)] | None = None
    text: str | None = None
    note: str | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> Figure:
        if (self.value is None) == (self.text is None):
            raise ValueError("give either value or text")
        return self

    def __str__(self) -> str:
        shown = self.text if self.value is None else f"{self.value:g} %"
        return f"{shown} ({self.note})" if self.note else str(shown)


def _number_is_value(figure: object) -> object:
    return {"value": figure} if isinstance(figure, int | float) else figure


Published = Annotated[Figure, BeforeValidator(_number_is_value)]


class Form(Settings):
    """The parameters of one size: those of a preset file, updated with the sections below.

    ``about``: what is trained, in a few words. ``needs``: what must be at hand, such as the weights of gpt2.
    """

    about: str | None = None
    preset: str | None = None
    needs: str | None = None
    generate: dict[str, Any] = {}
    train: dict[str, Any] = {}
    evaluate: dict[str, Any] = {}


class Evaluation(Settings):
    """One evaluation of a trained model: changes of the section ``evaluate``, and of ``generate`` for problems of another dataset.

    ``published``: one figure, or one for each point of the grid by its label. ``measure``: another metric than that of the row.
    """

    published: Published | dict[str, Published] | None = None
    measure: str | None = None
    evaluate: dict[str, Any] = {}
    generate: dict[str, Any] = {}

    def figure(self, label: str | None) -> Figure | None:
        """The published figure for a point of the grid."""
        if isinstance(self.published, dict):
            return self.published.get(label or "")
        return self.published


class Row(Settings):
    """A row of a table: an experiment, or a family with a ``grid``. ``measure``: the metric that the published figure is about."""

    about: str
    full: Form
    cpu: Form
    measure: str | None = None
    grid: dict[str, dict[str, list[Any]]] = {}
    evaluations: dict[str, Evaluation] | None = None
    published: Published | dict[str, Published] | None = None

    @model_validator(mode="after")
    def _lists_of_an_axis_agree(self) -> Row:
        for axis, keys in self.grid.items():
            if not keys or len({len(values) for values in keys.values()}) != 1:
                raise ValueError(f"grid.{axis}: the lists of one axis must be equally long")
        if self.published is not None and self.evaluations is not None:
            raise ValueError("published figures of several evaluations stand with each evaluation")
        return self


class Table(Settings):
    """A table of a paper. ``full`` and ``cpu``: what the forms of all rows have in common; ``evaluations``: those of every row."""

    paper: str
    title: str
    measure: str = "accuracy"
    note: str | None = None
    full: Form = Form()
    cpu: Form = Form()
    evaluations: dict[str, Evaluation] = {"test": Evaluation()}
    rows: dict[str, Row]


@dataclass(frozen=True, eq=False)
class Experiment:
    """One experiment: a row of a table, at one point of its grid. ``settings``: for each size, values of the grid by dotted key."""

    table: str
    row: str
    label: str | None
    definition: Row
    common: Table
    settings: dict[Size, dict[str, Any]]

    @property
    def name(self) -> str:
        """``row`` or ``row/label``: its name within the table."""
        return self.row if self.label is None else f"{self.row}/{self.label}"

    @property
    def preset(self) -> str:
        """``table/row`` or ``table/row/label``: the name of its preset, which ``:cpu`` follows for the CPU-sized form."""
        return f"{self.table}/{self.name}"

    @property
    def measure(self) -> str:
        return self.definition.measure or self.common.measure

    @property
    def evaluations(self) -> dict[str, Evaluation]:
        """The evaluations of the row, or those of the table; the published figure of a row is that of its only evaluation."""
        evaluations = self.definition.evaluations or self.common.evaluations
        if self.definition.published is None:
            return evaluations
        ((name, evaluation),) = evaluations.items()
        return {name: evaluation.model_copy(update={"published": self.definition.published})}

    def form(self, size: Size) -> Form:
        form: Form = getattr(self.definition, size)
        return form

    def about(self, size: Size) -> str:
        """What is trained: of the form, or else of the forms of the table, or else of the row."""
        shared: Form = getattr(self.common, size)
        return self.form(size).about or shared.about or self.definition.about

    def needs(self, size: Size) -> str | None:
        shared: Form = getattr(self.common, size)
        return self.form(size).needs or shared.needs

    def sections(self, size: Size) -> Sections:
        """The parameters of the stages: preset file, table, row, grid, in rising precedence."""
        shared: Form = getattr(self.common, size)
        form = self.form(size)
        preset = form.preset or shared.preset
        sections = read_preset(PRESETS / f"{preset}.yaml") if preset else {name: {} for name in SECTIONS}
        for source in (shared, form):
            sections = merge(sections, {name: getattr(source, name) for name in SECTIONS})
        for key, value in self.settings[size].items():
            set_value(sections, key, value)
        return {name: _without_null(sections[name]) for name in SECTIONS}


def _without_null(values: dict[str, Any]) -> dict[str, Any]:
    """Drop the keys of ``spec`` that are null: a row removes in this way what its preset sets."""
    spec = values.get("spec")
    if not isinstance(spec, dict):
        return values
    return {**values, "spec": {key: value for key, value in spec.items() if value is not None}}


@cache
def table_names() -> tuple[str, ...]:
    """Names of the tables."""
    return tuple(sorted(path.stem for path in TABLES.glob("*.yaml")))


@cache
def load_table(name: str) -> Table:
    """A table; for an unknown name, UserError with the nearest one."""
    if name not in table_names():
        raise UserError(
            f"unknown table {name!r}",
            expected=f"one of {', '.join(table_names())}",
            got=repr(name),
            next_step=did_you_mean(name, table_names()) or "`mathpipe presets` lists the tables",
        )
    text = (TABLES / f"{name}.yaml").read_text(encoding="utf-8")
    return Table.model_validate(load_values(text, name))


@cache
def experiments_of(table: str) -> tuple[Experiment, ...]:
    """All experiments of a table, rows with a grid expanded."""
    definition = load_table(table)
    return tuple(
        Experiment(table, name, label, row, definition, settings)
        for name, row in definition.rows.items()
        for label, settings in _points(row.grid)
    )


def experiments() -> tuple[Experiment, ...]:
    """All experiments of all tables."""
    return tuple(experiment for table in table_names() for experiment in experiments_of(table))


def _points(grid: dict[str, dict[str, list[Any]]]) -> list[tuple[str | None, dict[Size, dict[str, Any]]]]:
    """(label, settings of each size) of every point of a grid; one point without a label if there is no grid."""
    axes = [list(zip(*keys.values(), strict=True)) for keys in grid.values()]
    points = []
    for values in itertools.product(*axes):
        label = ",".join(str(axis_values[0]) for axis_values in values) or None
        settings: dict[Size, dict[str, Any]] = {size: {} for size in SIZES}
        for keys, axis_values in zip(grid.values(), values, strict=True):
            for key, value in zip(keys, axis_values, strict=True):
                prefix, colon, rest = key.partition(":")
                for size in SIZES:
                    if colon and prefix == size:
                        settings[size][rest] = value
                    elif not colon and key != LABEL:
                        settings[size][key] = value
        points.append((label, settings))
    return points
