"""How old this node's copy of the state may be, by the linearizable reads that were confirmed here (§6.4).

A confirmed read says: a copy at this index misses nothing that had been decided when the question was asked.
So whoever asked lately knows how old its copy is at most, and needs not ask again for a read that may be old.

Law: nothing is said of a moment that no majority has confirmed, so a node that is cut off grows old.
"""

from __future__ import annotations

from collections import deque

import attrs

from raftkit.model import Index

__all__ = ["Freshness"]

AHEAD_MAX = 8
"Of what is confirmed and not applied yet, so much is kept; the rest only says the same a little sooner."


@attrs.define(eq=False)
class Freshness:
    """Until when copies of the state are complete, by the monotonic clock."""

    _complete_ns: int | None = attrs.field(init=False, default=None)
    "Of the copy that was asked about last."
    _ahead: deque[tuple[Index, int]] = attrs.field(init=False, factory=deque[tuple[Index, int]])
    "Index and moment of what was confirmed, in order; no copy was there yet when it was asked for."

    def confirmed(self, index: Index, asked_ns: int) -> None:
        """A copy at `index` misses nothing that had been decided at `asked_ns`."""
        last = self._ahead[-1] if self._ahead else (Index(-1), -1)
        if index < last[0] or asked_ns < last[1]:
            return  # answers overtake each other; the one before says more
        if index == last[0] or len(self._ahead) == AHEAD_MAX:
            self._ahead.pop()
        self._ahead.append((index, asked_ns))

    def complete_ns(self, applied: Index) -> int | None:
        """The copy at `applied` misses nothing that had been decided by then; None if nothing is known.

        `applied` never decreases.
        """
        while self._ahead and self._ahead[0][0] <= applied:
            self._complete_ns = max(self._ahead.popleft()[1], self._complete_ns or 0)
        return self._complete_ns
