"""Random generators: one for each draw of each chunk of each stream."""

from __future__ import annotations

import hashlib

import numpy as np


def chunk_generator(digest: str, stream: str, chunk: int, draw: int) -> np.random.Generator:
    """The generator of one draw within a chunk: SeedSequence(words of sha256(digest, stream), spawn_key (chunk, draw)).

    Neighbouring chunks, streams and specs share nothing, which seed + chunk would not give.
    """
    words = np.frombuffer(hashlib.sha256(f"{digest}/{stream}".encode()).digest(), dtype="<u4")
    sequence = np.random.SeedSequence([int(w) for w in words], spawn_key=(chunk, draw))
    return np.random.Generator(np.random.SFC64(sequence))
