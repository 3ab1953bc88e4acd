"""A GPT-2 with a new first and last layer: p(solution | problem) by going on from the problem, or read off it at once.

Written: problem, END, solution, END stand in one sequence, and the word after each place from END on is what is learned. Training
pads after the end, where nothing that counts can look; decoding puts the padding before the problem, masked and not counted in
positions, so that both give the same numbers.
Read out (Lu et al. 2021): the body reads the problem alone, and the n bits of the answer are a linear function of its states at
the last places (or the first, which a causal body cannot use for what comes after them).
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import Any

import torch
import transformers
from torch import Tensor, nn
from torch.nn import functional
from transformers.cache_utils import DynamicCache

from mathpipe.datasets.errors import UserError
from mathpipe.datasets.tokenizers.bit_tokenizer import FIRST_BIT, VOCABULARY
from mathpipe.datasets.tokenizers.matrix_tokenizer import END, PAD
from mathpipe.train.backbones.pretrained import Body, begin_new, fetched, random_body
from mathpipe.train.config import BodyConfig
from mathpipe.train.model.joint_vocabulary import Joint

NEVER = -1e4  # a logit: the word is not said


class Frozen(Body):
    """What both ways of answering have in common."""

    def __init__(self, config: BodyConfig, words: Joint) -> None:
        super().__init__(config, words)
        body = gpt2(config)
        self.places, self.width = int(body.config.n_positions), int(body.config.n_embd)
        body.wte = nn.Identity()  # its words are not ours
        if config.position_start == "sinusoidal":
            with torch.no_grad():
                body.wpe.weight.copy_(sinusoidal(self.places, self.width))
        self.hold(body, config.trains or "layer-norms+positions")

    def layers(self) -> list[nn.Module]:
        return list(self.body.h)

    def read(self, embedded: Tensor, **how: Any) -> Any:
        """The body's answer to vectors (B, L, W)."""
        return self.body(inputs_embeds=embedded, **how)


def sinusoidal(places: int, width: int) -> Tensor:
    """(places, width): sines and cosines with the spread of GPT-2's first weights, 0.02."""
    speeds = torch.linspace(0, 1, width // 2, dtype=torch.float64).mul(-1).mul(math.log(places)).exp()
    angles = torch.arange(places, dtype=torch.float64).unsqueeze(1) * speeds
    return (torch.cat([angles.sin(), angles.cos()], dim=1) * 0.02 * 2**0.5).float()


def gpt2(config: BodyConfig) -> Any:
    """The configured GPT-2, pretrained or random, without its own output layer."""
    p = config.dropout
    dropout: dict[str, Any] = {"resid_pdrop": p, "embd_pdrop": p, "attn_pdrop": p}
    if config.weights is None and not config.pretrained:
        shape = transformers.GPT2Config(
            vocab_size=1,
            n_positions=config.positions,
            n_embd=config.width,
            n_layer=config.layers,
            n_head=config.heads,
            bos_token_id=0,
            eos_token_id=0,
            **dropout,
        )
        return random_body(config, transformers.GPT2Model, shape)
    return fetched(config, transformers.GPT2Model, config.weights or "gpt2", **dropout)


@dataclass(frozen=True)
class Prompt:
    """Problems with their padding in front: ``ids`` (B, L), ``real`` (B, L) or None without padding, ``lengths`` (B,)."""

    ids: Tensor
    real: Tensor | None
    lengths: Tensor


@dataclass
class Writing:
    """Everything so far: the body's own cache, which of its places are real, problems' lengths, words fed since."""

    past: DynamicCache
    real: Tensor | None
    lengths: Tensor
    fed: int

    def select(self, index: Tensor) -> Writing:
        """The rows at ``index`` (B',): kept, dropped, duplicated or reordered."""
        real = None if self.real is None else self.real[index]
        return Writing(selected(self.past, index), real, self.lengths[index], self.fed)


def selected(past: DynamicCache, index: Tensor) -> DynamicCache:
    """These rows of a cache, which itself stays as it is."""
    found = copy.copy(past)
    found.layers = [copy.copy(layer) for layer in past.layers]
    found.batch_select_indices(index)
    return found


class Written(Frozen):
    """Problem and solution in one sequence."""

    def __init__(self, config: BodyConfig, words: Joint) -> None:
        super().__init__(config, words)
        self.words = nn.Embedding(words.size, self.width)
        self.last = nn.Linear(self.width, words.size)
        begin_new(config.begin, self.words, self.last)

    def output(self) -> tuple[Tensor, Tensor]:
        return self.last.weight, self.last.bias

    def states(self, source: Tensor, target: Tensor) -> Tensor:
        fed = functional.pad(target[:, :-1], (1, 0), value=END)
        lengths = (source != PAD).sum(1, keepdim=True)
        longest = int((lengths.squeeze(1) + (target != PAD).sum(1)).max())
        self.room(longest, self.places)
        place = torch.arange(longest, device=source.device).expand(len(source), -1)
        known = functional.pad(self.source_ids[source], (0, max(longest - source.shape[1], 0)), value=PAD)[:, :longest]
        since = (place - lengths).clamp(0, fed.shape[1] - 1)
        ids = torch.where(place < lengths, known, fed.gather(1, since))
        with self.arithmetic():
            found: Tensor = self.read(self.words(ids)).last_hidden_state
        asked = (lengths + torch.arange(fed.shape[1], device=source.device)).clamp(max=longest - 1)
        return found.gather(1, asked.unsqueeze(2).expand(-1, -1, self.width))

    def encode(self, source: Tensor) -> Prompt:
        real, width = source != PAD, source.shape[1]
        lengths = real.sum(1)
        shift = torch.arange(width, device=source.device) - (width - lengths).unsqueeze(1)
        ids = self.source_ids[source].gather(1, shift.clamp(min=0))
        return Prompt(ids, None if bool(real.all()) else shift >= 0, lengths)

    def start(self, memory: Prompt, max_length: int) -> Writing:
        self.room(memory.ids.shape[1] + max_length, self.places)
        past = DynamicCache()
        how: dict[str, Any] = {}
        if memory.real is not None:
            how = {"attention_mask": memory.real.long(), "position_ids": (memory.real.cumsum(1) - 1).clamp(min=0)}
        with self.arithmetic():
            self.read(self.words(memory.ids), cache=past, use_cache=True, **how)
        return Writing(past, memory.real, memory.lengths, 0)

    def step(self, tokens: Tensor, cache: Writing) -> Tensor:
        how: dict[str, Any] = {"position_ids": (cache.lengths + cache.fed).unsqueeze(1)}
        if cache.real is not None:
            cache.real = functional.pad(cache.real, (0, 1), value=True)
            how["attention_mask"] = cache.real.long()
        with self.arithmetic():
            embedded = self.words(tokens.unsqueeze(1))
            found = self.read(embedded, cache=cache.past, use_cache=True, **how).last_hidden_state
            cache.fed += 1
            logits: Tensor = self.last(found[:, 0]).float()
            return logits


@dataclass
class Answers:
    """Whole answers as logits (B, n, V), and how many of their words have been said."""

    logits: Tensor
    said: int

    def select(self, index: Tensor) -> Answers:
        """The rows at ``index`` (B',)."""
        return Answers(self.logits[index], self.said)


class ReadOut(Frozen):
    """The answer's n bits, read off the problem's states at once. END is not learned: it comes after n bits."""

    weight: Tensor
    bias: Tensor

    def __init__(self, config: BodyConfig, words: Joint, answer: int, *, prefix: bool) -> None:
        super().__init__(config, words)
        self.answer, self.prefix, self.patch = answer, prefix, config.patch
        if self.patch is None:
            self.words = nn.Embedding(words.size, self.width)
            self.last = nn.Linear(self.width, words.size)
            begin_new(config.begin, self.words, self.last)
            return
        if answer % self.patch:
            raise UserError(
                f"body.patch {self.patch} does not divide answers of {answer} bits",
                next_step="choose a divisor of the number of bits",
            )
        self.first = nn.Linear(self.patch, self.width)
        self.last = nn.Linear(self.width, 2 * self.patch)  # two logits a bit
        begin_new(config.begin, self.first, self.last)
        weight, bias = torch.zeros(words.size, 2), torch.full((words.size,), NEVER)
        weight[FIRST_BIT, 0] = weight[FIRST_BIT + 1, 1] = 1
        bias[FIRST_BIT : FIRST_BIT + 2] = 0
        self.register_buffer("weight", weight, persistent=False)
        self.register_buffer("bias", bias, persistent=False)

    def output(self) -> tuple[Tensor, Tensor]:
        return (self.last.weight, self.last.bias) if self.patch is None else (self.weight, self.bias)

    def said(self, target: Tensor) -> Tensor:
        return target.masked_fill(target == END, PAD)

    def states(self, source: Tensor, target: Tensor) -> Tensor:
        found = self.at_once(source)
        return functional.pad(found, (0, 0, 0, target.shape[1] - self.answer))

    def at_once(self, source: Tensor) -> Tensor:
        """The states of all the answer's bits, (B, n, W)."""
        if bool((source == PAD).any()):
            raise UserError("problems of different lengths cannot be read out", next_step="use body.read written")
        if self.patch is None:
            self.room(source.shape[1], self.places)
            with self.arithmetic():
                return self._ends(self.read(self.words(self.source_ids[source])).last_hidden_state, self.answer)
        values = signs(source, self.first.weight.dtype)
        if source.shape[1] % self.patch:
            raise UserError(f"body.patch {self.patch} does not divide problems of {source.shape[1]} bits")
        vectors = values.view(len(source), -1, self.patch)
        self.room(vectors.shape[1], self.places)
        with self.arithmetic():
            found = self._ends(self.read(self.first(vectors)).last_hidden_state, self.answer // self.patch)
            logits: Tensor = self.last(found)
            return logits.reshape(len(source), self.answer, 2)

    def _ends(self, found: Tensor, count: int) -> Tensor:
        return found[:, :count] if self.prefix else found[:, found.shape[1] - count :]

    def encode(self, source: Tensor) -> Tensor:
        with self.arithmetic():
            logits = functional.linear(self.at_once(source), *self.output()).float()
        logits[:, :, :FIRST_BIT] = NEVER  # there are n bits, and no fewer
        return logits

    def start(self, memory: Tensor, max_length: int) -> Answers:
        return Answers(memory, 0)

    def step(self, tokens: Tensor, cache: Answers) -> Tensor:
        cache.said += 1
        if cache.said <= self.answer:
            return cache.logits[:, cache.said - 1]
        over = torch.full((len(tokens), cache.logits.shape[2]), NEVER, device=tokens.device)
        over[:, END] = 0
        return over


def signs(source: Tensor, dtype: torch.dtype) -> Tensor:
    """Written bits as -1, 1 and, hidden, 0."""
    values = torch.zeros(len(VOCABULARY), dtype=dtype, device=source.device)
    values[FIRST_BIT], values[FIRST_BIT + 1] = -1, 1
    return values[source]
