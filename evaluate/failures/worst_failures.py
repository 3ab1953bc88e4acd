"""Selection of the failures to show first."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from mathpipe.evaluate.failures.failure import Failure

NUM_WORST = 10
_WITHOUT_VALUE = ("malformed", "unterminated", "wrong_shape", "undecided", "timeout")  # no value was verified as wrong


@dataclass
class WorstFailures:
    """The failures to show: the first of each outcome without a wrong value, then the worst wrong answers.

    Answers that cannot be decoded do not say how far the model is off, and a model in training has thousands of them. One of each
    kind shows what they look like. All others are ordered by error_l1, infinite ones (a zero reference) last. Where errors are
    equal or undefined, the most confident come first (by log_probability), then the order of rows decides. A repeated problem is
    shown once.
    """

    count: int = NUM_WORST
    first_by_outcome: dict[str, Failure] = field(default_factory=dict)
    remaining: list[Failure] = field(default_factory=list)
    largest: list[tuple[float, float, int, Failure]] = field(default_factory=list)

    def add(self, failure: Failure) -> None:
        if failure.outcome in _WITHOUT_VALUE:
            if failure.outcome not in self.first_by_outcome:
                self.first_by_outcome[failure.outcome] = failure
            elif len(self.remaining) < self.count:
                self.remaining.append(failure)
            return
        entry = (failure.error, failure.confidence, -failure.row, failure)
        if len(self.largest) == self.count and entry[:3] < self.largest[0][:3]:
            return
        if any(failure.same_problem(other) for *_, other in self.largest):
            return
        heapq.heappush(self.largest, entry)
        if len(self.largest) > self.count:
            heapq.heappop(self.largest)

    def observe(self, failures: Iterable[Failure]) -> Iterator[Failure]:
        """Yield the same failures, and consider each."""
        for failure in failures:
            self.add(failure)
            yield failure

    def selected(self) -> list[Failure]:
        """Up to ``count`` failures, in the order in which they are shown."""
        without_value = [self.first_by_outcome[name] for name in _WITHOUT_VALUE if name in self.first_by_outcome]
        wrong = [failure for *_, failure in sorted(self.largest, key=lambda entry: entry[:3], reverse=True)]
        return [*without_value[: self.count], *wrong, *self.remaining][: self.count]
