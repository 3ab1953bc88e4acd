"""Fast paths: decided by the capabilities of the device, and each equal to its plain path."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mathpipe.datasets.containers.ragged_matrices import Matrices
from mathpipe.datasets.containers.token_batches import Batch
from mathpipe.datasets.tokenizers.matrix_tokenizer import MatrixTokenizer
from mathpipe.evaluate.decode.decoding import decoding_mode, greedy
from mathpipe.train.config import ModelConfig
from mathpipe.train.model.transformer import Transformer
from mathpipe.train.optim.loss import loss_of
from mathpipe.train.runtime import fast_paths as fast_paths_module
from mathpipe.train.runtime.fast_paths import FastPaths, fast_paths, forced

pytestmark = pytest.mark.processor
ROOT = Path(__file__).parents[3]
TOKENIZER = MatrixTokenizer.named("P10")
PLAIN: list[dict[str, Any]] = [{"attention": False}, {"loss": False}, {"attention": False, "loss": False}]


def transformer() -> Transformer:
    torch.manual_seed(3)
    shape = {"encoder_width": 32, "decoder_width": 32, "encoder_heads": 2, "decoder_heads": 2, "dtype": "float32"}
    return Transformer(ModelConfig.model_validate(shape), TOKENIZER.format, TOKENIZER.format)


@pytest.fixture
def batch(write: Callable[..., Batch]) -> Batch:
    rng = np.random.default_rng(2)
    problems = [rng.normal(size=shape) * 10 for shape in ((2, 3), (1, 1), (3, 3), (2, 2))]
    return write(Matrices.from_list(problems), Matrices.from_list([a.T for a in problems]), TOKENIZER)


@pytest.mark.parametrize("decisions", PLAIN, ids=str)
def test_fast_paths_match_plain_loss_and_gradients(batch: Batch, decisions: dict[str, Any]) -> None:
    def loss_and_gradients(**decided: bool) -> tuple[float, dict[str, torch.Tensor]]:
        model = transformer()
        with forced(**decided):
            loss, _ = loss_of(model, batch)
            loss.backward()  # type: ignore[no-untyped-call]
        return loss.item(), {name: p.grad for name, p in model.named_parameters() if p.grad is not None}

    plain, plain_gradients = loss_and_gradients(**decisions)
    fast, gradients = loss_and_gradients(attention=True, loss=True)
    assert fast == pytest.approx(plain, rel=1e-5)
    assert gradients.keys() == plain_gradients.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, plain_gradients[name], rtol=1e-3, atol=1e-5, msg=name)


def test_packed_decoding_matches_plain_decoding(batch: Batch) -> None:
    decoded = []
    for packed in (False, True):
        model = transformer()
        with forced(packed=packed), decoding_mode(model):
            assert ("logits" in model.__dict__) == packed
            decoded.append(greedy(model, batch.source, 40))
    assert np.array_equal(decoded[0].tokens, decoded[1].tokens)
    np.testing.assert_allclose(decoded[0].log_probability, decoded[1].log_probability, rtol=1e-4)


def test_forced_decisions_are_restored() -> None:
    before = fast_paths("cpu")
    with forced(attention=not before.attention), forced(muon=torch.float64):
        inside = fast_paths("cpu")
        assert (inside.attention, inside.muon, inside.loss) == (not before.attention, torch.float64, before.loss)
    assert fast_paths("cpu") == before
    with pytest.raises(ValueError, match="no such decision: speed"), forced(speed=True):
        pass


def test_log_line() -> None:
    switches = {"packed": False, "attention": True, "inference": False, "loss": True, "multi_tensor": False}
    switches |= {"allocator": True}
    paths = FastPaths("cpu", torch.float32, torch.bfloat16, **switches, reason="AVX2")
    line = (
        "cpu (AVX2): products float32, muon bfloat16, packed plain, attention fast, inference plain, loss fast, "
        "multi_tensor plain, allocator fast"
    )
    assert str(paths) == line


@pytest.mark.parametrize(
    ("capabilities", "limit", "expected"),
    [
        ((), "ALL", (torch.float32, False)),
        (("avx2", "avx512_f"), "ALL", (torch.float32, False)),
        (("avx512_bf16",), "ALL", (torch.bfloat16, True)),
        (("avx512_bf16", "amx_tile", "amx_bf16"), "ALL", (torch.bfloat16, False)),
        (("avx512_bf16", "amx_tile", "amx_bf16"), "AVX2", (torch.float32, False)),
        (("avx512_bf16",), "AVX512_CORE_BF16", (torch.bfloat16, True)),
        (("avx512_bf16", "amx_tile", "amx_bf16"), "AVX512_CORE_BF16", (torch.bfloat16, True)),
        (("avx512_bf16", "amx_tile", "amx_bf16"), "AVX512_CORE_AMX", (torch.bfloat16, False)),
        (("bf16", "sve"), "ALL", (torch.bfloat16, False)),
    ],
)
def test_decisions_follow_the_instructions(
    monkeypatch: pytest.MonkeyPatch, capabilities: tuple[str, ...], limit: str, expected: tuple[torch.dtype, bool]
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: dict.fromkeys(capabilities, True) | {"amx_fp16": False})
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", limit)
    paths = fast_paths_module._decide.__wrapped__("cpu")
    assert (paths.products, paths.inference) == expected and paths.muon == paths.products


def private_torch_names(file: Path) -> set[str]:
    """Private attributes of torch, and operators called through ``torch.ops``, that a file uses."""
    dotted = {ast.unparse(node) for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Attribute)}
    return {name for name in dotted if re.match(r"torch\.(ops\b|(\w+\.)*_[a-z])", name)}


def test_private_operators_are_confined_to_runtime() -> None:
    runtime = ROOT / "train" / "runtime"
    files = [file for stage in ("train", "evaluate", "datasets", "pipeline") for file in (ROOT / stage).rglob("*.py")]
    outside = {file.relative_to(ROOT).as_posix(): private_torch_names(file) for file in files if file.parent != runtime}
    assert {file: names for file, names in outside.items() if names} == {}
    assert private_torch_names(runtime / "chunked_attention.py")


AVX2 = {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"}


@pytest.mark.skipif(torch.backends.cpu.get_cpu_capability() == "DEFAULT", reason="not an x86 processor with AVX2")
def test_avx2_limit_disables_bfloat16() -> None:
    """The decisions follow the instruction-set limits of torch and oneDNN."""
    script = """
import torch
from mathpipe.train.runtime.fast_paths import fast_paths
print(fast_paths("cpu"), torch.backends.cpu.get_cpu_capability(), flush=True)
with torch.backends.mkldnn.verbose(torch.backends.mkldnn.VERBOSE_ON):
    torch.ops.mkldnn._reorder_linear_weight(torch.ones(64, 64), 64)
"""
    environment = {**os.environ, **AVX2}
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=environment)
    assert "products float32, muon float32, packed plain" in run.stdout
    assert " AVX2\n" in run.stdout
    assert "isa:Intel AVX2\n" in run.stdout
