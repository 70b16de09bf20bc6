"""`Raft` as its driver sees it, and the laws that it checks in each step."""

from __future__ import annotations

import random
from collections.abc import Callable

import attrs
import pytest

from raftkit.core import PeerStatus, Raft
from raftkit.core.raft import HANDLERS, LOCAL_HANDLERS, RULES
from raftkit.core.state import TRANSITIONS, Candidate, Leader, Role, State
from raftkit.messages import Effects, Input, Message, Receive, Tick
from raftkit.model import Index
from tests.paper.server import (
    ABC,
    Server,
    beat,
    candidate,
    follower,
    group,
    heartbeat,
    leader,
    pre_candidate,
    server,
    who,
)


def test_every_message_has_a_handler() -> None:
    assert set(HANDLERS) == set(Message.__args__)


def test_every_other_input_has_a_handler() -> None:
    assert set(LOCAL_HANDLERS) | {Tick, Receive} == set(Input.__args__)


def test_every_role_has_its_rules() -> None:
    assert set(RULES) == set(Role.__args__)


def test_empty_batch_obliges_to_nothing() -> None:
    for make in (server, follower, pre_candidate, candidate, leader):
        effects = make("1 1").raft.step([])

        assert effects == Effects()
        assert not effects


def test_effects_with_something_to_do_are_true() -> None:
    assert server("1 1").tick(60)


def test_tick_comes_first_in_its_batch() -> None:
    a = leader("1 1")

    with pytest.raises(AssertionError, match="first in its batch"):
        a.step(Receive(sender=who("b"), message=beat(a)), a.passes(1))


@pytest.mark.parametrize("ticks, rounds", [(0, 1), (1, 2)])
def test_where_no_time_has_passed_conclusions_are_drawn_once(
    monkeypatch: pytest.MonkeyPatch, ticks: int, rounds: int
) -> None:
    """Most steps of a busy server lie between two ticks: nothing is due that was not in the last step."""
    a, drawn = leader("1 1"), list[int]()

    def draw(state: State, role: Leader) -> bool:
        drawn.append(state.now)
        return False

    monkeypatch.setitem(RULES, Leader, (*RULES[Leader], draw))
    a.step(a.passes(ticks), Receive(sender=who("b"), message=beat(a)))

    assert len(drawn) == rounds


def test_status_of_a_follower() -> None:
    a = follower("1 1 2", of="b")

    status = (a.raft.role, a.raft.term, a.raft.leader, a.raft.last_index, a.raft.durable_index)
    assert status == ("follower", 2, "b", 3, 3)
    assert (a.raft.commit_index, a.raft.configuration, a.raft.peers()) == (0, ABC, ())
    assert a.raft.configuration_index == 1


def test_status_of_a_leader() -> None:
    a = leader("1 1")
    a.tick(2)
    a.receive("b", beat(a))

    assert (a.raft.role, a.raft.leader) == ("leader", "a")
    peer = PeerStatus(
        id="b", match_index=Index(3), next_index=Index(4), mode="streaming", silent_ticks=0
    )
    assert a.raft.peers() == (peer, attrs.evolve(peer, id="c", silent_ticks=2))


@pytest.mark.parametrize("make, role", [(pre_candidate, "pre-candidate"), (candidate, "candidate")])
def test_status_of_who_campaigns(make: Callable[..., Server], role: str) -> None:
    a = make("1 1")

    assert (a.raft.role, a.raft.leader, a.raft.peers()) == (role, None, ())


def test_learner_is_called_so() -> None:
    a = server("1", "d", configuration=group("abc", learners="d"))

    assert a.raft.role == "learner"


@pytest.mark.accept("C-23")
def test_every_server_starts_as_a_follower() -> None:
    """§3.4: a founder, one that has a log, and one that led when it crashed."""
    a = leader("1 1")
    a.restart()

    for it in (server("1"), server("1 1 2"), a):
        assert (it.raft.role, it.raft.leader) == ("follower", None)


@pytest.mark.accept("O-13")
def test_roles_change_along_figure_3_3() -> None:
    """§3.4: every arrow of the figure, and those of asking beforehand (§9.6)."""
    a = follower("1 1", of="b")

    def becomes(role: str, *causes: Callable[[], object]) -> None:
        for cause in causes:
            cause()
        assert a.raft.role == role

    def hear_of_a_leader(later: int = 0) -> None:
        a.receive("b", heartbeat(a.raft.term + later))

    becomes("pre-candidate", a.time_out)  # silence
    becomes("pre-candidate", a.time_out)
    becomes("follower", hear_of_a_leader)
    becomes("candidate", a.stand)  # a majority would vote for it
    becomes("pre-candidate", a.time_out)  # a split vote: ask again
    becomes("candidate", a.stand)
    becomes("follower", hear_of_a_leader)  # another won
    becomes("candidate", a.stand)
    becomes("follower", lambda: hear_of_a_leader(later=1))
    becomes("leader", a.win)  # a majority did
    becomes("follower", lambda: hear_of_a_leader(later=1))


def test_leadership_begins_with_its_no_op() -> None:
    """What lies below may be known here and not be applied yet."""
    assert leader("1 1").raft.leads_since == 3
    assert follower("1 1").raft.leads_since is None


def test_impossible_change_of_role_is_our_bug() -> None:
    """Roles change along Figure 3.3 only."""
    a = candidate("1 1")

    assert (Candidate, Candidate) not in TRANSITIONS
    with pytest.raises(AssertionError):
        a.raft.state.become(Candidate())


def test_laws_are_checked_in_every_step() -> None:
    """A state that should not be ends the node, rather than spread."""
    a = follower("1 1")
    a.raft.state.applied_index = Index(9)

    with pytest.raises(AssertionError):
        a.tick()


def test_laws_need_not_be_checked_in_production() -> None:
    """`paranoid=False` is for those who measured."""
    it = follower("1 1")
    careless = Raft(attrs.evolve(it.config, paranoid=False), it.disk.found(), random.Random(1))
    careless.state.applied_index = Index(9)

    assert careless.step([]) == Effects()
    assert careless.step([it.passes(1)]) == Effects()
