"""Published vocabularies and the ids of loaded models."""

from __future__ import annotations

import pytest

from mathpipe.datasets.errors import UserError
from mathpipe.datasets.expressions.vocabulary import TOKENS
from mathpipe.datasets.tokenizers.expression_tokenizer import ExpressionTokenizer
from mathpipe.datasets.tokenizers.matrix_tokenizer import MatrixTokenizer
from mathpipe.train.model.joint_vocabulary import (
    joint_vocabulary,
    listed_vocabulary,
    published_ids,
    published_tokens,
)


@pytest.mark.parametrize(
    ("names", "size"),
    [("P10 P10", 338), ("P1000 P1000", 1328), ("B1999 B1999", 2329), ("FP15 FP15", 29_128), ("FP15 P1000", 30_329)],
)
def test_published_order_of_matrix_tokens(names: str, size: int) -> None:
    source, target = (MatrixTokenizer.named(name) for name in names.split())
    joint = joint_vocabulary(source.vocabulary, target.vocabulary, target.published_extras)
    published = published_tokens(joint, target.published_start)
    assert len(published) == len({*published}) == joint.size == size
    start = "<s> </s> <pad> ( ) " + " ".join(f"<SPECIAL_{k}>" for k in range(10)) + " T A D M E F I + - 10^ . |"
    assert list(published[:27]) == start.split()
    assert list(published[27:]) == sorted(published[27:]) and {"V1", "V100"} <= {*published[27:]}
    ids = published_ids(joint.tokens, published)
    assert sorted(ids) == list(range(size))
    assert ids[:2] == (0, 1)  # what begins and what pads, in both orders
    assert ids[joint.tokens.index("</s>")] == 2
    for token in ("V5", "+", "T"):
        assert ids[joint.tokens.index(token)] == published.index(token)


def test_order_of_p10_in_full() -> None:
    tokenizer = MatrixTokenizer.named("P10")
    joint = joint_vocabulary(tokenizer.vocabulary, tokenizer.vocabulary, tokenizer.published_extras)
    rest = published_tokens(joint, tokenizer.published_start)[27:]
    assert rest[:13] == ("0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "E-1", "E-10", "E-100")
    assert rest[-3:] == ("V97", "V98", "V99")


def test_expressions_have_published_ids() -> None:
    tokens = ExpressionTokenizer().vocabulary
    joint = joint_vocabulary(tokens, tokens)
    assert published_tokens(joint, ExpressionTokenizer().published_start) == TOKENS and len(TOKENS) == 91
    assert published_ids(joint.tokens, TOKENS) == tuple(range(91))


def test_listed_vocabulary_keeps_its_ids() -> None:
    side = ("<s>", "<pad>", "+", "-", "0", "1")
    tokens = ("<s>", "</s>", "<pad>", "V2", "0", "+", "1", "-")
    joint = listed_vocabulary(side, side, tokens)
    assert joint.tokens == (*side, "</s>", "V2")
    assert published_ids(joint.tokens, tokens) == (0, 1, 5, 7, 4, 6, 2, 3)
    with pytest.raises(UserError, match=r"lacks tokens.*2 missing, such as - 1"):
        listed_vocabulary(side, side, ("<s>", "</s>", "<pad>", "0", "+"))
