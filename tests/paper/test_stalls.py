"""A server whose own disk stands still: its heartbeats go on, so it has to go by itself (catalogue I1)."""

from __future__ import annotations

from typing import Any

from raftkit.core.state import Follower, PreCandidate
from raftkit.leadership import HandOverRefusal, NotHandedOver, StepDown, TransferLeadership
from raftkit.messages import (
    AppendAccepted,
    Effects,
    LeaderLost,
    PreVoteReply,
    PreVoteRequest,
    Proposed,
    Read,
    ReadConfirmed,
    Refusal,
    Refused,
    RoleChanged,
    Send,
    StorageStalled,
    TimeoutNow,
    VoteReply,
    VoteRequest,
)
from raftkit.model import Index, NodeId, Term
from tests.paper.cluster import Cluster, cluster
from tests.paper.server import (
    ELECTION_MAX,
    ELECTION_MIN,
    RETRY,
    Server,
    accepted_by,
    append,
    beat,
    follower,
    group,
    heartbeat,
    leader,
    messages_to,
    pre_candidate,
    server,
)

NOW = TimeoutNow(term=Term(2))


def told(*targets: NodeId) -> tuple[Send, ...]:
    return (Send(targets=targets, message=NOW),)


def stalls(it: Server) -> Effects:
    """Its oldest write takes far too long."""
    return it.step(StorageStalled(sequence=it.unwritten[0].sequence))


def writing(**more: Any) -> Server:
    """A leader, matched by all, with an entry that its own disk does not finish."""
    a = leader("1 1", **more)
    a.propose(b"x")
    a.take_sent()
    return a


def acknowledged(a: Server) -> Effects:
    """Both followers hold its whole log. What comes of the second."""
    accepted_by(a, "c")
    return accepted_by(a, "b")


def hears(a: Server, *ids: NodeId, ticks: int) -> list[Effects]:
    """Time passes in which these answer its heartbeats, and nobody else says anything."""
    steps: list[Effects] = []
    for _ in range(ticks):
        steps.append(a.tick())
        for name in ids:
            a.receive(name, beat(a, index=a.leadership.progress[name].match_index))
    a.take_sent()
    return steps


def writing_vote(terms: str = "1") -> Server:
    """A candidate whose own vote is on its way to the disk."""
    a = pre_candidate(terms)
    a.receive("b", PreVoteReply(term=Term(a.raft.term + 1), granted=True))
    assert a.raft.role == "candidate"
    return a


# ── a leader ─────────────────────────────────────────────────────────────────────────────────────────


def test_stalled_leader_hands_over_to_whoever_has_what_its_disk_has_not() -> None:
    """Commits go on without its disk, and its clients wait for it all the same (I1)."""
    a = writing()
    acknowledged(a)

    effects = stalls(a)

    assert effects == Effects(send_now=told("b"))
    assert a.raft.role == "leader"


def test_stalled_leader_leads_on_while_nobody_else_has_more() -> None:
    """On one slow disk that all share, a slow leader is better than none."""
    a = writing()

    effects = stalls(a)
    proposed = a.propose(b"y", ticket=9)

    assert effects == Effects()
    assert proposed.answer == (Proposed(ticket=9, first=Index(5), term=Term(2)),)


def test_stalled_leader_goes_as_soon_as_a_quorum_has_more() -> None:
    """The disks of the followers were only slower to say so."""
    a = writing()
    stalls(a)
    early = accepted_by(a, "c")

    effects = accepted_by(a, "b")

    assert NOW not in messages_to("c", early)
    assert messages_to("b", effects)[-1] == NOW


def test_stalled_leader_is_not_replaced_by_too_few() -> None:
    """With its own disk another stands still: who takes over could neither win nor decide anything."""
    a = writing(configuration=group("abcde"))
    accepted_by(a, "b")
    accepted_by(a, "c")
    early = stalls(a)

    effects = accepted_by(a, "d")

    assert early == Effects()
    assert NOW in messages_to("b", effects)


def test_stalled_leader_waits_for_the_whole_log_of_its_successor() -> None:
    """§3.10: what it took since must be there, or the successor would lose; it takes no more."""
    a = writing()
    a.propose(b"y", ticket=2)
    a.receive("c", AppendAccepted(term=Term(2), index=Index(4)))
    a.receive("b", AppendAccepted(term=Term(2), index=Index(4)))

    early = stalls(a)
    refused = a.propose(b"z", ticket=9)
    effects = accepted_by(a, "b")

    assert early == Effects()
    assert refused.answer == (Refused(ticket=9, reason=Refusal.TRANSFERRING, leader="a"),)
    assert messages_to("b", effects)[-1] == NOW


def test_stalled_leader_steps_down_if_nobody_takes_over() -> None:
    """It insists, as nobody would notice that it does no good; and lets the others be first."""
    a = writing()
    acknowledged(a)
    stalls(a)
    hears(a, "b", "c", ticks=ELECTION_MAX - 1)

    effects = a.tick()

    assert effects.events == (
        LeaderLost(leader="a", term=Term(2)),
        RoleChanged(before="leader", role="follower", term=Term(2)),
    )
    assert effects.answer == ()


def test_successor_is_told_again() -> None:
    """The message may be lost."""
    a = writing()
    acknowledged(a)
    stalls(a)

    effects = a.tick(RETRY)

    assert NOW in messages_to("b", effects)


def test_leader_stays_if_its_disk_comes_back_in_time() -> None:
    """With the reason gone it takes proposals again, and does not step down for it."""
    a = writing()
    a.propose(b"y", ticket=2)
    a.receive("c", AppendAccepted(term=Term(2), index=Index(4)))
    a.receive("b", AppendAccepted(term=Term(2), index=Index(4)))
    stalls(a)

    a.persist()
    effects = a.propose(b"z", ticket=9)
    hears(a, "b", "c", ticks=2 * ELECTION_MAX)

    assert effects.answer == (Proposed(ticket=9, first=Index(6), term=Term(2)),)
    assert a.raft.role == "leader"


def test_leader_that_told_its_successor_goes_though_its_disk_is_back() -> None:
    """§3.10: the other campaigns by now. What was appended meanwhile would be lost."""
    a = writing()
    acknowledged(a)
    stalls(a)

    a.persist()
    effects = a.propose(b"y", ticket=9)
    hears(a, "b", "c", ticks=ELECTION_MAX - 1)
    a.tick()

    assert effects.answer == (Refused(ticket=9, reason=Refusal.TRANSFERRING, leader="a"),)
    assert a.raft.role == "follower"


def test_leader_whose_disk_stalls_again_goes() -> None:
    """Each stall counts by itself."""
    a = writing()
    a.propose(b"y", ticket=2)
    a.receive("c", AppendAccepted(term=Term(2), index=Index(4)))
    a.receive("b", AppendAccepted(term=Term(2), index=Index(4)))
    stalls(a)
    a.persist()
    a.propose(b"z", ticket=3)
    acknowledged(a)

    effects = stalls(a)

    assert effects == Effects(send_now=told("b"))


def test_stall_of_a_later_write_outlasts_an_earlier_one() -> None:
    """A disk that finishes a write a minute is none: the next one is late as well."""
    a = writing()
    a.propose(b"y", ticket=2)
    a.step(StorageStalled(sequence=a.unwritten[1].sequence))

    a.persist(1)
    effects = acknowledged(a)

    assert NOW in messages_to("b", effects)


def test_stall_that_is_over_before_it_is_told_is_none() -> None:
    """The report and the completion cross."""
    a = writing()
    sequence = a.unwritten[0].sequence
    a.persist()
    acknowledged(a)

    effects = a.step(StorageStalled(sequence=sequence))

    assert effects == Effects()


def test_who_is_silent_does_not_show_that_the_disk_is_to_blame() -> None:
    """The other could not win alone, so it leads on; and if no majority answers, that ends it (§6.2)."""
    a = writing()
    acknowledged(a)
    hears(a, "c", ticks=ELECTION_MIN)

    effects = stalls(a)
    proposed = a.propose(b"y", ticket=9)

    assert effects == Effects()
    assert proposed.answer == (Proposed(ticket=9, first=Index(5), term=Term(2)),)


def test_learner_with_the_entries_changes_nothing() -> None:
    """It can't lead, so there is nobody to hand over to."""
    a = writing(configuration=group("abc", learners="d"))
    accepted_by(a, "b")
    accepted_by(a, "d")

    assert stalls(a) == Effects()


def test_stalled_leader_of_one_leads_on() -> None:
    """There is nobody else."""
    a = leader("1", configuration=group("a"))
    a.propose(b"x")

    stalls(a)
    a.tick(4 * ELECTION_MAX)

    assert a.raft.role == "leader"


def test_transfer_that_was_asked_for_goes_first() -> None:
    """Whoever asked is answered; what follows is another transfer, for the disk."""
    a = writing()
    a.step(TransferLeadership(ticket=7, target="c"))
    acknowledged(a)
    stalls(a)
    hears(a, "b", "c", ticks=ELECTION_MAX - 1)
    effects = a.tick()

    ended = NotHandedOver(ticket=7, reason=HandOverRefusal.ABANDONED, leader="a")
    assert effects.answer == (ended,)
    assert NOW in messages_to("b", effects)


def test_transfer_for_the_disk_is_one() -> None:
    """Asked meanwhile to make room, it says that it is about to."""
    a = writing()
    acknowledged(a)
    stalls(a)

    effects = a.step(StepDown(ticket=7))

    under_way = NotHandedOver(ticket=7, reason=HandOverRefusal.UNDER_WAY, leader="a")
    assert effects.answer == (under_way,)


def test_read_at_a_stalled_leader_is_confirmed() -> None:
    """It leads for as long as a majority says so, whatever its disk does (§6.4)."""
    a = writing()
    stalls(a)
    a.step(Read(ticket=3))
    effects = a.receive("b", beat(a))

    assert ReadConfirmed(ticket=3, index=Index(3)) in effects.answer


# ── who does not lead ────────────────────────────────────────────────────────────────────────────────


def stalled_follower() -> Server:
    """It follows b, and an entry of b is on its way to the disk."""
    a = follower("1 1", of="b")
    a.receive("b", append(1, (2, 1), "1"), heartbeat(1, round=2))
    stalls(a)
    return a


def test_stalled_follower_does_not_campaign() -> None:
    """Its own vote could not be durable before long; it loses its leader like anybody."""
    a = stalled_follower()

    effects = a.tick(4 * ELECTION_MAX)

    assert effects.send_now == ()
    assert a.raft.state.role == Follower()


def test_stalled_follower_does_not_campaign_when_told() -> None:
    """Whoever hands over looks for another."""
    a = stalled_follower()

    a.receive("b", TimeoutNow(term=Term(1)))

    assert a.raft.role == "follower"


def test_stalled_pre_candidate_asks_no_more() -> None:
    """Promises that arrive later begin no campaign."""
    a = pre_candidate("1 1")
    a.receive("c", VoteRequest(term=Term(2), last_index=Index(1), last_term=Term(1)))
    a.time_out()
    assert isinstance(a.raft.state.role, PreCandidate)

    stalls(a)
    a.receive("b", PreVoteReply(term=Term(3), granted=True))

    assert a.raft.role == "follower"
    assert a.raft.term == 2


def test_stalled_candidate_waits_for_its_own_vote() -> None:
    """Its requests wait behind it. On disks that are all as slow, further terms would never let one win."""
    a = writing_vote()
    stalls(a)

    a.tick(4 * ELECTION_MAX)
    a.take_sent()
    a.persist_all()
    a.receive("b", VoteReply(term=Term(2), granted=True))

    assert a.raft.term == 2
    assert a.raft.role == "leader"


def test_stalled_server_promises_no_vote() -> None:
    """It would come too late, and who counts on it would campaign in one term after the other."""
    a = stalled_follower()
    a.tick(4 * ELECTION_MAX)

    effects = a.receive("c", PreVoteRequest(term=Term(2), last_index=Index(3), last_term=Term(1)))

    assert messages_to("c", effects) == [PreVoteReply(term=Term(1), granted=False)]


def test_stalled_server_votes_when_its_disk_is_back() -> None:
    """A vote that was asked for is given, and told when it is durable."""
    a = stalled_follower()
    a.tick(4 * ELECTION_MAX)
    a.receive("c", VoteRequest(term=Term(2), last_index=Index(3), last_term=Term(1)))
    before = a.take_sent()

    a.persist_all()

    assert not any(isinstance(it.message, VoteReply) for it in before)
    granted = VoteReply(term=Term(2), granted=True)
    assert Send(targets=("c",), message=granted) in a.take_sent()


def test_server_whose_disk_is_back_campaigns_again() -> None:
    """With the write done it is like any other."""
    a = stalled_follower()
    a.persist_all()

    a.tick(ELECTION_MAX)

    assert a.raft.role == "pre-candidate"


def test_stalled_follower_answers_heartbeats() -> None:
    """They claim what is durable, and no more: the leader counts on it for its rounds."""
    a = stalled_follower()
    a.take_sent()

    effects = a.receive("b", heartbeat(1, round=5))

    (reply,) = messages_to("b", effects)
    assert reply.round == 5  # type: ignore[union-attr]
    assert reply.index == 2  # type: ignore[union-attr]


# ── a group ──────────────────────────────────────────────────────────────────────────────────────────


def stalled_group(*others: NodeId) -> Cluster:
    """a leads, with an entry that its disk never finishes, and time passes; who is not named is dead."""
    them = cluster(*(server("1 1", name) for name in "abc"))
    them.elect("a", "bc")
    them.pass_time(2 * RETRY)
    them["a"].propose(b"x")
    for _ in range(4 * ELECTION_MAX):
        for name in ("a", *others):
            them[name].tick()
        if them["a"].raft.role == "leader":
            stalls(them["a"])
        them.settle(("a", *others), stuck="a")
    return them


def test_group_goes_on_without_the_disk_of_its_leader() -> None:
    """Whoever takes over commits what that disk has not; when it is back, its server follows."""
    them = stalled_group("b", "c")
    new = them["b"].raft.leader
    committed = them["b"].raft.commit_index
    them.pass_time(2 * ELECTION_MAX)

    assert new in ("b", "c")
    assert committed == 5
    assert {it.raft.leader for it in them.servers.values()} == {new}
    assert {it.raft.commit_index for it in them.servers.values()} == {5}


def test_stalled_leader_without_which_nobody_can_win_leads_on() -> None:
    """With c dead b would need its vote. So it is read from meanwhile, and decides when its disk is back."""
    them = stalled_group("b")
    leader, committed = them["b"].raft.leader, them["b"].raft.commit_index
    them.pass_time(2 * ELECTION_MAX, among="ab")

    assert leader == them["a"].raft.leader == "a"
    assert them["b"].raft.term == 2
    assert committed == 3
    assert {them[it].raft.commit_index for it in "ab"} == {4}
