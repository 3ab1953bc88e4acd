"""Answers changed at random, of all five calculus tasks: those that the verifier accepts are checked with mpmath, by own code.

Values and derivatives are Taylor coefficients (u, u', u''/2) of mpmath numbers of 60 digits. A residual that is not zero is the
same with 120, 2,000 and 20,000 digits; a rounding error is not (1 - tanh(260)^2 is 0 with 120 digits and 10^-225 in truth; terms
of 10^7856 may cancel). A long
run: ``python test_mutated_answers.py 20000 2000`` (mutations, points).
"""

from __future__ import annotations

import random
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import mpmath
import numpy as np
import pytest
from mpmath import mp, mpf

from mathpipe.datasets.containers.ragged_sequences import Sequences
from mathpipe.datasets.expressions.prefix import Tree, ids_to_text, parse, text_to_ids, write
from mathpipe.datasets.expressions.vocabulary import IDS, TOKENS
from mathpipe.generate.outcomes import SYMBOLIC_OUTCOMES
from mathpipe.generate.tasks.task_registry import token_task

TASKS = ("integration-bwd", "integration-fwd", "integration-ibp", "ode1", "ode2")
DIGITS = 60
PRECISIONS = (DIGITS, 2 * DIGITS, 2_000, 20_000)
EXPONENT_BITS = 40
ARGUMENT_BITS = 10_000
SMALLEST_BITS = 10_000_000
Jet = tuple[Any, Any, Any]  # u, u', u''/2


# -- mutations ---------------------------------------------------------------------------------------------------------


def positions(tree: Tree, path: tuple[int, ...] = ()) -> Iterator[tuple[tuple[int, ...], Tree]]:
    yield path, tree
    if isinstance(tree, tuple):
        for k, child in enumerate(tree[1:], 1):
            yield from positions(child, (*path, k))


def replace(tree: Tree, path: tuple[int, ...], new: Tree) -> Tree:
    if not path:
        return new
    assert isinstance(tree, tuple)
    return (*tree[: path[0]], replace(tree[path[0]], path[1:], new), *tree[path[0] + 1 :])


def changed(node: Tree, kind: str, rng: random.Random) -> Tree | None:
    """The node with another sign, factor, coefficient or branch, without a term or abs; None where that is not possible."""
    if isinstance(node, int):
        return node + rng.choice((-1, 1)) if kind == "coefficient" else None
    name = TOKENS[node[0]]
    if kind == "factor" and len(node) > 1:
        return (IDS["mul"], rng.choice((-1, 2)), node)
    if name in ("add", "sub") and kind == "sign":
        return (IDS["sub" if name == "add" else "add"], *node[1:])
    if name in ("add", "sub") and kind == "term":
        return rng.choice(node[1:])
    if kind == "abs":
        if name == "ln":
            return (node[0], (IDS["abs"], node[1]))
        return node[1] if name == "abs" else None
    if kind == "branch" and name == "sqrt":
        return (IDS["sqrt"], (IDS["mul"], node[1], (IDS["pow2"], (IDS["x"],)))) if rng.random() < 0.5 else None
    if kind == "branch" and name in ("ln", "atan", "asin", "acos", "acosh"):
        return (IDS["add"], node, (IDS["mul"], 2, (IDS["pi"],)))
    return None


def mutate(tree: Tree, rng: random.Random) -> Tree:
    """The tree with one change; twice the tree where no change was found."""
    nodes = list(positions(tree))
    for _ in range(200):
        path, node = rng.choice(nodes)
        new = changed(node, rng.choice(("sign", "factor", "term", "abs", "branch", "coefficient")), rng)
        if new is not None and new != node:
            return replace(tree, path, new)
    return (IDS["mul"], 2, tree)


# -- independent evaluation --------------------------------------------------------------------------------------------


def product(u: Jet, v: Jet) -> Jet:
    return u[0] * v[0], u[0] * v[1] + u[1] * v[0], u[0] * v[2] + u[1] * v[1] + u[2] * v[0]


def compose(f: tuple[Any, Any, Any], u: Jet) -> Jet:
    """From f, f', f'' at u."""
    return f[0], f[1] * u[1], f[1] * u[2] + f[2] * u[1] ** 2 / 2


def reciprocal(u: Jet) -> Jet:
    return compose((1 / u[0], -1 / u[0] ** 2, 2 / u[0] ** 3), u)


def logarithm(u: Jet) -> Jet:
    bounded(u[0], SMALLEST_BITS)
    return compose((mp.log(u[0]), 1 / u[0], -1 / u[0] ** 2), u)


def bounded(a: Any, bits: int) -> Any:
    """The argument of a function; OverflowError beyond 2^bits or this near 0, where evaluation would take all memory."""
    if a != 0 and not -SMALLEST_BITS < mp.mag(a) <= bits:
        raise OverflowError("argument too large or too small to evaluate")
    return a


def exponential(u: Jet) -> Jet:
    e = mp.exp(bounded(u[0], EXPONENT_BITS))
    return compose((e, e, e), u)


def power(u: Jet, v: Jet) -> Jet:
    p = v[0]
    if v[1] == 0 and v[2] == 0:
        # in this order: rounding a number of 2^40 bits would end the process
        if abs(p) < 10**6 and p == mp.nint(p.real if isinstance(p, mpmath.mpc) else p):
            p = int(p.real if isinstance(p, mpmath.mpc) else p)
        if not isinstance(p, int):
            bounded(p * logarithm(u)[0], EXPONENT_BITS)
        slope = p * u[0] ** (p - 1) if p != 0 else mpf(0)
        curve = p * (p - 1) * u[0] ** (p - 2) if p not in (0, 1) else mpf(0)
        return compose((u[0] ** p, slope, curve), u)
    return exponential(product(v, logarithm(u)))


def real(u: Any) -> Any:
    if isinstance(u, mpmath.mpc):
        if u.imag != 0:
            raise ValueError("not real")
        return u.real
    return u


def function(name: str, u: Jet) -> Jet:
    a = bounded(u[0], EXPONENT_BITS if name in ("sinh", "cosh", "tanh") else ARGUMENT_BITS)
    if name in ("sin", "cos"):
        s, c = mp.sin(a), mp.cos(a)
        return compose((s, c, -s) if name == "sin" else (c, -s, -c), u)
    if name in ("sinh", "cosh"):
        s, c = mp.sinh(a), mp.cosh(a)
        return compose((s, c, s) if name == "sinh" else (c, s, c), u)
    if name in ("tan", "tanh"):
        s, c = ("sin", "cos") if name == "tan" else ("sinh", "cosh")
        return product(function(s, u), reciprocal(function(c, u)))
    if name == "abs":
        sign = mp.sign(real(a))
        if sign == 0:
            raise ValueError("abs at 0")
        return compose((abs(real(a)), sign, 0), u)
    if name == "sign":
        return compose((mp.sign(real(a)), 0, 0), u)
    if name in ("asin", "acos"):
        r = 1 / mp.sqrt(1 - a * a)
        f = (mp.asin(a), r, a * r**3)
        return compose(f if name == "asin" else (mp.acos(a), -r, -a * r**3), u)
    if name in ("atan", "atanh"):
        s = 1 if name == "atan" else -1
        r = 1 / (1 + s * a * a)
        return compose((getattr(mp, name)(a), r, -2 * s * a * r * r), u)
    if name == "asinh":
        r = 1 / mp.sqrt(1 + a * a)
        return compose((mp.asinh(a), r, -a * r**3), u)
    r = 1 / (mp.sqrt(a - 1) * mp.sqrt(a + 1))  # acosh
    return compose((mp.acosh(a), r, -a * r / (a * a - 1)), u)


INVERSE_OF = {"cot": "tan", "sec": "cos", "csc": "sin", "coth": "tanh", "sech": "cosh", "csch": "sinh"}
OF_INVERSE = {"acot": "atan", "asec": "acos", "acsc": "asin", "acoth": "atanh", "asech": "acosh", "acsch": "asinh"}


def evaluate(tree: Tree, leaves: dict[str, Jet]) -> Jet:
    """(u, u', u''/2) of a tree; ArithmeticError or ValueError where it has none."""
    zero = mpf(0)
    if isinstance(tree, int):
        return mpf(tree), zero, zero
    name = TOKENS[tree[0]]
    if len(tree) == 1:
        constants = {"pi": lambda: +mp.pi, "E": lambda: +mp.e, "I": lambda: mp.mpc(0, 1)}
        return leaves[name] if name in leaves else (constants[name](), zero, zero)
    u = evaluate(tree[1], leaves)
    if len(tree) == 2:
        return unary(name, u)
    v = evaluate(tree[2], leaves)
    if name in ("add", "sub"):
        sign = 1 if name == "add" else -1
        return u[0] + sign * v[0], u[1] + sign * v[1], u[2] + sign * v[2]
    if name == "mul":
        return product(u, v)
    if name == "div":
        return product(u, reciprocal(v))
    return power(u, v if name == "pow" else reciprocal(v))


def unary(name: str, u: Jet) -> Jet:
    zero = mpf(0)
    if name == "inv":
        return reciprocal(u)
    if name == "exp":
        return exponential(u)
    if name == "ln":
        return logarithm(u)
    if name == "sqrt":
        s = mp.sqrt(u[0])
        return compose((s, 1 / (2 * s), -1 / (4 * s**3)), u)
    if name.startswith("pow"):
        return power(u, (mpf(int(name[3])), zero, zero))
    if name in INVERSE_OF:
        return reciprocal(function(INVERSE_OF[name], u))
    if name in OF_INVERSE:
        return function(OF_INVERSE[name], reciprocal(u))
    return function(name, u)


def is_real(*values: Any) -> bool:
    return all(abs(mp.im(v)) <= mpf(10) ** (-mp.dps // 2) * (abs(mp.re(v)) + mpf(10) ** -mp.dps) for v in values)


# -- the check ---------------------------------------------------------------------------------------------------------


def residual_of_primitive(f: Tree, primitive: Tree, z: Any) -> tuple[Any, bool]:
    """(F' - f at z, whether F and f are real)."""
    leaves = {"x": (mp.mpmathify(z), mpf(1), mpf(0))}
    integrand, value = evaluate(f, leaves), evaluate(primitive, leaves)
    return value[1] - integrand[0], is_real(integrand[0], value[0])


def residual_of_solution(equation: Tree, solution: Tree, z: Any, constants: dict[str, Any]) -> tuple[Any, bool]:
    """(F(x, y, y', y''), whether y and its derivatives are real)."""
    zero = mpf(0)
    fixed = {name: (mpf(value), zero, zero) for name, value in constants.items()}
    x = (mp.mpmathify(z), mpf(1), zero)
    y = evaluate(solution, {"x": x, **fixed})
    values = {"Y": (y[0], zero, zero), "Y'": (y[1], zero, zero), "Y''": (2 * y[2], zero, zero)}
    return evaluate(equation, {"x": (x[0], zero, zero), **values})[0], is_real(*y)


def differs(residual: Callable[[], tuple[Any, bool]], *, real_only: bool) -> bool | None:
    """Whether the residual is certainly not zero; None where it has no value, or is not real and only real points count."""
    values = []
    for digits in PRECISIONS:
        with mp.workdps(digits):
            try:
                value, everything_real = residual()
            except (ArithmeticError, ValueError, OverflowError, TypeError):
                return None
            if real_only and not everything_real:
                return None
            if digits == DIGITS and abs(value) < mpf(10) ** -50:
                return False
            values.append(value)
            if value == 0 or abs(values[0] - value) > mpf(10) ** -6 * abs(value):
                return False
    return True


def points(rng: random.Random, number: int) -> Iterator[float]:
    for k in range(number):
        yield (rng.uniform(-3, 3), rng.uniform(-50, 50), rng.choice((-1, 1)) * 10 ** rng.uniform(-6, 3))[k % 3]


def refutation(name: str, problem: bytes, reference: bytes, answer: bytes, number: int, seed: int) -> str:
    """A point at which an accepted answer certainly fails, as text; empty if there is none among ``number`` points."""
    rng = random.Random(seed)
    tree = parse(answer)
    if name.startswith("integration"):
        f = parse(problem[2:])
        for x in points(rng, number):
            if differs(lambda x=x: residual_of_primitive(f, tree, x), real_only=True):
                return f"x = {x}"
        return ""
    equation, solution = parse(problem), parse(reference)
    for x in points(rng, number):
        constants = {key: rng.choice((-1, 1)) * 2 ** rng.uniform(-3, 5) for key in ("a8", "a9")}
        if differs(lambda x=x, c=constants: residual_of_solution(equation, tree, x, c), real_only=True) and (
            differs(lambda x=x, c=constants: residual_of_solution(equation, solution, x, c), real_only=True) is False
        ):
            return f"x = {x}, constants {constants}"
    return ""


def pairs_of(name: str, number: int, seed: int) -> tuple[list[bytes], list[bytes]]:
    task = token_task(name)
    problems: list[bytes] = []
    solutions: list[bytes] = []
    batches = task.pairs(
        task.default_spec, lambda k: np.random.default_rng([seed, k]), lambda p: np.ones(len(p), dtype=bool)
    )
    while len(problems) < number:
        batch = next(batches)
        problems += batch.problems.to_list()
        solutions += batch.solutions.to_list()
    return problems[:number], solutions[:number]


def check(
    name: str, number: int, points_each: int, seed: int, log: Callable[[str], None] = lambda line: None
) -> list[str]:
    """The accepted answers among ``number`` mutations that mpmath refutes."""
    rng = random.Random(seed)
    task = token_task(name)
    pairs = max(number // 4, 1)
    problems, references = (values * 4 for values in pairs_of(name, pairs, seed))
    answers = [write(mutate(parse(solution), rng)) for solution in references]
    result = task.verify(*(Sequences.from_list(values) for values in (problems, references, answers)))
    outcomes = [SYMBOLIC_OUTCOMES[k] for k in result.outcome]
    log(f"{name}: {len(answers)} mutations, {dict(Counter(outcomes))}")
    refuted = []
    accepted = [k for k, outcome in enumerate(outcomes) if outcome in task.correct_outcomes]
    for done, k in enumerate(accepted):
        point = refutation(name, problems[k], references[k], answers[k], points_each, k)
        if point:
            refuted.append(f"{outcomes[k]} at {point}: {ids_to_text(problems[k])} | {ids_to_text(answers[k])}")
            log(refuted[-1])
        if done % 50 == 49:
            log(f"{name}: {done + 1} of {len(accepted)} accepted answers checked, {len(refuted)} refuted")
    log(f"{name}: {len(accepted)} accepted, {len(refuted)} refuted at {points_each} points each")
    return refuted


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", TASKS)
def test_accepted_mutations_hold_at_60_digits(name: str) -> None:
    assert check(name, 200, 100, seed=11) == []


@pytest.mark.parametrize(
    ("primitive", "right"),
    [("mul INT- 1 cos x", True), ("add mul INT- 1 cos x mul pow x INT+ 2 pow INT+ 1 0 INT- 1 2", False)],
)
def test_the_independent_check_refutes_wrong_answers(
    prefix: Callable[[str], bytes], primitive: str, right: bool
) -> None:
    answer = text_to_ids(primitive)
    assert (refutation("integration-bwd", text_to_ids("sub Y' sin x"), answer, answer, 20, 1) == "") is right


def main() -> None:
    """In rounds of 1,000 mutations, each with its own pairs, so that an interrupted run has checked all tasks alike."""
    number, points_each = (int(value) for value in (*sys.argv[1:], 20_000, 2_000)[:2])
    refuted = 0
    for round_number in range(1, number // 1000 + 1):
        for name in TASKS:
            refuted += len(
                check(name, 200, points_each, 100 + round_number, lambda line: print(line, flush=True))  # noqa: T201
            )
        print(f"{1000 * round_number} mutations, {refuted} refuted", flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
