"""The transformer: interface, layers, attention, positions, input units."""
