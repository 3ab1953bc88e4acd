"""Models that others published, and models for others: checkpoints of three programs, and directories with safetensors."""
