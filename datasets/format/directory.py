"""The files of a dataset directory. A split's folder holds its Parquet shards and nothing else.

    README.md                                dataset card
    manifest.json                            written last
    train/00000.parquet  valid/...  test/... shards
    extra/far/00000.parquet                  shards of the extra test split ``test-far``
    __records/train/00000.json               the record of each shard, and its evidence row by row (.evidence.arrow)

Polars and Ray read every file below a path. Without a card, Hugging Face ``datasets`` takes a folder for the split whose name is
a word of its path (``test-far`` for ``test``), except below names that begin with two underscores.
"""

from __future__ import annotations

import re

CARD = "README.md"
RECORDS, EXTRA = "__records", "extra"
EXTRA_PREFIX = "test-"  # of the names of extra test splits
SPLIT_FOLDERS = ("train", "valid", "test", EXTRA)
RECORD_NAME, SHARD_NAME = re.compile(r"\d+\.json"), re.compile(r"\d+\.parquet")
EVIDENCE_NAME = re.compile(r"\d+\.evidence\.arrow")
# the words by which Hugging Face `datasets` recognises splits in paths, between characters that separate words
_SPLIT_WORD = re.compile(
    r"(?:^|[-._ 0-9])(train|training|validation|valid|dev|val|test|testing|eval|evaluation)(?:$|[-._ 0-9])"
)


def split_folder(split: str) -> str:
    """The folder of the shards of a split: ``train``; for an extra test split ``test-far`` it is ``extra/far``."""
    return f"{EXTRA}/{split.removeprefix(EXTRA_PREFIX)}" if split.startswith(EXTRA_PREFIX) else split


def record_folder(split: str) -> str:
    """The folder of the records and of the evidence of a split."""
    return f"{RECORDS}/{split_folder(split)}"


def shard_file(split: str, shard: int) -> str:
    return f"{split_folder(split)}/{shard:05d}.parquet"


def record_file(split: str, shard: int) -> str:
    return f"{record_folder(split)}/{shard:05d}.json"


def evidence_file(split: str, shard: int) -> str:
    return f"{record_folder(split)}/{shard:05d}.evidence.arrow"


def split_word(name: str) -> str | None:
    """The word in the name of an extra test split for which readers would take it for another split; None if there is none."""
    match = _SPLIT_WORD.search(name)
    return match[1] if match else None
