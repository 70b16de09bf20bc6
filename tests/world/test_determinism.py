"""One seed is one world: whatever the process, the hash seed, or what ran before (S32)."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys

import pytest

from raftkit.testing.world import World

SEEDS = (2, 5, 11)


def trace_hash(seed: int) -> str:
    """A hash of everything that happens in a world: each input, each effect, each fault."""
    running = hashlib.sha256()
    World(seed, deliveries=600, trace=lambda line: running.update(line.encode())).run()
    return running.hexdigest()


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
def test_same_seed_gives_the_same_world(seed: int) -> None:
    assert trace_hash(seed) == trace_hash(seed)


@pytest.mark.slow
@pytest.mark.parametrize("hash_seed", ["1", "4242"])
def test_hash_seed_changes_nothing(hash_seed: str) -> None:
    code = (
        "from tests.world.test_determinism import SEEDS, trace_hash\nprint(*map(trace_hash, SEEDS))"
    )
    elsewhere = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        check=True,
    )

    assert elsewhere.stdout.split() == [trace_hash(seed) for seed in SEEDS]


@pytest.mark.slow
def test_watching_a_world_does_not_change_it() -> None:
    assert World(7, trace=lambda _: None).run() == World(7).run()
