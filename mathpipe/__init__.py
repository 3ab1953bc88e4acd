"""Build large, verified, reproducible datasets of mathematical problems, train transformers on them, and study where they fail.

    make_dataset(spec, layout, url)        build a dataset, or finish an interrupted build
    open_dataset(directory, split)         open one split: examples in order, or shuffled batches of tokens
    train_run(config, data, valid, dir)    train a transformer, or resume
    load_model(dir)                        load a model: model(source_ids, target_ids) -> logits
    evaluate_run(dir)                      decode, score, analyse, report
    get_task(name)                         look up a task: sample, solve, verify
    load_task("./gcd.py")                  load a task outside the package (docs/guides/own-tasks.md)
    verify(task, problem, answer)          the outcome of an answer that any model wrote
    environment(task, seed=0)              an endless stream of problems as text, each with a score method
    solve(dir, problem)                    ask a trained model one problem, and verify its hypotheses

Names are imported on first use: ``import mathpipe`` alone imports neither torch nor pyarrow.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mathpipe.datasets.dataset import Dataset, open_dataset
    from mathpipe.datasets.errors import UserError
    from mathpipe.evaluate.run import evaluate_run
    from mathpipe.generate.answers.answer_verifier import verify_answer as verify
    from mathpipe.generate.answers.environment import environment
    from mathpipe.generate.build.dataset_builder import make_dataset
    from mathpipe.generate.curate.dataset_verification import verify_dataset
    from mathpipe.generate.dataset_spec import DatasetSpec
    from mathpipe.generate.layout import Layout
    from mathpipe.generate.problem_specs.expression_spec import ExpressionSpec
    from mathpipe.generate.problem_specs.matrix_spec import MatrixSpec
    from mathpipe.generate.problem_specs.sequence_spec import BitSpec
    from mathpipe.generate.tasks.task_registry import get_task, load_task
    from mathpipe.pipeline.solving import solve_problem as solve
    from mathpipe.train.config import TrainConfig
    from mathpipe.train.run.loaded_model import load_model
    from mathpipe.train.trainer import train as train_run

    __version__: str

__all__ = [
    "BitSpec",
    "Dataset",
    "DatasetSpec",
    "ExpressionSpec",
    "Layout",
    "MatrixSpec",
    "TrainConfig",
    "UserError",
    "__version__",
    "environment",
    "evaluate_run",
    "get_task",
    "load_model",
    "load_task",
    "make_dataset",
    "open_dataset",
    "solve",
    "train_run",
    "verify",
    "verify_dataset",
]

_EXPORTS = {
    "open_dataset": ("mathpipe.datasets.dataset", "open_dataset"),
    "Dataset": ("mathpipe.datasets.dataset", "Dataset"),
    "UserError": ("mathpipe.datasets.errors", "UserError"),
    "make_dataset": ("mathpipe.generate.build.dataset_builder", "make_dataset"),
    "verify_dataset": ("mathpipe.generate.curate.dataset_verification", "verify_dataset"),
    "Layout": ("mathpipe.generate.layout", "Layout"),
    "DatasetSpec": ("mathpipe.generate.dataset_spec", "DatasetSpec"),
    "MatrixSpec": ("mathpipe.generate.problem_specs.matrix_spec", "MatrixSpec"),
    "ExpressionSpec": ("mathpipe.generate.problem_specs.expression_spec", "ExpressionSpec"),
    "BitSpec": ("mathpipe.generate.problem_specs.sequence_spec", "BitSpec"),
    "load_task": ("mathpipe.generate.tasks.task_registry", "load_task"),
    "get_task": ("mathpipe.generate.tasks.task_registry", "get_task"),
    "TrainConfig": ("mathpipe.train.config", "TrainConfig"),
    "train_run": ("mathpipe.train.trainer", "train"),
    "load_model": ("mathpipe.train.run.loaded_model", "load_model"),
    "evaluate_run": ("mathpipe.evaluate.run", "evaluate_run"),
    "verify": ("mathpipe.generate.answers.answer_verifier", "verify_answer"),
    "environment": ("mathpipe.generate.answers.environment", "environment"),
    "solve": ("mathpipe.pipeline.solving", "solve_problem"),
}


def __getattr__(name: str) -> Any:
    """Import the module that defines a public name and cache the name here."""
    if name == "__version__":
        from importlib.metadata import version

        value: Any = version("mathpipe")
    elif name in _EXPORTS:
        module, attribute = _EXPORTS[name]
        value = getattr(importlib.import_module(module), attribute)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
