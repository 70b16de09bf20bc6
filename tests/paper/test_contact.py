"""§6.2 and §9.6: heartbeats, and what their absence means to leaders and to followers."""

from __future__ import annotations

import pytest

from raftkit.membership import Settings
from raftkit.messages import (
    AppendAccepted,
    AppendRejected,
    Effects,
    Heartbeat,
    HeartbeatReply,
    LeaderLost,
    Message,
    PeerMisbehaved,
    PeerUnreachable,
    PreVoteReply,
    PreVoteRequest,
    Read,
    Receive,
    Refusal,
    Refused,
    RoleChanged,
    Send,
    SnapshotReply,
    VoteReply,
    VoteRequest,
)
from raftkit.model import Index, Term
from tests.paper.cluster import Cluster, cluster
from tests.paper.server import (
    ELECTION_MAX,
    ELECTION_MIN,
    HEARTBEAT,
    append,
    beat,
    everyone_answers,
    follower,
    group,
    heartbeat,
    leader,
    messages_to,
    server,
    who,
)

# ── heartbeats ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.accept("C-27")
def test_heartbeat_goes_to_everybody_when_due() -> None:
    """§3.4: one message for all, since it claims nothing about their logs."""
    a = leader("1", configuration=group("abc", learners="d"))
    last = a.leadership.round

    early = a.tick(HEARTBEAT - 1)
    due = a.tick()

    message = Heartbeat(term=Term(2), round=last + 1, commit_index=a.raft.commit_index)
    assert early == Effects()
    assert due == Effects(send_now=(Send(targets=("b", "c", "d"), message=message),))


def test_overslept_heartbeats_are_one() -> None:
    """A leader that slept through some of them sends one."""
    a = leader("1")

    effects = a.tick(4 * HEARTBEAT)

    assert [type(send.message) for send in effects.send_now] == [Heartbeat]


def test_single_server_sends_no_heartbeats() -> None:
    """Nobody is there to hear of it."""
    a = leader("1", configuration=group("a"))

    assert a.tick(10 * HEARTBEAT) == Effects()
    assert a.raft.role == "leader"


def test_heartbeats_keep_followers_from_campaigning() -> None:
    """§3.4: as long as the leader is heard nobody else tries, however long."""
    s = cluster(*(server("1", it) for it in "abc"))
    s.elect("a", "bc")
    s.lose()

    s.pass_time(20 * ELECTION_MAX)

    assert s["a"].raft.role == "leader"
    assert s["a"].raft.term == 2
    assert [type(it) for it in s["b"].events].count(
        RoleChanged
    ) == 3  # pre-candidate, joined, follows


def test_answer_to_a_round_that_was_never_sent_is_dropped() -> None:
    """A correct follower answers what it heard."""
    a = leader("1")
    answer = beat(a, round=a.leadership.round + 1)

    effects = a.receive("b", answer)

    assert effects == Effects(
        events=(PeerMisbehaved(peer=who("b"), what="answers what was never sent"),)
    )


# ── check-quorum ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.accept("U-65")
def test_leader_that_no_majority_answers_steps_down() -> None:
    """§6.2: after an election timeout of silence it says so, rather than keep clients waiting."""
    a = leader("1")
    a.tick(ELECTION_MAX)
    still = a.raft.role

    effects = a.tick()

    assert still == "leader"
    assert effects == Effects(
        events=(
            LeaderLost(leader="a", term=Term(2)),
            RoleChanged(before="leader", role="follower", term=Term(2)),
        )
    )


def test_leader_that_a_majority_answers_stays() -> None:
    """§6.2: of five, two others are enough."""
    a = leader("1", configuration=group("abcde"))

    for _ in range(4):
        a.tick(ELECTION_MAX)
        everyone_answers(a, "bc")

    assert a.raft.role == "leader"


@pytest.mark.parametrize(
    "answer",
    [
        AppendAccepted(term=Term(2), index=Index(2)),
        AppendRejected(term=Term(2), prev_index=Index(1), hint_index=Index(0), hint_term=Term(0)),
        SnapshotReply(term=Term(2), index=Index(1), offset=0, installed=False),
        HeartbeatReply(term=Term(2), round=1, index=Index(0), wall_ns=0),
    ],
    ids=lambda it: type(it).__name__,
)
def test_every_answer_of_the_term_is_contact(answer: Message) -> None:
    """§6.2: whatever a follower answers to this term's leader shows that it follows."""
    a = leader("1")
    a.tick(ELECTION_MAX)

    a.receive("b", answer)
    a.tick(ELECTION_MAX)

    assert a.raft.role == "leader"


def test_answers_of_a_minority_do_not_keep_a_leader() -> None:
    """§6.2: of five, one other is not enough (I3)."""
    a = leader("1", configuration=group("abcde"))

    for _ in range(ELECTION_MAX + 1):
        a.tick()
        if a.raft.role == "leader":
            everyone_answers(a, "b")

    assert a.raft.role == "follower"


def test_answers_of_learners_do_not_keep_a_leader() -> None:
    """§6.2: contact counts as votes do (D10)."""
    a = leader("1", configuration=group("abc", learners="xyz"))

    for _ in range(ELECTION_MAX + 1):
        a.tick()
        if a.raft.role == "leader":
            everyone_answers(a, "xyz")

    assert a.raft.role == "follower"


def test_former_leader_listens_to_campaigns() -> None:
    """§6.2, I3: who found that it leads nobody does not stick to itself."""
    a = leader("1")
    a.tick(ELECTION_MAX + 1)

    effects = a.receive("b", VoteRequest(term=Term(3), last_index=Index(2), last_term=Term(2)))

    assert messages_to("b", effects) == [VoteReply(term=Term(3), granted=True)]


def test_leader_that_wakes_from_a_pause_takes_time_first() -> None:
    """§6.2: answers that waited in its inbox prove nothing about now (I14)."""
    a = leader("1")
    round_before = a.leadership.round
    a.tick(HEARTBEAT)
    a.step(Read(ticket=7))
    answers = [
        Receive(sender=who(name), message=beat(a, round=round_before + 1, index=2)) for name in "bc"
    ]

    effects = a.step(a.passes(3 * ELECTION_MAX), *answers)

    assert a.raft.role == "follower"
    assert effects.answer == (Refused(ticket=7, reason=Refusal.LEADER_LOST, leader=None),)


def star(s: Cluster, centre: str, ticks: int) -> None:
    """Time passes while all links but those of `centre` are cut."""
    for _ in range(ticks):
        for it in s.servers.values():
            it.tick()
        s.settle(only=lambda it: centre in {it.sender.id, it.target})


def test_leader_at_the_rim_of_a_star_gives_way_to_its_centre() -> None:
    """§6.2, §9.6: c reaches only a; its heartbeats must not keep a, whom all hear, from leading (I3)."""
    s = cluster(*(server("1", it, configuration=group("abcde")) for it in "abcde"))
    s.elect("c", "abde")
    s.lose()

    star(s, "a", 8 * ELECTION_MAX)

    assert s["a"].raft.role == "leader"
    assert {it.raft.leader for it in s.servers.values()} == {"a"}


@pytest.mark.parametrize("deaf", ["a", "b"])
def test_one_way_link_ends_in_one_stable_leader(deaf: str) -> None:
    """§6.2, §9.6: a server that is heard but does not hear, or the other way round, does not lead (I6).

    Nothing arrives at `deaf`, everything from it does.
    """
    s = cluster(*(server("1", it) for it in "abc"))
    s.elect("a", "bc")
    s.lose()
    for _ in range(10 * ELECTION_MAX):
        for it in s.servers.values():
            it.tick()
        s.settle(only=lambda it: it.target != deaf)
    leading = [it for it in s.servers.values() if it.raft.role == "leader"]
    term = leading[0].raft.term

    for _ in range(10 * ELECTION_MAX):
        for it in s.servers.values():
            it.tick()
        s.settle(only=lambda it: it.target != deaf)

    assert [(it.raft.role, it.raft.term) for it in leading] == [("leader", term)]
    assert leading[0].id != deaf


def over(s: Cluster, links: list[set[str]], ticks: int) -> None:
    """Time passes while only these links work."""
    for _ in range(ticks):
        for it in s.servers.values():
            it.tick()
        s.settle(only=lambda it: {it.sender.id, it.target} in links)


def test_partly_cut_group_of_five_keeps_its_leader() -> None:
    """§6.2, §9.6: {a, b, c} hear each other, d only b, e only c: neither d nor e disturbs (I4)."""
    s = cluster(*(server("1", it, configuration=group("abcde")) for it in "abcde"))
    s.elect("c", "abe")
    term = s["c"].raft.term

    over(s, [set("ab"), set("ac"), set("bc"), set("bd"), set("ce")], 10 * ELECTION_MAX)

    assert (s["c"].raft.role, s["c"].raft.term) == ("leader", term)


@pytest.mark.parametrize("first", ["a", "b", "c"])
def test_chain_of_three_keeps_one_leader_and_its_terms_stand_still(first: str) -> None:
    """§9.6: a and c don't hear each other; who leads leads on, and nobody drives terms up (I2, I5)."""
    s = cluster(*(server("1", it) for it in "abc"))
    s.elect(first, set("abc") - {first})
    term = s[first].raft.term
    chain = [set("ab"), set("bc")]

    over(s, chain, 10 * ELECTION_MAX)

    assert (s[first].raft.role, s[first].raft.term) == ("leader", term)
    assert s["b"].raft.leader == first


def test_even_split_elects_nobody_until_it_heals() -> None:
    """§6.2: of four, the leader's half is no majority; no half elects anybody, and healing does (I17)."""
    s = cluster(*(server("1", it, configuration=group("abcd")) for it in "abcd"))
    s.elect("a", "bcd")
    halves = [set("ab"), set("cd")]

    over(s, halves, 6 * ELECTION_MAX)
    apart = {it.raft.role for it in s.servers.values()}
    terms = {it.raft.term for it in s.servers.values()}
    s.pass_time(6 * ELECTION_MAX)

    assert "leader" not in apart
    assert max(terms) == 2
    assert len({it.raft.leader for it in s.servers.values()} - {None}) == 1


# ── a closed connection ──────────────────────────────────────────────────────────────────────────────


def test_closed_connection_of_the_leader_is_news() -> None:
    """Ours: a follower that loses it by a closed connection campaigns at once, not after a timeout."""
    a = follower("1 1", of="b")

    effects = a.step(PeerUnreachable(peer="b"))
    a.tick()

    assert effects == Effects(
        events=(
            LeaderLost(leader="b", term=Term(1)),
            RoleChanged(before="follower", role="follower", term=Term(1)),
        )
    )
    assert a.raft.role == "pre-candidate"


@pytest.mark.accept("U-63")
def test_survivors_campaign_one_after_the_other() -> None:
    """Ours: by rank among the remaining voters, so that few ask together."""
    waits = []
    for name, lost in (("a", "c"), ("b", "c"), ("b", "a"), ("c", "a")):
        it = follower("1 1", name=name, of=lost)
        it.step(PeerUnreachable(peer=lost))
        waits.append(it.raft.ticks_until_next_deadline)

    assert waits == [1, 3, 1, 3]


@pytest.mark.accept("U-64")
@pytest.mark.parametrize(
    "succession, waits",
    [
        ("abc", {"a": 1, "b": 3, "c": 5}),
        ("cab", {"a": 3, "b": 5, "c": 1}),
        ("c", {"a": 3, "b": 5, "c": 1}),
        ("dxcz", {"a": 3, "b": 5, "c": 1}),
        ("cd", {"a": 3, "b": 5, "c": 1}),
    ],
)
def test_who_said_to_have_the_furthest_log_campaigns_first(
    succession: str, waits: dict[str, int]
) -> None:
    """Ours: then the others in that order; who was not heard, by name and last; strangers count nothing."""
    found: dict[str, int | None] = {}
    for name in waits:
        it = follower("1 1", name=name, of="d", configuration=group("abcd"))
        it.step(PeerUnreachable(peer="d", succession=tuple(succession)))
        found[name] = it.raft.ticks_until_next_deadline

    assert found == waits


def test_what_was_heard_decides_who_asks_first_and_never_who_wins() -> None:
    """§3.6.1: others said that b has the furthest log, which is not so: it is refused, and a leads."""
    s = cluster(server("1 1", "a"), server("1", "b"), server("1 1", "c"))
    s.elect("c", "ab")
    s["c"].tick(HEARTBEAT)
    s.settle(only=lambda it: it.target != "b" or isinstance(it.message, Heartbeat))

    for name in "ab":
        s.step(name, PeerUnreachable(peer="c", succession=("b", "a")))
    s.pass_time(2, "ab")
    asked = {s[name].raft.role for name in "ab"}
    s.pass_time(HEARTBEAT, "ab")

    assert asked == {"pre-candidate", "follower"}
    assert {s[name].raft.leader for name in "ab"} == {"a"}


@pytest.mark.accept("Q-43")
def test_survivors_elect_a_leader_at_once() -> None:
    """Ours: those who saw the same waive stickiness; a killed leader is replaced in some ticks."""
    s = cluster(*(server("1", it) for it in "abc"))
    s.elect("a", "bc")
    s.pass_time(HEARTBEAT)

    for name in "bc":
        s.step(name, PeerUnreachable(peer="a"))
    s.pass_time(2 * HEARTBEAT, "bc")

    assert {s[name].raft.leader for name in "bc"} == {"b"}


def test_who_still_hears_the_leader_refuses() -> None:
    """Ours: one closed connection is no dead leader."""
    s = cluster(*(server("1", it) for it in "abc"))
    s.elect("a", "bc")
    s.pass_time(HEARTBEAT)

    s.step("b", PeerUnreachable(peer="a"))
    s.pass_time(ELECTION_MAX)

    assert {it.raft.leader for it in s.servers.values()} == {"a"}
    assert s["a"].raft.term == 2


def test_closed_connection_is_no_news_where_leases_are_on() -> None:
    """Ours: a lease counts on every voter's stickiness, so it is not waived."""
    a = follower("1 1", of="b", configuration=group("abc", settings=Settings(leases=True)))

    assert a.step(PeerUnreachable(peer="b")) == Effects()
    assert a.raft.leader == "b"


def test_closed_connection_of_another_follower_means_nothing() -> None:
    """Only the leader's counts."""
    a = follower("1 1", of="b")

    assert a.step(PeerUnreachable(peer="c")) == Effects()


def test_learner_that_loses_its_leader_does_not_campaign() -> None:
    """§4.2.1: it has no rank and no vote."""
    a = follower("1 1", name="d", of="b", configuration=group("abc", learners="d"))

    a.step(PeerUnreachable(peer="b"))
    effects = a.tick(3)

    assert (a.raft.leader, effects.send_now) == (None, ())


def test_leader_probes_a_follower_whose_connection_closed() -> None:
    """Ours: what was in flight may be lost, so it begins again where the logs are known to agree."""
    a = leader("1")
    a.propose(b"x")

    a.step(PeerUnreachable(peer="b"))

    (b, _) = a.raft.peers()
    assert (b.mode, b.next_index) == ("probing", 3)


def test_follower_that_still_asks_is_not_probed_anew() -> None:
    """Ours: a connection refused again and again costs no message each time."""
    a = leader("1", matched=False)

    assert a.step(PeerUnreachable(peer="b")) == Effects()


# ── two leaders, and other impossible things ─────────────────────────────────────────────────────────


@pytest.mark.parametrize("message", [heartbeat(1), append(1, (2, 1), "1")])
def test_second_leader_of_a_term_is_not_followed(message: Message) -> None:
    """§3.4: there is one leader a term, so the second to say so is wrong, and people are told."""
    a = follower("1 1", of="b")

    effects = a.receive("c", message)

    assert effects == Effects(
        events=(PeerMisbehaved(peer=who("c"), what="claims term 1, led by b"),)
    )
    assert (a.raft.leader, a.terms) == ("b", "1 1")


def test_leader_does_not_follow_another_of_its_term() -> None:
    """§3.4: a leader knows who leads its term."""
    a = leader("1")

    effects = a.receive("b", heartbeat(2))

    assert effects == Effects(
        events=(PeerMisbehaved(peer=who("b"), what="claims term 2, led by a"),)
    )


def test_other_incarnation_of_the_leader_is_not_followed() -> None:
    """E13: a leader whose disk was wiped leads nothing."""
    a = follower("1 1", of="b")

    effects = a.receive(who("b", 2), heartbeat(1))

    assert [type(it) for it in effects.events] == [PeerMisbehaved]


# ── stickiness of a candidate to be ──────────────────────────────────────────────────────────────────


def test_pre_vote_is_refused_while_a_leader_is_heard() -> None:
    """§9.6, §4.2.3: or the vote after it would be in vain."""
    a = follower("1 1", of="b")
    a.tick(ELECTION_MIN - 1)

    effects = a.receive("c", PreVoteRequest(term=Term(2), last_index=Index(9), last_term=Term(1)))

    assert messages_to("c", effects) == [PreVoteReply(term=Term(1), granted=False)]


def test_heartbeat_reply_carries_the_followers_clock() -> None:
    """Ours: from which a new leader judges its own."""
    a = follower("1 1", of="b")
    a.tick(3)

    effects = a.receive("b", heartbeat(1, round=4))

    reply = HeartbeatReply(term=Term(1), round=4, index=Index(0), wall_ns=a.raft.state.wall_ns)
    assert a.raft.state.wall_ns > 0
    assert effects == Effects(send_now=(Send(targets=("b",), message=reply),))
