"""Random worlds of one to seven servers hold every invariant. `make soak` runs thousands more."""

from __future__ import annotations

from collections import Counter
from unittest.mock import patch

import pytest

from raftkit.model import Identity
from raftkit.testing.world import World
from raftkit.testing.world.churn import suffices
from raftkit.testing.world.server import Server
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


@pytest.mark.slow
def test_a_leader_of_older_code_that_has_nothing_to_apply_is_told() -> None:
    """Nobody writes when the storm is over: it would not find out what it is, and would go on to lead."""
    outdated: list[int] = []
    calm = World._calm

    def outdating(world: World) -> list[Server]:
        quorum = calm(world)
        rest = {it.identity for it in quorum if it.able and not it.shadow.leads}
        possible = world.churn.possible_configurations()
        if all(suffices(it, rest.__contains__) for it in possible):
            leaders = [it for it in quorum if it.shadow.leads and it.able]
            for leader in leaders:
                leader.outdated = True
            outdated.extend([world.seed] * len(leaders))
        return quorum

    with patch.object(World, "_calm", outdating):
        for seed in range(30):
            World(seed, deliveries=300).run()

    assert len(outdated) > 5


def test_a_leader_may_hand_over_to_a_server_whose_disk_is_lost_before_that_shows() -> None:
    """Another one has its name when it is told to campaign: empty, no member, and deaf to that."""
    world = World(0, nodes=3)
    world.stage.swarm = world.stage.swarm.calm()
    servers = list(world.servers.values())
    for server in servers:
        server.start()
    world._agrees(world._settles(servers))
    leader = world._leader_of(servers)
    assert leader is not None
    target = next(it for it in servers if it is not leader)

    target.lose_disk()
    heir = world._make(Identity(id=target.identity.id, incarnation=2))
    heir.start()
    while heir.shadow.promised.term < leader.shadow.term:
        world._pass(1.0)
    leader.transfer(target.identity.id)
    world._pass(1.0)

    assert leader.shadow.told_at is not None
