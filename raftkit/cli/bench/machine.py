"""What the benchmark replicates: values into machines that do next to nothing.

Law: both count every application, so that what was acknowledged can be compared with what was done.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import attrs

from raftkit import BytesStateMachine, StateMachine, command, query
from raftkit.statemachine import Batch

__all__ = ["KEYS", "Register", "Table"]

KEYS = 1000
"Of the table."
_COUNT_BYTES = 8


@attrs.define(eq=False)
class Register(BytesStateMachine):
    """The bytes-level machine: the last value, and how many were written."""

    count: int = 0
    "Commands applied."
    last: bytes = b""

    def apply(self, batch: Batch) -> Sequence[bytes]:
        """See `BytesStateMachine`. A command is a value, a result nothing."""
        self.count += len(batch.commands)
        self.last = batch.commands[-1]
        return [b""] * len(batch.commands)

    def snapshot(self) -> Iterable[bytes]:
        """See `BytesStateMachine`."""
        return [self.count.to_bytes(_COUNT_BYTES, "big") + self.last]

    def restore(self, chunks: Iterable[bytes]) -> None:
        """See `BytesStateMachine`."""
        data = b"".join(chunks)
        self.count = int.from_bytes(data[:_COUNT_BYTES], "big")
        self.last = data[_COUNT_BYTES:]


@attrs.define
class Table(StateMachine):
    """The typed machine: values by key, and how many were written."""

    count: int = 0
    "Commands applied."
    values: dict[int, bytes] = attrs.field(factory=dict[int, bytes])
    "By key."

    @command
    def put(self, key: int, value: bytes) -> None:
        """Set a value."""
        self.count += 1
        self.values[key] = value

    @query
    def get(self, key: int) -> bytes | None:
        """A value, if there is one."""
        return self.values.get(key)

    @query
    def written(self) -> int:
        """Commands applied."""
        return self.count
