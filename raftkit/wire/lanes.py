"""Which queue a message waits in, whatever carries it: what keeps a group alive never waits for bulk."""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from raftkit.driver_messages import DriverMessage, Forward, SnapshotPart
from raftkit.messages import AppendEntries, Message, SnapshotChunk

__all__ = ["Lane", "lane_of"]


class Lane(IntEnum):
    """Which queue a frame waits in. The lower goes first."""

    CONTROL = 0
    "Heartbeats, votes, acknowledgements, reads, hellos: small, and what the group lives by."
    ENTRIES = 1
    "Runs of the log, and what is forwarded to become one."
    BULK = 2
    "Parts of snapshots."


_LANES: Final[dict[type[Message | DriverMessage], Lane]] = {
    AppendEntries: Lane.ENTRIES,
    Forward: Lane.ENTRIES,
    SnapshotChunk: Lane.BULK,
    SnapshotPart: Lane.BULK,
}


def lane_of(body: Message | DriverMessage) -> Lane:
    """Where `body` waits."""
    return _LANES.get(type(body), Lane.CONTROL)
