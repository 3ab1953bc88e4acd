"""Powers with more digits than a computer holds are left to interval arithmetic, and never computed digit by digit."""

from __future__ import annotations

import pytest
import symengine as se

import mathpipe
from mathpipe.generate.symbolic.check.exact.expression_builder import power
from mathpipe.generate.symbolic.check.exact.symengine_expressions import NotDecided, X


@pytest.mark.parametrize(
    ("base", "exponent"), [(se.Integer(9), 10**9), (se.Rational(2, 3), -(10**9)), (2 * X, 10**9), (se.sqrt(2), 10**9)]
)
def test_towers_are_refused(base: se.Basic, exponent: int) -> None:
    with pytest.raises(NotDecided, match="digits"):
        power(base, se.Integer(exponent))


@pytest.mark.parametrize(("base", "exponent"), [(se.Integer(9), 1_000), (X, 10**9), (2 * X, 300), (X + 1, -7)])
def test_ordinary_powers_are_not(base: se.Basic, exponent: int) -> None:
    assert power(base, se.Integer(exponent)) == base ** se.Integer(exponent)


def test_outcome_of_a_tower() -> None:
    """Minutes and gigabytes without the limit: symengine cannot be interrupted."""
    assert mathpipe.verify("integration-bwd", "x", "9**9**9**9**9").outcome == "wrong_value"
    assert mathpipe.verify("integration-bwd", "10**9*x**(10**9 - 1)", "x**(10**9)").correct
