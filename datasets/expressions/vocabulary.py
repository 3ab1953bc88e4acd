"""The 91 tokens of expressions, in the published order: a token's position is its id.

Expressions are written in prefix notation: an operator, then its operands. An integer is a sign and its digits, most significant
first (``INT+ 3 2``). Order and spelling are those of Lample and Charton 2020, so that their data files and models can be read.
"""

from __future__ import annotations

SPECIAL_TOKENS = ("<s>", "</s>", "<pad>", "(", ")", *(f"<SPECIAL_{k}>" for k in range(5, 10)))
CONSTANTS = ("pi", "E")
VARIABLES = ("x", "y", "z", "t")
COEFFICIENTS = tuple(f"a{k}" for k in range(10))
_TRIGONOMETRIC = ("sin", "cos", "tan", "cot", "sec", "csc")
UNARY = (
    *("inv", "pow2", "pow3", "pow4", "pow5", "sqrt", "exp", "ln", "abs", "sign"),
    *_TRIGONOMETRIC,
    *(f"a{name}" for name in _TRIGONOMETRIC),
    *(f"{name}h" for name in _TRIGONOMETRIC),
    *(f"a{name}h" for name in _TRIGONOMETRIC),
)
BINARY = ("add", "sub", "mul", "div", "pow", "rac")
OPERATORS = (*BINARY, *UNARY, "derivative", "f", "g", "h")
_NUMBER_TOKENS = ("I", "INT+", "INT-", "INT", "FLOAT", "-", ".", "10^", "Y", "Y'", "Y''")
DIGITS = tuple("0123456789")
TOKENS = (*SPECIAL_TOKENS, *CONSTANTS, *VARIABLES, *COEFFICIENTS, *OPERATORS, *_NUMBER_TOKENS, *DIGITS)
IDS = {token: k for k, token in enumerate(TOKENS)}
UNKNOWNS = ("Y", "Y'", "Y''")
ARITY = {
    **dict.fromkeys((*CONSTANTS, *VARIABLES, *COEFFICIENTS, *UNKNOWNS, "I"), 0),
    **dict.fromkeys(UNARY, 1),
    **dict.fromkeys(BINARY, 2),
}
"""Number of operands of each token that is a node of a tree; integers (a sign token and digits) are leaves, too."""
