"""Ours: a server that may have forgotten what it promised is barred until it is admitted again."""

from __future__ import annotations

from raftkit.messages import (
    Barred,
    Effects,
    HeartbeatReply,
    LeaderLost,
    PreVoteReply,
    PreVoteRequest,
    RoleChanged,
    Send,
    VoteReply,
    VoteRequest,
)
from raftkit.model import Index, Term
from tests.paper.server import (
    ELECTION_MAX,
    append,
    follower,
    heartbeat,
    leader,
    messages_to,
    server,
)

BARRED = Barred(reason="rolled back")


def test_barred_server_does_not_vote() -> None:
    """E13: it may have voted in this term before its disk was wiped or rolled back."""
    a = server("1 1", term=1)
    a.tick(25)
    a.step(BARRED)

    vote = a.receive("b", VoteRequest(term=Term(2), last_index=Index(2), last_term=Term(1)))
    asked = a.receive("b", PreVoteRequest(term=Term(3), last_index=Index(2), last_term=Term(1)))

    assert messages_to("b", vote) == [VoteReply(term=Term(2), granted=False)]
    assert messages_to("b", asked) == [PreVoteReply(term=Term(2), granted=False)]
    assert a.voted_for is None


def test_barred_server_does_not_campaign() -> None:
    """E13: nor may it lead."""
    a = follower("1 1", of="b")
    a.step(BARRED)

    effects = a.tick(4 * ELECTION_MAX)

    assert effects.send_now == ()
    assert a.raft.role == "follower"


def test_barred_server_does_not_acknowledge() -> None:
    """E13: it takes entries, but nothing that it says may be counted."""
    a = follower("1 1", of="b")
    a.step(BARRED)

    told = a.receive("b", append(1, (2, 1), "1"), heartbeat(1, round=2))

    assert a.terms == "1 1 1"
    assert (messages_to("b", told), a.persist().send_now) == ([], ())


def test_barred_leader_steps_down() -> None:
    """E13: at once, whatever it holds."""
    a = leader("1 1")

    effects = a.step(BARRED)

    assert effects == Effects(
        events=(
            LeaderLost(leader="a", term=Term(2)),
            RoleChanged(before="leader", role="follower", term=Term(2)),
        )
    )


def test_barred_server_still_tells_the_current_term() -> None:
    """§3.3: a deposed leader learns that it is deposed from anybody."""
    a = server("1 1", term=4)
    a.step(BARRED)

    effects = a.receive("b", heartbeat(3))

    reply = HeartbeatReply(term=Term(4), round=0, index=Index(0), wall_ns=0)
    assert effects == Effects(send_now=(Send(targets=("b",), message=reply),))
