"""How the stream of rows is cut into splits and shards: sizes only, never what a row holds."""

from __future__ import annotations

from dataclasses import dataclass, field

from mathpipe.datasets.errors import UserError

LARGEST_COUNT = 10**12


@dataclass(frozen=True)
class Shard:
    """Rows [first_row, first_row + rows) of a split, in one file."""

    split: str
    index: int
    first_row: int
    rows: int


@dataclass(frozen=True)
class Layout:
    """``splits``: rows asked for of each split; ``shard_rows``: rows a shard, a multiple of the spec's chunk size.

    ``cuts``: the rows a shard of those splits whose spec has chunks of another size.
    """

    splits: dict[str, int]
    shard_rows: int
    cuts: dict[str, int] = field(default_factory=dict)

    def shards(self) -> list[Shard]:
        """Every shard of every split, in order; the last of a split holds what remains."""
        return [
            shard
            for split, rows in self.splits.items()
            for shard in cut(split, rows, self.cuts.get(split, self.shard_rows))
        ]

    @property
    def rows(self) -> int:
        return sum(self.splits.values())


def cut(split: str, rows: int, shard_rows: int) -> list[Shard]:
    """Cut ``rows`` rows into shards of ``shard_rows``: 25 rows by 10 are 10, 10 and 5; no rows are no shard."""
    return [
        Shard(split, index, first, min(shard_rows, rows - first))
        for index, first in enumerate(range(0, rows, shard_rows))
    ]


def whole_chunks(shard_rows: int, chunk_rows: int) -> int:
    """``shard_rows`` rounded to the nearest positive number of whole chunks."""
    if not 1 <= shard_rows <= LARGEST_COUNT:
        raise UserError("--shard-rows is out of range", expected=f"1 to {LARGEST_COUNT:,}", got=f"{shard_rows:,}")
    return max(1, round(shard_rows / chunk_rows)) * chunk_rows


def default_shard_rows(rows: int, chunk_rows: int) -> int:
    """1, 10 or 100 chunks: the most that still leave 8 shards, so that a few workers stay busy and files stay few."""
    return max([k * chunk_rows for k in (10, 100) if rows >= 8 * k * chunk_rows], default=chunk_rows)
