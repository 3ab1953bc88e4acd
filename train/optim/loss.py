"""The loss: cross-entropy of every target word, END included, summed over the batch: sum_t w(t) (log sum_j exp z_tj - z_t,t).

z = x W^T + b are the logits of a word, w its weight (1 unless configured). On the CPU logits are made and used up in pieces: their
gradient is taken at once, so that a batch's logits never lie in memory together (for an inverse with the published joint vocabulary
that would be 600 MB), and each piece is converted, normalised and turned into its gradient while it is in the cache.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from mathpipe.datasets.containers.token_batches import Batch
from mathpipe.datasets.tokenizers.matrix_tokenizer import PAD
from mathpipe.train.runtime.fast_paths import fast_paths

if TYPE_CHECKING:
    from mathpipe.train.model.interface import Model

_LOGITS = 1 << 25  # logits of one product: 64 MB in bfloat16
_IN_CACHE = 1 << 18  # logits in hand at a time: 1 MB in float32


def loss_of(
    model: Model, batch: Batch, scale: float | Tensor = 1.0, weights: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """(``scale`` x the cross-entropy summed over the words to be said, how many they are); padding counts for nothing.

    ``weights`` (V,): of each target word in the sum; the number of words stays theirs, unweighted.
    """
    x = model.states(batch.source, batch.target)
    loss = word_loss(x, *model.output(), model.said(batch.target), weights, scale, model.arithmetic())
    return loss, words_to_say(model, batch)


def words_to_say(model: Model, batch: Batch) -> Tensor:
    """How many words of the batch's targets the model has to say: END too, where it writes its answers."""
    return (model.said(batch.target) != PAD).sum()


@torch.no_grad()
def right_words(model: Model, batch: Batch) -> tuple[Tensor, Tensor]:
    """(how many words the model has to say it would have said, given the words before each, how many there are)."""
    said = model.said(batch.target)
    found = model(batch.source, batch.target).argmax(dim=2)
    if found.shape != said.shape:  # one place too many, or another order, would be compared with all others
        raise ValueError(f"words of shape {tuple(found.shape)} cannot be compared with {tuple(said.shape)}")
    real = said != PAD
    return ((found == said) & real).sum(), real.sum()


def word_loss(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    target: Tensor,
    weights: Tensor | None,
    scale: float | Tensor,
    arithmetic: torch.autocast,
) -> Tensor:
    """``scale`` times the weighted sum over words; x (B, L, W), target (B, L) with PAD where nothing is to be said."""
    if not fast_paths(x.device).loss:
        with arithmetic:
            logits = functional.linear(x, weight, bias).float()
        each = functional.cross_entropy(logits.flatten(0, 1), target.flatten(), ignore_index=PAD, reduction="none")
        return (each if weights is None else each * weights[target.flatten()]).sum() * scale
    x, said = x.flatten(0, 1), target.flatten()
    real = said != PAD
    if not bool(real.all()):
        x, said = x[real], said[real]
    dtype = torch.bfloat16 if x.dtype == torch.bfloat16 or arithmetic._enabled else torch.float32
    each_weight = None if weights is None else weights[said]
    loss: Tensor = _Pieces.apply(x.to(dtype), weight, bias, said, each_weight, float(scale))  # type: ignore[no-untyped-call]
    return loss


class Losing(nn.Module):
    """A model and its loss as one module, so that gradients of several processes meet when the loss goes back."""

    def __init__(self, model: Model, weights: Sequence[float] | None, compiled: bool = False) -> None:
        super().__init__()
        self.model = model
        self.register_buffer("weights", None if weights is None else torch.tensor(weights), persistent=False)
        if compiled:
            for layer in model.layers():
                layer.compile()

    weights: Tensor | None

    def forward(self, batch: Batch, scale: Tensor) -> Tensor:
        """``scale`` x the weighted loss of the batch's words."""
        return loss_of(self.model, batch, scale, self.weights)[0]


def parts_of(batch: Batch, count: int, stand_in: Batch) -> list[Batch]:
    """A batch in at most ``count`` parts, each without columns that are padding for all of it; never none.

    A process whose share of a last batch is empty takes part with ``stand_in``, which says nothing.
    """
    n = len(batch.rows)
    if not n:
        return [stand_in]
    if count == 1:
        return [batch]
    size = -(-n // count)
    return [_rows(batch, slice(first, first + size)) for first in range(0, n, size)]


def saying_nothing(problem: Batch) -> Batch:
    """The same problems with no word to say, as wide as they were."""
    silent = torch.full_like(problem.target, PAD), torch.zeros_like(problem.target_lengths)
    return Batch(problem.source, problem.source_lengths, *silent, problem.rows)


def _rows(batch: Batch, rows: slice) -> Batch:
    source_lengths, target_lengths = batch.source_lengths[rows], batch.target_lengths[rows]
    source = batch.source[rows, : int(source_lengths.max())]
    return Batch(
        source, source_lengths, batch.target[rows, : int(target_lengths.max())], target_lengths, batch.rows[rows]
    )


class _Pieces(torch.autograd.Function):
    """The loss and, on the way, its gradient: x (T, W), weight (V, W), bias (V,), said (T,)."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, said: Tensor, each_weight: Tensor | None, scale: float
    ) -> Tensor:
        training = any(ctx.needs_input_grad[:3])
        narrow, narrow_bias = weight.to(x.dtype), bias.to(x.dtype)
        rows = max(_LOGITS // len(weight), 1)
        total = torch.zeros((), dtype=torch.float32)
        dx = torch.zeros_like(x) if training else None
        dw: Tensor | None = None
        db = torch.zeros_like(bias) if training else None
        for i in range(0, len(x), rows):
            xi = x[i : i + rows]
            logits = functional.linear(xi, narrow, narrow_bias)
            factor = None if each_weight is None else each_weight[i : i + rows]
            total += _into_gradient(logits, said[i : i + rows], factor, scale, training)
            if dx is not None and db is not None:
                torch.mm(logits, narrow, out=dx[i : i + rows])
                part = logits.t() @ xi
                dw = part.to(weight.dtype) if dw is None else dw.add_(part)
                db += logits.sum(0, dtype=torch.float32)
        if training and dw is None:  # no words at all
            dw = torch.zeros_like(weight)
        ctx.save_for_backward(dx, dw, db)
        return total * scale

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        dx, dw, db = ctx.saved_tensors
        by = gradients[0]
        if float(by) != 1:
            dx, dw, db = dx * by.to(dx.dtype), dw * by, db * by
        return dx, dw, db, None, None, None


def _into_gradient(logits: Tensor, said: Tensor, factor: Tensor | None, scale: float, training: bool) -> Tensor:
    """The summed loss of these logits (T, V), which become the gradient of ``scale`` times it."""
    total = torch.zeros((), dtype=torch.float32)
    rows = max(_IN_CACHE // logits.shape[1], 1)
    for i in range(0, len(logits), rows):
        piece, words = logits[i : i + rows], said[i : i + rows].unsqueeze(1)
        logs = torch.log_softmax(piece.float(), 1)
        losses = logs.gather(1, words).squeeze(1)
        by = None if factor is None else factor[i : i + rows]
        total -= (losses if by is None else losses * by).sum()
        if training:
            p = logs.exp_()
            p.scatter_add_(1, words, torch.full(words.shape, -1.0))
            piece.copy_(p.mul_(scale if by is None else (by * scale).unsqueeze(1)))
    return total
