"""Greedy accuracy on a part of a split, for a model in training."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mathpipe.datasets.dataset import Dataset
from mathpipe.evaluate.adapters.adapter_registry import adapter_of_spec
from mathpipe.evaluate.dataset_decoding import chunk_size, decode_examples, row_count
from mathpipe.evaluate.decode.hypotheses import GREEDY
from mathpipe.evaluate.score.scoring import ScoredHypotheses
from mathpipe.generate.tasks.error_measures import TOLERANCE, within
from mathpipe.train.model.interface import Model

QUICK_METRICS = ("accuracy", "accuracy_published", "exact", "invalid", "token_accuracy", "mean_log_probability")


def quick_metric_names(dataset: Dataset) -> tuple[str, ...]:
    """Names of the metrics that ``quick_accuracy`` returns."""
    adapter = adapter_of_spec(dataset.spec)
    return (*QUICK_METRICS, *map(within_name, adapter.tolerances), *adapter.extra_metrics)


def within_name(tolerance: float) -> str:
    """The name of the accuracy at a tolerance below that of ``accuracy``: ``within_2_percent``."""
    return f"within_{100 * tolerance:g}_percent"


def quick_accuracy(
    model: Model, dataset: Dataset, limit: int = 1000, tolerance: float = TOLERANCE, batch_size: int | None = None
) -> dict[str, float]:
    """Greedy accuracy on the first ``limit`` examples, for a model in training; its mode is restored.

    ``accuracy``: passed the error test at ``tolerance``; ``accuracy_published``: passed, or exactly the reference; ``exact`` and
    ``invalid``: proportions of these outcomes (invalid: malformed or unterminated); ``token_accuracy``: proportion of the
    references' tokens predicted at the same position; ``within_2_percent``, ...: accuracy at smaller tolerances, of tasks whose
    answers have an error; the task's own metrics, such as ``bit_accuracy``; ``mean_log_probability``.
    """
    n = row_count(dataset, limit, batch_size)
    adapter = adapter_of_spec(dataset.spec, tolerance=tolerance)
    max_length, parts = adapter.max_length(dataset, n), list[ScoredHypotheses[Any, Any]]()
    for rows in dataset.chunks(chunk_size(max_length, GREEDY), stop=n):
        decoded = decode_examples(model, dataset, rows, max_length, batch_size)
        parts.append(adapter.score(dataset.target, rows, decoded))

    def mean(column: Callable[[ScoredHypotheses[Any, Any]], NDArray[Any]]) -> float:
        return float(np.concatenate([column(scored) for scored in parts]).mean())

    unread = [adapter.outcomes.index(name) for name in ("malformed", "unterminated")]
    return {
        "accuracy": mean(lambda scored: scored.passed),
        "accuracy_published": mean(lambda scored: scored.correct_published),
        "exact": mean(lambda scored: scored.outcome == adapter.outcomes.index("exact")),
        "invalid": mean(lambda scored: np.isin(scored.outcome, unread)),
        "token_accuracy": mean(lambda scored: scored.num_correct_tokens) / mean(lambda scored: scored.num_tokens),
        **{within_name(t): mean(partial(_within, t)) for t in adapter.tolerances},
        **{name: mean(partial(_measure, name)) for name in adapter.extra_metrics},
        "mean_log_probability": mean(lambda scored: scored.decoded.log_probability),
    }


def _within(tolerance: float, scored: ScoredHypotheses[Any, Any]) -> NDArray[np.bool_]:
    """Which hypotheses pass the error test at a tolerance, orthogonality of factors included."""
    passed = within(scored.errors["error_l1"], tolerance)
    return passed & within(scored.errors["orthogonality"], tolerance) if "orthogonality" in scored.errors else passed


def _measure(name: str, scored: ScoredHypotheses[Any, Any]) -> NDArray[np.float64]:
    """A measure of every hypothesis, 0 where it is undefined."""
    return np.nan_to_num(scored.errors[name])
