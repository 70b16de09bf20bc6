"""`ticks_until_next_deadline` is true: before it a tick does nothing, and then it does something."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable

import pytest
from hypothesis import given, settings, strategies as st

from raftkit.core import Raft
from raftkit.core.state import Leader
from raftkit.messages import Effects, PeerUnreachable, Read, Tick
from tests.core.recording import World
from tests.paper.server import (
    ELECTION_MIN,
    HEARTBEAT,
    RETRY,
    Server,
    candidate,
    follower,
    group,
    leader,
    pre_candidate,
    server,
)


def after(raft: Raft, ticks: int) -> Effects:
    """What a copy of this server does when so much time has passed."""
    state = raft.state
    tick = Tick(count=ticks, wall_ns=state.wall_ns, monotonic_ns=state.monotonic_ns)
    return copy.deepcopy(raft).step([tick])


@pytest.mark.slow
@settings(max_examples=25)
@given(seed=st.integers(0, 10_000), warm_up=st.integers(1, 150))
def test_nothing_happens_before_the_deadline_and_something_then(seed: int, warm_up: int) -> None:
    """Whatever state a bad wire has led to."""
    world = World(random.Random(seed))
    for _ in range(warm_up):
        world.advance()

    for name in "abc":
        raft = world.cluster[name].raft
        raft.step([])  # what may be given out without time passing is given out
        wait = raft.ticks_until_next_deadline
        assert wait is not None
        if wait > 1:
            _nothing_but_stepping_down(raft, wait - 1)
        assert after(raft, wait)


def _nothing_but_stepping_down(raft: Raft, ticks: int) -> None:
    """A leader finds out at its next heartbeat that nobody answers, or earlier if it wakes earlier."""
    effects = after(raft, ticks)
    if isinstance(raft.state.role, Leader) and effects.events:
        return
    assert effects == Effects()


@pytest.mark.parametrize("make", [server, follower, pre_candidate, candidate])
def test_server_that_does_not_lead_sleeps_until_its_election_timeout(
    make: Callable[..., Server],
) -> None:
    a = make("1 1")

    wait = a.raft.ticks_until_next_deadline

    left = a.raft.state.election_deadline - a.raft.state.now
    assert wait == left >= ELECTION_MIN


def test_leader_sleeps_until_its_next_heartbeat() -> None:
    a = leader("1 1")
    a.tick(2)

    assert a.raft.ticks_until_next_deadline == HEARTBEAT - 2


def test_single_server_that_leads_sleeps_for_ever() -> None:
    a = leader("1", configuration=group("a"))

    assert a.raft.ticks_until_next_deadline is None


def test_follower_that_reads_sleeps_until_it_asks_again() -> None:
    a = follower("1 1", of="b")
    a.tick(1)
    a.step(Read(ticket=1))
    a.tick(2)
    a.step(Read(ticket=2))

    assert a.raft.ticks_until_next_deadline == RETRY - 2


def test_deadline_that_has_passed_is_now() -> None:
    """It is never negative: a driver that asks late sleeps not at all."""
    a = follower("1 1", of="b")
    a.raft.state.now += 1000

    assert a.raft.ticks_until_next_deadline == 0


def test_closed_connection_of_the_leader_shortens_the_sleep() -> None:
    """Its rank decides, not the election timeout."""
    a = follower("1 1", of="b")

    a.step(PeerUnreachable(peer="b"))

    assert a.raft.ticks_until_next_deadline == 1
