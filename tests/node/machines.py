"""The machines that the tests replicate."""

from __future__ import annotations

import attrs

from raftkit import Rejected, StateMachine, command, query


@attrs.define
class Counter(StateMachine):
    total: int = 0

    @command
    def add(self, amount: int = 1) -> int:
        self.total += amount
        return self.total

    @command
    def take(self, amount: int) -> int:
        if amount > self.total:
            raise Rejected(f"only {self.total} left")
        self.total -= amount
        return self.total

    @command
    def divide(self, by: int) -> int:
        self.total //= by
        return self.total

    @query
    def value(self) -> int:
        return self.total


@attrs.define
class Journal(StateMachine):
    """Shows order, and whether anything was applied twice."""

    lines: list[str] = attrs.field(factory=list)

    @command
    def write(self, line: str) -> int:
        self.lines.append(line)
        return len(self.lines)

    @query
    def read(self) -> list[str]:
        return self.lines
