"""§6.4.1: reads that ask nobody while nobody else can lead, and what every voter promises for that."""

from __future__ import annotations

from collections.abc import Callable

import attrs
import pytest

from raftkit.membership import Configuration, Settings
from raftkit.messages import (
    AppendAccepted,
    Applied,
    Effects,
    PeerUnreachable,
    PreVoteReply,
    PreVoteRequest,
    Read,
    ReadConfirmed,
    ReadRequest,
    Receive,
    Refusal,
    Refused,
    Send,
    SnapshotTaken,
    Tick,
    VoteReply,
    VoteRequest,
)
from raftkit.model import Index, Kind, Term
from tests.paper.cluster import Cluster, cluster
from tests.paper.server import (
    ELECTION_MAX,
    ELECTION_MIN,
    HEARTBEAT,
    TICK_NS,
    Server,
    accepted_by,
    append,
    beat,
    entry,
    follower,
    group,
    heartbeat,
    leader,
    messages_to,
    server,
    snapshot_of,
    who,
)

LEASES = Settings(leases=True)
ABC = group("abc", settings=LEASES)
MS = 1_000_000
LEASE = 225 * MS
"Nine tenths of the lower election bound."

LEASE_READ = Read(ticket=7, lease=True)


def by_lease(a: Server, *, sent: int, index: int = 3) -> ReadConfirmed:
    """The read was confirmed by the lease of a round that `a` sent at this tick."""
    return ReadConfirmed(ticket=7, index=Index(index), expires_ns=sent * TICK_NS + LEASE)


def asks_a_majority(a: Server, effects: Effects) -> bool:
    """Whether nothing was answered, and the read waits for a round, or for the next one."""
    pending = [*a.leadership.reads, *a.leadership.reads_waiting]
    return not effects.answer and 7 in [ticket for _, ticket in pending]


def configured(a: Server, configuration: Configuration) -> Effects:
    """The leader `a` appends this configuration of the same members."""
    index, payload = a.raft.last_index + 1, configuration.encode()
    a.raft.state.append(entry(index, a.raft.term, kind=Kind.CONFIGURATION, payload=payload))
    return a.step()


def changed(a: Server, settings: Settings, *, voters: str = "abc") -> None:
    """The leader `a` has this configuration in its log, and on its disk."""
    configured(a, group(voters, settings=settings))
    a.persist_all()


def answered(a: Server, *others: str) -> int:
    """`a` sends a round, which these answer a tick later; the tick in which it was sent."""
    a.tick(HEARTBEAT)
    sent = a.raft.state.now
    for other in others:
        a.receive(other, beat(a))
    a.tick()
    return sent


# ── when a leader has one ────────────────────────────────────────────────────────────────────────────


def test_lease_read_asks_nobody() -> None:
    """§6.4.1: a majority has answered lately, so it need not be asked again."""
    a = leader("1 1", configuration=ABC)
    sent = answered(a, "b")

    effects = a.step(LEASE_READ)

    assert effects == Effects(answer=(by_lease(a, sent=sent),))


def test_lease_begins_when_the_round_was_sent() -> None:
    """§6.4.1: the answers may have been long on their way, and the promises given long before (D4)."""
    a = leader("1 1", configuration=ABC)
    a.tick(HEARTBEAT)
    sent, answer = a.raft.state.now, beat(a)
    a.tick(HEARTBEAT - 1)

    effects = a.step(Receive(sender=who("b"), message=answer), LEASE_READ)

    assert effects.answer == (by_lease(a, sent=sent),)


def test_lease_lasts_nine_tenths_of_the_lower_bound() -> None:
    """§6.4.1: a voter's clock may run faster than the leader's (D4, D6)."""
    a = leader("1 1", configuration=ABC)
    sent = answered(a, "b")
    end = sent * TICK_NS + LEASE

    before = a.step(Tick(count=0, wall_ns=0, monotonic_ns=end - 1), LEASE_READ)
    after = a.step(Tick(count=0, wall_ns=0, monotonic_ns=end), LEASE_READ)

    assert before.answer == (by_lease(a, sent=sent),)
    assert asks_a_majority(a, after)


def test_read_without_a_lease_is_like_any_other() -> None:
    """§6.4.1: it waits for a majority, and its answer does not expire."""
    a = leader("1 1", configuration=ABC)
    a.tick(ELECTION_MIN)
    a.receive("b", beat(a, round=1))
    asked = a.step(LEASE_READ)
    a.receive("b", beat(a, index=3))

    effects = a.receive("b", beat(a, index=3))

    assert asked.answer == ()
    assert effects.answer == (ReadConfirmed(ticket=7, index=Index(3)),)


def test_lease_read_sees_all_that_is_committed() -> None:
    """§6.4.1: what was answered to anybody before the read is seen by it (LIN)."""
    a = leader("1 1", configuration=ABC)
    sent = answered(a, "b")
    a.propose(b"x")
    a.persist()
    accepted_by(a, "b")

    effects = a.step(LEASE_READ)

    assert effects.answer == (by_lease(a, sent=sent, index=4),)


def test_no_lease_before_the_first_commit_of_the_term() -> None:
    """§6.4.1: nobody else can commit, but somebody else may have (D1)."""
    a = server("1 1", configuration=ABC)
    a.receive("b", append(1, (2, 1), commit=2))
    a.win()
    a.receive("b", AppendAccepted(term=a.raft.term, index=Index(2)))
    answered(a, "b", "c")

    effects = a.step(LEASE_READ)

    assert effects.answer == ()


def test_no_lease_where_the_group_has_none() -> None:
    """§6.4.1: the voters have promised nothing."""
    a = leader("1 1")
    answered(a, "b", "c")

    assert asks_a_majority(a, a.step(LEASE_READ))


def test_no_lease_by_answers_of_learners() -> None:
    """§6.4.1: they elect nobody, so their promises are worth nothing (D10)."""
    a = leader("1 1", configuration=group("abc", learners="xyz", settings=LEASES))
    a.tick(ELECTION_MIN)
    answered(a, "x", "y", "z")

    assert asks_a_majority(a, a.step(LEASE_READ))


def test_no_lease_by_answers_of_few() -> None:
    """§6.4.1: three of five others could elect somebody."""
    a = leader("1 1", configuration=group("abcde", settings=LEASES))
    a.tick(ELECTION_MIN)
    answered(a, "b")
    few = a.step(LEASE_READ)

    sent = answered(a, "b", "c")

    assert few.answer == ()
    assert by_lease(a, sent=sent) in a.step(LEASE_READ).answer


def test_no_lease_by_entries_that_were_accepted() -> None:
    """§6.4.1: an acknowledgement does not say when its message was sent."""
    a = leader("1 1", configuration=ABC)
    a.tick(ELECTION_MIN)

    accepted_by(a, "b")
    accepted_by(a, "c")

    assert asks_a_majority(a, a.step(LEASE_READ))


def test_no_lease_once_somebody_was_told_to_campaign() -> None:
    """§6.4.1: whom a leader sends ahead of time does not wait, and the voters may help it (D5)."""
    a = leader("1 1", configuration=ABC)
    a.leadership.timeout_now_sent = True
    answered(a, "b", "c")

    assert asks_a_majority(a, a.step(LEASE_READ))


def test_no_lease_by_an_answer_to_a_forgotten_round() -> None:
    """Ours: a leader remembers some rounds; when it sent the others it can't say."""
    a = leader("1 1", configuration=ABC)
    a.tick(HEARTBEAT)
    old = beat(a)
    for _ in range(64):
        a.tick(HEARTBEAT)
        a.receive("c", old)  # or it would step down
    a.leadership.progress["b"].round = a.leadership.progress["c"].round = 0

    a.receive("b", old)

    assert asks_a_majority(a, a.step(LEASE_READ))
    assert a.raft.confirmed_ns(a.raft.last_index) is None


def test_lease_knows_no_wall_clock() -> None:
    """§6.4.1: somebody sets the time by an hour, before the round or after (D6)."""
    a = leader("1 1", configuration=ABC)
    hour = 3600 * 1000 * MS
    a.step(attrs.evolve(a.passes(HEARTBEAT), wall_ns=hour))
    sent, now = a.raft.state.now, a.raft.state.monotonic_ns
    a.receive("b", beat(a))

    for wall in (hour, 2 * hour, 0):
        effects = a.step(Tick(count=0, wall_ns=wall, monotonic_ns=now), LEASE_READ)
        assert effects.answer == (by_lease(a, sent=sent),)


def test_leader_that_slept_has_no_lease() -> None:
    """§6.4.1: answers that waited in its inbox are as old as it slept (D4)."""
    a = leader("1 1", configuration=ABC)
    a.tick(HEARTBEAT)
    answer = beat(a)

    effects = a.step(a.passes(ELECTION_MIN), Receive(sender=who("b"), message=answer), LEASE_READ)

    assert asks_a_majority(a, effects)


def test_leader_that_slept_for_long_leads_no_more() -> None:
    """§6.2: it steps down before anything is said about reads (D4)."""
    a = leader("1 1", configuration=ABC)
    a.tick(HEARTBEAT)

    effects = a.step(
        a.passes(ELECTION_MAX + HEARTBEAT),
        Receive(sender=who("b"), message=beat(a)),
        LEASE_READ,
    )

    assert effects.answer == (Refused(ticket=7, reason=Refusal.NOT_LEADER, leader=None),)


def test_lease_ends_with_the_leadership() -> None:
    """§6.4.1: who learns of another leader in the same step serves nothing."""
    a = leader("1 1", configuration=ABC)
    answered(a, "b", "c")

    effects = a.step(LEASE_READ, Receive(sender=who("b"), message=heartbeat(9)))

    assert effects.answer == (Refused(ticket=7, reason=Refusal.LEADER_LOST, leader=None),)


def test_single_server_has_its_lease_from_itself() -> None:
    """§6.4.1: it is its own majority, and asks nobody in either case."""
    a = server("1", configuration=group("a", settings=LEASES))
    a.time_out()
    a.persist_all()

    effects = a.step(LEASE_READ)

    assert effects.send_now == ()
    assert [type(it) for it in effects.answer] == [ReadConfirmed]


# ── at followers ─────────────────────────────────────────────────────────────────────────────────────


def test_follower_asks_as_for_any_read() -> None:
    """Ours: a lease saves the leader's round; who must ask a server anyway asks for a majority's word."""
    b = follower("1 1", of="a", name="b", configuration=ABC)

    effects = b.step(LEASE_READ)

    request = ReadRequest(term=Term(1), ticket=7)
    assert effects == Effects(send_now=(Send(targets=("a",), message=request),))


def test_followers_read_does_not_go_by_the_lease() -> None:
    """Ours: its caller may have asked for a linearizable one, whatever clocks do."""
    a = leader("1 1", configuration=ABC)
    answered(a, "b", "c")

    effects = a.receive("c", ReadRequest(term=Term(2), ticket=7))

    assert asks_a_majority(a, effects)


# ── what it rests on ─────────────────────────────────────────────────────────────────────────────────

OTHER_SETTINGS = [
    pytest.param(Settings(leases=True, election_timeout_ms=(200, 500)), id="shorter bounds"),
    pytest.param(Settings(leases=True, election_timeout_ms=(300, 600)), id="longer bounds"),
]


@pytest.mark.parametrize("settings", OTHER_SETTINGS)
def test_no_lease_until_new_bounds_are_committed(settings: Settings) -> None:
    """Ours: they may be rolled back, and others promise by what was before."""
    a = leader("1 1", configuration=ABC)
    configured(a, group("abc", settings=settings))
    accepted_by(a, "b")
    answered(a, "b", "c")
    open_ = a.step(LEASE_READ)
    a.persist_all()
    low, _ = settings.election_timeout_ms

    sent = answered(a, "b", "c")
    effects = a.step(LEASE_READ)

    assert open_.answer == ()
    (answer,) = effects.answer
    assert isinstance(answer, ReadConfirmed)
    assert answer.expires_ns == sent * TICK_NS + low * MS * 9 // 10


def test_no_lease_by_voters_that_lack_the_settings() -> None:
    """Ours: who may not hold the entry that turned leases on has promised nothing."""
    a = leader("1 1", configuration=group("abcde"))
    changed(a, LEASES, voters="abcde")
    accepted_by(a, "b")
    accepted_by(a, "c")
    a.tick(ELECTION_MIN)
    answered(a, "d", "e")
    lacking = a.step(LEASE_READ)

    accepted_by(a, "d")
    accepted_by(a, "e")
    effects = a.step(LEASE_READ)

    assert a.raft.commit_index == 4
    assert lacking.answer == ()
    assert len(effects.answer) == 1


def test_change_that_leaves_the_settings_leaves_the_lease() -> None:
    """Ours: it rests on the entry that set them, whatever changed since."""
    a = leader("1 1", configuration=group("abcde", settings=LEASES))
    changed(a, attrs.evolve(LEASES, entry_bytes_max=1 << 20), voters="abcde")

    sent = answered(a, "b", "c")

    assert a.raft.commit_index == 3
    assert a.step(LEASE_READ).answer == (by_lease(a, sent=sent),)


def test_leases_that_are_turned_off_end_at_once() -> None:
    """§4.1: a configuration is in force when appended."""
    a = leader("1 1", configuration=ABC)
    answered(a, "b", "c")
    changed(a, Settings())

    assert a.step(LEASE_READ).answer == ()


# ── what a voter promises ────────────────────────────────────────────────────────────────────────────


def pre_vote(term: int) -> PreVoteRequest:
    """Somebody with a good log would campaign in `term`."""
    return PreVoteRequest(term=Term(term), last_index=Index(9), last_term=Term(1))


def vote(term: int, *, transfer: bool = False) -> VoteRequest:
    """Somebody with a good log campaigns in `term`."""
    return VoteRequest(term=Term(term), last_index=Index(9), last_term=Term(9), transfer=transfer)


def grants(b: Server, term: int, *, transfer: bool = False) -> bool:
    """Whether `b` votes for c in `term`."""
    effects = b.receive("c", vote(term, transfer=transfer))
    b.persist_all()
    return VoteReply(term=Term(term), granted=True) in messages_to("c", effects)


def test_voter_keeps_its_promise_for_whole_ticks() -> None:
    """Ours: the tick in which it heard of its leader may have been nearly over."""
    b = follower("1 1", of="a", name="b", configuration=ABC)
    b.tick(ELECTION_MIN)
    early = b.receive("c", pre_vote(2))

    b.tick()
    late = b.receive("c", pre_vote(2))

    assert messages_to("c", early) == [PreVoteReply(term=Term(1), granted=False)]
    assert messages_to("c", late) == [PreVoteReply(term=Term(2), granted=True)]


def test_promise_outlasts_the_term() -> None:
    """Ours: a later term that one comes to otherwise frees nobody to vote in it (D9)."""
    b = follower("1 1", of="a", name="b", configuration=ABC)
    b.receive("c", PreVoteReply(term=Term(5), granted=False))

    early = grants(b, 5)
    b.tick(ELECTION_MIN + 1)

    assert b.raft.term == 5
    assert not early
    assert grants(b, 5)


def test_vote_in_a_term_that_one_came_to_otherwise_needs_no_patience_without_leases() -> None:
    """§3.4: there stickiness only keeps disturbers away."""
    b = follower("1 1", of="a", name="b")
    b.receive("c", PreVoteReply(term=Term(5), granted=False))

    assert grants(b, 5)


def test_promise_does_not_bind_against_whom_the_leader_sent() -> None:
    """§3.10: that leader has given up its lease (D5)."""
    b = follower("1 1", of="a", name="b", configuration=ABC)

    assert grants(b, 2, transfer=True)


def test_restarted_voter_keeps_a_promise_that_it_may_have_given() -> None:
    """Ours: it does not remember, so it keeps still for as long, in every term."""
    b = follower("1 1", of="a", name="b", configuration=ABC)
    b.restart()
    b.receive("c", PreVoteReply(term=Term(5), granted=False))

    early = grants(b, 5)
    b.tick(ELECTION_MIN + 1)

    assert not early
    assert grants(b, 5)


def test_own_vote_is_promised_too() -> None:
    """Ours: a timer that was set by shorter bounds fires too early; it asks as soon as it may (D9)."""
    quick = Settings(leases=True, election_timeout_ms=(50, 60))
    b = follower("1 1", of="a", name="b", configuration=group("abc", settings=quick))
    run = entry(3, 1, kind=Kind.CONFIGURATION, payload=ABC.encode())
    b.receive("a", attrs.evolve(append(1, (2, 1)), runs=(run,)))

    early = b.tick(ELECTION_MIN)
    due = b.raft.ticks_until_next_deadline
    late = b.tick()

    assert early == Effects()
    assert due == 1
    assert [type(it.message) for it in late.send_now] == [PreVoteRequest]


def with_another(b: Server, settings: Settings, *, commit: int) -> None:
    """The leader a brings another configuration as entry 3."""
    run = entry(3, 1, kind=Kind.CONFIGURATION, payload=group("abc", settings=settings).encode())
    b.receive("a", attrs.evolve(append(1, (2, 1), commit=commit), runs=(run,)))
    b.persist_all()


@pytest.mark.parametrize(
    "before, after",
    [
        pytest.param(LEASES, Settings(), id="off again"),
        pytest.param(Settings(), LEASES, id="on now"),
    ],
)
def test_connection_is_no_news_while_leases_may_be_in_force(
    before: Settings, after: Settings
) -> None:
    """Ours: the configuration before one that is not committed may be the one that counts."""
    b = follower("1 1", of="a", name="b", configuration=group("abc", settings=before))
    with_another(b, after, commit=2)

    effects = b.step(PeerUnreachable(peer="a"))

    assert (effects, b.raft.leader) == (Effects(), "a")


def test_connection_is_news_again_once_leases_are_off_for_good() -> None:
    """Ours: nobody counts on what a committed configuration has replaced."""
    b = follower("1 1", of="a", name="b", configuration=ABC)
    with_another(b, Settings(), commit=3)

    b.step(PeerUnreachable(peer="a"))

    assert b.raft.leader is None


@pytest.mark.parametrize("commit, patience", [(2, 30), (3, 20)])
def test_stickiness_is_the_longest_that_may_be_in_force(commit: int, patience: int) -> None:
    """Ours: a lease may rest on the bounds that are committed, or on those that will be."""
    long = Settings(election_timeout_ms=(300, 600))
    short = Settings(election_timeout_ms=(200, 400))
    b = follower("1 1", of="a", name="b", configuration=group("abc", settings=long))
    with_another(b, short, commit=commit)

    b.tick(patience - 1)
    early = b.receive("c", pre_vote(2))
    b.raft.state.election_deadline += 1  # or it would ask itself
    b.tick()
    late = b.receive("c", pre_vote(2))

    assert messages_to("c", early) == [PreVoteReply(term=Term(1), granted=False)]
    assert messages_to("c", late) == [PreVoteReply(term=Term(2), granted=True)]


def test_promise_is_by_the_snapshots_configuration_too() -> None:
    """§5.1: it is committed, and the log behind it need not be."""
    b = follower("1 1", of="a", name="b", configuration=ABC, compaction_tail_entries=0)
    b.receive("a", append(1, (2, 1), commit=2))
    b.step(Applied(index=Index(2)))
    b.step(SnapshotTaken(snapshot=snapshot_of(b"x", index=2, term=1, configuration=ABC)))
    with_another(b, Settings(), commit=2)

    assert b.step(PeerUnreachable(peer="a")) == Effects()


# ── all together ─────────────────────────────────────────────────────────────────────────────────────


def passes(s: Cluster, rates: dict[str, int], step: int) -> None:
    """One unit of true time passes: a clock of rate 20 ticks in each, one of 19 in all but the 20th."""
    for name, rate in rates.items():
        if (step * rate) // 20 != ((step - 1) * rate) // 20:
            s[name].tick()
    s.collect()


@pytest.mark.parametrize("voter", ["b", "c"])
@pytest.mark.parametrize("late", range(HEARTBEAT))
def test_nobody_is_elected_during_a_lease(voter: str, late: int) -> None:
    """§6.4.1: with clocks that differ by five per cent, however the answer and the silence fall (D9)."""
    s = cluster(*(server("1 1", it, configuration=ABC) for it in "abc"))
    s.elect("a", "bc")
    s.pass_time(HEARTBEAT)
    for _ in range(late):
        s["a"].tick()
    s["a"].tick(s["a"].leadership.heartbeat_due - s["a"].raft.state.now)
    s.settle(("a", voter))
    rates, step = {"a": 19, "b": 20, "c": 20}, 0

    while s[voter].raft.leader == "a":
        step += 1
        passes(s, rates, step)
        s.settle("bc", only=lambda it: it.sender.id != "a")
    s.settle("bc")

    assert any(s[it].raft.role == "leader" for it in "bc")
    assert s["a"].raft.role == "leader"
    assert s.step("a", LEASE_READ).answer == ()


def test_reads_survive_a_quorum_that_shrinks() -> None:
    """§6.4: what suffices is decided by the configuration in force, also for reads that wait (D2)."""
    a = leader("1 1", configuration=group("abcde"))
    a.step(Read(ticket=7))
    few = a.receive("b", beat(a))

    effects = configured(a, group("abc", learners="de"))

    assert few.answer == ()
    assert ReadConfirmed(ticket=7, index=Index(3)) in effects.answer


def test_reads_wait_for_a_quorum_that_grows() -> None:
    """§6.4: and so of one that is larger by now, since it is that which elects (D10)."""
    a = leader("1 1", configuration=group("abc", learners="de"))
    a.step(Read(ticket=7))
    configured(a, group("abcde"))

    few = a.receive("b", beat(a))
    effects = a.receive("d", beat(a))

    assert few.answer == ()
    assert effects.answer == (ReadConfirmed(ticket=7, index=Index(3)),)


# ── how old a copy is ────────────────────────────────────────────────────────────────────────────────


def test_leader_knows_until_when_its_copy_is_complete() -> None:
    """§6.4: at the sending of a round that a majority answered, nobody else had committed anything."""
    a = leader("1 1")
    sent = answered(a, "b")

    assert a.raft.confirmed_ns(Index(3)) == sent * TICK_NS
    assert a.raft.confirmed_ns(Index(2)) is None


def test_copy_that_lags_is_as_old_as_what_it_lacks() -> None:
    """§6.4: of a copy behind the commit index only an earlier round can be said."""
    a = leader("1 1")
    before = answered(a, "b")
    a.propose(b"x")
    a.persist()
    accepted_by(a, "b")
    after = answered(a, "b")

    assert a.raft.confirmed_ns(Index(3)) == before * TICK_NS
    assert a.raft.confirmed_ns(Index(4)) == after * TICK_NS


def test_who_leads_no_more_knows_until_when_its_copy_was_complete() -> None:
    """§6.4: a leader that is cut off can say since when; its next term proves nothing yet."""
    a = leader("1 1")
    sent = answered(a, "b")

    a.tick(ELECTION_MAX + 1)
    fallen = a.raft.role
    known = [a.raft.confirmed_ns(Index(it)) for it in (2, 3)]
    a.win()

    assert fallen == "follower"
    assert known == [None, sent * TICK_NS]
    assert a.raft.confirmed_ns(Index(3)) == sent * TICK_NS


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda: follower("1 1", of="b"), id="follower"),
        pytest.param(lambda: leader("1 1", matched=False), id="before the no-op"),
    ],
)
def test_who_can_not_say_how_old_its_copy_is_does_not(make: Callable[[], Server]) -> None:
    """§6.4: a follower was told nothing of rounds, and a new leader may not know the latest commit."""
    a = make()

    assert a.raft.confirmed_ns(Index(2)) is None
