"""Who campaigns first, or at all, by the wish of who runs the group. Safety knows nothing of it."""

from __future__ import annotations

import pytest

from raftkit.config import PRIORITY_MIN, Config
from raftkit.errors import ConfigError
from raftkit.messages import PeerUnreachable, PreVoteRequest, TimeoutNow
from raftkit.model import Term
from tests.paper.cluster import cluster
from tests.paper.server import (
    ELECTION_MAX,
    ELECTION_MIN,
    follower,
    group,
    messages_to,
    server,
    who,
)

WIDTH = ELECTION_MAX - ELECTION_MIN


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
