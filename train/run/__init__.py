"""A run on disk: directory, checkpoints, metrics log, plot; its session and initial weights."""
