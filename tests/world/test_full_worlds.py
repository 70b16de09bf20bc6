"""Whole groups as users run them: nothing that was promised is broken, and one seed is one world (S32)."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from raftkit.testing.full_workloads import AppendLists, Registers, slipping
from raftkit.testing.full_world import FullReport, FullWorld

SECONDS = 6.0
"Of a storm: short enough that a few seeds fit."


def world(seed: int, *, nodes: int = 3) -> FullReport:
    return FullWorld(seed, nodes=nodes, seconds=SECONDS).run()


@pytest.mark.slow
@pytest.mark.parametrize("seed, nodes", [(1, 3), (2, 3), (5, 3), (16, 3), (18, 5), (3, 1)])
def test_what_was_told_is_what_is(seed: int, nodes: int) -> None:
    """Writes, reads, crashes, bad disks and bad networks; then calm, and every answer is judged."""
    report = world(seed, nodes=nodes)

    assert report.acknowledged > 0


@pytest.mark.slow
def test_compare_and_swap_is_linearizable_by_search() -> None:
    report = FullWorld(4, workload=Registers(), seconds=SECONDS).run()

    assert report.acknowledged > 0


@pytest.mark.slow
def test_a_state_that_becomes_wrong_is_found_and_mended() -> None:
    """F17, J4: one replica miscounts once, in the storm; a crash may undo that before it is found."""
    reports = [
        FullWorld(seed, workload=AppendLists(slipping({12})), seconds=SECONDS, slips=True).run()
        for seed in (3, 4, 6)
    ]

    assert sum(report.healed for report in reports) > 0


@pytest.mark.slow
def test_same_seed_gives_the_same_world() -> None:
    assert world(16) == world(16)


@pytest.mark.slow
def test_hash_seed_changes_nothing() -> None:
    code = "from tests.world.test_full_worlds import world\nprint(world(16).trace_hash)"
    elsewhere = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONHASHSEED": "4242"},
        capture_output=True,
        text=True,
        check=True,
    )

    assert elsewhere.stdout.split() == [world(16).trace_hash]


@pytest.mark.slow
def test_reading_along_does_not_change_it() -> None:
    lines: list[str] = []

    watched = FullWorld(10, seconds=SECONDS, trace=lines.append).run()

    assert watched == world(10)
    assert any("loses power" in line for line in lines)
    assert any("AppendEntries" in line for line in lines)


@pytest.mark.slow
def test_a_world_suffers_and_gets_on() -> None:
    """A world in which nothing goes wrong proves nothing, nor does one in which nothing goes right."""
    report = world(22)

    assert sum(report.faults.values()) > 0
    assert report.lives > report.nodes
    assert min(report.elections, report.acknowledged, report.reads, report.snapshots_compared) > 0
