"""Whole groups as users run them: nothing that was promised is broken, and one seed is one world (S32)."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable

import pytest

from raftkit.testing.full import TRANSPORTS, FullReport, FullWorld
from raftkit.testing.full.workloads import AppendLists, Registers, slipping
from tests.world.chosen_faults import only

SECONDS = 6.0
"Of a storm: short enough that a few seeds fit."


def world(seed: int, *, nodes: int = 3) -> FullReport:
    return FullWorld(seed, nodes=nodes, seconds=SECONDS, transport="memory").run()


def multicasting(
    seed: int, *, nodes: int = 3, trace: Callable[[str], None] | None = None
) -> FullReport:
    """A world over datagrams, whose storm is half as long: its nodes do much more."""
    return FullWorld(
        seed, nodes=nodes, seconds=SECONDS / 2, transport="multicast", trace=trace
    ).run()


@pytest.mark.slow
@pytest.mark.parametrize("seed, nodes", [(1, 3), (2, 3), (5, 3), (16, 3), (18, 5), (3, 1)])
def test_what_was_told_is_what_is(seed: int, nodes: int) -> None:
    """Writes, reads, crashes, bad disks and bad networks; then calm, and every answer is judged."""
    report = world(seed, nodes=nodes)

    assert report.acknowledged > 0


@pytest.mark.slow
@pytest.mark.parametrize("seed, nodes", [(4, 3), (7, 5)])
def test_what_was_told_over_multicast_is_what_is(seed: int, nodes: int) -> None:
    """The endpoint that ships, over datagrams of which many are repaired, and some left to Raft."""
    report = multicasting(seed, nodes=nodes)

    assert report.transport == "multicast"
    assert report.acknowledged > 0
    did = report.network
    assert min(did[f"datagrams {it}"] for it in ("multicast", "repaired", "given up")) > 0


@pytest.mark.slow
def test_who_hears_no_multicasts_is_told_all_the_same() -> None:
    """Those that stay deaf in the calm are held to the same promises."""
    with only(deafen=2.0, crash=0.3):
        report = multicasting(7)

    assert report.network["fallbacks"] > 0
    assert report.acknowledged > 0


def test_each_third_seed_is_a_world_of_multicast() -> None:
    assert [FullWorld(seed).network.name for seed in range(6)] == [*TRANSPORTS, *TRANSPORTS]


@pytest.mark.slow
def test_compare_and_swap_is_linearizable_by_search() -> None:
    report = FullWorld(4, workload=Registers(), seconds=SECONDS).run()

    assert report.acknowledged > 0


@pytest.mark.slow
def test_a_state_that_becomes_wrong_is_found_and_mended() -> None:
    """F17, J4: one replica miscounts once, in the storm; a crash may undo that before it is found."""
    reports = [
        FullWorld(
            seed,
            workload=AppendLists(slipping({12})),
            seconds=SECONDS,
            slips=True,
            transport="memory",
        ).run()
        for seed in (3, 4, 5, 6)
    ]

    assert sum(report.healed for report in reports) > 0


@pytest.mark.slow
def test_a_slip_of_a_replica_is_drawn_like_any_fault() -> None:
    with only(slip=12, transfer=0.3, crash=0.3):
        reports = [world(seed) for seed in (1, 2)]

    assert sum(report.healed for report in reports) > 0


@pytest.mark.slow
def test_a_group_that_is_changed_all_the_time_keeps_its_word() -> None:
    """Nodes come, are promoted, demoted and removed, lose their disks and come back; some crash meanwhile."""
    with only(change_group=3.0, wipe=4.0, crash=0.5, close_links=0.3):
        reports = [world(seed) for seed in (1, 2, 3)]

    assert sum(report.orders["change"] for report in reports) >= 10
    assert sum(report.installed for report in reports) > 0


@pytest.mark.slow
def test_leaders_that_are_replaced_all_the_time_lose_nothing() -> None:
    with only(transfer=2.0, step_down=1.0, weather=0.5):
        report = world(1)

    assert min(report.orders["transfer"], report.orders["step_down"]) > 0


@pytest.mark.slow
def test_a_version_comes_in_force_while_nodes_are_upgraded_one_by_one() -> None:
    """Some go back before, some crash, leaders change, newcomers are admitted; states stay equal."""
    with only(upgrade=1.0, crash=0.5, transfer=0.3, change_group=1.0):
        reports = [world(seed) for seed in (1, 2)]

    assert [report.version for report in reports] == [2, 2]


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
def test_one_seed_is_one_world_of_datagrams() -> None:
    """In another process, under another hash seed, and whether or not somebody reads along."""
    code = (
        "from tests.world.test_full_worlds import multicasting\nprint(multicasting(1).trace_hash)"
    )
    elsewhere = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONHASHSEED": "4242"},
        capture_output=True,
        text=True,
        check=True,
    )
    lines: list[str] = []

    assert elsewhere.stdout.split() == [multicasting(1, trace=lines.append).trace_hash]
    assert any("is linked to" in line for line in lines)
    assert any("AppendEntries" in line for line in lines)


@pytest.mark.slow
def test_reading_along_does_not_change_it() -> None:
    lines: list[str] = []

    watched = FullWorld(10, seconds=SECONDS, transport="memory", trace=lines.append).run()

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
