"""Training, as a story: claim the directory, go on from its checkpoint, take steps, look, save, say how it went.

Loss: the cross-entropy of every target word, END included, summed over the batch and divided by the number of words.
A run that is killed at any moment and started again ends with the same weights, bit for bit, as one that was not (same
machine, library versions and threads; on CUDA with ``deterministic``).
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from threading import Event
from typing import Any, Literal, Never

import torch
from tqdm import tqdm

from mathpipe.datasets.errors import UserError
from mathpipe.datasets.reader import Batch
from mathpipe.train.checkpoint import CHECKPOINT, CURVES, SUMMARY, RunRecord, build_model, save_checkpoint, write_json
from mathpipe.train.config import TrainConfig
from mathpipe.train.curves import Curves
from mathpipe.train.data import TrainingData
from mathpipe.train.loss import loss_of
from mathpipe.train.model import Transformer
from mathpipe.train.optimiser import build_optimiser, learning_rate, set_learning_rate
from mathpipe.train.rundir import OnMismatch, claimed
from mathpipe.train.sitting import Clock, interruption

Metrics = dict[str, float]
Evaluate = Callable[[Transformer], Metrics]
Outcome = Literal["finished", "target reached", "interrupted"]


@dataclass(frozen=True)
class TrainResult:
    """How a call of ``train`` ended. ``steps_taken`` is 0 when the run had been finished before."""

    run_dir: Path
    step: int
    steps_taken: int
    outcome: Outcome
    metrics: Metrics
    seconds: float  # of all sittings together


def train(
    config: TrainConfig,
    data: TrainingData,
    valid: TrainingData | None,
    run_dir: str | Path,
    *,
    evaluate: Evaluate | None = None,
    on_mismatch: OnMismatch = "error",
    progress: bool = True,
    dvclive: bool = True,
) -> TrainResult:
    """Train until ``config.steps``, a target or an interruption; go on where the run in ``run_dir`` stopped.

    ``data``, ``valid``: splits opened with the configuration's encodings. ``evaluate`` measures the model every ``eval_every``
    steps (greedy accuracy, say); its metrics stand beside the validation loss and may end the run (``stop_metric``). A finished
    run is not trained again; one of another configuration or dataset is an error, or moved aside (``on_mismatch="restart"``).
    """
    run_dir = Path(run_dir)
    device = prepare(config)
    record = record_of(config, data)
    with claimed(run_dir, record, on_mismatch, device) as saved:
        run = Run(record, run_dir, data, valid, evaluate, device)
        if saved is not None:
            run.restore(saved)
        live_dir = run_dir / "dvclive" if dvclive else None
        with Curves(run_dir / CURVES, run.state.step, live_dir) as curves, interruption() as interrupted:
            return run.to_the_end(curves, interrupted, progress)


@dataclass
class State:
    """What a run knows besides its weights; all of it is saved."""

    step: int = 0
    outcome: str | None = None  # of a run that is over
    seconds: float = 0.0
    metrics: Metrics = field(default_factory=dict)  # the last measured


class Run:
    """Everything that moves while a run trains: model, optimiser, place in the data, state."""

    def __init__(
        self,
        record: RunRecord,
        run_dir: Path,
        data: TrainingData,
        valid: TrainingData | None,
        evaluate: Evaluate | None,
        device: str,
    ) -> None:
        self.config, self.record, self.run_dir, self.device = record.config, record, run_dir, device
        self.valid, self.evaluate = valid, evaluate
        torch.manual_seed(self.config.seed)
        self.model = build_model(record).to(device)
        self.optimiser = build_optimiser(self.model, self.config)
        self.batches = data.batches(self.config.batch, seed=self.config.seed, device=device)
        self.state = State()
        self.sums = torch.zeros(2, dtype=torch.float64, device=device)  # loss, words since its last point on the curve

    def to_the_end(self, curves: Curves, interrupted: Event, progress: bool) -> TrainResult:
        """The loop: learn, look, save, until a reason to stop."""
        config, state, first = self.config, self.state, self.state.step
        clock = Clock(state.seconds)
        bar = progress_bar(config, first, progress)
        try:
            while state.outcome is None and not interrupted.is_set():
                state.step += 1
                self.learn(next(self.batches))
                point: Metrics = {}
                if state.step % config.log_every == 0 or state.step == config.steps:
                    point |= self.training_loss(clock)
                if state.step % config.eval_every == 0 or state.step == config.steps:
                    point |= self.measure()
                if point:
                    curves.add(state.step, point)
                    bar.set_postfix_str(describe(state.step, point, state.metrics), refresh=False)
                bar.update(config.batch)
                state.outcome, state.seconds = self.reason_to_stop(), clock.now()
                if state.outcome or state.step % config.checkpoint_every == 0 or interrupted.is_set():
                    self.save(curves)
        finally:
            bar.close()
            self.batches.close()
        if state.outcome:
            write_json(self.run_dir / SUMMARY, asdict(state) | {"examples": state.step * config.batch})
        outcome: Any = state.outcome or "interrupted"
        return TrainResult(self.run_dir, state.step, state.step - first, outcome, state.metrics, state.seconds)

    def learn(self, batch: Batch) -> None:
        """One step down the gradient."""
        set_learning_rate(self.optimiser, learning_rate(self.state.step, self.config))
        loss, words = loss_of(self.model, batch)
        self.optimiser.zero_grad()
        (loss / words).backward()  # type: ignore[no-untyped-call]
        if self.config.clip is not None:
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip)
        self.optimiser.step()
        self.sums += torch.stack([loss.detach(), words])  # on the device: nobody waits for it here

    def training_loss(self, clock: Clock) -> Metrics:
        """The mean loss of a target word since the last point, the learning rate and the time."""
        self.check_finite()
        loss = float(self.sums[0] / self.sums[1])
        self.sums.zero_()
        return {"train_loss": loss, "lr": learning_rate(self.state.step, self.config), "seconds": clock.now()}

    def check_finite(self) -> None:
        """UserError when the loss since the last point is no number: nothing of that is shown or saved."""
        if not bool(self.sums.isfinite().all()):
            raise UserError(
                f"training diverged before step {self.state.step}: the loss is no finite number",
                cause="a learning rate too high for this model",
                next_step="lower lr or clip, or lengthen warmup",
            )

    @torch.no_grad()
    def measure(self) -> Metrics:
        """Validation loss and whatever ``evaluate`` measures; training's generators are left as they were."""
        found: Metrics = {}
        self.model.eval()
        with torch.random.fork_rng(devices=[] if self.device == "cpu" else [self.device]):
            if self.valid is not None and self.config.valid_examples:
                found["valid_loss"] = self.validation_loss(self.valid)
            if self.evaluate is not None:
                found |= {name: float(value) for name, value in self.evaluate(self.model).items()}
        self.model.train()
        self.state.metrics = found
        return found

    def validation_loss(self, valid: TrainingData) -> float:
        """The mean loss of a target word over the first ``valid_examples`` problems of the split."""
        total, words = 0.0, 0
        for rows in valid.chunks(size=max(self.config.batch, 64), stop=self.config.valid_examples):
            loss, count = loss_of(self.model, valid.batch(rows, self.device))
            total, words = total + float(loss), words + int(count)
        return total / words

    def reason_to_stop(self) -> Outcome | None:
        """Why the run is over, or None."""
        config, state = self.config, self.state
        measured = state.step % config.eval_every == 0 or state.step == config.steps
        if measured and config.stop_metric is not None and config.stop_at is not None:
            if config.stop_metric not in state.metrics:
                raise UserError(
                    f"stop_metric {config.stop_metric!r} is not measured",
                    expected=f"one of {', '.join(state.metrics) or 'none'}",
                    got=config.stop_metric,
                )
            value, falls = state.metrics[config.stop_metric], config.stop_metric.endswith("loss")
            if value <= config.stop_at if falls else value >= config.stop_at:
                return "target reached"
        return "finished" if state.step == config.steps else None

    def save(self, curves: Curves) -> None:
        """All that decides what comes next, in one checkpoint; the curves it builds on are made to last first."""
        self.check_finite()
        curves.sync()
        cuda = torch.cuda.get_rng_state() if self.device != "cpu" else None
        save_checkpoint(
            self.run_dir / CHECKPOINT,
            {
                "record": replace(self.record, step=self.state.step).to_dict(),
                "state": asdict(self.state),
                "sums": self.sums,
                "model": self.model.state_dict(),
                "optimiser": self.optimiser.state_dict(),
                "generators": {"cpu": torch.get_rng_state(), "cuda": cuda},
                "batches": self.batches.state_dict(),
            },
        )

    def restore(self, saved: dict[str, Any]) -> None:
        """The opposite of ``save``."""
        self.state = State(**saved["state"])
        self.sums.copy_(saved["sums"])
        self.model.load_state_dict(saved["model"])
        self.optimiser.load_state_dict(saved["optimiser"])
        self.batches.load_state_dict(saved["batches"])
        torch.set_rng_state(saved["generators"]["cpu"].cpu())
        if self.device != "cpu" and saved["generators"]["cuda"] is not None:
            torch.cuda.set_rng_state(saved["generators"]["cuda"].cpu())


def prepare(config: TrainConfig) -> str:
    """Set threads and determinism as configured; "cuda" when there is one, else "cpu"."""
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    if config.deterministic:
        torch.use_deterministic_algorithms(True)
    return "cuda" if torch.cuda.is_available() else "cpu"


def record_of(config: TrainConfig, data: TrainingData) -> RunRecord:
    """What this configuration makes of this dataset."""
    encodings = config.input_encoding, config.output_encoding
    return RunRecord(data.directory, data.digest, data.task, data.law, *encodings, config.precision, config)


def progress_bar(config: TrainConfig, first: int, shown: bool) -> tqdm[Never]:
    """Examples, examples a second and time left, on stderr; only on a terminal."""
    total, done = config.steps * config.batch, first * config.batch
    disable = None if shown else True  # None: disabled where stderr is no terminal
    return tqdm(total=total, initial=done, unit=" examples", unit_scale=True, file=sys.stderr, disable=disable)


def describe(step: int, point: Metrics, metrics: Metrics) -> str:
    """``step 40, loss 0.123, valid_loss 0.130, ...`` for the progress bar."""
    shown = {"loss": point["train_loss"]} if "train_loss" in point else {}
    return ", ".join([f"step {step}"] + [f"{name} {value:.4g}" for name, value in (shown | metrics).items()])
