"""The lower level: a machine that takes bytes and answers bytes, and keeps what it likes.

Laws: it must be as deterministic as any machine, and raftkit can't check it: what comes out of `apply`
as an exception is this node's trouble and ends the node.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence

import attrs

__all__ = ["Batch", "BytesStateMachine"]


@attrs.frozen(kw_only=True)
class Batch:
    """Commands to apply now, in order. Where one batch ends and the next begins means nothing.

    A clock entry is a batch without commands: do what `elapsed_ns` says is due, and return no result.
    """

    term: int
    "The term of the leader that made the entries."
    time_ns: int
    "See `Context.time_ns`; one stamp for all."
    elapsed_ns: int
    "See `Context.elapsed_ns`."
    indexes: Sequence[int]
    "Place of each command in the log; growing, with gaps."
    commands: Sequence[bytes]
    "As given to `node.execute`; none in a clock entry's batch."


class BytesStateMachine(ABC):
    """Derive from it to speak bytes. The machine lives in memory; what it must keep is in `snapshot`."""

    @abstractmethod
    def apply(self, batch: Batch) -> Sequence[bytes]:
        """Apply every command; one result for each. An exception ends the node (StateMachineFailed)."""

    @abstractmethod
    def snapshot(self) -> Iterable[bytes]:
        """The state as it is at this call, whatever is applied while the chunks are being taken.

        An exception means that this state can't be written (StateUnwritable), and the node goes on without.
        """

    @abstractmethod
    def restore(self, chunks: Iterable[bytes]) -> None:
        """Become the state that `snapshot` of this class wrote. Called once, on a fresh machine."""

    def next_deadline(self) -> int | None:
        """When `apply` should next be called for time's sake alone, as `elapsed_ns`; see `StateMachine`."""
        return None

    def digest(self) -> bytes | None:
        """A hash that is equal where the states are: nodes compare it wherever the log has a snapshot cut.

        None: they don't, and only the testing kit compares, the bytes of `snapshot`.
        """
        return None
