"""integration-bwd: an independent check confirms every pair; predictions are verified numerically."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import mpmath
import numpy as np
import pytest

from mathpipe.datasets.containers.ragged_sequences import Sequences
from mathpipe.datasets.expressions.prefix import Tree, parse, text_to_ids
from mathpipe.datasets.expressions.vocabulary import TOKENS
from mathpipe.generate.outcomes import SYMBOLIC_OUTCOMES
from mathpipe.generate.problem_specs.expression_spec import ExpressionSpec
from mathpipe.generate.symbolic.check.antiderivatives import integrands, is_antiderivative
from mathpipe.generate.symbolic.check.sympy_fallback import SymPyProcess
from mathpipe.generate.tasks.calculus.integration_bwd import TASK


class TooLarge(ArithmeticError):
    """A value too large to evaluate."""


def value(tree: Tree, x: Any) -> Any:
    """An expression by mpmath's own functions."""
    if isinstance(tree, int):
        return mpmath.mpf(tree)
    name, operands = TOKENS[tree[0]], [value(child, x) for child in tree[1:]]
    if any(abs(u) > 10**5 for u in operands):
        raise TooLarge
    leaves = {"x": x, "pi": mpmath.pi, "E": mpmath.e}
    if name in leaves:
        return +leaves[name]
    a, *rest = operands
    if rest:
        b = rest[0]
        return {
            "add": lambda: a + b,
            "mul": lambda: a * b,
            "div": lambda: a / b,
            "pow": lambda: a**b,
            "sub": lambda: a - b,
        }[name]()
    return getattr(mpmath, name)(a)


POINTS = [mpmath.mpf("0.4127"), mpmath.mpf("-0.5521"), mpmath.mpf("1.9173"), mpmath.mpf("-2.8331")]
POINTS += [mpmath.mpc("0.6151", "0.2337"), mpmath.mpc("-0.8443", "-1.1319")]


def holds_at(f: bytes, primitive: bytes) -> tuple[int, int]:
    """(number of points where the difference quotient of F equals f, number of points where both are defined).

    Checked with 40 digits, and again with 2,000 if these differ: atan(tan(1000 i)) and the like lose more than 40 digits.
    """
    left, right = parse(f), parse(primitive)
    point_results = [agrees_at(left, right, point, 40) for point in POINTS]
    if False in point_results:
        point_results = [agrees_at(left, right, point, 2000) for point in POINTS]
    for k, point in enumerate(POINTS):
        if point_results[k] is False and not mpmath.im(point) and on_branch_cut(left, right, point):
            point_results[k] = None
    return sum(v is True for v in point_results), sum(v is not None for v in point_results)


def on_branch_cut(f: Tree, primitive: Tree, point: Any) -> bool:
    """Whether a real point lies on a cut, where rounding decides the side: F' = f holds right above it and right below it."""
    return all(agrees_at(f, primitive, mpmath.mpc(point, side), 2000) for side in (1e-6, -1e-6))


def agrees_at(f: Tree, primitive: Tree, point: Any, digits: int) -> bool | None:
    """Whether F' = f at a point; None where one has no value there."""
    with mpmath.workdps(digits):
        try:
            expected = value(f, point)
            derivative = mpmath.diff(lambda z: value(primitive, z), point, h=mpmath.mpf(10) ** (-digits // 2 + 2))
        except (TooLarge, ArithmeticError, ValueError, TypeError):
            return None
        size = max(abs(expected), abs(derivative))
        if not mpmath.isfinite(size) or not 1e-20 < size < 1e30:
            return None
        return bool(abs(expected - derivative) <= size * mpmath.mpf(10) ** -10)


def pairs_of(spec: ExpressionSpec, least: int, seed: int = 11) -> tuple[Sequences, Sequences]:
    problems, solutions, n = [], [], 0
    for batch in TASK.pairs(
        spec, lambda k: np.random.default_rng([seed, k]), lambda candidates: np.ones(len(candidates), dtype=bool)
    ):
        problems.append(batch.problems)
        solutions.append(batch.solutions)
        n += len(batch)
        if n >= least:
            break
    keep = np.arange(least)
    return Sequences.concatenate(problems).take(keep), Sequences.concatenate(solutions).take(keep)


def wrong_and_undecided(problems: Sequences, solutions: Sequences) -> tuple[list[int], int]:
    wrong, undecided = [], 0
    f = integrands(problems)
    for i in range(len(problems)):
        agree, usable = holds_at(f[i], solutions[i])
        if agree < usable:
            wrong.append(i)
        undecided += usable < 2
    return wrong, undecided


@pytest.mark.parametrize("simplify", [0.0, 1.0])
def test_pairs_hold_by_difference_quotients_with_40_digits(simplify: float) -> None:
    wrong, undecided = wrong_and_undecided(*pairs_of(ExpressionSpec(simplify=simplify), 150))
    assert wrong == []
    assert undecided <= 15


@pytest.mark.slow
def test_many_pairs_hold_by_difference_quotients_with_40_digits(many: int, record_property: Any) -> None:
    wrong, undecided = wrong_and_undecided(*pairs_of(ExpressionSpec(), many))
    record_property("undecided", undecided)
    assert wrong == []
    assert undecided <= many // 20


OUTCOME_CASES = [
    # integrand, reference, prediction, outcome
    ("cos x", "sin x", "sin x", "exact"),
    ("cos x", "sin x", "add INT+ 7 sin x", "equivalent"),
    ("cos x", "sin x", "mul INT- 1 mul INT- 1 sin x", "equivalent"),
    ("mul INT+ 2 mul sin x cos x", "pow sin x INT+ 2", "mul INT- 1 pow cos x INT+ 2", "equivalent"),
    ("mul INT+ 2 x", "pow x INT+ 2", "mul add x INT+ 1 sub x INT+ 1", "equivalent"),
    ("pow x INT- 1", "ln x", "ln abs x", "equivalent"),
    ("pow x INT- 1", "ln x", "ln mul INT+ 3 x", "equivalent"),
    ("add INT+ 1 pow tan x INT+ 2", "tan x", "div sin x cos x", "equivalent"),
    ("cos x", "sin x", "cos x", "wrong_value"),
    ("cos x", "sin x", "INT+ 0", "wrong_value"),
    ("cos x", "sin x", "mul INT+ 2 sin x", "wrong_value"),
    ("cos x", "sin x", "add sin x mul div INT+ 1 INT+ 1 0 0 0 0 0 0 x", "wrong_value"),
    ("x", "div pow x INT+ 2 INT+ 2", "div mul x abs x INT+ 2", "partial"),
    ("cos x", "sin x", "sin", "malformed"),
    ("cos x", "sin x", "sin x x", "malformed"),
    ("cos x", "sin x", "", "malformed"),
    ("cos x", "sin x", "sin y", "malformed"),
    ("cos x", "sin x", "add sin x a8", "malformed"),
    ("cos x", "sin x", "sub Y' cos x", "malformed"),
    ("cos x", "sin x", "pow exp exp exp exp INT+ 9 INT+ 9 9 9", "wrong_value"),
    ("cos x", "sin x", "div sin x INT+ 0", "wrong_value"),
    # an integrand without numerical values: SymPy decides
    ("add ln INT+ 0 mul INT- 1 ln INT+ 0", "x", "x", "undecided"),
    (
        "mul exp INT+ 9 9 9 9 cos x",
        "mul exp INT+ 9 9 9 9 sin x",
        "add INT+ 1 mul exp INT+ 9 9 9 9 sin x",
        "equivalent",
    ),
]


PREFIXED_CASES = [(f"sub Y' {f}", reference, prediction) for f, reference, prediction, _ in OUTCOME_CASES]


@pytest.mark.parametrize(("integrand", "reference", "prediction", "outcome"), OUTCOME_CASES)
def test_prediction_outcomes(integrand: str, reference: str, prediction: str, outcome: str) -> None:
    batch = [Sequences.from_list([text_to_ids(text)]) for text in (f"sub Y' {integrand}", reference, prediction)]
    assert SYMBOLIC_OUTCOMES[TASK.verify(*batch).outcome[0]] == outcome


def test_batched_verification_matches_single() -> None:
    columns = [[text_to_ids(text) for text in column] for column in zip(*PREFIXED_CASES, strict=True)]
    verification = TASK.verify(*(Sequences.from_list(column) for column in columns))
    assert [SYMBOLIC_OUTCOMES[k] for k in verification.outcome] == [outcome for *_, outcome in OUTCOME_CASES]


def test_arbitrary_bytes_get_an_outcome() -> None:
    rng = np.random.default_rng(0)
    predicted = Sequences.from_list(
        [bytes(rng.integers(0, 256, rng.integers(0, 12), dtype=np.uint8)) for _ in range(500)]
    )
    problems = Sequences.from_list([text_to_ids("sub Y' cos x")] * 500)
    outcome = TASK.verify(problems, Sequences.from_list([text_to_ids("sin x")] * 500), predicted).outcome
    assert set(np.array(SYMBOLIC_OUTCOMES)[outcome]) <= {"malformed", "wrong_value"}


def test_disguised_constant_is_rejected() -> None:
    hidden = text_to_ids("div add mul x tan div INT+ 1 INT+ 5 x mul INT+ 3 x")
    part = "mul add INT+ 1 tan div INT+ 1 INT+ 5 pow x INT- 1"
    zero = text_to_ids(f"add {part} mul INT- 1 {part}")
    right, reasons = is_antiderivative(Sequences.from_list([zero]), Sequences.from_list([hidden]))
    assert not right.any()
    assert reasons["constant"].any() or reasons["too few test points"].any()


def test_overflowing_primitive_is_rejected() -> None:
    """ln(exp u) is u, but overflows numerically: stored pairs must pass the same verification as predictions."""
    steep = text_to_ids("ln exp mul INT+ 4 0 0 x")
    right, reasons = is_antiderivative(Sequences.from_list([text_to_ids("INT+ 4 0 0")]), Sequences.from_list([steep]))
    assert not right.any()
    assert reasons["does not hold everywhere"].all()


@pytest.mark.parametrize("simplify", [0.0, 0.5])
def test_every_pair_verifies_as_exact(simplify: float) -> None:
    problems, solutions = pairs_of(ExpressionSpec(simplify=simplify), 1500, seed=21)
    assert not TASK.verify(problems, solutions, solutions).outcome.any()  # all exact


def test_pairs_do_not_depend_on_hash_seeds() -> None:
    program = (
        "import hashlib, numpy as np\n"
        "from mathpipe.generate.problem_specs.expression_spec import ExpressionSpec\n"
        "from mathpipe.generate.tasks.calculus.integration_bwd import TASK\n"
        "it = TASK.pairs(ExpressionSpec(simplify=0.5), lambda k: np.random.default_rng([3, k]), lambda s: np.ones(len(s), bool))\n"
        "p = next(it)\n"
        "print(hashlib.sha256(p.problems.values.tobytes() + p.solutions.values.tobytes()).hexdigest())\n"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", program], env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, check=True
        ).stdout
        for seed in ("1", "2")
    }
    assert len(digests) == 1


def test_sympy_fallback_has_a_time_limit() -> None:
    with SymPyProcess(seconds=2) as sympy_process:
        assert sympy_process.is_antiderivative(text_to_ids("cos x"), text_to_ids("sin x")) == "equivalent"
        assert sympy_process.is_antiderivative(text_to_ids("INT+ 2"), text_to_ids("mul INT+ 3 x")) == "wrong_value"
        tower = text_to_ids("pow add " + "exp sin " * 6 + "x " + "cos ln " * 6 + "x INT+ 9 7")
        assert sympy_process.is_antiderivative(text_to_ids("x"), tower) in ("timeout", "undecided")
        assert sympy_process.is_antiderivative(text_to_ids("cos x"), text_to_ids("add INT+ 1 sin x")) == "equivalent"
