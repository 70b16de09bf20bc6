"""What a step in progress will oblige the driver to do; `Effects` once it has settled.

Law: messages to one target stay in the order in which they were sent here.
"""

from __future__ import annotations

import attrs

from raftkit.messages import (
    DURABLE_BEFORE,
    Answer,
    Durable,
    Event,
    Fetch,
    Message,
    ReadSnapshot,
    Send,
    SnapshotWrite,
)
from raftkit.model import Index, NodeId
from raftkit.snapshot import SeekSnapshot, SnapshotMeta

__all__ = ["Outbox"]


@attrs.define(kw_only=True)
class Outbox:
    """Collected during one step, taken and cleared at its end: one a server, as new ones cost more."""

    sends: list[Send] = attrs.field(factory=list[Send])
    "In order."
    fetches: list[Fetch] = attrs.field(factory=list[Fetch])
    "Asked of storage."
    snapshot_reads: list[ReadSnapshot] = attrs.field(factory=list[ReadSnapshot])
    "Asked of the snapshot store."
    chunk: SnapshotWrite | None = None
    "A received part of a snapshot; at most one a step."
    seek: SeekSnapshot | None = None
    "Asked of other servers."
    compact_to: Index | None = None
    "The log was compacted up to here."
    install: SnapshotMeta | None = None
    "A received snapshot became durable."
    answers: list[Answer] = attrs.field(factory=list[Answer])
    "To callers."
    events: list[Event] = attrs.field(factory=list[Event])
    "To whom it may concern."

    def send(self, message: Message, *targets: NodeId) -> None:
        """Send `message` to each target as soon as what it claims is durable."""
        if targets:
            self.sends.append(Send(targets=targets, message=message))

    def split(
        self, *, term_durable: bool, vote_durable: bool
    ) -> tuple[tuple[Send, ...], tuple[Send, ...]]:
        """What may leave at once, and what only after the writes issued so far (`DURABLE_BEFORE`).

        Acknowledgements are composed from what is durable already, so they wait for their term at most. A
        durable vote is one of a durable term, and nothing has to wait: as in most steps.
        """
        if vote_durable or not self.sends:
            return tuple(self.sends), ()
        ready = {
            Durable.NOTHING: True,
            Durable.TERM: term_durable,
            Durable.LOG: term_durable,
            Durable.TERM_AND_VOTE: vote_durable,
        }
        now = tuple(it for it in self.sends if ready[DURABLE_BEFORE[type(it.message)]])
        later = tuple(it for it in self.sends if not ready[DURABLE_BEFORE[type(it.message)]])
        return now, later

    def clear(self) -> None:
        """All of it was taken."""
        self.sends.clear()
        self.fetches.clear()
        self.snapshot_reads.clear()
        self.chunk = self.seek = self.compact_to = self.install = None
        self.answers.clear()
        self.events.clear()
