"""The position of a token in the tree of a prefix expression, computed from the preceding tokens alone.

A prefix expression fills open slots from left to right, starting with the root's. A token of arity a fills the next open slot and
opens a slots below it. The tokens before i thus determine the slot of token i: its depth, and the branches taken from the root,
of which the last ``MAX_BRANCHES`` count (only child, first of two, second of two). A number may continue with further digits, so
the position also includes how many tokens of arity -1 directly precede i.

p(i) = depth(i) + sum_k branch_k(i) + digit(i), rows of one table. Encoder and decoder share this function; the decoder's needs
no token that has not been generated.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from mathpipe.datasets.tokenizers.expression_tokenizer import PrefixFormat
from mathpipe.datasets.tokenizers.tokenizer import END

MAX_DEPTH = 32  # number of depths; deeper slots count as the deepest; 0: no open slot, the tree is complete
MAX_BRANCHES = 8  # branches nearest to the slot
MAX_DIGITS = 16
MAX_OPEN = 64  # open slots at a time; if a tree needs more, the innermost are correct
_ONLY, _FIRST, _SECOND = 1, 2, 3
State = tuple[Tensor, ...]


class TreePositions(nn.Module):
    """Positions of prefix tokens, one table of ``width``; initial standard deviation width^-0.5."""

    arity: Tensor

    def __init__(self, form: PrefixFormat, width: int) -> None:
        super().__init__()
        self.register_buffer("arity", torch.tensor(form.arity, dtype=torch.int64), persistent=False)
        self.table = nn.Parameter(torch.empty(MAX_DEPTH + 4 * MAX_BRANCHES + MAX_DIGITS, width))
        nn.init.normal_(self.table, std=width**-0.5)

    def for_source(self, tokens: Tensor) -> Tensor:
        """Vectors (B, L, width) of the tokens themselves."""
        return self.for_target(functional.pad(tokens[:, :-1], (1, 0), value=END))

    def for_target(self, inputs: Tensor) -> Tensor:
        """Vectors (B, L, width) of the tokens predicted after each of ``inputs`` (B, L), END first."""
        return self._vectors(tree_coordinates(inputs, self.arity))

    def init_state(self, rows: int, device: torch.device) -> State:
        return _root_state(rows, device)

    def advance(self, tokens: Tensor, t: int, state: State) -> tuple[Tensor, State]:
        """The vector (B, 1, width) of the token after ``tokens`` (B,), the t-th inputs, and the new state."""
        if t:
            state = _next_state(state, self.arity[tokens])
        return self._vectors(_coordinates(state).unsqueeze(1)), state

    def _vectors(self, coordinates: Tensor) -> Tensor:
        """Sums of rows of the table; coordinates (B, L, 2 + MAX_BRANCHES)."""
        first_rows = [0, *(MAX_DEPTH + 4 * k for k in range(MAX_BRANCHES)), MAX_DEPTH + 4 * MAX_BRANCHES]
        offsets = torch.tensor(first_rows, device=coordinates.device)
        one_hot_sums = torch.zeros(*coordinates.shape[:2], len(self.table), device=coordinates.device)
        one_hot_sums.scatter_(2, coordinates + offsets, 1.0)
        with torch.autocast(coordinates.device.type, enabled=False):
            return one_hot_sums @ self.table

    def check(self, length: int) -> None:
        """Every length is valid."""


def tree_coordinates(inputs: Tensor, arity: Tensor) -> Tensor:
    """(B, L, 2 + MAX_BRANCHES): depth, nearest branches and preceding digits of the token after each of ``inputs`` (B, L), END
    first."""
    state = _root_state(len(inputs), inputs.device)
    coordinates = [_coordinates(state)]
    for a in arity[inputs[:, 1:]].unbind(1):
        state = _next_state(state, a)
        coordinates.append(_coordinates(state))
    return torch.stack(coordinates, 1)


def _root_state(rows: int, device: torch.device) -> State:
    """Open slots (B, MAX_OPEN, 1 + MAX_BRANCHES) as depth and branches, innermost last; their count (B,); digits (B,)."""
    slots = torch.zeros(rows, MAX_OPEN, 1 + MAX_BRANCHES, dtype=torch.int64, device=device)
    slots[:, 0, 0] = 1
    return slots, torch.ones(rows, dtype=torch.int64, device=device), torch.zeros_like(slots[:, 0, 0])


def _coordinates(state: State) -> Tensor:
    slots, count, digits = state
    rows = torch.arange(len(count), device=count.device)
    innermost = slots[rows, (count - 1).clamp(0, MAX_OPEN - 1)] * (count > 0).unsqueeze(1)
    return torch.cat([innermost, digits.clamp(max=MAX_DIGITS - 1).unsqueeze(1)], 1)


def _next_state(state: State, arity: Tensor) -> State:
    """The state after tokens of these arities (B,): each fills its slot and opens those of its children."""
    slots, count, digits = state
    rows = torch.arange(len(count), device=count.device)
    top = (count - 1).clamp(0, MAX_OPEN - 1)
    parent = slots[rows, top]
    first_child = torch.cat([(parent[:, :1] + 1).clamp(max=MAX_DEPTH - 1), parent[:, :1], parent[:, 1:-1]], 1)
    last_child = first_child.clone()
    last_child[:, 1] = torch.where(arity == 2, _SECOND, _ONLY)
    first_child[:, 1] = _FIRST
    incomplete = count > 0
    replaced = torch.where((incomplete & (arity >= 1)).unsqueeze(1), last_child, parent)
    slots = slots.clone()
    slots[rows, top] = replaced
    above = count.clamp(0, MAX_OPEN - 1)
    slots[rows, above] = torch.where((incomplete & (arity == 2)).unsqueeze(1), first_child, slots[rows, above])
    count = torch.where(incomplete & (arity >= 0), count + arity - 1, count).clamp(max=MAX_OPEN)
    return slots, count, torch.where(arity == -1, digits + 1, 0)
