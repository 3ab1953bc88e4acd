"""Every task, enrolled in the same tests by one row of a table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
from scipy.linalg import hilbert

from mathpipe.datasets.encodings import P1000
from mathpipe.datasets.errors import UserError
from mathpipe.datasets.grid import round_to_grid
from mathpipe.datasets.matrices import Matrices
from mathpipe.generate.law import MatrixLaw
from mathpipe.generate.tasks import TASKS, get_task

Oracle = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Enrolled:
    """A task's row: its answer by another route (NumPy, one problem at a time)."""

    task: str
    oracle: Oracle
    rectangular: bool = True


TABLE = [
    Enrolled("transpose", lambda a: a.T),
    Enrolled("add", lambda ab: ab[:, : ab.shape[1] // 2] + ab[:, ab.shape[1] // 2 :]),
    Enrolled("inverse", lambda a: np.linalg.solve(a, np.eye(len(a))), rectangular=False),
]
EACH = pytest.mark.parametrize("row", TABLE, ids=lambda row: row.task)


def operands_of(row: Enrolled, n: int = 200, *, seed: int = 1, **law: object) -> Matrices:
    """n operands of mixed shapes."""
    drawn = {"min_dim": 1, "max_dim": 6, "rectangular": row.rectangular, **law}
    return get_task(row.task).sample(np.random.default_rng(seed), n, MatrixLaw.model_validate(drawn))


def test_every_task_is_enrolled() -> None:
    assert {row.task for row in TABLE} == set(TASKS)


@EACH
def test_the_same_generator_draws_the_same_problems(row: Enrolled) -> None:
    first, second, other = (operands_of(row, seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(first.values, second.values) and first.same_shape(second).all()
    assert not np.array_equal(first.values[:100], other.values[:100])


@EACH
def test_answers_agree_with_numpy(row: Enrolled) -> None:
    operands = operands_of(row)
    solved = get_task(row.task).solve(operands)
    rejected = np.logical_or.reduce([np.zeros(len(operands), dtype=bool), *solved.rejected.values()])
    assert rejected.mean() < 0.02
    for i in np.flatnonzero(~rejected):
        np.testing.assert_allclose(
            solved.solutions[i], row.oracle(operands[i]), rtol=1e-7, atol=1e-9 * abs(solved.solutions[i]).max()
        )


@EACH
def test_a_batch_is_solved_as_its_problems_one_by_one(row: Enrolled) -> None:
    operands = operands_of(row, 50)
    together = get_task(row.task).solve(operands).solutions
    for i in range(len(operands)):
        alone = get_task(row.task).solve(operands.take([i])).solutions
        assert np.array_equal(alone[0], together[i])


@EACH
def test_the_answer_has_the_shape_it_says(row: Enrolled) -> None:
    operands = operands_of(row, 50)
    rows, cols = get_task(row.task).answer_shape(operands)
    solutions = get_task(row.task).solve(operands).solutions
    assert np.array_equal(rows, solutions.rows) and np.array_equal(cols, solutions.cols)


@EACH
def test_its_own_answer_is_right_and_others_are_not(row: Enrolled) -> None:
    task = get_task(row.task)
    operands = operands_of(row, min_dim=2)
    x = task.solve(operands).solutions
    own = task.verify(operands, x, x)
    assert task.passes(own, 1e-6).all()
    assert (own["coefficients_within_1pct"] == 1).all() and (own["error_reference_l1"] == 0).all()
    for wrong in (0 * x.values, 1.2 * x.values, -x.values, x.values + 1 + np.abs(x.values)):
        assert not task.passes(task.verify(operands, x, Matrices(wrong, x.rows, x.cols)), 0.05).any()


@EACH
def test_verdicts_of_a_batch_are_those_of_its_problems(row: Enrolled) -> None:
    task = get_task(row.task)
    operands = operands_of(row, 40)
    x = task.solve(operands).solutions
    predicted = Matrices(x.values * np.random.default_rng(0).normal(1, 0.05, len(x.values)), x.rows, x.cols)
    together = task.verify(operands, x, predicted)
    for i in range(len(operands)):
        alone = task.verify(operands.take([i]), x.take([i]), predicted.take([i]))
        for name, values in together.items():
            np.testing.assert_allclose(alone[name][0], values[i], rtol=1e-12, err_msg=name)


@EACH
@pytest.mark.parametrize("extreme", [np.inf, np.nan, 1e300, -1e300])
def test_extreme_predictions_are_wrong_and_never_raise(row: Enrolled, extreme: float) -> None:
    task = get_task(row.task)
    operands = operands_of(row, 20, min_dim=2)
    x = task.solve(operands).solutions
    values = x.values.copy()
    values[x.offsets[:-1]] = extreme
    assert not task.passes(task.verify(operands, x, Matrices(values, x.rows, x.cols)), 0.25).any()


@EACH
def test_best_written_is_on_the_grid_and_no_worse_than_rounding(row: Enrolled) -> None:
    task = get_task(row.task)
    operands = operands_of(row, 100, max_dim=5)
    x = task.solve(operands).solutions
    best = task.best_written(operands, x)
    assert np.array_equal(P1000().decode(P1000().encode(best.values))[0], best.values)
    nearest = Matrices(round_to_grid(x.values), x.rows, x.cols)
    assert (task.verify(operands, x, best)["error_l1"] <= task.verify(operands, x, nearest)["error_l1"] + 1e-12).all()


@EACH
def test_operands_lie_on_the_grid(row: Enrolled) -> None:
    operands = operands_of(row)
    assert np.array_equal(round_to_grid(operands.values), operands.values)
    off_grid = operands_of(row, exact_operands=False)
    assert np.array_equal(off_grid.values.astype(np.float32), off_grid.values)
    assert (round_to_grid(off_grid.values) != off_grid.values).mean() > 0.9


def test_inverse_backwards_from_a_known_answer() -> None:
    """A = X^-1 formed exactly: X = P D with small integers has an inverse with few digits."""
    x = np.array([[[2.0, 0.0], [0.0, 4.0]], [[0.0, 5.0], [2.0, 0.0]], [[1.0, 3.0], [0.0, 1.0]]])
    a = np.array([[[0.5, 0.0], [0.0, 0.25]], [[0.0, 0.5], [0.2, 0.0]], [[1.0, -3.0], [0.0, 1.0]]])
    solved = get_task("inverse").solve(Matrices.from_dense(a))
    np.testing.assert_allclose(solved.solutions.dense(), x, atol=1e-15)


def test_one_singular_matrix_is_rejected_alone() -> None:
    a = np.random.default_rng(0).normal(size=(6, 3, 3))
    a[2] = np.outer([1, 2, 3], [4, 5, 6])
    a[4] = 0
    solved = get_task("inverse").solve(Matrices.from_dense(a))
    bad = solved.rejected["singular"] | solved.rejected["untrusted inverse"]
    assert np.flatnonzero(bad).tolist() == [2, 4]
    np.testing.assert_allclose(solved.solutions.dense()[~bad], np.linalg.inv(a[~bad]), rtol=1e-12)


def test_nearly_singular_inverses_are_not_trusted() -> None:
    """A Hilbert matrix of order 9 has condition number 5e11: its computed inverse misses I by about 1e-5."""
    solved = get_task("inverse").solve(Matrices.from_dense([hilbert(9), np.eye(9)]))
    assert solved.rejected["untrusted inverse"].tolist() == [True, False]


def test_inverse_is_judged_by_its_residual() -> None:
    """A = diag(1, 2): H = diag(1.02, 0.5) has A H - I = diag(0.02, 0), so error_l1 = 0.02 / 2."""
    a = Matrices.from_dense([np.diag([1.0, 2.0])])
    x, h = (Matrices.from_dense([np.diag(d)]) for d in ([1.0, 0.5], [1.02, 0.5]))
    errors = get_task("inverse").verify(a, x, h)
    assert {k: round(float(v[0]), 12) for k, v in errors.items()} == {
        "error_l1": 0.01,
        "error_l2": 0.0002,
        "error_max": 0.02,
        "coefficients_within_1pct": 0.75,
        "error_reference_l1": round(0.02 / 1.5, 12),
    }


def test_add_is_judged_by_its_difference() -> None:
    ab, x, h = (Matrices.from_list([m]) for m in ([[1.0, 2.0, 3.0, -1.0]], [[4.0, 1.0]], [[4.2, 1.0]]))
    errors = get_task("add").verify(ab, x, h)
    expected = {
        "error_l1": 0.04,
        "error_l2": 0.04 / 17,
        "error_max": 0.05,
        "coefficients_within_1pct": 0.5,
        "error_reference_l1": 0.04,
    }
    assert errors.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(errors[name][0], value, rtol=1e-12)


def test_a_reference_of_zeros_allows_only_zeros() -> None:
    ab, x = Matrices.from_list([[[1.0, -1.0]], [[1.0, -1.0]]]), Matrices.from_list([[[0.0]], [[0.0]]])
    errors = get_task("add").verify(ab, x, Matrices.from_list([[[0.0]], [[1e-6]]]))
    assert errors["error_l1"].tolist() == [0, np.inf]


@pytest.mark.parametrize(("n", "reference", "attainable"), [(3, (95, 98), (97.5, 99.9)), (5, (91, 94), (96, 98.5))])
def test_reference_and_attainable_scores_of_inverse(
    n: int, reference: tuple[float, float], attainable: tuple[float, float]
) -> None:
    """What verdicts on stored answers written with 3 digits come to: 96.4 % (3x3) and 92.4 % (5x5) at 5 % tolerance."""
    task = get_task("inverse")
    operands = task.sample(np.random.default_rng(5), 4_000, MatrixLaw(min_dim=n, max_dim=n))
    x = task.solve(operands).solutions
    nearest = Matrices(round_to_grid(x.values), x.rows, x.cols)
    scores = [
        100 * task.passes(task.verify(operands, x, h), 0.05).mean() for h in (nearest, task.best_written(operands, x))
    ]
    assert reference[0] < scores[0] < reference[1]
    assert attainable[0] < scores[1] < attainable[1]


def test_unknown_task_offers_the_nearest() -> None:
    with pytest.raises(UserError, match="did you mean inverse"):
        get_task("inversion")


@pytest.mark.parametrize(
    ("task", "law", "message"),
    [
        ("inverse", {"rectangular": True}, "square"),
        ("inverse", {"rows": 2, "cols": 3}, "square"),
        ("add", {"min_dim": 60, "max_dim": 60}, "120 columns"),
    ],
)
def test_laws_a_task_cannot_be_drawn_by(task: str, law: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        get_task(task).check(MatrixLaw.model_validate(law))
