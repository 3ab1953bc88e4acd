"""Acceptance rate: accepted / sampled problems. It decides how long a dataset takes, and whether a spec can be generated at all."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from mathpipe.datasets.errors import UserError

MIN_SAMPLES = 20_000  # a chunk is given up after this many samples at the earliest
SMALLEST_RATE = 1 / 500  # below this a chunk of 10,000 examples takes 5,000,000 samples
MIN_PAIR_SAMPLES, SMALLEST_PAIR_RATE = (
    2_000,
    1 / 200,
)  # of samples that cost milliseconds; the published specs: 0.11 or more
NOTABLE_RATE = 0.1  # below this a message reports it


@dataclass(frozen=True)
class Acceptance:
    """How many samples were accepted, and how many rejected by reason."""

    accepted: int
    rejected: Counter[str]

    @property
    def samples(self) -> int:
        return self.accepted + self.rejected.total()

    @property
    def rate(self) -> float:
        """The proportion of accepted samples; 1 without samples."""
        return self.accepted / self.samples if self.samples else 1.0

    def __str__(self) -> str:
        reasons = ", ".join(
            f"{100 * count / self.samples:.3g} % {reason}" for reason, count in self.rejected.most_common()
        )
        return (
            f"{100 * self.rate:.2g} % of {self.samples:,} sampled problems are accepted (rejected: {reasons or 'none'})"
        )

    def check(self, task: str, next_step: str) -> None:
        """UserError if there are enough samples to say that fewer than ``SMALLEST_RATE`` of all are accepted."""
        if self.samples >= MIN_SAMPLES and self.rate < SMALLEST_RATE:
            raise UserError(
                f"{task}: almost every sampled problem is rejected",
                expected=f"a spec of which at least {100 * SMALLEST_RATE:g} % of the problems are accepted",
                got=str(self),
                cause="the values of problems or solutions leave the range of a dataset, 0 or 1e-7 to 1e9"
                if any("range" in reason for reason in self.rejected)
                else None,
                next_step=next_step,
            )
