"""The state machine of the demo: the lines of a text by their number, and every application counted.

Law: a line that is applied a second time is not hidden by the first: it shows in `repeats`.
"""

from __future__ import annotations

import attrs

from raftkit import StateMachine, command, query

__all__ = ["Transcript"]


@attrs.define
class Transcript(StateMachine):
    """A text as it arrives, in any order."""

    lines: dict[int, bytes] = attrs.field(factory=dict[int, bytes])
    "By number; as first applied."
    repeats: dict[int, int] = attrs.field(factory=dict[int, int])
    "How often a line was applied after the first time; exactly once leaves this empty."

    @command
    def write(self, number: int, content: bytes) -> None:
        """Keep a line."""
        if number in self.lines:
            self.repeats[number] = self.repeats.get(number, 0) + 1
        else:
            self.lines[number] = content

    @query
    def page(self, first: int, count: int) -> tuple[bytes | None, ...]:
        """`count` lines from number `first` on; None for one that is not here."""
        return tuple(map(self.lines.get, range(first, first + count)))

    @query
    def repeated(self) -> dict[int, int]:
        """Every line that was applied more than once, and how often too often."""
        return self.repeats

    @query
    def count(self) -> int:
        """How many lines are here."""
        return len(self.lines)
