"""The page of one evaluation: headline, plots and tables, failures, and how to reproduce it. One file, no network."""

from __future__ import annotations

import shlex
from html import escape
from typing import Any

from mathpipe.datasets.rendering.plurals import counted
from mathpipe.evaluate.analyze.analysis import Analysis
from mathpipe.evaluate.analyze.summary import Metrics
from mathpipe.evaluate.failures.shown_failures import ShownFailures
from mathpipe.evaluate.report.failure_browser import failure_browser
from mathpipe.evaluate.report.html import card, document, figure, interval, percent, section
from mathpipe.generate.tasks.spec_text import describe_spec

_ACCURACY = (
    *("accuracy_by_tolerance", "outcomes", "evidence", "accuracy_by_rank", "calibration", "properties_by_tolerance"),
    "evidence_by_outcome",
)
_FAILURES = ("failure_discriminability", "wrong_problem_answers", "correct_and_incorrect", "by_operator")


def page(
    metadata: dict[str, Any],
    metrics: Metrics,
    analyses: list[Analysis],
    shown: ShownFailures,
    worst_order: str,
) -> str:
    """The whole page as HTML. ``worst_order``: how the worst failures were chosen."""
    by_name = {analysis.name: analysis for analysis in analyses}
    accuracy = [by_name[name] for name in _ACCURACY if name in by_name]
    failures = [by_name[name] for name in _FAILURES if name in by_name]
    failures += [analysis for analysis in analyses if analysis.name not in (*_ACCURACY, *_FAILURES)]
    parts = [
        ("accuracy", "How accurate it is", _cards(accuracy)),
        ("failures", "Where it fails", _cards(failures)),
        ("worst", "Failures", failure_browser(shown, worst_order, str(metadata.get("run", "RUN")))),
        ("reproduce", "How to reproduce it", reproduce(metadata)),
    ]
    nonempty = [(anchor, title, body) for anchor, title, body in parts if body]
    main = _headline(metrics) + "".join(section(*part) for part in nonempty)
    title = f"{metadata['task']}: {percent(metrics['accuracy'])} of {counted(metrics['n'], 'problem')}"
    return document(title, [(anchor, name) for anchor, name, _ in nonempty], _header(metadata, metrics), main)


def _header(metadata: dict[str, Any], metrics: Metrics) -> str:
    source = f"{metadata.get('run', 'predictions')}, split {metadata['split']}"
    settings = f"{counted(metrics['n'], 'problem')}, {metrics['decoding']}"
    return f"<h1>{escape(metadata['task'])}</h1><p class=soft>{escape(source)}<br>{escape(settings)}</p>"


def _headline(metrics: Metrics) -> str:
    criterion = f"{metrics['criterion']}; {interval(metrics['accuracy_interval'])}"
    figures = [
        figure(percent(metrics["accuracy"]), "accuracy", criterion, first=True),
        _failure_figure(metrics),
        figure(percent(metrics["accuracy_published"]), "published accuracy", "or exactly the reference's tokens"),
    ]
    figures += [_other_domain(metrics)] if "domain" in metrics else []
    if metrics["hypotheses"] > 1:
        hypotheses = f"of {metrics['hypotheses']} is correct"
        figures.append(figure(percent(metrics["accuracy_any"]), "any hypothesis", hypotheses))
    if "reference_accuracy" in metrics:
        figures.append(figure(percent(metrics["reference_accuracy"]), "reference", "rounded by the encoding"))
    note = "reference: the accuracy of the stored answers, rounded by the encoding."
    if "best_representable" in metrics:
        figures.append(figure(percent(metrics["best_representable"]["5%"]), "best representable", "a lower bound"))
        note += " best representable: the best encodable answers that a search found. Neither is an upper bound."
    if "baselines" in metrics:
        base = metrics["baselines"]
        figures.append(figure(percent(base["constant"]["5%"]), "best constant", base["best_constant"]))
    return f'<div class=figures>{"".join(figures)}</div><p class="note">{note}</p>'


def _failure_figure(metrics: Metrics) -> str:
    """The number of failures, and one in how many problems fails."""
    failures = round((1 - metrics["accuracy"]) * metrics["n"])
    rate = f"1 in {metrics['n'] / failures:,.0f} problems" if 0 < failures <= metrics["n"] / 10 else ""
    return figure(
        f"{failures:,}", "failure" if failures == 1 else "failures", rate or f"of {counted(metrics['n'], 'problem')}"
    )


def _other_domain(metrics: Metrics) -> str:
    """The accuracy under the policy on the domain by which ``accuracy`` does not count."""
    domain, meaning = (
        ("complex", "without real_domain") if metrics["domain"] == "real" else ("real", "with real_domain")
    )
    bounds = interval(metrics[f"accuracy_{domain}_domain_interval"])
    return figure(percent(metrics[f"accuracy_{domain}_domain"]), f"{domain} domain", f"{meaning}; {bounds}")


def _cards(analyses: list[Analysis]) -> str:
    """Plots in a grid, then the tables without a plot, which are wide."""
    plots = "".join(card(a) for a in analyses if a.chart is not None)
    tables = "".join(card(a) for a in analyses if a.chart is None)
    return (f"<div class=grid>{plots}</div>" if plots else "") + tables


def reproduce(metadata: dict[str, Any]) -> str:
    """The command, and everything else that determines the figures."""
    settings = {
        "dataset": f"{metadata.get('data')} (digest {str(metadata.get('dataset_digest'))[:16]})",
        "problems of this split": describe_spec(metadata.get("spec")),
        "encodings": f"{metadata.get('input_encoding')} in, {metadata.get('output_encoding')} out",
        "checkpoint": f"{metadata.get('checkpoint', 'last')} of {metadata.get('run')}, step {metadata.get('step')}",
        "decoding": f"{metadata.get('decoding')}; at most {counted(metadata.get('max_length') or 0, 'token')}",
        "tolerance": f"{metadata.get('tolerance')}",
    }
    if metadata.get("trained_spec") not in (None, metadata.get("spec")):
        settings["problems of the training"] = describe_spec(metadata["trained_spec"])
    if metadata.get("domain"):
        settings["domain"] = metadata["domain"]
    items = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in settings.items())
    command = f"<pre>{escape(command_line(metadata))}</pre>" if "decoding_settings" in metadata else ""
    return f"<div class=card>{command}<dl>{items}</dl></div>"


def command_line(metadata: dict[str, Any]) -> str:
    """The ``mathpipe eval`` command that makes these predictions."""
    command = ["mathpipe", "eval", "--run", str(metadata["run"]), "--data", str(metadata["data"])]
    command += ["--split", str(metadata["split"]), "--limit", str(metadata["rows"])]
    if metadata.get("checkpoint", "last") != "last":
        command += ["--checkpoint", str(metadata["checkpoint"])]
    settings = metadata["decoding_settings"]
    if settings["temperature"]:
        command += ["--temperature", f"{settings['temperature']:g}", "--samples", str(settings["samples"])]
        command += ["--seed", str(settings["seed"])]
    elif settings["beam"] > 1:
        command += ["--beam", str(settings["beam"]), "--length-penalty", f"{settings['length_penalty']:g}"]
        command += [] if settings["early_stopping"] else ["--no-early-stopping"]
    command += ["--constrained"] if settings["constrained"] else []
    command += ["--domain", "complex"] if metadata.get("domain") == "complex" else []
    return shlex.join(command)
