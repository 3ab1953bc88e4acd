"""Answers of the literature are right, and their mutations are wrong wherever a check with 50 digits disproves them.

``textbook_answers.tsv``: integrals and differential equations in infix notation with an answer, and the section that holds the
formula (here with numbers for its parameters).
"""

from __future__ import annotations

import csv
import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import mpmath
import pytest

from mathpipe.datasets.containers.ragged_sequences import Sequences
from mathpipe.datasets.expressions.infix import parse_infix, parse_infix_equation
from mathpipe.datasets.expressions.prefix import Tree, write
from mathpipe.datasets.expressions.vocabulary import IDS, TOKENS
from mathpipe.datasets.rendering.formulas import to_infix
from mathpipe.generate.tasks.task_registry import expression_task

DIGITS = 50
EXACT = "1e-20"  # relative to the value of the problem: what 50 digits leave of a difference of equal expressions
ABSCISSAS = (
    *("0.137", "0.418", "0.733", "0.91", "1.217", "1.73", "2.61", "3.97", "7.3", "23.1"),
    *("-0.21", "-0.57", "-0.88", "-1.31", "-1.9", "-2.77", "-4.6", "-9.1", "-31.7"),
)
CONSTANTS = (("1.7", "0.6"), ("2.3", "-0.8"), ("-0.7", "1.1"), ("-1.9", "-1.3"), ("0.31", "2.7"))


class Row(NamedTuple):
    """A row of the table; ``equation``: the expression that is zero, ``integrand`` only of integrals."""

    task: str
    problem: str
    solution: str
    source: str

    @property
    def answer(self) -> Tree:
        left, right = parse_infix_equation(self.solution)
        return left if right is None else right

    @property
    def equation(self) -> Tree:
        if self.task == "integration-bwd":
            return (IDS["sub"], (IDS["Y'"],), parse_infix(self.problem))
        left, right = parse_infix_equation(self.problem)
        return left if right in (None, 0) else (IDS["sub"], left, right)


def read_table() -> list[Row]:
    with Path(__file__).with_name("textbook_answers.tsv").open(encoding="utf-8", newline="") as file:
        return [Row(**row) for row in csv.DictReader(file, delimiter="\t")]


ROWS = read_table()


# -- mutations


def mutations(tree: Tree) -> Iterator[tuple[str, Tree]]:
    """(kind, answer with one mistake): sign, factor, lost term, lost absolute value, other branch."""
    yield "sign", negated(tree)
    yield "factor", (IDS["mul"], 2, tree)
    yield from mutations_inside(tree, lambda changed: changed)


def mutations_inside(tree: Tree, rebuild: Callable[[Tree], Tree], exponent: bool = False) -> Iterator[tuple[str, Tree]]:
    """One mistake at this node or below; ``rebuild`` puts the changed node into its place."""
    if isinstance(tree, int):
        if abs(tree) > 1 and not exponent:
            yield "factor", rebuild(tree + 1)
        return
    name, operands = TOKENS[tree[0]], tree[1:]
    for kind, changed in mistakes(name, operands):
        yield kind, rebuild(changed)
    for k, operand in enumerate(operands):

        def replace(changed: Tree, k: int = k) -> Tree:
            return rebuild((tree[0], *operands[:k], changed, *operands[k + 1 :]))

        yield from mutations_inside(operand, replace, exponent=name in ("pow", "rac") and k == 1)


def mistakes(name: str, operands: tuple[Tree, ...]) -> Iterator[tuple[str, Tree]]:
    """The mistakes at one node."""
    if name in ("add", "sub"):
        yield "sign", (IDS["sub" if name == "add" else "add"], *operands)
        yield "lost term", operands[0]
        yield "lost term", operands[1]
    if name == "abs":
        yield "lost absolute value", operands[0]
        yield "lost absolute value", negated(operands[0])
    if name in ("sqrt", "asinh", "acosh", "acos"):
        yield "other branch", negated((IDS[name], *operands))
    if name in ("asin", "acsc"):
        yield "other branch", (IDS["sub"], (IDS["pi"],), (IDS[name], *operands))
    cofunctions = {"asin": "acos", "atan": "acot", "acot": "atan", "asinh": "acosh", "atanh": "acoth", "acoth": "atanh"}
    if name in cofunctions:
        yield "other branch", (IDS[cofunctions[name]], *operands)


def negated(tree: Tree) -> Tree:
    return -tree if isinstance(tree, int) else (IDS["mul"], -1, tree)


def test_every_kind_of_mistake_is_made() -> None:
    tree = parse_infix("ln|x| - 3*arcsin(x)")
    texts = {(kind, to_infix(changed)) for kind, changed in mutations(tree)}
    assert ("sign", "ln(abs(x)) + 3*asin(x)") in texts
    assert ("factor", "ln(abs(x)) - 4*asin(x)") in texts
    assert ("lost term", "3*asin(x)") in texts and ("lost term", "ln(abs(x))") in texts
    assert ("lost absolute value", "ln(x) - 3*asin(x)") in texts
    assert ("other branch", "ln(abs(x)) - 3*acos(x)") in texts
    assert ("other branch", "ln(abs(x)) - 3*(pi - asin(x))") in texts


# -- numbers of 50 digits, by other code than the verifier's

_POWERS = {"inv": -1, "pow2": 2, "pow3": 3, "pow4": 4, "pow5": 5}
Leaves = dict[str, mpmath.mpf]
Undefined = (ArithmeticError, ValueError, OverflowError)


def value(tree: Tree, leaves: Leaves) -> mpmath.mpf | mpmath.mpc:
    """The value of a tree by mpmath; ArithmeticError or ValueError where it is undefined."""
    if isinstance(tree, int):
        return mpmath.mpf(tree)
    name, operands = TOKENS[tree[0]], [value(child, leaves) for child in tree[1:]]
    match name, *operands:
        case [leaf]:
            return leaves[leaf] if leaf in leaves else {"pi": +mpmath.pi, "E": +mpmath.e}[leaf]
        case "add", a, b:
            return a + b
        case "sub", a, b:
            return a - b
        case "mul", a, b:
            return a * b
        case "div", a, b:
            return a / b
        case "pow", a, b:
            return mpmath.power(a, b)
        case "rac", a, b:
            return mpmath.power(a, 1 / b)
        case power, a if power in _POWERS:
            return a ** _POWERS[power]
        case "abs", a:
            return abs(a)
    return getattr(mpmath, {"ln": "log"}.get(name, name))(*operands)


def real(number: mpmath.mpf | mpmath.mpc) -> bool:
    """Whether a number is finite and real up to rounding."""
    number = mpmath.mpc(number)
    return bool(mpmath.isfinite(number)) and abs(number.imag) < mpmath.mpf("1e-40") * (1 + abs(number.real))


class Residual(NamedTuple):
    """|F(x, y, y', y'')| relative to 1 + the largest of y and its derivatives; whether the answer is real there and nearby."""

    size: mpmath.mpf
    is_real: bool


def residuals(row: Row, answer: Tree) -> Iterator[Residual]:
    """Residuals of an answer at points where the problem is real."""
    step = mpmath.mpf("1e-3")
    for constants in CONSTANTS if row.task != "integration-bwd" else CONSTANTS[:1]:
        leaves = dict(zip(("a8", "a9"), map(mpmath.mpf, constants), strict=True))

        def y(x: mpmath.mpf, leaves: Leaves = leaves) -> mpmath.mpf:
            return value(answer, {"x": x, **leaves})

        for x in map(mpmath.mpf, ABSCISSAS):
            try:
                nearby = [y(x + k * step) for k in (-1, 0, 1)]
                unknowns = {"Y": nearby[1], "Y'": mpmath.diff(y, x)}
                unknowns |= {"Y''": mpmath.diff(y, x, 2)} if row.task == "ode2" else {}
                residual = value(row.equation, {"x": x, **unknowns})
                problem_is_real = row.task != "integration-bwd" or real(
                    value(row.equation, {"x": x, "Y'": mpmath.mpf(0)})
                )
            except Undefined:
                continue
            if problem_is_real and mpmath.isfinite(residual):
                size = abs(residual) / (1 + max(map(abs, unknowns.values())))
                yield Residual(size, all(map(real, (*nearby, *unknowns.values()))))


def wrong_at_50_digits(row: Row, answer: Tree) -> bool:
    """Whether the equation fails at a point where everything is real or, if there is none, at all of three or more points."""
    complex_failures = []
    with mpmath.workdps(DIGITS):
        any_real = False
        for residual in residuals(row, answer):
            fails = residual.size > mpmath.mpf(EXACT)
            if residual.is_real and fails:
                return True
            any_real |= residual.is_real
            complex_failures.append(fails)
    return not any_real and len(complex_failures) >= 3 and all(complex_failures)


# -- the tests


def outcomes_of(rows: list[Row], answers: list[Tree]) -> list[str]:
    """The outcomes of answers to the problems of rows, which are all of one task."""
    task = expression_task(rows[0].task)
    problems = Sequences.from_list([write(row.equation) for row in rows])
    references = Sequences.from_list([write(row.answer) for row in rows])
    predicted = Sequences.from_list([write(answer) for answer in answers])
    return [task.outcomes[k] for k in task.verify(problems, references, predicted).outcome.tolist()]


@functools.cache
def outcome_by_problem(task: str) -> dict[str, str]:
    rows = [row for row in ROWS if row.task == task]
    return dict(zip((row.problem for row in rows), outcomes_of(rows, [row.answer for row in rows]), strict=True))


def test_the_table_is_large_and_names_its_sources() -> None:
    assert len({row.problem for row in ROWS}) == len(ROWS)
    assert sum(row.task == "integration-bwd" for row in ROWS) >= 200
    assert sum(row.task in ("ode1", "ode2") for row in ROWS) >= 40
    assert all(row.source for row in ROWS)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.problem)
def test_right_answers_are_accepted(row: Row) -> None:
    assert not wrong_at_50_digits(row, row.answer)
    assert outcome_by_problem(row.task)[row.problem] in expression_task(row.task).correct_outcomes


@pytest.mark.parametrize("task", ["integration-bwd", "ode1", "ode2"])
def test_mutations_that_numbers_call_wrong_are_refused(task: str) -> None:
    cases = [
        (row, kind, answer)
        for row in ROWS
        if row.task == task
        for kind, answer in {write(changed): (kind, changed) for kind, changed in mutations(row.answer)}.values()
    ]
    correct = expression_task(task).correct_outcomes
    outcomes = outcomes_of([row for row, _, _ in cases], [answer for _, _, answer in cases])
    accepted = [case for case, outcome in zip(cases, outcomes, strict=True) if outcome in correct]
    wrong = {(row.problem, to_infix(answer)): kind for row, kind, answer in accepted if wrong_at_50_digits(row, answer)}
    assert len(cases) >= 5 * len({row.problem for row, _, _ in cases})
    assert wrong == {}
