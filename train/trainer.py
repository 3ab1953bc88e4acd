"""Training, as a story: claim the directory, go on from its checkpoint, take steps, look, save, say how it went.

Loss: the cross-entropy of every target word, END included, summed over the global batch and divided by the number of its words,
whatever the parts it is computed in and the processes that share it. A run that is killed at any moment and started again ends
with the same weights, bit for bit, as one that was not (same machine, library versions, threads and processes, not compiled; on
CUDA with ``deterministic``).
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from threading import Event
from typing import Any, Literal

import numpy as np
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from mathpipe.datasets.containers.token_batches import Batch
from mathpipe.datasets.errors import UserError
from mathpipe.datasets.io.atomic_files import write_json
from mathpipe.train.config import TrainConfig
from mathpipe.train.data import TrainingData
from mathpipe.train.model.interface import Model
from mathpipe.train.model.joint_vocabulary import word_weights
from mathpipe.train.optim.loss import Losing, loss_of, parts_of, right_words, saying_nothing, words_to_say
from mathpipe.train.optim.optimisers import build_optimiser, learning_rate
from mathpipe.train.run.checkpoint import (
    BEST,
    CHECKPOINT,
    CURVES,
    KEPT,
    PICTURE,
    SUMMARY,
    RunRecord,
    build_model,
    save_checkpoint,
    tokenizers,
)
from mathpipe.train.run.init_from import take_weights
from mathpipe.train.run.metrics_log import Curves, read_curves
from mathpipe.train.run.plot import draw_curves
from mathpipe.train.run.run_directory import OnMismatch, claimed, last_checkpoint
from mathpipe.train.run.session import Clock, interruption
from mathpipe.train.runtime.allocator import keep_freed_memory
from mathpipe.train.runtime.cuda_graphs import CapturedStep, Graphs
from mathpipe.train.runtime.distributed import Ranks, joined
from mathpipe.train.training_progress import NoProgress, TrainingProgress

Metrics = dict[str, float]
Evaluate = Callable[[Model], Metrics]
Outcome = Literal["finished", "target reached", "no longer better", "interrupted"]


@dataclass(frozen=True)
class TrainResult:
    """How a call of ``train`` ended. ``steps_taken`` is 0 when the run had been finished before."""

    run_dir: Path
    step: int
    steps_taken: int
    outcome: Outcome
    metrics: Metrics
    seconds: float  # of all sittings together
    rank: int = 0  # of the process that says so; rank 0 speaks for all


def train(
    config: TrainConfig,
    data: TrainingData,
    valid: TrainingData | None,
    run_dir: str | Path,
    *,
    evaluate: Evaluate | None = None,
    on_mismatch: OnMismatch = "error",
    progress: TrainingProgress | None = None,
    dvclive: bool = True,
) -> TrainResult:
    """Train until ``config.steps``, a target or an interruption; go on where the run in ``run_dir`` stopped.

    ``data``, ``valid``: splits opened with the configuration's encodings. ``evaluate`` measures the model every ``eval_every``
    steps (greedy accuracy, say); its metrics stand beside the validation loss and may end the run (``stop_metric``). A finished
    run is not trained again; one of another configuration or dataset is an error, or moved aside (``on_mismatch="restart"``).
    ``progress`` is told of every step, on rank zero.
    Where ``torchrun`` started several processes, all call this alike and share the work.
    """
    run_dir = Path(run_dir)
    prepare(config)
    record = record_of(config, data)
    with joined() as ranks, claimed_by_the_first(run_dir, record, on_mismatch, ranks):
        run = Run(record, run_dir, data, valid, evaluate, ranks)
        run.begin(ranks.by_the_first(lambda: last_checkpoint(run_dir)))  # in no variable: it would stay in memory
        with contextlib.ExitStack() as stack:
            interrupted = stack.enter_context(interruption())
            curves = None
            if ranks.first:
                live = run_dir / "dvclive" if dvclive else None
                board = run_dir / "tensorboard" if config.tensorboard else None
                curves = stack.enter_context(Curves(run_dir / CURVES, run.state.step, live, board))
            return run.to_the_end(curves, interrupted, progress)


@contextlib.contextmanager
def claimed_by_the_first(run_dir: Path, record: RunRecord, on_mismatch: OnMismatch, ranks: Ranks) -> Iterator[None]:
    """As ``claimed``, by rank 0 for all."""
    with contextlib.ExitStack() as stack:
        ranks.by_the_first(lambda: stack.enter_context(claimed(run_dir, record, on_mismatch)))
        yield


@dataclass
class State:
    """What a run knows besides its weights; all of it is saved."""

    step: int = 0
    outcome: str | None = None  # of a run that is over
    seconds: float = 0.0
    metrics: Metrics = field(default_factory=dict)  # the last measured
    best: float | None = None  # of ``best_metric``
    best_step: int = 0
    worse: int = 0  # measurements in a row that were not better
    started_from: str | None = None  # what the run of the first weights was


class Run:
    """Everything that moves while a run trains: model, optimiser, place in the data, state."""

    def __init__(
        self,
        record: RunRecord,
        run_dir: Path,
        data: TrainingData,
        valid: TrainingData | None,
        evaluate: Evaluate | None,
        ranks: Ranks,
    ) -> None:
        self.config, self.record, self.run_dir, self.ranks = record.config, record, run_dir, ranks
        self.device, self.valid, self.evaluate = ranks.device, valid, evaluate
        torch.manual_seed(self.config.seed)
        self.model = build_model(record).to(self.device)
        for rows in data.chunks(1000, stop=1000):
            self.model.check(rows)
            self.stand_in = saying_nothing(data.batch(rows.take(np.arange(1)), self.device))
        alone_on_cpu = ranks.size == 1 and self.device == "cpu"
        sparse = self.model.tables_of_few_rows() if alone_on_cpu else ()
        self.optimiser = build_optimiser(self.model, self.config, sparse, capturable=self.config.graphs)
        weights = word_weights(tokenizers(record)[1].vocabulary, len(self.model.output()[1]), self.config)
        self.losing: nn.Module = Losing(self.model, weights, self.config.compile).to(self.device)
        if ranks.size > 1:
            self.losing = DistributedDataParallel(self.losing)
            torch.manual_seed(self.config.seed + 1_000_003 * ranks.rank)  # each draws its own dropout
        self.graphs = graphs_of(self.losing, self.config, ranks)
        captured = self.graphs is not None and self.optimiser.capturable
        self.update: Callable[[], None] = CapturedStep(self.clip_and_step) if captured else self.clip_and_step
        self.losing.train()  # a pretrained body comes as it is used
        size, seed = self.config.batch, self.config.seed
        self.batches = data.batches(size, seed=seed, device=self.device, rank=ranks.rank, ranks=ranks.size)
        self.state = State()
        self.sums = torch.zeros(
            2, dtype=torch.float64, device=self.device
        )  # loss, words since its last point on the curve

    def to_the_end(self, curves: Curves | None, interrupted: Event, progress: TrainingProgress | None) -> TrainResult:
        """The loop: learn, look, save, until a reason to stop."""
        config, state, first = self.config, self.state, self.state.step
        clock = Clock(state.seconds)
        progress = progress if progress and self.ranks.first else NoProgress()
        progress.start(first, config.steps, config.batch)
        stopping = self.ranks.any(interrupted.is_set())
        try:
            while state.outcome is None and not stopping:
                state.step += 1
                self.learn(next(self.batches))
                point: Metrics = {}
                if state.step % config.log_every == 0 or state.step == config.steps:
                    point |= self.training_loss(clock)
                if state.step % config.eval_every == 0 or state.step == config.steps:
                    point |= self.measure()
                if point and curves is not None:
                    curves.add(state.step, point)
                progress.step(point)
                state.outcome, state.seconds = self.reason_to_stop(), clock.now()
                stopping = self.agreed(interrupted)
                kept = config.keep_every is not None and state.step % config.keep_every == 0
                if state.outcome or stopping or kept or state.step % config.checkpoint_every == 0:
                    self.save(curves, kept)
        finally:
            progress.close()
            self.batches.close()
        if self.ranks.first:
            if state.outcome:
                more = {"examples": state.step * config.batch, "label": config.label}
                write_json(self.run_dir / SUMMARY, asdict(state) | more)
            draw_curves(read_curves(self.run_dir / CURVES), self.run_dir / PICTURE, config.label or self.run_dir.name)
        outcome: Any = state.outcome or "interrupted"
        taken = state.step - first
        return TrainResult(self.run_dir, state.step, taken, outcome, state.metrics, state.seconds, self.ranks.rank)

    def agreed(self, interrupted: Event) -> bool:
        """Whether some process was asked to stop; asked at every step on a CPU, on CUDA every 10th, since asking waits for it."""
        if self.ranks.size > 1 and self.device != "cpu" and self.state.step % 10:
            return False
        return self.ranks.any(interrupted.is_set())

    def learn(self, batch: Batch) -> None:
        """One step down the gradient of the global batch."""
        self.optimiser.set_learning_rate(learning_rate(self.state.step, self.config))
        own = words_to_say(self.model, batch)
        words = self.ranks.add(own.clone())
        self.optimiser.zero_grad(forget=self.graphs is None)
        parts = parts_of(batch, self.config.accumulate, self.stand_in)
        for i, part in enumerate(parts):
            last = i == len(parts) - 1
            alone = contextlib.nullcontext() if last or self.ranks.size == 1 else self.losing.no_sync()  # type: ignore[operator]
            scale = self.ranks.size / words  # processes' gradients are averaged: times their number, that is a sum
            with alone:
                if self.graphs is not None:
                    loss = self.graphs.backward(part, scale)
                else:
                    loss = self.losing(part, scale)
                    loss.backward()
            self.sums[0] += loss.detach() * words / self.ranks.size  # on the device: nobody waits for it here
        self.sums[1] += own
        self.update()

    def clip_and_step(self) -> None:
        """Move the weights by their gradients, clipped where so configured."""
        if self.config.clip is not None:
            self.optimiser.clip(self.config.clip)
        self.optimiser.step()

    def training_loss(self, clock: Clock) -> Metrics:
        """The mean loss of a target word since the last point, the learning rate and the time."""
        loss, words = self.check_finite()
        self.sums.zero_()
        return {"train_loss": loss / words, "lr": learning_rate(self.state.step, self.config), "seconds": clock.now()}

    def check_finite(self) -> tuple[float, float]:
        """(loss, words) since the last point, of all processes; UserError when that is no number: it is not shown or saved."""
        sums = self.ranks.add(self.sums.clone())
        if not bool(sums.isfinite().all()):
            raise UserError(
                f"training diverged before step {self.state.step}: the loss is no finite number",
                cause="a learning rate too high for this model",
                next_step="lower lr or clip, or lengthen warmup",
            )
        return float(sums[0]), float(sums[1])

    @torch.no_grad()
    def measure(self) -> Metrics:
        """Validation loss and whatever ``evaluate`` measures, by rank 0; training's generators are left as they were."""
        found: Metrics = {}
        if self.ranks.first:
            self.model.eval()
            with torch.random.fork_rng(devices=[] if self.device == "cpu" else [self.device]):
                if self.valid is not None and self.config.valid_examples:
                    found |= self.validation(self.valid)
                if self.evaluate is not None:
                    found |= {name: float(value) for name, value in self.evaluate(self.model).items()}
            self.model.train()
        self.state.metrics = self.ranks.told(found)
        self.compare()
        return self.state.metrics

    def compare(self) -> None:
        """Whether what was measured is the best so far, whose weights are kept."""
        state, name = self.state, self.config.best_metric
        if name is None:
            return
        value = self.measured(name, "best_metric")
        better = state.best is None or (value < state.best if name.endswith("loss") else value > state.best)
        state.worse = 0 if better else state.worse + 1
        if better:
            state.best, state.best_step = value, state.step
            if self.ranks.first:
                record = replace(self.record, step=state.step).to_dict()
                weights = {"record": record, "metrics": state.metrics, "model": self.model.state_dict()}
                save_checkpoint(self.run_dir / BEST, weights)

    def measured(self, name: str, setting: str) -> float:
        if name not in self.state.metrics:
            raise UserError(
                f"{setting} {name!r} is not measured",
                expected=f"one of {', '.join(self.state.metrics) or 'none'}",
                got=name,
            )
        return self.state.metrics[name]

    def validation(self, valid: TrainingData) -> Metrics:
        """The mean loss of a target word over the first ``valid_examples`` problems of the split.

        Of a pretrained body also ``valid_token_accuracy``: the share of target words it would have said, given those before each.
        """
        total, words, right, said = 0.0, 0, 0, 0
        for rows in valid.chunks(size=max(self.config.batch, 64), stop=self.config.valid_examples):
            loss, count = loss_of(self.model, valid.batch(rows, self.device))
            total, words = total + float(loss), words + int(count)
            if self.config.body is not None:
                hits, places = right_words(self.model, valid.batch(rows, self.device))
                right, said = right + int(hits), said + int(places)
        return {"valid_loss": total / words} | ({"valid_token_accuracy": right / said} if said else {})

    def reason_to_stop(self) -> Outcome | None:
        """Why the run is over, or None."""
        config, state = self.config, self.state
        measured = state.step % config.eval_every == 0 or state.step == config.steps
        if measured and config.stop_metric is not None and config.stop_at is not None:
            value, falls = self.measured(config.stop_metric, "stop_metric"), config.stop_metric.endswith("loss")
            if value <= config.stop_at if falls else value >= config.stop_at:
                return "target reached"
        if state.step == config.steps:
            return "finished"
        return "no longer better" if config.patience is not None and state.worse >= config.patience else None

    def save(self, curves: Curves | None, kept: bool = False) -> None:
        """All that decides what comes next, in one checkpoint; the curves it builds on are made to last first."""
        sums = torch.tensor(self.check_finite(), dtype=torch.float64)
        cuda = torch.cuda.get_rng_state() if self.device != "cpu" else None
        generators = self.ranks.gathered({"cpu": torch.get_rng_state(), "cuda": cuda})
        if curves is None:  # not rank 0
            return
        curves.sync()
        saved = {
            "record": replace(self.record, step=self.state.step).to_dict(),
            "state": asdict(self.state),
            "sums": sums,
            "model": self.model.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "generators": generators,
            "batches": self.batches.state_dict(),
        }
        save_checkpoint(self.run_dir / CHECKPOINT, saved)
        if kept:
            save_checkpoint(self.run_dir / KEPT / f"step-{self.state.step:08}.pt", saved)

    def begin(self, saved: dict[str, Any] | None) -> None:
        """Where the run stopped, with the weights of another, or with those that were drawn."""
        if saved is not None:
            self.restore(saved)
        elif self.config.start_from is not None:
            self.begin_from(self.config.start_from)

    def begin_from(self, start_from: str) -> None:
        """Step 0 with the weights of another run."""
        theirs = take_weights(self.model, self.record, start_from)
        self.state.started_from = f"{theirs.task}, dataset {theirs.dataset_digest}, step {theirs.step}"

    def restore(self, saved: dict[str, Any]) -> None:
        """The opposite of ``save``. With another number of processes than before, dropout goes on from fresh draws."""
        self.state = State(**saved["state"])
        if self.ranks.first:  # the sum of all: the others begin from nothing
            self.sums.copy_(saved["sums"])
        self.model.load_state_dict(saved["model"])
        self.optimiser.load_state_dict(saved["optimiser"])
        self.batches.load_state_dict(saved["batches"])
        if len(saved["generators"]) != self.ranks.size:
            torch.manual_seed(self.config.seed + 1_000_003 * (self.ranks.rank + self.state.step))
            return
        mine = saved["generators"][self.ranks.rank]
        torch.set_rng_state(mine["cpu"])
        if self.device != "cpu" and mine["cuda"] is not None:
            torch.cuda.set_rng_state(mine["cuda"])


def prepare(config: TrainConfig) -> None:
    """Set threads and determinism as configured."""
    keep_freed_memory()
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    if config.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # else cuBLAS refuses
        torch.use_deterministic_algorithms(True)


def graphs_of(losing: nn.Module, config: TrainConfig, ranks: Ranks) -> Graphs | None:
    """Recordings of the step, where the configuration asks for them; UserError where there can be none."""
    if not config.graphs:
        return None
    if ranks.size > 1 or not ranks.device.startswith("cuda"):
        raise UserError(
            "graphs need one process on CUDA",
            got=f"{ranks.size} processes on {ranks.device.split(':')[0]}",
            next_step="leave train.graphs out",
        )
    return Graphs(losing)


def record_of(config: TrainConfig, data: TrainingData) -> RunRecord:
    """What this configuration makes of this dataset."""
    encodings = config.input_encoding, config.output_encoding
    return RunRecord(data.directory, data.digest, data.task, data.spec, *encodings, config.precision, config)
