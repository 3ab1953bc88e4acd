"""Symbolic mathematics: how expressions are drawn, differentiated, looked up, and checked by numbers."""
