"""Analyses of a predictions file: metrics, covariates, baselines, statistics."""
