"""Small datasets on disk, models with planned answers, and failures with known defects."""

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
from mathpipe.datasets.tokenizers.matrix_tokenizer import MatrixTokenizer
from mathpipe.datasets.tokenizers.tokenizer import END, PAD
from mathpipe.evaluate.adapters.adapter_registry import adapter_of
from mathpipe.evaluate.decode.hypotheses import Hypotheses
from mathpipe.evaluate.failures.failure import Failure
from mathpipe.generate.build.dataset_builder import make_dataset
from mathpipe.generate.dataset_spec import DatasetSpec
from mathpipe.generate.layout import Layout
from mathpipe.generate.problem_specs.matrix_spec import MatrixSpec
from mathpipe.train.config import ModelConfig, TrainConfig
from mathpipe.train.run.checkpoint import build_model
from mathpipe.train.run.run_record import RunRecord


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def make_data(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Write a dataset of a task: ``make_data("add", test=200, min_dim=2, max_dim=3)``."""

    def make(task: str, test: int = 100, **spec: Any) -> Path:
        folder = tmp_path_factory.mktemp(task)
        dims = {"min_dim": 2, "max_dim": 2} | spec
        dataset_spec = DatasetSpec(task=task, problems=MatrixSpec(**dims), seed=1, chunk_rows=100)
        make_dataset(
            dataset_spec, Layout({"train": 100, "test": test}, shard_rows=100), str(folder / "data"), workers=0
        )
        return folder / "data"

    return make


@pytest.fixture(scope="session")
def addition_data(make_data: Callable[..., Path]) -> Path:
    """230 test problems of addition, 2 or 3 rows and columns."""
    return make_data("add", test=230, min_dim=2, max_dim=3)


DEFECTS = {1: "malformed", 3: "unterminated", 5: "wrong_shape", 7: "wrong_value"}  # of answer i, by i % 10


@pytest.fixture(scope="session")
def defects() -> list[str]:
    """The outcome of each answer to ``addition_data`` by ``add_defects``."""
    return [DEFECTS.get(i % 10, "exact") for i in range(230)]


@pytest.fixture(scope="session")
def add_defects() -> Callable[[int, int, list[int]], list[int]]:
    """An edit for ``plan_answers``: the reference of a 2x2 or 3x3 matrix in P1000, or a defect of it."""

    def edit(i: int, row: int, tokens: list[int]) -> list[int]:
        defect = DEFECTS.get(i % 10)
        if defect == "malformed":
            return [*tokens[:-2], END]
        if defect == "unterminated":
            return [*tokens[:-1], *[tokens[-2]] * 40]  # longer than the longest correct answer
        if defect == "wrong_shape":  # the matrix as one row
            size = (tokens[0] - 8) * (tokens[1] - 8)
            return [9, 8 + size, *tokens[2:]]
        if defect == "wrong_value":  # a thousand times the first entry
            return [*tokens[:4], tokens[4] + 3, *tokens[5:]]
        return tokens

    return edit


@dataclass
class PlannedCache:
    answers: Tensor  # (B, L)
    position: int

    def select(self, index: Tensor) -> PlannedCache:
        return PlannedCache(self.answers[index], self.position)


class Planned(nn.Module):
    """A model that answers each problem with its planned tokens, each with probability 3/4."""

    def __init__(self, plan: dict[tuple[int, ...], list[int]], vocabulary: int) -> None:
        super().__init__()
        self.plan, self.vocabulary = plan, vocabulary
        self.weight = nn.Parameter(torch.zeros(1))
        self.num_problems = 0

    def check(self, rows: object) -> None:
        """Accepts everything."""

    def output_layer(self) -> tuple[Tensor, Tensor]:
        return torch.zeros(self.vocabulary, 1), torch.zeros(self.vocabulary)

    def layers(self) -> list[nn.Module]:
        return []

    def encode(self, source: Tensor) -> Tensor:
        self.num_problems += len(source)
        answers = [self.plan[tuple(t for t in row if t != PAD)] for row in source.tolist()]
        width = max(len(answer) for answer in answers)
        return torch.tensor([answer + [PAD] * (width - len(answer)) for answer in answers])

    def init_cache(self, memory: Tensor, max_length: int) -> PlannedCache:
        return PlannedCache(memory, 0)

    def step(self, tokens: Tensor, cache: PlannedCache) -> Tensor:
        logits = torch.full((len(tokens), self.vocabulary), math.log(0.25 / (self.vocabulary - 1)))
        if cache.position < cache.answers.shape[1]:
            logits[torch.arange(len(tokens)), cache.answers[:, cache.position]] = math.log(0.75)
        cache.position += 1
        return logits


@pytest.fixture(scope="session")
def plan_answers() -> Callable[..., Planned]:
    """A planned model for a split: ``edit(index, row, reference tokens with END)`` returns its answer."""

    def plan(
        dataset: Dataset, edit: Callable[[int, int, list[int]], list[int]] = lambda i, row, tokens: tokens
    ) -> Planned:
        answers: dict[tuple[int, ...], list[int]] = {}
        for rows in dataset.chunks():
            batch = dataset.batch(rows)
            for source, target, row in zip(
                batch.source.tolist(), batch.target.tolist(), rows.row.tolist(), strict=True
            ):
                answer = edit(len(answers), row, target[: target.index(END) + 1])
                answers[tuple(t for t in source if t != PAD)] = answer
        return Planned(answers, dataset.target.format.vocabulary_size)

    return plan


@pytest.fixture(scope="session")
def make_run() -> Callable[..., RunRecord]:
    """The record of a run on a dataset, as training writes it."""

    def make(data: Path, **changes: Any) -> RunRecord:
        dataset = open_dataset(data, "test", "P1000", "P1000")
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


@pytest.fixture(scope="session")
def planned_run(make_run: Callable[..., RunRecord]) -> Callable[..., Any]:
    """``planned_run(data, model)``: the argument ``load`` of ``evaluate_run`` for this model instead of a checkpoint."""

    def use(trained_on: Path, model: nn.Module, **changes: Any) -> Any:
        record = dataclasses.replace(make_run(trained_on), **changes)
        return lambda run_dir, device, name: (model, record)

    return use


@pytest.fixture(scope="session")
def untrained() -> Callable[[RunRecord], nn.Module]:
    def make(record: RunRecord) -> nn.Module:
        torch.manual_seed(0)
        return build_model(record).eval()

    return make


@pytest.fixture(scope="session")
def decode() -> Callable[..., Hypotheses]:
    """Predictions as decoding returns them, from a string of tokens or a list of token ids per row."""

    def make(tokenizer: MatrixTokenizer, answers: Sequence[str | Sequence[int]]) -> Hypotheses:
        rows = [tokenizer.tokens_to_ids(s.split()) if isinstance(s, str) else list(s) for s in answers]
        tokens = np.full((len(rows), max(map(len, rows))), PAD, dtype=np.int64)
        for i, row in enumerate(rows):
            tokens[i, : len(row)] = row
        return Hypotheses(tokens, -np.arange(1.0, len(rows) + 1))

    return make


@pytest.fixture(scope="session")
def make_examples() -> Callable[[Sequence[Any], Sequence[Any]], MatrixExamples]:
    def make(problems: Sequence[Any], solutions: Sequence[Any]) -> MatrixExamples:
        return MatrixExamples(np.arange(len(problems)), Matrices.from_list(problems), Matrices.from_list(solutions))

    return make


@pytest.fixture
def failures_of(decode: Callable[..., Hypotheses]) -> Callable[..., list[Failure]]:
    """The failures among answers to the examples of a task, tokens in P1000."""

    def make(task: str, examples: MatrixExamples, answers: Sequence[str] | Hypotheses) -> list[Failure]:
        adapter, tokenizer = adapter_of(task), MatrixTokenizer.named("P1000")
        decoded = answers if isinstance(answers, Hypotheses) else decode(tokenizer, answers)
        scored = adapter.score(tokenizer, examples, decoded)
        return list(adapter.failures(adapter.table(scored, "test", tokenizer, tokenizer)))

    return make


@pytest.fixture
def addition_failures(
    failures_of: Callable[..., list[Failure]], make_examples: Callable[..., MatrixExamples]
) -> list[Failure]:
    """Answers to [1 2] + [3 4] with a wrong value, of another shape, and malformed; a correct one did not fail."""
    answers = [
        "V1 V2 + 400 E-2 + 600 E-2 <s>",
        "V1 V2 + 400 E-2 - 600 E-2 <s>",
        "V2 V1 + 400 E-2 + 600 E-2 <s>",
        "V1 <s>",
    ]
    return failures_of("add", make_examples([[[1, 2, 3, 4]]] * 4, [[[4, 6]]] * 4), answers)
