"""Small evaluations of eigenvectors, and their reports."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mathpipe.datasets.containers.ragged_matrices import Matrices
from mathpipe.datasets.format.matrix_columns import MatrixExamples
from mathpipe.datasets.io.storage import Storage
from mathpipe.datasets.tokenizers.matrix_tokenizer import MatrixTokenizer
from mathpipe.datasets.tokenizers.tokenizer import END
from mathpipe.evaluate.adapters.matrix_adapter import MatrixAdapter
from mathpipe.evaluate.build_report import build_report
from mathpipe.evaluate.decode.hypotheses import Hypotheses
from mathpipe.evaluate.predictions import PredictionsWriter
from mathpipe.evaluate.score.scoring import append_end
from mathpipe.generate.problem_specs.matrix_spec import MatrixSpec
from mathpipe.generate.tasks.matrix_task import MATRIX_OUTCOMES
from mathpipe.generate.tasks.task_registry import matrix_task

P1000 = MatrixTokenizer.named("P1000")
EVIL = "<script>document.title='taken'</script>"


def _evaluation(folder: Path, noise: float, trained: str = "laplace", tested: str = "laplace") -> Path:
    """A small evaluation of eigenvectors with multiplicative noise."""
    rng = np.random.default_rng(0)
    task = matrix_task("eigenvectors")
    a = task.sample(rng, 120, MatrixSpec(min_dim=3, max_dim=3))
    x = task.solve(a).solutions
    tokens = append_end(*P1000.encode(Matrices.from_dense(x.dense() * (1 + noise * rng.normal(size=x.dense().shape)))))
    tokens[3, 5] = END
    decoded = Hypotheses(tokens, -rng.exponential(size=120))
    scored = MatrixAdapter(task).score(P1000, MatrixExamples(np.arange(120), a, x), decoded)
    metadata = {
        "run": f"runs/{trained}{EVIL}",
        "data": "data/x",
        "task": task.name,
        "split": tested,
        "rows": 120,
        "outcomes": list(MATRIX_OUTCOMES),
        "decoding": "greedy",
        "decoding_settings": {"beam": 1, "temperature": 0.0, "constrained": False},
        "spec": {"task": task.name, "problems": {"spectrum": [tested]}},
        "trained_spec": {"task": task.name, "problems": {"spectrum": [trained]}},
    }
    folder.mkdir(parents=True)
    with (folder / "predictions.parquet").open("wb") as file:
        writer = PredictionsWriter(file, metadata)
        writer.append(MatrixAdapter(task).table(scored, tested, P1000, P1000))
        writer.close()
    build_report(Storage(str(folder)))
    return folder


@pytest.fixture(scope="session")
def evaluation() -> Callable[..., Path]:
    """``evaluation(folder, noise, trained, tested)`` writes 120 predictions with multiplicative noise, and their report."""
    return _evaluation


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of an evaluation of which 114 problems of 120 fail; read only."""
    return _evaluation(tmp_path_factory.mktemp("run") / "evaluation" / "laplace", 0.04)
