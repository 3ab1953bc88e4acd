"""Noise on stored problems: the problem is A + E, the solution that of A.

The option ``noise`` of ``MatrixSpec``; ``MatrixTask.with_noise`` (``generate/tasks/matrix_task.py``) applies it when a chunk is
built; cotraining has its own.
"""

from __future__ import annotations

import math

import numpy as np

from mathpipe.datasets.containers.ragged_matrices import Matrices
from mathpipe.datasets.tokenizers.decimal_grid import round_to_grid
from mathpipe.generate.problem_specs.matrix_spec import MatrixSpec


def add_noise(rng: np.random.Generator, clean: Matrices, spec: MatrixSpec, *, symmetric: bool) -> Matrices:
    """A + (c_max sigma / sqrt 3) N(0, 1), symmetric noise for symmetric problems, rounded to the 3-digit grid.

    Its standard deviation is sigma times that of an entry with the largest coefficient.
    """
    scale = spec.max_coeff * spec.noise / math.sqrt(3)
    noise = Matrices(scale * rng.standard_normal(len(clean.values)), clean.rows, clean.cols)
    if symmetric:
        noise = noise.map(lambda e: np.tril(e) + np.tril(e, -1).transpose(0, 2, 1))
    return clean.with_values(round_to_grid(clean.values + noise.values))
