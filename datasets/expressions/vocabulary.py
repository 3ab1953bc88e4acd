"""The 91 words in which expressions are written, in the published order: a word's place is its id.

Expressions are prefix sequences of these words: an operator, then its operands one after the other. An integer is a sign and
its digits, most significant first (``INT+ 3 2``). Order and spelling are those of Lample and Charton 2020, so that their
data files and models can be read.
"""

from __future__ import annotations

SPECIAL_WORDS = ("<s>", "</s>", "<pad>", "(", ")", *(f"<SPECIAL_{k}>" for k in range(5, 10)))
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
_NUMBER_WORDS = ("I", "INT+", "INT-", "INT", "FLOAT", "-", ".", "10^", "Y", "Y'", "Y''")
DIGITS = tuple("0123456789")
WORDS = (*SPECIAL_WORDS, *CONSTANTS, *VARIABLES, *COEFFICIENTS, *OPERATORS, *_NUMBER_WORDS, *DIGITS)
IDS = {word: k for k, word in enumerate(WORDS)}
UNKNOWNS = ("Y", "Y'", "Y''")
ARITY = {
    **dict.fromkeys((*CONSTANTS, *VARIABLES, *COEFFICIENTS, *UNKNOWNS, "I"), 0),
    **dict.fromkeys(UNARY, 1),
    **dict.fromkeys(BINARY, 2),
}
"""Operands of each word that stands for a node of a tree; integers (a sign word and digits) are leaves besides."""
