"""The arithmetic of polynomials over kernels."""

from __future__ import annotations

import random

import pytest
from flint import fmpq

from mathpipe.generate.symbolic.check.exact.kernel_ring import FEW_KERNELS, MAX_KERNELS, KernelRing


@pytest.mark.parametrize("size", [FEW_KERNELS, MAX_KERNELS])
@pytest.mark.parametrize("degree", [1, 2, 3])
def test_parts_by_the_powers_of_a_kernel_sum_to_the_polynomial(size: int, degree: int) -> None:
    """p = the sum of part * k^exponent, each part below the degree in k, the exponents descending multiples of it."""
    rng = random.Random(degree)
    ring = KernelRing({}, size)
    generators = ring._generators[:5]
    for terms in (0, 1, 2, 30):
        p = ring._null
        for _ in range(terms):
            term = ring._context.constant(fmpq(rng.randint(-9, 9), rng.randint(1, 9)))
            for k in generators:
                term = term * k ** rng.choice((0, 0, 1, 2, 7))
            p = p + term
        parts = ring._parts(p, 2, degree)
        exponents = [exponent for exponent, _ in parts]
        assert exponents == sorted(set(exponents), reverse=True) and exponents[-1] == 0
        assert all(exponent % degree == 0 for exponent in exponents)
        assert all(part.is_zero() or part.degrees()[2] < degree for _, part in parts)
        assert sum((part * generators[2] ** exponent for exponent, part in parts), ring._null) == p
