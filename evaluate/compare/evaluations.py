"""Several evaluations side by side: of the splits of one run, or of several runs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mathpipe.datasets.errors import UserError
from mathpipe.datasets.io.storage import Storage
from mathpipe.evaluate.analyze.analysis import Analysis, Chart
from mathpipe.evaluate.analyze.statistics import wilson
from mathpipe.evaluate.analyze.summary import Metrics
from mathpipe.evaluate.build_report import ANALYSES_FILE, METRICS, PREDICTIONS, build_report
from mathpipe.evaluate.predictions import predictions_metadata

EVALUATION = "evaluation"


@dataclass(frozen=True)
class EvaluationSummary:
    """One evaluation, read from its files. ``run``, ``name``: unique among the evaluations loaded together."""

    directory: str
    run: str
    name: str
    metadata: dict[str, Any]
    metrics: Metrics
    analyses: dict[str, Any]

    @property
    def settings(self) -> str:
        """Decoding settings, the checkpoint unless it is the last, and the domain if it is complex."""
        checkpoint = self.metadata.get("checkpoint", "last")
        settings = str(self.metrics["decoding"]) + ("" if checkpoint == "last" else f", checkpoint {checkpoint}")
        return settings + (", complex domain" if self.metadata.get("domain") == "complex" else "")


def find_evaluations(run: str | Path) -> list[str]:
    """Directories of the finished evaluations of a run, or the directory itself; UserError if there is none."""
    paths = [Path(run), Path(run) / EVALUATION, *sorted((Path(run) / EVALUATION).glob("*"))]
    directories = [str(path) for path in paths if (path / METRICS).is_file() and (path / PREDICTIONS).is_file()]
    if not directories:
        raise UserError(
            f"{run} contains no finished evaluation",
            expected=f"{run}/{EVALUATION}/<split>/{METRICS} with {PREDICTIONS} beside it",
            next_step=f"`mathpipe eval --run {run}` creates one",
        )
    return directories


def load_evaluations(directories: Sequence[str]) -> list[EvaluationSummary]:
    """Load evaluations; missing files are rebuilt from the predictions.

    An evaluation is named by its run and split and, where these repeat, by its directory. Runs of equal name are named by
    as much of their path as distinguishes them.
    """
    footers = [predictions_metadata(Storage(directory).path(PREDICTIONS)) for directory in directories]
    paths = [_run_of(directory, footer) for directory, footer in zip(directories, footers, strict=True)]
    runs, splits = _shortest_tails(paths), [str(footer["split"]) for footer in footers]
    suffixes = [_suffix(directory, split) for directory, split in zip(directories, splits, strict=True)]
    names = disambiguate(
        [f"{runs[path]}, {split}" for path, split in zip(paths, splits, strict=True)],
        suffixes,
        directories,
    )
    evaluations = []
    for directory, path, name, footer in zip(directories, paths, names, footers, strict=True):
        metrics, analyses = _load_metrics_and_analyses(directory)
        evaluations.append(EvaluationSummary(directory, runs[path], name, footer, metrics, analyses))
    return evaluations


def _load_metrics_and_analyses(directory: str) -> tuple[Metrics, dict[str, Any]]:
    """The metrics, and the analyses by name."""
    if not (Path(directory) / ANALYSES_FILE).is_file():
        build_report(Storage(directory))
    metrics, analyses = (
        json.loads((Path(directory) / name).read_text(encoding="utf-8")) for name in (METRICS, ANALYSES_FILE)
    )
    return metrics, {analysis["name"]: analysis for analysis in analyses}


def _run_of(directory: str, footer: dict[str, Any]) -> Path:
    """The run directory that contains the evaluation, else the one its predictions name."""
    path = Path(directory).resolve()
    return path.parents[1] if path.parent.name == EVALUATION else Path(str(footer.get("run", path))).resolve()


def _suffix(directory: str, split: str) -> str:
    """The directory's name without its leading split: beam-10 for test.beam-10, empty for test."""
    name = Path(directory).name
    return name.removeprefix(split)[1:] if name == split or name.startswith((f"{split}.", f"{split}-")) else name


def _shortest_tails(paths: Iterable[Path]) -> dict[Path, str]:
    """For each path, the shortest tail that no other path ends in."""
    distinct = list(dict.fromkeys(paths))

    def tail(path: Path, parts: int) -> str:
        return "/".join(path.parts[-parts:])

    def is_unique(path: Path, parts: int) -> bool:
        return all(other == path or tail(other, parts) != tail(path, parts) for other in distinct)

    return {path: next(tail(path, k) for k in range(1, 1 + len(path.parts)) if is_unique(path, k)) for path in distinct}


def disambiguate(names: Sequence[str], *suffixes: Sequence[str]) -> list[str]:
    """Append the suffixes, one list after the other, to names that repeat, until all differ."""
    result = list(names)
    for labels in suffixes:
        ambiguous = {name for name in result if len({s for s, n in zip(labels, result, strict=True) if n == name}) > 1}
        result = [f"{name}, {s}" if name in ambiguous and s else name for name, s in zip(result, labels, strict=True)]
    return result


def comparison_tables(evaluations: list[EvaluationSummary]) -> list[Analysis]:
    """All tables of a comparison."""
    tables = [headlines(evaluations)]
    curves = by_tolerance(evaluations)
    return tables + ([curves] if curves is not None else []) + [outcomes(evaluations)]


def headlines(evaluations: list[EvaluationSummary]) -> Analysis:
    """Accuracy of each, and its difference from the first with the margin of two independent proportions."""
    rows = []
    first = evaluations[0].metrics
    for evaluation in evaluations:
        m = evaluation.metrics
        low, high = m["accuracy_interval"]
        difference = m["accuracy"] - first["accuracy"]
        margin = (_half_width(m) ** 2 + _half_width(first) ** 2) ** 0.5
        rows.append(
            [
                evaluation.name,
                m["task"],
                m["decoding"],
                evaluation.metadata.get("checkpoint"),
                m["n"],
                m["accuracy"],
                low,
                high,
                m["accuracy_published"],
                m["accuracy_any"],
                m.get("reference_accuracy"),
                m["best_representable"]["5%"] if "best_representable" in m else None,
                m.get("accuracy_complex_domain"),
                m["evidence"]["proven"]["proportion"] if "evidence" in m else None,
                None if evaluation is evaluations[0] else difference,
                None if evaluation is evaluations[0] else margin,
            ]
        )
    columns = ["evaluation", "task", "decoding", "checkpoint", "problems"]
    columns += ["accuracy", "low", "high", "accuracy_published"]
    columns += ["any_hypothesis", "reference", "best_representable", "complex_domain", "proven_of_correct"]
    columns += ["difference_from_first", "margin_of_error"]
    return Analysis(
        "comparison",
        "Side by side",
        "Accuracy with its 95 % interval, and its difference from the first with its margin of error (95 %, independent problems). "
        "complex_domain: the accuracy without the outcome real_domain; proven_of_correct: the proportion of the correct answers "
        "that are proven.",
        columns,
        rows,
        Chart("bars", "evaluation", ("accuracy",), "low", "high"),
        tuple(columns[5:]),
    )


def _half_width(metrics: Metrics) -> float:
    low, high = metrics["accuracy_interval"]
    return float(high - low) / 2


def by_tolerance(evaluations: list[EvaluationSummary]) -> Analysis | None:
    """Accuracy by tolerance of all evaluations in one plot."""
    curves = [evaluation.analyses.get("accuracy_by_tolerance") for evaluation in evaluations]
    if len(evaluations) < 2 or any(curve is None for curve in curves):
        return None
    names = [evaluation.name for evaluation in evaluations]
    columns = [[row[1] for row in curve["rows"]] for curve in curves if curve is not None]
    tolerances = [row[0] for row in curves[0]["rows"]] if curves[0] is not None else []
    rows = [[tolerance, *values] for tolerance, *values in zip(tolerances, *columns, strict=True)]
    return Analysis(
        "curves",
        "Accuracy by tolerance",
        "Proportion of problems whose error_l1 is within the tolerance.",
        ["tolerance", *names],
        rows,
        Chart("line", "tolerance", tuple(names), log_x=True, x_title="tolerance"),
        tuple(names),
    )


def outcomes(evaluations: list[EvaluationSummary]) -> Analysis:
    """Proportion of each outcome."""
    names = list(dict.fromkeys(name for evaluation in evaluations for name in evaluation.metrics["outcomes"]))
    rows = [
        [evaluation.name, *(evaluation.metrics["outcomes"].get(name, {}).get("proportion") for name in names)]
        for evaluation in evaluations
    ]
    return Analysis("outcomes", "Outcomes", "Proportion of problems.", ["evaluation", *names], rows, None, tuple(names))


def format_accuracy(metrics: Metrics) -> str:
    """'94.5 (93.9 to 95.1)'."""
    low, high = wilson(round(metrics["accuracy"] * metrics["n"]), metrics["n"])
    return f"{100 * metrics['accuracy']:.1f} ({100 * low:.1f} to {100 * high:.1f})"
