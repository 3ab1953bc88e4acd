"""Expressions: vocabulary, prefix notation, validation, the bridge to SymPy."""
