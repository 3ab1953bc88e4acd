"""The loss over target tokens, also of an empty part of a batch."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch

from mathpipe.datasets.containers.token_batches import Batch
from mathpipe.datasets.tokenizers.sequence_tokenizer import SequenceTokenizer
from mathpipe.train.backbones.factory import build_backbone
from mathpipe.train.config import BackboneConfig, ModelConfig
from mathpipe.train.model.transformer import Transformer
from mathpipe.train.optim.loss import dummy_batch, loss_of, split_batch

pytestmark = pytest.mark.processor


@pytest.fixture
def problems(data: Any) -> Batch:
    batch: Batch = next(data.batches(8))
    return batch


def empty_batch(batch: Batch) -> Batch:
    return Batch(batch.source[:0], batch.source_lengths[:0], batch.target[:0], batch.target_lengths[:0], batch.rows[:0])


@pytest.mark.parametrize("changes", [{}, {"input_unit": "number"}, {"positions": "structured", "norm": "pre"}])
def test_empty_batch_has_zero_loss_and_gradients(
    tiny: Callable[..., Any], data: Any, problems: Batch, changes: dict[str, Any]
) -> None:
    config: ModelConfig = tiny().model.model_copy(update=changes)
    model = Transformer(config, data.source.format, data.source.format)
    dummy = dummy_batch(Batch(*(x[:1] for x in vars(problems).values())))
    (part,) = split_batch(empty_batch(problems), 3, dummy)
    loss, token_count = loss_of(model, part)
    loss.backward()
    assert float(loss.detach()) == 0 and int(token_count) == 0
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    assert gradients and all(bool((g == 0).all()) for g in gradients)


def test_readout_loss_excludes_end() -> None:
    tokenizer = SequenceTokenizer(("0", "1", "?"), 5)
    backbone = BackboneConfig(
        pretrained=False, layers=1, width=16, heads=2, positions=64, patch=5, readout="last", dtype="float32"
    )
    model = build_backbone(backbone, tokenizer, tokenizer).eval()
    with torch.no_grad():
        model.output.weight.zero_()
        model.output.bias.zero_()
    n = 20
    target = torch.cat([torch.randint(2, 4, (n, 5)), torch.zeros(n, 1, dtype=torch.int64)], dim=1)
    batch = Batch(torch.randint(2, 4, (n, 10)), torch.full((n,), 10), target, torch.full((n,), 6), torch.arange(n))
    loss, count = loss_of(model, batch)
    assert int(count) == 5 * n
    assert float(loss.detach()) / int(count) == pytest.approx(math.log(2), rel=1e-5)
    (part,) = split_batch(empty_batch(batch), 1, dummy_batch(Batch(*(x[:1] for x in vars(batch).values()))))
    assert float(loss_of(model, part)[0].detach()) == 0
