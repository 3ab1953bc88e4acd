"""Token accuracy: the proportion of the reference's tokens, END included, that the prediction has at the same position.

Positions are compared one to one; padding after the reference's END is ignored, and missing tokens count as errors. Arrays with
different numbers of rows are rejected: broadcasting (n, L) against (n, L, 1) or (L, n) would compare every token with many
others and return the chance that two tokens agree (about 0.16 for expressions), whatever the model predicts.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mathpipe.datasets.tokenizers.tokenizer import PAD

Ints = NDArray[np.integer[Any]]


def correct_tokens(predicted: Ints, reference: Ints) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(number of correct tokens (n,), number of tokens (n,)) of predictions (n, L) against references (n, M), padded after END.

    ValueError unless both are two-dimensional with n rows.
    """
    if predicted.ndim != 2 or reference.ndim != 2 or len(predicted) != len(reference):
        raise ValueError(f"predictions {predicted.shape} do not match references {reference.shape} row by row")
    width = min(predicted.shape[1], reference.shape[1])
    is_token = reference != PAD
    correct = (predicted[:, :width] == reference[:, :width]) & is_token[:, :width]
    return correct.sum(axis=1, dtype=np.int64), is_token.sum(axis=1, dtype=np.int64)


def token_accuracy(predicted: Ints, reference: Ints) -> float:
    """The proportion of correct tokens over all rows together."""
    correct, total = correct_tokens(predicted, reference)
    return float(correct.sum() / total.sum())
