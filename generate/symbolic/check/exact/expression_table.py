"""Expressions of many sequences in symengine; a subexpression that occurs in several of them is built once."""

from __future__ import annotations

import numpy as np

from mathpipe.datasets.containers.ragged_sequences import Sequences
from mathpipe.datasets.expressions.prefix import subexpression
from mathpipe.datasets.expressions.vocabulary import IDS
from mathpipe.generate.symbolic.check.exact.divisors import (
    DIVIDING,
    divisors,
    divisors_of_derivative,
    vanishing_factors,
)
from mathpipe.generate.symbolic.check.exact.expression_builder import ACOSH, ExpressionBuilder, integer
from mathpipe.generate.symbolic.check.exact.symengine_expressions import UNDECIDED, Expression, NotDecided
from mathpipe.generate.symbolic.check.exact.term_counts import Bounds, bounds_of_integer, bounds_of_operation
from mathpipe.generate.symbolic.numeric.array_programs import Ints, Program
from mathpipe.generate.symbolic.numeric.common_subexpressions import merge_equal_nodes

_INTEGERS = (IDS["INT+"], IDS["INT-"])
_SPECIAL = np.zeros(
    256, dtype=bool
)  # tokens whose nodes matter to the derivative of an expression, or to where it is defined
_SPECIAL[[*DIVIDING, ACOSH]] = True


class ExpressionTable:
    """The expressions of sequences of one program that are well-formed and whose ``rows`` are asked for.

    Its methods raise NotDecided for an expression that has no value in symengine, or would have many terms.
    """

    def __init__(self, sequences: Sequences, program: Program, rows: Ints) -> None:
        group = np.full(len(program.root), -1, dtype=np.int64)
        group[rows] = 0
        merged, node = merge_equal_nodes(program, group)
        self._roots = merged.root.tolist()
        self._special = _nodes_by_row(program, node)
        self._tokens, self._left, self._right = merged.token.tolist(), merged.left.tolist(), merged.right.tolist()
        self._bounds: list[Bounds | None] = [None] * len(self._tokens)
        self._values: list[Expression | None] = [None] * len(self._tokens)
        self._factors: dict[tuple[int, bool], frozenset[Expression]] = {}
        self._builder = ExpressionBuilder()
        self._build(sequences.values.tobytes(), merged.position.tolist())

    def _build(self, tokens: bytes, positions: list[int]) -> None:
        """The bounds and values of all nodes, operands first; None where there is none."""
        for node, (token, position) in enumerate(zip(self._tokens, positions, strict=True)):
            try:
                if token in _INTEGERS:
                    ids = subexpression(tokens, position)
                    self._bounds[node], self._values[node] = bounds_of_integer(ids), integer(ids)
                else:
                    self._build_operation(node, token)
            except UNDECIDED:
                continue

    def _build_operation(self, node: int, token: int) -> None:
        left, right = self._left[node], self._right[node]
        if left < 0:
            self._bounds[node], self._values[node] = bounds_of_operation(token), self._builder.leaf(token)
            return
        a, u = self._bounds[left], self._values[left]
        b, v = (self._bounds[right], self._values[right]) if right >= 0 else (None, None)
        if a is None or u is None or (right >= 0 and (b is None or v is None)):
            return
        self._bounds[node] = bounds_of_operation(token, a, b)
        self._values[node] = self._builder.operation(token, u, v)

    def value(self, row: int) -> Expression:
        """The expression of a row."""
        value = self._values[self._roots[row]]
        if value is None:
            raise NotDecided("an expression without a value")
        return value

    def bounds(self, row: int) -> Bounds:
        """Bounds on the terms of the expression of a row."""
        bounds: Bounds | None = self._bounds[self._roots[row]]
        if bounds is None:
            raise NotDecided("many terms")
        return bounds

    def derivative(self, row: int) -> Expression:
        """d/dx of the expression of a row."""
        values = (self._values[self._left[node]] for node in self._special[row] if self._tokens[node] == ACOSH)
        return self._builder.derivative(self.value(row), [u for u in values if u is not None])

    def factors_of_divisors(self, row: int) -> frozenset[Expression]:
        """Of these factors at least one vanishes where the expression has no value; NotDecided if a divisor is zero."""
        return frozenset().union(*(self._node_factors(node, of_derivative=False) for node in self._special[row]))

    def factors_of_derivative(self, row: int) -> frozenset[Expression]:
        """The same for the derivatives of the operations of a row."""
        return frozenset().union(*(self._node_factors(node, of_derivative=True) for node in self._special[row]))

    def _node_factors(self, node: int, *, of_derivative: bool) -> frozenset[Expression]:
        factors = self._factors.get((node, of_derivative))
        if factors is None:
            right = self._right[node]
            find = divisors_of_derivative if of_derivative else divisors
            expressions = find(
                self._tokens[node], self._values[self._left[node]], self._values[right] if right >= 0 else None
            )
            factors = self._factors[node, of_derivative] = vanishing_factors(expressions)
        return factors


def _nodes_by_row(program: Program, node: Ints) -> list[list[int]]:
    """For each row the distinct new nodes of its special tokens."""
    special = np.flatnonzero(_SPECIAL[program.token] & (node >= 0))
    pairs = np.unique(program.row[special] * (int(node.max(initial=0)) + 1) + node[special])
    rows, nodes = np.divmod(pairs, int(node.max(initial=0)) + 1)
    ends = np.searchsorted(rows, np.arange(len(program.root) + 1))
    return [nodes[a:b].tolist() for a, b in zip(ends[:-1].tolist(), ends[1:].tolist(), strict=True)]
