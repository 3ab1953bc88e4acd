"""integration-bwd: every pair is right by a separate check, and predictions are judged by mathematics."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import mpmath
import numpy as np
import pytest

from mathpipe.datasets.containers.ragged_sequences import Sequences
from mathpipe.datasets.expressions.prefix import Tree, parse, words_of
from mathpipe.datasets.expressions.vocabulary import WORDS
from mathpipe.generate.outcomes import SYMBOLIC_OUTCOMES
from mathpipe.generate.spec import ExpressionSpec
from mathpipe.generate.symbolic.check.antiderivatives import holds, integrands
from mathpipe.generate.symbolic.check.sympy_fallback import BoundedCas
from mathpipe.generate.tasks.calculus.integration_bwd import TASK


class Beyond(ArithmeticError):
    """Too large to be worked with."""


def value(tree: Tree, x: Any) -> Any:
    """An expression by mpmath's own functions."""
    if isinstance(tree, int):
        return mpmath.mpf(tree)
    name, problems = WORDS[tree[0]], [value(child, x) for child in tree[1:]]
    if any(abs(u) > 10**5 for u in problems):
        raise Beyond
    leaves = {"x": x, "pi": mpmath.pi, "E": mpmath.e}
    if name in leaves:
        return +leaves[name]
    a, *rest = problems
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
    """At how many points the difference quotient of F is f, of how many where both have values.

    With 40 digits; where these differ again with 2,000, since atan(tan(1000 i)) and its like cancel more than 40 digits.
    """
    left, right = parse(f), parse(primitive)
    verdicts = [agrees_at(left, right, point, 40) for point in POINTS]
    if False in verdicts:
        verdicts = [agrees_at(left, right, point, 2000) for point in POINTS]
    for k, point in enumerate(POINTS):
        if verdicts[k] is False and not mpmath.im(point) and on_a_cut(left, right, point):
            verdicts[k] = None
    return sum(v is True for v in verdicts), sum(v is not None for v in verdicts)


def on_a_cut(f: Tree, primitive: Tree, point: Any) -> bool:
    """Whether a real point lies on a cut, where rounding decides the side: F' = f holds right above it and right below it."""
    return all(agrees_at(f, primitive, mpmath.mpc(point, side), 2000) for side in (1e-6, -1e-6))


def agrees_at(f: Tree, primitive: Tree, point: Any, digits: int) -> bool | None:
    """Whether F' = f at a point; None where one has no value there."""
    with mpmath.workdps(digits):
        try:
            wanted = value(f, point)
            found = mpmath.diff(lambda z: value(primitive, z), point, h=mpmath.mpf(10) ** (-digits // 2 + 2))
        except (Beyond, ArithmeticError, ValueError, TypeError):
            return None
        size = max(abs(wanted), abs(found))
        if not mpmath.isfinite(size) or not 1e-20 < size < 1e30:
            return None
        return bool(abs(wanted - found) <= size * mpmath.mpf(10) ** -10)


def pairs_of(spec: ExpressionSpec, least: int, seed: int = 11) -> tuple[Sequences, Sequences]:
    problems, solutions, n = [], [], 0
    for batch in TASK.pairs(
        spec, lambda k: np.random.default_rng([seed, k]), lambda found: np.ones(len(found), dtype=bool)
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


JUDGED = [
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
    # an integrand without values: SymPy is asked
    ("add ln INT+ 0 mul INT- 1 ln INT+ 0", "x", "x", "undecided"),
    (
        "mul exp INT+ 9 9 9 9 cos x",
        "mul exp INT+ 9 9 9 9 sin x",
        "add INT+ 1 mul exp INT+ 9 9 9 9 sin x",
        "equivalent",
    ),
]


WRITTEN = [(f"sub Y' {f}", reference, prediction) for f, reference, prediction, _ in JUDGED]


@pytest.mark.parametrize(("integrand", "reference", "prediction", "outcome"), JUDGED)
def test_predictions_are_judged_by_mathematics(integrand: str, reference: str, prediction: str, outcome: str) -> None:
    batch = [Sequences.from_list([words_of(text)]) for text in (f"sub Y' {integrand}", reference, prediction)]
    assert SYMBOLIC_OUTCOMES[TASK.judge(*batch).outcome[0]] == outcome


def test_judging_many_is_judging_each() -> None:
    columns = [[words_of(text) for text in column] for column in zip(*WRITTEN, strict=True)]
    found = TASK.judge(*(Sequences.from_list(column) for column in columns))
    assert [SYMBOLIC_OUTCOMES[k] for k in found.outcome] == [outcome for *_, outcome in JUDGED]


def test_any_bytes_whatever_are_judged() -> None:
    rng = np.random.default_rng(0)
    predicted = Sequences.from_list(
        [bytes(rng.integers(0, 256, rng.integers(0, 12), dtype=np.uint8)) for _ in range(500)]
    )
    problems = Sequences.from_list([words_of("sub Y' cos x")] * 500)
    outcome = TASK.judge(problems, Sequences.from_list([words_of("sin x")] * 500), predicted).outcome
    assert set(np.array(SYMBOLIC_OUTCOMES)[outcome]) <= {"malformed", "wrong_value"}


def test_a_constant_in_disguise_is_no_pair() -> None:
    hidden = words_of("div add mul x tan div INT+ 1 INT+ 5 x mul INT+ 3 x")
    part = "mul add INT+ 1 tan div INT+ 1 INT+ 5 pow x INT- 1"
    zero = words_of(f"add {part} mul INT- 1 {part}")
    right, reasons = holds(Sequences.from_list([zero]), Sequences.from_list([hidden]))
    assert not right.any()
    assert reasons["constant"].any() or reasons["undecided by numbers"].any()


def test_a_primitive_that_overflows_where_its_problem_does_not_is_no_pair() -> None:
    """ln(exp u) is u, but not in numbers: what is written must be judged right by the same numbers as predictions."""
    steep = words_of("ln exp mul INT+ 4 0 0 x")
    right, reasons = holds(Sequences.from_list([words_of("INT+ 4 0 0")]), Sequences.from_list([steep]))
    assert not right.any()
    assert reasons["does not hold everywhere"].all()


@pytest.mark.parametrize("simplify", [0.0, 0.5])
def test_every_pair_is_judged_right(simplify: float) -> None:
    problems, solutions = pairs_of(ExpressionSpec(simplify=simplify), 1500, seed=21)
    assert not TASK.judge(problems, solutions, solutions).outcome.any()  # all exact


def test_pairs_do_not_depend_on_hash_seeds() -> None:
    program = (
        "import hashlib, numpy as np\n"
        "from mathpipe.generate.spec import ExpressionSpec\n"
        "from mathpipe.generate.tasks.calculus.integration_bwd import TASK\n"
        "it = TASK.pairs(ExpressionSpec(simplify=0.5), lambda k: np.random.default_rng([3, k]), lambda s: np.ones(len(s), bool))\n"
        "p = next(it)\n"
        "print(hashlib.sha256(p.problems.values.tobytes() + p.solutions.values.tobytes()).hexdigest())\n"
    )
    said = {
        subprocess.run(
            [sys.executable, "-c", program], env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, check=True
        ).stdout
        for seed in ("1", "2")
    }
    assert len(said) == 1


def test_sympy_is_asked_in_bounded_time() -> None:
    with BoundedCas(seconds=2) as cas:
        assert cas.is_primitive(words_of("cos x"), words_of("sin x")) == "equivalent"
        assert cas.is_primitive(words_of("INT+ 2"), words_of("mul INT+ 3 x")) == "wrong_value"
        tower = words_of("pow add " + "exp sin " * 6 + "x " + "cos ln " * 6 + "x INT+ 9 7")
        assert cas.is_primitive(words_of("x"), tower) in ("timeout", "undecided")
        assert cas.is_primitive(words_of("cos x"), words_of("add INT+ 1 sin x")) == "equivalent"
