"""Random generators: one per batch of each chunk of each RNG stream."""

from __future__ import annotations

import hashlib

import numpy as np


def chunk_generator(fingerprint: str, stream: str, chunk: int, batch: int) -> np.random.Generator:
    """The generator of one batch of a chunk: SeedSequence(words of sha256(fingerprint, stream), spawn_key (chunk, batch)).

    Neighbouring chunks, streams and specs share no random numbers, unlike with seed + chunk.
    """
    entropy = np.frombuffer(hashlib.sha256(f"{fingerprint}/{stream}".encode()).digest(), dtype="<u4")
    sequence = np.random.SeedSequence([int(k) for k in entropy], spawn_key=(chunk, batch))
    return np.random.Generator(np.random.SFC64(sequence))
