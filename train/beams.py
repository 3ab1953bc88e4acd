"""The decoder's memory of many hypotheses of each problem: a tree of words, in which what hypotheses share is kept once.

Each step adds w nodes a problem, the words its w rows were fed. A row knows by a mask which nodes it comes from; when it becomes
a copy of another, only the mask is copied. All rows of a problem ask all its nodes together, under their masks: one product in
place of w small ones. Nodes that no row comes from any more are dropped when room runs out; since good hypotheses mostly
part late, few are left.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mathpipe.train.layers import Keys

_STEPS = 8  # between two times of dropping nodes


@dataclass
class BeamCache:
    """B problems of w rows each, in order, which share the problem's memory."""

    memory: list[Keys]  # per layer, (B, heads, Ls, d)
    allowed: Tensor | None  # (B, 1, 1, Ls)
    nodes: list[Keys]  # per layer, (B, room, heads, d), of which ``used`` are filled
    seen: Tensor  # (B, w, room): which nodes each row comes from
    places: tuple[Tensor, ...]  # what the words so far say of positions, each (B w, ...)
    used: int = 0
    length: int = 0  # words fed, END included

    @classmethod
    def empty(
        cls, memory: list[Keys], allowed: Tensor | None, like: list[Keys], places: tuple[Tensor, ...], width: int
    ) -> BeamCache:
        """Nothing fed yet; ``like`` (B, heads, ..., d) tells sizes and kinds, per layer."""
        problems, heads, _, size = like[0][0].shape
        shape = (problems, _STEPS * width, heads, size)
        nodes = [(k.new_empty(shape), v.new_empty(shape)) for k, v in like]
        seen = torch.zeros((problems, width, shape[1]), dtype=torch.bool, device=like[0][0].device)
        return cls(memory, allowed, nodes, seen, tuple(place.repeat_interleave(width, 0) for place in places))

    @property
    def width(self) -> int:
        return self.seen.shape[1]

    def open(self) -> Tensor | None:
        """Make room for this step's words; the mask (B, 1, w, nodes) of what rows see, themselves included."""
        if self.used + self.width > self.seen.shape[2]:
            self._drop()
        own = torch.arange(self.width, device=self.seen.device)
        self.seen[:, own, self.used + own] = True
        return self.seen[:, None, :, : self.used + self.width]

    def put(self, layer: int, k: Tensor, v: Tensor) -> Keys:
        """This step's keys and values (B w, heads, 1, d) become nodes; all nodes' (B, heads, nodes, d)."""
        filled = self.used + self.width
        kept: list[Tensor] = []
        for whole, new in zip(self.nodes[layer], (k, v), strict=True):
            whole[:, self.used : filled] = new.view(len(whole), self.width, *whole.shape[2:])
            kept.append(whole[:, :filled].transpose(1, 2))
        return kept[0], kept[1]

    def close(self) -> None:
        """The step is over."""
        self.used, self.length = self.used + self.width, self.length + 1

    def fork(self, to: Tensor, source: Tensor) -> None:
        """Row ``to[i]`` becomes a copy of row ``source[i]``, of the same problem; in place."""
        seen = self.seen.flatten(0, 1)
        seen[to] = seen[source]
        for place in self.places:
            place[to] = place[source]

    def keep(self, problems: Tensor) -> BeamCache:
        """Only these problems, each with all its rows."""
        rows = (problems.unsqueeze(1) * self.width + torch.arange(self.width, device=problems.device)).flatten()
        return BeamCache(
            memory=[(k[problems], v[problems]) for k, v in self.memory],
            allowed=None if self.allowed is None else self.allowed[problems],
            nodes=[(k[problems], v[problems]) for k, v in self.nodes],
            seen=self.seen[problems],
            places=tuple(place[rows] for place in self.places),
            used=self.used,
            length=self.length,
        )

    def _drop(self) -> None:
        """Keep the nodes that some row comes from, and make room for the steps to come."""
        live = self.seen[:, :, : self.used].any(dim=1)
        count = int(live.sum(dim=1).max())
        order = (~live).to(torch.uint8).argsort(dim=1, stable=True)[:, :count]
        room = count + _STEPS * self.width
        seen = self.seen.new_zeros((*self.seen.shape[:2], room))
        seen[:, :, :count] = self.seen.gather(2, order.unsqueeze(1).expand(-1, self.width, -1))
        for layer, pair in enumerate(self.nodes):
            moved = []
            for whole in pair:
                before = whole.shape[1]
                fresh = whole.new_empty((len(whole), room, *whole.shape[2:]))
                places = order + before * torch.arange(len(order), device=order.device).unsqueeze(1)
                fresh[:, :count] = whole.flatten(0, 1).index_select(0, places.flatten()).view_as(fresh[:, :count])
                moved.append(fresh)
            self.nodes[layer] = (moved[0], moved[1])
        self.seen, self.used = seen, count
