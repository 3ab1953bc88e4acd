"""A small dataset in memory with the interface of a split, to test training without shards.

Problems are matrices of small integers and their transposes; batch i is sampled from SeedSequence((seed, i)).
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
from mathpipe.datasets.format.matrix_columns import MatrixExamples
from mathpipe.datasets.tokenizers.matrix_tokenizer import MatrixTokenizer
from mathpipe.datasets.tokenizers.tokenizer import END, PAD, Tokenizer
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


def tokens(problems: Matrices, solutions: Matrices, tokenizer: Tokenizer, device: str | torch.device = "cpu") -> Batch:
    """Encoded problems as a batch, END after each solution."""
    source, source_lengths = tokenizer.encode(problems)
    encoded, lengths = tokenizer.encode(solutions)
    target = np.full((len(encoded), encoded.shape[1] + 1), PAD)
    target[:, :-1] = encoded
    target[np.arange(len(target)), lengths] = END
    arrays = source, source_lengths, target, lengths + 1, np.arange(len(target))
    return Batch(*(torch.from_numpy(np.asarray(a, dtype=np.int64)).to(device) for a in arrays))


def transpositions(rng: np.random.Generator, n: int, ragged: bool = True) -> tuple[Matrices, Matrices]:
    """n problems with 1..2 rows and 1..3 columns (or all 1 x 2)."""
    shapes = [(rng.integers(1, 3), rng.integers(1, 4)) if ragged else (1, 2) for _ in range(n)]
    matrices = [rng.integers(-9, 10, shape).astype(float) for shape in shapes]
    return Matrices.from_list(matrices), Matrices.from_list([a.T for a in matrices])


@dataclass
class SmallStream:
    """Batch i of a seed; the position is i."""

    data: SmallData
    size: int
    seed: int
    rank: int = 0
    world_size: int = 1
    device: str | torch.device = "cpu"
    position: int = 0

    def __next__(self) -> Batch:
        rng = np.random.default_rng(np.random.SeedSequence((self.seed, self.position)))
        self.position += 1
        whole = tokens(*transpositions(rng, self.size), self.data.source, self.device)
        share = slice(self.rank, None, self.world_size)
        if self.data.uneven and self.position % 4 == 0:  # like the last batch of a window: one problem in all
            share = slice(0, 1) if self.rank == 0 else slice(0, 0)
        return Batch(*(getattr(whole, f.name)[share] for f in fields(whole)))

    def state_dict(self) -> dict[str, int | str]:
        return {"position": self.position, "digest": self.data.digest}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.position = state["position"]

    def close(self) -> None:
        pass


@dataclass
class SmallData:
    """An endless stream of transpositions in P10."""

    digest: str = "d1"
    directory: str = "data/small"
    uneven: bool = False
    task: str = "transpose"
    spec: dict[str, Any] = field(default_factory=lambda: {"seed": 0, "task": "transpose", "problems": {}})
    source: Tokenizer = field(default_factory=lambda: MatrixTokenizer.named("P10"))
    target: Tokenizer = field(default_factory=lambda: MatrixTokenizer.named("P10"))

    def batches(
        self, size: int, seed: int = 0, device: str | torch.device = "cpu", rank: int = 0, world_size: int = 1
    ) -> SmallStream:
        return SmallStream(self, size, seed, rank, world_size, device)

    def chunks(self, size: int = 10_000, start: int = 0, stop: int | None = None) -> Iterator[MatrixExamples]:
        problems, solutions = transpositions(np.random.default_rng(99), 32)
        rows = MatrixExamples(np.arange(32), problems, solutions)
        stop = 32 if stop is None else min(stop, 32)
        for first in range(start, stop, size):
            yield rows.take(np.arange(first, min(first + size, stop)))

    def batch(self, rows: MatrixExamples, device: str | torch.device = "cpu") -> Batch:
        return tokens(rows.problems, rows.solutions, self.source, device)


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
