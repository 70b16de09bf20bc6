"""§3.3: terms are the logical clock by which servers see what is out of date."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from raftkit.messages import (
    AppendAccepted,
    AppendRejected,
    Effects,
    Heartbeat,
    HeartbeatReply,
    LeaderLost,
    Message,
    PreVoteReply,
    ReadReply,
    ReadRequest,
    RoleChanged,
    Send,
    SnapshotChunk,
    SnapshotReply,
    VoteReply,
    VoteRequest,
    Write,
)
from raftkit.model import Index, Term
from tests.paper.server import (
    ELECTION_MAX,
    ELECTION_MIN,
    Server,
    append,
    candidate,
    everyone_answers,
    follower,
    heartbeat,
    leader,
    pre_candidate,
    server,
    snapshot_of,
)

LATE_ANSWERS: list[Message] = [
    PreVoteReply(term=Term(1), granted=False),
    VoteReply(term=Term(1), granted=True),
    AppendAccepted(term=Term(1), index=Index(1)),
    AppendRejected(term=Term(1), prev_index=Index(1), hint_index=Index(0), hint_term=Term(0)),
    HeartbeatReply(term=Term(1), round=1, index=Index(1), wall_ns=0),
    ReadReply(term=Term(1), ticket=1, index=Index(1)),
    SnapshotReply(term=Term(1), index=Index(1), offset=0, installed=True),
]
FROM_LATE_LEADERS_AND_FOLLOWERS: list[Message] = [
    append(1, (1, 1), "1"),
    heartbeat(1),
    SnapshotChunk(term=Term(1), snapshot=snapshot_of(b"x", index=9, term=1), offset=0, data=b"x"),
    ReadRequest(term=Term(1), ticket=1),
]


def test_later_term_is_joined_with_an_unused_vote() -> None:
    """§3.3: whoever sees a later term takes it over; its vote in that term is not given yet."""
    a = server("1 1", term=3, voted_for="c")

    effects = a.receive("b", VoteReply(term=Term(5), granted=False))

    assert effects == Effects(
        persist=Write(sequence=1, hard_state=(Term(5), None)),
        events=(RoleChanged(before="follower", role="follower", term=Term(5)),),
    )


def test_candidate_reverts_at_once_on_a_later_term() -> None:
    """§3.3: a candidate that sees a later term is a follower, whatever votes still arrive (A8)."""
    a = candidate("1 1")
    won_in = a.raft.term

    a.receive("b", VoteReply(term=Term(9), granted=False), VoteReply(term=won_in, granted=True))

    assert (a.raft.role, a.raft.term) == ("follower", 9)


@pytest.mark.accept("O-85", "U-65")
def test_leader_reverts_at_once_on_a_later_term() -> None:
    """§3.3: a leader that sees a later term leads no more."""
    a = leader("1 1")

    effects = a.receive("b", HeartbeatReply(term=Term(9), round=0, index=Index(0), wall_ns=0))

    assert effects == Effects(
        persist=Write(sequence=a.unwritten[-1].sequence, hard_state=(Term(9), None)),
        events=(
            LeaderLost(leader="a", term=Term(9)),
            RoleChanged(before="leader", role="follower", term=Term(9)),
        ),
    )


def test_deposed_leader_waits_a_whole_timeout_before_it_campaigns() -> None:
    """§3.4: whoever stops leading waits as long as any follower, or it disturbs those who deposed it."""
    a = leader("1 1")
    for _ in range(ELECTION_MAX):
        a.tick()
        everyone_answers(a)
    a.receive("b", HeartbeatReply(term=Term(9), round=0, index=Index(0), wall_ns=0))

    a.tick(ELECTION_MIN - 1)

    assert a.raft.role == "follower"


def test_vote_request_of_an_earlier_term_is_answered_with_the_current_one() -> None:
    """§3.3: a late candidate is refused, and learns the current term."""
    a = server("1 1", term=4)

    effects = a.receive("b", VoteRequest(term=Term(3), last_index=Index(9), last_term=Term(3)))

    refusal = VoteReply(term=Term(4), granted=False)
    assert effects == Effects(send_now=(Send(targets=("b",), message=refusal),))


@pytest.mark.parametrize(
    "message", FROM_LATE_LEADERS_AND_FOLLOWERS, ids=lambda it: type(it).__name__
)
def test_deposed_leader_is_told_the_current_term(message: Message) -> None:
    """§3.3: what a leader of an earlier term says is ignored, and it learns that it is deposed."""
    a = server("1 1", term=4)

    effects = a.receive("b", message)

    reply = HeartbeatReply(term=Term(4), round=0, index=Index(0), wall_ns=0)
    assert effects == Effects(send_now=(Send(targets=("b",), message=reply),))


@pytest.mark.parametrize("message", LATE_ANSWERS, ids=lambda it: type(it).__name__)
def test_answers_of_an_earlier_term_are_ignored(message: Message) -> None:
    """§3.3: an answer to what was asked in an earlier term means nothing now (A9, B7)."""
    a = leader("1 1", term=5)

    assert a.receive("b", message) == Effects()


def test_late_leader_deposed_only_once_the_term_that_deposes_it_is_durable() -> None:
    """§3.8: a term is not spoken of before it is on disk, or a crash could forget it (A2)."""
    a = server("1 1", term=4)

    effects = a.receive(
        "b",
        VoteReply(term=Term(7), granted=False),
        Heartbeat(term=Term(3), round=1, commit_index=Index(0)),
    )

    assert effects.send_now == ()
    assert [it.message.term for it in effects.send_after_persist] == [7]


@pytest.mark.parametrize("make", [follower, pre_candidate, candidate, leader])
def test_term_survives_a_restart(make: Callable[..., Server]) -> None:
    """Figure 2: the term is persistent; nobody starts as a leader (A2, E11)."""
    a = make("1 1", term=6)
    term = a.raft.term

    a.persist_all()
    a.restart()

    assert (a.raft.role, a.raft.term) == ("follower", term)


def test_term_and_vote_are_one_write() -> None:
    """§3.8: no crash may leave a new term with an old vote, or an old term with a new one (A3)."""
    a = server("1 1", term=1, voted_for="c")
    a.forget_leader()

    a.receive("b", VoteRequest(term=Term(2), last_index=Index(2), last_term=Term(1)))

    assert [write.hard_state for write in a.unwritten] == [(2, a.raft.state.voted_for)]
    assert a.voted_for == "b"
