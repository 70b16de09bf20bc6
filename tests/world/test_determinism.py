"""One seed is one world: whatever the process, the hash seed, or what ran before (S32)."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from raftkit.driver import open_recorder
from raftkit.testing.world import World

SEEDS = range(12)
"Of the gate: enough that each fault and each setting is in some of them."


def trace_hash(seed: int) -> str:
    """A hash of everything that happens in a world: each input, each effect, each fault."""
    running = World(seed, nodes=1 + seed % 5, deliveries=150, hashed=True).run().trace_hash
    assert running is not None
    return running


@pytest.mark.slow
def test_same_seed_gives_the_same_world_under_any_hash_seed() -> None:
    """The gate: in two processes whose sets and dicts of strings are in other orders, and in this one."""
    code = (
        "from tests.world.test_determinism import SEEDS, trace_hash\nprint(*map(trace_hash, SEEDS))"
    )
    elsewhere = [
        subprocess.Popen(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            stdout=subprocess.PIPE,
            text=True,
        )
        for hash_seed in ("1", "4242")
    ]

    here = [trace_hash(seed) for seed in SEEDS]

    for process in elsewhere:
        said, _ = process.communicate()
        assert said.split() == here
    assert len({*here}) == len(here), "other seeds are other worlds"


def test_the_hash_is_of_what_the_trace_is_told() -> None:
    lines: list[str] = []

    report = World(2, deliveries=30, hashed=True, trace=lines.append).run()

    assert len(lines) > report.steps
    assert report.trace_hash == hashlib.sha256("".join(lines).encode()).hexdigest()


@pytest.mark.slow
def test_the_same_world_is_recorded_in_the_same_bytes(tmp_path: Path) -> None:
    for name in "ab":
        with closing(open_recorder(tmp_path / name)) as recorder:
            World(11, deliveries=600, recorder=recorder).run()

    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.slow
def test_watching_a_world_does_not_change_it() -> None:
    assert World(7, trace=lambda _: None).run() == World(7).run()
