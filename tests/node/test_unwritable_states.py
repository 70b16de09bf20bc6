"""A command leaves what a field is not annotated to hold: no snapshots until another mends it, no halt."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio

from raftkit import StateMachine, StateMachineFailed, StateUnwritable, command, query
from raftkit.driver import EventStream, SnapshotFailed
from raftkit.model import Index
from raftkit.testing import Cluster, local_cluster
from tests.node.test_automatic_snapshots import Recorder
from tests.node.test_snapshots_and_files import QUICK, short_tail


@attrs.define
class Ledger(StateMachine):
    """Holds ints, but for a command that lies."""

    totals: dict[str, int] = attrs.field(factory=dict)

    @command
    def put(self, name: str, total: int) -> int:
        self.totals[name] = total
        return len(self.totals)

    @command
    def spoil(self, name: str) -> None:
        self.totals[name] = "much"  # type: ignore[assignment]

    @query
    def names(self) -> list[str]:
        return list(self.totals)


@attrs.define
class Pausing(Ledger):
    """Written at the cut, not beside it."""

    snapshot_mode = "pause"


LENIENT: dict[str, Any] = {"in_memory": True, "paranoid": False, "snapshot_entries": 10}


async def put(cluster: Cluster[Any], count: int) -> None:
    """So many entries, and all that follows from them."""
    for _ in range(count):
        await cluster["a"].execute(Ledger.put("ann", 1))
    last = max(node.statistics().last_index for node in cluster)
    for node in cluster:
        await node.wait_applied(last)
    await trio.testing.wait_all_tasks_blocked(0.001)


def take_failures(stream: EventStream) -> list[SnapshotFailed]:
    """The failed snapshots that this listener was told of so far."""
    return [it for it in stream._queue if isinstance(it, SnapshotFailed)]


@pytest.mark.parametrize("machine", [Ledger, Pausing])
async def test_a_state_that_can_not_be_written_stops_no_node_and_is_said_at_each_cut(
    machine: type[Ledger],
    autojump_clock: trio.testing.MockClock,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    recorder = Recorder.on(monkeypatch)
    async with local_cluster(machine, 3, **LENIENT) as cluster:
        stream = cluster["b"].events()
        await put(cluster, 10)
        good = cluster["b"].statistics().snapshot_index
        with caplog.at_level(logging.ERROR, "raftkit"):
            await cluster["c"].execute(Ledger.spoil("bob"))
            await put(cluster, 25)

        where = f"{machine.__name__}.totals['bob']"
        why = "expected int, got str 'much'"
        assert take_failures(stream) == [
            SnapshotFailed(index=Index(index), where=where, why=why)
            for index in range(good + 10, cluster["b"].statistics().last_index + 1, 10)
        ]
        said = [it.message for it in caplog.records if it.message.startswith("b: ")]
        assert len(said) == len(take_failures(stream)) >= 2
        assert f"b: no snapshot, the log grows from index {good} on: " in said[0]
        assert f"{where}: {why}" in said[0]
        for node in cluster:
            assert node.statistics().snapshot_index == good > 0
            assert f"no snapshot since index {good}: " in node.explain()
            assert where in node.explain()
        assert await cluster["c"].read(Ledger.names()) == ["ann", "bob"]
    assert max(recorder.content["b"]) == good


async def test_a_command_that_mends_the_state_lets_the_next_cut_be_written_everywhere(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = Recorder.on(monkeypatch)
    async with local_cluster(Ledger, 3, **LENIENT) as cluster:
        await cluster["a"].execute(Ledger.spoil("bob"))
        await put(cluster, 25)
        assert recorder.content == {}
        await cluster["a"].execute(Ledger.put("bob", 0))
        await put(cluster, 10)

        newest = cluster["a"].statistics().last_index // 10 * 10
        assert list(recorder.content["a"]) == list(range(30, newest + 1, 10))
        assert recorder.content["a"] == recorder.content["b"] == recorder.content["c"]
        for node in cluster:
            assert node.statistics().snapshot_index == newest
            assert node.explain().startswith("all is well")


async def test_who_asks_for_a_snapshot_that_can_not_be_written_is_told_and_the_node_lives(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with local_cluster(Ledger, 3, **LENIENT) as cluster:
        node = cluster["a"]
        await node.execute(Ledger.spoil("bob"))

        with pytest.raises(StateUnwritable, match=r"Ledger\.totals\['bob'\]: expected int") as told:
            await node.snapshot()

        assert told.value.index == node.statistics().applied_index
        assert "no snapshot since index 0" in node.explain()
        await node.execute(Ledger.put("bob", 0))
        assert (await node.snapshot()).index == node.statistics().snapshot_index
        assert node.explain().startswith("all is well")


@pytest.mark.slow
async def test_restarts_and_laggards_are_served_from_the_log_behind_the_last_good_snapshot(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is compacted that is not in a snapshot, so nobody waits for one that can't be written."""
    short_tail(monkeypatch)
    async with local_cluster(Ledger, 3, **LENIENT) as cluster:
        await cluster.crash("c")
        await put(cluster, 25)
        good = cluster["a"].statistics().snapshot_index
        await cluster["a"].execute(Ledger.spoil("bob"))
        await put(cluster, 25)
        await cluster.restart("c")  # behind the leader's log: gets the snapshot
        await cluster.crash("b")
        await cluster.restart("b")
        await put(cluster, 25)

        assert cluster["a"].statistics().last_index >= good + 50
        assert [it.statistics().snapshot_index for it in cluster] == [good] * 3
        for node in cluster:
            assert await node.read(lambda it: it.totals) == {"ann": 1, "bob": "much"}


@pytest.mark.slow
async def test_a_failed_snapshot_leaves_no_file_behind(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"data_dir": tmp_path, "paranoid": False, **QUICK}
    async with local_cluster(Ledger, 1, **settings) as cluster:
        await cluster["a"].execute(Ledger.put("ann", 1))
        taken = await cluster["a"].snapshot()
        before = {it.name for it in (tmp_path / "a").iterdir()}
        await cluster["a"].execute(Ledger.spoil("bob"))
        with pytest.raises(StateUnwritable):
            await cluster["a"].snapshot()

        assert {it.name for it in (tmp_path / "a").iterdir()} == before
    async with local_cluster(Ledger, 1, **settings) as cluster:
        assert cluster["a"].statistics().snapshot_index == taken.index
        assert await cluster["a"].read(Ledger.names()) == ["ann", "bob"]


async def test_a_paranoid_node_names_the_command_and_ends(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """So that tests, whose clusters are paranoid, find it where it was done."""
    with pytest.raises(StateMachineFailed, match=r"Ledger\.spoil left at index \d+ what can't be"):
        async with local_cluster(Ledger, 3, in_memory=True) as cluster:
            await cluster["a"].execute(Ledger.spoil("bob"))
