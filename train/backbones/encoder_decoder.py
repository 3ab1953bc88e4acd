"""Encoder-decoder bodies (mBART, Marian, T5): fine-tuned whole, with our words in place of theirs.

Our END takes over the vector of the body's own end of sequence, PAD that of its padding. Where the body brings a tokenizer, every
other word begins as the mean of the vectors of the pieces that it is spelled by; else it is drawn with the spread of the body's
own vectors.
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

from mathpipe.datasets.tokenizers.matrix_tokenizer import END, PAD
from mathpipe.train.backbones.decoder_only import selected
from mathpipe.train.backbones.pretrained import Body, fetched
from mathpipe.train.config import BodyConfig
from mathpipe.train.model.joint_vocabulary import Joint


@dataclass(frozen=True)
class Read:
    """What the encoder made of the problems: (B, L, W) and which of the words are real (B, L)."""

    states: Tensor
    real: Tensor


@dataclass
class Pairs:
    """Everything so far: the problems as read, the body's own cache of both attentions."""

    read: Read
    past: EncoderDecoderCache

    def select(self, index: Tensor) -> Pairs:
        """The rows at ``index`` (B',)."""
        own, cross = self.past.self_attention_cache, self.past.cross_attention_cache
        past = EncoderDecoderCache(selected(own, index), selected(cross, index))
        return Pairs(Read(self.read.states[index], self.read.real[index]), past)


class PairBody(Body):
    """p(target | source) by a body of ``AutoModelForSeq2SeqLM``; the states are the logits themselves."""

    eye: Tensor
    none: Tensor

    def __init__(self, config: BodyConfig, words: Joint, spelled: Sequence[str]) -> None:
        super().__init__(config, words)
        assert config.weights is not None
        changes = {"dropout_rate" if _has_rate(config.weights) else "dropout": config.dropout}
        body = fetched(config, transformers.AutoModelForSeq2SeqLM, config.weights, **changes)
        bring_in(body, config.weights if config.pretrained else None, spelled)
        self.hold(body, config.trains or "everything")
        self.register_buffer("eye", torch.eye(words.size), persistent=False)
        self.register_buffer("none", torch.zeros(words.size), persistent=False)

    def output(self) -> tuple[Tensor, Tensor]:
        return self.eye, self.none

    def states(self, source: Tensor, target: Tensor) -> Tensor:
        fed = functional.pad(target[:, :-1], (1, 0), value=END)
        ids, real = self._ended(source)
        with self.arithmetic():
            found: Tensor = self.body(
                input_ids=ids, attention_mask=real.long(), decoder_input_ids=fed, use_cache=False
            ).logits
        return found

    def _ended(self, source: Tensor) -> tuple[Tensor, Tensor]:
        """Sources with END after their words, (B, L + 1), and which places are real."""
        ids = functional.pad(self.source_ids[source], (0, 1), value=PAD)
        ids = ids.scatter(1, (source != PAD).sum(1, keepdim=True), END)
        places = torch.arange(ids.shape[1], device=source.device)
        return ids, places <= (source != PAD).sum(1, keepdim=True)

    def encode(self, source: Tensor) -> Read:
        ids, real = self._ended(source)
        with self.arithmetic():
            return Read(self.body.get_encoder()(input_ids=ids, attention_mask=real.long()).last_hidden_state, real)

    def start(self, memory: Read, max_length: int) -> Pairs:
        return Pairs(memory, EncoderDecoderCache(DynamicCache(), DynamicCache()))

    def step(self, tokens: Tensor, cache: Pairs) -> Tensor:
        with self.arithmetic():
            found = self.body(
                encoder_outputs=BaseModelOutput(last_hidden_state=cache.read.states),
                attention_mask=cache.read.real.long(),
                decoder_input_ids=tokens.unsqueeze(1),
                cache=cache.past,
                use_cache=True,
            )
            logits: Tensor = found.logits[:, 0].float()
            return logits


def _has_rate(named: str) -> bool:
    """Whether the body's configuration calls dropout ``dropout_rate``, as T5's do."""
    from mathpipe.train.backbones.pretrained import unreadable

    try:
        return hasattr(transformers.AutoConfig.from_pretrained(named), "dropout_rate")
    except (OSError, ValueError, KeyError) as error:
        raise unreadable(named, error) from error


@torch.no_grad()
def bring_in(body: Any, named: str | None, spelled: Sequence[str]) -> None:
    """Our words in place of the body's, whose input and output tables are cut to them."""
    c = body.config
    tables = [body.get_input_embeddings()]
    last = body.get_output_embeddings()
    if last is not None and last.weight is not tables[0].weight:
        tables.append(last)
    old = [table.weight.detach().clone() for table in tables]
    pieces = [_pieces(named, word) for word in spelled] if named is not None else [[] for _ in spelled]
    special = {END: c.eos_token_id, PAD: c.pad_token_id}
    body.resize_token_embeddings(len(spelled), mean_resizing=False)
    tables = [body.get_input_embeddings(), *([body.get_output_embeddings()] if len(old) > 1 else [])]
    for table, before in zip(tables, old, strict=True):
        spread = float(before.std())
        for k in range(len(spelled)):
            own = special.get(k)
            if own is not None and own < len(before):
                table.weight[k] = before[own]
            elif pieces[k]:
                table.weight[k] = before[pieces[k]].mean(0)
            else:
                nn.init.normal_(table.weight[k], std=spread)
    bias = getattr(body, "final_logits_bias", None)  # of their words, and cut to ours by place
    if bias is not None:
        bias.zero_()
    for settings in (c, body.generation_config):
        settings.pad_token_id, settings.eos_token_id = PAD, END
        settings.decoder_start_token_id, settings.bos_token_id = END, END


def _pieces(named: str, word: str) -> list[int]:
    tokenizer = _tokenizer(named)
    if tokenizer is None:
        return []
    found = tokenizer.encode(word, add_special_tokens=False)
    return [k for k in found if k != tokenizer.unk_token_id]


_TOKENIZERS: dict[str, Any] = {}


def _tokenizer(named: str) -> Any:
    """The body's own tokenizer, or None where it brings none."""
    if named not in _TOKENIZERS:
        try:
            _TOKENIZERS[named] = transformers.AutoTokenizer.from_pretrained(named)
        except (OSError, ValueError, KeyError, ImportError, TypeError, AttributeError):
            _TOKENIZERS[named] = None
    return _TOKENIZERS[named]
