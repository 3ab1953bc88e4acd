"""The failures that a report shows: the worst, typical ones, and others that chance selects, so that a page can filter them."""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field

from mathpipe.evaluate.failures.failure import Failure
from mathpipe.evaluate.failures.worst_failures import WorstFailures

NUM_SAMPLED = 200


@dataclass
class ShownFailures:
    """Collects the failures to show while all failures pass by, in constant memory.

    ``typical_rows``: the rows that count as typical. ``sampled``: the failures with the smallest hashes of their rows, a sample
    without replacement that is the same each time. ``total``: all failures.
    """

    typical_rows: Collection[int] = ()
    worst: WorstFailures = field(default_factory=WorstFailures)
    typical: list[Failure] = field(default_factory=list)
    total: int = 0
    _largest_hashes: list[tuple[int, int, Failure]] = field(default_factory=list)  # a heap; hashes are negative

    def observe(self, failures: Iterable[Failure]) -> Iterator[Failure]:
        """Yield the same failures, and consider each."""
        for failure in self.worst.observe(failures):
            self.total += 1
            if failure.row in self.typical_rows:
                self.typical.append(failure)
            entry = (-_hash(failure.row), self.total, failure)
            if len(self._largest_hashes) < NUM_SAMPLED:
                heapq.heappush(self._largest_hashes, entry)
            elif entry[0] > self._largest_hashes[0][0]:
                heapq.heapreplace(self._largest_hashes, entry)
            yield failure

    def selected(self) -> list[tuple[str, Failure]]:
        """(why it is shown, failure): the worst first, then typical ones, then the sample by row; each failure once."""
        sample = sorted((failure for *_, failure in self._largest_hashes), key=lambda failure: failure.row)
        groups = {"worst": self.worst.selected(), "typical": self.typical, "sampled": sample}
        by_row: dict[int, tuple[str, Failure]] = {}
        for reason, group in groups.items():
            for failure in group:
                by_row.setdefault(failure.row, (reason, failure))
        return list(by_row.values())


def _hash(row: int) -> int:
    return int.from_bytes(hashlib.blake2b(row.to_bytes(8, "little", signed=True), digest_size=8).digest(), "little")
