"""A trained model as a torch module whose ids are those of its tokens: logits = model(source_ids, target_ids).

Inside, a joint vocabulary starts with the tokens of the target encoding. Outside, ids are in the published order, so that an
imported model computes what its authors' program computes, id for id: a fixed list, then all other tokens sorted as text.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from mathpipe.datasets.tokenizers.tokenizer import END, PAD
from mathpipe.train.model.interface import Model
from mathpipe.train.model.joint_vocabulary import published_ids, published_tokens
from mathpipe.train.model.transformer import Transformer, framed
from mathpipe.train.run.checkpoint import load_model as load_checkpoint
from mathpipe.train.run.checkpoint import vocabulary_of
from mathpipe.train.run.run_record import RunRecord, tokenizers


class LoadedModel(nn.Module):
    """``source_tokens``, ``target_tokens``: the token of each id; ``model``: the model that ``mathpipe`` trains and decodes.

    Id 0 begins and ends a sequence, id 1 pads it.
    """

    own_ids: Tensor  # the id inside the model of each id outside

    def __init__(self, model: Model, record: RunRecord) -> None:
        super().__init__()
        self.model, self.record = model, record
        source, target = tokenizers(record)
        self.source_tokens, self.target_tokens = source.vocabulary, target.vocabulary
        joint = vocabulary_of(record, source, target) if isinstance(model, Transformer) else None
        self.has_joint_vocabulary = joint is not None
        outside_ids: tuple[int, ...] = tuple(range(len(target.vocabulary)))  # the id of each own id
        if joint is not None:
            self.source_tokens = record.config.model.tokens or published_tokens(joint, target.published_start)
            self.target_tokens = self.source_tokens
            outside_ids = published_ids(joint.tokens, self.source_tokens)
        self.register_buffer("own_ids", torch.tensor(outside_ids).argsort(), persistent=False)

    def forward(self, source_ids: Tensor, target_ids: Tensor) -> Tensor:
        """Logits (B, Lt, V) float32 for problems (B, Ls) and solutions (B, Lt), padded with 1 at the end.

        Problems may begin and end with 0, or not. Where a solution begins with 0, the logits at t are those of the token after
        ``target_ids[:, t]``; where it does not, those of ``target_ids[:, t]`` itself, given the tokens before it.
        """
        begins = target_ids[:, :1] == END
        inputs = torch.where(begins, target_ids, functional.pad(target_ids[:, :-1], (1, 0), value=END))
        if self.has_joint_vocabulary and isinstance(self.model, Transformer):
            return self._joint_logits(self.model, source_ids, self.own_ids[inputs])
        targets = functional.pad(inputs[:, 1:], (0, 1), value=PAD)
        logits: Tensor = self.model(unframed(source_ids), targets)
        return logits

    def _joint_logits(self, model: Transformer, source_ids: Tensor, inputs: Tensor) -> Tensor:
        source = source_ids
        if not model.config.framed_source:
            source = unframed(source)
        elif not bool((source[:, 0] == END).all()):
            source = framed(unframed(source))
        memory = model.encode_rows(self.own_ids[source])
        return model.logits(model.decode(memory, inputs))[..., self.own_ids]


def unframed(source: Tensor) -> Tensor:
    """Sources (B, L) without END in front and behind, (B, L - 1), if any of them begins with END; else unchanged."""
    begins = source[:, :1] == END
    if not bool(begins.any()):
        return source
    shorter = torch.where(begins, functional.pad(source[:, 1:], (0, 1), value=PAD), source)
    shorter = shorter.masked_fill(begins & (shorter == END), PAD)
    used = int((shorter != PAD).sum(dim=1).max())
    return shorter[:, :used]


def load_model(run_dir: str | Path, device: str | torch.device = "cpu", checkpoint: str = "last") -> LoadedModel:
    """The model of a run, in evaluation mode. ``checkpoint``: ``last``, ``best`` or a file in the run's directory.

    UserError if the directory contains no run, or the checkpoint is missing or damaged.
    """
    model, record = load_checkpoint(run_dir, device, checkpoint)
    return LoadedModel(model, record).to(device).eval()
