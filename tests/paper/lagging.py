"""A leader, and follower c, which has nothing of a log that begins behind a snapshot."""

from __future__ import annotations

from typing import Any

from raftkit.messages import (
    AppendEntries,
    AppendRejected,
    Effects,
    ReadSnapshot,
    SnapshotRead,
    SnapshotReply,
)
from raftkit.model import Index, Run, Term
from tests.paper.server import Server, everyone_answers, leader, messages_to, snapshot_of

__all__ = [
    "DATA",
    "SNAPSHOT",
    "compacted",
    "entries_of",
    "has",
    "mode",
    "needs_snapshot",
    "read",
    "rejected",
    "rejects",
    "was_read",
]

DATA = b"0123456789"
SNAPSHOT = snapshot_of(DATA, index=5, term=2)


def compacted(**more: Any) -> Server:
    """A leader of term 3 whose log begins after SNAPSHOT, and whose follower c has nothing of it."""
    more = {"snapshot": SNAPSHOT, "snapshot_chunk_bytes": 4} | more
    a = leader("2", matched=False, **more)
    everyone_answers(a, "b")
    a.take_sent()
    return a


def rejects(a: Server, prev: int, hint: tuple[int, int]) -> Effects:
    """Follower c does not have the entry at `prev`; the logs may agree at `hint`."""
    return a.receive("c", rejected(a, prev, hint))


def rejected(a: Server, prev: int, hint: tuple[int, int]) -> AppendRejected:
    """What a follower says who does not have it."""
    return AppendRejected(
        term=a.raft.term,
        prev_index=Index(prev),
        hint_index=Index(hint[0]),
        hint_term=Term(hint[1]),
    )


def needs_snapshot(a: Server) -> Effects:
    """Follower c rejects what comes before the first entry that the leader has."""
    rejects(a, 6, (2, 1))
    return rejects(a, 5, (2, 1))


def read(offset: int) -> ReadSnapshot:
    """The question for the chunk at `offset`."""
    return ReadSnapshot(target="c", snapshot=SNAPSHOT, offset=offset, bytes_max=4)


def was_read(offset: int) -> SnapshotRead:
    """Its answer."""
    return SnapshotRead(request=read(offset), data=DATA[offset : offset + 4])


def has(a: Server, offset: int, *, installed: bool = False, peer: str = "c") -> Effects:
    """Follower c, or another, has that much of the snapshot."""
    message = SnapshotReply(term=a.raft.term, index=Index(5), offset=offset, installed=installed)
    return a.receive(peer, message)


def mode(a: Server, name: str = "c") -> str:
    """How a follower is fed."""
    return next(peer.mode for peer in a.raft.peers() if peer.id == name)


def entries_of(effects: Effects) -> tuple[Run, ...]:
    """The runs that a step sends to c."""
    return tuple(
        run for it in messages_to("c", effects) if isinstance(it, AppendEntries) for run in it.runs
    )
