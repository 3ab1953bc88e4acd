"""The page of one evaluation: headline, plots and tables, failures drawn, and how to do it again. One file, no network."""

from __future__ import annotations

import json
import shlex
from html import escape
from typing import Any

from mathpipe.evaluate.analyze.analyses import Analysis
from mathpipe.evaluate.analyze.summary import Metrics
from mathpipe.evaluate.failures.failure_dump import WORST_ORDER, Failure
from mathpipe.evaluate.report.html import card, document, failure, figure, percent, section

_FIRST = ("accuracy_by_tolerance", "outcomes", "accuracy_by_rank", "calibration", "properties_by_tolerance")
_WHY = ("failure_discriminability", "wrong_problem_answers", "correct_and_incorrect", "by_operator")


def page(
    metadata: dict[str, Any], metrics: Metrics, analyses: list[Analysis], worst: list[Failure], typical: list[Failure]
) -> str:
    """The whole page as HTML."""
    named = {analysis.name: analysis for analysis in analyses}
    first = [named[name] for name in _FIRST if name in named]
    why = [named[name] for name in _WHY if name in named]
    why += [analysis for analysis in analyses if analysis.name not in (*_FIRST, *_WHY)]
    parts = [
        ("how-often", "How often it is right", _cards(first)),
        ("why", "Where it fails", _cards(why)),
        ("typical", "Typical failures", "".join(map(failure, typical))),
        ("worst", "Worst failures", _worst(metrics, worst)),
        ("again", "How to do it again", reproduce(metadata)),
    ]
    kept = [(anchor, title, body) for anchor, title, body in parts if body]
    main = _headline(metrics) + "".join(section(*part) for part in kept)
    title = f"{metadata['task']}: {percent(metrics['accuracy'])} of {metrics['n']:,} problems"
    return document(title, [(anchor, name) for anchor, name, _ in kept], _header(metadata, metrics), main)


def _header(metadata: dict[str, Any], metrics: Metrics) -> str:
    where = f"{metadata.get('run', 'predictions')}, split {metadata['split']}"
    more = f"{metrics['n']:,} problems, {metrics['decoding']}"
    return f"<h1>{escape(metadata['task'])}</h1><p class=soft>{escape(where)}<br>{escape(more)}</p>"


def _headline(metrics: Metrics) -> str:
    low, high = metrics["accuracy_interval"]
    what = "error within 5 %" if "by_tolerance" in metrics else "right by mathematics"
    figures = [
        figure(percent(metrics["accuracy"]), f"accuracy, {what}", f"95 %: {percent(low)} to {percent(high)}", True)
    ]
    figures.append(
        figure(percent(metrics["accuracy_published"]), "accuracy as published", "or the reference's own words")
    )
    if metrics["hypotheses"] > 1:
        figures.append(
            figure(percent(metrics["accuracy_any"]), "any hypothesis", f"of {metrics['hypotheses']} is right")
        )
    for name, more in (("reference", "a perfect imitator"), ("best_representable", "at least, better written")):
        if name in metrics:
            proportion = metrics[name]["5%"] if isinstance(metrics[name], dict) else metrics[name]
            figures.append(figure(percent(proportion), name, more))
    if "baselines" in metrics:
        base = metrics["baselines"]
        figures.append(figure(percent(base["constant"]["5%"]), "best constant", base["best_constant"]))
    note = "reference: what the stored answers themselves score as written."
    if "best_representable" in metrics:
        note += " best representable: the best written answers a search found. Neither is an upper bound."
    return f'<div class=figures>{"".join(figures)}</div><p class="note">{note}</p>'


def _cards(analyses: list[Analysis]) -> str:
    plotted = "".join(card(a) for a in analyses if a.chart is not None)
    others = "".join(card(a) for a in analyses if a.chart is None)  # wide tables: below
    return (f"<div class=grid>{plotted}</div>" if plotted else "") + others


def _worst(metrics: Metrics, worst: list[Failure]) -> str:
    order = WORST_ORDER["matrices" if "by_tolerance" in metrics else "words"]
    return f'<p class="note">{order}</p>{"".join(map(failure, worst))}' if worst else ""


def reproduce(metadata: dict[str, Any]) -> str:
    """Commands and everything that decides the figures."""
    rows = {
        "dataset": f"{metadata.get('data')} (digest {str(metadata.get('dataset_digest'))[:16]})",
        "spec of this split": json.dumps(metadata.get("spec"), sort_keys=True),
        "encodings": f"{metadata.get('input_encoding')} in, {metadata.get('output_encoding')} out",
        "checkpoint": f"{metadata.get('checkpoint', 'last')} of {metadata.get('run')}, step {metadata.get('step')}",
        "decoding": f"{metadata.get('decoding')}; at most {metadata.get('max_length')} words",
        "tolerance": f"{metadata.get('tolerance')}",
    }
    listed = "".join(f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>" for k, v in rows.items())
    command = f"<pre>{escape(command_line(metadata))}</pre>" if "decoding_settings" in metadata else ""
    return f"<div class=card>{command}<dl>{listed}</dl></div>"


def command_line(metadata: dict[str, Any]) -> str:
    """The ``mathpipe eval`` that gives these predictions."""
    words = ["mathpipe", "eval", "--run", str(metadata["run"]), "--data", str(metadata["data"])]
    words += ["--split", str(metadata["split"]), "--limit", str(metadata["rows"])]
    if metadata.get("checkpoint", "last") != "last":
        words += ["--checkpoint", str(metadata["checkpoint"])]
    how = metadata["decoding_settings"]
    if how["temperature"]:
        words += [
            "--temperature",
            f"{how['temperature']:g}",
            "--samples",
            str(how["samples"]),
            "--seed",
            str(how["seed"]),
        ]
    elif how["beam"] > 1:
        words += ["--beam", str(how["beam"]), "--length-penalty", f"{how['length_penalty']:g}"]
        words += [] if how["early_stopping"] else ["--no-early-stopping"]
    words += ["--constrained"] if how["constrained"] else []
    return shlex.join(words)
