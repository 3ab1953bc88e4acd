"""What the gallery samples: distributions, and solutions that come with sampling beside those of the problems alone."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from typing import Any

import numpy as np
import pytest
from scipy import stats

from mathpipe.datasets.containers.integer_layout import unflatten
from mathpipe.datasets.containers.ragged_matrices import Matrices
from mathpipe.datasets.containers.ragged_sequences import IntegerSequences
from mathpipe.generate.chunks.pair_chunks import Pairs
from mathpipe.generate.splits import TRAIN, in_split, sequence_hash
from mathpipe.generate.tasks.graphs import bit_planes
from mathpipe.generate.tasks.integer_task import IntegerTask
from mathpipe.generate.tasks.task_registry import TASKS, get_task

GALLERY = {name: task for name, task in TASKS.items() if isinstance(task, IntegerTask)}


def is_uniform(counts: list[int]) -> bool:
    """Whether a chi-square test lets these counts pass as uniform, at a level of 1 in 10,000."""
    return bool(stats.chisquare(counts).pvalue > 1e-4)


@pytest.mark.parametrize("name", GALLERY)
def test_sampled_solutions_are_those_of_the_problems(name: str) -> None:
    task = GALLERY[name]
    spec = task.problems_of(task.make_spec({}))
    problems, solutions = task.sample_solved(np.random.default_rng(1), 700, spec)
    assert task.solve(problems, spec).equals(solutions).all()


@pytest.mark.parametrize("name", GALLERY)
def test_no_problems_have_no_solutions(name: str) -> None:
    task = GALLERY[name]
    assert len(task.solve(IntegerSequences.from_list([]), task.problems_of(task.make_spec({})))) == 0


def test_further_batches_solve_wanted_problems_alone() -> None:
    """Which pairs are accepted does not depend on it: they are the wanted ones among all pairs."""
    task = GALLERY["sort"]
    spec = task.problems_of(task.make_spec({}))

    def batches(wanted: Any) -> list[Pairs]:
        return list(itertools.islice(task.pairs(spec, np.random.default_rng, wanted), 2))

    def in_train(problems: Any) -> Any:
        return in_split(sequence_hash(problems), TRAIN)

    everything, wanted = (batches(which)[1] for which in (lambda problems: np.ones(len(problems), bool), in_train))
    selected = everything.take(in_train(everything.problems))
    assert 0 < len(wanted) < len(everything)
    assert wanted.problems.equals(selected.problems).all() and wanted.solutions.equals(selected.solutions).all()


@pytest.mark.parametrize("symbols", [7, 256, 257, 10_000])
def test_symbols_and_lengths_are_uniform(symbols: int) -> None:
    task = get_task("copy")
    spec = task.problems_of(task.make_spec({"symbols": symbols, "max_length": 5}))
    rows = task.sample(np.random.default_rng(0), 40_000, spec)  # type: ignore[attr-defined]
    assert is_uniform(np.bincount(rows.lengths - 2, minlength=5).tolist())
    sampled = np.concatenate([row[1:] for row in rows.to_list()])
    assert is_uniform(np.bincount(sampled, minlength=symbols).tolist())


@pytest.mark.parametrize("symbols", [2, 10, 10_000])
def test_deduplicate_beyond_the_table(symbols: int) -> None:
    task = GALLERY["deduplicate"]
    spec = task.problems_of(task.make_spec({"symbols": symbols, "max_length": 40}))
    problems = task.sample(np.random.default_rng(0), 300, spec)
    answers = [row[1:] for row in task.solve(problems, spec).to_list()]
    assert answers == [list(dict.fromkeys(row[1:])) for row in problems.to_list()]


@pytest.mark.parametrize("pairs", [2, 4, 5])
def test_balanced_lists_are_uniform(pairs: int) -> None:
    task = GALLERY["bracket-match"]
    spec = task.problems_of(task.make_spec({"min_pairs": pairs, "max_pairs": pairs}))
    lists = Counter(map(tuple, task.sample(np.random.default_rng(0), 60_000, spec).to_list()))
    assert len(lists) == math.comb(2 * pairs, pairs) // (pairs + 1)
    assert is_uniform(list(lists.values()))


def test_graphs_are_uniform() -> None:
    """Of 4 nodes: the number of edges, the set of edges of each number, and the order of two edges."""
    task = GALLERY["maximum-clique"]
    spec = task.problems_of(task.make_spec({"min_nodes": 4, "max_nodes": 4}))
    graphs = [unflatten("[(int, int)]", row) for row in task.sample(np.random.default_rng(0), 60_000, spec).to_list()]
    by_count: dict[int, list[Any]] = {}
    for graph in graphs:
        by_count.setdefault(len(graph), []).append(graph)
    assert sorted(by_count) == [3, 4, 5, 6] and is_uniform([len(group) for group in by_count.values()])
    for count, group in by_count.items():
        sets = Counter(frozenset(graph) for graph in group)
        assert len(sets) == math.comb(6, count) and (len(sets) == 1 or is_uniform(list(sets.values())))
    first = Counter(graph[0] for graph in by_count[6])
    assert len(first) == 6 and is_uniform(list(first.values()))


def test_bit_planes() -> None:
    rng = np.random.default_rng(0)
    for n in (0, 1, 63, 64, 65, 200):
        values = rng.random((5, n)) < 0.3
        assert (bit_planes.unpack(bit_planes.pack(values), n) == values).all()
        first = bit_planes.unpack(bit_planes.first_set(bit_planes.pack(values)), n)
        assert (first.sum(axis=0) == values.any(axis=0)).all()
        assert (first.argmax(axis=0) == values.argmax(axis=0)).all()


@pytest.mark.parametrize("dim", [2, 5, 8, 11, 12])
def test_laplacian_eigenvalues_of_equal_and_of_damaged_graphs(dim: int) -> None:
    """Graphs that differ in the order of their nodes alone, beside LAPACK one by one; then matrices that are no adjacency."""
    task: Any = get_task("laplacian-eigenvalues")
    rng = np.random.default_rng(0)
    spec = task.problems_of(task.make_spec({"dim": dim}))
    adjacent = task.sample(rng, 40, spec).dense()
    orders = [rng.permutation(dim) for _ in adjacent]
    shuffled = np.stack([a[np.ix_(order, order)] for a, order in zip(adjacent, orders, strict=True)])
    damaged = adjacent.copy()
    damaged[:, 0, 1] = damaged[:, 1, 0] = 2.0
    for matrices in (np.concatenate([adjacent, shuffled]), damaged):
        values = task.solve(Matrices.from_dense(matrices)).solutions.dense()[:, :, 0]
        expected = [np.linalg.eigvalsh(np.diag(a.sum(axis=1)) - a) for a in matrices]
        assert np.allclose(values, expected, atol=1e-12 * dim**2)
