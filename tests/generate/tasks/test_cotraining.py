"""Co-training: seven tasks in one dataset, each problem answered, verified, written and read back as its own task's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from mathpipe.datasets.containers.ragged_matrices import Matrices
from mathpipe.datasets.dataset import open_dataset
from mathpipe.datasets.errors import UserError
from mathpipe.datasets.tokenizers.matrix_tokenizer import TASK_TOKENS
from mathpipe.evaluate.adapters.matrix_adapter import MatrixAdapter
from mathpipe.evaluate.decode.hypotheses import Hypotheses
from mathpipe.evaluate.score.scoring import append_end
from mathpipe.generate.curate.dataset_verification import verify_dataset
from mathpipe.generate.problem_specs.matrix_spec import MatrixSpec
from mathpipe.generate.tasks.matrices.cotraining import BY_TASK_TOKEN
from mathpipe.generate.tasks.matrix_task import MATRIX_OUTCOMES
from mathpipe.generate.tasks.task_registry import get_task

TASK = get_task("cotraining")


def sample_problems(n: int = 700, **spec: object) -> Matrices:
    return TASK.sample(np.random.default_rng(0), n, MatrixSpec.model_validate({"min_dim": 2, "max_dim": 4, **spec}))


def test_task_tokens_are_those_of_the_papers() -> None:
    assert "".join(BY_TASK_TOKEN) == TASK_TOKENS == "TADMEFI"
    assert [BY_TASK_TOKEN[task_token].task_token for task_token in TASK_TOKENS] == list(TASK_TOKENS)


def test_task_tokens_are_sampled_uniformly() -> None:
    task_ids = sample_problems(7_000).task_ids
    assert task_ids is not None
    assert (np.abs(np.bincount(task_ids, minlength=7) - 1_000) < 150).all()
    some = sample_problems(task_tokens="EI").task_ids
    assert some is not None and set(some.tolist()) == {TASK_TOKENS.index("E"), TASK_TOKENS.index("I")}


def test_solutions_match_single_tasks() -> None:
    problems = sample_problems()
    solved = TASK.solve(problems)
    assert problems.task_ids is not None and solved.solutions.task_ids is not None
    for i in range(len(problems)):
        alone = BY_TASK_TOKEN[TASK_TOKENS[problems.task_ids[i]]].solve(problems.take([i]).with_task_ids(None))
        assert np.array_equal(solved.solutions[i], alone.solutions[0])
    rows, cols = TASK.answer_shape(problems)
    assert np.array_equal(rows, solved.solutions.rows) and np.array_equal(cols, solved.solutions.cols)


def test_noise_is_symmetric_where_problems_are() -> None:
    spec = MatrixSpec(min_dim=3, max_dim=3, noise=0.1)
    clean = TASK.sample(np.random.default_rng(0), 200, spec)
    noisy = TASK.with_noise(np.random.default_rng(1), clean, spec)
    assert clean.task_ids is not None and np.array_equal(noisy.task_ids, clean.task_ids)
    for a, label in zip(noisy, clean.task_ids, strict=True):
        if TASK_TOKENS[label] in "EF":
            assert np.array_equal(a, a.T)


@pytest.mark.parametrize("spec", [{}, {"noise": 0.01}, {"spectrum": ["laplace"]}, {"task_tokens": "TF"}])
def test_verify_cotraining_dataset(make_small, spec: dict[str, object]) -> None:
    url: Path = make_small("cotraining", min_dim=2, max_dim=3, **spec)
    assert verify_dataset(str(url), workers=0).damage == ()
    task_tokens = set(pq.read_table(url / "train" / "00000.parquet", columns=["task"])["task"].to_pylist())
    assert task_tokens == set(spec.get("task_tokens", TASK_TOKENS))


def test_encode_and_score_with_task_token(make_small) -> None:
    """The references are right; under another task token the same tokens are none; a malformed task token is malformed."""
    data = open_dataset(make_small("cotraining", min_dim=2, max_dim=3), "valid")
    rows = next(data.chunks(200))
    tokens = append_end(*data.target.encode(rows.solutions))
    scored = MatrixAdapter(TASK).score(data.target, rows, Hypotheses(tokens, np.zeros(len(rows))))
    assert {MATRIX_OUTCOMES[o] for o in scored.outcome} == {"exact"}
    assert scored.passed.mean() > 0.9  # written with 3 digits, a few inverses and eigenvectors fail their own test
    other = tokens.copy()
    other[:, 0] = np.where(tokens[:, 0] == 2, 3, 2)
    scored = MatrixAdapter(TASK).score(data.target, rows, Hypotheses(other, np.zeros(len(rows))))
    assert {MATRIX_OUTCOMES[o] for o in scored.outcome} == {"wrong_shape"}
    other[:, 0] = 50
    scored = MatrixAdapter(TASK).score(data.target, rows, Hypotheses(other, np.zeros(len(rows))))
    assert {MATRIX_OUTCOMES[o] for o in scored.outcome} == {"malformed"}


def test_batches_contain_the_task_token(make_small) -> None:
    data = open_dataset(make_small("cotraining", min_dim=2, max_dim=2))
    with data.batches(32) as stream:
        batch = next(stream)
    assert ((batch.source[:, 0] >= 2) & (batch.source[:, 0] < 9)).all()
    assert (batch.source[:, 0] == batch.target[:, 0]).all()


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"task_tokens": "TX"}, "unknown X"),
        ({"task_tokens": "TT"}, "a task token twice"),
        ({"rectangular": True}, "square"),
    ],
)
def test_impossible_specs(spec: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        TASK.check(MatrixSpec.model_validate(spec))
    with pytest.raises(UserError, match="takes no task tokens"):
        get_task("add").check(MatrixSpec(task_tokens="T"))
