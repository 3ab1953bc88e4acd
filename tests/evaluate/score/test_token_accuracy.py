"""Token accuracy: compared by position, without padding. A known bug gave 0.16 whatever the model predicted."""

from __future__ import annotations

import numpy as np
import pytest

from mathpipe.datasets.tokenizers.tokenizer import END, PAD
from mathpipe.evaluate.score.token_accuracy import correct_tokens, token_accuracy


def test_positions_are_compared_without_padding() -> None:
    reference = np.array([[5, 6, 7, END], [5, END, PAD, PAD]])
    for predicted, correct in [
        ([[5, 6, 7, END], [5, END, PAD, PAD]], [4, 2]),
        ([[6, 5, 7, END], [END, PAD, PAD, PAD]], [2, 0]),  # one token missing: all others are shifted
        ([[5, 6], [5, END]], [2, 2]),  # missing tokens are wrong
        ([[5, 6, 7, END, 9, 9], [5, END, 1, 1, 9, 9]], [4, 2]),  # further tokens are ignored
        ([[PAD] * 4, [PAD] * 4], [0, 0]),
    ]:
        num_correct, num_tokens = correct_tokens(np.array(predicted), reference)
        assert num_correct.tolist() == correct and num_tokens.tolist() == [4, 2]
        assert token_accuracy(np.array(predicted), reference) == sum(correct) / 6
    assert correct_tokens(np.empty((2, 0), dtype=int), reference)[0].tolist() == [0, 0]


def test_comparison_of_all_pairs_of_positions_is_wrong() -> None:
    """The known bug compared all pairs of positions: it measured that two independent tokens agree with probability 0.16."""
    rng = np.random.default_rng(0)
    frequencies = np.array([0.25, 0.2, 0.17, 0.13, 0.1, 0.06, 0.05, 0.04])
    n, length = 400, 20
    reference = rng.choice(np.arange(2, 10), size=(n, length), p=frequencies)
    copied = rng.random((n, length)) < 0.3
    predicted = np.where(copied, reference, rng.choice(np.arange(2, 10), size=(n, length), p=frequencies))
    all_pairs = (predicted[:, :, None] == reference[:, None, :]).mean()
    assert all_pairs == pytest.approx(0.16, abs=0.02)
    assert token_accuracy(predicted, reference) == pytest.approx((predicted == reference).mean())
    assert token_accuracy(predicted, reference) == pytest.approx(0.416, abs=0.02)


@pytest.mark.parametrize("shape", [(4, 3, 1), (3, 4), (12,), (1, 3)])
def test_arrays_of_other_shapes_raise(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="row by row"):
        correct_tokens(np.full(shape, 5), np.full((4, 3), 5))
