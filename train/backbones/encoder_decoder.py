"""Encoder-decoder backbones (mBART, Marian, T5): fine-tuned as a whole, with our vocabulary instead of their own.

END takes the embedding of the backbone's end of sequence, PAD that of its padding. If the backbone has a tokenizer, every other
token is initialised with the mean embedding of the pieces of its spelling; otherwise with random numbers of the standard deviation
of the backbone's embeddings.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import transformers
from torch import Tensor, nn
from torch.nn import functional
from transformers.cache_utils import DynamicCache, EncoderDecoderCache
from transformers.modeling_outputs import BaseModelOutput

from mathpipe.datasets.tokenizers.tokenizer import END, PAD
from mathpipe.train.backbones.decoder_only import select_cache
from mathpipe.train.backbones.pretrained import Backbone, load_backbone, unreadable_backbone
from mathpipe.train.config import BackboneConfig
from mathpipe.train.model.joint_vocabulary import JointVocabulary


@dataclass(frozen=True)
class EncoderOutput:
    """The encoder's states (B, L, W) and the mask of real tokens (B, L)."""

    states: Tensor
    real: Tensor


@dataclass
class Seq2SeqCache:
    """The encoder's output and the backbone's cache of self- and cross-attention."""

    memory: EncoderOutput
    past: EncoderDecoderCache

    def select(self, index: Tensor) -> Seq2SeqCache:
        """The rows at ``index`` (B',)."""
        self_cache, cross_cache = self.past.self_attention_cache, self.past.cross_attention_cache
        past = EncoderDecoderCache(select_cache(self_cache, index), select_cache(cross_cache, index))
        return Seq2SeqCache(EncoderOutput(self.memory.states[index], self.memory.real[index]), past)


class EncoderDecoderBackbone(Backbone):
    """p(target | source) by a model of ``AutoModelForSeq2SeqLM``; the states are the logits themselves."""

    identity: Tensor
    zero_bias: Tensor

    def __init__(self, config: BackboneConfig, vocabulary: JointVocabulary, spelling: Sequence[str]) -> None:
        super().__init__(config, vocabulary)
        assert config.weights is not None
        changes = {"dropout_rate" if _has_dropout_rate(config.weights) else "dropout": config.dropout}
        backbone = load_backbone(config, transformers.AutoModelForSeq2SeqLM, config.weights, **changes)
        replace_vocabulary(backbone, config.weights if config.pretrained else None, spelling)
        self.freeze(backbone, config.trainable or "all")
        self.register_buffer("identity", torch.eye(vocabulary.size), persistent=False)
        self.register_buffer("zero_bias", torch.zeros(vocabulary.size), persistent=False)

    def output_layer(self) -> tuple[Tensor, Tensor]:
        return self.identity, self.zero_bias

    def states(self, source: Tensor, target: Tensor) -> Tensor:
        inputs = functional.pad(target[:, :-1], (1, 0), value=END)
        ids, real = self._with_end(source)
        with self.autocast():
            logits: Tensor = self.backbone(
                input_ids=ids, attention_mask=real.long(), decoder_input_ids=inputs, use_cache=False
            ).logits
        return logits

    def _with_end(self, source: Tensor) -> tuple[Tensor, Tensor]:
        """Sources with END after their tokens, (B, L + 1), and the mask of real positions."""
        lengths = (source != PAD).sum(1, keepdim=True)
        ids = functional.pad(self.source_ids[source], (0, 1), value=PAD)
        ids = ids.scatter(1, lengths, END)
        return ids, torch.arange(ids.shape[1], device=source.device) <= lengths

    def encode(self, source: Tensor) -> EncoderOutput:
        ids, real = self._with_end(source)
        with self.autocast():
            output = self.backbone.get_encoder()(input_ids=ids, attention_mask=real.long())
            return EncoderOutput(output.last_hidden_state, real)

    def init_cache(self, memory: EncoderOutput, max_length: int) -> Seq2SeqCache:
        return Seq2SeqCache(memory, EncoderDecoderCache(DynamicCache(), DynamicCache()))

    def step(self, tokens: Tensor, cache: Seq2SeqCache) -> Tensor:
        with self.autocast():
            output = self.backbone(
                encoder_outputs=BaseModelOutput(last_hidden_state=cache.memory.states),
                attention_mask=cache.memory.real.long(),
                decoder_input_ids=tokens.unsqueeze(1),
                cache=cache.past,
                use_cache=True,
            )
            logits: Tensor = output.logits[:, 0].float()
            return logits


def _has_dropout_rate(source: str) -> bool:
    """Whether the configuration names its dropout ``dropout_rate``, as that of T5 does."""
    try:
        return hasattr(transformers.AutoConfig.from_pretrained(source), "dropout_rate")
    except (OSError, ValueError, KeyError) as error:
        raise unreadable_backbone(source, error) from error


@torch.no_grad()
def replace_vocabulary(backbone: Any, source: str | None, spelling: Sequence[str]) -> None:
    """Resize the input and output embeddings to our vocabulary and initialise them from the old ones."""
    c = backbone.config
    tables = [backbone.get_input_embeddings()]
    output = backbone.get_output_embeddings()
    if output is not None and output.weight is not tables[0].weight:
        tables.append(output)
    old_weights = [table.weight.detach().clone() for table in tables]
    pieces = [_pieces(source, token) if source is not None else [] for token in spelling]
    special_ids = {END: c.eos_token_id, PAD: c.pad_token_id}
    backbone.resize_token_embeddings(len(spelling), mean_resizing=False)
    tables = [backbone.get_input_embeddings(), *([backbone.get_output_embeddings()] if len(old_weights) > 1 else [])]
    for table, old in zip(tables, old_weights, strict=True):
        std = float(old.std())
        for k in range(len(spelling)):
            old_id = special_ids.get(k)
            if old_id is not None and old_id < len(old):
                table.weight[k] = old[old_id]
            elif pieces[k]:
                table.weight[k] = old[pieces[k]].mean(0)
            else:
                nn.init.normal_(table.weight[k], std=std)
    bias = getattr(backbone, "final_logits_bias", None)  # belongs to the old tokens
    if bias is not None:
        bias.zero_()
    for settings in (c, backbone.generation_config):
        settings.pad_token_id, settings.eos_token_id = PAD, END
        settings.decoder_start_token_id, settings.bos_token_id = END, END


def _pieces(source: str, token: str) -> list[int]:
    """The ids of the pieces that spell a token in the backbone's tokenizer, without unknown ones."""
    tokenizer = _tokenizer(source)
    if tokenizer is None:
        return []
    ids = tokenizer.encode(token, add_special_tokens=False)
    return [k for k in ids if k != tokenizer.unk_token_id]


_TOKENIZERS: dict[str, Any] = {}


def _tokenizer(source: str) -> Any:
    """The backbone's tokenizer, or None if it has none."""
    if source not in _TOKENIZERS:
        try:
            _TOKENIZERS[source] = transformers.AutoTokenizer.from_pretrained(source)
        except (OSError, ValueError, KeyError, ImportError, TypeError, AttributeError):
            _TOKENIZERS[source] = None
    return _TOKENIZERS[source]
