"""Antiderivatives: rule search, rational functions, tables, integration by parts."""
