"""What the parameters of a published checkpoint say: its task, its encodings, its heads.

The names are those of the programs' options, as their documentation lists them: ``operation`` (LAWT, Int2Int) or ``tasks``
(SymbolicMathematics), ``input_encoding``, ``output_encoding``, ``n_enc_heads``, ``n_dec_heads`` or ``n_heads``, ``base``,
``modulo``.
A checkpoint may lack any of them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mathpipe.datasets.errors import UserError

MATRIX_TASKS = {
    "transpose": "transpose",
    "matrix_sum": "add",
    "matrix_vector": "matvec",
    "matrix_product": "matmul",
    "eigenvalues": "eigenvalues",
    "eigenvectors": "eigenvectors",
    "invert_matrix": "inverse",
    "syminverse": "symmetric-inverse",
    "singularvalues": "singular-values",
    "singularvectors": "svd",
    "cotraining": "cotraining",
}
EXPRESSION_TASKS = {
    "prim_fwd": "integration-fwd",
    "prim_bwd": "integration-bwd",
    "prim_ibp": "integration-ibp",
    "ode1": "ode1",
    "ode2": "ode2",
}
INTEGER_TASKS = {
    "gcd": "gcd",
    "modular_add": "modular-add",
    "modular_mul": "modular-product",
    "fraction_add": "fraction-add",
    "fraction_compare": "fraction-compare",
    "fraction_simplify": "fraction-simplify",
}
_DECADES = 16  # of FP15
_INT2INT_BASE, _INT2INT_MODULUS = 1000, 67  # the documented defaults


@dataclass(frozen=True)
class PublishedSettings:
    """None, or empty: the checkpoint does not say. ``options``: of the task; ``precision``: digits of the mantissa after
    the first; ``encoder_layers``, ``decoder_layers``: numbers that the weights must have."""

    task: str | None = None
    options: dict[str, Any] = field(default_factory=dict)
    input_encoding: str | None = None
    output_encoding: str | None = None
    precision: int = 2
    encoder_heads: int | None = None
    decoder_heads: int | None = None
    encoder_layers: int | None = None
    decoder_layers: int | None = None
    dropout: float = 0.0


def read_settings(path: Path, params: dict[str, Any]) -> PublishedSettings:
    """The settings that the parameters of a checkpoint name; UserError for values that cannot be meant."""
    task, options = _task(params)
    encodings = [_encoding(path, params, side) for side in ("input", "output")]
    if task in INTEGER_TASKS.values():
        encodings = [(f"base{_integer(params, 'base') or _INT2INT_BASE}+size", 2)] * 2
    precisions = {precision for name, precision in encodings if name is not None}
    if len(precisions) > 1:
        raise UserError(
            f"{path} has numbers of different precision on both sides",
            expected="one precision",
            got=" and ".join(str(params.get(f"{side}_encoding")) for side in ("input", "output")),
        )
    dropout = params.get("dropout")
    return PublishedSettings(
        task=task,
        options=options,
        input_encoding=encodings[0][0],
        output_encoding=encodings[1][0],
        precision=precisions.pop() if precisions else 2,
        encoder_heads=_integer(params, "n_enc_heads") or _integer(params, "n_heads"),
        decoder_heads=_integer(params, "n_dec_heads") or _integer(params, "n_heads"),
        encoder_layers=_integer(params, "n_enc_layers"),
        decoder_layers=_integer(params, "n_dec_layers"),
        dropout=float(dropout) if isinstance(dropout, int | float) and 0 <= dropout < 1 else 0.0,
    )


def _integer(params: dict[str, Any], name: str) -> int | None:
    value = params.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


def _task(params: dict[str, Any]) -> tuple[str | None, dict[str, Any]]:
    """The first task that the parameters name, with its options."""
    names = [str(params.get("operation") or ""), *str(params.get("tasks") or "").split(",")]
    tables = MATRIX_TASKS, EXPRESSION_TASKS, INTEGER_TASKS
    for name in names:
        for table in tables:
            if name in table:
                return table[name], _options(table[name], params)
    return None, {}


def _options(task: str, params: dict[str, Any]) -> dict[str, Any]:
    """Dimensions and coefficients of matrices; tasks of co-training; the modulus of modular arithmetic."""
    options: dict[str, Any] = {}
    if task in MATRIX_TASKS.values():
        smallest, largest = (_integer(params, f"{end}_dimension") for end in ("min", "max"))
        if smallest is not None and largest is not None and smallest <= largest <= 100:
            options |= {"min_dim": smallest, "max_dim": largest}
        largest_coefficient = params.get("max_input_coeff")
        if isinstance(largest_coefficient, int | float) and 1e-6 < largest_coefficient <= 1e6:
            options["max_coeff"] = float(largest_coefficient)
    tokens = params.get("cotraining")
    if task == "cotraining" and isinstance(tokens, str) and tokens and set(tokens) <= set("TADMEFI"):
        options["task_tokens"] = tokens
    if task.startswith("modular-"):
        options["modulus"] = _integer(params, "modulo") or _INT2INT_MODULUS
    return options


def _encoding(path: Path, params: dict[str, Any], side: str) -> tuple[str | None, int]:
    """(our name, digits after the first) of ``float,2,10``, ``float,2,1000``, ``floatsymbol,2`` or ``FP15,2,16``."""
    text = params.get(f"{side}_encoding")
    if not isinstance(text, str) or not text:
        return None, 2
    name, *numbers = text.replace('"', "").replace("'", "").split(",")
    values = [int(number) for number in numbers if number.strip().isdigit()]
    precision = values[0] if values else 2
    if 1 <= precision <= 4:
        base = values[1] if len(values) > 1 else 10
        if name == "float" and base == 10:
            return "P10", precision
        if name == "float" and base == 10 ** (precision + 1):
            return "P1000", precision
        if name == "floatsymbol":
            return "B1999", precision
        if name == "FP15" and values[1:] in ([], [_DECADES]):
            return "FP15", precision
        if name in ("P10", "P1000", "B1999"):
            return name, precision
    raise UserError(
        f"{path} has an {side} encoding that mathpipe does not have",
        expected="float,2,10 (P10), float,2,1000 (P1000), floatsymbol,2 (B1999) or FP15,2,16, with 1 to 4 for 2",
        got=text[:60],
    )
