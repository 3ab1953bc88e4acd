"""CPU-seconds of a training step: the published step in torch's own modules against the exact and the fast presets.

``pytest tests/benchmarks/test_training_speed.py -m benchmark -s``. Each contender has its own process with one thread. The
contenders alternate, so that other work on the machine affects all of them, and the fastest step of each counts. The reference:
float32, one joint vocabulary for both encodings with a softmax over all of it, ``nn.MultiheadAttention``, ``torch.optim.Adam`` and
the clipping of torch (``tests/reference_transformer.py``). All read the same problems. The authors' own code took, on a quiet core
of a similar machine: transposition 1.35 s, eigenvalues 5.3 s, inverse 12.0 s.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(900)]
GOALS = {"transpose": (2, 3), "eigenvalues": (2, 4), "inverse": (2, 8)}
TURNS, STEPS = 2, 2

SCRIPT = """
import runpy, sys, time
import torch
from torch.nn import functional
from mathpipe.datasets.dataset import open_dataset
from mathpipe.pipeline.config.resolution import ParameterSource, resolve, validate
from mathpipe.train.run.checkpoint import build_model
from mathpipe.train.config import TrainConfig
from mathpipe.train.model.transformer import framed
from mathpipe.train.runtime.distributed import Distributed
from mathpipe.train.trainer import Run, build_record, prepare

torch.set_num_threads(1)
name, task, data, reference, steps = sys.argv[1:6]
preset = ("fast/" if name == "fast" else "lawt/") + task
overrides = ("threads=1",) + (("dtype=float32",) if name == "exact32" else ())
config = validate(TrainConfig, resolve("train", ParameterSource(preset=preset, overrides=overrides), {}), "train")
dataset = open_dataset(data, "train", config.input_encoding, config.output_encoding)
if name == "reference":
    torch.manual_seed(0)
    m = config.model
    ids = build_model(build_record(config, dataset)).source_ids
    tokens = int(build_model(build_record(config, dataset)).decoder.token_embedding.num_embeddings)
    model = runpy.run_path(reference)["Published"](
        tokens, (m.encoder_width, m.encoder_heads, m.encoder_layers), (m.decoder_width, m.decoder_heads, m.decoder_layers)
    )
    optimiser = torch.optim.Adam(model.parameters(), lr=config.lr)

    def train_step(batch):
        source, target = framed(ids[batch.source]), functional.pad(batch.target[:, :-1], (1, 0), value=0)
        optimiser.zero_grad()
        functional.cross_entropy(model(source, target).flatten(0, 1), batch.target.flatten()).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), config.clip)
        optimiser.step()
else:
    prepare(config)
    run = Run(build_record(config, dataset), None, dataset, None, None, Distributed(0, 1, "cpu"))
    model = run.model
    train_step = lambda batch: run.train_step(batch, 1)
with dataset.batches(config.batch, seed=0) as stream:
    batches = [next(stream) for _ in range(int(steps) + 1)]
times = []
for batch in batches:
    before = time.process_time()
    train_step(batch)
    times.append(time.process_time() - before)
print(min(times[1:]), sum(p.numel() for p in model.parameters()))
"""


def seconds(name: str, task: str, data: Path) -> tuple[float, int]:
    """(CPU seconds of the fastest step, parameters) of one contender in a process of its own."""
    reference = Path(__file__).parents[1] / "reference_transformer.py"
    arguments = [sys.executable, "-c", SCRIPT, name, task, str(data), str(reference), str(STEPS)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    output = subprocess.run(arguments, capture_output=True, text=True, check=True, env=environment).stdout.split()
    return float(output[-2]), int(output[-1])


@pytest.mark.parametrize("task", GOALS)
def test_training_step_speed(task: str, tmp_path: Path) -> None:
    from mathpipe.generate.build.dataset_builder import make_dataset
    from mathpipe.generate.dataset_spec import DatasetSpec
    from mathpipe.generate.layout import Layout
    from mathpipe.generate.problem_specs.matrix_spec import MatrixSpec

    dim = 10 if task == "transpose" else 5
    spec = DatasetSpec(task=task, problems=MatrixSpec(min_dim=dim, max_dim=dim))
    make_dataset(spec, Layout({"train": 10_000}, 10_000), str(tmp_path / "data"), workers=0)
    rounds = [
        {name: seconds(name, task, tmp_path / "data") for name in ("reference", "exact", "fast")} for _ in range(TURNS)
    ]
    best = {name: min(times[name][0] for times in rounds) for name in rounds[0]}
    exact, fast = GOALS[task]
    print(  # noqa: T201
        f"\n{task}: reference {best['reference']:.2f} CPU-s a step ({rounds[0]['reference'][1] / 1e6:.1f}M parameters), "
        f"exact {best['exact']:.2f} ({best['reference'] / best['exact']:.1f} times, goal {exact}), "
        f"fast {best['fast']:.2f} ({best['reference'] / best['fast']:.1f} times, goal {fast})"
    )
