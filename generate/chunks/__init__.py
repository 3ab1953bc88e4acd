"""Chunks: how the examples of one chunk of a dataset are sampled, solved and routed to their splits."""
