"""Distributed training, CUDA graphs, CPU weight packing, the allocator, fast paths."""
