"""Optimisers, learning-rate schedules, the loss."""
