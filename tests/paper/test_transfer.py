"""§3.10: a leader hands over, or makes room; and how that fails without harm (catalogue G)."""

from __future__ import annotations

from typing import Any

import pytest

from raftkit.core.state import Follower
from raftkit.leadership import (
    HandOverRefusal,
    NotHandedOver,
    StepDown,
    SteppedDown,
    TransferLeadership,
)
from raftkit.messages import (
    AppendAccepted,
    AppendEntries,
    Effects,
    LeaderLost,
    PeerMisbehaved,
    PriorityHeard,
    Propose,
    Proposed,
    Read,
    ReadConfirmed,
    Refusal,
    Refused,
    RoleChanged,
    Send,
    TimeoutNow,
    Unfit,
    VoteReply,
    VoteRequest,
    Write,
)
from raftkit.model import Index, NodeId, Term
from tests.paper.cluster import Cluster, cluster
from tests.paper.server import (
    ELECTION_MAX,
    ELECTION_MIN,
    HEARTBEAT,
    RETRY,
    Server,
    accepted_by,
    append,
    beat,
    candidate,
    follower,
    group,
    heartbeat,
    leader,
    messages_to,
    pre_candidate,
    server,
    who,
)

TO_B = TransferLeadership(ticket=7, target="b")
TO_ANYBODY = TransferLeadership(ticket=7)
NOW = TimeoutNow(term=Term(2))


def told(*targets: NodeId) -> tuple[Send, ...]:
    return (Send(targets=targets, message=NOW),) if targets else ()


def refused(reason: HandOverRefusal, leader: NodeId | None = "a") -> NotHandedOver:
    return NotHandedOver(ticket=7, reason=reason, leader=leader)


def behind(**more: Any) -> Server:
    """A leader with an entry that its followers have not acknowledged."""
    a = leader("1 1", **more)
    a.propose(b"x")
    a.persist()
    a.take_sent()
    return a


def trio_of(names: str = "abc") -> Cluster:
    """A group that `a` leads, and all of it is everywhere."""
    it = cluster(*(server("1 1", name) for name in names))
    it.elect("a", names[1:])
    it.pass_time(2 * RETRY)
    return it


# ── the leader ───────────────────────────────────────────────────────────────────────────────────────


def test_target_with_the_whole_log_is_told_at_once() -> None:
    """It can win, so there is nothing to wait for."""
    a = leader("1 1")

    effects = a.step(TO_B)

    assert effects == Effects(send_now=told("b"))


@pytest.mark.accept("C-31")
def test_target_is_told_when_it_holds_the_whole_log() -> None:
    """§3.10: earlier it would lose, and a term be spent for nothing (G1)."""
    a = behind()
    early = a.step(TO_B)

    effects = accepted_by(a, "b")

    assert messages_to("b", early) == []
    assert NOW in messages_to("b", effects)


def test_nobody_else_is_told() -> None:
    """Others that are as far get no such message: one target, one election."""
    a = behind()
    a.step(TO_B)

    effects = accepted_by(a, "c")

    assert NOW not in messages_to("c", effects)


def test_what_the_target_lacks_is_sent_before_it_is_told() -> None:
    """The leader goes on feeding it (§3.10)."""
    a = leader("1 1", inflight_messages_max=1)
    a.propose(b"x")
    a.propose(b"y", ticket=2)
    a.persist()
    a.step(TO_B)
    a.take_sent()

    effects = a.receive("b", AppendAccepted(term=Term(2), index=Index(4)))

    (message,) = messages_to("b", effects)
    assert isinstance(message, AppendEntries)
    assert message.last_index == 5


def test_no_proposal_is_taken_meanwhile() -> None:
    """§3.10: or the log would grow as fast as the target catches up (G1)."""
    a = behind()
    a.step(TO_B)

    effects = a.propose(b"y", ticket=9)

    no = Refused(ticket=9, reason=Refusal.TRANSFERRING, leader="a")
    assert effects == Effects(answer=(no,))
    assert a.raft.last_index == 4


def test_reads_are_confirmed_meanwhile() -> None:
    """Nothing about them has changed: who leads asks a majority first (§6.4)."""
    a = leader("1 1")
    a.step(TO_B, Read(ticket=3))

    effects = a.receive("c", beat(a))

    assert effects.answer == (ReadConfirmed(ticket=3, index=Index(3)),)


def test_any_voter_that_holds_the_whole_log_first_is_told() -> None:
    """Whoever it is: the leader has no wishes of its own."""
    a = behind()
    a.step(TO_ANYBODY)

    effects = accepted_by(a, "c")

    assert effects.send_now[-1:] == told("c")


def test_of_several_the_one_heard_last_is_told() -> None:
    """The others may have gone since."""
    a = leader("1 1")
    a.tick(2)
    a.receive("c", beat(a))

    effects = a.step(TO_ANYBODY)

    assert effects == Effects(send_now=told("c"))


def prefer(a: Server, **priorities: int) -> None:
    """The others have said with which priority they campaign."""
    for name, priority in priorities.items():
        a.step(PriorityHeard(peer=name, priority=priority))


def test_of_several_the_one_of_the_highest_priority_is_told() -> None:
    """Whoever runs the group would rather have others lead; who said nothing has the highest."""
    a = leader("1 1", configuration=group("abcd"))
    prefer(a, b=-2, c=-1, d=-1)
    a.tick(2)
    a.receive("d", beat(a))
    a.receive("b", beat(a))

    effects = a.step(TO_ANYBODY)

    assert effects == Effects(send_now=told("d"))


def test_priority_that_is_taken_back_counts_no_more() -> None:
    """Its node was started again with another setting."""
    a = leader("1 1")
    prefer(a, b=-1)
    prefer(a, b=0)

    assert a.step(TO_ANYBODY) == Effects(send_now=told("b"))


def test_who_holds_the_whole_log_comes_before_who_has_priority() -> None:
    """The other would lose, so nothing waits for it."""
    a = behind()
    prefer(a, b=-9)
    a.step(TO_ANYBODY)

    effects = accepted_by(a, "b")

    assert NOW in messages_to("b", effects)


def test_low_priority_leads_where_the_others_take_nothing_over() -> None:
    """It is a wish, no rule."""
    a = leader("1 1")
    prefer(a, b=-1)
    a.step(TO_ANYBODY)
    later = [name for _, name in who_is_told(a, ELECTION_MAX - 1)]

    assert set(later) == set("bc")
    assert later[0] == "c"


def test_priority_of_who_is_no_member_is_not_kept() -> None:
    """Names come and go; a later one of that name may wish something else."""
    a = leader("1 1")
    prefer(a, b=-1, x=-2)

    assert a.raft.state.priorities == {"b": -1}


def who_is_told(a: Server, ticks: int) -> list[tuple[int, NodeId]]:
    """Time passes in which all answer heartbeats and nobody campaigns; who is told, and how many ticks on."""
    found: list[tuple[int, NodeId]] = []
    for tick in range(1, ticks + 1):
        effects = a.tick()
        found += [(tick, name) for name in "bcd" if NOW in messages_to(name, effects)]
        for name in a.leadership.progress:
            a.receive(name, beat(a, index=a.raft.last_index))
    return found


def test_whoever_takes_nothing_over_is_followed_by_the_next() -> None:
    """Who can't apply what is in force, or whose disk stands still, does not campaign, nor say so."""
    a = leader("1 1", configuration=group("abcd"))
    effects = a.step(TO_ANYBODY)
    first = next(name for name in "bcd" if NOW in messages_to(name, effects))
    later = [name for _, name in who_is_told(a, ELECTION_MAX - 1)]

    assert set(later) == set("bcd")
    assert later[0] == first


def test_next_is_told_when_the_first_has_had_its_time() -> None:
    """Half of the lower bound, and told again meanwhile: two candidates would take each other's votes."""
    a = leader("1 1")
    a.step(TO_ANYBODY)
    (_, first), (at, second), *_ = who_is_told(a, ELECTION_MAX - 1)

    assert first != second
    assert at >= ELECTION_MIN // 2


def test_who_was_named_is_told_and_nobody_else() -> None:
    """Whoever asked for it hears that it came to nothing."""
    a = leader("1 1")
    a.step(TO_B)

    assert {name for _, name in who_is_told(a, ELECTION_MAX - 1)} == {"b"}


def test_silent_server_is_not_chosen() -> None:
    """It holds the whole log, and may be dead: another will soon be as far, and is heard."""
    a = behind()
    accepted_by(a, "b")
    a.tick(ELECTION_MIN)
    a.receive("c", beat(a))

    early = a.step(TO_ANYBODY)
    effects = accepted_by(a, "c")

    assert early == Effects()
    assert effects.send_now == told("c")


def test_learner_is_never_chosen() -> None:
    """It may hold the whole log, and can't lead."""
    a = behind(configuration=group("abc", learners="d"))
    a.step(TO_ANYBODY)

    effects = accepted_by(a, "d")

    assert NOW not in messages_to("d", effects)


def test_leader_that_is_deposed_tells_who_asked() -> None:
    """Who asked hears that this server leads no more; who leads is decided by the votes."""
    a = leader("1 1")
    a.step(TO_B)

    vote = VoteRequest(term=Term(3), last_index=Index(3), last_term=Term(2), transfer=True)
    effects = a.receive("b", vote)

    assert effects.answer == (SteppedDown(ticket=7, term=Term(3)),)
    assert (a.raft.role, a.voted_for) == ("follower", "b")


def test_transfer_that_nobody_follows_is_abandoned_after_an_election_timeout() -> None:
    """§3.10: then the leader, which leads still, takes proposals again (G3)."""
    a = behind()
    a.step(TO_B)
    for _ in range(ELECTION_MAX // HEARTBEAT - 1):
        a.tick(HEARTBEAT)
        a.receive("b", beat(a))
        a.receive("c", beat(a))
    before = a.propose(b"y", ticket=8).answer

    a.tick(HEARTBEAT - 1)
    effects = a.tick()
    after = a.propose(b"z", ticket=9).answer

    assert before == (Refused(ticket=8, reason=Refusal.TRANSFERRING, leader="a"),)
    assert effects.answer == (refused(HandOverRefusal.ABANDONED),)
    assert after == (Proposed(ticket=9, first=Index(5), term=Term(2)),)


def test_target_that_falls_silent_ends_the_transfer_early() -> None:
    """Writers need not wait for who has gone (G3)."""
    a = behind()
    a.step(TO_B)
    a.tick(ELECTION_MIN - 1)
    a.receive("c", beat(a))

    effects = a.tick()

    assert effects.answer == (refused(HandOverRefusal.SILENT),)
    assert a.leadership.transfer is None


def test_lost_timeout_now_is_said_again() -> None:
    """Silence of the network must not cost an election timeout (G3)."""
    a = leader("1 1")
    a.step(TO_B)
    a.tick(RETRY - 1)
    early = a.take_sent()

    effects = a.tick()

    assert NOW not in [send.message for send in early[1:]]
    assert NOW in messages_to("b", effects)


def test_leader_remembers_that_somebody_may_take_over_suddenly() -> None:
    """§6.4.1: voters that vote at once don't wait for a lease to end, for the rest of the term."""
    a = leader("1 1")
    before = a.leadership.timeout_now_sent

    a.step(TO_B)
    a.tick(ELECTION_MAX)

    assert (before, a.leadership.timeout_now_sent) == (False, True)
    assert a.leadership.transfer is None


# ── who may be asked, and for whom (G2, G6) ──────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "target, reason",
    [
        ("a", HandOverRefusal.ITSELF),
        ("d", HandOverRefusal.LEARNER),
        ("z", HandOverRefusal.UNKNOWN),
    ],
)
def test_who_can_not_lead_is_no_target(target: NodeId, reason: HandOverRefusal) -> None:
    """It is refused here, before anything is said to anybody, and the leader goes on."""
    a = leader("1 1", configuration=group("abc", learners="d"))

    effects = a.step(TransferLeadership(ticket=7, target=target))

    assert effects == Effects(answer=(refused(reason),))
    assert a.propose(b"x").answer == (Proposed(ticket=1, first=Index(4), term=Term(2)),)


def test_silent_server_is_no_target() -> None:
    """Not heard for an election timeout, it is taken for dead."""
    a = leader("1 1")
    a.tick(ELECTION_MIN - 1)
    a.receive("c", beat(a))
    a.tick()

    effects = a.step(TO_B)

    assert effects.answer == (refused(HandOverRefusal.SILENT),)


def test_nobody_to_hand_over_to() -> None:
    """None of the other voters is in contact; a learner is, and does not matter."""
    a = leader("1 1", configuration=group("ab", learners="d"))
    a.tick(ELECTION_MIN)
    a.receive("d", beat(a))

    effects = a.step(TO_ANYBODY)

    assert effects.answer == (refused(HandOverRefusal.NOBODY),)


@pytest.mark.parametrize("asked", [TO_ANYBODY, StepDown(ticket=7)], ids=["transfer", "step down"])
def test_single_server_has_nobody_to_hand_over_to(asked: TransferLeadership | StepDown) -> None:
    """It goes on leading."""
    a = leader("1", configuration=group("a"))

    effects = a.step(asked)

    assert effects == Effects(answer=(refused(HandOverRefusal.NOBODY),))
    assert a.raft.role == "leader"


@pytest.mark.parametrize(
    "asked", [TO_B, StepDown(ticket=7), StepDown(ticket=7, hand_over=False)], ids=str
)
def test_server_that_does_not_lead_hands_nothing_over(asked: TransferLeadership | StepDown) -> None:
    """It says who leads."""
    a = follower("1 1", of="c")

    effects = a.step(asked)

    assert effects == Effects(answer=(refused(HandOverRefusal.NOT_LEADER, leader="c"),))


@pytest.mark.parametrize("target", ["b", "c", None])
def test_second_transfer_waits_for_the_end_of_the_first(target: NodeId | None) -> None:
    """To the same or to another server: the first goes on as if nothing had been asked (G6)."""
    a = behind()
    a.step(TO_B)

    second = a.step(TransferLeadership(ticket=8, target=target))
    effects = accepted_by(a, "b")

    under_way = NotHandedOver(ticket=8, reason=HandOverRefusal.UNDER_WAY, leader="a")
    assert second == Effects(answer=(under_way,))
    assert NOW in messages_to("b", effects)


# ── the target ───────────────────────────────────────────────────────────────────────────────────────


def test_target_campaigns_at_once_and_says_why() -> None:
    """§3.10: it asks nobody beforehand, and voters learn that its leader wants it (G4)."""
    a = follower("1 1", of="b", term=2)

    effects = a.receive("b", NOW)
    then = a.persist()

    vote = VoteRequest(term=Term(3), last_index=Index(2), last_term=Term(1), transfer=True)
    assert effects == Effects(
        persist=Write(sequence=1, hard_state=(Term(3), who("a"))),
        send_after_persist=(Send(targets=("b", "c"), message=vote),),
        events=(
            LeaderLost(leader="b", term=Term(3)),
            RoleChanged(before="follower", role="candidate", term=Term(3)),
        ),
    )
    assert then == Effects()


def test_what_the_leader_sends_with_it_does_not_hinder_the_target() -> None:
    """Entries and heartbeats of the old leader come in the same batch, before or behind (G4)."""
    a = follower("1 1", of="b", term=2)

    a.receive("b", append(2, (2, 1), "2"), NOW, heartbeat(2, round=9))

    assert (a.raft.role, a.raft.term, a.terms) == ("candidate", 3, "1 1 2")


def test_late_timeout_now_is_ignored() -> None:
    """One of an earlier term, repeated or long on its way (G5)."""
    a = follower("1 1", of="b", term=3)

    effects = a.receive("b", NOW)

    assert effects == Effects()
    assert (a.raft.role, a.raft.term) == ("follower", 3)


def test_repeated_timeout_now_makes_no_second_campaign() -> None:
    """The first has ended the term that it speaks of (G5)."""
    a = follower("1 1", of="b", term=2)
    a.receive("b", NOW, NOW)
    a.persist_all()

    effects = a.receive("b", NOW)

    assert effects == Effects()
    assert (a.raft.role, a.raft.term) == ("candidate", 3)


def test_timeout_now_of_another_than_the_leader_is_dropped() -> None:
    """Only a term's leader can have sent it (G5)."""
    a = follower("1 1", of="b", term=2)

    effects = a.receive("c", NOW)

    claims = PeerMisbehaved(peer=who("c"), what="claims term 2, led by b")
    assert effects == Effects(events=(claims,))
    assert a.raft.role == "follower"


@pytest.mark.parametrize("make", [server, pre_candidate, candidate])
def test_server_that_had_not_heard_of_its_leader_obeys_too(make: Any) -> None:
    """Whoever sends it has won this term."""
    a = make("1 1", term=1)
    a.receive("b", TimeoutNow(term=Term(max(2, a.raft.term))))

    assert (a.raft.role, a.raft.term) == ("candidate", 3)


def test_target_that_may_not_campaign_stays_a_follower() -> None:
    """It alone knows: a learner that was promoted without its knowledge, or one that is unfit (G2)."""
    learner = follower("1 1", of="b", term=2, configuration=group("bc", learners="a"))
    unfit = follower("1 1", of="b", term=2)
    unfit.step(Unfit(reason="older code"))

    for a in (learner, unfit):
        a.receive("b", NOW)
        a.tick()

        assert a.raft.term == 2
        assert isinstance(a.raft.state.role, Follower)
        assert not a.raft.state.role.told_to_campaign


def test_voter_that_has_just_heard_the_leader_listens_to_its_successor() -> None:
    """§3.10: stickiness (§4.2.3) is for those who come unasked; this one the leader sent."""
    vote = VoteRequest(term=Term(3), last_index=Index(2), last_term=Term(1), transfer=True)
    a, other = (follower("1 1", of="b", term=2) for _ in range(2))

    asked = a.receive("c", vote)
    unasked = other.receive("c", VoteRequest(term=Term(3), last_index=Index(2), last_term=Term(1)))

    assert messages_to("c", asked) == [VoteReply(term=Term(3), granted=True)]
    assert unasked == Effects()


# ── all together ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.accept("C-31")
def test_target_leads_in_the_next_term_and_nothing_is_lost() -> None:
    """Without a tick passing: what was proposed before is there, what comes after goes to the new leader."""
    s = trio_of()
    s.step("a", Propose(ticket=1, payloads=(b"x",)))

    s.step("a", TransferLeadership(ticket=7, target="c"))
    s.settle()

    assert (s["c"].raft.role, s["c"].raft.term) == ("leader", 3)
    assert [s[it].terms for it in "abc"] == ["1 1 2 2 3"] * 3


def test_lost_transfer_costs_nothing_but_time() -> None:
    """All that says so is lost: the leader leads the same term, and goes on (G3)."""
    s = trio_of()
    s.step("a", TransferLeadership(ticket=7, target="c"))
    s.lose()

    for _ in range(ELECTION_MAX + RETRY):
        for name in "abc":
            s.step(name, s[name].passes(1))
        s.settle(only=lambda it: not isinstance(it.message, TimeoutNow))

    assert (s["a"].raft.role, s["a"].raft.term) == ("leader", 2)
    assert s.step("a", Propose(ticket=9, payloads=(b"y",))).answer == (
        Proposed(ticket=9, first=Index(4), term=Term(2)),
    )


def test_late_timeout_now_of_an_abandoned_transfer_loses_nothing() -> None:
    """The leader has gone on; a target that lacks its newest entries is refused, and others win (G5)."""
    s = trio_of()
    s.step("a", TransferLeadership(ticket=7, target="c"))
    (late,) = s.wire
    s.wire.clear()
    s["a"].leadership.transfer = None  # abandoned, as above
    s.step("a", Propose(ticket=9, payloads=(b"y",)))
    s.settle("ab")
    committed = s["a"].raft.commit_index

    s.deliver(late)
    s.settle()
    s.pass_time(3 * ELECTION_MAX)

    assert committed == 4
    leaders = [it for it in "abc" if s[it].raft.role == "leader"]
    assert len(leaders) == 1
    assert leaders != ["c"]
    assert {s[it].terms for it in "abc"} == {s[leaders[0]].terms}
    assert s[leaders[0]].terms.startswith("1 1 2 2")


# ── stepping down ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.accept("O-38")
def test_leader_that_steps_down_hands_over_first() -> None:
    """§3.10: another leads sooner than after a silence."""
    s = trio_of()

    effects = s.step("a", StepDown(ticket=7))
    s.settle()

    assert effects.send_now == told("b")
    assert [s[it].raft.leader for it in "abc"] == ["b"] * 3


def test_leader_that_steps_down_insists() -> None:
    """If nobody takes over within an election timeout, it leads no more all the same."""
    a = behind()
    a.step(StepDown(ticket=7))
    a.tick(ELECTION_MAX - 1)
    a.receive("b", beat(a))
    still = a.raft.role

    effects = a.tick()

    assert still == "leader"
    assert effects.answer == (SteppedDown(ticket=7, term=Term(2)),)
    assert a.raft.role == "follower"


@pytest.mark.accept("O-38")
def test_leader_that_steps_down_at_once_only_stops() -> None:
    """No heartbeats any more: the others find out by their silence, and elect."""
    a = leader("1 1")

    effects = a.step(StepDown(ticket=7, hand_over=False))
    silence = a.tick(2 * HEARTBEAT)

    assert effects == Effects(
        answer=(SteppedDown(ticket=7, term=Term(2)),),
        events=(
            LeaderLost(leader="a", term=Term(2)),
            RoleChanged(before="leader", role="follower", term=Term(2)),
        ),
    )
    assert silence == Effects()


def test_leader_that_stepped_down_lets_the_others_campaign_first() -> None:
    """Who was asked to make room would otherwise be back as often as anybody."""
    a = leader("1 1")
    a.step(StepDown(ticket=7, hand_over=False))

    wait = a.raft.state.election_deadline - a.raft.state.now

    assert ELECTION_MIN + ELECTION_MAX <= wait <= 2 * ELECTION_MAX


def test_stepping_down_at_once_ends_a_transfer() -> None:
    """Both who asked hear that it leads no more."""
    a = behind()
    a.step(TO_B)

    effects = a.step(StepDown(ticket=8, hand_over=False))

    assert effects.answer == (
        SteppedDown(ticket=8, term=Term(2)),
        SteppedDown(ticket=7, term=Term(2)),
    )


def test_leader_that_no_majority_answers_leads_no_more_transfer_or_not() -> None:
    """§6.2 is stronger than a wish to hand over: it need not be heard of by the target alone."""
    a = behind(configuration=group("abcde"))
    a.step(TO_B)
    for _ in range(2):
        a.receive("b", beat(a))
        a.tick(ELECTION_MIN - 8)
    a.receive("b", beat(a))

    effects = a.tick(ELECTION_MIN - 8)

    assert effects.answer == (SteppedDown(ticket=7, term=Term(2)),)
    assert a.raft.role == "follower"
