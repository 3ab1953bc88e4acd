"""integration-fwd and integration-ibp: an independent check of the pairs, reproducible chunks, bounded searches."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mpmath
import numpy as np
import pytest
import symengine as se
from click.testing import CliRunner

from mathpipe.datasets.containers.ragged_sequences import Sequences
from mathpipe.datasets.dataset import open_dataset
from mathpipe.datasets.errors import UserError
from mathpipe.datasets.expressions.prefix import Tree, parse, text_to_ids
from mathpipe.datasets.expressions.vocabulary import TOKENS
from mathpipe.generate.build.dataset_builder import make_dataset
from mathpipe.generate.chunks.pair_chunks import Pairs
from mathpipe.generate.dataset_spec import DatasetSpec
from mathpipe.generate.layout import Layout
from mathpipe.generate.problem_specs.expression_spec import ExpressionSpec
from mathpipe.generate.symbolic.check.antiderivatives import PREFIX, is_antiderivative
from mathpipe.generate.symbolic.expr.canonical_form import RejectedExpression, X, build, to_tokens
from mathpipe.generate.symbolic.expr.rewriting import MAX_TERMS, expand_if_small, expanded_term_bound
from mathpipe.generate.symbolic.integrate import rule_search as search
from mathpipe.generate.symbolic.integrate.primitive_table import primitive_table
from mathpipe.generate.symbolic.integrate.table_digest import TABLE_DIGEST
from mathpipe.generate.tasks.calculus import integration_fwd, integration_ibp
from mathpipe.generate.tasks.calculus.pairs import by_parts as pairs_ibp
from mathpipe.generate.tasks.task_registry import get_task
from mathpipe.generate.tasks.token_task import ExpressionTask
from mathpipe.pipeline.cli import cli

TASKS = [integration_fwd.TASK, integration_ibp.TASK]
POINTS = [mpmath.mpf(p) for p in ("0.4391", "-0.5623", "1.8769", "-2.7713", "3.3317")]
POINTS += [mpmath.mpc("0.6211", "0.2897"), mpmath.mpc("-0.8521", "-1.0939"), mpmath.mpc("-1.7193", "0.8147")]


class TooLarge(ArithmeticError):
    """A value too large to evaluate."""


def value(tree: Tree, x: Any) -> Any:
    """An expression by mpmath's own functions."""
    if isinstance(tree, int):
        return mpmath.mpf(tree)
    name, operands = TOKENS[tree[0]], [value(child, x) for child in tree[1:]]
    if name in ("x", "pi", "E"):
        return +{"x": x, "pi": mpmath.pi, "E": mpmath.e}[name]
    if any(abs(u) > 10**6 for u in operands) and name not in ("add", "mul", "div"):
        raise TooLarge
    if len(operands) == 1:
        return getattr(mpmath, name)(operands[0])
    a, b = operands
    match name:
        case "add":
            return a + b
        case "mul":
            return a * b
        case "div":
            return a / b
        case "pow":
            return a**b
    raise AssertionError(name)


def agrees_at(f: Tree, primitive: Tree, point: Any, digits: int) -> bool | None:
    """Whether the difference quotient of F is f at a point; None where one has no value there."""
    with mpmath.workdps(digits):
        try:
            expected = value(f, point)
            derivative = mpmath.diff(lambda z: value(primitive, z), point, h=mpmath.mpf(10) ** (2 - digits // 2))
        except (ArithmeticError, ValueError):
            return None
        size = max(abs(expected), abs(derivative))
        if not mpmath.isfinite(size) or not 1e-25 < size < 1e40:
            return None
        return bool(abs(expected - derivative) <= size * mpmath.mpf(10) ** -10)


def check_pair(f: bytes, primitive: bytes) -> str:
    """``right``, ``wrong``, or ``undecided`` at fewer than two points.

    If 40 digits disagree, 1,000 are used (cancellation). A real point that may lie on a cut, where rounding decides the side,
    is moved off the cut in both directions.
    """
    left, right = parse(f), parse(primitive)
    decided = 0
    for point in POINTS:
        matches_recomputed = agrees_at(left, right, point, 40)
        if matches_recomputed is False:
            matches_recomputed = agrees_at(left, right, point, 1000)
        if matches_recomputed is False and not mpmath.im(point):
            beside = [agrees_at(left, right, mpmath.mpc(point, side), 1000) for side in (1e-7, -1e-7)]
            matches_recomputed = None if all(beside) else False
        if matches_recomputed is False:
            return "wrong"
        decided += matches_recomputed is not None
    return "right" if decided >= 2 else "undecided"


def sample_batches(
    task: ExpressionTask, minimum: int, seed: int = 5, spec: ExpressionSpec | None = None
) -> list[Pairs]:
    batches: list[Pairs] = []
    for batch in task.pairs(spec or task.default_spec, lambda k: np.random.default_rng([seed, k]), everything):
        batches.append(batch)
        if sum(map(len, batches)) >= minimum:
            return batches
    raise AssertionError


def everything(problems: Sequences) -> Any:
    return np.ones(len(problems), dtype=np.bool_)


def check_pairs(batches: Sequence[Pairs], limit: int) -> dict[str, list[tuple[bytes, bytes]]]:
    pairs_by_result: dict[str, list[tuple[bytes, bytes]]] = {"right": [], "wrong": [], "undecided": []}
    pairs = [
        pair for batch in batches for pair in zip(batch.problems.to_list(), batch.solutions.to_list(), strict=True)
    ]
    for problem, solution in pairs[:limit]:
        assert problem.startswith(PREFIX)
        pairs_by_result[check_pair(problem[len(PREFIX) :], solution)].append((problem, solution))
    return pairs_by_result


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_pairs_hold_by_difference_quotients_with_40_digits(task: ExpressionTask) -> None:
    pairs_by_result = check_pairs(sample_batches(task, 80), 80)
    assert pairs_by_result["wrong"] == []
    assert len(pairs_by_result["undecided"]) <= 8


@pytest.mark.slow
@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_many_pairs_hold(task: ExpressionTask, many: int, record_property: Any) -> None:
    undecided = 0
    for seed in range(100, 100 + many // 1_000):
        pairs_by_result = check_pairs(sample_batches(task, 1_000, seed=seed), 1_000)
        undecided += len(pairs_by_result["undecided"])
        assert pairs_by_result["wrong"] == []
    record_property("undecided", undecided)
    assert undecided <= many // 30


def test_spec_names_the_table_digest() -> None:
    assert primitive_table().digest == TABLE_DIGEST
    for task in TASKS:
        assert task.default_spec.table == TABLE_DIGEST
        with pytest.raises(UserError, match="table of primitives"):
            next(
                task.pairs(task.default_spec.model_copy(update={"table": "another"}), np.random.default_rng, everything)
            )


def test_table_lookup_finds_every_entry() -> None:
    table = primitive_table()
    entries = [table.index.find(tuple(key)) for key in table.keys.tolist()]
    assert entries == list(range(len(table)))


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_pairs_do_not_depend_on_hash_seeds(task: ExpressionTask) -> None:
    program = (
        "import hashlib, itertools, numpy as np\n"
        f"from mathpipe.generate.tasks.task_registry import token_task\nTASK = token_task({task.name!r})\n"
        "it = TASK.pairs(TASK.default_spec, lambda k: np.random.default_rng([5, k]), lambda s: np.ones(len(s), bool))\n"
        "for p in itertools.islice(it, 1):\n"
        "    print(hashlib.sha256(p.problems.values.tobytes() + p.solutions.values.tobytes()).hexdigest())\n"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", program], env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, check=True
        ).stdout
        for seed in ("1", "2")
    }
    batches = sample_batches(task, 1)
    here = [hashlib.sha256(p.problems.values.tobytes() + p.solutions.values.tobytes()).hexdigest() for p in batches[:1]]
    assert outputs == {("\n".join(here) + "\n").encode()}


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_rows_per_chunk_fills_every_split(task: ExpressionTask) -> None:
    spec = DatasetSpec(task=task.name, problems=task.default_spec, chunk_rows=42)
    chunks = get_task(spec.task).build_chunk(spec, 0, ["train", "valid", "test"])
    assert {split: len(chunk.examples) for split, chunk in chunks.items()} == {"train": 42, "valid": 3, "test": 3}
    again = get_task(spec.task).build_chunk(spec, 0, ["train", "valid", "test"])["train"].examples
    assert chunks["train"].examples.problems.to_list() == again.problems.to_list()


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_dataset_generation_and_verification(task: ExpressionTask, tmp_path: Path) -> None:
    spec = DatasetSpec(task=task.name, problems=task.default_spec, chunk_rows=42)
    make_dataset(spec, Layout({"train": 42, "valid": 3, "test": 3}, 42), str(tmp_path / "d"), workers=0)
    assert CliRunner().invoke(cli, ["verify", str(tmp_path / "d")]).exit_code == 0
    assert len(open_dataset(str(tmp_path / "d"), split="train")) == 42


@pytest.mark.slow
@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_dataset_from_the_command_line(task: ExpressionTask, tmp_path: Path) -> None:
    sizes = ["--n", "40", "--valid", "3", "--test", "3", "--workers", "1"]
    outputs = CliRunner().invoke(cli, ["generate", "--task", task.name, *sizes, "--out", str(tmp_path / "d")])
    assert outputs.exit_code == 0, outputs.output
    assert CliRunner().invoke(cli, ["verify", str(tmp_path / "d")]).exit_code == 0


TEXTBOOK = [
    "mul pow x INT+ 2 exp x",
    "mul ln x pow x INT+ 3",
    "pow add pow x INT+ 3 x INT- 1",
    "sqrt add INT+ 4 mul INT- 1 pow x INT+ 2",
    "mul x exp pow x INT+ 2",
    "cos ln x",
    "pow asin x INT+ 2",
    "mul cos x exp sin x",
    "pow add INT+ 1 sqrt x INT- 1",
    "mul x acosh x",
    "mul pow sin x INT+ 2 cos mul INT+ 3 x",
    "pow add INT+ 1 exp x INT- 1",
    "pow add add pow x INT+ 2 x INT+ 1 INT- 2",
    "mul x pow sqrt add INT+ 1 pow x INT+ 4 INT- 1",
]


@pytest.mark.parametrize("text", TEXTBOOK)
def test_textbook_integrals_are_solved(text: str) -> None:
    f = text_to_ids(text)
    primitive = to_tokens(search.find_antiderivative(build(parse(f)), primitive_table()))
    assert is_antiderivative(Sequences.from_list([f]), Sequences.from_list([primitive]))[0].all()
    assert check_pair(f, primitive) == "right"


def test_cosh_at_large_arguments_is_not_an_exponential() -> None:
    """cosh(4 (x + 30)) and e^(4 (x + 30)) / 2 agree to all digits at every point: only the rule for cosh may apply."""
    f = text_to_ids("cosh mul INT+ 4 add x INT+ 3 0")
    assert search.find_antiderivative(build(parse(f)), primitive_table()) == se.sinh(4 * (X + 30)) / 4


EXPENSIVE = [
    "pow add add add x sin x ln x exp x INT+ 2 0",
    "pow pow add x INT+ 1 INT+ 5 INT+ 5",
    "pow add pow x INT+ 2 4 INT+ 1 INT- 1",
    "mul pow add x sin x INT+ 9 pow add x cos x INT+ 9",
    "mul mul pow sin x INT+ 5 pow cos x INT+ 5 pow tan x INT+ 5",
    "pow add add add sqrt x sqrt add x INT+ 1 sqrt add x INT+ 2 asin x INT+ 5",
    "ln ln ln ln add x pow x INT+ 5",
    "pow ln add x INT+ 1 INT+ 9",
]


@pytest.mark.parametrize("text", EXPENSIVE)
def test_search_respects_the_step_limit(text: str) -> None:
    rule_search = search.RuleSearch(primitive_table())
    rule_search.primitive(build(parse(text_to_ids(text))))
    assert rule_search.steps <= search.MAX_STEPS + 1


def test_large_expansion_is_not_attempted() -> None:
    e = (X + se.sin(X) + se.log(X)) ** 40
    assert expanded_term_bound(e) > MAX_TERMS
    assert expand_if_small(e) == e


def test_products_of_sines_become_sums() -> None:
    for text in (
        "mul sin x mul INT+ 3 cos x",
        "mul pow sin x INT+ 3 sin add x INT- 5",
        "mul pow cos x INT+ 4 sin mul INT- 2 x",
    ):
        f = text_to_ids(text)
        assert check_pair(f, to_tokens(search.find_antiderivative(build(parse(f)), primitive_table()))) == "right"


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_specs_with_many_operators_yield_pairs(task: ExpressionTask) -> None:
    spec = task.default_spec.model_copy(
        update={"min_operators": 30, "max_operators": 40, "max_int": 1_000, "max_len": 128}
    )
    batch = sample_batches(task, 1, spec=spec)[-1]
    assert max(batch.problems.lengths.max(), batch.solutions.lengths.max()) <= 128


def test_problems_without_functions_are_capped() -> None:
    batches = sample_batches(integration_ibp.TASK, 150)
    problems = [problem for batch in batches for problem in batch.problems.to_list()]
    plain = sum(not pairs_ibp._has_function(problem) for problem in problems)
    assert plain <= pairs_ibp.MAX_ALGEBRAIC_SHARE * len(problems) + 1
    assert len(set(problems)) == len(problems)


def test_nonelementary_integrands_are_rejected() -> None:
    for text in ("exp pow x INT+ 2", "sin sin x", "pow add x sin x INT- 1"):
        with pytest.raises(RejectedExpression):
            search.find_antiderivative(build(parse(text_to_ids(text))), primitive_table())
