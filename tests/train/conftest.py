"""A small dataset in memory, with the contract of a split, so that training is tested without shards.

Problems are matrices of small integers and their transposes; batch i of a seed is drawn from SeedSequence((seed, i)).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mathpipe.datasets.containers.ragged_matrices import Matrices
from mathpipe.datasets.containers.token_batches import Batch
from mathpipe.datasets.format.matrix_columns import Rows
from mathpipe.datasets.tokenizers.matrix_tokenizer import END, PAD, MatrixTokenizer
from mathpipe.train.config import ModelConfig, TrainConfig

TINY = ModelConfig(
    encoder_width=24,
    decoder_width=16,
    encoder_heads=3,
    decoder_heads=2,
    feed_forward=2,
    dtype="float32",
    max_positions=64,
)


def tiny_config(**changes: Any) -> TrainConfig:
    """A configuration that trains in a second."""
    small: dict[str, Any] = {
        "model": TINY,
        "input_encoding": "P10",
        "output_encoding": "P10",
        "batch": 8,
        "steps": 12,
        "lr": 3e-3,
        "warmup": 4,
        "valid_examples": 16,
        "log_every": 3,
        "eval_every": 5,
        "checkpoint_every": 4,
        "threads": 1,
    }
    return TrainConfig(**(small | changes))


def tokens(
    problems: Matrices, solutions: Matrices, tokenizer: MatrixTokenizer, device: str | torch.device = "cpu"
) -> Batch:
    """Written problems as a batch, END after each solution."""
    source, source_lengths = tokenizer.encode(problems)
    written, lengths = tokenizer.encode(solutions)
    target = np.full((len(written), written.shape[1] + 1), PAD)
    target[:, :-1] = written
    target[np.arange(len(target)), lengths] = END
    arrays = source, source_lengths, target, lengths + 1, np.arange(len(target))
    return Batch(*(torch.from_numpy(np.asarray(a, dtype=np.int64)).to(device) for a in arrays))


def transpositions(rng: np.random.Generator, n: int, ragged: bool = True) -> tuple[Matrices, Matrices]:
    """n problems with 1..2 rows and 1..3 columns (or all 1 x 2)."""
    shapes = [(rng.integers(1, 3), rng.integers(1, 4)) if ragged else (1, 2) for _ in range(n)]
    drawn = [rng.integers(-9, 10, shape).astype(float) for shape in shapes]
    return Matrices.from_list(drawn), Matrices.from_list([a.T for a in drawn])


@dataclass
class SmallStream:
    """Batch i of a seed; the position is i."""

    data: SmallData
    size: int
    seed: int
    rank: int = 0
    ranks: int = 1
    device: str | torch.device = "cpu"
    place: int = 0

    def __next__(self) -> Batch:
        rng = np.random.default_rng(np.random.SeedSequence((self.seed, self.place)))
        self.place += 1
        whole = tokens(*transpositions(rng, self.size), self.data.tokenizer, self.device)
        mine = slice(self.rank, None, self.ranks)
        if (
            self.data.uneven and self.place % 4 == 0
        ):  # as a window's last batch may be: one problem, however many processes
            mine = slice(0, 1) if self.rank == 0 else slice(0, 0)
        return Batch(*(getattr(whole, f.name)[mine] for f in fields(whole)))

    def state_dict(self) -> dict[str, int | str]:
        return {"place": self.place, "digest": self.data.digest}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.place = state["place"]

    def close(self) -> None:
        pass


@dataclass
class SmallData:
    """Transpositions in P10, without end."""

    digest: str = "d1"
    directory: str = "data/small"
    uneven: bool = False
    task: str = "transpose"
    spec: dict[str, Any] = field(default_factory=lambda: {"seed": 0})
    tokenizer: MatrixTokenizer = field(default_factory=lambda: MatrixTokenizer.named("P10"))

    def batches(
        self, size: int, seed: int = 0, device: str | torch.device = "cpu", rank: int = 0, ranks: int = 1
    ) -> SmallStream:
        return SmallStream(self, size, seed, rank, ranks, device)

    def chunks(self, size: int = 10_000, start: int = 0, stop: int | None = None) -> Iterator[Rows]:
        problems, solutions = transpositions(np.random.default_rng(99), 32)
        rows = Rows(np.arange(32), problems, solutions)
        stop = 32 if stop is None else min(stop, 32)
        for first in range(start, stop, size):
            yield rows.take(np.arange(first, min(first + size, stop)))

    def batch(self, rows: Rows, device: str | torch.device = "cpu") -> Batch:
        return tokens(rows.problems, rows.solutions, self.tokenizer, device)


@pytest.fixture
def write() -> Callable[..., Batch]:
    """``tokens``, for tests with matrices of their own."""
    return tokens


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def tiny() -> Callable[..., TrainConfig]:
    return tiny_config


@pytest.fixture
def data() -> SmallData:
    return SmallData()


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    return tmp_path / "runs" / "small"
