"""What is fast by private means, each with a plain path beside it; distributed training; CUDA graphs."""
