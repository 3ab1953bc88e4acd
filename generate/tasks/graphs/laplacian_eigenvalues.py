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
    """(n, dim, dim): the edges are the first of a random order of all pairs."""
    u, v = np.triu_indices(dim, 1)
    counts = rng.integers(min(1, len(u)), len(u), n, endpoint=True)
    ranks = np.argsort(rng.random((n, len(u))), axis=1)
    adjacent = np.zeros((n, dim, dim))
    adjacent[:, u, v] = adjacent[:, v, u] = ranks < counts[:, None]
    return adjacent


def _eigenvalues(adjacent: Floats) -> tuple[Floats, dict[str, Mask]]:
    """Values below rounding error, such as the 0 of every component, are 0."""
    n = adjacent.shape[1]
    laplacian = adjacent.sum(axis=2)[:, :, None] * np.eye(n) - adjacent
    (values,), failed = lapack_with_fallback(lambda a: (np.linalg.eigvalsh(a),), ((n,),), laplacian)
    values[np.abs(values) < 1e-9] = 0.0
    return values[:, :, None], {"no convergence": failed}


TASK = LaplacianEigenvalues()
