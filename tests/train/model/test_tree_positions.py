"""Positions in a tree, by hand and in decoding; attention and models over expressions."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from mathpipe.datasets.tokenizers.expression_tokenizer import ExpressionTokenizer
from mathpipe.datasets.tokenizers.tokenizer import END, PAD
from mathpipe.train.config import ModelConfig
from mathpipe.train.model.attention import attend
from mathpipe.train.model.transformer import Transformer
from mathpipe.train.model.tree_positions import tree_coordinates

TOKENIZER = ExpressionTokenizer()


def ids(text: str) -> list[int]:
    return TOKENIZER.tokens_to_ids(text.split())


def test_coordinates_of_small_tree() -> None:
    fed = torch.tensor(
        [[END, *ids("add sin x mul INT+ 1 2 y")]]
    )  # the tokens fed to the model; each has the coordinates of the token after it
    coordinates = tree_coordinates(fed, torch.tensor(TOKENIZER.format.arity))[0]
    only, first, second = 1, 2, 3
    expected = [  # depth, nearest branches, digits just before
        (1, [], 0),  # add
        (2, [first], 0),  # sin
        (3, [only, first], 0),  # x
        (2, [second], 0),  # mul
        (3, [first, second], 0),  # INT+
        (3, [second, second], 0),  # 1, or the second factor
        (3, [second, second], 1),  # 2
        (3, [second, second], 2),  # y
        (0, [], 0),  # the tree is complete
    ]
    for row, (depth, branches, digits) in zip(coordinates.tolist(), expected, strict=True):
        assert row == [depth, *(branches + [0] * (8 - len(branches))), digits]


SHAPES: dict[str, dict[str, Any]] = {
    "tree": {},
    "rotary, RMS, gated": {"positions": "none", "rotary": True, "norm_kind": "rms", "activation": "swiglu"},
    "learned, framed": {"positions": "learned", "framed_source": True, "max_positions": 64, "norm": "post"},
    "sinusoidal": {"positions": "sinusoidal", "activation": "gelu", "max_positions": 64, "zeroed_padding": True},
}


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
@torch.no_grad()
def test_cached_decoding_of_expressions_matches_full_forward(shape: dict[str, Any]) -> None:
    torch.manual_seed(0)
    small: dict[str, Any] = {
        f"{side}_{what}": n for side in ("encoder", "decoder") for what, n in (("width", 16), ("heads", 2))
    }
    config = ModelConfig(**(small | {"dtype": "float32"} | shape))
    model = Transformer(config, TOKENIZER.format, TOKENIZER.format).eval()
    rows = [ids("add sin x mul INT+ 1 2 x"), ids("x"), ids("pow x INT- 3")]
    target = torch.full((3, 9), PAD)
    for i, row in enumerate(rows):
        target[i, : len(row)] = torch.tensor(row)
        target[i, len(row)] = END
    source = target.masked_fill(target == END, PAD)[:, :8].flip(0)
    whole = model(source, target)
    cache = model.init_cache(model.encode(source), 9).widen(2)
    fed = torch.cat([torch.full((3, 1), END), target[:, :-1]], 1)
    for t in range(9):
        tokens = fed[:, t].repeat_interleave(2)
        tokens[1::2] = 7 if t else END  # every second row goes another way
        stepwise = model.step(tokens, cache)[::2]
        real = target[:, t] != PAD
        torch.testing.assert_close(stepwise[real], whole[:, t][real], rtol=1e-5, atol=1e-5)
    alone = model(source[1:2, :1] if not source[1, 1:].ne(PAD).any() else source[1:2], target[1:2, :2])
    torch.testing.assert_close(alone, whole[1:2, :2], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("length", [5, 40, 210])
def test_chunked_attention_matches_torch(causal: bool, length: int) -> None:
    torch.manual_seed(0)
    q, k, v, g = (torch.randn(3, length, 4, 8, dtype=torch.float64).transpose(1, 2) for _ in range(4))
    allowed = None if causal else torch.rand(3, 1, 1, length) < 0.7
    if allowed is not None:
        allowed[..., 0] = True
    mask = torch.ones(length, length, dtype=torch.bool).tril() if causal else allowed
    vectors = []
    for kernel in (attend, None):
        x = [t.clone().requires_grad_() for t in (q, k, v)]
        if kernel is not None:
            out = kernel(*x, allowed, causal)
        else:
            out = torch.nn.functional.scaled_dot_product_attention(*x, attn_mask=mask)
        vectors.append((out, *torch.autograd.grad(out, x, g)))
    for a, b in zip(*vectors, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-7, atol=1e-9)
