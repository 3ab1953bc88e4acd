"""ode1 and ode2: an independent check confirms every pair for the constants it names; predictions are verified numerically."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from functools import cache
from typing import Any

import mpmath
import numpy as np
import pytest

from mathpipe.datasets.containers.ragged_sequences import Sequences
from mathpipe.datasets.expressions.prefix import Tree, ids_to_text, parse, text_to_ids
from mathpipe.datasets.expressions.vocabulary import IDS, TOKENS
from mathpipe.datasets.rendering.formulas import to_infix
from mathpipe.generate.outcomes import SYMBOLIC_OUTCOMES
from mathpipe.generate.symbolic.check.accepted_solutions import is_solution
from mathpipe.generate.symbolic.check.solution_points import FIRST_ORDER, SECOND_ORDER
from mathpipe.generate.tasks.task_registry import token_task
from mathpipe.generate.tasks.token_task import TokenTask

NAMES = ("ode1", "ode2")


class TooLarge(ArithmeticError):
    """A value too large to evaluate."""


Leaves = dict[str, Any]
BINARY = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "div": lambda a, b: a / b,
    "pow": lambda a, b: a**b,
}


def value(tree: Tree, leaves: Leaves) -> Any:
    """An expression by mpmath's own functions."""
    if isinstance(tree, int):
        return mpmath.mpf(tree)
    name, operands = TOKENS[tree[0]], [value(child, leaves) for child in tree[1:]]
    if any(abs(u) > 10**5 for u in operands):
        raise TooLarge
    if not operands:
        return leaves[name] if name in leaves else +{"pi": mpmath.pi, "E": mpmath.e}[name]
    return BINARY[name](*operands) if len(operands) == 2 else getattr(mpmath, name)(*operands)


def terms(tree: Tree) -> list[Tree]:
    """The terms of a sum, without their signs."""
    if not isinstance(tree, int) and TOKENS[tree[0]] in ("add", "sub"):
        return [term for child in tree[1:] for term in terms(child)]
    return [tree]


def is_zero_at(equation: Tree, solution: Tree, x: Any, constants: Leaves, digits: int) -> bool | None:
    """Whether the terms of the equation cancel, with difference quotients of y; None if a value is undefined."""
    with mpmath.workdps(2 * digits + 40):
        h = mpmath.mpf(10) ** -(digits // 2 + 10)
        try:
            before, here, after = (value(solution, {"x": x + k * h, **constants}) for k in (-1, 0, 1))
            slope, second_derivative = (after - before) / (2 * h), (after - 2 * here + before) / h**2
            leaves = {"x": x, "Y": here, "Y'": slope, "Y''": second_derivative}
            total, size = value(equation, leaves), sum(abs(value(term, leaves)) for term in terms(equation))
        except (TooLarge, ArithmeticError, ValueError, TypeError):
            return None
        if not mpmath.isfinite(size):
            return None
        return bool(abs(total) <= size * mpmath.mpf(10) ** -15 + mpmath.mpf(10) ** -25)


XS = [mpmath.mpf(x) for x in ("0.4127", "-0.5521", "1.9173", "-2.8331", "4.6127", "-5.1339")]
XS += [
    mpmath.mpc(*z) for z in (("0.6151", "0.2337"), ("-0.8443", "-1.1319"), ("2.1173", "1.0931"), ("-1.7123", "2.2591"))
]
CONSTANTS = {
    "ode1": (
        (("1.7321",), ("4.1231",)),
        (("0.5127",), ("0.2763",)),
        (("-0.4717",), ("-0.8123",)),
        (("-1.4142",), ("-5.3852",)),
    ),
    "ode2": (
        (("0.7713", "2.2917"), ("3.1623", "0.5477")),
        (("-0.8137", "1.6361"), ("-2.6458", "0.3873")),
        (("1.1874", "-0.6403"), ("0.4583", "-3.3166")),
        (("-0.5831", "-1.9053"), ("-2.1448", "-0.7211")),
    ),
}


def vanishes_at(equation: Tree, solution: Tree, x: Any, constants: Leaves) -> bool | None:
    """Check with 40 digits; if the terms do not cancel, with more digits and beside the real axis (rounding decides on cuts)."""
    vanishes = is_zero_at(equation, solution, x, constants, 40)
    if vanishes is not False:
        return vanishes
    vanishes = is_zero_at(equation, solution, x, constants, 1000)
    if vanishes is False and not mpmath.im(x):
        sides = [is_zero_at(equation, solution, mpmath.mpc(x, side), constants, 400) for side in (1e-6, -1e-6)]
        if sides == [True, True]:
            return None
    return vanishes


def failures(
    task: str, problem: bytes, solution: bytes, mask: int, every: int = 1, first: int = 0
) -> tuple[list[Any], int]:
    """(points where a pair fails, number of decided points), for each ``every``-th point and the constants of the mask."""
    equation, y = parse(problem), parse(solution)
    names = ("a8", "a9")
    points = [
        (x, dict(zip(names, map(mpmath.mpf, constants[k % 2]), strict=False)))
        for r, constants in enumerate(CONSTANTS[task])
        if mask >> r & 1
        for k, x in enumerate(XS)
    ]
    results = [(point, vanishes_at(equation, y, *point)) for point in points[first % every :: every]]
    return [point for point, v in results if v is False], sum(v is not None for _, v in results)


FEW = {"ode1": 120, "ode2": 60}


@cache
def few_pairs(name: str) -> list[tuple[bytes, bytes, int]]:
    """Pairs that several tests share."""
    return pairs_of(token_task(name), FEW[name], seed=11)


def pairs_of(task: TokenTask[Any], least: int, seed: int) -> list[tuple[bytes, bytes, int]]:
    pairs: list[tuple[bytes, bytes, int]] = []
    batches = task.pairs(
        task.default_spec,
        lambda k: np.random.default_rng([seed, k]),
        lambda problems: np.ones(len(problems), dtype=bool),
    )
    while len(pairs) < least:
        batch = next(batches)
        pairs += zip(
            batch.problems.to_list(), batch.solutions.to_list(), batch.columns["constants"].tolist(), strict=True
        )
    return pairs[:least]


def wrong_and_undecided(name: str, pairs: list[tuple[bytes, bytes, int]], every: int) -> tuple[list[str], int]:
    wrong, undecided = [], 0
    for i, (problem, solution, mask) in enumerate(pairs):
        failing, decided = failures(name, problem, solution, mask, every, first=i)
        if failing:
            x, constants = failing[0]
            at = ", ".join(f"{k} = {mpmath.nstr(v)}" for k, v in {"x": x, **constants}.items())
            wrong.append(f"{to_infix(problem)} | {to_infix(solution)} | {mask} | {len(failing)}/{decided}: {at}")
        undecided += decided < 2
    return wrong, undecided


@pytest.mark.parametrize("name", NAMES)
def test_pairs_hold_by_difference_quotients(name: str) -> None:
    wrong, undecided = wrong_and_undecided(name, few_pairs(name), every=8)
    assert wrong == []
    assert undecided <= FEW[name] // 8


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_many_pairs_hold_by_difference_quotients(name: str, many: int, record_property: Any) -> None:
    wrong, undecided = wrong_and_undecided(name, pairs_of(token_task(name), many, seed=12), every=2)
    record_property("undecided", undecided)
    assert wrong == []
    assert undecided <= many // 20


OUTCOME_CASES = {
    "ode1": [
        # equation, reference, prediction, outcome
        ("sub Y' Y", "mul a8 exp x", "mul a8 exp x", "exact"),
        ("sub Y' Y", "mul a8 exp x", "mul exp x a8", "equivalent"),
        ("sub Y' Y", "mul a8 exp x", "exp add x a8", "equivalent"),
        ("sub Y' Y", "mul a8 exp x", "mul INT- 3 mul exp a8 exp x", "equivalent"),
        ("sub Y' Y", "mul a8 exp x", "mul tan a8 exp x", "equivalent"),
        ("sub Y' Y", "mul a8 exp x", "INT+ 0", "particular"),
        ("sub Y' Y", "mul a8 exp x", "exp x", "particular"),
        ("sub Y' Y", "mul a8 exp x", "add exp x mul a8 INT+ 0", "particular"),
        ("sub Y' Y", "mul a8 exp x", "add exp x sub a8 a8", "particular"),
        ("sub Y' Y", "mul a8 exp x", "add exp x a8", "wrong_value"),
        ("sub Y' Y", "mul a8 exp x", "mul a8 exp mul INT+ 2 x", "wrong_value"),
        ("sub Y' Y", "mul a8 exp x", "mul a8 pow exp x div INT+ 1 0 0 1 INT+ 1 0 0 0", "wrong_value"),
        ("sub Y' Y", "mul a8 exp x", "div a8 INT+ 0", "wrong_value"),
        ("sub Y' Y", "mul a8 exp x", "mul exp x exp exp exp exp mul INT+ 9 a8", "equivalent"),
        ("sub Y' Y", "mul a8 exp x", "mul a8 mul exp x exp exp exp exp INT+ 9", "undecided"),
        ("sub Y' Y", "mul a8 exp x", "mul a9 exp x", "malformed"),
        ("sub Y' Y", "mul a8 exp x", "mul a8 exp y", "malformed"),
        ("sub Y' Y", "mul a8 exp x", "mul a8 Y", "malformed"),
        ("sub Y' Y", "mul a8 exp x", "mul a8 exp", "malformed"),
        ("sub Y' Y", "mul a8 exp x", "mul a8 exp x x", "malformed"),
        ("sub Y' Y", "mul a8 exp x", "", "malformed"),
        # a root of a square is y on one half of the axis only
        ("sub mul x Y' Y", "mul a8 x", "mul a8 abs x", "equivalent"),
        ("sub Y' a8", "mul a8 x", "mul a8 x", "undecided"),
        ("sub Y' INT+ 1", "add a8 x", "add a8 abs x", "partial"),
        ("sub Y' INT+ 1", "add a8 x", "add a8 asin sin x", "partial"),
        ("sub Y' INT+ 1", "add a8 x", "add mul INT+ 1 0 0 0 0 0 0 a8 x", "equivalent"),
        ("mul div INT+ 1 INT+ 9 9 9 9 9 9 9 9 9 9 sub Y' INT+ 1", "add a8 x", "add a8 mul INT+ 2 x", "wrong_value"),
        ("sub mul Y Y' x", "sqrt add a8 pow x INT+ 2", "mul INT- 1 sqrt add a8 mul x x", "equivalent"),
    ],
    "ode2": [
        ("add Y Y''", "add mul a8 cos x mul a9 sin x", "add mul a8 cos x mul a9 sin x", "exact"),
        ("add Y Y''", "add mul a8 cos x mul a9 sin x", "mul a8 cos add x a9", "equivalent"),
        ("add Y Y''", "add mul a8 cos x mul a9 sin x", "add mul a9 cos x mul sub a8 a9 sin x", "equivalent"),
        ("add Y Y''", "add mul a8 cos x mul a9 sin x", "mul a8 cos x", "particular"),
        ("add Y Y''", "add mul a8 cos x mul a9 sin x", "mul add a8 a9 cos x", "particular"),
        ("add Y Y''", "add mul a8 cos x mul a9 sin x", "mul mul a8 a9 sin x", "particular"),
        ("add Y Y''", "add mul a8 cos x mul a9 sin x", "INT+ 0", "particular"),
        ("add Y Y''", "add mul a8 cos x mul a9 sin x", "add mul a8 exp x mul a9 sin x", "wrong_value"),
        ("add Y Y''", "add mul a8 cos x mul a9 sin x", "add a8 mul a9 x", "wrong_value"),
        ("add Y Y''", "add mul a8 cos x mul a9 sin x", "add mul a7 cos x mul a9 sin x", "malformed"),
        ("add Y Y''", "add mul a8 cos x mul a9 sin x", "mul a8", "malformed"),
        ("Y''", "add a8 mul a9 x", "add a8 mul a9 x", "exact"),
        ("Y''", "add a8 mul a9 x", "add a8 mul a9 sub x INT+ 5", "equivalent"),
        ("Y''", "add a8 mul a9 x", "add mul a8 x mul a9 x", "particular"),
        ("Y''", "add a8 mul a9 x", "add a8 mul a9 abs x", "equivalent"),
        ("Y''", "add a8 mul a9 x", "add a8 mul a9 pow x INT+ 2", "wrong_value"),
        ("sub Y'' div Y' x", "add a8 mul a9 pow x INT+ 2", "add a8 mul a9 mul x asin sin x", "partial"),
    ],
}
CASES = [(name, *case) for name, cases in OUTCOME_CASES.items() for case in cases]


def outcomes(name: str, cases: list[tuple[str, str, str]]) -> list[str]:
    columns = [Sequences.from_list([text_to_ids(text) for text in column]) for column in zip(*cases, strict=True)]
    return [SYMBOLIC_OUTCOMES[k] for k in token_task(name).verify(*columns).outcome]


@pytest.mark.parametrize(("name", "equation", "reference", "prediction", "outcome"), CASES)
def test_prediction_outcomes(name: str, equation: str, reference: str, prediction: str, outcome: str) -> None:
    assert outcomes(name, [(equation, reference, prediction)]) == [outcome]


@pytest.mark.parametrize("name", NAMES)
def test_batched_verification_matches_single(name: str) -> None:
    cases = OUTCOME_CASES[name] * 3
    assert outcomes(name, [case[:3] for case in cases]) == [outcome for *_, outcome in cases]


@pytest.mark.parametrize("name", NAMES)
def test_references_are_exact_and_shuffled_solutions_wrong(name: str) -> None:
    task = token_task(name)
    pairs = few_pairs(name)
    problems, solutions = (Sequences.from_list(part) for part in list(zip(*pairs, strict=True))[:2])
    right = task.verify(problems, solutions, solutions)
    assert {SYMBOLIC_OUTCOMES[k] for k in right.outcome} == {"exact"}
    assert (right.measures["satisfied_fraction"] > 0).all()
    others = task.verify(problems, solutions, solutions.take(np.roll(np.arange(len(pairs)), 1)))
    assert (others.outcome == SYMBOLIC_OUTCOMES.index("wrong_value")).sum() >= 0.9 * len(pairs)


@pytest.mark.parametrize("name", NAMES)
def test_arbitrary_bytes_get_an_outcome(name: str) -> None:
    rng = np.random.default_rng(0)
    predicted = Sequences.from_list(
        [bytes(rng.integers(0, 256, rng.integers(0, 12), dtype=np.uint8)) for _ in range(300)]
    )
    problems = Sequences.from_list([text_to_ids("sub Y' Y")] * 300)
    outcome = token_task(name).verify(problems, problems, predicted).outcome
    assert set(np.array(SYMBOLIC_OUTCOMES)[outcome]) <= {"malformed", "wrong_value", "particular", "undecided"}


REJECTED_PAIRS = [
    # equation, solution: all must be rejected
    (FIRST_ORDER, "sub Y Y", "mul a8 x"),  # holds for any y
    (FIRST_ORDER, "sub Y mul a8 x", "mul a8 x"),  # no derivative, and a constant in it
    (FIRST_ORDER, "mul sub Y' Y' Y", "mul a8 x"),
    (FIRST_ORDER, "sub Y' mul INT+ 2 Y", "mul a8 exp x"),
    (
        FIRST_ORDER,
        "mul pow INT+ 1 0 INT- 1 2 sub Y' mul INT+ 2 Y",
        "mul a8 exp x",
    ),  # a small factor must not hide a failure
    (FIRST_ORDER, "add sub Y' mul INT+ 2 Y sub pow INT+ 1 0 INT+ 1 8 pow INT+ 1 0 INT+ 1 8", "mul a8 exp x"),
    (
        FIRST_ORDER,
        "mul sub x exp ln x sub Y' INT+ 7",
        "mul a8 exp x",
    ),  # a factor that is zero except for rounding errors
    (FIRST_ORDER, "sub Y' Y", "exp x"),
    (FIRST_ORDER, "sub Y' Y", "add exp x mul a8 sub exp ln x x"),  # a constant times a zero in disguise
    (FIRST_ORDER, "sub mul x Y' Y", "mul x abs x"),
    (SECOND_ORDER, "add Y Y''", "mul mul a8 a9 sin x"),
    (SECOND_ORDER, "add Y Y''", "mul add a8 a9 sin x"),
    (SECOND_ORDER, "sub Y' Y", "mul a8 exp add x a9"),  # no second derivative
    (SECOND_ORDER, "sub Y'' Y", "add mul a8 exp x a9"),
]


@pytest.mark.parametrize(("order", "equation", "solution"), REJECTED_PAIRS)
def test_accidental_solutions_are_rejected(order: Any, equation: str, solution: str) -> None:
    mask, reasons = is_solution(order, *(Sequences.from_list([text_to_ids(text)]) for text in (equation, solution)))
    assert mask.tolist() == [0]
    assert sum(int(where.sum()) for where in reasons.values()) == 1


@pytest.mark.parametrize(
    ("equation", "solution", "mask"),
    [
        ("sub Y' Y", "mul a8 exp x", 0b1111),
        ("sub mul x Y' Y", "mul x sqrt pow a8 INT+ 2", 0b1111),
        # y' = |c1| = c1 for positive constants only: valid for them only, hence rejected
        ("sub Y' sqrt pow div Y x INT+ 2", "mul a8 x", 0),
        ("add Y' sqrt pow div Y x INT+ 2", "mul a8 x", 0),
    ],
)
def test_mask_of_constant_regions(equation: str, solution: str, mask: int) -> None:
    masks, _ = is_solution(FIRST_ORDER, *(Sequences.from_list([text_to_ids(text)]) for text in (equation, solution)))
    assert masks.tolist() == [mask]


@pytest.mark.parametrize("name", NAMES)
def test_pairs_use_published_tokens(name: str) -> None:
    order = FIRST_ORDER if name == "ode1" else SECOND_ORDER
    for problem, solution, mask in few_pairs(name):
        equation, y = set(ids_to_text(problem).split()), set(ids_to_text(solution).split())
        assert order.unknowns[-1] in equation
        assert not {"a8", "a9", "y", "z", "t"} & equation, ids_to_text(problem)
        assert set(order.constants) <= y
        assert not {"Y", "Y'", "Y''", "z"} & y
        assert max(len(problem), len(solution)) <= 512
        assert 0 < mask < 16
        assert all(solution.count(IDS[c]) == 1 for c in order.constants)


@pytest.mark.parametrize("name", NAMES)
def test_pairs_do_not_depend_on_the_wanted_filter(name: str) -> None:
    task = token_task(name)

    def sample(wanted: Any) -> set[tuple[bytes, bytes]]:
        batches = task.pairs(task.default_spec, lambda k: np.random.default_rng([8, k]), wanted)
        some = list(itertools.islice(batches, 1))
        return {p for b in some for p in zip(b.problems.to_list(), b.solutions.to_list(), strict=True)}

    every = sample(lambda problems: np.ones(len(problems), dtype=bool))
    some = sample(lambda problems: problems.lengths % 3 == 0)
    assert some == {pair for pair in every if len(pair[0]) % 3 == 0}


PROGRAM = """
import hashlib, itertools, numpy as np
from mathpipe.generate.tasks.task_registry import token_task
digest = hashlib.sha256()
for name in ("ode1", "ode2"):
    task = token_task(name)
    batches = task.pairs(task.default_spec, lambda k: np.random.default_rng([3, k]), lambda s: np.ones(len(s), bool))
    for p in itertools.islice(batches, 1):
        for part in (p.problems.values, p.solutions.values, *p.columns.values()):
            digest.update(part.tobytes())
        digest.update(repr(sorted(p.rejected.items())).encode())
print(digest.hexdigest())
"""


def test_pairs_do_not_depend_on_hash_seeds() -> None:
    digests = {
        subprocess.run(
            [sys.executable, "-c", PROGRAM], env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, check=True
        ).stdout
        for seed in ("1", "2")
    }
    assert len(digests) == 1
