"""Import of expressions: prefix tokens, infix or LaTeX, or each in its own (``auto``); lists of tokens or of their ids.

A problem of an integration task is written as the integrand f or as ``y' = f``, one of a differential equation as an equation
or as the expression that is zero; an answer as F or as ``y = F``. A constant added to an antiderivative is dropped where the
task has none. Nothing in a file is evaluated.
"""

from __future__ import annotations

import contextlib
import functools
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from mathpipe.datasets.errors import UserError
from mathpipe.datasets.expressions.infix import parse_infix_equation
from mathpipe.datasets.expressions.latex import parse_latex_equation
from mathpipe.datasets.expressions.lexemes import CONSTANTS_OF_INTEGRATION
from mathpipe.datasets.expressions.prefix import MAX_DEPTH, Malformed, Tree, parse, text_to_ids, write
from mathpipe.datasets.expressions.vocabulary import COEFFICIENTS, IDS, TOKENS, UNKNOWNS, VARIABLES
from mathpipe.datasets.io.import_records import Fault, Fields
from mathpipe.datasets.io.published_text import Pair, parse_tokens
from mathpipe.generate.curate.import_parts.import_part import FOREIGN, SIDES, refuse_alphabet
from mathpipe.generate.curate.import_parts.token_part import (
    TokenPart,
    TokenValues,
    malformed,
    read_columns,
    read_tokens,
)
from mathpipe.generate.dataset_spec import ImportedSpec, SourceFormat
from mathpipe.generate.tasks.token_task import ExpressionTask

_EQUATION_PARSERS = {"infix": parse_infix_equation, "latex": parse_latex_equation}
_SYMBOLS = bytes(IDS[token] for token in (*VARIABLES, *COEFFICIENTS, *UNKNOWNS))
_ADD, _SUB = IDS["add"], IDS["sub"]
_LATEX_CHARACTERS = re.compile(r"[\\{}$]")
_Y: Tree = (IDS["Y"],)
_Y_PRIME: Tree = (IDS["Y'"],)


class ExpressionPart(TokenPart):
    """Expressions of the published vocabulary."""

    problem_type = "expressions"
    notations = ("tokens", "infix", "latex", "auto")
    counted = True

    def stored_fields(
        self,
        task: ExpressionTask,
        source: SourceFormat,
        alphabet: tuple[str, ...] | None,
        read_all: Callable[[], Iterator[Fields]],
    ) -> dict[str, Any]:
        refuse_alphabet(self.problem_type, alphabet)
        return self.stored_columns(task, source)

    def vocabulary_size(self, spec: ImportedSpec) -> int:
        return len(TOKENS)

    def read(self, task: ExpressionTask, spec: ImportedSpec, fields: Sequence[Fields]) -> list[TokenValues | Fault]:
        notation = spec.source.notation
        if notation == "tokens":
            pairs = self._read_tokens(spec, fields)
        else:
            pairs = [_read_pair(task, spec.source, each) for each in fields]
        return [self._value(task, spec, pair, each) for pair, each in zip(pairs, fields, strict=True)]

    def parse(self, task: ExpressionTask, spec: ImportedSpec, side: str, value: object) -> bytes | Fault:
        """Like ``read``, but an integrand of tokens may stand without ``sub Y'``."""
        if isinstance(value, int | float) and not isinstance(value, bool):
            value = str(value)
        tokens = _read_side(task, spec.source, side, value)
        return tokens if isinstance(tokens, Fault) else _foreign_symbol(task, side, tokens) or tokens

    def _read_tokens(self, spec: ImportedSpec, fields: Sequence[Fields]) -> list[Pair | Fault]:
        texts = [_token_text(each, spec.source.stored_tokens or TOKENS) for each in fields]
        pairs = iter(parse_tokens([each for each in texts if not isinstance(each, Fault)]))
        return [each if isinstance(each, Fault) else next(pairs) for each in texts]

    def _value(
        self, task: ExpressionTask, spec: ImportedSpec, pair: Pair | Fault, fields: Fields
    ) -> TokenValues | Fault:
        if isinstance(pair, Fault):
            return pair
        for side, tokens in (("problem", pair.problem), ("solution", pair.solution)):
            fault = _foreign_symbol(task, side, tokens)
            if fault is not None:
                return fault
        columns = read_columns(self.columns_of(spec), fields)
        return columns if isinstance(columns, Fault) else TokenValues(pair.problem, pair.solution, columns)


def _token_text(fields: Fields, stored: Sequence[str]) -> Fields | Fault:
    """Problem and solution as texts of tokens."""
    texts = {}
    for side in SIDES:
        tokens = read_tokens(side, fields[side], stored)
        if isinstance(tokens, Fault):
            return tokens
        texts[side] = tokens if isinstance(tokens, str) else " ".join(tokens)
    return texts


def _read_pair(task: ExpressionTask, source: SourceFormat, fields: Fields) -> Pair | Fault:
    sides = []
    for side in SIDES:
        tokens = _read_side(task, source, side, fields[side])
        if isinstance(tokens, Fault):
            return tokens
        sides.append(tokens)
    return Pair(sides[0], sides[1])


def _read_side(task: ExpressionTask, source: SourceFormat, side: str, value: object) -> bytes | Fault:
    """The stored tokens of a problem or a solution in the notation of the source; ``auto``: in its own."""
    notation = source.notation
    if notation in ("tokens", "auto") and not isinstance(value, str):
        value = read_tokens(side, value, source.stored_tokens or TOKENS)
        if isinstance(value, Fault):
            return value
        value, notation = " ".join(value), "tokens"
    if not isinstance(value, str):
        return malformed(side, "text", value)
    try:
        left, right = _parse_text(notation, value)
        tokens = write(_TO_TREE[side](task, left, right))
        if len(tokens) > MAX_DEPTH:
            parse(tokens)  # raises Malformed beyond the limits of stored expressions
    except (UserError, Malformed) as error:
        return Fault(f"malformed {side}", f"{side}: {error}")
    return tokens


def _parse_text(notation: str, text: str) -> tuple[Tree, Tree | None]:
    """(left side, right side or None). ``auto``: LaTeX if a backslash, brace or $ occurs, prefix tokens if they are one
    expression, else infix."""
    if notation == "auto":
        if _LATEX_CHARACTERS.search(text):
            notation = "latex"
        elif _are_tokens(text):
            with contextlib.suppress(Malformed):
                return parse(text_to_ids(text)), None
        if notation == "auto":
            notation = "infix"
    return (parse(text_to_ids(text)), None) if notation == "tokens" else _EQUATION_PARSERS[notation](text)


def _are_tokens(text: str) -> bool:
    return bool(text) and all(part in IDS for part in text.split())


def _problem(task: ExpressionTask, left: Tree, right: Tree | None) -> Tree:
    """y' - f for an integral, otherwise the expression that is zero."""
    is_integral = task.symbols is not None and "Y'" in task.symbols[0] and "Y" not in task.symbols[0]
    if not is_integral:
        return left if right is None or right == 0 else (_SUB, left, right)
    if right is not None:
        if left != _Y_PRIME:
            raise UserError("an equation that is no integral", expected="f(x) or y' = f(x)")
        return (_SUB, _Y_PRIME, right)
    if isinstance(left, tuple) and left[0] == _SUB and left[1] == _Y_PRIME:
        return left
    return (_SUB, _Y_PRIME, left)


def _solution(task: ExpressionTask, left: Tree, right: Tree | None) -> Tree:
    """The right side of ``y = F``, without an added constant that the task's solutions do not have."""
    if right is not None and left != _Y:
        raise UserError("an equation that is no solution", expected="F(x) or y = F(x)")
    solution = left if right is None else right
    if task.symbols is not None and CONSTANTS_OF_INTEGRATION[0] not in task.symbols[1]:
        return _without_added_constant(solution)
    return solution


def _without_added_constant(tree: Tree) -> Tree:
    """F for F + C, where sums nest to the right."""
    terms: list[Tree] = []
    while isinstance(tree, tuple) and tree[0] == _ADD:
        terms.append(tree[1])
        tree = tree[2]
    constant = (IDS[CONSTANTS_OF_INTEGRATION[0]],)
    if not terms or tree != constant:
        terms.append(tree)
    result = terms.pop()
    for term in reversed(terms):
        result = (_ADD, term, result)
    return result


_TO_TREE = {"problem": _problem, "solution": _solution}


def _foreign_symbol(task: ExpressionTask, side: str, tokens: bytes) -> Fault | None:
    """The fault of a problem or a solution with a symbol that its task does not use there; None if there is none."""
    if task.symbols is None:
        return None
    foreign = tokens.translate(None, _all_but_foreign(task.symbols[SIDES.index(side)]))
    if not foreign:
        return None
    return Fault(FOREIGN, f"{side}: {TOKENS[foreign[0]]!r} does not occur in a {side} of {task.name}")


@functools.cache
def _all_but_foreign(allowed: tuple[str, ...]) -> bytes:
    """All ids except those of symbols that are not allowed."""
    foreign = set(_SYMBOLS) - {IDS[token] for token in allowed}
    return bytes(k for k in range(256) if k not in foreign)
