"""Training loop: lock the run directory, resume, step, evaluate, checkpoint.

A run that is killed at any moment and resumed ends with the same weights, bit for bit, as one without interruption. This requires
the same machine, library versions, threads and processes, no compilation, and on CUDA ``deterministic``.
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

from mathpipe.datasets.allocator import keep_freed_memory
from mathpipe.datasets.containers.token_batches import Batch
from mathpipe.datasets.errors import UserError, did_you_mean
from mathpipe.datasets.io.atomic_files import write_json
from mathpipe.datasets.io.locations import local_path, relative_location
from mathpipe.datasets.problem_types.type_registry import problem_type_of
from mathpipe.datasets.tokenizers.tokenizer import Tokenizer
from mathpipe.train.config import TrainConfig
from mathpipe.train.data import Batches, TrainingData
from mathpipe.train.model.interface import Model
from mathpipe.train.optim.loss import correct_tokens, dummy_batch, loss_of
from mathpipe.train.optim.optimisers import learning_rate
from mathpipe.train.optim.train_step import RANK_SEED, TrainStep
from mathpipe.train.run.checkpoint import build_model, complete_state, save_checkpoint
from mathpipe.train.run.init_from import load_initial_weights
from mathpipe.train.run.metrics_log import MetricsLog, read_metrics_log
from mathpipe.train.run.plot import plot_curves
from mathpipe.train.run.run_directory import last_checkpoint, lock_run
from mathpipe.train.run.run_record import (
    BEST,
    CHECKPOINT,
    CHECKPOINTS,
    CURVES,
    PLOT,
    SUMMARY,
    OnMismatch,
    RunRecord,
    tokenizers,
)
from mathpipe.train.run.session import Clock, stop_signal
from mathpipe.train.runtime.distributed import Distributed, initialised
from mathpipe.train.runtime.fast_paths import fast_paths
from mathpipe.train.runtime.threads import limit_threads
from mathpipe.train.tracking.dvclive_tracker import open_dvclive
from mathpipe.train.tracking.open_tracker import open_tracker
from mathpipe.train.tracking.tracker import Tracker, flat_parameters
from mathpipe.train.training_progress import NoProgress, TrainingProgress

Metrics = dict[str, float]
Evaluate = Callable[[Model], Metrics]
Outcome = Literal["finished", "target reached", "no longer better", "interrupted"]


@dataclass(frozen=True)
class TrainResult:
    """The result of ``train``. ``session_steps`` is 0 if the run was already finished."""

    run_dir: Path
    step: int
    session_steps: int
    outcome: Outcome
    metrics: Metrics
    seconds: float  # of all sessions
    rank: int = 0  # of this process


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
    """Train until ``config.steps``, a target or a stop signal; resume the run in ``run_dir``, if any.

    ``data``, ``valid``: splits opened with the configured encodings, by default those of ``open_dataset``; UserError for others.
    ``evaluate`` computes metrics of the model (such as greedy accuracy) every ``eval_every`` steps; they are logged with the
    validation loss and may stop the run (``stop_metric``). A finished run is not trained again. A run of another configuration or
    dataset is an error, or moves to a backup (``on_mismatch="restart"``). ``progress`` is called after every step, on rank zero.
    Under ``torchrun`` all processes call this function alike and share the work.
    """
    run_dir = local_path(run_dir, "the directory of a run")
    prepare(config)
    record = build_record(config, data, run_dir)
    for split in (data, valid):
        if split is not None:
            _check_encodings(record, split)
    with initialised() as distributed, lock_on_rank_zero(run_dir, record, on_mismatch, distributed):
        run = Run(record, run_dir, data, valid, evaluate, distributed)
        run.initialise(distributed.on_rank_zero(lambda: last_checkpoint(run_dir)))  # a variable would keep it in memory
        with contextlib.ExitStack() as stack:
            stop = stack.enter_context(stop_signal())
            log = None
            if distributed.is_rank_zero:
                trackers = open_trackers(record, run_dir, run.state.step, dvclive)
                log = stack.enter_context(MetricsLog(run_dir / CURVES, run.state.step, trackers))
            return run.fit(log, stop, progress)


def open_trackers(record: RunRecord, run_dir: Path, step: int, dvclive: bool) -> list[Tracker]:
    """DVCLive where it is installed, and the tracker of the configuration."""
    live = open_dvclive(run_dir / "dvclive") if dvclive else None
    trackers: list[Tracker] = [] if live is None else [live]
    if record.config.track is not None:
        settings = {
            "task": record.task,
            "data": record.data,
            **record.config.model_dump(mode="json", exclude={"track"}),
        }
        trackers.append(open_tracker(record.config.track, run_dir, step, flat_parameters(settings)))
    return trackers


def prepare(config: TrainConfig) -> None:
    """Configure the allocator, threads and determinism."""
    if fast_paths("cpu").allocator:
        keep_freed_memory()
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    else:
        limit_threads()
    if config.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # required by cuBLAS
        torch.use_deterministic_algorithms(True)


def build_record(config: TrainConfig, data: TrainingData, run_dir: Path | None = None) -> RunRecord:
    """The record of a run of this configuration on this dataset, which it names relative to ``run_dir``, if given."""
    spec, problem_type = data.spec, problem_type_of(data.spec)
    encodings = problem_type.default_encodings(spec, config.input_encoding, config.output_encoding)
    place = data.directory if run_dir is None else relative_location(data.directory, run_dir)
    return RunRecord(place, data.digest, data.task, spec, *encodings, config.precision, config)


def _check_encodings(record: RunRecord, data: TrainingData) -> None:
    """UserError if ``data`` was opened with other encodings than the run has: the model would read tokens of another meaning."""
    expected, opened = tokenizers(record), (data.source, data.target)
    if list(map(_meaning, opened)) != list(map(_meaning, expected)):
        raise UserError(
            "the data was opened with other encodings than the configuration has",
            expected=_describe_tokens(*expected),
            got=_describe_tokens(*opened),
            next_step="open both splits with the encodings and the precision of TrainConfig, or name those of the data there",
        )


def _meaning(tokenizer: Tokenizer) -> tuple[object, ...]:
    """What determines the meaning of tokens; the sizes of problems and solutions may differ between splits."""
    return tokenizer.name, tokenizer.vocabulary, getattr(tokenizer.format, "tokens_per_number", None)


def _describe_tokens(source: Tokenizer, target: Tokenizer) -> str:
    """``P10 (322 tokens, 5 a number) for problems, ... for solutions``."""
    texts = []
    for tokenizer in (source, target):
        per_number = _meaning(tokenizer)[-1]
        suffix = "" if per_number is None else f", {per_number} a number"
        texts.append(f"{tokenizer.name} ({len(tokenizer.vocabulary):,} tokens{suffix})")
    return f"{texts[0]} for problems, {texts[1]} for solutions"


@contextlib.contextmanager
def lock_on_rank_zero(
    run_dir: Path, record: RunRecord, on_mismatch: OnMismatch, distributed: Distributed
) -> Iterator[None]:
    """``lock_run`` by rank zero, for all processes."""
    with contextlib.ExitStack() as stack:
        distributed.on_rank_zero(lambda: stack.enter_context(lock_run(run_dir, record, on_mismatch)))
        yield


@dataclass
class RunState:
    """The progress of a run, saved in every checkpoint and in summary.json."""

    step: int = 0
    outcome: Outcome | None = None
    seconds: float = 0.0
    metrics: Metrics = field(default_factory=dict)  # of the last evaluation
    best: float | None = None  # value of ``best_metric``
    best_step: int = 0
    worse: int = 0  # consecutive evaluations without improvement
    initialised_from: str | None = None  # the run of the initial weights


class Run:
    """A run in this process: model and optimiser, position in the data, state."""

    def __init__(
        self,
        record: RunRecord,
        run_dir: Path,
        data: TrainingData,
        valid: TrainingData | None,
        evaluate: Evaluate | None,
        distributed: Distributed,
    ) -> None:
        config = record.config
        self.config, self.record, self.run_dir, self.distributed = config, record, run_dir, distributed
        torch.manual_seed(config.seed)
        self.model = build_model(record).to(distributed.device)
        dummy = check_problems(self.model, data, distributed.device)
        vocabulary = tokenizers(record)[1].vocabulary
        self.train_step = TrainStep(self.model, config, vocabulary, dummy, distributed)
        self.evaluator = Evaluator(config, valid, evaluate, distributed)
        self.early_stopping = EarlyStopping(config)
        self.checkpointer = Checkpointer(run_dir, record, distributed)
        self.batches = data.batches(
            config.batch, config.seed, distributed.device, rank=distributed.rank, world_size=distributed.size
        )
        self.state = RunState()

    def initialise(self, checkpoint: dict[str, Any] | None) -> None:
        """Resume from a checkpoint, or load the weights of another run (``init_from``), or keep the random weights."""
        if checkpoint is not None:
            self.state = self.checkpointer.restore(checkpoint, self.train_step, self.batches)
        elif self.config.init_from is not None:
            source = load_initial_weights(self.model, self.record, self.config.init_from)
            self.state.initialised_from = f"{source.task}, dataset {source.dataset_digest}, step {source.step}"

    def fit(self, log: MetricsLog | None, stop: Event, progress: TrainingProgress | None) -> TrainResult:
        """Step, evaluate and checkpoint until there is a reason to stop."""
        config, state, first_step = self.config, self.state, self.state.step
        clock = Clock(state.seconds)
        progress = progress if progress and self.distributed.is_rank_zero else NoProgress()
        progress.start(first_step, config.steps, config.batch)
        stopping = self.distributed.any(stop.is_set())
        try:
            while state.outcome is None and not stopping:
                state.step += 1
                self.train_step(next(self.batches), state.step)
                metrics = self.step_metrics(clock)
                if metrics and log is not None:
                    log.add(state.step, metrics)
                progress.step(metrics)
                state.outcome, state.seconds = self.early_stopping.reason(state), clock.now()
                stopping = self.stop_requested(stop)
                permanent = config.keep_every is not None and state.step % config.keep_every == 0
                if state.outcome or stopping or permanent or state.step % config.checkpoint_every == 0:
                    self.checkpointer.save(state, self.train_step, self.batches, log, permanent)
        finally:
            progress.close()
            self.batches.close()
        if self.distributed.is_rank_zero:
            self.write_summary()
        outcome: Any = state.outcome or "interrupted"
        session_steps = state.step - first_step
        rank = self.distributed.rank
        return TrainResult(self.run_dir, state.step, session_steps, outcome, state.metrics, state.seconds, rank)

    def step_metrics(self, clock: Clock) -> Metrics:
        """The metrics to log after this step; often none."""
        config, state, metrics = self.config, self.state, Metrics()
        if state.step % config.log_every == 0 or state.step == config.steps:
            metrics["train_loss"] = self.train_step.pop_mean_loss(state.step)
            metrics |= {"lr": learning_rate(state.step, config), "seconds": clock.now()}
        if evaluated_at(state.step, config):
            state.metrics = self.evaluator(self.model)
            if self.early_stopping.update_best(state) and self.distributed.is_rank_zero:
                self.checkpointer.save_best(state, self.model)
            metrics |= state.metrics
        return metrics

    def stop_requested(self, stop: Event) -> bool:
        """Whether any process received a stop signal. With several GPUs, checked every 10th step, because it synchronises."""
        if self.distributed.size > 1 and self.distributed.device != "cpu" and self.state.step % 10:
            return False
        return self.distributed.any(stop.is_set())

    def write_summary(self) -> None:
        """Plot the learning curve; write summary.json if the run is finished."""
        config, state = self.config, self.state
        if state.outcome:
            summary = asdict(state) | {"examples": state.step * config.batch, "label": config.label}
            write_json(self.run_dir / SUMMARY, summary)
        plot_curves(read_metrics_log(self.run_dir / CURVES), self.run_dir / PLOT, config.label or self.run_dir.name)


def check_problems(model: Model, data: TrainingData, device: str) -> Batch:
    """Check the first problems for this model; return a dummy batch of one problem."""
    for rows in data.chunks(1000, stop=1000):
        model.check(rows)
        dummy = dummy_batch(data.batch(rows.take(np.arange(1)), device))
    return dummy


def evaluated_at(step: int, config: TrainConfig) -> bool:
    """Whether the model is evaluated after this step."""
    return step % config.eval_every == 0 or step == config.steps


class Evaluator:
    """Validation loss and the metrics of ``evaluate``, computed by rank zero and broadcast."""

    def __init__(
        self, config: TrainConfig, valid: TrainingData | None, evaluate: Evaluate | None, distributed: Distributed
    ) -> None:
        self.config, self.valid, self.evaluate, self.distributed = config, valid, evaluate, distributed

    @torch.no_grad()
    def __call__(self, model: Model) -> Metrics:
        """All metrics; the random generators of training do not change."""
        metrics: Metrics = {}
        if self.distributed.is_rank_zero:
            device = self.distributed.device
            model.eval()
            with torch.random.fork_rng(devices=[] if device == "cpu" else [device]):
                if self.valid is not None and self.config.valid_examples:
                    metrics |= self.validation_metrics(model, self.valid)
                if self.evaluate is not None:
                    metrics |= {name: float(value) for name, value in self.evaluate(model).items()}
            model.train()
        return self.distributed.broadcast(metrics)

    def validation_metrics(self, model: Model, valid: TrainingData) -> Metrics:
        """The mean loss per target token over the first ``valid_examples`` problems of the split.

        For a backbone also ``valid_token_accuracy``: the proportion of target tokens predicted correctly, given the preceding ones.
        """
        total_loss, tokens, correct, predicted = 0.0, 0, 0, 0
        for rows in valid.chunks(size=max(self.config.batch, 64), stop=self.config.valid_examples):
            batch = valid.batch(rows, self.distributed.device)
            loss, count = loss_of(model, batch)
            total_loss, tokens = total_loss + float(loss), tokens + int(count)
            if self.config.backbone is not None:
                batch_correct, batch_predicted = correct_tokens(model, batch)
                correct, predicted = correct + int(batch_correct), predicted + int(batch_predicted)
        accuracy = {"valid_token_accuracy": correct / predicted} if predicted else {}
        return {"valid_loss": total_loss / tokens} | accuracy


class EarlyStopping:
    """The best metric so far, and the reasons to stop."""

    def __init__(self, config: TrainConfig) -> None:
        self.config = config

    def update_best(self, state: RunState) -> bool:
        """After an evaluation: update the best value of ``best_metric``; whether it improved."""
        name = self.config.best_metric
        if name is None:
            return False
        value = _metric(state, name, "best_metric")
        better = state.best is None or (value < state.best if name.endswith("loss") else value > state.best)
        state.worse = 0 if better else state.worse + 1
        if better:
            state.best, state.best_step = value, state.step
        return better

    def reason(self, state: RunState) -> Outcome | None:
        """The outcome of the run if it ends after this step, or None."""
        config = self.config
        if evaluated_at(state.step, config) and config.stop_metric is not None and config.stop_at is not None:
            value, minimised = _metric(state, config.stop_metric, "stop_metric"), config.stop_metric.endswith("loss")
            if value <= config.stop_at if minimised else value >= config.stop_at:
                return "target reached"
        if state.step == config.steps:
            return "finished"
        return "no longer better" if config.patience is not None and state.worse >= config.patience else None


def _metric(state: RunState, name: str, setting: str) -> float:
    if name not in state.metrics:
        raise UserError(
            f"{setting} {name!r} is not measured",
            expected=f"one of {', '.join(state.metrics) or 'none'}",
            got=name,
            next_step=did_you_mean(name, state.metrics),
        )
    return state.metrics[name]


class Checkpointer:
    """Saves and restores everything that determines the rest of a run."""

    def __init__(self, run_dir: Path, record: RunRecord, distributed: Distributed) -> None:
        self.run_dir, self.record, self.distributed = run_dir, record, distributed

    def save(
        self, state: RunState, train_step: TrainStep, batches: Batches, log: MetricsLog | None, permanent: bool
    ) -> None:
        """Write the last checkpoint, and a permanent copy of it, after syncing the log. A collective call."""
        loss_sums = torch.tensor(train_step.total_loss(state.step), dtype=torch.float64)
        cuda_state = torch.cuda.get_rng_state() if self.distributed.device != "cpu" else None
        generators = self.distributed.all_gather({"cpu": torch.get_rng_state(), "cuda": cuda_state})
        if log is None:  # not rank zero
            return
        log.sync()
        checkpoint = {
            "record": replace(self.record, step=state.step).to_dict(),
            "state": asdict(state),
            "loss_sums": loss_sums,
            "model": train_step.model.state_dict(),
            "optimiser": train_step.optimiser.state_dict(),
            "generators": generators,
            "batches": batches.state_dict(),
        }
        save_checkpoint(self.run_dir / CHECKPOINT, checkpoint)
        if permanent:
            save_checkpoint(self.run_dir / CHECKPOINTS / f"step-{state.step:08}.pt", checkpoint)

    def save_best(self, state: RunState, model: Model) -> None:
        """Write the weights and their metrics to best.pt."""
        record = replace(self.record, step=state.step).to_dict()
        save_checkpoint(self.run_dir / BEST, {"record": record, "metrics": state.metrics, "model": model.state_dict()})

    def restore(self, checkpoint: dict[str, Any], train_step: TrainStep, batches: Batches) -> RunState:
        """Restore the rest of a checkpoint and return its state. With another number of processes, dropout gets new seeds."""
        with complete_state(self.run_dir / CHECKPOINT):
            state = RunState(**checkpoint["state"])
            if self.distributed.is_rank_zero:  # the saved sums are totals: the other ranks start from zero
                train_step.loss_sums.copy_(checkpoint["loss_sums"])
            train_step.model.load_state_dict(checkpoint["model"])
            train_step.optimiser.load_state_dict(checkpoint["optimiser"])
            batches.load_state_dict(checkpoint["batches"])
            self._restore_generators(checkpoint["generators"], state.step)
        return state

    def _restore_generators(self, generators: list[dict[str, Any]], step: int) -> None:
        rank = self.distributed.rank
        if len(generators) != self.distributed.size:
            torch.manual_seed(self.record.config.seed + RANK_SEED * (rank + step))
            return
        torch.set_rng_state(generators[rank]["cpu"])
        if self.distributed.device != "cpu" and generators[rank]["cuda"] is not None:
            torch.cuda.set_rng_state(generators[rank]["cuda"])
