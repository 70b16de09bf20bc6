"""The full-stack world sees what it is there for: each canary breaks one promise around a correct node.

Each is given some seeds; the one that notices is printed (`pytest -s`), so that a harness which goes blind
slowly is noticed too.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import attrs
import pytest
import trio

from raftkit import command
from raftkit.driver.applying import Applying
from raftkit.driver.comparing import Comparing
from raftkit.driver.replica import Replica, Restored
from raftkit.driver.server import Server
from raftkit.driver.tokens import Token
from raftkit.model import Index, Run
from raftkit.statemachine import StateMachine
from raftkit.testing.append_lists import Outcome
from raftkit.testing.full_clients import Client
from raftkit.testing.full_workloads import AppendLists, Asked, ListsMachine, slipping
from raftkit.testing.full_world import FullWorld, InvariantViolated
from raftkit.testing.simulated_disk import _Node

SEEDS = 40


def first_violation(factory: Callable[[], StateMachine] = ListsMachine) -> str:
    """Name of the first violation among some seeds."""
    for seed in range(SEEDS):
        try:
            FullWorld(seed, workload=AppendLists(factory), seconds=6.0).run()
        except InvariantViolated as violation:
            print(f"noticed at seed {seed}: {violation.name}: {violation.detail:.100}")
            return violation.name
    return "none"


@pytest.mark.slow
def test_a_disk_whose_sync_does_nothing_is_noticed() -> None:
    def forgetful(_: _Node) -> None:
        """Answers, and that is all."""

    with patch.object(_Node, "sync", forgetful):
        assert first_violation() != "none"


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
            FullWorld(seed, workload=workload, seconds=6.0, slips=True).run()
        except InvariantViolated as violation:
            return violation.name
        return "none"

    with patch.object(Comparing, "_diverge", careless):
        assert "F17 Mended" in {violation(seed) for seed in (3, 4, 6)}


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
        assert first_violation() != "none"
