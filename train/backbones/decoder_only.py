"""A GPT-2 with new input and output layers: p(solution | problem), autoregressive or read out at once.

Autoregressive: problem, END, solution, END form one sequence, and the model predicts the next token at each position from the
first END on. Training pads at the end, where the causal mask hides the padding. Decoding pads before the problem; this padding is
masked and has no positions, so that both give the same logits.

Readout (Lu et al. 2021): the backbone gets the problem alone, and the n bits of the solution are a linear function of its states
at the last positions (or the first, whose states cannot depend on later tokens of a causal backbone).
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
from mathpipe.datasets.tokenizers.sequence_tokenizer import FIRST_TOKEN
from mathpipe.datasets.tokenizers.tokenizer import END, PAD
from mathpipe.train.backbones.pretrained import Backbone, init_layers, load_backbone, random_backbone
from mathpipe.train.config import BackboneConfig
from mathpipe.train.model.joint_vocabulary import JointVocabulary

IMPOSSIBLE = -1e4  # the logit of a token that is never predicted


class GPT2Backbone(Backbone):
    """The common part of both kinds of answer."""

    def __init__(self, config: BackboneConfig, vocabulary: JointVocabulary) -> None:
        super().__init__(config, vocabulary)
        backbone = gpt2(config)
        self.max_positions, self.width = int(backbone.config.n_positions), int(backbone.config.n_embd)
        backbone.wte = nn.Identity()  # its vocabulary is not used
        if config.position_init == "sinusoidal":
            with torch.no_grad():
                backbone.wpe.weight.copy_(sinusoidal(self.max_positions, self.width))
        self.freeze(backbone, config.trainable or "layer-norms+positions")

    def layers(self) -> list[nn.Module]:
        return list(self.backbone.h)

    def run_backbone(self, embedded: Tensor, **arguments: Any) -> Any:
        """The backbone's output for input vectors (B, L, W)."""
        return self.backbone(inputs_embeds=embedded, **arguments)


def sinusoidal(positions: int, width: int) -> Tensor:
    """(positions, width): sines and cosines with the standard deviation of GPT-2's initial weights, 0.02."""
    frequencies = torch.linspace(0, 1, width // 2, dtype=torch.float64).mul(-1).mul(math.log(positions)).exp()
    angles = torch.arange(positions, dtype=torch.float64).unsqueeze(1) * frequencies
    return (torch.cat([angles.sin(), angles.cos()], dim=1) * 0.02 * 2**0.5).float()


def gpt2(config: BackboneConfig) -> Any:
    """The configured GPT-2, pretrained or random, without its output layer."""
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
        return random_backbone(config, transformers.GPT2Model, shape)
    return load_backbone(config, transformers.GPT2Model, config.weights or "gpt2", **dropout)


@dataclass(frozen=True)
class Prompt:
    """Left-padded problems: ``ids`` (B, L), ``real`` (B, L) or None without padding, ``lengths`` (B,)."""

    ids: Tensor
    real: Tensor | None
    lengths: Tensor


@dataclass
class AutoregressiveCache:
    """The backbone's cache, the mask of its real positions, the lengths of the problems, and the number of tokens since."""

    past: DynamicCache
    real: Tensor | None
    lengths: Tensor
    steps: int

    def select(self, index: Tensor) -> AutoregressiveCache:
        """The rows at ``index`` (B',); indices may repeat and come in any order."""
        real = None if self.real is None else self.real[index]
        return AutoregressiveCache(select_cache(self.past, index), real, self.lengths[index], self.steps)


def select_cache(past: DynamicCache, index: Tensor) -> DynamicCache:
    """A copy of a cache with the rows at ``index``; the original does not change."""
    selection = copy.copy(past)
    selection.layers = [copy.copy(layer) for layer in past.layers]
    selection.batch_select_indices(index)
    return selection


class AutoregressiveGPT2(GPT2Backbone):
    """Problem and solution in one sequence."""

    def __init__(self, config: BackboneConfig, vocabulary: JointVocabulary) -> None:
        super().__init__(config, vocabulary)
        self.token_embedding = nn.Embedding(vocabulary.size, self.width)
        self.output = nn.Linear(self.width, vocabulary.size)
        init_layers(config.init, self.token_embedding, self.output)

    def output_layer(self) -> tuple[Tensor, Tensor]:
        return self.output.weight, self.output.bias

    def states(self, source: Tensor, target: Tensor) -> Tensor:
        inputs = functional.pad(target[:, :-1], (1, 0), value=END)
        lengths = (source != PAD).sum(1, keepdim=True)
        longest = int((lengths.squeeze(1) + (target != PAD).sum(1)).max())
        self.check_length(longest, self.max_positions)
        position = torch.arange(longest, device=source.device).expand(len(source), -1)
        problem_ids = functional.pad(self.source_ids[source], (0, max(longest - source.shape[1], 0)), value=PAD)
        target_position = (position - lengths).clamp(0, inputs.shape[1] - 1)
        ids = torch.where(position < lengths, problem_ids[:, :longest], inputs.gather(1, target_position))
        with self.autocast():
            states: Tensor = self.run_backbone(self.token_embedding(ids)).last_hidden_state
        target_index = (lengths + torch.arange(inputs.shape[1], device=source.device)).clamp(max=longest - 1)
        return states.gather(1, target_index.unsqueeze(2).expand(-1, -1, self.width))

    def encode(self, source: Tensor) -> Prompt:
        real, width = source != PAD, source.shape[1]
        lengths = real.sum(1)
        shift = torch.arange(width, device=source.device) - (width - lengths).unsqueeze(1)
        ids = self.source_ids[source].gather(1, shift.clamp(min=0))
        return Prompt(ids, None if bool(real.all()) else shift >= 0, lengths)

    def init_cache(self, memory: Prompt, max_length: int) -> AutoregressiveCache:
        self.check_length(memory.ids.shape[1] + max_length, self.max_positions)
        past = DynamicCache()
        padding: dict[str, Any] = {}
        if memory.real is not None:
            position_ids = (memory.real.cumsum(1) - 1).clamp(min=0)
            padding = {"attention_mask": memory.real.long(), "position_ids": position_ids}
        with self.autocast():
            self.run_backbone(self.token_embedding(memory.ids), cache=past, use_cache=True, **padding)
        return AutoregressiveCache(past, memory.real, memory.lengths, 0)

    def step(self, tokens: Tensor, cache: AutoregressiveCache) -> Tensor:
        arguments: dict[str, Any] = {"position_ids": (cache.lengths + cache.steps).unsqueeze(1)}
        if cache.real is not None:
            cache.real = functional.pad(cache.real, (0, 1), value=True)
            arguments["attention_mask"] = cache.real.long()
        with self.autocast():
            embedded = self.token_embedding(tokens.unsqueeze(1))
            output = self.run_backbone(embedded, cache=cache.past, use_cache=True, **arguments)
            cache.steps += 1
            logits: Tensor = self.output(output.last_hidden_state[:, 0]).float()
            return logits


@dataclass
class ReadoutCache:
    """The logits (B, n, V) of whole solutions, and the number of tokens decoded so far."""

    logits: Tensor
    steps: int

    def select(self, index: Tensor) -> ReadoutCache:
        """The rows at ``index`` (B',)."""
        return ReadoutCache(self.logits[index], self.steps)


class ReadoutGPT2(GPT2Backbone):
    """The n bits of the solution, read out of the problem's states at once. END is not predicted: it follows n bits."""

    weight: Tensor
    bias: Tensor

    def __init__(
        self, config: BackboneConfig, vocabulary: JointVocabulary, solution_length: int, *, prefix: bool
    ) -> None:
        super().__init__(config, vocabulary)
        self.solution_length, self.prefix, self.patch = solution_length, prefix, config.patch
        if self.patch is None:
            self.token_embedding = nn.Embedding(vocabulary.size, self.width)
            self.output = nn.Linear(self.width, vocabulary.size)
            init_layers(config.init, self.token_embedding, self.output)
            return
        if solution_length % self.patch:
            raise UserError(
                f"backbone.patch {self.patch} does not divide solutions of {solution_length} bits",
                next_step="choose a divisor of the number of bits",
            )
        self.patch_embedding = nn.Linear(self.patch, self.width)
        self.output = nn.Linear(self.width, 2 * self.patch)  # two logits per bit
        init_layers(config.init, self.patch_embedding, self.output)
        weight, bias = torch.zeros(vocabulary.size, 2), torch.full((vocabulary.size,), IMPOSSIBLE)
        weight[FIRST_TOKEN, 0] = weight[FIRST_TOKEN + 1, 1] = 1
        bias[FIRST_TOKEN : FIRST_TOKEN + 2] = 0
        self.register_buffer("weight", weight, persistent=False)
        self.register_buffer("bias", bias, persistent=False)

    def output_layer(self) -> tuple[Tensor, Tensor]:
        return (self.output.weight, self.output.bias) if self.patch is None else (self.weight, self.bias)

    def target_tokens(self, target: Tensor) -> Tensor:
        return target.masked_fill(target == END, PAD)

    def states(self, source: Tensor, target: Tensor) -> Tensor:
        states = self.solution_states(source)
        return functional.pad(states, (0, 0, 0, target.shape[1] - self.solution_length))

    def solution_states(self, source: Tensor) -> Tensor:
        """The states of all bits of the solution, (B, n, W)."""
        if bool((source == PAD).any()):
            raise UserError(
                "a readout needs problems of one length",
                got="problems of different lengths",
                next_step="use backbone.readout autoregressive",
            )
        if self.patch is None:
            self.check_length(source.shape[1], self.max_positions)
            with self.autocast():
                embedded = self.token_embedding(self.source_ids[source])
                return self._read_out(self.run_backbone(embedded).last_hidden_state, self.solution_length)
        values = signs(source, self.size, self.patch_embedding.weight.dtype)
        if source.shape[1] % self.patch:
            raise UserError(f"backbone.patch {self.patch} does not divide problems of {source.shape[1]} bits")
        patches = values.view(len(source), -1, self.patch)
        self.check_length(patches.shape[1], self.max_positions)
        with self.autocast():
            hidden = self.run_backbone(self.patch_embedding(patches)).last_hidden_state
            logits: Tensor = self.output(self._read_out(hidden, self.solution_length // self.patch))
            return logits.reshape(len(source), self.solution_length, 2)

    def _read_out(self, hidden: Tensor, count: int) -> Tensor:
        return hidden[:, :count] if self.prefix else hidden[:, hidden.shape[1] - count :]

    def encode(self, source: Tensor) -> Tensor:
        with self.autocast():
            logits = functional.linear(self.solution_states(source), *self.output_layer()).float()
        logits[:, :, :FIRST_TOKEN] = IMPOSSIBLE  # a solution has exactly n bits
        return logits

    def init_cache(self, memory: Tensor, max_length: int) -> ReadoutCache:
        return ReadoutCache(memory, 0)

    def step(self, tokens: Tensor, cache: ReadoutCache) -> Tensor:
        cache.steps += 1
        if cache.steps <= self.solution_length:
            return cache.logits[:, cache.steps - 1]
        end = torch.full((len(tokens), cache.logits.shape[2]), IMPOSSIBLE, device=tokens.device)
        end[:, END] = 0
        return end


def signs(source: Tensor, vocabulary_size: int, dtype: torch.dtype) -> Tensor:
    """Encoded bits as -1, 1 and, if hidden (any further token), 0."""
    values = torch.zeros(vocabulary_size, dtype=dtype, device=source.device)
    values[FIRST_TOKEN], values[FIRST_TOKEN + 1] = -1, 1
    return values[source]
