"""Token accuracy: place by place, without padding; and the known mistake, which gives 0.16 whatever the model says."""

from __future__ import annotations

import numpy as np
import pytest

from mathpipe.datasets.tokenizers.matrix_tokenizer import END, PAD
from mathpipe.evaluate.score.token_accuracy import correct_tokens, token_accuracy


def test_places_are_compared_one_to_one_and_padding_is_left_out() -> None:
    reference = np.array([[5, 6, 7, END], [5, END, PAD, PAD]])
    for predicted, right in [
        ([[5, 6, 7, END], [5, END, PAD, PAD]], [4, 2]),
        ([[6, 5, 7, END], [END, PAD, PAD, PAD]], [2, 0]),  # a word too few: all that follow stand elsewhere
        ([[5, 6], [5, END]], [2, 2]),  # what is lacking is wrong
        ([[5, 6, 7, END, 9, 9], [5, END, 1, 1, 9, 9]], [4, 2]),  # what comes after is not asked for
        ([[PAD] * 4, [PAD] * 4], [0, 0]),
    ]:
        found, words = correct_tokens(np.array(predicted), reference)
        assert found.tolist() == right and words.tolist() == [4, 2]
        assert token_accuracy(np.array(predicted), reference) == sum(right) / 6
    assert correct_tokens(np.empty((2, 0), dtype=int), reference)[0].tolist() == [0, 0]


def test_the_known_mistake_gives_016_for_a_model_that_is_right_at_416_in_1000() -> None:
    """Expressions use few words often: two words drawn apart are alike with a chance of 0.16, and that is what it measured."""
    rng = np.random.default_rng(0)
    shares = np.array([0.25, 0.2, 0.17, 0.13, 0.1, 0.06, 0.05, 0.04])
    n, length = 400, 20
    reference = rng.choice(np.arange(2, 10), size=(n, length), p=shares)
    shown = rng.random((n, length)) < 0.3
    predicted = np.where(shown, reference, rng.choice(np.arange(2, 10), size=(n, length), p=shares))
    known_mistake = (predicted[:, :, None] == reference[:, None, :]).mean()
    assert known_mistake == pytest.approx(0.16, abs=0.02)
    assert token_accuracy(predicted, reference) == pytest.approx((predicted == reference).mean())
    assert token_accuracy(predicted, reference) == pytest.approx(0.416, abs=0.02)


@pytest.mark.parametrize("shape", [(4, 3, 1), (3, 4), (12,), (1, 3)])
def test_arrays_that_do_not_answer_each_other_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="row by row"):
        correct_tokens(np.full(shape, 5), np.full((4, 3), 5))
