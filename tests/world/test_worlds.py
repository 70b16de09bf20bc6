"""Random worlds of one to seven servers hold every invariant. `make soak` runs thousands more."""

from __future__ import annotations

from collections import Counter

import pytest

from raftkit.testing.world import World
from raftkit.testing.world.swarm import FAULTS, MULTICAST_FAULTS

WORLDS = 12
"Worlds of one test: small enough that a failing one is found quickly."


@pytest.mark.accept("Q-06", "C-45", "O-07")
@pytest.mark.slow
@pytest.mark.parametrize("nodes", range(1, 8))
@pytest.mark.parametrize("batch", range(3))
def test_no_invariant_is_violated(nodes: int, batch: int) -> None:
    for number in range(WORLDS):
        World(1_000_000 * nodes + WORLDS * batch + number, nodes=nodes, deliveries=1000).run()


@pytest.mark.slow
def test_every_fault_and_every_success_happens() -> None:
    """A world in which nothing goes wrong proves nothing, nor does one in which nothing goes right."""
    happened: Counter[str] = Counter()

    for seed in range(20):
        report = World(seed, deliveries=1000).run()
        happened.update(report.faults)
        happened.update(
            elections=report.elections,
            committed=report.committed,
            reads=report.reads,
            snapshots=report.snapshots,
            changes=report.changes,
        )

    expected = {
        *FAULTS,
        *MULTICAST_FAULTS,
        "any crash",
        "elections",
        "committed",
        "reads",
        "snapshots",
        "changes",
    }
    assert {name for name, count in happened.items() if count} == expected


@pytest.mark.slow
def test_a_single_server_serves() -> None:
    report = World(5, nodes=1).run()  # one that nobody joins

    assert (report.deliveries, report.elections > 0, report.committed > 0) == (0, True, True)


def test_a_leader_of_older_code_that_has_nothing_to_apply_is_told() -> None:
    """Here such a one leads when the storm is over, and nobody writes: it would not find out what it is."""
    World(4_061_079).run()


def test_a_leader_may_hand_over_to_a_server_whose_disk_is_lost_before_that_shows() -> None:
    """Here another one has its name when it is told to campaign: empty, no member, and deaf to that."""
    World(4_021_480).run()
