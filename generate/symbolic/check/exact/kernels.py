"""Values of expression trees as polynomials over kernels, and their derivatives."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flint import fmpq

from mathpipe.datasets.expressions.prefix import Tree
from mathpipe.datasets.expressions.vocabulary import TOKENS
from mathpipe.generate.symbolic.check.exact.elementary_functions import ElementaryFunctions
from mathpipe.generate.symbolic.check.exact.kernel_numbers import HALF
from mathpipe.generate.symbolic.check.exact.kernel_ring import MAX_KERNELS, Kernel, NotProven, Polynomial


class Kernels(ElementaryFunctions):
    """The kernels of one identity; values of trees and their derivatives."""

    def __init__(self, units: dict[str, fmpq], size: int = MAX_KERNELS) -> None:
        super().__init__(units, size)
        self._derivatives: dict[int, Polynomial] = {}
        self._values: dict[Tree, Polynomial] = {}

    def forget_values(self) -> None:
        """Forget the values of trees, before the same leaves get other values."""
        self._values.clear()

    def constant(self, name: str) -> Polynomial:
        """A free constant, such as c1."""
        return self._kernel("constant", name, self._null)

    def derivative(self, p: Polynomial) -> Polynomial:
        """dp/dx by the chain rule over the kernels of p."""
        total = self._null
        for position in self._used(p):
            if position not in self._derivatives:
                self._derivatives[position] = self._derive(self._kernels[position], self._generators[position])
            slope = self._derivatives[position]
            if not slope.is_zero():
                total = total + self.multiply(p.derivative(position), slope)
        return total

    def _derive(self, kernel: Kernel, k: Polynomial) -> Polynomial:
        u = kernel.argument
        if kernel.kind == "x":
            return self._one
        if kernel.kind in ("constant", "sign", "I", "pi"):
            return self._null
        slope = self.derivative(u)
        if slope.is_zero():
            return slope
        if kernel.kind == "inverse":
            return -self.multiply(slope, k**2)
        if kernel.kind == "root":
            return self.multiply(slope, self.multiply(k, self.inverse(u))) / kernel.degree
        if kernel.kind == "exp":
            return self.multiply(slope, k)
        if kernel.kind in ("sin", "cos"):
            sine, cosine = self._sine_and_cosine_kernels(u)
            return self.multiply(slope, cosine if kernel.kind == "sin" else -sine)
        return self.multiply(slope, self._slope_of_inverse_function(kernel.kind, u))

    def _slope_of_inverse_function(self, kind: str, u: Polynomial) -> Polynomial:
        """df/du of ln and of the inverse functions."""
        if kind == "ln":
            return self.inverse(u)
        square = self.multiply(u, u)
        if kind in ("atan", "atanh"):
            return self.inverse(1 + square if kind == "atan" else 1 - square)
        if kind in ("asin", "acos"):
            slope = self.inverse(self.power(1 - square, HALF))
            return slope if kind == "asin" else -slope
        if kind == "asinh":
            return self.inverse(self.power(1 + square, HALF))
        return self.inverse(self.multiply(self.power(u - 1, HALF), self.power(u + 1, HALF)))  # acosh

    def value(self, tree: Tree, unknowns: Mapping[str, Polynomial]) -> Polynomial:
        """The polynomial of a tree; ``unknowns``: the polynomials of y and its derivatives. NotProven if it has none."""
        if isinstance(tree, int):
            return self._context.constant(tree)
        value = self._values.get(tree)
        if value is None:
            value = self._values[tree] = self._evaluate(tree, unknowns)
        return value

    def _evaluate(self, tree: tuple[Any, ...], unknowns: Mapping[str, Polynomial]) -> Polynomial:
        name = TOKENS[tree[0]]
        if len(tree) == 1:
            return self._leaf(name, unknowns)
        a = self.value(tree[1], unknowns)
        if len(tree) == 2:
            return self._unary(name, a)
        b = self.value(tree[2], unknowns)
        if name == "add":
            return a + b
        if name == "sub":
            return a - b
        if name == "mul":
            return self.multiply(a, b)
        if name == "div":
            return self.multiply(a, self.inverse(b))
        exponent = b if name == "pow" else self.inverse(b)
        if exponent.is_constant():
            return self.power(a, fmpq(0) if exponent.is_zero() else exponent.leading_coefficient())
        if not a.is_constant():
            self._require_nonzero(a)
        return self.exponential(self.multiply(exponent, self.logarithm(a)))

    def _leaf(self, name: str, unknowns: Mapping[str, Polynomial]) -> Polynomial:
        if name == "x":
            return self.x
        if name in unknowns:
            return unknowns[name]
        if name == "pi":
            return self._kernel("pi", "", self._null, source="pi")
        if name == "E":
            return self.exponential(self._one)
        if name == "I":
            return self._imaginary_unit()
        raise NotProven(f"no value for {name}")

    def _unary(self, name: str, u: Polynomial) -> Polynomial:
        if name in _FIXED_POWERS:
            return self.integer_power(u, _FIXED_POWERS[name])
        if name == "sqrt":
            return self.power(u, HALF)
        if name == "exp":
            return self.exponential(u)
        if name == "ln":
            return self.logarithm(u)
        if name in ("abs", "sign"):
            sign = self.sign(u)
            return sign if name == "sign" else self.multiply(sign, u)
        if name in _RECIPROCALS:
            return self.inverse(self._unary(_RECIPROCALS[name], u))
        if name in _OF_RECIPROCALS:
            return self._unary(_OF_RECIPROCALS[name], self.inverse(u))
        if name in ("sin", "cos", "tan"):
            sine, cosine = self.sine_and_cosine(u)
            return sine if name == "sin" else cosine if name == "cos" else self.multiply(sine, self.inverse(cosine))
        if name in ("sinh", "cosh", "tanh"):
            return self._hyperbolic(name, u)
        return self.inverse_function(name, u)

    def _hyperbolic(self, name: str, u: Polynomial) -> Polynomial:
        e = self.exponential(u)
        inverse = self.inverse(e)
        if name == "sinh":
            return (e - inverse) / 2
        if name == "cosh":
            return (e + inverse) / 2
        return self.multiply(e - inverse, self.inverse(e + inverse))


_FIXED_POWERS = {"inv": -1, "pow2": 2, "pow3": 3, "pow4": 4, "pow5": 5}
_RECIPROCALS = {"cot": "tan", "sec": "cos", "csc": "sin", "coth": "tanh", "sech": "cosh", "csch": "sinh"}
_OF_RECIPROCALS = {"acot": "atan", "asec": "acos", "acsc": "asin", "acoth": "atanh", "asech": "acosh", "acsch": "asinh"}
