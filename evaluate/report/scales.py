"""Scales of an axis of proportions: linear, or logit where a linear axis would hide the failures of a nearly perfect model.

Logit: y = ln(p / (1 - p)), so that 90 %, 99 % and 99.9 % are about equally far apart, as are 10 %, 1 % and 0.1 %. 0 and 1, which
have no logit, lie on the edges of the plot.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

NEARLY_PERFECT = 0.95  # of a proportion above it, a linear axis shows failures in its top twentieth only
LOWEST = 0.001  # smaller proportions lie on the lower edge of a logit axis of accuracies: the plot is about failures
_MIN_TICKS = 3  # of an axis of positive numbers
_MARGIN = 2.0  # between the extreme values and the edges, as a factor of their odds
_LOGIT_TICKS = (0.0001, 0.001, 0.01, 0.1, 0.5, 0.9, 0.99, 0.999, 0.9999, 0.99999, 0.999999)
_TOPS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8)


class Scale(Protocol):
    """An axis of proportions, or of positive numbers such as losses.

    ``is_log``: whether equal distances mean equal factors of the odds, so that bars have no meaning.
    """

    is_log: bool

    def position(self, proportion: float) -> float:
        """0 at the lower edge of the plot, 1 at the upper edge."""

    def ticks(self) -> list[tuple[float, str]]:
        """Proportions and their labels, in ascending order."""

    def text(self, value: float) -> str:
        """A value as a reader sees it."""


@dataclass(frozen=True)
class LinearScale:
    """Proportions from 0 to ``top``."""

    top: float = 1.0
    is_log = False

    def text(self, value: float) -> str:
        return format_share(value)

    def position(self, proportion: float) -> float:
        return min(max(proportion / self.top, 0.0), 1.0)

    def ticks(self) -> list[tuple[float, str]]:
        digits = 0 if self.top >= 0.2 else 1 if self.top >= 0.02 else 2
        return [(self.top * k / 4, f"{25 * self.top * k:.{digits}f}%") for k in range(5)]


@dataclass(frozen=True)
class LogitScale:
    """Proportions from ``low`` to ``high``, both inside (0, 1), by their logit.

    ``low_label``: of the lower edge, if values lie on it: those at most ``low``; ``has_one``: whether 1 is on the upper edge.
    """

    low: float
    high: float
    low_label: str | None = None
    has_one: bool = False
    is_log = True

    def text(self, value: float) -> str:
        return format_share(value)

    def position(self, proportion: float) -> float:
        if not self.low < proportion < self.high:
            return 0.0 if proportion <= self.low else 1.0
        return (_logit(proportion) - _logit(self.low)) / (_logit(self.high) - _logit(self.low))

    def ticks(self) -> list[tuple[float, str]]:
        first = [] if self.low_label is None else [(self.low, self.low_label)]
        lowest = 0.06 if first else 0.0
        inside = [(p, f"{100 * p:g}%") for p in _LOGIT_TICKS if self.low <= p and lowest <= self.position(p) < 0.96]
        return [*first, *inside, *([(1.0, "100%")] if self.has_one else [])]


@dataclass(frozen=True)
class PositiveScale:
    """Positive numbers from ``low`` to ``high`` by their logarithm, such as losses."""

    low: float
    high: float
    is_log = False  # nothing to explain: the labels of the ticks show it

    def position(self, value: float) -> float:
        if value <= self.low:
            return 0.0
        return min(math.log(value / self.low) / math.log(self.high / self.low), 1.0)

    def ticks(self) -> list[tuple[float, str]]:
        first, last = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
        inside: list[float] = []
        for steps in ((1,), (1, 2, 5), range(1, 10)):  # the coarsest with three ticks
            values = [step * 10.0**decade for decade in range(first, last + 1) for step in steps]
            inside = [value for value in values if self.low <= value <= self.high]
            if len(inside) >= _MIN_TICKS:
                break
        return [(value, f"{value:g}") for value in inside or (self.low, self.high)]

    def text(self, value: float) -> str:
        return f"{value:.4g}"


def positive_scale(values: Iterable[float]) -> PositiveScale:
    """The scale for these numbers, of which those that are not positive lie on the lower edge."""
    positive = [v for v in values if math.isfinite(v) and v > 0] or [1.0]
    return PositiveScale(min(positive) / 1.15, max(positive) * 1.15)


def choose_scale(values: Iterable[float], others: Iterable[float] = (), lowest: float = LOWEST) -> Scale:
    """The scale for these proportions: logit if one of them is nearly perfect.

    ``others``: what is plotted beside them, such as the bounds of intervals; the scale has room for it, but it does not choose.
    ``lowest``: where a logit scale ends, if there are smaller proportions.
    """
    deciding = [v for v in values if math.isfinite(v)]
    plotted = [*deciding, *(v for v in others if math.isfinite(v))]
    if max(deciding, default=0.0) > NEARLY_PERFECT and any(0 < v < 1 for v in plotted):
        return _logit_scale(deciding, plotted, lowest)
    largest = max(plotted, default=1.0)
    return LinearScale(next((top for top in _TOPS if largest <= top * 0.95), 1.0))


def _logit_scale(deciding: Sequence[float], plotted: Sequence[float], lowest: float) -> LogitScale:
    """From below the smallest proportion, at most 90 %, but not from below ``lowest``, to above the largest that is not 1."""
    inside = [v for v in plotted if 0 < v < 1]
    low = max(min(_widen(min(inside), 1 / _MARGIN), 0.9), lowest)
    high = max(_widen(max(inside), _MARGIN), NEARLY_PERFECT)
    on_edge = [v for v in deciding if v <= low]
    label = None if not on_edge else f"≤{format_share(low)}" if max(on_edge) > 0 else "0%"
    return LogitScale(low, high, label, max(plotted) >= 1)


def _widen(proportion: float, factor: float) -> float:
    """The proportion with its odds times a factor."""
    odds = factor * proportion / (1 - proportion)
    return odds / (1 + odds)


def _logit(proportion: float) -> float:
    return math.log(proportion / (1 - proportion))


def format_share(proportion: float, digits: int = 1) -> str:
    """A proportion in percent. Close to 0 or 1 it has as many digits as tell it from them: 99.96%, never 100.0%."""
    if not math.isfinite(proportion):
        return "–"
    if 0 < proportion < 0.001:
        return f"{100 * proportion:.2g}%"
    rest = 100 * (1 - proportion)
    if 0 < rest < 0.5 * 10**-digits + 1e-9 or 0 < rest < 0.0999:
        digits = max(digits, 1 - math.floor(math.log10(rest) + 1e-9))
        return f"{100 * proportion:.{digits}f}".rstrip("0").rstrip(".") + "%"
    return f"{100 * proportion:.{digits}f}%"
