"""Small datasets on disk, and models whose every answer is planned."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mathpipe.datasets.containers.ragged_matrices import Matrices
from mathpipe.datasets.dataset import Dataset, open_dataset
from mathpipe.datasets.format.matrix_columns import MatrixExamples
from mathpipe.datasets.tokenizers.matrix_tokenizer import END, PAD, MatrixTokenizer
from mathpipe.evaluate.decode.decoding import Hypotheses
from mathpipe.generate.build.dataset_builder import make_dataset
from mathpipe.generate.layout import Layout
from mathpipe.generate.spec import DatasetSpec, MatrixSpec
from mathpipe.train.config import ModelConfig, TrainConfig
from mathpipe.train.run.checkpoint import RunRecord, build_model


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def make_data(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """A dataset of a task: ``make_data("add", test=200, min_dim=2, max_dim=3)``."""

    def make(task: str, test: int = 100, **spec: Any) -> Path:
        folder = tmp_path_factory.mktemp(task)
        dims = {"min_dim": 2, "max_dim": 2} | spec
        asked = DatasetSpec(task=task, problems=MatrixSpec(**dims), seed=1, chunk_rows=100)
        make_dataset(asked, Layout({"train": 100, "test": test}, shard_rows=100), str(folder / "data"), workers=0)
        return folder / "data"

    return make


@dataclass
class PlannedCache:
    said: Tensor  # (B, L): what each row will say
    place: int

    def select(self, index: Tensor) -> PlannedCache:
        return PlannedCache(self.said[index], self.place)


class Planned(nn.Module):
    """A model that answers each written problem with the words planned for it, each with probability 3/4."""

    def __init__(self, plan: dict[tuple[int, ...], list[int]], vocabulary: int) -> None:
        super().__init__()
        self.plan, self.vocabulary = plan, vocabulary
        self.weight = nn.Parameter(torch.zeros(1))
        self.asked = 0

    def check(self, rows: object) -> None:
        """It reads everything."""

    def encode(self, source: Tensor) -> Tensor:
        self.asked += len(source)
        answers = [self.plan[tuple(t for t in row if t != PAD)] for row in source.tolist()]
        width = max(len(answer) for answer in answers)
        return torch.tensor([answer + [PAD] * (width - len(answer)) for answer in answers])

    def init_cache(self, memory: Tensor, max_length: int) -> PlannedCache:
        return PlannedCache(memory, 0)

    def step(self, tokens: Tensor, cache: PlannedCache) -> Tensor:
        logits = torch.full((len(tokens), self.vocabulary), math.log(0.25 / (self.vocabulary - 1)))
        if cache.place < cache.said.shape[1]:
            logits[torch.arange(len(tokens)), cache.said[:, cache.place]] = math.log(0.75)
        cache.place += 1
        return logits


@pytest.fixture(scope="session")
def plan_answers() -> Callable[..., Planned]:
    """A planned model for a split: ``edit(place, row, right words with END)`` gives the words it will say."""

    def plan(
        dataset: Dataset, edit: Callable[[int, int, list[int]], list[int]] = lambda i, row, words: words
    ) -> Planned:
        answers: dict[tuple[int, ...], list[int]] = {}
        for rows in dataset.chunks():
            batch = dataset.batch(rows)
            for source, target, row in zip(
                batch.source.tolist(), batch.target.tolist(), rows.row.tolist(), strict=True
            ):
                words = edit(len(answers), row, target[: target.index(END) + 1])
                answers[tuple(t for t in source if t != PAD)] = words
        return Planned(answers, dataset.target.format.vocabulary_size)

    return plan


@pytest.fixture(scope="session")
def make_run() -> Callable[..., RunRecord]:
    """The record of a run on a dataset, as training would write it."""

    def make(data: Path, **changes: Any) -> RunRecord:
        dataset = open_dataset(data, "test")
        config = TrainConfig(
            model=ModelConfig(
                encoder_width=16, decoder_width=16, encoder_heads=2, decoder_heads=2, feed_forward=1, dtype="float32"
            ),
            **({"input_encoding": "P1000", "output_encoding": "P1000"} | changes),
        )
        return RunRecord(
            data=str(data),
            dataset_digest=dataset.digest,
            task=dataset.task,
            spec=dataset.spec,
            input_encoding=config.input_encoding,
            output_encoding=config.output_encoding,
            precision=config.precision,
            config=config,
            step=7,
        )

    return make


@pytest.fixture
def planned_run(
    monkeypatch: pytest.MonkeyPatch, make_run: Callable[..., RunRecord]
) -> Callable[[Path, nn.Module], RunRecord]:
    """Makes ``evaluate_run`` find this model where it would load a checkpoint."""

    def use(trained_on: Path, model: nn.Module, **changes: Any) -> RunRecord:
        record = dataclasses.replace(make_run(trained_on), **changes)
        monkeypatch.setattr("mathpipe.evaluate.run.load_model", lambda run_dir, device, name: (model, record))
        return record

    return use


@pytest.fixture(scope="session")
def untrained() -> Callable[[RunRecord], nn.Module]:
    def make(record: RunRecord) -> nn.Module:
        torch.manual_seed(0)
        return build_model(record).eval()

    return make


@pytest.fixture(scope="session")
def said() -> Callable[..., Hypotheses]:
    """Predictions as decoding returns them, from one list of words (or token ids) a row."""

    def decoded(tokenizer: MatrixTokenizer, sentences: Sequence[str | Sequence[int]], room: int = 0) -> Hypotheses:
        rows = [tokenizer.tokens_to_ids(s.split()) if isinstance(s, str) else list(s) for s in sentences]
        tokens = np.full((len(rows), max([room, *map(len, rows)])), PAD, dtype=np.int64)
        for i, row in enumerate(rows):
            tokens[i, : len(row)] = row
        return Hypotheses(tokens, -np.arange(1.0, len(rows) + 1))

    return decoded


@pytest.fixture(scope="session")
def problems() -> Callable[[Sequence[Any], Sequence[Any]], MatrixExamples]:
    def make(problems: Sequence[Any], solutions: Sequence[Any]) -> MatrixExamples:
        return MatrixExamples(np.arange(len(problems)), Matrices.from_list(problems), Matrices.from_list(solutions))

    return make
