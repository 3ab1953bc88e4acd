"""Inputs of commands: the latest dataset and run, failures, and conditions that filter them."""
