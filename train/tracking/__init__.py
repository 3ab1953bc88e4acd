"""Experiment trackers behind one protocol: DVCLive, and one of wandb, MLflow, TensorBoard and trackio (``train.track``)."""
