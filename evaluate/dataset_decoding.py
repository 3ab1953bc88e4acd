"""Decode the problems of a dataset: batches of similar lengths, greedy, by beam search or sampling, under a grammar or not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mathpipe.datasets.dataset import Dataset
from mathpipe.datasets.errors import UserError
from mathpipe.datasets.resources.memory_limit import available_memory
from mathpipe.datasets.tokenizers.tokenizer import PAD
from mathpipe.evaluate.adapters.adapter_registry import AnyAdapter
from mathpipe.evaluate.decode.beam_search import beam_search
from mathpipe.evaluate.decode.decoding import decoding_mode, greedy, sample
from mathpipe.evaluate.decode.grammar import Grammar
from mathpipe.evaluate.decode.hypotheses import GREEDY, Decoding, Hypotheses
from mathpipe.train.model.interface import Model

CHUNK_ROWS = 2_000  # problems of a part: an interrupted evaluation repeats at most one
_CHUNK_TOKENS = 2_000_000  # predicted tokens in memory: 16 MB
_BATCH_SIZES = (512, 2_048)  # most hypotheses on a CPU and on a GPU, where 2,000 take as long as 100
_BACKBONE_LAYERS = 24  # of a pretrained model, which does not list its layers: 12 in GPT-2, 24 in a large mBART
_MIN_PROBLEMS = 8  # minimum number of problems per batch, however many hypotheses each has


def decode_examples(
    model: Model,
    dataset: Dataset,
    rows: Any,
    max_length: int,
    batch_size: int | None = None,
    on_rows: Callable[[int], object] = lambda rows: None,
    decoding: Decoding = GREEDY,
    adapter: AnyAdapter | None = None,
) -> Hypotheses:
    """Predictions in the order of ``rows``, decoded in batches of similar lengths. ``adapter`` provides the grammar.

    ``batch_size``: hypotheses decoded together; by default 512 on a CPU and 2,048 on a GPU, or fewer where memory is short.
    """
    model.check(rows)
    encoded = dataset.encode(rows)
    order = np.lexsort((encoded.source_lengths, encoded.target_lengths))
    parts: list[Hypotheses] = []
    with decoding_mode(model) as device:
        batch = batch_size or batch_that_fits(
            hypothesis_bytes(model, encoded.source.shape[1], max_length), _free_memory(device), device.type == "cuda"
        )
        size = max(batch // decoding.hypotheses, min(_MIN_PROBLEMS, batch))
        for start in range(0, len(rows), size):
            index = order[start : start + size]
            source, examples = encoded.batch(index, device).source, rows.take(index)
            grammar = _grammar_factory(adapter, dataset, examples, max_length, decoding, device)
            part = _decode(model, source, examples.row, max_length, decoding, grammar)
            parts.append(Hypotheses(part.tokens, part.log_probability, index[part.problem], part.rank))
            on_rows(len(index))
    return _concatenate(parts)


def batch_that_fits(bytes_each: int, memory: int, on_gpu: bool = False) -> int:
    """Hypotheses decoded together by default: as many as fit into half of the memory, at most the fastest number, at least 1."""
    return max(1, min(_BATCH_SIZES[on_gpu], memory // 2 // bytes_each))


def hypothesis_bytes(model: Model, source_length: int, max_length: int) -> int:
    """About the memory of one hypothesis in decoding, in bytes.

    Each token has keys and values in every layer, 2 L W numbers of 4 bytes, and the working memory of one layer, 14 W: states,
    queries, keys, values, the feed-forward layer and its activation. The logits are V numbers, held about four times.
    """
    vocabulary, width = model.output_layer()[0].shape
    layers = len(model.layers()) or _BACKBONE_LAYERS
    return 4 * ((source_length + max_length) * (2 * layers + 14) * width + 4 * vocabulary)


def _free_memory(device: torch.device) -> int:
    return int(torch.cuda.mem_get_info(device)[0]) if device.type == "cuda" else available_memory()


def _grammar_factory(
    adapter: AnyAdapter | None,
    dataset: Dataset,
    examples: Any,
    max_length: int,
    decoding: Decoding,
    device: torch.device,
) -> Callable[[], Grammar | None]:
    """Makes a new grammar of these examples; each sample of a problem needs its own."""

    def grammar() -> Grammar | None:
        if adapter is None or not decoding.constrained:
            return None
        return adapter.grammar(dataset.target, examples, max_length, device)

    return grammar


def _decode(
    model: Model,
    source: torch.Tensor,
    numbers: NDArray[np.int64],
    max_length: int,
    decoding: Decoding,
    grammar: Callable[[], Grammar | None],
) -> Hypotheses:
    if decoding.temperature:
        return sample(model, source, max_length, numbers, decoding, grammar)
    if decoding.beam > 1:
        return beam_search(model, source, max_length, decoding, grammar())
    return greedy(model, source, max_length, grammar())


def _concatenate(parts: list[Hypotheses]) -> Hypotheses:
    """All hypotheses, sorted by problem and rank."""
    width = max(part.tokens.shape[1] for part in parts)
    tokens = np.concatenate(
        [np.pad(p.tokens, ((0, 0), (0, width - p.tokens.shape[1])), constant_values=PAD) for p in parts]
    )
    log_probability, problem, rank = (
        np.concatenate([getattr(p, name) for p in parts]) for name in ("log_probability", "problem", "rank")
    )
    order = np.lexsort((rank, problem))
    return Hypotheses(tokens[order], log_probability[order], problem[order], rank[order])


def chunk_size(max_length: int, decoding: Decoding, chunk_rows: int = CHUNK_ROWS) -> int:
    return max(min(chunk_rows, _CHUNK_TOKENS // (max_length * decoding.hypotheses)), 1)


def row_count(dataset: Dataset, limit: int | None, batch_size: int | None) -> int:
    for name, value in (("limit", limit), ("batch_size", batch_size)):
        if value is not None and value < 1:
            raise UserError(f"{name} is out of range", expected="at least 1", got=value)
    n = len(dataset) if limit is None else min(limit, len(dataset))
    if not n:
        raise UserError(f"{dataset.directory}: split {dataset.split} is empty", next_step="choose another split")
    return n


def resolve_device(device: str | None) -> str:
    """``device``, or CUDA if available, else the CPU."""
    if device is None:
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise UserError(
            "no CUDA device is available", got=f"device {device!r}", next_step="omit the device, or use cpu"
        )
    return device
