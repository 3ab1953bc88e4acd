"""What a run of training is: the model's shape and the plan of optimisation, checked before anything starts.

Frozen pydantic models; unknown keys are refused. The defaults are the default experiment: 3x3 addition, entries U(-10, 10).
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Layers = Annotated[int, Field(ge=1, le=48)]
Width = Annotated[int, Field(ge=8, le=8192)]
Heads = Annotated[int, Field(ge=1, le=128)]
Encoding = Literal["P10", "P1000", "B1999", "FP15"]


class Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ModelConfig(Settings):
    """An encoder-decoder transformer; the two sides may differ in depth, width and heads."""

    encoder_layers: Layers = 1
    decoder_layers: Layers = 2
    encoder_width: Width = 128
    decoder_width: Width = 128
    encoder_heads: Heads = 4
    decoder_heads: Heads = 4
    feed_forward: Annotated[int, Field(ge=1, le=16)] = 4
    """Hidden width of the feed-forward layers, in multiples of the side's width."""
    norm: Literal["pre", "post"] = "pre"
    """Layer norm before each sub-layer, or after each residual sum (as published)."""
    cross_query: Literal["attended", "input"] = "attended"
    """The decoder's cross-attention asks with the outcome of self-attention, or with the layer's input (as LAWT does)."""
    positions: Literal["structured", "learned"] = "structured"
    """Row + column + place within the number, or one learned vector for each absolute position (as published)."""
    max_positions: Annotated[int, Field(ge=4, le=65536)] = 4096
    """Longest sequence with learned positions, in words."""
    start: Literal["aligned", "independent"] = "aligned"
    """First weights. Aligned: keys begin as queries and both sides begin with the same positions, so that before anything
    is learned a word already looks at words like itself, in places like its own. Independent: every matrix for itself."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Arithmetic of matrix products (autocast); weights, sums and the loss are always float32. Auto: bfloat16 where the
    processor multiplies it (AMX, AVX512-BF16, most GPUs), elsewhere float32, since emulated bfloat16 is slow."""

    @model_validator(mode="after")
    def _heads_divide_width(self) -> ModelConfig:
        for side in ("encoder", "decoder"):
            width, heads = getattr(self, f"{side}_width"), getattr(self, f"{side}_heads")
            if width % heads:
                raise ValueError(f"{side}_width {width} is no multiple of {side}_heads {heads}")
        return self


class TrainConfig(Settings):
    """A whole run: encodings, model, plan of optimisation, and how often it is looked at and saved."""

    model: ModelConfig = ModelConfig()
    input_encoding: Encoding = "P10"
    output_encoding: Encoding = "P10"
    precision: Annotated[int, Field(ge=1, le=4)] = 2
    """Digits after the first of every written number."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Fixes the first weights, the order of examples and dropout."""

    batch: Annotated[int, Field(ge=1, le=1_000_000)] = 64
    """Problems a step."""
    steps: Annotated[int, Field(ge=1)] = 1800
    optimiser: Literal["adam", "adamw"] = "adam"
    lr: Annotated[float, Field(gt=0, le=1)] = 3e-3
    """Highest learning rate, reached after ``warmup`` steps."""
    warmup: Annotated[int, Field(ge=0)] = 100
    """Steps over which the learning rate rises linearly from nothing."""
    schedule: Literal["cosine", "constant"] = "cosine"
    """After warm-up: down to ``final_lr`` x lr at the last step along half a cosine, or constant."""
    final_lr: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Learning rate at the last step, as a fraction of lr."""
    beta1: Annotated[float, Field(ge=0, lt=1)] = 0.9
    beta2: Annotated[float, Field(ge=0, lt=1)] = 0.999
    eps: Annotated[float, Field(gt=0)] = 1e-8
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    """Of matrices, not of biases, norms and embeddings."""
    clip: Annotated[float, Field(gt=0)] | None = 1.0
    """Largest norm of the gradient; null: as it comes."""

    valid_examples: Annotated[int, Field(ge=0)] = 1000
    """How many of the validation split the validation loss is measured on."""
    log_every: Annotated[int, Field(ge=1)] = 20
    """Steps between two points of the training loss."""
    eval_every: Annotated[int, Field(ge=1)] = 300
    """Steps between two measurements of validation loss and accuracy; always measured after the last step."""
    checkpoint_every: Annotated[int, Field(ge=1)] = 100
    stop_metric: str | None = None
    """Stop early when this metric (of those measured every ``eval_every``) reaches ``stop_at``."""
    stop_at: float | None = None

    threads: Annotated[int, Field(ge=1, le=1024)] | None = None
    """Threads of tensor arithmetic on the CPU; null: as the library chooses."""
    deterministic: bool = False
    """On CUDA: only algorithms that give the same bits every time (slower). On the CPU they always do."""

    @model_validator(mode="after")
    def _goes_together(self) -> TrainConfig:
        if (self.stop_metric is None) != (self.stop_at is None):
            raise ValueError("stop_metric and stop_at go together: give both or neither")
        if self.warmup > self.steps:
            raise ValueError(f"warmup {self.warmup} is longer than the run's {self.steps} steps")
        return self


# What may change between two sittings of one run: nothing here enters the weights but by the order of float sums.
FREE_TO_CHANGE = frozenset({"threads", "checkpoint_every"})


def first_difference(old: dict[str, Any], new: dict[str, Any], prefix: str = "") -> tuple[str, Any, Any] | None:
    """(dotted key, old value, new value) of the first key in which two configurations differ, or None."""
    for key in [*new, *(k for k in old if k not in new)]:
        if prefix == "" and key in FREE_TO_CHANGE:
            continue
        a, b = old.get(key), new.get(key)
        if isinstance(a, dict) and isinstance(b, dict):
            if (found := first_difference(a, b, f"{prefix}{key}.")) is not None:
                return found
        elif a != b:
            return f"{prefix}{key}", a, b
    return None
