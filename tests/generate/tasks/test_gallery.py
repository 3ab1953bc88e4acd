"""The gallery of tasks on integers, graphs, polynomials and symbols, checked by independent routes.

Answers are compared with ``math``, ``fractions``, NetworkX, SymPy and plain Python; every right answer is accepted, no wrong one.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pytest
import sympy
from hypothesis import given, settings
from hypothesis import strategies as st

from mathpipe.datasets.containers.integer_layout import flatten, unflatten
from mathpipe.datasets.containers.ragged_matrices import Matrices
from mathpipe.datasets.containers.ragged_sequences import IntegerSequences
from mathpipe.datasets.dataset import open_dataset
from mathpipe.datasets.errors import UserError
from mathpipe.datasets.format.manifest import read_manifest
from mathpipe.datasets.format.sequence_columns import TokenExamples
from mathpipe.generate.build.dataset_builder import make_dataset
from mathpipe.generate.curate.dataset_verification import verify_dataset
from mathpipe.generate.dataset_spec import DatasetSpec
from mathpipe.generate.layout import Layout
from mathpipe.generate.outcomes import RowFault, solution_fault
from mathpipe.generate.tasks.integer_task import IntegerTask
from mathpipe.generate.tasks.task_registry import TASKS, get_task

GALLERY = {name: task for name, task in TASKS.items() if isinstance(task, IntegerTask)}
REAL = ("laplacian-eigenvalues", "polynomial-roots")
Check = Callable[[Any, Any, Any], bool]


def graph_of(edges: list[tuple[int, ...]]) -> nx.Graph:
    graph = nx.Graph()
    graph.add_weighted_edges_from([(*edge, 1)[:3] for edge in edges])
    return graph


def is_shortest_path(problem: Any, path: list[int], spec: Any) -> bool:
    edges, s, t = problem
    graph = graph_of(edges)
    if not path or path[0] != s or path[-1] != t or not nx.is_path(graph, path):
        return False
    return nx.path_weight(graph, path, "weight") == nx.shortest_path_length(graph, s, t, "weight")


def is_maximum_clique(problem: Any, nodes: list[int], spec: Any) -> bool:
    graph = graph_of(problem)
    clique = len({*nodes}) == len(nodes) and all(graph.has_edge(u, v) for u, v in itertools.combinations(nodes, 2))
    return clique and len(nodes) == max(map(len, nx.find_cliques(graph)))


def over_field(operate: Callable[[sympy.Poly, sympy.Poly], sympy.Poly]) -> Check:
    x = sympy.Symbol("x")

    def check(problem: Any, answer: list[int], spec: Any) -> bool:
        field = sympy.GF(spec.prime, symmetric=False)
        a, b = (sympy.Poly(list(reversed(p)) or [0], x, domain=field) for p in problem)
        result = operate(a, b)
        return answer == ([] if result.is_zero else [int(c) % spec.prime for c in reversed(result.all_coeffs())])

    return check


def partners(brackets: list[int]) -> list[int]:
    stack: list[int] = []
    answer = [0] * len(brackets)
    for i, closes in enumerate(brackets):
        if closes:
            answer[i] = stack.pop()
            answer[answer[i]] = i
        else:
            stack.append(i)
    assert not stack
    return answer


def lowest(value: Fraction) -> tuple[int, int]:
    return value.numerator, value.denominator


CHECKS: dict[str, Check] = {
    "gcd": lambda p, x, spec: x == math.gcd(*p),
    "fraction-simplify": lambda p, x, spec: x == lowest(Fraction(*p)),
    "fraction-round": lambda p, x, spec: x == math.floor(Fraction(*p)),
    "fraction-add": lambda p, x, spec: x == lowest(Fraction(*p[:2]) + Fraction(*p[2:])),
    "fraction-product": lambda p, x, spec: x == lowest(Fraction(*p[:2]) * Fraction(*p[2:])),
    "fraction-determinant": lambda p, x, spec: x == sympy.Matrix(2, 2, p).det(),
    "fraction-compare": lambda p, x, spec: (
        Fraction(*p[:2]) != Fraction(*p[2:]) and x == int(Fraction(*p[:2]) > Fraction(*p[2:]))
    ),
    "modular-add": lambda p, x, spec: x == sum(p) % spec.modulus,
    "modular-product": lambda p, x, spec: x == math.prod(p) % spec.modulus,
    "shortest-path": is_shortest_path,
    "maximum-clique": is_maximum_clique,
    "gfp-add": over_field(lambda a, b: a + b),
    "gfp-multiply": over_field(lambda a, b: a * b),
    "copy": lambda p, x, spec: x == p,
    "reverse": lambda p, x, spec: x == p[::-1],
    "sort": lambda p, x, spec: x == sorted(p),
    "parity": lambda p, x, spec: x == sum(p) % 2,
    "deduplicate": lambda p, x, spec: x == list(dict.fromkeys(p)),
    "bracket-match": lambda p, x, spec: x == partners(p),
}
"""Whether an answer is right, by another route than the task's own."""

OPTIONS: list[tuple[str, dict[str, Any]]] = [
    *((name, {}) for name in CHECKS),
    *(("gcd", {"operands": "log-uniform", "outcome": outcome}) for outcome in ("uniform", "log-uniform", "inverse-square")),
    ("gcd", {"max_int": 10**9, "outcome": "uniform", "max_outcome": 10**6}),
    ("fraction-add", {"max_int": 10**9, "operands": "log-uniform"}),
    ("fraction-compare", {"max_int": 4}),
    ("fraction-simplify", {"max_factor": 10**9, "max_int": 10**9}),
    ("modular-product", {"modulus": 2**31}),
    ("shortest-path", {"max_weight": 9, "max_nodes": 14}),
    ("shortest-path", {"min_nodes": 2, "max_nodes": 2}),
    ("maximum-clique", {"min_nodes": 12, "max_nodes": 13}),
    ("gfp-multiply", {"prime": 2, "max_degree": 20}),
    ("gfp-multiply", {"prime": 1_000_003}),
    ("deduplicate", {"symbols": 2}),
    ("bracket-match", {"min_pairs": 30, "max_pairs": 40}),
]  # fmt: skip


def pairs(name: str, options: dict[str, Any], n: int, seed: int = 0) -> Iterator[tuple[Any, Any, Any]]:
    """(problem, solution, spec) of n sampled examples, as nested values."""
    task = GALLERY[name]
    spec = task.problems_of(task.make_spec(options))
    problems = task.sample(np.random.default_rng(seed), 64, spec)
    problems = problems.take(np.arange(min(n, len(problems))))
    solutions = task.solve(problems, spec)
    for problem, solution in zip(problems.to_list(), solutions.to_list(), strict=True):
        yield unflatten(spec.problem_layout, problem), unflatten(spec.solution_layout, solution), spec


def test_every_integer_task_is_checked() -> None:
    assert set(CHECKS) == set(GALLERY)


@pytest.mark.parametrize(("name", "options"), OPTIONS, ids=lambda value: str(value))
@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=5, deadline=None)
def test_answers_agree_with_another_route(name: str, options: dict[str, Any], seed: int) -> None:
    for problem, solution, spec in pairs(name, options, 12, seed):
        assert CHECKS[name](problem, solution, spec), (problem, solution)


@pytest.mark.parametrize("name", CHECKS)
def test_integers_stay_in_the_stated_ranges(name: str) -> None:
    task = GALLERY[name]
    spec = task.problems_of(task.make_spec({}))
    problems = task.sample(np.random.default_rng(0), 500, spec)
    assert task.is_problem(problems, spec).all()
    tokenizers = open_type(task.make_spec({}))
    assert all(len(tokenizer.encode(rows)[1]) == len(problems) for tokenizer, rows in zip(
        tokenizers, (problems, task.solve(problems, spec)), strict=True))  # fmt: skip


def open_type(spec: DatasetSpec) -> tuple[Any, Any]:
    from mathpipe.datasets.problem_types.type_registry import problem_type_of

    values = spec.model_dump(mode="json")
    return problem_type_of(values).tokenizers(values)


@pytest.mark.parametrize("name", [*CHECKS, *REAL])
def test_datasets_verify_clean(name: str, tmp_path: Path) -> None:
    spec = get_task(name).make_spec({})
    make_dataset(spec, Layout({"train": 300, "valid": 20, "test": 20}, spec.chunk_rows), str(tmp_path / "d"), workers=0)
    assert not verify_dataset(str(tmp_path / "d")).damage
    problems = {
        split: {
            str(rows.problems[i]) for rows in open_dataset(tmp_path / "d", split).chunks() for i in range(len(rows))
        }
        for split in ("train", "valid", "test")
    }
    assert not problems["train"] & problems["valid"] and not problems["train"] & problems["test"]


@pytest.mark.parametrize("name", CHECKS)
def test_wrong_stored_examples_are_noticed(name: str) -> None:
    """One solution changed, one problem out of the range of its task, one row without the layout."""
    task, split = GALLERY[name], "train"
    spec = task.make_spec({})
    examples: Any = task.build_chunk(spec.model_copy(update={"chunk_rows": 60}), 0, [split])[split].examples
    assert not any(mask.any() for mask in task.find_faults(spec, split, examples, 0).values())
    problems, solutions = examples.problems.to_list(), examples.solutions.to_list()
    changed = next(i for i, solution in enumerate(solutions) if solution != [0])
    solutions[changed][-1] += 1000  # 1 more may be another right answer
    low = [i for i in range(60) if i != changed][:2]
    problems[low[0]][-1] = -5
    problems[low[1]] = problems[low[1]] + [1]
    damaged = TokenExamples(
        examples.row, IntegerSequences.from_list(problems), IntegerSequences.from_list(solutions), examples.columns
    )
    faults = task.find_faults(spec, split, damaged, 0)
    assert np.flatnonzero(faults[solution_fault("wrong_value")]).tolist() == [changed]
    assert np.flatnonzero(faults[RowFault("its problem is none of its task")]).tolist() == [low[0]]
    assert np.flatnonzero(faults[RowFault("does not have the layout of its task")]).tolist() == [low[1]]


SQUARE = [(0, 1), (1, 2), (2, 3), (0, 3)]
WEIGHTED = [(0, 1, 1), (1, 3, 5), (0, 2, 3), (2, 3, 3), (0, 3, 9)]
OUTCOMES: list[tuple[str, str, Any, Any, Any, str]] = [
    ("shortest-path", "([(int, int)], int, int)", (SQUARE, 0, 2), [0, 1, 2], [0, 3, 2], "equivalent"),
    ("shortest-path", "([(int, int)], int, int)", (SQUARE, 0, 2), [0, 1, 2], [0, 1, 2], "exact"),
    ("shortest-path", "([(int, int)], int, int)", (SQUARE, 0, 2), [0, 1, 2], [0, 2], "wrong_value"),
    ("shortest-path", "([(int, int)], int, int)", (SQUARE, 0, 2), [0, 1, 2], [2, 1, 0], "wrong_value"),
    ("shortest-path", "([(int, int)], int, int)", (SQUARE, 0, 1), [0, 1], [0, 3, 2, 1], "wrong_value"),
    ("shortest-path", "([(int, int)], int, int)", (SQUARE, 0, 2), [0, 1, 2], [], "wrong_value"),
    ("shortest-path", "([(int, int)], int, int)", (SQUARE, 0, 2), [0, 1, 2], [0, -1, 2], "wrong_value"),
    ("shortest-path", "([(int, int)], int, int)", (SQUARE, 0, 2), [0, 1, 2], [0, 99, 2], "wrong_value"),
    ("shortest-path", "([(int, int, int)], int, int)", (WEIGHTED, 0, 3), [0, 1, 3], [0, 2, 3], "equivalent"),
    ("shortest-path", "([(int, int, int)], int, int)", (WEIGHTED, 0, 3), [0, 1, 3], [0, 3], "wrong_value"),
    ("maximum-clique", "[(int, int)]", SQUARE, [0, 1], [3, 2], "equivalent"),
    ("maximum-clique", "[(int, int)]", SQUARE, [0, 1], [1, 0], "equivalent"),
    ("maximum-clique", "[(int, int)]", SQUARE, [0, 1], [0, 2], "wrong_value"),
    ("maximum-clique", "[(int, int)]", SQUARE, [0, 1], [0, 0], "wrong_value"),
    ("maximum-clique", "[(int, int)]", SQUARE, [0, 1], [0], "wrong_value"),
    ("maximum-clique", "[(int, int)]", SQUARE, [0, 1], [0, 77], "wrong_value"),
    ("maximum-clique", "[(int, int)]", SQUARE, [0, 1], [], "wrong_value"),
    ("gcd", "(int, int)", (12, 18), 6, 6, "exact"),
    ("gcd", "(int, int)", (12, 18), 6, 3, "wrong_value"),
    ("sort", "[int]", [2, 1], [1, 2], [2, 1], "wrong_value"),
]


@pytest.mark.parametrize(("name", "layout", "problem", "reference", "answer", "outcome"), OUTCOMES)
def test_outcomes(name: str, layout: str, problem: Any, reference: Any, answer: Any, outcome: str) -> None:
    task = GALLERY[name]
    rows = [flatten(layout, problem), flatten(task.solution_layout, reference), flatten(task.solution_layout, answer)]
    together = [(*rows[:2], rows[2]), (*rows[:2], rows[1]), (*rows[:2], [])]
    verification = task.verify(*(IntegerSequences.from_list(list(part)) for part in zip(*together, strict=True)))
    assert [task.outcomes[k] for k in verification.outcome] == [outcome, "exact", "malformed"]
    alone = task.verify(*(IntegerSequences.from_list([row]) for row in rows))
    assert task.outcomes[alone.outcome[0]] == outcome


def test_element_accuracy_leaves_lengths_out() -> None:
    references = IntegerSequences.from_list([[3, 5, 6, 7], [2, 1, 1], [0]])
    predicted = IntegerSequences.from_list([[3, 5, 0, 7], [1, 1], [0]])
    verification = GALLERY["copy"].verify(references, references, predicted)
    assert verification.measures["correct_elements"].tolist() == [2, 1, 0]
    assert verification.measures["element_accuracy"].tolist() == pytest.approx([2 / 3, 0.5, 1])


def test_maximum_cliques_of_small_graphs() -> None:
    """Every graph of 4 nodes with an edge, against NetworkX."""
    all_edges = list(itertools.combinations(range(4), 2))
    graphs = [list(e) for k in range(1, 7) for e in itertools.combinations(all_edges, k)]
    task = GALLERY["maximum-clique"]
    problems = IntegerSequences.from_list([flatten("[(int, int)]", graph) for graph in graphs])
    solutions = task.solve(problems, task.default_spec)
    for graph, row in zip(graphs, solutions.to_list(), strict=True):
        assert is_maximum_clique(graph, row[1:], None)


def test_gcd_outcomes_follow_the_named_distribution() -> None:
    task = GALLERY["gcd"]
    for outcome, expected in (
        ("uniform", lambda k: np.full(len(k), 0.1)),
        ("inverse-square", lambda k: k**-2.0 / (np.arange(1, 11) ** -2.0).sum()),
        ("log-uniform", lambda k: np.log1p(1 / k) / np.log(11)),
    ):
        spec = task.problems_of(task.make_spec({"outcome": outcome, "max_outcome": 10, "max_int": 10**6}))
        problems = task.sample(np.random.default_rng(0), 60_000, spec)
        answers = task.solve(problems, spec).values
        counts = np.bincount(answers, minlength=11)[1:11]
        k = np.arange(1.0, 11.0)
        assert answers.max() == 10 and counts / len(answers) == pytest.approx(expected(k), abs=0.01)
        assert problems.values.max() <= 10**6
    natural = task.problems_of(task.make_spec({}))
    answers = task.solve(task.sample(np.random.default_rng(0), 60_000, natural), natural).values
    assert (answers == 1).mean() == pytest.approx(6 / math.pi**2, abs=0.01)


def test_balanced_brackets_are_uniform() -> None:
    task = GALLERY["bracket-match"]
    spec = task.problems_of(task.make_spec({"min_pairs": 4, "max_pairs": 4}))
    rows = task.sample(np.random.default_rng(0), 14_000, spec).to_list()
    counts = [rows.count(list(row)) for row in {tuple(row) for row in rows}]
    assert len(counts) == 14 and min(counts) > 850 and max(counts) < 1150


def test_half_of_all_modular_pairs_are_distinct(tmp_path: Path) -> None:
    """The first pass over a small space contains no pair twice: half of all pairs, as in the published experiment."""
    spec = get_task("modular-add").make_spec({"modulus": 97})
    make_dataset(spec, Layout({"train": 4704, "valid": 500, "test": 500}, spec.chunk_rows), str(tmp_path), workers=0)
    assert read_manifest(str(tmp_path)).repeats == 0
    rows = [tuple(row) for chunk in open_dataset(tmp_path, "train").chunks() for row in chunk.problems.to_list()]  # type: ignore[attr-defined]
    assert len(set(rows)) == 4704


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("gfp-add", {"prime": 6}, "6 is not a prime number"),
        ("maximum-clique", {"max_nodes": 20}, "tries all sets of nodes"),
        ("copy", {"min_length": 30}, "min_length 30 is above max_length 20"),
        ("bracket-match", {"min_pairs": 11}, "min_pairs 11 is above"),
        ("polynomial-roots", {"max_dim": 11, "min_dim": 1}, "degree is too large"),
        ("laplacian-eigenvalues", {"min_dim": 1, "max_dim": 5}, "a graph needs two nodes"),
    ],
)
def test_invalid_options(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises((UserError, ValueError), match=message):
        get_task(name).make_spec(options)


def test_laplacian_eigenvalues_agree_with_networkx() -> None:
    task: Any = get_task("laplacian-eigenvalues")
    spec = task.problems_of(task.make_spec({"min_dim": 2, "max_dim": 9}))
    problems = task.sample(np.random.default_rng(0), 60, spec)
    solutions = task.solve(problems).solutions
    for a, x in zip(problems, solutions, strict=True):
        graph = nx.from_numpy_array(a)
        assert graph.number_of_edges() and not nx.number_of_selfloops(graph)
        assert np.allclose(x[:, 0], np.sort(nx.laplacian_spectrum(graph)), atol=1e-8)
        assert np.isclose(x[:, 0], 0).sum() == nx.number_connected_components(graph)


def test_polynomial_roots_agree_with_sympy() -> None:
    task: Any = get_task("polynomial-roots")
    spec = task.problems_of(task.make_spec({}))
    problems = task.sample(np.random.default_rng(0), 12, spec)
    solved = task.solve(problems)
    x = sympy.Symbol("x")
    for coefficients, roots in zip(problems, solved.solutions, strict=True):
        exact = sympy.Poly([sympy.Rational(c) for c in coefficients[0].tolist()], x).nroots(n=30)
        remaining = [complex(r) for r in exact]
        for re, im in roots.tolist():
            nearest = min(remaining, key=lambda r: abs(r - complex(re, im)))
            assert abs(nearest - complex(re, im)) < 1e-8 * max(1, abs(nearest))
            remaining.remove(nearest)


ROOTS = [[2.0, 0.0], [1.0, 1.0], [1.0, -1.0]]  # (x - 2) (x^2 - 2 x + 2) = x^3 - 4 x^2 + 6 x - 4


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (ROOTS, "exact"),
        (ROOTS[::-1], "within_tolerance"),
        ([[2.09, 0.0], [1.0, 1.0], [1.0, -1.0]], "within_tolerance"),
        ([[2.2, 0.0], [1.0, 1.0], [1.0, -1.0]], "wrong_value"),
        ([[2.0, 0.0], [1.0, 1.0], [1.0, 1.0]], "wrong_value"),
        ([[2.0, 0.0], [2.0, 0.0], [1.0, 1.0]], "wrong_value"),
        ([[2.0, 0.0], [1.0, 1.0]], "wrong_shape"),
        ([[0.0, 0.0]] * 3, "wrong_value"),
    ],
)
def test_roots_are_a_multiset(answer: list[list[float]], outcome: str) -> None:
    task: Any = get_task("polynomial-roots")
    problems, references = Matrices.from_list([[[1, -4, 6, -4]]]), Matrices.from_list([ROOTS])
    verification = task.verify(problems, references, Matrices.from_list([answer]))
    assert task.outcomes[verification.outcome[0]] == outcome


def test_assignment_of_roots_is_the_best_one() -> None:
    from mathpipe.generate.tasks.polynomials.polynomial_roots import _assign

    cost = np.random.default_rng(0).random((40, 4, 4))
    order, largest = _assign(cost)
    for c, columns, worst in zip(cost, order, largest, strict=True):
        assert sorted(columns) == [0, 1, 2, 3] and worst == max(c[i, j] for i, j in enumerate(columns))
        assert worst == min(max(c[i, j] for i, j in enumerate(p)) for p in itertools.permutations(range(4)))
