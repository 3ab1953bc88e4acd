"""Seconds of a training step and problems decoded per second on a GPU.

Training: the published step in torch's own modules (float32, one joint vocabulary, ``nn.MultiheadAttention``,
``torch.optim.Adam``, clipping; ``tests/reference_transformer.py``) against the exact and the fast presets. The fast one also runs
compiled, and captured in CUDA graphs with Adam and with Muon. Batches: the preset's, and eight times as many problems.
Decoding: random models of the published shapes that generate every token. Elapsed time, synchronised, the median of several
repetitions:
``pytest tests/benchmarks/test_cuda_speed.py -m benchmark --benchmark-enable -s``.
"""

from __future__ import annotations

import runpy
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from mathpipe.datasets.containers.token_batches import Batch
from mathpipe.datasets.dataset import Dataset, open_dataset
from mathpipe.evaluate.decode.beam_search import beam_search
from mathpipe.evaluate.decode.decoding import decoding_mode, greedy
from mathpipe.evaluate.decode.hypotheses import Decoding
from mathpipe.generate.build.dataset_builder import make_dataset
from mathpipe.generate.dataset_spec import DatasetSpec
from mathpipe.generate.layout import Layout
from mathpipe.generate.problem_specs.matrix_spec import MatrixSpec
from mathpipe.pipeline.config.resolution import ParameterSource, resolve, validate
from mathpipe.train.config import TrainConfig
from mathpipe.train.model.transformer import Transformer, framed
from mathpipe.train.run.checkpoint import build_model
from mathpipe.train.runtime.distributed import Distributed
from mathpipe.train.trainer import Run, build_record, prepare

pytestmark = [
    pytest.mark.benchmark,
    pytest.mark.timeout(900),
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
REFERENCE = Path(__file__).parents[1] / "reference_transformer.py"
CONTENDERS = ("reference", "exact", "fast", "fast, compiled", "fast, captured", "fast, captured, Muon")
DECODED = runpy.run_path(
    str(Path(__file__).with_name("test_bench_evaluate.py"))
)  # the models and problems timed on a CPU


def median_seconds(function: Callable[[], object], repetitions: int = 5, warmup: int = 2) -> float:
    times = []
    for _ in range(warmup + repetitions):
        torch.cuda.synchronize()
        before = time.perf_counter()
        function()
        torch.cuda.synchronize()
        times.append(time.perf_counter() - before)
    return float(np.median(times[warmup:]))


def build_step(name: str, task: str, data: Path, factor: int) -> tuple[Callable[[Batch], None], Dataset, int]:
    """A function that takes one step, its dataset and its batch size."""
    overrides = (f"compile={str('compiled' in name).lower()}", f"cuda_graphs={str('captured' in name).lower()}")
    overrides += ("optimiser=muon",) if "Muon" in name else ()
    preset = ("fast/" if name.startswith("fast") else "lawt/") + task
    config = validate(TrainConfig, resolve("train", ParameterSource(preset=preset, overrides=overrides), {}), "train")
    config = config.model_copy(update={"batch": config.batch * factor})
    dataset = open_dataset(data, "train", config.input_encoding, config.output_encoding)
    if name != "reference":
        prepare(config)
        run = Run(build_record(config, dataset), Path(), dataset, None, None, Distributed(0, 1, "cuda"))
        return lambda batch: run.train_step(batch, 1), dataset, config.batch
    template: Any = build_model(build_record(config, dataset))
    m, ids = config.model, template.source_ids.cuda()
    sides = (m.encoder_width, m.encoder_heads, m.encoder_layers), (m.decoder_width, m.decoder_heads, m.decoder_layers)
    model = runpy.run_path(str(REFERENCE))["Published"](template.decoder.token_embedding.num_embeddings, *sides).cuda()
    optimiser = torch.optim.Adam(model.parameters(), lr=config.lr)

    def train_step(batch: Batch) -> None:
        source, target = framed(ids[batch.source]), functional.pad(batch.target[:, :-1], (1, 0), value=0)
        optimiser.zero_grad()
        functional.cross_entropy(model(source, target).flatten(0, 1), batch.target.flatten()).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), config.clip or 1.0)
        optimiser.step()

    return train_step, dataset, config.batch


@pytest.mark.parametrize("task", ["transpose", "eigenvalues", "inverse"])
def test_training_step_speed(task: str, tmp_path: Path) -> None:
    dim = 10 if task == "transpose" else 5
    spec = DatasetSpec(task=task, problems=MatrixSpec(min_dim=dim, max_dim=dim))
    make_dataset(spec, Layout({"train": 10_000}, 10_000), str(tmp_path / "data"), workers=0)
    for factor in (1, 8):
        for name in CONTENDERS:
            measure_step(name, task, tmp_path / "data", factor)


def measure_step(name: str, task: str, data: Path, factor: int) -> None:
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    train_step, dataset, size = build_step(name, task, data, factor)
    with dataset.batches(size, seed=0, device="cuda") as stream:
        seconds = median_seconds(lambda: train_step(next(stream)), repetitions=20, warmup=5)
    memory = torch.cuda.max_memory_allocated() / 1e9
    print(f"\n{task}, batch {size}, {name}: {seconds * 1e3:.1f} ms, peak {memory:.1f} GB", flush=True)  # noqa: T201


@pytest.mark.parametrize("dtype", ["auto", "float32"])
def test_decoding_speed(dtype: str) -> None:
    build, sources = DECODED["model"], DECODED["sources"]
    inverse = build(DECODED["INVERSE"], "FP15", dtype).cuda()
    transpose = build(DECODED["TRANSPOSE"], "P1000", dtype).cuda()
    for model, encoding, count, beam in (
        (inverse, "FP15", 128, 1),
        (inverse, "FP15", 2048, 1),
        (transpose, "P1000", 64, 10),
        (transpose, "P1000", 1024, 10),
    ):
        seconds = decoding(model, sources(encoding, count, 5).cuda(), Decoding(beam=beam))
        print(f"\n{dtype}, beam {beam}, {count} problems: {count / seconds:,.0f} a second", flush=True)  # noqa: T201


def decoding(model: Transformer, source: torch.Tensor, settings: Decoding) -> float:
    with decoding_mode(model):
        if settings.beam == 1:
            return median_seconds(lambda: greedy(model, source, 79), repetitions=3, warmup=1)
        return median_seconds(lambda: beam_search(model, source, 79, settings), repetitions=3, warmup=1)
