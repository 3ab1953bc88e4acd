"""Several evaluations side by side: of the splits of one run, or of several runs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mathpipe.datasets.errors import UserError
from mathpipe.datasets.io.storage import Storage
from mathpipe.evaluate.analyze.analyses import Analysis, Chart
from mathpipe.evaluate.analyze.statistics import wilson
from mathpipe.evaluate.analyze.summary import Metrics
from mathpipe.evaluate.build_report import ALL, METRICS, PREDICTIONS, describe
from mathpipe.evaluate.predictions import predictions_metadata

EVALUATION = "evaluation"


@dataclass(frozen=True)
class Told:
    """One evaluation as its files tell of it. ``run``, ``name``: told apart from those of the others it was read with."""

    directory: str
    run: str
    name: str
    metadata: dict[str, Any]
    metrics: Metrics
    analyses: dict[str, Any]

    @property
    def settings(self) -> str:
        """How it was decoded, and of which checkpoint where that is not the last."""
        checkpoint = self.metadata.get("checkpoint", "last")
        return str(self.metrics["decoding"]) + ("" if checkpoint == "last" else f", checkpoint {checkpoint}")


def find_evaluations(run: str | Path) -> list[str]:
    """Directories of the finished evaluations of a run, or the directory itself; UserError where there is none."""
    places = [Path(run), Path(run) / EVALUATION, *sorted((Path(run) / EVALUATION).glob("*"))]
    found = [str(place) for place in places if (place / METRICS).is_file() and (place / PREDICTIONS).is_file()]
    if not found:
        raise UserError(
            f"{run} holds no finished evaluation",
            expected=f"{run}/{EVALUATION}/<split>/{METRICS} with {PREDICTIONS} beside it",
            next_step=f"`mathpipe eval --run {run}` makes one",
        )
    return found


def load(directories: Sequence[str]) -> list[Told]:
    """What the files of each evaluation say; what is missing is told again from its predictions.

    Each is named by its run and split, and where these repeat by the name of its directory; runs of one name by the directories
    they lie in.
    """
    footers = [predictions_metadata(Storage(directory).path(PREDICTIONS)) for directory in directories]
    places = [_run_of(directory, footer) for directory, footer in zip(directories, footers, strict=True)]
    runs, splits = _shortest_tails(places), [str(footer["split"]) for footer in footers]
    ends = [_end(directory, split) for directory, split in zip(directories, splits, strict=True)]
    names = told_apart(
        [f"{runs[place]}, {split}" for place, split in zip(places, splits, strict=True)],
        ends,
        directories,
    )
    found = []
    for directory, place, name, footer in zip(directories, places, names, footers, strict=True):
        metrics, analyses = _told_of(directory)
        found.append(Told(directory, runs[place], name, footer, metrics, analyses))
    return found


def _told_of(directory: str) -> tuple[Metrics, dict[str, Any]]:
    """The metrics, and the analyses by name."""
    if not (Path(directory) / ALL).is_file():
        describe(Storage(directory))
    metrics, analyses = (json.loads((Path(directory) / name).read_text()) for name in (METRICS, ALL))
    return metrics, {analysis["name"]: analysis for analysis in analyses}


def _run_of(directory: str, footer: dict[str, Any]) -> Path:
    """The run an evaluation lies in, else the one its predictions name."""
    place = Path(directory).resolve()
    return place.parents[1] if place.parent.name == EVALUATION else Path(str(footer.get("run", place))).resolve()


def _end(directory: str, split: str) -> str:
    """The directory's own name without the split it begins with: of test.beam-10 it is beam-10, of test nothing."""
    name = Path(directory).name
    return name.removeprefix(split)[1:] if name == split or name.startswith((f"{split}.", f"{split}-")) else name


def _shortest_tails(places: Iterable[Path]) -> dict[Path, str]:
    """The last part of each, or as many of the last as no other ends in."""
    known = list(dict.fromkeys(places))

    def tail(place: Path, parts: int) -> str:
        return "/".join(place.parts[-parts:])

    def alone(place: Path, parts: int) -> bool:
        return all(other == place or tail(other, parts) != tail(place, parts) for other in known)

    return {place: next(tail(place, k) for k in range(1, 1 + len(place.parts)) if alone(place, k)) for place in known}


def told_apart(names: Sequence[str], *more: Sequence[str]) -> list[str]:
    """The names; to those that repeat, what ``more`` says of each is added, one after the other, until all differ."""
    found = list(names)
    for said in more:
        differ = {name for name in found if len({s for s, n in zip(said, found, strict=True) if n == name}) > 1}
        found = [f"{name}, {s}" if name in differ and s else name for name, s in zip(found, said, strict=True)]
    return found


def compared(all_told: list[Told]) -> list[Analysis]:
    """The tables of a comparison."""
    found = [headlines(all_told)]
    curves = by_tolerance(all_told)
    return found + ([curves] if curves is not None else []) + [outcomes(all_told)]


def headlines(all_told: list[Told]) -> Analysis:
    """Accuracy of each, and its difference from the first with the interval of two independent shares."""
    rows = []
    first = all_told[0].metrics
    for told in all_told:
        m = told.metrics
        low, high = m["accuracy_interval"]
        difference = m["accuracy"] - first["accuracy"]
        reach = (_spread(m) ** 2 + _spread(first) ** 2) ** 0.5
        reference = m.get("reference")
        rows.append(
            [
                told.name,
                m["task"],
                m["decoding"],
                told.metadata.get("checkpoint"),
                m["n"],
                m["accuracy"],
                low,
                high,
                m["accuracy_published"],
                m["accuracy_any"],
                reference["5%"] if isinstance(reference, dict) else reference,
                m["attainable"]["5%"] if "attainable" in m else None,
                None if told is all_told[0] else difference,
                None if told is all_told[0] else reach,
            ]
        )
    columns = ["evaluation", "task", "decoding", "checkpoint", "problems"]
    columns += ["accuracy", "low", "high", "accuracy_published"]
    columns += ["any_hypothesis", "reference", "attainable", "difference_from_first", "give_or_take"]
    return Analysis(
        "comparison",
        "Side by side",
        "Accuracy with its 95 % interval, and its difference from the first, give or take (95 %, for independent problems).",
        columns,
        rows,
        Chart("bars", "evaluation", ("accuracy",), "low", "high"),
        tuple(columns[5:]),
    )


def _spread(metrics: Metrics) -> float:
    low, high = metrics["accuracy_interval"]
    return float(high - low) / 2


def by_tolerance(all_told: list[Told]) -> Analysis | None:
    """The curves of accuracy over the tolerance in one plot."""
    curves = [told.analyses.get("accuracy_by_tolerance") for told in all_told]
    if len(all_told) < 2 or any(curve is None for curve in curves):
        return None
    names = [told.name for told in all_told]
    columns = [[row[1] for row in curve["rows"]] for curve in curves if curve is not None]
    grid = [row[0] for row in curves[0]["rows"]] if curves[0] is not None else []
    rows = [[tolerance, *values] for tolerance, *values in zip(grid, *columns, strict=True)]
    return Analysis(
        "curves",
        "Accuracy by tolerance",
        "Share of problems whose error_l1 is within the tolerance.",
        ["tolerance", *names],
        rows,
        Chart("line", "tolerance", tuple(names), log_x=True, x_title="tolerance"),
        tuple(names),
    )


def outcomes(all_told: list[Told]) -> Analysis:
    """Shares of each outcome."""
    names = list(dict.fromkeys(name for told in all_told for name in told.metrics["outcomes"]))
    rows = [[told.name, *(told.metrics["outcomes"].get(name, {}).get("share") for name in names)] for told in all_told]
    return Analysis("outcomes", "Outcomes", "Share of problems.", ["evaluation", *names], rows, None, tuple(names))


def interval_text(metrics: Metrics) -> str:
    """'94.5 (93.9 to 95.1)'."""
    low, high = wilson(round(metrics["accuracy"] * metrics["n"]), metrics["n"])
    return f"{100 * metrics['accuracy']:.1f} ({100 * low:.1f} to {100 * high:.1f})"
