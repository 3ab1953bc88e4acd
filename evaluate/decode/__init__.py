"""Decoding: greedy, sampling, beam search, grammars."""
