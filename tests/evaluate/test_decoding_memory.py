"""The default batch of decoding fits into half of the memory, and the estimate of a hypothesis is not too small."""

from __future__ import annotations

import subprocess
import sys

import pytest

from mathpipe.evaluate.dataset_decoding import batch_that_fits

GB = 10**9


@pytest.mark.parametrize(
    ("bytes_each", "memory", "on_gpu", "batch"),
    [
        pytest.param(10**6, 64 * GB, False, 512, id="much memory on a CPU"),
        pytest.param(10**6, 64 * GB, True, 2_048, id="much memory on a GPU"),
        pytest.param(8 * 10**6, 2 * GB, False, 125, id="container of 2 GB"),
        pytest.param(GB, GB, False, 1, id="one does not fit"),
        pytest.param(GB, 0, False, 1, id="no memory"),
    ],
)
def test_batch_that_fits(bytes_each: int, memory: int, on_gpu: bool, batch: int) -> None:
    assert batch_that_fits(bytes_each, memory, on_gpu) == batch


# decodes 64 hypotheses with an untrained model, and prints the estimate and by how much memory grew, in MB
_DECODE = """
import torch
from mathpipe.datasets.tokenizers.tokenizer import TokenizedFormat
from mathpipe.evaluate.dataset_decoding import hypothesis_bytes
from mathpipe.evaluate.decode.decoding import decoding_mode, greedy
from mathpipe.train.config import ModelConfig
from mathpipe.train.model.transformer import Transformer

def peak():  # ru_maxrss would start from that of the parent process
    status = dict(line.split(":", 1) for line in open("/proc/self/status"))
    return int(status["VmHWM"].split()[0]) / 1000

torch.set_num_threads(1)
sizes = dict(encoder_layers={layers}, decoder_layers={layers}, encoder_width=256, decoder_width=256)
config = ModelConfig(**sizes, encoder_heads=8, decoder_heads=8, positions="learned", dtype="float32")
model, source = Transformer(config, TokenizedFormat(1200), TokenizedFormat(1200)), torch.randint(2, 1200, (64, 200))
model.output_bias.data[0] = -100.0  # no sequence ends early
with decoding_mode(model):
    greedy(model, source[:2], 3)
    before = peak()
    greedy(model, source, {length})
print(hypothesis_bytes(model, 200, {length}) * 64 / 1e6, peak() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize(("layers", "length"), [(2, 20), (6, 60)])
def test_estimate_covers_what_decoding_takes(layers: int, length: int) -> None:
    """Within a factor of two below, since half of the memory is used, and not so large that batches become needlessly small."""
    command = [sys.executable, "-c", _DECODE.format(layers=layers, length=length)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    estimate, measured = map(float, output.split())
    assert measured / 2 < estimate < 8 * measured, output
