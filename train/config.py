"""Configuration of a training run: model, optimisation, evaluation and checkpoints; validated before anything starts.

Frozen pydantic models that reject unknown keys. The defaults are the default experiment: 3x3 addition, entries U(-10, 10).
"""

from __future__ import annotations

import difflib
import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from mathpipe.datasets.io.locations import expand, is_url

TrackerName = Literal["wandb", "mlflow", "tensorboard", "trackio"]
Layers = Annotated[int, Field(ge=1, le=48)]
Width = Annotated[int, Field(ge=8, le=8192)]
Heads = Annotated[int, Field(ge=1, le=128)]
_ENCODINGS = ("P10", "P1000", "B1999", "FP15", "symbol", "base10", "base1000", "residues6")
_ENCODING = re.compile(
    r"(P10|P1000|B1999|FP15|(base\d+|residues\d+|residues:[\d,]+|symbol|symbols:\S+)(\+brackets|\+size)?)"
)


def _check_encoding(name: str) -> str:
    if _ENCODING.fullmatch(name) is None:
        similar = difflib.get_close_matches(name, _ENCODINGS, n=1)
        raise ValueError(
            f"no encoding {name!r}. Expected: P10, P1000, B1999 or FP15 for matrices; base10, residues6, symbol, ... for integers"
            + (f". Next: did you mean {similar[0]}?" if similar else "")
        )
    return name


Encoding = Annotated[str, AfterValidator(_check_encoding)]


class Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class ModelConfig(Settings):
    """An encoder-decoder transformer. Encoder and decoder may differ in depth, width and heads."""

    encoder_layers: Layers = 1
    """Layers of the encoder."""
    decoder_layers: Layers = 2
    """Layers of the decoder."""
    encoder_width: Width = 128
    """Width of the encoder, a multiple of its heads."""
    decoder_width: Width = 128
    """Width of the decoder, a multiple of its heads."""
    encoder_heads: Heads = 4
    """Attention heads of the encoder."""
    decoder_heads: Heads = 4
    """Attention heads of the decoder."""
    feed_forward: Annotated[int, Field(ge=1, le=16)] = 4
    """Hidden width of the feed-forward layers, as a multiple of the model width."""
    activation: Literal["relu", "gelu", "swiglu"] = "relu"
    """Activation of the feed-forward layers. swiglu is gated, with 2/3 of the hidden width (the same number of weights)."""
    norm: Literal["pre", "post"] = "pre"
    """Layer norm before each sub-layer, or after each residual sum (as published)."""
    norm_kind: Literal["layer", "rms"] = "layer"
    """LayerNorm, or RMSNorm (root mean square only)."""
    cross_query: Literal["attended", "input"] = "attended"
    """Queries of cross-attention. attended: the output of self-attention (Lample and Charton 2020). input: the input of the
    layer (Charton 2022)."""
    positions: Literal["structured", "learned", "sinusoidal", "none"] = "structured"
    """structured: row + column + offset within the number; for expressions, the position in the tree. learned: one vector
    per absolute position; sinusoidal: fixed vectors (both as published). none: no position vectors, for rotary attention."""
    input_unit: Literal["token", "number"] = "token"
    """What one encoder vector represents: a token, or a whole number (the sum of one vector per token of the number)."""
    triangle: Literal["full", "upper"] = "full"
    """Matrix entries given to the encoder. upper: on and above the diagonal, for symmetric problems."""
    rotary: bool = False
    """Rotary position embedding of queries and keys in self-attention."""
    max_positions: Annotated[int, Field(ge=4, le=65536)] = 4096
    """Longest sequence with learned or sinusoidal positions, in tokens."""
    framed_source: bool = False
    """Put END before and after the source (as published)."""
    zeroed_padding: bool = False
    """Set padded positions to zero after every layer (as published). Outputs at real positions do not change."""
    vocabulary: Literal["separate", "joint"] = "separate"
    """separate: each side has the tokens of its own encoding. joint: both sides share the published union of both vocabularies."""
    tokens: tuple[str, ...] | None = None
    """The joint vocabulary, the token of each id, where it is neither of the published ones. Null: the published union."""
    init: Literal["aligned", "independent", "published"] = "aligned"
    """Initial weights. aligned: key weights equal query weights and both sides start with equal position vectors, so that
    untrained attention already favours equal tokens at equal positions. independent: every matrix is sampled separately.
    published: torch's default for linear layers, uniform in +-inputs^-1/2, biases too."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Probability of dropout."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Autocast dtype of matrix products; weights, sums and the loss are always float32. auto: bfloat16 where the processor
    supports it natively (AMX, AVX512-BF16, most GPUs), otherwise float32, because emulated bfloat16 is slow."""

    @model_validator(mode="after")
    def _heads_divide_width(self) -> ModelConfig:
        for side in ("encoder", "decoder"):
            width, heads = getattr(self, f"{side}_width"), getattr(self, f"{side}_heads")
            if width % heads:
                raise ValueError(f"{side}_width {width} is not a multiple of {side}_heads {heads}")
            if self.rotary and width // heads % 2:
                raise ValueError(f"rotary attention needs an even head size, got {side} {width} / {heads}")
        if (self.input_unit, self.triangle) != ("token", "full") and (
            self.positions != "structured" or self.vocabulary == "joint" or self.rotary
        ):
            raise ValueError(
                "input_unit: number and triangle: upper require structured positions and separate vocabularies, without rotary"
            )
        if self.framed_source and self.positions == "structured":
            raise ValueError(
                "framed_source requires learned, sinusoidal or no positions: structured positions assume an unframed source"
            )
        if self.tokens is not None and (
            self.vocabulary != "joint" or len({*self.tokens}) != len(self.tokens) or len(self.tokens) < 2
        ):
            raise ValueError("tokens lists two or more different tokens, and requires vocabulary: joint")
        return self


def _local_weights(weights: str | None) -> str | None:
    """A directory with ``~`` expanded, or a name; ValueError for a URL."""
    if weights is not None and is_url(weights):
        raise ValueError("weights are a local directory or a model name on the hub, not a URL")
    return None if weights is None else expand(weights)


class BackboneConfig(Settings):
    """A pretrained language model, or a randomly initialised one of the same shape, with new input and output layers."""

    model: Literal["frozen-gpt2", "encoder-decoder"] = "frozen-gpt2"
    """A decoder-only GPT-2 that continues the problem, or an encoder-decoder (mBART, Marian, T5)."""
    weights: Annotated[str | None, AfterValidator(_local_weights)] = None
    """A directory in Hugging Face format or a model name on the hub. Null: gpt2 if pretrained, else the sizes below."""
    pretrained: bool = True
    """False: random weights of the same shape, sampled with ``seed``."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Seed of a random backbone. The new layers are initialised from the seed of the run."""
    layers: Layers = 12
    """Layers of a random GPT-2, if ``weights`` is null; this and the next three are the published shape by default."""
    width: Width = 768
    """Width of a random GPT-2."""
    heads: Heads = 12
    """Attention heads of a random GPT-2."""
    positions: Annotated[int, Field(ge=4, le=65536)] = 1024
    """Positions of a random GPT-2: the longest problem with its solution, in tokens."""
    position_init: Literal["random", "sinusoidal"] = "random"
    """Initial positions of a random GPT-2: random like all other weights, or sines and cosines of periods from 2 pi to
    2 pi x positions, with which one learned rotation looks back the same distance from every position."""
    trainable: Literal["layer-norms+positions", "+attention", "+feed-forward", "all", "none"] | None = None
    """Backbone weights that are trained; the new layers always are. A value with plus adds to layer norms and positions.
    Null: layer norms and positions of gpt2 (as published), all weights of an encoder-decoder."""
    init: Literal["normal", "orthogonal", "signed-constant"] = "orthogonal"
    """Initial weights of the new layers: normal (0.02), orthogonal, or +-(2 / inputs)^1/2 with random signs."""
    readout: Literal["autoregressive", "last", "prefix"] | None = None
    """How gpt2 answers: token by token after the problem, or all tokens at once, at the last or the first positions of the
    problem. Null: last for bits, autoregressive otherwise."""
    patch: Annotated[int, Field(ge=1, le=10_000)] | None = None
    """Bits that enter together as one vector of -1, 1 and 0 (hidden) through a linear layer. Null: one embedding per bit."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Probability of dropout."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Autocast dtype of matrix products, as in ``model``."""

    @model_validator(mode="after")
    def _settings_agree(self) -> BackboneConfig:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is not a multiple of heads {self.heads}")
        if self.model == "encoder-decoder" and self.weights is None:
            raise ValueError("an encoder-decoder needs weights: a directory, or a model name on the hub")
        if self.model == "encoder-decoder" and (self.readout not in (None, "autoregressive") or self.patch is not None):
            raise ValueError("readout and patch apply to frozen-gpt2 only: an encoder-decoder is autoregressive")
        if self.position_init == "sinusoidal" and (self.pretrained or self.width % 2):
            raise ValueError("sinusoidal positions need a random gpt2 of even width: set pretrained to false")
        if self.patch is not None and self.readout == "autoregressive":
            raise ValueError("patch requires readout last or prefix")
        return self


class SettingsConflict(ValueError):
    """Settings that exclude each other. ``next_step``: what to set instead."""

    def __init__(self, what: str, next_step: str) -> None:
        super().__init__(what)
        self.next_step = next_step


class TrainConfig(Settings):
    """A training run: encodings, model, optimisation, and the intervals of evaluation and checkpoints."""

    model: ModelConfig = ModelConfig()
    """The transformer, see below."""
    backbone: BackboneConfig | None = None
    """A pretrained backbone instead of ``model`` (needs the package transformers), see below. Null: ``model``."""
    input_encoding: Encoding | None = None
    """Number encoding of problems, see ``output_encoding``."""
    output_encoding: Encoding | None = None
    """Tokens of numbers: P10, P1000, B1999 or FP15 for matrices; base10, base1000, residues6, symbol, ... for integers. Null: P10
    for matrices; for integers symbol if their stated range is small, else base1000."""
    precision: Annotated[int, Field(ge=1, le=4)] = 2
    """Digits after the first of every encoded number."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Fixes the initial weights, the order of examples and dropout."""

    init_from: str | None = None
    """Warm start: a run directory, or one of its checkpoints, with the same model and encodings; its data may differ, as in
    smaller matrices or another task. Null: random weights, sampled with ``seed``."""

    batch: Annotated[int, Field(ge=1, le=1_000_000)] = 64
    """Problems per step, over all processes."""
    accumulate: Annotated[int, Field(ge=1, le=10_000)] = 1
    """Gradient accumulation: parts into which each process splits its share of a batch. Affects memory and speed only."""
    steps: Annotated[int, Field(ge=1)] = 900
    """Length of the run, in steps."""
    optimiser: Literal["adam", "adamw", "sgd", "adafactor", "muon"] = "muon"
    """Optimiser. sgd uses beta1 as momentum. muon updates the matrices of linear layers, with Adam for all other weights."""
    lr: Annotated[float, Field(gt=0, le=1)] = 3e-3
    """Peak learning rate, reached after ``warmup`` steps."""
    warmup: Annotated[int, Field(ge=0)] = 100
    """Steps over which the learning rate rises linearly."""
    warmup_from: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Learning rate at the start of warm-up (published: 1e-7)."""
    schedule: Literal["cosine", "constant", "inverse-sqrt", "cosine-restarts"] = "cosine"
    """Learning rate after warm-up. cosine: half a cosine down to ``final_lr`` x lr at the last step. inverse-sqrt:
    lr (warmup/step)^1/2. cosine-restarts: half a cosine from lr to ``min_lr`` in ``period`` steps, repeated, both multiplied
    by ``shrink``."""
    final_lr: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Learning rate at the last step of a cosine, as a fraction of lr."""
    min_lr: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Learning rate at the end of the first period of cosine-restarts."""
    period: Annotated[int, Field(ge=1)] = 1_000_000
    """Steps of the first period of cosine-restarts."""
    period_growth: Annotated[float, Field(ge=1, le=100)] = 1.0
    """Ratio of the lengths of successive periods."""
    shrink: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Factor of lr and min_lr at each restart."""
    beta1: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """Decay of the average of gradients, or momentum."""
    beta2: Annotated[float, Field(ge=0, lt=1)] = 0.999
    """Decay of the average of squared gradients."""
    eps: Annotated[float, Field(gt=0)] = 1e-8
    """Added to the root of the squared gradients."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    """Weight decay, applied to matrices, not to biases, norms and embeddings."""
    clip: Annotated[float, Field(gt=0)] | None = 1.0
    """Maximum gradient norm; null: no clipping."""
    sign_weight: Annotated[float, Field(gt=0, le=100)] = 1.0
    """Weight of sign tokens in the training loss. Other tokens weigh 1, and the validation loss is unweighted."""
    mantissa_weight: Annotated[float, Field(gt=0, le=100)] = 1.0
    """Weight of mantissa tokens in the training loss."""
    exponent_weight: Annotated[float, Field(gt=0, le=100)] = 1.0
    """Weight of exponent tokens in the training loss."""

    valid_examples: Annotated[int, Field(ge=0)] = 1000
    """Number of validation examples in the validation loss."""
    log_every: Annotated[int, Field(ge=1)] = 20
    """Steps between two logged values of the training loss."""
    eval_every: Annotated[int, Field(ge=1)] = 300
    """Steps between two evaluations of validation loss and accuracy; the last step is always evaluated."""
    checkpoint_every: Annotated[int, Field(ge=1)] = 100
    """Steps between two saves of the checkpoint from which a run resumes."""
    keep_every: Annotated[int, Field(ge=1)] | None = None
    """Steps between two permanent checkpoints ``checkpoints/step-<s>.pt``; null: none."""
    stop_metric: str | None = None
    """Stop early when this metric (evaluated every ``eval_every`` steps) reaches ``stop_at``."""
    stop_at: float | None = None
    """Value of ``stop_metric`` at which to stop."""
    best_metric: str | None = None
    """Keep the best weights by this metric in ``checkpoints/best.pt``, for ``mathpipe eval --checkpoint best``.
    A metric whose name ends in ``loss`` is minimised."""
    patience: Annotated[int, Field(ge=1)] | None = None
    """Stop after this many consecutive evaluations without an improvement of ``best_metric``."""
    label: str | None = None
    """A free label of the run, stored in its record, in summary.json and among the parameters of DVC."""
    track: TrackerName | None = None
    """Also log metrics and settings with this experiment tracker (needs its package); a resumed run continues the same one. Null:
    none. DVCLive is used wherever it is installed."""

    threads: Annotated[int, Field(ge=1, le=1024)] | None = None
    """CPU threads of torch; null: OMP_NUM_THREADS, or the default of torch, at most the CPUs that a container allows."""
    compile: bool = False
    """Compile the layers with torch.compile (needs a compiler); results then depend on the compiler, bit for bit."""
    cuda_graphs: bool = False
    """On CUDA, in one process: capture the forward and backward passes, and the step of Adam or Muon, as CUDA graphs. Otherwise
    the GPU waits for Python when the model is small. Each common batch shape costs the memory of one more batch."""
    deterministic: bool = False
    """On CUDA: use deterministic algorithms only (slower). Training on the CPU is always deterministic."""

    @model_validator(mode="after")
    def _settings_agree(self) -> TrainConfig:
        if (self.stop_metric is None) != (self.stop_at is None):
            raise ValueError("stop_metric and stop_at go together: give both or neither")
        if self.warmup > self.steps:
            raise SettingsConflict(
                f"warmup {self.warmup} is longer than the run's {self.steps} steps",
                f"set train.warmup to {self.steps} or less (a tenth: -S warmup={self.steps // 10}), or more steps",
            )
        if self.schedule == "inverse-sqrt" and not self.warmup:
            raise ValueError("schedule inverse-sqrt needs warmup of at least one step")
        if self.cuda_graphs and (self.backbone is not None or self.compile):
            raise ValueError("cuda_graphs requires model (no backbone) and compile: false")
        if self.patience is not None and self.best_metric is None:
            raise ValueError("patience needs a best_metric")
        return self


# Keys that may change when a run is resumed: they affect the weights at most through the order of floating-point sums.
MUTABLE_ON_RESUME = frozenset({"threads", "checkpoint_every", "keep_every", "label", "track", "cuda_graphs"})


def first_difference(old: dict[str, Any], new: dict[str, Any], prefix: str = "") -> tuple[str, Any, Any] | None:
    """(dotted key, old value, new value) of the first key that differs between two configurations, or None."""
    for key in [*new, *(k for k in old if k not in new)]:
        if prefix == "" and key in MUTABLE_ON_RESUME:
            continue
        a, b = old.get(key), new.get(key)
        if isinstance(a, dict) and isinstance(b, dict):
            if (nested := first_difference(a, b, f"{prefix}{key}.")) is not None:
                return nested
        elif a != b:
            return f"{prefix}{key}", a, b
    return None
