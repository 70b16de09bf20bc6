"""What a peer can't have sent, and messages that come from oneself: dropped, without a trace in the state."""

from __future__ import annotations

import pytest

from raftkit.messages import (
    AppendAccepted,
    AppendRejected,
    Effects,
    HeartbeatReply,
    Message,
    PeerMisbehaved,
    ReadRequest,
    SnapshotReply,
)
from raftkit.model import Index, Term
from tests.paper.server import leader

ANSWERS: list[Message] = [
    AppendAccepted(term=Term(2), index=Index(3)),
    AppendRejected(term=Term(2), prev_index=Index(2), hint_index=Index(1), hint_term=Term(1)),
    HeartbeatReply(term=Term(2), round=1, index=Index(3), wall_ns=0),
    SnapshotReply(term=Term(2), index=Index(3), offset=0, installed=True),
    ReadRequest(term=Term(2), ticket=7),
]


@pytest.mark.parametrize("message", ANSWERS, ids=lambda it: type(it).__name__)
def test_own_messages_that_come_back_are_ignored(message: Message) -> None:
    """A multicast datagram may return to its sender; it is no peer's answer."""
    a = leader("1 1")
    before = a.raft.peers()

    effects = a.receive("a", message)

    assert effects == Effects()
    assert a.raft.peers() == before


BEYOND: list[Message] = [
    AppendAccepted(term=Term(2), index=Index(99)),
    AppendRejected(term=Term(2), prev_index=Index(99), hint_index=Index(1), hint_term=Term(1)),
    HeartbeatReply(term=Term(2), round=1, index=Index(99), wall_ns=0),
    HeartbeatReply(term=Term(2), round=99, index=Index(1), wall_ns=0),
    SnapshotReply(term=Term(2), index=Index(99), offset=0, installed=True),
    SnapshotReply(term=Term(2), index=Index(99), offset=0, installed=False),
]


@pytest.mark.parametrize("message", BEYOND, ids=lambda it: type(it).__name__)
def test_answer_that_can_not_be_true_is_no_contact(message: Message) -> None:
    """S29: a leader says who misbehaves, and learns nothing, not even that somebody is there (§6.2)."""
    a = leader("1 1")
    a.tick(3)
    before = a.raft.peers()

    effects = a.receive("b", message)

    assert [type(it) for it in effects.events] == [PeerMisbehaved]
    assert effects == Effects(events=effects.events)
    assert a.raft.peers() == before
