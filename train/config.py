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
    activation: Literal["relu", "gelu", "swiglu"] = "relu"
    """Of the feed-forward layers; swiglu is gated, with 2/3 of the hidden width (the same number of weights)."""
    norm: Literal["pre", "post"] = "pre"
    """Layer norm before each sub-layer, or after each residual sum (as published)."""
    norm_kind: Literal["layer", "rms"] = "layer"
    """Layer norm with mean and offset, or the root mean square alone."""
    cross_query: Literal["attended", "input"] = "attended"
    """The decoder's cross-attention asks with the outcome of self-attention, or with the layer's input (as LAWT does)."""
    positions: Literal["structured", "learned", "sinusoidal", "none"] = "structured"
    """Structured: row + column + place within the number, or for expressions the place in the tree. Learned: one vector for
    each absolute position, sinusoidal: fixed ones (both as published). None: for rotary attention alone."""
    reads: Literal["words", "numbers"] = "words"
    """What one vector of the encoder stands for: a word, or a whole number (a sum of vectors, one for each of its words)."""
    entries: Literal["all", "upper"] = "all"
    """Which entries of a matrix the encoder reads; upper: on and above the diagonal, for symmetric problems."""
    rotary: bool = False
    """Queries and keys of self-attention are turned by angles that grow with the absolute position."""
    max_positions: Annotated[int, Field(ge=4, le=65536)] = 4096
    """Longest sequence with learned or sinusoidal positions, in words."""
    framed_source: bool = False
    """The encoder reads END before and after the problem (as published), or the problem alone."""
    zeroed_padding: bool = False
    """Padded positions are set to zero after every layer (as published). Nothing that is read changes."""
    vocabulary: Literal["separate", "joint"] = "separate"
    """Each side has the words of its own encoding, or both have the published union of both encodings' words."""
    start: Literal["aligned", "independent", "published"] = "aligned"
    """First weights. Aligned: keys begin as queries and both sides begin with the same positions, so that before anything
    is learned a word already looks at words like itself, in places like its own. Independent: every matrix for itself.
    Published: linear layers as torch begins them, uniform within inputs^-1/2, biases too."""
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
            if self.rotary and width // heads % 2:
                raise ValueError(f"rotary attention needs heads of even size, not {side} {width} / {heads}")
        if (self.reads, self.entries) != ("words", "all") and (
            self.positions != "structured" or self.vocabulary == "joint" or self.rotary
        ):
            raise ValueError(
                "reads: numbers and entries: upper go with structured positions and separate vocabularies, without rotary ones"
            )
        if self.framed_source and self.positions == "structured":
            raise ValueError(
                "framed_source goes with learned, sinusoidal or no positions: structured ones count from the problem"
            )
        return self


class BodyConfig(Settings):
    """A pretrained language model, or a random one of its shape, with a new first and last layer over our words."""

    model: Literal["frozen-gpt2", "encoder-decoder"] = "frozen-gpt2"
    """A GPT-2 that goes on from the problem, or an encoder-decoder (mBART, Marian, T5) that reads it."""
    weights: str | None = None
    """A directory in Hugging Face's format, or a name on their hub; null: gpt2 where pretrained, else the sizes below."""
    pretrained: bool = True
    """False: weights drawn anew by ``seed``, in the same shape."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Of a random body; a run's own seed draws the new layers."""
    layers: Layers = 12
    width: Width = 768
    heads: Heads = 12
    positions: Annotated[int, Field(ge=4, le=65536)] = 1024
    """Shape of a random GPT-2 where no weights are named; the defaults are those of the published body."""
    position_start: Literal["drawn", "sinusoidal"] = "drawn"
    """First positions of a random GPT-2: drawn like all else, or sines and cosines of periods from 2 pi to 2 pi x positions, in
    which one learned rotation looks the same distance back from every place."""
    trains: Literal["layer-norms+positions", "+attention", "+feed-forward", "everything", "nothing"] | None = None
    """What of the body trains; the new layers always do. The plus adds to layer norms and positions. Null: layer norms and
    positions of gpt2 (as published), everything of an encoder-decoder."""
    begin: Literal["normal", "orthogonal", "signed-constant"] = "orthogonal"
    """First weights of the new layers: normal (0.02), orthogonal, or of one size, (2 / inputs)^1/2, with random signs."""
    read: Literal["written", "last", "prefix"] | None = None
    """How gpt2 answers: word by word after the problem, or at once, at the last or the first places of the problem. Null: bits
    from the last ones, all else written."""
    patch: Annotated[int, Field(ge=1, le=10_000)] | None = None
    """Bits that enter together, as one vector of -1, 1 and 0 (hidden) through a linear layer; null: each by an embedding."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"

    @model_validator(mode="after")
    def _fits(self) -> BodyConfig:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is no multiple of heads {self.heads}")
        if self.model == "encoder-decoder" and self.weights is None:
            raise ValueError("an encoder-decoder is named by weights: a directory, or a name on the hub")
        if self.model == "encoder-decoder" and (self.read not in (None, "written") or self.patch is not None):
            raise ValueError("read and patch are of frozen-gpt2: an encoder-decoder reads words and writes its answer")
        if self.position_start == "sinusoidal" and (self.pretrained or self.width % 2):
            raise ValueError("sinusoidal positions are of a random gpt2 of even width: give pretrained false")
        if self.patch is not None and self.read == "written":
            raise ValueError("patches are answered at once: read last or prefix")
        return self


class TrainConfig(Settings):
    """A whole run: encodings, model, plan of optimisation, and how often it is looked at and saved."""

    model: ModelConfig = ModelConfig()
    body: BodyConfig | None = None
    """A pretrained body instead of ``model`` (needs the package transformers)."""
    input_encoding: Encoding = "P10"
    output_encoding: Encoding = "P10"
    precision: Annotated[int, Field(ge=1, le=4)] = 2
    """Digits after the first of every written number."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Fixes the first weights, the order of examples and dropout."""

    start_from: str | None = None
    """A run, or one of its checkpoints, whose weights are the first; it has the same model and encodings, and what else it likes:
    smaller matrices, another task. Null: drawn by ``seed``."""

    batch: Annotated[int, Field(ge=1, le=1_000_000)] = 64
    """Problems a step, over all processes together."""
    accumulate: Annotated[int, Field(ge=1, le=10_000)] = 1
    """Parts in which each process computes its share of a batch; only memory and speed depend on it."""
    steps: Annotated[int, Field(ge=1)] = 900
    optimiser: Literal["adam", "adamw", "sgd", "adafactor", "muon"] = "muon"
    """sgd takes beta1 as momentum; muon moves the matrices of linear layers, Adam all else."""
    lr: Annotated[float, Field(gt=0, le=1)] = 3e-3
    """Highest learning rate, reached after ``warmup`` steps."""
    warmup: Annotated[int, Field(ge=0)] = 100
    """Steps over which the learning rate rises linearly."""
    warmup_from: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Learning rate at which warm-up begins (published: 1e-7)."""
    schedule: Literal["cosine", "constant", "inverse-sqrt", "cosine-restarts"] = "cosine"
    """After warm-up. Cosine: down to ``final_lr`` x lr at the last step along half a cosine. Inverse-sqrt: as (warmup/step)^1/2.
    Cosine-restarts: from lr to ``min_lr`` along half a cosine of ``period`` steps, again and again, both shrunk each time."""
    final_lr: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Learning rate at the last step of a cosine, as a fraction of lr."""
    min_lr: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Learning rate at the end of the first period of cosine-restarts."""
    period: Annotated[int, Field(ge=1)] = 1_000_000
    """Steps of the first period of cosine-restarts."""
    period_growth: Annotated[float, Field(ge=1, le=100)] = 1.0
    """Each period is so many times longer than the one before."""
    shrink: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Factor of lr and min_lr at each restart."""
    beta1: Annotated[float, Field(ge=0, lt=1)] = 0.9
    beta2: Annotated[float, Field(ge=0, lt=1)] = 0.999
    eps: Annotated[float, Field(gt=0)] = 1e-8
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    """Of matrices, not of biases, norms and embeddings."""
    clip: Annotated[float, Field(gt=0)] | None = 1.0
    """Largest norm of the gradient; null: as it comes."""
    sign_weight: Annotated[float, Field(gt=0, le=100)] = 1.0
    mantissa_weight: Annotated[float, Field(gt=0, le=100)] = 1.0
    exponent_weight: Annotated[float, Field(gt=0, le=100)] = 1.0
    """Weight of such words in the training loss, against 1 for all others; validation loss is never weighted."""

    valid_examples: Annotated[int, Field(ge=0)] = 1000
    """How many of the validation split the validation loss is measured on."""
    log_every: Annotated[int, Field(ge=1)] = 20
    """Steps between two points of the training loss."""
    eval_every: Annotated[int, Field(ge=1)] = 300
    """Steps between two measurements of validation loss and accuracy; always measured after the last step."""
    checkpoint_every: Annotated[int, Field(ge=1)] = 100
    keep_every: Annotated[int, Field(ge=1)] | None = None
    """Steps between two checkpoints that are kept for good, in ``checkpoints/``."""
    stop_metric: str | None = None
    """Stop early when this metric (of those measured every ``eval_every``) reaches ``stop_at``."""
    stop_at: float | None = None
    best_metric: str | None = None
    """The weights that were best by this metric are kept in checkpoints/best.pt; what ends in ``loss`` is better when smaller."""
    patience: Annotated[int, Field(ge=1)] | None = None
    """Stop after so many measurements in a row that were not better by ``best_metric``."""
    label: str | None = None
    """A word of your own for the run: it stands in its record, in summary.json and among the parameters of DVC."""
    tensorboard: bool = False
    """Write the curves for TensorBoard too, into ``tensorboard/`` (needs the package)."""

    threads: Annotated[int, Field(ge=1, le=1024)] | None = None
    """Threads of tensor arithmetic on the CPU; null: as the library chooses."""
    compile: bool = False
    """Compile the layers with torch.compile (needs a compiler); the bits of the weights then depend on it."""
    graphs: bool = False
    """On CUDA, in one process: capture the forward and backward passes, and the step of Adam or Muon, as CUDA graphs. Small models
    otherwise leave the GPU waiting for Python. Each common batch shape costs the memory of one more batch."""
    deterministic: bool = False
    """On CUDA: only algorithms that give the same bits every time (slower). On the CPU they always do."""

    @model_validator(mode="after")
    def _goes_together(self) -> TrainConfig:
        if (self.stop_metric is None) != (self.stop_at is None):
            raise ValueError("stop_metric and stop_at go together: give both or neither")
        if self.warmup > self.steps:
            raise ValueError(f"warmup {self.warmup} is longer than the run's {self.steps} steps")
        if self.schedule == "inverse-sqrt" and not self.warmup:
            raise ValueError("schedule inverse-sqrt counts from the end of warm-up: give warmup at least one step")
        if self.graphs and (self.body is not None or self.compile):
            raise ValueError("graphs go with a model of ours (not a body) that is not compiled")
        if self.patience is not None and self.best_metric is None:
            raise ValueError("patience needs a best_metric")
        return self


# What may change between two sittings of one run: nothing here enters the weights but by the order of float sums.
FREE_TO_CHANGE = frozenset({"threads", "checkpoint_every", "keep_every", "label", "tensorboard", "graphs"})


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
