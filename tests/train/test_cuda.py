"""On CUDA: agreement with the CPU, resume, runs that move between devices, CUDA graphs."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from mathpipe.datasets.containers.ragged_matrices import Matrices
from mathpipe.datasets.containers.token_batches import Batch
from mathpipe.datasets.dataset import open_dataset
from mathpipe.datasets.tokenizers.matrix_tokenizer import MatrixTokenizer
from mathpipe.datasets.tokenizers.tokenizer import PAD
from mathpipe.evaluate.decode.beam_search import beam_search
from mathpipe.evaluate.decode.decoding import decoding_mode, greedy, sample
from mathpipe.evaluate.decode.grammar import MatrixGrammar
from mathpipe.evaluate.decode.hypotheses import Decoding, Hypotheses
from mathpipe.evaluate.quick_accuracy import quick_accuracy
from mathpipe.evaluate.run import evaluate_run
from mathpipe.generate.build.dataset_builder import make_dataset
from mathpipe.generate.dataset_spec import DatasetSpec
from mathpipe.generate.layout import Layout
from mathpipe.generate.problem_specs.sequence_spec import BitSpec
from mathpipe.train import trainer
from mathpipe.train.config import ModelConfig, TrainConfig
from mathpipe.train.model.transformer import Transformer
from mathpipe.train.optim.loss import loss_of
from mathpipe.train.run.checkpoint import load_model
from mathpipe.train.run.metrics_log import read_metrics_log
from mathpipe.train.runtime.distributed import Distributed

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")

Tiny = Callable[..., TrainConfig]
SHAPES: dict[str, dict[str, Any]] = {
    "default": {},
    "published": {
        "norm": "post",
        "positions": "learned",
        "cross_query": "input",
        "init": "published",
        "framed_source": True,
        "zeroed_padding": True,
    },
    "rotary": {"rotary": True, "positions": "none", "norm_kind": "rms", "activation": "swiglu"},
    "numbers": {"input_unit": "number"},
    "wide encoder": {"encoder_width": 48, "encoder_layers": 3, "positions": "sinusoidal"},
}
TOKENIZER = MatrixTokenizer.named("P1000")


@pytest.fixture(autouse=True)
def restore_determinism() -> Iterator[None]:
    yield
    torch.use_deterministic_algorithms(False)


def model(**shape: Any) -> Transformer:
    torch.manual_seed(1)
    small = {"encoder_width": 32, "decoder_width": 32, "encoder_heads": 2, "decoder_heads": 2, "max_positions": 80}
    config = ModelConfig.model_validate({**small, "dtype": "float32", **shape})
    return Transformer(config, TOKENIZER.format, TOKENIZER.format)


@pytest.fixture
def problems(write: Callable[..., Batch]) -> Callable[..., Batch]:
    """Matrices of these shapes and their transposes, written."""

    def build(*shapes: tuple[int, int]) -> Batch:
        rng = np.random.default_rng(5)
        matrices = [rng.normal(size=shape) * 10 for shape in shapes]
        return write(Matrices.from_list(matrices), Matrices.from_list([a.T for a in matrices]), TOKENIZER)

    return build


@pytest.fixture
def ragged(problems: Callable[..., Batch]) -> Batch:
    return problems((2, 3), (1, 1), (3, 3), (3, 1), (2, 2))


def moved(batch: Batch, device: str) -> Batch:
    return Batch(*(getattr(batch, f.name).to(device) for f in fields(batch)))


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
def test_loss_and_gradients_match_cpu(ragged: Batch, shape: dict[str, Any]) -> None:
    def loss_and_gradients(device: str) -> tuple[float, dict[str, Tensor]]:
        model_ = model(**shape).to(device).train()
        loss, token_count = loss_of(model_, moved(ragged, device))
        loss.backward()
        assert int(token_count) == int((ragged.target != PAD).sum())
        return loss.item(), {name: w.grad.cpu() for name, w in model_.named_parameters() if w.grad is not None}

    (cpu_loss, cpu_gradients), (cuda_loss, cuda_gradients) = (loss_and_gradients(device) for device in ("cpu", "cuda"))
    assert cuda_loss == pytest.approx(cpu_loss, rel=1e-5)
    assert cpu_gradients.keys() == cuda_gradients.keys()
    for name, gradient in cpu_gradients.items():
        torch.testing.assert_close(cuda_gradients[name], gradient, rtol=1e-3, atol=1e-4, msg=name)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
@pytest.mark.parametrize("decoding", [Decoding(), Decoding(beam=4), Decoding(temperature=0.7, samples=3)], ids=str)
@pytest.mark.parametrize("constrained", [False, True], ids=["free", "constrained"])
def test_decoding_matches_cpu(ragged: Batch, shape: dict[str, Any], decoding: Decoding, constrained: bool) -> None:
    model_ = model(**shape)
    with torch.no_grad():
        model_.output_bias[PAD] = -100

    def decoded(device: str) -> Hypotheses:
        def grammar() -> MatrixGrammar | None:
            sizes = np.array([[3, 2], [1, 1], [3, 3], [1, 3], [2, 2]])
            return MatrixGrammar(TOKENIZER, sizes[:, 0], sizes[:, 1], device=device) if constrained else None

        source = ragged.source.to(device)
        with decoding_mode(model_.to(device)):
            if decoding.temperature:
                return sample(model_, source, 32, np.arange(5), decoding, grammar)
            if decoding.beam > 1:
                return beam_search(model_, source, 32, decoding, grammar())
            return greedy(model_, source, 32, grammar())

    on_cpu, on_cuda = decoded("cpu"), decoded("cuda")
    assert on_cuda.tokens.tolist() == on_cpu.tokens.tolist()
    assert (on_cuda.problem.tolist(), on_cuda.rank.tolist()) == (on_cpu.problem.tolist(), on_cpu.rank.tolist())
    np.testing.assert_allclose(on_cuda.log_probability, on_cpu.log_probability, rtol=1e-4)


def test_beam_one_matches_greedy_in_bfloat16(problems: Callable[..., Batch]) -> None:
    model_ = model(dtype="bfloat16").cuda()
    source = problems(*[(3, 3)] * 200).source.cuda()
    with decoding_mode(model_):
        one, beam = greedy(model_, source, 32), beam_search(model_, source, 32, Decoding(beam=1))
    assert one.tokens.tolist() == beam.tokens.tolist()


def train_quietly(config: TrainConfig, data: Any, where: Path, **more: Any) -> Any:
    return trainer.train(config, data, data, where, dvclive=False, **more)


def losses(where: Path) -> list[float]:
    return [p["train_loss"] for p in read_metrics_log(where / "curves.jsonl") if "train_loss" in p]


def stopping(step: int) -> Callable[[Any], dict[str, float]]:
    left = [step]

    def evaluate(model_: Any) -> dict[str, float]:
        assert model_.device.type == "cuda"
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGTERM)
        return {"accuracy": 0.5}

    return evaluate


@pytest.mark.parametrize("optimiser", ["adam", "muon", "adamw"])
def test_resumed_run_has_identical_weights(tiny: Tiny, data: Any, tmp_path: Path, optimiser: str) -> None:
    small = tiny().model.model_copy(update={"dropout": 0.1, "dtype": "bfloat16"})
    config = tiny(steps=12, eval_every=5, optimiser=optimiser, deterministic=True, accumulate=2, model=small)
    train_quietly(config, data, tmp_path / "whole", evaluate=stopping(-1))
    assert train_quietly(config, data, tmp_path / "parts", evaluate=stopping(1)).outcome == "interrupted"
    assert train_quietly(config, data, tmp_path / "parts", evaluate=stopping(-1)).outcome == "finished"
    uninterrupted, resumed = (load_model(tmp_path / name)[0].state_dict() for name in ("whole", "parts"))
    assert all(torch.equal(resumed[name], w) for name, w in uninterrupted.items())
    assert losses(tmp_path / "parts") == losses(tmp_path / "whole")


@pytest.mark.parametrize("optimiser", ["adam", "muon"])
@pytest.mark.parametrize("first", ["cpu", "cuda"])
def test_run_resumes_on_other_device(
    tiny: Tiny, data: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, optimiser: str, first: str
) -> None:
    config = tiny(steps=12, log_every=1, eval_every=5, optimiser=optimiser)

    def on(device: str, where: Path, stop: int = -1) -> None:
        left = [stop]

        def evaluate(model_: Any) -> dict[str, float]:
            assert model_.device.type == device
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGTERM)
            return {"accuracy": 0.5}

        with monkeypatch.context() as patch:
            patch.setattr(torch.cuda, "is_available", lambda: device == "cuda")
            train_quietly(config, data, where, evaluate=evaluate)

    on("cpu", tmp_path / "there")
    on(first, tmp_path / "moved", stop=1)
    on("cuda" if first == "cpu" else "cpu", tmp_path / "moved")
    assert losses(tmp_path / "moved") == pytest.approx(losses(tmp_path / "there"), rel=2e-3)
    assert load_model(tmp_path / "moved", "cpu")[1].step == 12


@pytest.mark.filterwarnings("ignore")  # the compiler's own
def test_compiled_layers_match_eager_losses(tiny: Tiny, data: Any, tmp_path: Path) -> None:
    for compiled in (False, True):
        train_quietly(tiny(steps=8, log_every=1, compile=compiled), data, tmp_path / str(compiled))
    assert losses(tmp_path / "True") == pytest.approx(losses(tmp_path / "False"), rel=1e-3)
    assert load_model(tmp_path / "True", "cuda")[1].step == 8


@pytest.mark.parametrize("optimiser", ["adam", "muon"])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_cuda_graphs_match_eager_weights(
    tiny: Tiny, addition: Path, tmp_path: Path, optimiser: str, accumulate: int
) -> None:
    """Identical weights, dropout included, also after a resume."""
    splits = [open_dataset(addition, split, "P10", "P10") for split in ("train", "valid")]
    shape = tiny().model.model_copy(update={"dropout": 0.1, "dtype": "bfloat16"})
    common = {"deterministic": True, "model": shape, "optimiser": optimiser, "accumulate": accumulate, "log_every": 1}

    def run(where: str, cuda_graphs: bool, stop: int = -1) -> None:
        config = tiny(steps=24, batch=16, eval_every=10, cuda_graphs=cuda_graphs, **common)
        trainer.train(config, *splits, tmp_path / where, evaluate=stopping(stop), dvclive=False)

    run("eager", False)
    run("captured", True)
    run("stopped", True, stop=1)
    run("stopped", True)
    eager, *others = (load_model(tmp_path / w)[0].state_dict() for w in ("eager", "captured", "stopped"))
    assert losses(tmp_path / "captured") == pytest.approx(losses(tmp_path / "eager"), rel=1e-4)
    for other in others:
        for name, w in eager.items():
            assert torch.equal(other[name], w), name


def test_cuda_graphs_handle_varying_shapes(tiny: Tiny, data: Any, tmp_path: Path) -> None:
    for cuda_graphs in (False, True):
        train_quietly(tiny(steps=60, log_every=1, cuda_graphs=cuda_graphs), data, tmp_path / str(cuda_graphs))
    assert losses(tmp_path / "True") == pytest.approx(losses(tmp_path / "False"), rel=1e-3)


def test_train_and_evaluate_stored_dataset(tiny: Tiny, addition: Path, tmp_path: Path) -> None:
    config = tiny(
        steps=30, batch=64, eval_every=30, model=ModelConfig(encoder_width=64, decoder_width=64, dtype="float32")
    )
    train, valid, test = (open_dataset(addition, split, "P10", "P10") for split in ("train", "valid", "test"))

    def evaluate(model_: Any) -> dict[str, float]:
        return quick_accuracy(model_, test, 100)

    trainer.train(config, train, valid, tmp_path / "run", evaluate=evaluate, dvclive=False)
    curve = losses(tmp_path / "run")
    assert curve[-1] < 0.8 * curve[0]
    for decoding in (Decoding(), Decoding(beam=3, constrained=True)):
        on_cuda = evaluate_run(
            tmp_path / "run", limit=60, decoding=decoding, out_dir=tmp_path / f"cuda-{decoding.beam}"
        )
        on_cpu = evaluate_run(
            tmp_path / "run", limit=60, decoding=decoding, device="cpu", out_dir=tmp_path / f"cpu-{decoding.beam}"
        )
        assert on_cuda.metrics["n"] == 60
        assert on_cuda.metrics["accuracy"] == on_cpu.metrics["accuracy"]
        assert on_cuda.metrics["outcomes"] == on_cpu.metrics["outcomes"]


def test_random_backbones_learn(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    spec = DatasetSpec(task="xor", problems=BitSpec(bits=4, sampling="passes"), chunk_rows=400)
    url = tmp_path / "xor"
    make_dataset(spec, Layout({"train": 2_000, "valid": 10, "test": 10}, 10_000), str(url), workers=0)
    for readout in ("last", "autoregressive"):
        small = {"pretrained": False, "layers": 2, "width": 32, "heads": 2, "positions": 64, "readout": readout}
        values = {
            "backbone": small,
            "batch": 16,
            "steps": 60,
            "warmup": 0,
            "lr": 3e-3,
            "eval_every": 60,
            "log_every": 5,
        }
        config = TrainConfig.model_validate(values | {"valid_examples": 10, "checkpoint_every": 30})
        splits = (open_dataset(url, split) for split in ("train", "valid"))
        trainer.train(config, *splits, tmp_path / readout, dvclive=False)
        curve = losses(tmp_path / readout)
        assert curve[-1] < curve[0]
        evaluation = evaluate_run(tmp_path / readout)
        assert evaluation.metrics["n"] == 10


def test_single_process_uses_cuda() -> None:
    with trainer.initialised() as distributed:
        assert distributed == Distributed(0, 1, "cuda")
