"""Worlds of whole nodes that have certain faults, and no others: what is looked for there is met soon."""

from __future__ import annotations

import random
from collections.abc import Generator
from contextlib import contextmanager
from unittest.mock import patch

import attrs

from raftkit.testing.datagrams import DatagramFaults
from raftkit.testing.full.swarm import DatagramSwarm, FullSwarm

__all__ = ["only"]


@contextmanager
def only(*, slip: int | None = None, **faults: float) -> Generator[None]:
    """Within, worlds have these faults, so often in a second; disks are quick, and servers soon up again."""
    original, original_network = FullSwarm.draw, DatagramSwarm.draw

    def draw(rng: random.Random) -> FullSwarm:
        quick = attrs.evolve(original(rng), loss=0.0, sync=0.002, downtime=0.1, upgrade_hold=0.3)
        return attrs.evolve(quick, faults=faults, snapshot_entries=3, slip=slip)

    def draw_network(rng: random.Random) -> DatagramSwarm:
        return attrs.evolve(original_network(rng), faults=DatagramFaults(), harm={})

    with (
        patch.object(FullSwarm, "draw", draw),
        patch.object(DatagramSwarm, "draw", draw_network),
    ):
        yield
