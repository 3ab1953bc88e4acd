"""Laplacian eigenvalues: the adjacency matrix of a graph (n x n) -> the eigenvalues of its Laplacian, ascending (n x 1).

L = D - A with the degrees on the diagonal of D. The answer is real, so this is a matrix task: a prediction h is compared with the
stored values l as in ``eigenvalues``, sum|h - l| <= 5 % of sum|l|. The number of edges is uniform from 1 to n (n - 1) / 2.
"""

from __future__ import annotations

import numpy as np
from pydantic.fields import FieldInfo

from mathpipe.datasets.containers.ragged_matrices import Matrices
from mathpipe.datasets.errors import UserError
from mathpipe.generate.chunks.matrix_chunks import Solved
from mathpipe.generate.linalg.batched import lapack_with_fallback
from mathpipe.generate.problem_specs.matrix_spec import MatrixSpec
from mathpipe.generate.tasks.matrix_task import Floats, Ints, Mask, MatrixTask, solve_by_shape

_MOST_PAIRS = 64  # pairs of nodes, as bits of one integer; of larger graphs hardly any two are equal


class LaplacianEigenvalues(MatrixTask):
    """A -> l_1 <= ... <= l_n of D - A."""

    name = "laplacian-eigenvalues"
    problem = "adjacency matrix of a graph (n x n)"
    solution = "eigenvalues of its Laplacian, ascending (n x 1)"
    source = "graph theory; as eigenvalues of Charton 2022"
    square_only = True
    symmetric = True
    may_repeat = True
    default_spec = MatrixSpec(min_dim=8, max_dim=8)

    def options(self) -> dict[str, FieldInfo]:
        return {name: field for name, field in super().options().items() if name in ("dim", "min_dim", "max_dim")}

    def check_problems(self, spec: MatrixSpec) -> None:
        if spec.min_dim < 2:
            raise UserError("a graph needs two nodes", expected="--min-dim of at least 2", got=spec.min_dim)

    def sample(self, rng: np.random.Generator, n: int, spec: MatrixSpec) -> Matrices:
        if spec.min_dim == spec.max_dim:
            return Matrices.from_dense(_adjacency(rng, n, spec.min_dim))
        dims = rng.integers(spec.min_dim, spec.max_dim, n, endpoint=True)
        graphs = Matrices(np.zeros(int((dims**2).sum())), dims, dims)
        for dim in np.unique(dims).tolist():
            index = np.flatnonzero(dims == dim)
            dense = _adjacency(rng, len(index), dim)
            graphs.values[graphs.offsets[index][:, None] + np.arange(dim * dim)] = dense.reshape(len(index), -1)
        return graphs

    def solve(self, problems: Matrices) -> Solved:
        """LAPACK's symmetric eigenvalues (dsyevd), ascending."""
        return solve_by_shape(problems, _eigenvalues)

    def answer_shape(self, problems: Matrices) -> tuple[Ints, Ints]:
        return problems.rows, np.ones_like(problems.rows)

    def distinct_problems(self, spec: MatrixSpec) -> float:
        return float(sum(2.0 ** min(n * (n - 1) // 2, 1000) for n in range(spec.min_dim, spec.max_dim + 1)))


def _adjacency(rng: np.random.Generator, n: int, dim: int) -> Floats:
    """(n, dim, dim): the edges are the first of all pairs in the order of random keys."""
    pairs = dim * (dim - 1) // 2
    if not pairs:
        return np.zeros((n, dim, dim))
    counts = rng.integers(1, pairs, n, endpoint=True)
    keys = rng.random((n, pairs))
    return _matrices(keys <= np.sort(keys, axis=1)[np.arange(n), counts - 1][:, None], dim)


def _eigenvalues(matrices: Floats) -> tuple[Floats, dict[str, Mask]]:
    """Equal graphs of relabelled nodes are solved once; of 10,000 graphs of 8 nodes 4,000 are different."""
    n = matrices.shape[1]
    if n * (n - 1) // 2 > _MOST_PAIRS or not _are_adjacency(matrices):
        return _laplacian_values(matrices)
    is_edge = _relabelled(matrices)
    codes = np.zeros((len(is_edge), 8), dtype=np.uint8)
    packed = np.packbits(is_edge, axis=1)
    codes[:, : packed.shape[1]] = packed
    _, first, which = np.unique(codes.view(np.uint64)[:, 0], return_index=True, return_inverse=True)
    values, rejected = _laplacian_values(_matrices(is_edge[first], n))
    return values[which], {reason: mask[which] for reason, mask in rejected.items()}


def _are_adjacency(matrices: Floats) -> bool:
    zero_or_one = ((matrices == 0) | (matrices == 1)).all()
    diagonal = np.diagonal(matrices, axis1=1, axis2=2)
    return bool(zero_or_one and not diagonal.any() and (matrices == matrices.transpose(0, 2, 1)).all())


def _relabelled(adjacent: Floats) -> Mask:
    """(k, n (n - 1) / 2) edges of the graphs with their nodes in the order of their degrees and those of their neighbours.

    Relabelled nodes leave the eigenvalues as they are. The order is by c = A (A d^2 + w d)^2 + w (A d^2 + w d) with w = 4096,
    exact in float64; equal nodes stay in their order.
    """
    n = adjacent.shape[1]
    rank = adjacent.sum(axis=2)
    for _ in range(2):
        rank = np.einsum("kij,kj->ki", adjacent, rank**2) + 4096 * rank
    order = np.argsort(rank, axis=1, kind="stable")
    u, v = np.triu_indices(n, 1)
    at = n * order[:, u] + order[:, v]
    at += np.arange(len(adjacent))[:, None] * n**2
    return np.asarray((adjacent != 0).reshape(-1)[at])


def _matrices(is_edge: Mask, n: int) -> Floats:
    """(k, n, n) adjacency matrices, from which of the pairs u < v (k, n (n - 1) / 2) are edges."""
    u, v = np.triu_indices(n, 1)
    pair = np.full((n, n), len(u))  # the pair of each entry; on the diagonal one that is never an edge
    pair[u, v] = pair[v, u] = np.arange(len(u))
    return np.pad(is_edge, ((0, 0), (0, 1)))[:, pair.reshape(-1)].reshape(-1, n, n).astype(np.float64)


def _laplacian_values(adjacent: Floats) -> tuple[Floats, dict[str, Mask]]:
    """Values below rounding error, such as the 0 of every component, are 0."""
    n = adjacent.shape[1]
    laplacian = -adjacent
    laplacian[:, np.arange(n), np.arange(n)] += adjacent.sum(axis=2)
    (values,), failed = lapack_with_fallback(lambda a: (np.linalg.eigvalsh(a),), ((n,),), laplacian)
    values[np.abs(values) < 1e-9] = 0.0
    return values[:, :, None], {"no convergence": failed}


TASK = LaplacianEigenvalues()
