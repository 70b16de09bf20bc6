"""§3.4 elections, §3.6.1 who may win one, §3.8 what is durable before it is told, §9.6 asking first."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import attrs
import pytest

from raftkit.messages import (
    Effects,
    HeartbeatReply,
    LeaderElected,
    LeaderLost,
    Message,
    PreVoteReply,
    PreVoteRequest,
    Receive,
    RoleChanged,
    Send,
    VoteReply,
    VoteRequest,
    Write,
)
from raftkit.model import Index, Term
from tests.paper.cluster import cluster
from tests.paper.server import (
    ELECTION_MAX,
    ELECTION_MIN,
    Server,
    append,
    candidate,
    follower,
    group,
    heartbeat,
    leader,
    messages_to,
    noop,
    pre_candidate,
    server,
    who,
)

FIVE = group("abcde")


def vote_request(term: int, last: tuple[int, int]) -> VoteRequest:
    """Of a candidate whose log ends in the entry (index, term) `last`."""
    return VoteRequest(term=Term(term), last_index=Index(last[0]), last_term=Term(last[1]))


def listener(terms: str = "1 1", **more: Any) -> Server:
    """A server that has heard nobody for so long that it listens to campaigns."""
    it = server(terms, **more)
    it.forget_leader()
    return it


# ── timeouts ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.accept("C-24", "U-30")
def test_follower_that_hears_no_leader_asks_whether_it_could_win() -> None:
    """§3.4, §9.6: silence for an election timeout starts a campaign, which begins with a question."""
    a = follower("1 1 2", of="b")

    effects = a.time_out()

    question = PreVoteRequest(term=Term(3), last_index=Index(3), last_term=Term(2))
    assert effects == Effects(
        send_now=(Send(targets=("b", "c"), message=question),),
        events=(
            LeaderLost(leader="b", term=Term(2)),
            RoleChanged(before="follower", role="pre-candidate", term=Term(2)),
        ),
    )


def test_silence_shorter_than_the_timeout_changes_nothing() -> None:
    """§3.4: nobody campaigns a tick too early."""
    a = follower("1 1", of="b")

    assert a.tick(a.raft.state.election_deadline - a.raft.state.now - 1) == Effects()


def test_timeouts_are_drawn_anew_between_the_bounds() -> None:
    """§3.4: timeouts differ from server to server and from time to time, within the bounds (A15)."""
    timeouts = []
    for seed in range(40):
        a = follower("1 1", of="b", seed=seed)
        for _ in range(2):
            a.receive("b", heartbeat(1))
            timeouts.append(a.raft.state.election_deadline - a.raft.state.now)

    assert min(timeouts) >= ELECTION_MIN
    assert max(timeouts) <= ELECTION_MAX
    assert len(set(timeouts)) > 20
    assert any(first != second for first, second in pairwise(timeouts))


def test_campaign_that_comes_to_nothing_is_tried_again() -> None:
    """§3.4: a split vote ends with the next timeout, in a later term."""
    a = candidate("1 1")
    term = a.raft.term

    a.time_out()
    for voter in ("b", "c"):
        a.receive(voter, PreVoteReply(term=Term(term + 1), granted=True))

    assert (a.raft.role, a.raft.term) == ("candidate", term + 1)


def test_overslept_timer_fires_once() -> None:
    """A server that woke after many timeouts asks once."""
    a = follower("1 1", of="b")

    effects = a.tick(100 * ELECTION_MAX)

    assert len(effects.send_now) == 1


def test_heartbeat_in_the_batch_of_the_tick_shows_that_the_leader_lives() -> None:
    """§3.4: who slept judges the silence after it has looked at what arrived meanwhile (A14)."""
    a = follower("1 1", of="b")

    effects = a.step(
        a.passes(100 * ELECTION_MAX), Receive(sender=who("b"), message=heartbeat(1, round=2))
    )

    assert [type(send.message) for send in effects.send_now] == [HeartbeatReply]
    assert effects.events == ()
    assert a.raft.leader == "b"


@pytest.mark.parametrize("speech", [heartbeat(1), append(1, (2, 1)), append(1, (9, 1))])
def test_leader_contact_restarts_the_timer(speech: Message) -> None:
    """§3.4: whatever this term's leader says shows that it lives, even if the logs don't agree yet."""
    a = follower("1 1", of="b")
    a.tick(20)

    a.receive("b", speech)

    assert a.raft.state.election_deadline >= a.raft.state.now + ELECTION_MIN


def test_granted_vote_restarts_the_timer() -> None:
    """§3.4: who votes gives the candidate time to win."""
    a = listener("1 1", term=1)

    a.receive("b", vote_request(2, (2, 1)))

    assert a.raft.state.election_deadline >= a.raft.state.now + ELECTION_MIN


def test_refused_vote_does_not_restart_the_timer() -> None:
    """§3.4: a candidate that can't win must not keep others from trying (A14)."""
    a = listener("1 1", term=1)
    deadline = a.raft.state.election_deadline

    a.receive("b", vote_request(2, (1, 1)))

    assert a.raft.term == 2
    assert a.raft.state.election_deadline == deadline


def test_message_of_a_deposed_leader_does_not_restart_the_timer() -> None:
    """§3.4: only this term's leader counts (A14)."""
    a = listener("1 1", term=3)
    deadline = a.raft.state.election_deadline

    a.receive("b", heartbeat(2), append(2, (2, 1)))

    assert a.raft.state.election_deadline == deadline


# ── winning ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.accept("C-25")
def test_quorum_of_pre_votes_starts_the_campaign() -> None:
    """§3.4: a candidate raises its term, votes for itself, and asks once that is durable."""
    a = pre_candidate("1 1 2", configuration=FIVE)
    a.receive("b", PreVoteReply(term=Term(3), granted=True))

    effects = a.receive("d", PreVoteReply(term=Term(3), granted=True))

    request = vote_request(3, (3, 2))
    assert effects == Effects(
        persist=Write(sequence=1, hard_state=(Term(3), who("a"))),
        send_after_persist=(Send(targets=("b", "c", "d", "e"), message=request),),
        events=(RoleChanged(before="pre-candidate", role="candidate", term=Term(3)),),
    )


@pytest.mark.accept("C-26", "Q-09")
def test_quorum_of_votes_makes_a_leader() -> None:
    """§3.4, §6.4: the winner leads at once, with an entry of its own term and a heartbeat for all (C8)."""
    a = candidate("1 1 2", configuration=FIVE)
    a.receive("b", VoteReply(term=Term(3), granted=True))

    effects = a.receive("e", VoteReply(term=Term(3), granted=True))

    everyone = ("b", "c", "d", "e")
    mine = noop(4, 3)  # of no later time than the entry before: no clock was judged yet
    entries = attrs.evolve(append(3, (3, 2)), runs=(mine,))
    assert effects == Effects(
        send_now=(
            Send(targets=everyone, message=heartbeat(3, round=1)),
            Send(targets=everyone, message=entries),
        ),
        persist=Write(sequence=2, runs=(mine,)),
        events=(
            RoleChanged(before="candidate", role="leader", term=Term(3)),
            LeaderElected(leader="a", term=Term(3)),
        ),
    )


def test_refusals_and_repeated_votes_make_no_quorum() -> None:
    """§3.4: a voter counts once, and only if it granted (C3)."""
    a = candidate("1 1", configuration=FIVE)
    term = a.raft.term

    a.receive("b", VoteReply(term=term, granted=True), VoteReply(term=term, granted=True))
    a.receive("b", VoteReply(term=term, granted=True))
    a.receive("c", VoteReply(term=term, granted=False))

    assert a.raft.role == "candidate"


def test_repeated_pre_votes_make_no_quorum() -> None:
    """§9.6: neither do repeated answers to the question."""
    a = pre_candidate("1 1", configuration=FIVE)

    a.receive("b", *[PreVoteReply(term=Term(2), granted=True)] * 3)
    a.receive("c", PreVoteReply(term=Term(1), granted=False))

    assert a.raft.role == "pre-candidate"


def test_vote_of_an_earlier_campaign_does_not_count() -> None:
    """§3.4: a vote is for one term (A9)."""
    a = candidate("1 1", configuration=FIVE)
    earlier = a.raft.term
    a.receive("b", VoteReply(term=earlier, granted=True))
    a.time_out()
    for voter in "bcde":
        a.receive(voter, PreVoteReply(term=Term(earlier + 1), granted=True))
    a.persist_all()

    a.receive("c", VoteReply(term=earlier, granted=True))
    a.receive("d", VoteReply(term=Term(earlier + 1), granted=True))

    assert a.raft.role == "candidate"


def test_pre_vote_for_another_term_does_not_count() -> None:
    """§9.6: an answer is to the question about one term."""
    a = pre_candidate("1 1", term=4)

    a.receive("b", PreVoteReply(term=Term(4), granted=True))
    a.receive("c", PreVoteReply(term=Term(9), granted=True))

    assert (a.raft.role, a.raft.term) == ("pre-candidate", 4)


def test_pre_vote_that_arrives_late_is_no_vote() -> None:
    """§9.6: who would have voted has not voted (A10)."""
    a = candidate("1 1")

    a.receive("b", PreVoteReply(term=a.raft.term, granted=True))
    a.receive("c", PreVoteReply(term=Term(a.raft.term + 1), granted=True))

    assert a.raft.role == "candidate"


def test_own_vote_counts_only_once_it_is_durable() -> None:
    """§3.8: a server's own vote is a vote like any other (A1, A10)."""
    a = pre_candidate("1 1")
    a.receive("b", PreVoteReply(term=Term(2), granted=True))
    a.perform()  # the request may leave now, but the core has not heard of its disk
    a.receive("b", VoteReply(term=Term(2), granted=True))
    before = a.raft.role

    a.persist()

    assert (before, a.raft.role) == ("candidate", "leader")


def test_single_server_leads_by_its_own_durable_vote() -> None:
    """§3.4: of one server a majority is one."""
    a = server("1", configuration=group("a"))
    a.time_out()
    before = a.raft.role

    a.persist()

    assert (before, a.raft.role) == ("candidate", "leader")


@pytest.mark.parametrize("make", [pre_candidate, candidate])
def test_candidate_that_hears_the_winner_follows_it(make: Callable[..., Server]) -> None:
    """§3.4: a leader of one's own term has won the election."""
    a = make("1 1")
    term, before = a.raft.term, a.raft.role

    effects = a.receive("b", heartbeat(term))

    assert effects.events == (
        RoleChanged(before=before, role="follower", term=term),
        LeaderElected(leader="b", term=term),
    )
    assert (a.raft.role, a.raft.leader) == ("follower", "b")


# ── voting ───────────────────────────────────────────────────────────────────────────────────────────


def test_vote_is_durable_before_it_is_told() -> None:
    """§3.8: a vote that a crash could take back was none (A1)."""
    a = listener("1 1", term=1)

    effects = a.receive("b", vote_request(2, (2, 1)))

    assert effects == Effects(
        persist=Write(sequence=1, hard_state=(Term(2), who("b"))),
        send_after_persist=(Send(targets=("b",), message=VoteReply(term=Term(2), granted=True)),),
        events=(RoleChanged(before="follower", role="follower", term=Term(2)),),
    )


def test_vote_in_a_term_that_is_durable_waits_for_its_own_write() -> None:
    """§3.8: that the term is on disk does not say that the vote is (A1)."""
    a = listener("1 1", term=2)

    effects = a.receive("b", vote_request(2, (2, 1)))

    assert effects == Effects(
        persist=Write(sequence=1, hard_state=(Term(2), who("b"))),
        send_after_persist=(Send(targets=("b",), message=VoteReply(term=Term(2), granted=True)),),
    )


def test_one_vote_a_term_first_come_first_served() -> None:
    """§3.4: a second candidate of the term is refused."""
    a = listener("1 1", term=2, voted_for="b")

    effects = a.receive("c", vote_request(2, (9, 2)))

    refusal = VoteReply(term=Term(2), granted=False)
    assert effects == Effects(send_now=(Send(targets=("c",), message=refusal),))


def test_two_candidates_in_one_batch_get_one_vote() -> None:
    """§3.4: requests that arrive together are answered one after the other (A6)."""
    a = listener("1 1", term=1)
    request = vote_request(2, (2, 1))

    effects = a.step(
        Receive(sender=who("b"), message=request), Receive(sender=who("c"), message=request)
    )

    assert effects.send_after_persist == (
        Send(targets=("b",), message=VoteReply(term=Term(2), granted=True)),
        Send(targets=("c",), message=VoteReply(term=Term(2), granted=False)),
    )


def test_vote_is_given_again_to_the_same_candidate() -> None:
    """§3.4: a reply may have been lost; repeating the vote is no second one."""
    a = listener("1 1", term=2, voted_for="b")

    effects = a.receive("b", vote_request(2, (2, 1)))

    assert effects == Effects(
        send_now=(Send(targets=("b",), message=VoteReply(term=Term(2), granted=True)),)
    )


def test_vote_is_for_one_incarnation() -> None:
    """§3.4: a server whose disk was wiped is another candidate (E13)."""
    a = listener("1 1", term=2, voted_for="b")

    effects = a.receive(who("b", 2), vote_request(2, (2, 1)))

    assert effects.send_now == (
        Send(targets=("b",), message=VoteReply(term=Term(2), granted=False)),
    )


def test_vote_survives_a_restart() -> None:
    """§3.8, Figure 2: after a restart the vote of the term is still given (A1)."""
    a = listener("1 1", term=1)
    a.receive("b", vote_request(2, (2, 1)))
    a.persist_all()

    a.restart()
    a.forget_leader()
    effects = a.receive("c", vote_request(2, (2, 1)))

    assert messages_to("c", effects) == [VoteReply(term=Term(2), granted=False)]


def test_candidate_that_follows_the_winner_does_not_vote_again() -> None:
    """§3.4: stepping down in the same term leaves the vote given (A4)."""
    a = candidate("1 1", configuration=FIVE)
    a.receive("b", append(a.raft.term, (9, 2)))  # the winner, whose log does not fit yet
    a.receive("b", heartbeat(a.raft.term))

    effects = a.receive("c", vote_request(a.raft.term, (9, 1)))

    assert messages_to("c", effects) == [VoteReply(term=a.raft.term, granted=False)]
    assert a.voted_for == "a"


def test_vote_is_kept_through_pre_candidacy() -> None:
    """§9.6: asking for the next term does not forget the vote of this one (A5)."""
    s = cluster(*(server("1 1", it) for it in "abc"))
    s.silence("abc")
    s.elect("a", "b")
    s["b"].tick(ELECTION_MAX + 1)
    assert s["b"].raft.role == "pre-candidate"
    s["b"].receive("a", append(s["a"].raft.term, (9, 2)))
    s["b"].tick(ELECTION_MAX + 1)  # asks again, of the same term

    effects = s["b"].receive("c", vote_request(s["a"].raft.term, (9, 1)))

    assert messages_to("c", effects) == [VoteReply(term=s["a"].raft.term, granted=False)]
    assert s["b"].voted_for == "a"


def test_vote_is_kept_while_entries_arrive() -> None:
    """§3.4: replication never touches the vote (A6)."""
    a = server("1 1", term=2, voted_for="b")

    a.receive("b", append(2, (2, 1), "2"), heartbeat(2))
    a.receive("b", append(2, (3, 2), "2 2", commit=3))

    assert a.voted_for == "b"


def test_voter_that_knows_the_leader_of_the_term_refuses() -> None:
    """§3.4: the term has its leader, so nobody else can need the vote."""
    a = follower("1 1", term=2, of="b")
    a.tick(20)

    effects = a.receive("c", vote_request(2, (9, 1)))

    assert messages_to("c", effects) == [VoteReply(term=Term(2), granted=False)]


def test_pre_candidate_votes_for_another() -> None:
    """§9.6: asking is not voting, so the vote of the term is still free."""
    a = pre_candidate("1 1", term=2)

    effects = a.receive("b", vote_request(2, (2, 1)))

    assert messages_to("b", effects) == [VoteReply(term=Term(2), granted=True)]
    assert a.raft.role == "follower"


# ── up to date ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "own, candidates, granted",
    [
        ("1 1 1", (3, 1), True),  # equal
        ("1 1 1", (4, 1), True),  # longer
        ("1 1 1", (2, 1), False),  # shorter
        ("1 1 1", (1, 2), True),  # later term, although shorter
        ("1 2", (3, 1), False),  # earlier term, although longer: A7
        ("1 2", (2, 2), True),
        ("1 2", (9, 1), False),
    ],
)
def test_vote_goes_only_to_a_log_as_up_to_date(
    own: str, candidates: tuple[int, int], *, granted: bool
) -> None:
    """§3.6.1: the later last term wins; with equal terms the longer log (A7)."""
    a = listener(own)

    effects = a.receive("b", vote_request(5, candidates))

    assert messages_to("b", effects) == [VoteReply(term=Term(5), granted=granted)]
    assert a.voted_for == ("b" if granted else None)


@pytest.mark.parametrize(
    "candidates, granted", [((3, 1), True), ((2, 1), False), ((9, 0), False), ((1, 2), True)]
)
def test_pre_vote_is_granted_by_the_same_check(
    candidates: tuple[int, int], *, granted: bool
) -> None:
    """§9.6, §3.6.1: a pre-vote is granted exactly where a vote would be."""
    a = listener("1 1 1", term=2)
    question = PreVoteRequest(
        term=Term(3), last_index=Index(candidates[0]), last_term=Term(candidates[1])
    )

    effects = a.receive("b", question)

    reply = PreVoteReply(term=Term(3) if granted else Term(2), granted=granted)
    assert effects == Effects(send_now=(Send(targets=("b",), message=reply),))


@pytest.mark.parametrize("asked", [1, 4, 5])
def test_pre_vote_for_a_term_that_is_not_later_is_refused(asked: int) -> None:
    """§9.6: a vote request for it would be refused too, whatever the log."""
    a = listener("1 1", term=5)
    question = PreVoteRequest(term=Term(asked), last_index=Index(9), last_term=Term(9))

    effects = a.receive("b", question)

    reply = PreVoteReply(term=Term(5), granted=False)
    assert effects == Effects(send_now=(Send(targets=("b",), message=reply),))


def test_shorter_log_with_a_later_term_beats_a_longer_one() -> None:
    """§3.6.1: what two of three committed in term 2 outlives a longer log of term 1 (A7)."""
    s = cluster(server("1 1 1", "a", term=2), server("1 2", "b"), server("1 2", "c"))

    s.campaign("a", "c")
    refused = s["a"].raft.role
    s.elect("c", "a")

    assert refused == "pre-candidate"
    assert s["c"].terms == "1 2 3"


# ── pre-vote ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("make", [server, follower, pre_candidate, candidate, leader])
def test_pre_vote_request_changes_nothing(make: Callable[..., Server]) -> None:
    """§9.6: asking a hundred times leaves term, vote, leader, timer and disk as they were (A12, S31)."""
    a = make("1 1")
    a.persist_all()
    before = _visible(a)

    for ask in range(100):
        effects = a.receive(
            "c", PreVoteRequest(term=Term(2 + ask), last_index=Index(9), last_term=Term(1 + ask))
        )
        assert effects == Effects(send_now=effects.send_now)

    assert _visible(a) == before


def _visible(a: Server) -> tuple[object, ...]:
    state = a.raft.state
    role = type(state.role)
    return (a.raft.term, state.voted_for, a.raft.leader, role, state.election_deadline, a.terms)


def test_asking_changes_no_term_and_writes_nothing() -> None:
    """§9.6: a server cut off from the others does not drive terms up, however long it is."""
    a = follower("1 1", term=4)

    for _ in range(100):
        effects = a.time_out()
        assert effects.persist is None

    assert (a.raft.role, a.raft.term) == ("pre-candidate", 4)


def test_refused_pre_vote_carries_the_refusers_term() -> None:
    """§9.6: or a laggard in term with the best log would ask in vain for ever (I7)."""
    s = cluster(server("1 1", "a", term=5), server("1 1", "b", term=5), server("1 1", "c", term=1))
    s.silence("ac")
    s["c"].time_out()
    s.settle("ac")
    caught_up = s["c"].raft.term

    s.campaign("c", "a")

    assert caught_up == 5
    assert s["c"].raft.role == "leader"


def test_laggard_in_term_whose_log_is_best_is_elected() -> None:
    """§9.6: with pre-vote too, of two servers the one that can lead comes to lead (I7)."""
    s = cluster(server("1 1", "a", term=5), server("1 1 1 1", "c", term=1))

    s.pass_time(6 * ELECTION_MAX)

    assert (s["a"].raft.leader, s["c"].raft.role) == ("c", "leader")


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.accept("C-03")
def test_group_that_starts_together_elects_a_leader(seed: int) -> None:
    """§3.4: random timeouts break ties, from any seed (A15, I8)."""
    s = cluster(*(server("1 1", it, seed=seed * 3 + n) for n, it in enumerate("abc")))

    s.pass_time(4 * ELECTION_MAX)

    assert [it.raft.role for it in s.servers.values()].count("leader") == 1
    assert len({it.raft.leader for it in s.servers.values()}) == 1


def test_elected_leader_makes_entries_of_its_own_term_only() -> None:
    """§3.5: a term's entries are made by the winner of its election (A13)."""
    a = leader("1 1", term=6)

    a.propose(b"x", b"y")

    assert a.terms == "1 1 7 7 7"
