"""Token accuracy: the share of the reference's words, END included, that stand in the prediction at the same place.

Positions are compared one to one, the padding after the reference's END is left out, and a word that the prediction lacks is wrong.
Arrays that do not answer each other row by row are refused: comparing (n, L) with (n, L, 1) or (L, n) would compare every word with
many others, and give the chance that two words are alike (about 0.16 for expressions) whatever the model says.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mathpipe.datasets.tokenizers.matrix_tokenizer import PAD

Ints = NDArray[np.integer[Any]]


def right_tokens(predicted: Ints, reference: Ints) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(right words (n,), words (n,)) of predictions (n, L) held against references (n, M), padded with PAD after their END.

    ValueError where these are no two lists of n rows.
    """
    if predicted.ndim != 2 or reference.ndim != 2 or len(predicted) != len(reference):
        raise ValueError(f"predictions {predicted.shape} do not answer references {reference.shape} row by row")
    width = min(predicted.shape[1], reference.shape[1])
    real = reference != PAD
    right = (predicted[:, :width] == reference[:, :width]) & real[:, :width]
    return right.sum(axis=1, dtype=np.int64), real.sum(axis=1, dtype=np.int64)


def token_accuracy(predicted: Ints, reference: Ints) -> float:
    """The share of all words of the references, of all rows together, that are right."""
    right, words = right_tokens(predicted, reference)
    return float(right.sum() / words.sum())
