"""Random generators: one for each draw of each chunk of each stream."""

from __future__ import annotations

import hashlib

import numpy as np


def block_generator(digest: str, stream: str, block: int, draw: int) -> np.random.Generator:
    """The generator of one draw within a block: SeedSequence(words of sha256(digest, stream), spawn_key (block, draw)).

    Neighbouring blocks, streams and laws share nothing, which seed + block would not give.
    """
    words = np.frombuffer(hashlib.sha256(f"{digest}/{stream}".encode()).digest(), dtype="<u4")
    sequence = np.random.SeedSequence([int(w) for w in words], spawn_key=(block, draw))
    return np.random.Generator(np.random.SFC64(sequence))
