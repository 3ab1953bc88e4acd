"""Answers that any model wrote: their text, their verification, streams of them, and an environment that poses problems."""
