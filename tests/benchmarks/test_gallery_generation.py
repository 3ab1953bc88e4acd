"""Generation of the gallery beside scalar loops of the same mathematics, per CPU-second of one thread: ``make bench``.

Each task builds whole chunks in memory: sampled, solved, written as flat rows of integers, hashed and assigned to splits, until
each split has its share; what exceeds it is discarded. Two loops over single examples in NumPy and plain Python, as such data is
commonly made, are timed in turn with it. The first does the same work, with Python's hash of the row. The second samples and
solves, and does nothing else: it has no splits and may repeat test problems in training. Neither the tasks nor the loops verify
answers or write files. All have the default parameters of the task.
"""

from __future__ import annotations

import heapq
import itertools
import math
import time
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from mathpipe.datasets.allocator import keep_freed_memory
from mathpipe.generate.tasks.task_registry import get_task

keep_freed_memory()  # as ``mathpipe generate`` does
pytestmark = pytest.mark.benchmark
Rng = np.random.Generator
MAX_INT, NODES, LENGTH, PRIME, DEGREE, PAIRS = 1000, 10, 20, 7, 5, 10


def integers(rng: Rng, count: int, largest: int = MAX_INT) -> list[int]:
    return [int(rng.integers(1, largest + 1)) for _ in range(count)]


def fraction(operate: Callable[[Fraction, Fraction], object]) -> Callable[[Rng], object]:
    def example(rng: Rng) -> object:
        a, b, c, d = integers(rng, 4)
        return (a, b, c, d), operate(Fraction(a, b), Fraction(c, d))

    return example


def determinant(rng: Rng) -> object:
    a, b, c, d = integers(rng, 4)
    return (a, b, c, d), a * d - b * c


def simplify(rng: Rng) -> object:
    a, b = integers(rng, 2)
    k = int(rng.integers(1, 101))
    return (k * a, k * b), Fraction(k * a, k * b)


def rounded(rng: Rng) -> object:
    a, b = integers(rng, 2)
    return (a, b), a // b


def gcd(rng: Rng) -> object:
    a, b = integers(rng, 2, 1_000_000)
    return (a, b), math.gcd(a, b)


def modular(operate: Callable[[int, int], int]) -> Callable[[Rng], object]:
    def example(rng: Rng) -> object:
        a, b = int(rng.integers(0, 97)), int(rng.integers(0, 97))
        return (a, b), operate(a, b) % 97

    return example


def symbols(answer: Callable[[list[int]], object], largest: int = 10) -> Callable[[Rng], object]:
    def example(rng: Rng) -> object:
        problem = rng.integers(0, largest, int(rng.integers(1, LENGTH + 1))).tolist()
        return problem, answer(problem)

    return example


def brackets(rng: Rng) -> object:
    k = int(rng.integers(1, PAIRS + 1))
    order = rng.permutation([0] * k + [1] * (k + 1)).tolist()
    height = lowest = start = 0
    for i, closes in enumerate(order):
        height += 1 - 2 * closes
        if height < lowest:
            lowest, start = height, i + 1
    problem = (order[start:] + order[:start])[:-1]
    stack, answer = [], [0] * len(problem)
    for i, closes in enumerate(problem):
        if closes:
            answer[i] = stack.pop()
            answer[answer[i]] = i
        else:
            stack.append(i)
    return problem, answer


def graph(rng: Rng, smallest: int = 3, largest: int = NODES) -> tuple[int, list[tuple[int, int]]]:
    n = int(rng.integers(smallest, largest + 1))
    pairs = [(u, v) for v in range(n) for u in range(v)]
    count = int(rng.integers(n - 1, len(pairs) + 1))
    return n, [pairs[k] for k in rng.permutation(len(pairs))[:count]]


def neighbours_of(n: int, edges: list[tuple[int, int]]) -> list[set[int]]:
    near: list[set[int]] = [set() for _ in range(n)]
    for u, v in edges:
        near[u].add(v)
        near[v].add(u)
    return near


def shortest_path(rng: Rng) -> object:
    while True:
        n, edges = graph(rng)
        s, t = rng.permutation(n)[:2].tolist()
        near = neighbours_of(n, edges)
        distance, before, heap = {s: 0}, {}, [(0, s)]
        while heap:
            length, u = heapq.heappop(heap)
            for v in near[u]:
                if length + 1 < distance.get(v, n + 1):
                    distance[v], before[v] = length + 1, u
                    heapq.heappush(heap, (length + 1, v))
        if t in distance:
            path = [t]
            while path[-1] != s:
                path.append(before[path[-1]])
            return (edges, s, t), path[::-1]


def clique(rng: Rng) -> object:
    n, edges = graph(rng)
    near, best = neighbours_of(n, edges), list[int]()

    def extend(nodes: list[int], candidates: set[int]) -> None:
        nonlocal best
        if len(nodes) > len(best):
            best = nodes
        for v in sorted(candidates):
            extend([*nodes, v], {w for w in candidates if w > v} & near[v])

    extend([], set(range(n)))
    return edges, best


def laplacian(rng: Rng) -> object:
    n, edges = graph(rng, 8, 8)
    a = np.zeros((n, n))
    for u, v in edges:
        a[u, v] = a[v, u] = 1
    return a, np.linalg.eigvalsh(np.diag(a.sum(axis=1)) - a)


def roots(rng: Rng) -> object:
    degree = int(rng.integers(1, 6))
    pairs = int(rng.integers(0, degree // 2 + 1))
    upper = 5 * np.sqrt(rng.random(pairs)) * np.exp(1j * np.pi * rng.random(pairs))
    p = np.poly(np.concatenate([upper, upper.conj(), rng.uniform(-5, 5, degree - 2 * pairs)])).real
    p = np.array([float(f"{c:.2e}") for c in p])
    return p, np.roots(p)


def polynomial(rng: Rng) -> list[int]:
    coefficients = rng.integers(0, PRIME, int(rng.integers(1, DEGREE + 2))).tolist()
    coefficients[-1] = int(rng.integers(1, PRIME))
    return coefficients


def trimmed(coefficients: list[int]) -> list[int]:
    while coefficients and not coefficients[-1]:
        coefficients.pop()
    return coefficients


def field_sum(rng: Rng) -> object:
    a, b = polynomial(rng), polynomial(rng)
    width = max(len(a), len(b))
    padded = [p + [0] * (width - len(p)) for p in (a, b)]
    return (a, b), trimmed([(x + y) % PRIME for x, y in zip(*padded, strict=True)])


def field_product(rng: Rng) -> object:
    a, b = polynomial(rng), polynomial(rng)
    product = [0] * (len(a) + len(b) - 1)
    for i, x in enumerate(a):
        for j, y in enumerate(b):
            product[i + j] = (product[i + j] + x * y) % PRIME
    return (a, b), trimmed(product)


LOOPS: dict[str, Callable[[Rng], Any]] = {
    "gcd": gcd,
    "fraction-simplify": simplify,
    "fraction-round": rounded,
    "fraction-add": fraction(lambda x, y: x + y),
    "fraction-product": fraction(lambda x, y: x * y),
    "fraction-determinant": determinant,
    "fraction-compare": fraction(lambda x, y: int(x > y)),
    "modular-add": modular(lambda a, b: a + b),
    "modular-product": modular(lambda a, b: a * b),
    "shortest-path": shortest_path,
    "laplacian-eigenvalues": laplacian,
    "maximum-clique": clique,
    "polynomial-roots": roots,
    "gfp-add": field_sum,
    "gfp-multiply": field_product,
    "copy": symbols(list),
    "reverse": symbols(lambda x: x[::-1]),
    "sort": symbols(sorted),
    "parity": symbols(lambda x: sum(x) % 2, 2),
    "deduplicate": symbols(lambda x: list(dict.fromkeys(x))),
    "bracket-match": brackets,
}
ROUNDS, CHUNKS, EXAMPLES = 5, 3, 3000
SHARES = {"train": 14, "valid": 1, "test": 1}  # sixteenths of all problems


def flat_row(value: Any) -> list[float]:
    """The numbers of a nested value, each list after its length."""
    if isinstance(value, np.ndarray):
        return list(value.ravel().tolist())
    if isinstance(value, Fraction):
        return [value.numerator, value.denominator]
    if not isinstance(value, list | tuple):
        return [value]
    row = [len(value)] if isinstance(value, list) else []
    if value and isinstance(value[0], int):
        row += value
    elif isinstance(value, list):  # of edges
        row += itertools.chain.from_iterable(value)
    else:
        for item in value:
            row += flat_row(item)
    return row


def fill_splits(example: Callable[[Rng], Any], rng: Rng, quotas: dict[str, int]) -> int:
    """As many examples of each split as ``quotas`` say, one at a time; returns their number."""
    names = [name for name, share in SHARES.items() for _ in range(share)]
    splits: dict[str, tuple[list[Any], list[Any]]] = {name: ([], []) for name in quotas}
    open_splits = set(quotas)
    while open_splits:
        problem, solution = example(rng)
        row = flat_row(problem)
        split = names[hash(tuple(row)) % 16]
        if split in open_splits:
            problems, solutions = splits[split]
            problems.append(row)
            solutions.append(flat_row(solution))
            if len(problems) == quotas[split]:
                open_splits.discard(split)
    return sum(quotas.values())


def best_rates(*works: Callable[[], int]) -> list[float]:
    """Items per CPU-second of each: the best of a few rounds after a first one, in turn."""
    rates: list[list[float]] = [[] for _ in works]
    for _ in range(1 + ROUNDS):
        for work, measured in zip(works, rates, strict=True):
            start = time.process_time()
            items = work()
            measured.append(items / (time.process_time() - start))
    return [max(measured[1:]) for measured in rates]


@pytest.mark.parametrize("name", LOOPS)
def test_chunks_beside_scalar_loops(name: str, record_property: Callable[[str, Any], None]) -> None:
    task = get_task(name)
    spec = task.make_spec({})
    splits = tuple(SHARES) if task.shares_stream else ("train",)
    quotas = {split: task.rows_per_chunk(spec, split) * EXAMPLES // spec.chunk_rows for split in splits}

    def chunks() -> int:
        built = [task.build_chunk(spec, k, splits) for k in range(CHUNKS)]
        return sum(len(part.examples) for chunk in built for part in chunk.values())

    def same_work() -> int:
        return fill_splits(LOOPS[name], np.random.default_rng(0), quotas)

    def bare_loop() -> int:
        rng = np.random.default_rng(0)
        for _ in range(EXAMPLES):
            LOOPS[name](rng)
        return EXAMPLES

    with threadpool_limits(1):
        arrays, same, bare = best_rates(chunks, same_work, bare_loop)
    record_property("times_same_work", arrays / same)
    record_property("times_bare_loop", arrays / bare)
    print(  # noqa: T201
        f"\n{name}: {arrays:,.0f} examples per CPU-second; a loop of the same work {same:,.0f}, {arrays / same:.0f} times; "
        f"one that only samples and solves {bare:,.0f}, {arrays / bare:.0f} times"
    )
