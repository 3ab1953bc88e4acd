"""``verify`` accepts solutions that differ only as those of another CPU may, and no others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mathpipe.datasets.containers.ragged_matrices import SPECTRA, Matrices
from mathpipe.datasets.dataset import open_dataset
from mathpipe.generate.curate.dataset_verification import verify_dataset
from mathpipe.generate.linalg import batched
from mathpipe.generate.problem_specs.matrix_spec import MatrixSpec
from mathpipe.generate.tasks.matrices import eigenvectors
from mathpipe.generate.tasks.matrix_task import MatrixTask, matches_to_float32
from mathpipe.generate.tasks.task_registry import MATRIX_TASKS, get_task, matrix_task, parse_spec


def solved(task: MatrixTask, n: int = 300, **spec: object) -> tuple[Matrices, Matrices]:
    """Accepted problems and their answers in float64."""
    matrix_spec = MatrixSpec.model_validate({**task.default_spec.model_dump(), "min_dim": 2, "max_dim": 5, **spec})
    problems = task.sample(np.random.default_rng(4), n, matrix_spec)
    answers = task.solve(problems)
    accepted = ~np.logical_or.reduce([np.zeros(n, dtype=bool), *answers.rejected.values()])
    return problems.take(accepted), answers.solutions.take(accepted)


def stored(x: Matrices) -> Matrices:
    return Matrices(x.values.astype(np.float32).astype(np.float64), x.rows, x.cols)


@pytest.mark.parametrize("name", MATRIX_TASKS)
def test_float32_solutions_match_and_perturbed_ones_do_not(name: str) -> None:
    task = get_task(name)
    problems, x = solved(task)
    assert task.correct_solutions(problems, x, stored(x)).all()
    for factor in (1 + 1e-4, 1 - 1e-4):
        changed = Matrices(np.where(x.values == 0, 1e-4, x.values * factor), x.rows, x.cols)
        assert not task.correct_solutions(problems, x, stored(changed)).any()


@pytest.mark.parametrize("name", ["eigenvectors", "svd", "solve"])
def test_matches_recomputed_accepts_float32_solutions(name: str) -> None:
    """Float32 alone never makes ``matches_recomputed`` refuse, at any size: it decides where numbers differ."""
    task = get_task(name)
    assert task.matches_recomputed is not None
    for dim in (1, 2, 5, 30):
        problems, x = solved(task, 200, min_dim=dim, max_dim=dim)
        assert task.matches_recomputed(problems, x, stored(x)).all()


@pytest.mark.parametrize("name", ["eigenvectors", "svd"])
def test_matches_recomputed_accepts_signs_but_not_orders(name: str) -> None:
    task = get_task(name)
    problems, x = solved(task, min_dim=3, max_dim=3)
    answers = x.dense()
    flipped = answers.copy()
    flipped[:, 1:, 1] *= -1
    swapped = answers[:, :, [1, 0, 2]]
    for other, right in ((flipped, True), (swapped, False)):
        other_answers = stored(Matrices.from_dense(other))
        assert not matches_to_float32(other_answers.values, x, 1e-9).any()
        assert (task.correct_solutions(problems, x, other_answers) == right).all()


def test_matches_recomputed_accepts_another_basis_of_equal_eigenvalues() -> None:
    """l = 1, 1 + 1e-9, 3: any rotation of the first two vectors is right to float32."""
    q = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    rotation = np.eye(3)
    rotation[:2, :2] = [[0.6, -0.8], [0.8, 0.6]]
    values = np.array([1, 1 + 1e-9, 3])
    problems = Matrices.from_dense([q @ np.diag(values) @ q.T])
    x, other = (Matrices.from_dense([np.vstack([values, v])]) for v in (q, q @ rotation))
    assert eigenvectors.TASK.correct_solutions(problems, x, stored(other)).all()
    half = Matrices.from_dense([np.vstack([values, q @ np.diag([1, 1, 0.5])])])
    assert not eigenvectors.TASK.correct_solutions(problems, x, stored(half)).any()


def test_matches_recomputed_uses_residual_of_ill_conditioned_systems() -> None:
    a = np.array([[1.0, 1.0], [1.0, 1.0 + 1e-9]])
    problems = Matrices.from_dense([np.column_stack([a, [2.0, 2.0]])])
    x, other = Matrices.from_dense([[[2.0], [0.0]]]), Matrices.from_dense([[[1.5], [0.5]]])
    assert matrix_task("solve").correct_solutions(problems, x, other).all()
    assert not matrix_task("solve").correct_solutions(problems, x, Matrices.from_dense([[[1.5], [0.501]]])).any()


@pytest.mark.parametrize("name", MATRIX_TASKS)
def test_verify_dataset_of_every_task(name: str, make_small: Callable[..., Path]) -> None:
    """Chunks whose rejected rows were replaced among them (of cholesky 6 %), and every spectrum."""
    task = MATRIX_TASKS[name]
    spec = {"min_dim": 2, "max_dim": 5, "max_coeff": task.default_spec.max_coeff}
    spec |= {"spectrum": SPECTRA} if task.takes_spectrum else {"rectangular": not task.square_only}
    spec |= {"min_dim": 6, "max_dim": 8} if name == "laplacian-eigenvalues" else {}  # there are few small graphs
    url = make_small(name, train=1_500, valid=0, test=300, **spec)
    assert verify_dataset(str(url), workers=0).damage == ()


@pytest.mark.parametrize("name", ["eigenvectors", "svd"])
def test_stored_vectors_of_other_signs_are_no_faults(name: str, make_small: Callable[..., Path]) -> None:
    data = open_dataset(make_small(name, train=600, valid=0, test=0))
    task, spec = get_task(name), parse_spec(data.spec)
    rows = next(iter(data.chunks()))
    values = rows.solutions.dense()
    values[:, 1:] *= -1
    flipped = replace(rows, solutions=Matrices.from_dense(values))
    assert not any(fault.any() for fault in task.find_faults(spec, "train", flipped, 0).values())
    values[:, 1:] *= 1.01
    longer = replace(rows, solutions=Matrices.from_dense(values))
    assert any(fault.all() for fault in task.find_faults(spec, "train", longer, 0).values())


def test_column_signs_break_ties_consistently() -> None:
    """(1, -1) / sqrt 2: the last bits of the two entries do not decide the sign."""
    half = np.sqrt(0.5)
    for bits in (-1, 0, 1):
        v = np.array([[[half * (1 + 2e-16 * bits)], [-half]]])
        assert batched.column_signs(v)[0, 0, 0] == 1
        assert batched.column_signs(-v)[0, 0, 0] == -1
