"""The published figures of an experiment, or of the points of a family, in one line."""

from __future__ import annotations

from collections.abc import Sequence

from mathpipe.pipeline.config.published_tables import Experiment


def published_figures(points: Sequence[Experiment]) -> str | None:
    """The published figures, with the names of evaluations and points where there are several; None if there are none."""
    figures = []
    for experiment in points:
        for name, evaluation in experiment.evaluations.items():
            figure = evaluation.figure(experiment.label)
            if figure is not None:
                names = [str(experiment.label)] if len(points) > 1 and isinstance(evaluation.published, dict) else []
                names += [name] if len(experiment.evaluations) > 1 else []
                figures.append(": ".join([", ".join(names), str(figure)] if names else [str(figure)]))
    return "; ".join(dict.fromkeys(figures)) or None
