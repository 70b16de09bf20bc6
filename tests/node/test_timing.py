"""How long a group is without a leader after it fell silent, with each of the timings that have a name."""

from __future__ import annotations

import inspect

import pytest
import trio
import trio.testing

from raftkit import PRESETS, open_node
from raftkit.testing import Cluster, local_cluster
from tests.node.machines import Counter

FAILOVERS = 20


async def failover_seconds(cluster: Cluster[Counter]) -> float:
    """From the moment at which the leader is cut off, unnoticed, until another has decided a command."""
    old = await cluster.wait_leader()
    begun = trio.current_time()
    cluster.isolate(old.id)
    other = next(node for node in cluster if node is not old)
    await other.execute(Counter.add(), timeout=600.0)
    took = trio.current_time() - begun
    cluster.heal()
    for node in cluster:
        await node.read(Counter.value(), timeout=600.0)
    return took


async def measured(preset: str) -> list[float]:
    """Failovers of a group of three by that preset, the shortest first."""
    async with local_cluster(Counter, 3, in_memory=True, **PRESETS[preset]) as cluster:
        return sorted([await failover_seconds(cluster) for _ in range(FAILOVERS)])


@pytest.mark.slow
@pytest.mark.parametrize(
    "preset, heartbeat, election, longest",
    [
        ("lan", 0.05, (0.25, 0.5), 1.0),
        ("wan", 0.5, (3.0, 6.0), 10.0),
        ("proxmox", 1.0, (3.0, 4.0), 8.0),
        pytest.param(
            "chronos", 0.5, (1.0, 2.0), 5.0, marks=pytest.mark.accept("C-28", "C-29", "C-30")
        ),
        pytest.param(
            "omnitron", 2.0, (5.0, 15.0), 20.0, marks=pytest.mark.accept("O-12", "O-14", "O-15")
        ),
        pytest.param(
            "qluster", 10.0, (30.0, 40.0), 50.0, marks=pytest.mark.accept("U-27", "U-28", "U-32")
        ),
    ],
)
async def test_a_preset_replaces_a_silent_leader_in_its_time(
    autojump_clock: trio.testing.MockClock,
    preset: str,
    heartbeat: float,
    election: tuple[float, float],
    longest: float,
) -> None:
    timing = PRESETS[preset]
    took = await measured(preset)
    print(f"{preset}: median {took[FAILOVERS // 2]:.2f} s, longest {took[-1]:.2f} s of {FAILOVERS}")

    assert (timing["heartbeat_interval"], timing["election_timeout"]) == (heartbeat, election)
    assert election[0] - heartbeat <= took[0]  # nobody campaigns before that
    # Where two campaign within 10 ms, as one in a hundred or so does, it takes one round of votes more.
    assert took[-1 if "vote_timeout" in timing else -2] <= longest


def test_the_preset_of_a_local_network_is_the_default() -> None:
    """And so ten times as fast as the slowest, and more."""
    settings = inspect.signature(open_node).parameters

    assert {name: settings[name].default for name in PRESETS["lan"]} == PRESETS["lan"]
    assert PRESETS["lan"]["election_timeout"][1] * 10 <= PRESETS["qluster"]["election_timeout"][0]


@pytest.mark.accept("O-23")
async def test_timing_is_a_setting_and_optional(autojump_clock: trio.testing.MockClock) -> None:
    async with local_cluster(
        Counter, 3, in_memory=True, election_timeout=(5, 15), heartbeat_interval=2
    ) as cluster:
        slow = await failover_seconds(cluster)
    async with local_cluster(Counter, 3, in_memory=True) as cluster:
        quick = await failover_seconds(cluster)

    assert quick < 3 < slow
