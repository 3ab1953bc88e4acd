"""Pretrained backbones. The only package that imports ``transformers``."""
