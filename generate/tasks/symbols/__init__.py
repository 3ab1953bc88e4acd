"""Tasks on sequences of symbols: copy, reverse, sort and others. One file a task."""
