"""CPU-seconds of a training step by part: loader, forward, loss, backward, clipping, optimiser.

``pytest tests/benchmarks/test_step_parts.py -m benchmark -s`` prints a table of these contenders for each task:

    reference   the published layers in torch's own modules, at the sizes of the experiment, with torch's clipping and optimisers
    plain       the default experiment with the plain paths of attention and loss
    exact       the preset with the authors' configuration
    fast        the recommended preset, or the default experiment as it is

A step is cut at the states that enter the output layer. ``loss`` is the output layer and the cross-entropy, forward and backward;
``forward`` and ``backward`` are the rest of the model. ``attention`` and ``products`` are parts of these two: softmax(q k^T) v, and
the products with the weights of layers. Both optimisers are timed on the same gradients.

Each contender has a process of its own with one thread. Of its steps the fastest counts.
"""

from __future__ import annotations

import json
import os
import runpy
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch
from torch import Tensor, nn
from torch.autograd.graph import register_multi_grad_hook
from torch.nn import functional

from mathpipe.datasets.containers.token_batches import Batch
from mathpipe.datasets.dataset import open_dataset
from mathpipe.pipeline.config.resolution import ParameterSource, resolve, validate
from mathpipe.train.config import TrainConfig
from mathpipe.train.model import layers
from mathpipe.train.model.transformer import Transformer, framed
from mathpipe.train.optim.loss import token_loss
from mathpipe.train.optim.optimisers import build_optimiser
from mathpipe.train.run.checkpoint import build_model
from mathpipe.train.runtime.fast_paths import forced
from mathpipe.train.trainer import build_record, prepare

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(3600)]
Seconds = dict[str, float]

DIMENSIONS = {"add": 3, "eigenvalues": 5, "inverse": 5}
CONTENDERS: dict[str, dict[str, str | None]] = {  # task: {contender: preset; None: the default experiment}
    "add": {"reference": None, "plain": None, "fast": None},
    "eigenvalues": {"reference": "lawt/eigenvalues", "exact": "lawt/eigenvalues", "fast": "fast/eigenvalues"},
    "inverse": {"reference": "lawt/inverse", "exact": "lawt/inverse", "fast": "fast/inverse"},
}
PHASES = "forward", "loss", "backward", "clipping"
PARTS = "attention", "products"
COLUMNS = "loader", *PHASES, *PARTS, "adam", "muon"
REPETITIONS, BATCHES = 5, 200
LONG = 10.0  # seconds; what takes longer is not repeated


class Reference(nn.Module):
    """The published layers at the sizes of ``config``, with torch's loss, clipping and optimisers."""

    def __init__(self, config: TrainConfig, template: Transformer) -> None:
        super().__init__()
        published = runpy.run_path(str(Path(__file__).parents[1] / "reference_transformer.py"))["Published"]
        m = config.model
        encoder = m.encoder_width, m.encoder_heads, m.encoder_layers
        decoder = m.decoder_width, m.decoder_heads, m.decoder_layers
        self.config, self.source_ids = config, template.source_ids
        self.model = published(template.decoder.token_embedding.num_embeddings, encoder, decoder)

    def states(self, batch: Batch) -> Tensor:
        target = functional.pad(batch.target[:, :-1], (1, 0), value=0)
        states: Tensor = self.model.states(framed(self.source_ids[batch.source]), target)
        return states

    def loss(self, states: Tensor, batch: Batch) -> Tensor:
        return functional.cross_entropy(self.model.output(states).flatten(0, 1), batch.target.flatten())

    def clip(self) -> None:
        torch.nn.utils.clip_grad_norm_(self.parameters(), self.config.clip or 1.0)

    def optimisers(self) -> dict[str, Callable[[], object]]:
        """The step of Adam over all weights, and of Muon over the matrices of layers with Adam over the rest."""
        blocks = *self.model.encoder, *self.model.decoder
        matrices = [p for block in blocks for p in block.parameters() if p.ndim == 2]
        identities = {id(p) for p in matrices}
        others = [p for p in self.parameters() if id(p) not in identities]
        adam = torch.optim.Adam(self.parameters(), lr=self.config.lr)
        muon = torch.optim.Muon(matrices, lr=self.config.lr, weight_decay=0.0, adjust_lr_fn="match_rms_adamw")
        rest = torch.optim.Adam(others, lr=self.config.lr)
        return {"adam": adam.step, "muon": lambda: (muon.step(), rest.step())}


class Ours:
    """The model of a configuration, with the loss, clipping and optimisers of ``mathpipe train``."""

    def __init__(self, config: TrainConfig, model: Transformer) -> None:
        self.config, self.model = config, model
        self.optimiser = build_optimiser(model, config, model.sparse_embeddings())

    def parameters(self) -> Iterator[nn.Parameter]:
        return self.model.parameters()

    def states(self, batch: Batch) -> Tensor:
        return self.model.states(batch.source, batch.target)

    def loss(self, states: Tensor, batch: Batch) -> Tensor:
        scale = 1 / int(batch.target_lengths.sum())
        return token_loss(states, *self.model.output_layer(), batch.target, None, scale, self.model.autocast())

    def clip(self) -> None:
        self.optimiser.clip(self.config.clip or 1.0)

    def optimisers(self) -> dict[str, Callable[[], object]]:
        configs = {name: self.config.model_copy(update={"optimiser": name}) for name in ("adam", "muon")}
        sparse = self.model.sparse_embeddings()
        return {name: build_optimiser(self.model, config, sparse).step for name, config in configs.items()}


Contender = Reference | Ours


def step_phases(contender: Contender, batch: Batch) -> Seconds:
    """CPU-seconds of each phase of one step without the optimiser; leaves its gradients."""
    for p in contender.parameters():
        p.grad = None
    times = [time.process_time()]
    states = contender.states(batch)
    times.append(time.process_time())
    leaf = states.detach().requires_grad_()
    contender.loss(leaf, batch).backward()  # type: ignore[no-untyped-call]
    times.append(time.process_time())
    states.backward(leaf.grad)  # type: ignore[no-untyped-call]
    times.append(time.process_time())
    contender.clip()
    times.append(time.process_time())
    return {phase: stop - start for phase, (start, stop) in zip(PHASES, pairwise(times), strict=True)}


class PartClock:
    """CPU-seconds of functions, forward and backward.

    The backward pass of a call begins when the gradient of its result is ready, and ends when those of its inputs are.
    """

    def __init__(self) -> None:
        self.seconds: Seconds = dict.fromkeys(PARTS, 0.0)

    def timed(self, part: str, function: Callable[..., Tensor], inputs: int) -> Callable[..., Tensor]:
        """``function`` with its time added to a part; the first ``inputs`` arguments are those of its backward pass."""

        def call(*arguments: Any, **options: Any) -> Tensor:
            aliases = [
                x.view_as(x) for x in arguments[:inputs]
            ]  # other uses of an input have no part in their gradients
            before = time.process_time()
            result = function(*aliases, *arguments[inputs:], **options)
            self.seconds[part] += time.process_time() - before
            started: list[float] = []
            result.register_hook(lambda gradient: started.append(time.process_time()))  # type: ignore[no-untyped-call]
            register_multi_grad_hook(aliases, lambda gradients: self._stop(part, started))
            return result

        return call

    def _stop(self, part: str, started: list[float]) -> None:
        self.seconds[part] += time.process_time() - started.pop()


def layer_parts(contender: Contender, batch: Batch) -> Seconds:
    """CPU-seconds of attention and of the products of layers in one forward and backward pass of the states."""
    clock = PartClock()
    module, name = (
        (functional, "scaled_dot_product_attention") if isinstance(contender, Reference) else (layers, "attend")
    )
    products = patch.object(functional, "linear", clock.timed("products", functional.linear, 1))
    with products, patch.object(module, name, clock.timed("attention", getattr(module, name), 3)):
        states = contender.states(batch)
        states.backward(torch.ones_like(states) / states.numel())  # type: ignore[no-untyped-call]
    return clock.seconds


def fastest(function: Callable[[], object]) -> float:
    """CPU-seconds of the fastest call, after one call to warm up unless that takes long."""
    seconds = cpu_seconds(function)
    return seconds if seconds > LONG else min(cpu_seconds(function) for _ in range(REPETITIONS))


def cpu_seconds(function: Callable[[], object]) -> float:
    before = time.process_time()
    function()
    return time.process_time() - before


def measure(name: str, preset: str | None, data: str) -> Seconds:
    """CPU-seconds of every part of a step of one contender, and the sizes of its batch."""
    torch.set_num_threads(1)
    config = validate(TrainConfig, resolve("train", ParameterSource(preset=preset), {}), "train")
    dataset = open_dataset(data, "train", config.input_encoding, config.output_encoding)
    torch.manual_seed(0)
    if name != "reference":
        prepare(config)
    model = build_model(build_record(config, dataset))
    assert isinstance(model, Transformer)
    contender: Contender = Reference(config, model) if name == "reference" else Ours(config, model)
    with dataset.batches(config.batch, seed=0) as stream:
        batch = next(stream)
        loader = cpu_seconds(lambda: [next(stream) for _ in range(BATCHES)]) / BATCHES
    with forced(**({"attention": False, "loss": False} if name == "plain" else {})):
        step_phases(contender, batch)
        phases = min((step_phases(contender, batch) for _ in range(REPETITIONS)), key=lambda p: sum(p.values()))
        parts = min((layer_parts(contender, batch) for _ in range(REPETITIONS)), key=lambda p: sum(p.values()))
    step_phases(contender, batch)
    optimisers = {name: fastest(step) for name, step in contender.optimisers().items()}
    sizes = {"batch": config.batch, "source": batch.source.shape[1], "target": batch.target.shape[1]}
    return {"loader": loader, **phases, **parts, **optimisers, **sizes}


def measure_in_process(task: str, name: str, preset: str | None, data: Path) -> Seconds:
    """``measure`` in a process of its own."""
    arguments = [sys.executable, __file__, name, preset or "", str(data)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    run = subprocess.run(arguments, stdout=subprocess.PIPE, text=True, check=True, env=environment)
    parts: Seconds = json.loads(run.stdout.splitlines()[-1])
    return parts


@pytest.mark.parametrize("task", CONTENDERS)
def test_step_parts(task: str, tmp_path: Path) -> None:
    from mathpipe.generate.build.dataset_builder import make_dataset
    from mathpipe.generate.dataset_spec import DatasetSpec
    from mathpipe.generate.layout import Layout
    from mathpipe.generate.problem_specs.matrix_spec import MatrixSpec

    dim = DIMENSIONS[task]
    spec = DatasetSpec(task=task, problems=MatrixSpec(min_dim=dim, max_dim=dim))
    make_dataset(spec, Layout({"train": 20_000}, 10_000), str(tmp_path / "data"), workers=0)
    print(f"\n{task:12}" + "".join(f"{column:>10}" for column in COLUMNS))  # noqa: T201
    for name, preset in CONTENDERS[task].items():
        parts = measure_in_process(task, name, preset, tmp_path / "data")
        figures = "".join(f"{parts[column]:>10.4f}" for column in COLUMNS)
        print(f"{name:12}{figures}  batch {parts['batch']}, {parts['source']} + {parts['target']} tokens", flush=True)  # noqa: T201


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1], sys.argv[2] or None, sys.argv[3])))  # noqa: T201
