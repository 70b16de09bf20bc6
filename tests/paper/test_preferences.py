"""Who campaigns first, again, or at all, by the wish of who runs the group. Safety knows nothing of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from raftkit.config import PRIORITY_MIN, Config
from raftkit.errors import ConfigError
from raftkit.messages import (
    Effects,
    PeerUnreachable,
    PreVoteReply,
    PreVoteRequest,
    TimeoutNow,
    VoteReply,
    VoteRequest,
)
from raftkit.model import Index, Term
from tests.paper.cluster import cluster
from tests.paper.server import (
    ELECTION_MAX,
    ELECTION_MIN,
    Server,
    candidate,
    follower,
    group,
    heartbeat,
    messages_to,
    pre_candidate,
    server,
    who,
)

WIDTH = ELECTION_MAX - ELECTION_MIN
ROUND_MIN, ROUND_MAX = 7, 14
"In ticks, like those above: for how long a round of votes lasts in these tests."
ROUNDS: dict[str, Any] = {"vote_timeout_ms": (10 * ROUND_MIN, 10 * ROUND_MAX)}


@pytest.mark.parametrize("priority", [0, -1, -3])
def test_each_step_of_lower_priority_waits_one_width_longer(priority: int) -> None:
    """Whoever has the next higher one has timed out before, whatever both have drawn."""
    waits = [
        server("1 1", seed=seed, priority=priority).raft.state.election_deadline
        for seed in range(50)
    ]

    late = -priority * WIDTH
    assert ELECTION_MIN + late <= min(waits) <= max(waits) <= ELECTION_MAX + late


def test_lower_priority_comes_later_when_the_leader_closes_its_connection() -> None:
    """By rank: behind all that have a higher one."""
    waits = {}
    for name, priority in (("a", -1), ("c", 0)):
        it = follower("1 1", name=name, of="b", priority=priority)
        it.step(PeerUnreachable(peer="b"))
        waits[name] = it.raft.ticks_until_next_deadline

    assert waits == {"a": 5, "c": 3}


def test_lower_priority_leads_where_nobody_else_can() -> None:
    """It is a wish, no rule."""
    two = group("ab")
    s = cluster(
        server("1 1", "a", priority=-1, configuration=two), server("1", "b", configuration=two)
    )

    s.pass_time(2 * ELECTION_MAX + 3 * WIDTH)

    assert s["a"].raft.role == "leader"


@pytest.mark.parametrize("priority", [1, PRIORITY_MIN - 1])
def test_priority_out_of_bounds_is_refused(priority: int) -> None:
    with pytest.raises(ConfigError, match=f"priority must lie between -10 and 0, got {priority}"):
        Config(identity=who("a"), priority=priority)


# ── a timeout of its own for a round of votes ────────────────────────────────────────────────────────


def left(it: Server) -> int:
    """Ticks until it campaigns, or does so once more."""
    return it.raft.state.election_deadline - it.raft.state.now


@pytest.mark.accept("U-29", "U-31")
@pytest.mark.parametrize("make", [pre_candidate, candidate])
def test_round_of_votes_lasts_as_long_as_it_is_given(make: Callable[..., Server]) -> None:
    """§3.4, §9.6: the question beforehand and the election itself, each drawn anew."""
    waits = [left(make("1 1", seed=seed, **ROUNDS)) for seed in range(60)]

    assert (min(waits), max(waits)) == (ROUND_MIN, ROUND_MAX)


@pytest.mark.accept("U-29", "U-31")
@pytest.mark.parametrize("make", [pre_candidate, candidate])
def test_round_of_votes_that_nobody_wins_is_repeated_when_its_time_is_over(
    make: Callable[..., Server],
) -> None:
    """§3.4: and so on, in rounds of that length, while nobody leads."""
    a = make("1 1", **ROUNDS)
    term = a.raft.term

    early = a.tick(left(a) - 1)
    again = [a.time_out(), a.time_out()]

    assert early == Effects()
    questions = [messages_to("b", it) for it in again]
    assert questions == 2 * [
        [PreVoteRequest(term=Term(term + 1), last_index=Index(2), last_term=Term(1))]
    ]
    assert ROUND_MIN <= left(a) <= ROUND_MAX


@pytest.mark.accept("U-27")
@pytest.mark.parametrize("make", [server, follower])
def test_silent_leader_is_missed_no_sooner_for_short_rounds(make: Callable[..., Server]) -> None:
    """§3.4: a follower waits for its leader by the group's timeout, whatever a round takes here."""
    waits = [left(make("1 1", seed=seed, **ROUNDS)) for seed in range(60)]

    assert ELECTION_MIN <= min(waits) <= max(waits) <= ELECTION_MAX


@pytest.mark.parametrize("make, later", [(pre_candidate, 0), (pre_candidate, 1), (candidate, 1)])
def test_who_votes_or_hears_a_leader_amid_a_round_waits_by_the_groups_timeout(
    make: Callable[..., Server], later: int
) -> None:
    """§3.4: its own round is over, though the other's may be of the same term."""
    voter, listener = (make("1 1", **ROUNDS) for _ in range(2))
    term = Term(voter.raft.term + later)

    voter.receive("b", VoteRequest(term=term, last_index=Index(2), last_term=Term(1)))
    listener.receive("b", heartbeat(term))

    assert (voter.raft.role, listener.raft.role) == ("follower", "follower")
    assert ELECTION_MIN <= left(voter) <= ELECTION_MAX
    assert ELECTION_MIN <= left(listener) <= ELECTION_MAX


@pytest.mark.parametrize("granted", [True, False])
def test_length_of_rounds_decides_no_election(granted: bool) -> None:
    """§3.4, §3.6.1: who is asked what, and what the answers come to, is the same with any."""
    stories = []
    for rounds in ({}, ROUNDS):
        a = server("1 1", **rounds)
        told = [a.time_out()]
        told.append(a.receive("b", PreVoteReply(term=Term(2), granted=True)))
        a.persist_all()
        told.append(a.receive("c", VoteReply(term=Term(2), granted=granted)))
        stories.append((told, a.raft.role, a.raft.term))

    assert stories[0] == stories[1]
    assert stories[0][1] == ("leader" if granted else "candidate")


def test_lower_priority_waits_one_width_of_rounds_longer_with_each() -> None:
    """It gives way in each round as it does in the first."""
    waits = [left(pre_candidate("1 1", seed=seed, priority=-2, **ROUNDS)) for seed in range(60)]

    late = 2 * (ROUND_MAX - ROUND_MIN)
    assert (min(waits), max(waits)) == (ROUND_MIN + late, ROUND_MAX + late)


@pytest.mark.parametrize("bounds", [(0, 10), (10, 10), (20, 10)])
def test_rounds_that_cannot_be_drawn_are_refused(bounds: tuple[int, int]) -> None:
    with pytest.raises(
        ConfigError, match=r"vote_timeout must be \(low, high\) with 0 < low < high"
    ):
        Config(identity=who("a"), vote_timeout_ms=bounds)


# ── an appointed leader ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.accept("O-87")
def test_only_the_appointed_leader_campaigns_by_itself() -> None:
    """The others wait for it, however long it is away."""
    s = cluster(*(server("1 1", it, appointed_leader="a") for it in "abc"))

    s.pass_time(10 * ELECTION_MAX, "bc")
    without = {s[it].raft.role for it in "bc"}
    s.pass_time(2 * ELECTION_MAX)

    assert without == {"follower"}
    assert (s["a"].raft.role, s["a"].raft.term) == ("leader", 2)


@pytest.mark.accept("O-87")
def test_server_that_is_not_appointed_gives_up_a_silent_leader_and_asks_nobody() -> None:
    """It knows that there is no leader, and says so to its callers."""
    a = follower("1 1", of="b", appointed_leader="b")

    effects = a.tick(ELECTION_MAX)

    assert (a.raft.role, a.raft.leader) == ("follower", None)
    assert not [it for it in messages_to("b", effects) if isinstance(it, PreVoteRequest)]


def test_server_that_is_not_appointed_campaigns_when_its_leader_wants_it() -> None:
    """§3.10: planned work on the appointed one needs another for a while."""
    a = follower("1 1", of="b", term=2, appointed_leader="b")

    a.receive("b", TimeoutNow(term=Term(2)))

    assert (a.raft.role, a.raft.term) == ("candidate", 3)


def test_server_that_is_not_appointed_does_not_try_again() -> None:
    """Its campaign has come to nothing; the appointed leader will come back."""
    a = follower("1 1", of="b", term=2, appointed_leader="b")
    a.receive("b", TimeoutNow(term=Term(2)))
    a.persist_all()

    a.tick(2 * ELECTION_MAX)

    assert (a.raft.role, a.raft.term) == ("follower", 3)
