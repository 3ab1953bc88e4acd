"""One training step: the gradient of the loss of a global batch, clipping, and the optimiser's update.

The loss is the cross-entropy summed over all target tokens of the global batch, END included, divided by their number. It does not
depend on how the batch is split into parts and over processes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from mathpipe.datasets.containers.token_batches import Batch
from mathpipe.datasets.errors import UserError
from mathpipe.train.config import TrainConfig
from mathpipe.train.model.interface import Model
from mathpipe.train.model.joint_vocabulary import token_weights
from mathpipe.train.optim.loss import LossModule, count_target_tokens, split_batch
from mathpipe.train.optim.optimisers import build_optimiser, learning_rate
from mathpipe.train.runtime.cuda_graphs import CapturedStep, CudaGraphs
from mathpipe.train.runtime.distributed import Distributed

RANK_SEED = 1_000_003  # distance between the dropout seeds of two processes


class TrainStep:
    """Steps of a model; ``loss_sums``: loss and number of target tokens since the last logged value, of this process."""

    def __init__(
        self, model: Model, config: TrainConfig, vocabulary: Sequence[str], dummy: Batch, distributed: Distributed
    ) -> None:
        self.model, self.config, self.dummy, self.distributed = model, config, dummy, distributed
        single_cpu_process = distributed.size == 1 and distributed.device == "cpu"
        sparse = model.sparse_embeddings() if single_cpu_process else ()
        self.optimiser = build_optimiser(model, config, sparse, capturable=config.cuda_graphs)
        weights = token_weights(vocabulary, len(model.output_layer()[1]), config)
        self.loss_module: nn.Module = LossModule(model, weights, config.compile).to(distributed.device)
        if distributed.size > 1:
            self.loss_module = DistributedDataParallel(self.loss_module)
            torch.manual_seed(config.seed + RANK_SEED * distributed.rank)  # each process samples its own dropout
        self.cuda_graphs = build_cuda_graphs(self.loss_module, config, distributed)
        captured = self.cuda_graphs is not None and self.optimiser.capturable
        self.update: Callable[[], None] = CapturedStep(self._clip_and_update) if captured else self._clip_and_update
        self.loss_module.train()  # transformers returns pretrained models in evaluation mode
        self.loss_sums = torch.zeros(2, dtype=torch.float64, device=distributed.device)

    def __call__(self, batch: Batch, step: int) -> None:
        """Take step 1..steps with this process's share of a global batch."""
        self.optimiser.set_learning_rate(learning_rate(step, self.config))
        local_tokens = count_target_tokens(self.model, batch)
        tokens = self.distributed.all_reduce(local_tokens.clone())
        self.optimiser.zero_grad(set_to_none=self.cuda_graphs is None)
        processes = self.distributed.size
        parts = split_batch(batch, self.config.accumulate, self.dummy)
        for i, part in enumerate(parts):
            # DistributedDataParallel averages over processes; times their number, that is a sum
            loss = self._backward(part, processes / tokens, synchronise=i == len(parts) - 1)
            self.loss_sums[0] += loss * tokens / processes  # on the device, without synchronisation
        self.loss_sums[1] += local_tokens
        self.update()

    def _backward(self, part: Batch, scale: Tensor, synchronise: bool) -> Tensor:
        """The scaled loss of a part; adds its gradient, averaged over processes at the last part only."""
        if self.cuda_graphs is not None:
            return self.cuda_graphs.backward(part, scale)
        accumulates = isinstance(self.loss_module, DistributedDataParallel) and not synchronise
        with self.loss_module.no_sync() if accumulates else contextlib.nullcontext():  # type: ignore[operator]
            loss: Tensor = self.loss_module(part, scale)
            loss.backward()  # type: ignore[no-untyped-call]
            return loss.detach()

    def _clip_and_update(self) -> None:
        if self.config.clip is not None:
            self.optimiser.clip(self.config.clip)
        self.optimiser.step()

    def total_loss(self, step: int) -> tuple[float, float]:
        """(loss, target tokens) since the last logged value, of all processes; UserError if the loss is not finite."""
        sums = self.distributed.all_reduce(self.loss_sums.clone())
        if not bool(sums.isfinite().all()):
            raise UserError(
                f"training diverged before step {step}: the loss is not finite",
                cause="the learning rate is too high for this model",
                next_step="lower lr or clip, or increase warmup",
            )
        return float(sums[0]), float(sums[1])

    def pop_mean_loss(self, step: int) -> float:
        """The mean loss per target token since the last call."""
        loss, tokens = self.total_loss(step)
        self.loss_sums.zero_()
        return loss / tokens


def build_cuda_graphs(loss_module: nn.Module, config: TrainConfig, distributed: Distributed) -> CudaGraphs | None:
    """CUDA graphs, if configured; UserError without CUDA or with several processes."""
    if not config.cuda_graphs:
        return None
    if distributed.size > 1 or not distributed.device.startswith("cuda"):
        raise UserError(
            "train.cuda_graphs needs one process on CUDA",
            got=f"{distributed.size} processes on {distributed.device.split(':')[0]}",
            next_step="leave train.cuda_graphs out",
        )
    return CudaGraphs(loss_module)
