"""The live page: a table of all runs, and for one of them loss, accuracy by tolerance, failures so far, and its evaluations.

The page asks the server for the two parts again every other second; they come ready as HTML with plots, so that the page shows what
the report shows, by the same code.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

from mathpipe.datasets.rendering.plurals import counted
from mathpipe.evaluate.analyze.analysis import Analysis, Chart
from mathpipe.evaluate.live.run_status import EvaluationProgress, EvaluationStatus, RunStatus
from mathpipe.evaluate.report.html import card, document, figure, percent, section
from mathpipe.generate.tasks.spec_text import describe_spec

POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:; connect-src 'self'; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)
META_POLICY = POLICY.split("; frame-ancestors", maxsplit=1)[0]  # the rest has no effect in a page
_MAX_POINTS = 200
_TOLERANCES = ("within_2_percent", "within_1_percent", "within_0.5_percent")
_OTHER_ACCURACIES = ("exact", "token_accuracy")  # of tasks without an error


def live_page() -> str:
    """The page without data; its script fetches them."""
    main = (
        '<p class="soft" id="connection" role="status">connecting</p>'
        + section("runs", "Runs", '<div id="overview" class="card wide"></div>')
        + '<section id="run" aria-live="off"></section>'
    )
    return document(
        "mathpipe: runs",
        [("runs", "Runs"), ("run", "Selected run")],
        "<h1>Runs</h1>",
        main,
        scripts=("script.js", "live.js"),
        policy=META_POLICY,
        footer="Served by `mathpipe serve` to this machine alone. The page loads nothing from the network.",
    )


def overview(runs: Sequence[RunStatus]) -> str:
    """The table of all runs, running ones first, then the latest."""
    if not runs:
        return "<p>There are no runs yet: `mathpipe train` starts one, and it appears here.</p>"
    order = {"running": 0, "stopped": 1, "finished": 1}
    ordered = sorted(runs, key=lambda run: (order[run.state], run.seconds_since_update))
    names = ("run", "task", "state", "step", "loss", "validation loss", "accuracy", "evaluations")
    head = "".join(f"<th scope=col><button>{name}</button></th>" for name in names)
    rows = "".join(_row(run) for run in ordered)
    return (
        '<div data-table><div class=scroll><table class="data runs"><thead><tr>'
        f"{head}</tr></thead><tbody>{rows}</tbody></table></div></div>"
    )


def _row(run: RunStatus) -> str:
    link = f'<a href="#run-{run.key}" data-run="{run.key}">{escape(run.name)}</a>'
    progress = run.step / run.steps if run.steps else 0.0
    step = f'<td data-v="{progress:.4f}">{run.step:,} of {run.steps:,}</td>'
    best = max((evaluation.figures.get("accuracy", 0.0) for evaluation in run.evaluations), default=None)
    evaluations = counted(len(run.evaluations), "evaluation") + ("" if best is None else f", {percent(best)}")
    return (
        f"<tr><td>{link}</td><td class=text>{escape(run.task)}</td><td>{_state(run.state)}</td>{step}"
        f"{_number(run.latest('train_loss'))}{_number(run.latest('valid_loss'))}{_share(run.latest('accuracy'))}"
        f'<td data-v="{-1 if best is None else best}">{escape(evaluations)}</td></tr>'
    )


def _state(state: str) -> str:
    return f'<span class="state {state}">{state}</span>'


def _number(value: float | None) -> str:
    return '<td data-v="">–</td>' if value is None else f'<td data-v="{value!r}">{value:.4g}</td>'


def _share(value: float | None) -> str:
    return '<td data-v="">–</td>' if value is None else f'<td data-v="{value!r}">{percent(value)}</td>'


def run_section(run: RunStatus) -> str:
    """Everything about one run."""
    spec = f"<p class=soft>{escape(describe_spec(run.record.get('spec')))}</p>"
    plots = "".join(card(analysis) for analysis in (loss(run), accuracy(run), failures(run)) if analysis is not None)
    waiting = "" if plots else "<p class=note>Plots appear with the second line of the log.</p>"
    return (
        f"<h2>{escape(run.name)} {_state(run.state)}</h2>{spec}<div class=figures>{''.join(_figures(run))}</div>"
        f"<div class=grid>{plots}</div>{waiting}{_evaluations(run)}"
    )


def _figures(run: RunStatus) -> list[str]:
    figures = [figure(f"{run.step:,}", "step", f"of {run.steps:,}", first=True)]
    loss, valid = run.latest("train_loss"), run.latest("valid_loss")
    if loss is not None:
        figures.append(
            figure(f"{loss:.4g}", "loss", "per target token" + (f"; validation {valid:.4g}" if valid else ""))
        )
    accuracy_now, invalid = run.latest("accuracy"), run.latest("invalid")
    if accuracy_now is not None:
        figures.append(figure(percent(accuracy_now), "accuracy", "greedy, on the validation split"))
        detail = "of the validation problems" + (f"; {percent(invalid)} are no answer" if invalid is not None else "")
        figures.append(figure(percent(1 - accuracy_now), "failures so far", detail))
    seconds = run.latest("seconds")
    if seconds:
        figures.append(
            figure(
                f"{seconds / 60:,.1f}\N{NO-BREAK SPACE}min", "training", f"{run.step / seconds:,.2g} steps per second"
            )
        )
    return figures


def _evaluations(run: RunStatus) -> str:
    cards = "".join(_progress_card(progress) for progress in run.in_progress)
    cards += "".join(_evaluation_card(run, evaluation) for evaluation in run.evaluations)
    return f"<h3>Evaluations</h3><div class=grid>{cards}</div>" if cards else ""


def _progress_card(progress: EvaluationProgress) -> str:
    """An evaluation in progress: the failures so far, by outcome."""
    total = sum(progress.failures.values())
    outcomes = ", ".join(f"{name.replace('_', ' ')} {count:,}" for name, count in sorted(progress.failures.items()))
    text = f"{counted(progress.problems, 'problem')} so far, {counted(total, 'failure')}{f': {outcomes}' if outcomes else ''}"
    return f"<div class=card><h3>{escape(progress.name)} {_state('running')}</h3><p>{escape(text)}</p></div>"


def _evaluation_card(run: RunStatus, evaluation: EvaluationStatus) -> str:
    figures = evaluation.figures
    n, proportion = int(figures.get("n", 0)), figures.get("accuracy")
    text = f"{percent(proportion)} of {counted(n, 'problem')}, {counted(round(n * (1 - (proportion or 0))), 'failure')}"
    link = (
        ""
        if evaluation.report is None
        else f'<p><a href="/runs/{run.key}/{escape(evaluation.name, quote=True)}/report.html">report</a></p>'
    )
    return f"<div class=card><h3>{escape(evaluation.name)}</h3><p>{escape(text)}</p>{link}</div>"


def loss(run: RunStatus) -> Analysis | None:
    """Losses by step."""
    return _plot(run, "loss", "Loss", "Cross-entropy per target token.", ("train_loss", "valid_loss"), are_shares=False)


def accuracy(run: RunStatus) -> Analysis | None:
    """Accuracies on the validation split by step, at every tolerance that is logged."""
    note = "Greedy, on the validation split. accuracy: passed verification; of tasks with an error, within 5 %."
    has_tolerances = any(name in point for point in run.points for name in _TOLERANCES)
    others = _TOLERANCES if has_tolerances else _OTHER_ACCURACIES
    return _plot(
        run, "accuracy", "Accuracy by tolerance" if has_tolerances else "Accuracy", note, ("accuracy", *others)
    )


def failures(run: RunStatus) -> Analysis | None:
    """Percentage of validation problems that fail, and of those whose answer is none, by step."""
    points: list[dict[str, Any]] = [
        {"step": point["step"], "failures": 100 * (1 - point["accuracy"]), "invalid": 100 * point.get("invalid", 0.0)}
        for point in run.points
        if "accuracy" in point
    ]
    note = "Percentage of the validation problems, on a log scale with 0 at its lower edge; invalid: the tokens are no answer."
    return _plot(run, "failures", "Failures so far", note, ("failures", "invalid"), points, are_shares=False)


def _plot(
    run: RunStatus,
    name: str,
    title: str,
    note: str,
    candidates: Sequence[str],
    points: Sequence[dict[str, Any]] | None = None,
    *,
    are_shares: bool = True,
) -> Analysis | None:
    """The metrics among ``candidates`` that are logged, by step; None without two points."""
    logged = [p for p in (run.points if points is None else points) if any(c in p for c in candidates)]
    columns = [c for c in candidates if any(c in point for point in logged)]
    shown = _thin(logged)
    if len(shown) < 2:
        return None
    rows = [[point["step"], *(point.get(column) for column in columns)] for point in shown]
    chart = Chart("line", "step", tuple(columns), x_title="step")
    return Analysis(name, title, note, ["step", *columns], rows, chart, tuple(columns) if are_shares else ())


def _thin(points: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """At most 200 points, evenly spaced, the last among them; points of an evaluation stay."""
    stride = -(-len(points) // _MAX_POINTS) or 1
    last = len(points) - 1
    return [p for k, p in enumerate(points) if (last - k) % stride == 0 or ("valid_loss" in p and stride < 20)]
