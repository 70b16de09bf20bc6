"""The full-stack world sees what it is there for: each canary breaks one promise around a correct node.

Each is given some seeds; the one that notices is printed (`pytest -s`), so that a harness which goes blind
slowly is noticed too.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import attrs
import pytest
import trio

from raftkit import command
from raftkit.core import reconfiguration
from raftkit.driver.applying import Applying
from raftkit.driver.comparing import Comparing
from raftkit.driver.leading import Leading
from raftkit.driver.links import Links
from raftkit.driver.replica import Replica, Restored
from raftkit.driver.server import Server
from raftkit.driver.tokens import Token
from raftkit.driver.upgrading import Upgrading
from raftkit.driver.waiters import Waiters
from raftkit.membership import Configuration
from raftkit.model import Index, NodeId, Run
from raftkit.statemachine import StateMachine
from raftkit.testing.append_lists import Outcome
from raftkit.testing.full import FullWorld
from raftkit.testing.full.clients import Client
from raftkit.testing.full.workloads import (
    AppendLists,
    Asked,
    CountingMachine,
    ListsMachine,
    slipping,
)
from raftkit.testing.simulated_disk import _Node
from raftkit.testing.world import InvariantViolated
from tests.world.chosen_faults import only

SEEDS = 40


def first_violation(
    factory: Callable[[], StateMachine] = ListsMachine,
    newer: Callable[[], StateMachine] | None = None,
    *,
    nodes: int = 3,
    first: int = 0,
) -> str:
    """Name of the first violation among some seeds, from `first` on: one that has noticed what few notice."""
    for seed in range(first, first + SEEDS):
        try:
            workload = AppendLists(factory, newer)
            # What is broken is not the network, and frames cost less than datagrams.
            FullWorld(seed, workload=workload, nodes=nodes, seconds=6.0, transport="memory").run()
        except InvariantViolated as violation:
            print(f"noticed at seed {seed}: {violation.name}: {violation.detail:.100}")
            # A test that takes too long is ended in the middle of whatever runs, a node of the world perhaps.
            if "pytest-timeout" in violation.detail:
                raise
            return violation.name
    return "none"


@pytest.mark.slow
def test_a_disk_whose_sync_does_nothing_is_noticed() -> None:
    def forgetful(_: _Node) -> None:
        """Answers, and that is all."""

    with patch.object(_Node, "sync", forgetful):
        assert first_violation() in {"N1 EndedForNothing", "C1 LOST", "S13 CommittedDurable"}


@pytest.mark.slow
def test_reads_without_a_majority_are_noticed() -> None:
    async def at_once(_: Server, *, lease: bool = False) -> None:
        await trio.lowlevel.checkpoint()

    with patch.object(Server, "catch_up", at_once):
        assert first_violation() == "C1 STALE"


@pytest.mark.slow
def test_retries_without_a_session_are_noticed() -> None:
    async def careless(client: Client, asked: Asked, token: Token) -> bool:
        node = client._some_node()
        if node is not None:
            asked.outcome = Outcome.UNKNOWN
            own = client.workload.command(asked.asked)
            await client._wait([asked], lambda left: node.execute(own, timeout=left, session=None))
        return asked.outcome is Outcome.OK

    with patch.object(Client, "_send", careless):
        assert first_violation() in {"C1 TWICE", "C1 HAPPENED"}


@attrs.define
class Dicing(ListsMachine):
    """Puts a new value first now and then, and each replica for itself."""

    @command
    def append(self, key: str, value: int) -> int:
        before = self.lists.get(key, ())
        first = random.SystemRandom().random() < 0.2
        self.lists[key] = (value, *before) if first else (*before, value)
        return len(self.lists[key])


@pytest.mark.slow
def test_a_machine_that_throws_dice_is_noticed() -> None:
    assert first_violation(Dicing) in {"S23 SnapshotsEqual", "C1 DIVERGED", "S11 StatesEqual"}


@pytest.mark.slow
def test_a_snapshot_that_forgets_a_list_is_noticed() -> None:
    original = Replica.adopt

    def forgetful(replica: Replica[Any], restored: Restored) -> None:
        original(replica, restored)
        replica._host.machine.lists.pop("k", None)

    with patch.object(Replica, "adopt", forgetful):
        assert first_violation() in {
            "C1 DIVERGED",
            "C1 LOST",
            "C1 STALE",
            "S11 StatesEqual",
            "S23 SnapshotsEqual",
            "S23 StatesEqual",
        }


@pytest.mark.slow
def test_a_wrong_state_that_nobody_mends_is_noticed() -> None:
    def careless(comparing: Comparing, index: Index) -> None:
        """Goes on."""

    def violation(seed: int) -> str:
        workload = AppendLists(slipping({12}))
        try:
            FullWorld(seed, workload=workload, seconds=6.0, slips=True, transport="memory").run()
        except InvariantViolated as violation:
            return violation.name
        return "none"

    with patch.object(Comparing, "_diverge", careless):
        assert any(violation(seed) == "F17 Mended" for seed in (6, 3, 4))


@pytest.mark.slow
def test_an_entry_skipped_after_an_install_is_noticed() -> None:
    installs: dict[int, int] = {}
    original: Any = Applying._apply

    async def skipping(applying: Applying, run: Run) -> None:
        if installs.get(id(applying), 0) != applying.installs and run.first > applying.applied:
            installs[id(applying)] = applying.installs
            applying.replica.applied = run.first
            if run.last == run.first:
                applying._advance(first_of_term=False)
                return
            run = run.cut(Index(run.first + 1), run.last)
        await original(applying, run)

    with patch.object(Applying, "_apply", skipping):
        assert first_violation() in {
            "S23 SnapshotsEqual",
            "S23 StatesEqual",
            "S11 StatesEqual",
            "C1 LOST",
        }


# ── the group changes ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.slow
def test_a_change_of_many_voters_in_one_step_is_noticed() -> None:
    """§4.1: without a joint configuration there are two majorities that share nobody."""
    in_one = patch.object(reconfiguration, "first_step", lambda _, target: target)
    with in_one, only(change_group=4.0, partition=0.5, isolate_leader=0.5):
        assert first_violation(nodes=5, first=9) in {
            "C1 DIVERGED",
            "C1 LOST",
            "S1 OneLeader",
            "S11 StatesEqual",
            "S23 SnapshotsEqual",
        }


@pytest.mark.slow
def test_newcomers_to_whom_nobody_talks_are_noticed() -> None:
    original = Links.follow

    def once(links: Links, index: Index, configuration: Configuration) -> None:
        if links._configuration is None:
            original(links, index, configuration)

    with patch.object(Links, "follow", once), only(change_group=2.0):
        assert first_violation() in {"L1 Elects", "L5 Stays", "L2 Progress"}


@pytest.mark.slow
def test_calls_that_nobody_ends_at_a_removed_node_are_noticed() -> None:
    late = patch.object(Waiters, "deadline", lambda _: math.inf)
    never = patch.object(Waiters, "expire", lambda *_: None)
    with late, never, only(change_group=2.0):
        assert first_violation() == "L4 Stranded"


# ── leadership is handed over ────────────────────────────────────────────────────────────────────────


@pytest.mark.slow
def test_a_leader_that_says_it_made_room_and_leads_on_is_noticed() -> None:
    async def at_once(leading: Leading, *, hand_over: bool, within: float) -> NodeId:
        await trio.lowlevel.checkpoint()
        return leading.id

    with patch.object(Leading, "step_down", at_once), only(step_down=1.0):
        assert first_violation() == "T1 MadeRoom"


# ── code is upgraded ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.slow
def test_a_version_that_not_all_have_is_noticed() -> None:
    def hasty(upgrading: Upgrading) -> int:
        return max(upgrading.versions().values()) if upgrading.raft() else 0

    with patch.object(Upgrading, "reachable", hasty), only(upgrade=0.5):
        assert first_violation(newer=CountingMachine) == "U1 AllHaveIt"


@pytest.mark.slow
def test_a_version_that_nobody_brings_in_force_is_noticed() -> None:
    async def never(_: Upgrading) -> None:
        await trio.sleep_forever()

    with patch.object(Upgrading, "run", never), only(upgrade=1.0):
        assert first_violation(newer=CountingMachine) == "U2 Raised"


@pytest.mark.slow
def test_a_node_that_forgets_at_a_restart_which_version_is_in_force_is_noticed() -> None:
    original = Replica.adopt

    def forgetful(replica: Replica[Any], restored: Restored) -> None:
        original(replica, restored)
        replica.version = 1

    with patch.object(Replica, "adopt", forgetful), only(upgrade=2.0, crash=1.0):
        assert first_violation(newer=CountingMachine) in {"S23 SnapshotsEqual", "S23 StatesEqual"}
