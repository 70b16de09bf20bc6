"""A server that can't apply what is committed votes and acknowledges, and does not lead."""

from __future__ import annotations

import pytest

from raftkit.messages import (
    AppendAccepted,
    Effects,
    Fit,
    Heartbeat,
    HeartbeatReply,
    LeaderLost,
    PeerUnreachable,
    PreVoteReply,
    PreVoteRequest,
    Propose,
    Proposed,
    Read,
    Refusal,
    Refused,
    RoleChanged,
    Send,
    TimeoutNow,
    Unfit,
    VoteReply,
    VoteRequest,
)
from raftkit.model import Index, Term
from tests.paper.cluster import cluster
from tests.paper.server import (
    ELECTION_MAX,
    ELECTION_MIN,
    accepted_by,
    append,
    beat,
    candidate,
    everyone_answers,
    follower,
    group,
    heartbeat,
    leader,
    messages_to,
    pre_candidate,
    server,
)

UNFIT = Unfit(reason="this code is older than the log")
RESIGNED = (
    LeaderLost(leader="a", term=Term(2)),
    RoleChanged(before="leader", role="follower", term=Term(2)),
)


def test_unfit_server_votes() -> None:
    """Its log and its vote are as good as any: without them a majority could be missing."""
    a = server("1 1", term=1)
    a.tick(25)
    a.step(UNFIT)

    asked = a.receive("b", PreVoteRequest(term=Term(2), last_index=Index(2), last_term=Term(1)))
    a.receive("b", VoteRequest(term=Term(2), last_index=Index(2), last_term=Term(1)))

    assert messages_to("b", asked) == [PreVoteReply(term=Term(2), granted=True)]
    assert a.voted_for == "b"


def test_unfit_server_acknowledges() -> None:
    """It holds what it can't apply."""
    a = follower("1 1", of="b")
    a.step(UNFIT)

    a.receive("b", append(1, (2, 1), "1"), heartbeat(1, round=2))
    told = messages_to("b", a.persist())

    assert AppendAccepted(term=Term(1), index=Index(3)) in told


@pytest.mark.parametrize("lost", [False, True], ids=["silent", "connection closed"])
def test_unfit_server_does_not_campaign(lost: bool) -> None:
    """Nor does it ask whether it could win: those who can lead are not disturbed."""
    a = follower("1 1", of="b")
    a.step(UNFIT)
    if lost:
        a.step(PeerUnreachable(peer="b"))

    effects = a.tick(4 * ELECTION_MAX)

    assert effects.send_now == ()
    assert a.raft.role == "follower"


@pytest.mark.parametrize("make", [pre_candidate, candidate])
def test_unfit_candidate_gives_up(make: object) -> None:
    """At once: it might win before it is asked again."""
    a = make("1 1")  # type: ignore[operator]

    a.step(UNFIT)
    a.receive("b", VoteReply(term=a.raft.term, granted=True))
    a.receive("b", PreVoteReply(term=Term(a.raft.term + 1), granted=True))

    assert a.raft.role == "follower"


def test_unfit_leader_steps_down() -> None:
    """At once, where another voter holds its whole log and can be elected."""
    a = leader("1 1")

    effects = a.step(UNFIT)

    assert effects == Effects(send_now=effects.send_now, events=RESIGNED)


def test_unfit_leader_tells_what_is_committed_and_then_its_successor_to_campaign() -> None:
    """Nobody else could say so before the next leader's no-op is committed; and there is one soon (§3.10)."""
    a = leader("1 1")
    a.propose(b"x")
    a.persist()
    accepted_by(a, "b")
    assert a.raft.commit_index == 4

    effects = a.step(UNFIT)

    told = Heartbeat(term=Term(2), round=1, commit_index=Index(4))
    assert effects.send_now == (
        Send(targets=("b", "c"), message=told),
        Send(targets=("b",), message=TimeoutNow(term=Term(2))),
    )
    assert effects.events == RESIGNED


def test_unfit_leader_waits_until_another_can_win() -> None:
    """§3.6.1: with a longer log than all others it would refuse them its vote, and nobody could win."""
    a = leader("1 1")
    a.propose(b"x", b"y")
    a.persist()

    a.step(UNFIT)
    leads = a.raft.role
    accepted_by(a, "c")

    assert (leads, a.raft.role) == ("leader", "follower")


def test_unfit_leader_takes_no_proposals() -> None:
    """So that its log ends, and others catch up. It did not happen, and nobody knows yet whom to ask next."""
    a = leader("1 1")
    a.propose(b"x")
    a.step(UNFIT)

    effects = a.step(Propose(ticket=9, payloads=(b"y",)))

    assert effects.answer == (Refused(ticket=9, reason=Refusal.NOT_LEADER, leader=None),)


def test_unfit_follower_that_refuses_a_proposal_names_its_leader() -> None:
    """§6.2: who can't lead knows who does."""
    a = follower("1 1", of="b")
    a.step(UNFIT)

    effects = a.step(Propose(ticket=9, payloads=(b"y",)))

    assert effects.answer == (Refused(ticket=9, reason=Refusal.NOT_LEADER, leader="b"),)


def test_learner_does_not_relieve_an_unfit_leader() -> None:
    """It can't be elected, whatever it holds."""
    a = leader("1 1", configuration=group("abc", learners="d"), matched=False)
    accepted_by(a, "d")

    a.step(UNFIT)

    assert a.raft.role == "leader"


def test_unfit_leader_without_followers_steps_down_for_silence() -> None:
    """§6.2: one that nobody answers is none, unfit or not."""
    a = leader("1 1", matched=False)
    a.step(UNFIT)

    a.tick(ELECTION_MAX + 1)

    assert a.raft.role == "follower"


def test_unfit_leader_does_not_leave_the_group_to_the_silent() -> None:
    """Only b holds what was committed, and is gone: c gets it of this leader, or of nobody."""
    a = leader("1 1")
    a.propose(b"x")
    a.persist()
    accepted_by(a, "b")
    for _ in range(ELECTION_MIN):
        a.tick()
        a.receive("c", beat(a, index=3))

    a.step(UNFIT)
    before = a.raft.role
    effects = accepted_by(a, "c")

    assert before == "leader"
    assert messages_to("c", effects)[-1] == TimeoutNow(term=Term(2))


def test_unfit_leader_of_one_steps_down() -> None:
    """There is nobody to wait for."""
    a = leader("1", configuration=group("a"))

    a.step(UNFIT)
    a.tick(4 * ELECTION_MAX)

    assert a.raft.role == "follower"


def test_others_elect_one_of_them_and_lose_nothing() -> None:
    """What the unfit leader committed is in the log of the next."""
    group_of_three = cluster(*(server("1 1", name) for name in "abc"))
    group_of_three.elect("a", "bc")
    group_of_three.step("a", Propose(ticket=1, payloads=(b"x",)))
    group_of_three["a"].persist_all()
    group_of_three.settle()
    group_of_three.pass_time(20)
    committed = group_of_three["a"].raft.commit_index

    group_of_three.step("a", UNFIT)
    group_of_three.pass_time(2 * ELECTION_MAX)

    assert group_of_three["a"].raft.leader in ("b", "c")
    assert group_of_three["a"].raft.commit_index > committed == 4


def test_unfit_server_answers_heartbeats() -> None:
    """A leader counts on it: for rounds of reads, and to know that it leads."""
    a = follower("1 1", of="b")
    a.step(UNFIT)

    effects = a.receive("b", heartbeat(1, round=5))

    (reply,) = messages_to("b", effects)
    assert isinstance(reply, HeartbeatReply)
    assert reply.round == 5


def test_reads_at_an_unfit_leader_are_refused_when_it_steps_down() -> None:
    """They did not happen, and may be asked of the next."""
    a = leader("1 1")
    everyone_answers(a)
    a.receive("b", beat(a))
    a.step(Read(ticket=3))
    effects = a.step(UNFIT)

    assert Refused(ticket=3, reason=Refusal.LEADER_LOST, leader=None) in effects.answer


def test_server_that_is_fit_again_campaigns() -> None:
    """What it lacked is mended, so it waits for no other to lead."""
    a = server("1 1", term=1)
    a.step(UNFIT)
    a.step(Fit())

    a.tick(ELECTION_MAX)

    assert a.raft.role == "pre-candidate"


def test_leader_that_is_fit_again_before_it_could_go_leads_on() -> None:
    """Nobody held its log meanwhile; now it takes proposals again, and keeps its office."""
    a = leader("1 1")
    a.propose(b"x", b"y")
    a.persist()
    a.step(UNFIT)

    a.step(Fit())
    accepted_by(a, "c")
    effects = a.propose(b"z")

    assert a.raft.role == "leader"
    assert isinstance(effects.answer[0], Proposed)
