"""The benchmark of growth measures what it names, and tells of all that it measured. No times."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import attrs
import pytest

from benchmarks.growth import restart, snapshots, writes
from benchmarks.growth.__main__ import main
from benchmarks.growth.turns import by_turns, median_of

ONE = writes.Figures(writes_per_s=1000, p50_ms=5, p99_ms=9, leader_cpu_us=100, elections=0)
START = restart.Figures(seconds=1.5, read_mb=1024, disk_mb=1000, memory_mb=90)
PAUSE = snapshots.Figures(
    writes_per_s=1000,
    p50_ms=5,
    p99_ms=9,
    gap_ms=20,
    elections=0,
    snapshots=0,
    snapshot_s=0,
    snapshot_mb=0,
)


def _within(directory: Path) -> list[str]:
    return sorted(it.name for it in directory.iterdir())


# ── what many entries leave ──────────────────────────────────────────────────────────────────────


def test_what_many_entries_leave_is_a_snapshot_and_ten_thousand_of_them() -> None:
    past = writes.past_of(writes.Case(nodes=3, entries=10_000_000))

    assert (past.base, past.snapshot, past.last) == (9_990_000, 10_000_000, 10_000_000)


def test_a_snapshot_covers_all_of_the_log_but_64_mb() -> None:
    _, compacted, whole = (it.past for it in restart.cases(1024))

    assert whole.last == compacted.last == 1024 * 1024
    assert whole.snapshot == compacted.snapshot == (1024 - 64) * 1024
    assert (whole.base, compacted.base) == (0, compacted.snapshot - 10_000)


# ── what is measured ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.slow
async def test_writes_are_measured_behind_a_thousand_entries(tmp_path: Path) -> None:
    case = writes.Case(nodes=1, entries=1000)

    figures = await writes.measure(case, outstanding=16, seconds=0.1, data=tmp_path)

    assert min(figures.writes_per_s, figures.p50_ms, figures.p99_ms) > 0
    assert _within(tmp_path) == []


@pytest.mark.slow
async def test_a_restarted_node_has_its_last_entry(tmp_path: Path) -> None:
    """Else it would vote for a member whose log is one entry shorter. (Whose is as long gets it, below.)"""
    node = restart.prepare(restart.Case(name="whole", log_mb=2), tmp_path / "whole")

    vote, figures = await restart.start(node, behind=1)

    assert node.last == 2048
    assert not vote.granted
    assert figures.read_mb > 2


@pytest.mark.slow
def test_restart_is_told_as_json_and_leaves_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--only", "restart", "--rounds", "1", "--log-mb", "2", "--json"]
    main([*arguments, "--data", str(tmp_path)])

    told = json.loads(capsys.readouterr().out)
    assert [it["name"] for it in told["restart"]["rows"]] == ["no", "compacted", "whole"]
    assert told["restart"]["seconds"] == told["restart"]["rows"][2]["seconds"] > 0
    assert not told["restart"]["page_cache_dropped"]
    assert "growth" not in told
    assert _within(tmp_path) == []


@pytest.mark.slow
async def test_snapshots_are_taken_of_the_whole_state_while_all_writes(tmp_path: Path) -> None:
    case = snapshots.Case(keys=500, snapshots=True)

    figures = await snapshots.measure(case, outstanding=8, seconds=0.1, data=tmp_path)

    assert figures.snapshots >= 1
    assert figures.snapshot_mb > 500 * 32 / 1e6
    assert min(figures.writes_per_s, figures.p50_ms, figures.gap_ms) > 0
    assert _within(tmp_path) == []


def test_the_page_cache_is_dropped_by_the_kernels_switch_if_it_may_be_written(
    tmp_path: Path,
) -> None:
    switch = tmp_path / "drop_caches"

    assert not restart.may_drop_page_cache(switch)
    restart.drop_page_cache(switch)
    assert switch.read_text() == "1\n"
    assert restart.may_drop_page_cache(switch)


# ── what is told ─────────────────────────────────────────────────────────────────────────────────


def _grown(rates: Sequence[tuple[float, float]]) -> dict[writes.Case, list[writes.Figures]]:
    """Writes a second of the new group and of the grown one, round by round."""
    new, grown = (writes.Case(nodes=3, entries=it) for it in (0, 1000))
    return {
        new: [attrs.evolve(ONE, writes_per_s=it) for it, _ in rates],
        grown: [attrs.evolve(ONE, writes_per_s=it) for _, it in rates],
    }


def test_growth_is_the_median_of_ratios_of_one_round() -> None:
    """In the second round the machine did something else, too; both felt it."""
    part = writes.told_of(1000, _grown([(1000, 970), (100, 98), (2000, 1000)]))

    assert part.told["ratio"] == pytest.approx(0.97)
    assert part.told["leader_cpu_ratio"] == 1
    assert part.met
    assert "| 3 | 1,000 | 970 | 5.0 | 9.0 | 100 | 0 |" in part.words
    assert [(it["nodes"], it["entries"]) for it in part.rows] == [(3, 0), (3, 1000)]
    assert not writes.told_of(1000, _grown([(1000, 940)])).met


def test_groups_of_all_sizes_are_measured_and_three_nodes_once() -> None:
    chosen = writes.cases(1000, [1, 3, 5, 7])

    assert [(it.nodes, it.entries) for it in chosen] == [(3, 0), (3, 1000), (1, 0), (5, 0), (7, 0)]


@pytest.mark.parametrize(
    "cold, words",
    [
        (True, "the page cache was dropped before each start"),
        (
            False,
            "the page cache was left alone, but raftkit has the kernel drop what it opens of the log",
        ),
    ],
)
def test_restart_says_what_was_in_the_page_cache(cold: bool, words: str) -> None:
    part = restart.told_of({case: [START] for case in restart.cases(1024)}, cold=cold)

    assert "| whole log of 1,024 MB | 1.50 | 1,024 | 1,000 | 90 |" in part.words
    assert part.words[-2:] == [
        "restart: a node with the whole log votes after 1.50 s (goal ≤ 2 s)",
        words,
    ]
    assert part.met


def test_a_slow_restart_misses_the_goal() -> None:
    slow = attrs.evolve(START, seconds=2.1)

    assert not restart.told_of({case: [slow] for case in restart.cases(8)}, cold=False).met


def test_gaps_are_told_beside_those_without_snapshots() -> None:
    without, during = snapshots.cases(500)
    busy = attrs.evolve(PAUSE, gap_ms=40, snapshots=3, snapshot_s=0.5, snapshot_mb=7.0, elections=1)
    part = snapshots.told_of({without: [PAUSE], during: [busy]})

    assert "| 500 keys, snapshots | 1,000 | 5.0 | 9.0 | 40 | 3 | 0.50 | 7.0 |" in part.words
    assert part.words[-2:] == [
        "snapshot: the longest gap is 40 ms while the leader takes snapshots, and 20 ms without",
        "snapshot: WRONG: 1 elections",
    ]
    assert (part.told["gap_ms"], part.told["gap_ms_without"]) == (40, 20)


def test_cases_take_turns_and_the_order_alternates() -> None:
    done: list[int] = []
    chosen = [writes.Case(nodes=it) for it in (1, 2)]

    async def measure(case: writes.Case) -> writes.Figures:
        done.append(case.nodes)
        return attrs.evolve(ONE, p50_ms=len(done), elections=1)

    found = by_turns(chosen, measure, rounds=3, say=lambda _: None)

    assert done == [1, 2, 2, 1, 1, 2]
    assert [it.p50_ms for it in found[chosen[0]]] == [1, 4, 5]
    assert median_of(found[chosen[0]]) == attrs.evolve(ONE, p50_ms=4, elections=3)


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["--rounds", "0"], "must be at least 1"),
        (["--seconds", "0"], "--seconds must be above 0"),
        (["--entries", "3"], "--entries must be at least 4"),
        (["--nodes", "10"], "--nodes must be from 1 to 9"),
        (["--only", "all"], "invalid choice: 'all'"),
        (["--data", "/no/such"], "--data /no/such is not a directory"),
    ],
)
def test_what_can_not_be_measured_is_refused(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(arguments)

    assert words in capsys.readouterr().err
