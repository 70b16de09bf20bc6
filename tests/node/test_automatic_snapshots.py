"""Snapshots that nobody asked for: cut by the log, the same at every node, beside applying."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio

from raftkit import Node, StorageError
from raftkit.messages import Fetch, Fetched
from raftkit.model import Index, NodeId
from raftkit.snapshot import SnapshotMeta
from raftkit.storage import MemoryStorage
from raftkit.storage.file import FileStorage
from raftkit.testing import Cluster, local_cluster
from tests.node.machines import Journal
from tests.node.test_snapshots_and_files import QUICK, short_tail, write


@attrs.define
class Recorder:
    """Every snapshot that was written, by node and index."""

    content: dict[NodeId, dict[int, bytes]] = attrs.field(factory=dict)

    @classmethod
    def on(cls, monkeypatch: pytest.MonkeyPatch) -> Recorder:
        found, real = cls(), MemoryStorage.take_snapshot

        def take(storage: MemoryStorage, **given: Any) -> SnapshotMeta:
            data = b"".join(given["content"])
            mine = found.content.setdefault(storage.record.identity.id, {})
            assert given["index"] not in mine, "written twice"
            mine[given["index"]] = data
            return real(storage, **dict[str, Any](given, content=[data]))

        monkeypatch.setattr(MemoryStorage, "take_snapshot", take)
        return found


async def settle(cluster: Cluster[Journal]) -> int:
    """Wait until every node has applied all there is, and its snapshots are written."""
    last = max(node.statistics().last_index for node in cluster)
    for node in cluster:
        await node.wait_applied(last)
    await trio.testing.wait_all_tasks_blocked(0.001)
    return last


async def wait_snapshot(node: Node[Journal], index: int) -> None:
    """Wait until the newest snapshot is the one at `index`."""
    while True:
        if node.statistics().snapshot_index == index:
            return
        await trio.sleep(0.001)


@pytest.mark.accept("C-56")
async def test_snapshots_are_the_same_bytes_at_every_node(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = Recorder.on(monkeypatch)
    async with local_cluster(Journal, 3, in_memory=True, snapshot_entries=10) as cluster:
        async with trio.open_nursery() as nursery:
            for node in cluster:
                nursery.start_soon(write, cluster, node.id, 40)
        last = await settle(cluster)

        written = recorder.content
        assert written["a"] == written["b"] == written["c"]
        assert list(written["a"]) == list(range(10, last + 1, 10))
        assert [it.statistics().snapshot_index for it in cluster] == [last // 10 * 10] * 3


async def test_an_idle_group_takes_no_snapshots(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = Recorder.on(monkeypatch)
    settings: dict[str, Any] = {"snapshot_entries": 0, "snapshot_elapsed": 1.0}
    async with local_cluster(Journal, 3, in_memory=True, **settings) as cluster:
        await write(cluster, "a", 1)
        await settle(cluster)
        before = {name: dict(it) for name, it in recorder.content.items()}
        await trio.sleep(10)

        assert recorder.content == before


async def test_a_snapshot_is_due_after_so_many_bytes(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = Recorder.on(monkeypatch)
    settings: dict[str, Any] = {"snapshot_entries": 0, "snapshot_bytes": 4000}
    async with local_cluster(Journal, 3, in_memory=True, **settings) as cluster:
        for _ in range(3):
            await cluster["b"].execute(Journal.write(line="x" * 3000))
        await settle(cluster)

        assert len(recorder.content["a"]) == 1
        assert recorder.content["a"] == recorder.content["b"] == recorder.content["c"]


async def test_a_snapshot_is_due_after_so_much_time(monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = Recorder.on(monkeypatch)
    settings: dict[str, Any] = {"snapshot_entries": 0, "snapshot_elapsed": 0.05, **QUICK}
    async with local_cluster(Journal, 3, in_memory=True, **settings) as cluster:
        for _ in range(8):
            await write(cluster, "a", 1)
            await trio.sleep(0.02)  # stamps are of the machine's own clock
        await settle(cluster)

        assert recorder.content["a"]
        assert recorder.content["a"] == recorder.content["b"] == recorder.content["c"]


async def test_without_limits_there_are_no_snapshots(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = Recorder.on(monkeypatch)
    settings: dict[str, Any] = {"snapshot_entries": 0, "snapshot_bytes": 0}
    async with local_cluster(Journal, 3, in_memory=True, **settings) as cluster:
        await write(cluster, "a", 300)

        assert recorder.content == {}
        assert cluster["a"].statistics().snapshot_index == 0


async def test_a_restarted_node_goes_on_from_its_snapshot_and_cuts_where_the_others_do(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = Recorder.on(monkeypatch)
    async with local_cluster(Journal, 3, in_memory=True, snapshot_entries=20) as cluster:
        await write(cluster, "a", 50)
        await settle(cluster)
        newest = cluster["c"].statistics().snapshot_index
        await cluster.crash("c")
        await cluster.restart("c")
        await cluster["c"].wait_leader()
        assert cluster["c"].statistics().snapshot_index == newest > 0
        await write(cluster, "c", 50)
        await settle(cluster)

        assert len(await cluster["c"].read(Journal.read())) == 100
        assert recorder.content["a"] == recorder.content["b"] == recorder.content["c"]


async def test_a_follower_far_behind_gets_a_snapshot_and_cuts_where_the_others_do(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    short_tail(monkeypatch)
    recorder = Recorder.on(monkeypatch)
    async with local_cluster(Journal, 3, in_memory=True, snapshot_entries=50) as cluster:
        await cluster.crash("c")
        await trio.sleep(0.1)  # in the tick in which it was heard last, it might come back soon
        await write(cluster, "a", 170)
        await cluster.restart("c")
        assert len(await cluster["c"].read(Journal.read())) == 170
        installed = cluster["c"].statistics().snapshot_index
        await write(cluster, "c", 100)
        await settle(cluster)

        assert installed >= 150
        assert min(recorder.content["c"]) == installed + 50
        assert recorder.content["c"].items() <= recorder.content["a"].items()


async def test_a_node_restarted_from_a_snapshot_asked_for_cuts_where_the_others_do(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = Recorder.on(monkeypatch)
    limits: dict[str, Any] = {"snapshot_entries": 20, "snapshot_bytes": 700}
    async with local_cluster(Journal, 3, in_memory=True, **limits) as cluster:
        await write(cluster, "a", 28)
        await settle(cluster)
        asked = (await cluster["c"].snapshot()).index
        await write(cluster, "a", 3)
        await settle(cluster)
        await cluster.crash("c")
        await cluster.restart("c")
        await cluster["c"].wait_leader()
        await write(cluster, "c", 60)
        await settle(cluster)

        assert asked not in recorder.content["a"]
        assert recorder.content["c"].pop(asked)
        assert recorder.content["a"] == recorder.content["b"] == recorder.content["c"]
        assert max(recorder.content["c"]) > asked + 40


async def test_a_follower_given_a_snapshot_asked_for_cuts_where_the_others_do(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    short_tail(monkeypatch)
    recorder = Recorder.on(monkeypatch)
    async with local_cluster(Journal, 3, in_memory=True, snapshot_entries=50) as cluster:
        await cluster.crash("c")
        await trio.sleep(0.1)  # in the tick in which it was heard last, it might come back soon
        await write(cluster, "a", 70)
        await settle(cluster)
        asked = {name: (await cluster[name].snapshot()).index for name in "ab"}
        await cluster.restart("c")
        assert len(await cluster["c"].read(Journal.read())) == 70
        installed = cluster["c"].statistics().snapshot_index
        await write(cluster, "c", 100)
        await settle(cluster)

        assert installed == asked["a"] == asked["b"]
        assert installed % 50
        assert sorted(recorder.content["c"]) == [100, 150]
        assert recorder.content["c"].items() <= recorder.content["a"].items()
        assert recorder.content["a"] == recorder.content["b"]


@attrs.define
class Slow:
    """Snapshots of real files that wait, in their threads, until they are let go."""

    begun: list[int] = attrs.field(factory=list)
    go: threading.Event = attrs.field(factory=threading.Event)

    @classmethod
    def on(cls, monkeypatch: pytest.MonkeyPatch) -> Slow:
        slow, real = cls(), FileStorage.take_snapshot

        def take(storage: FileStorage, **given: Any) -> SnapshotMeta:
            slow.begun.append(given["index"])
            assert slow.go.wait(10)
            return real(storage, **given)

        monkeypatch.setattr(FileStorage, "take_snapshot", take)
        return slow


async def wait_begun(slow: Slow) -> None:
    """Wait until a thread is at a snapshot."""
    while True:
        if slow.begun:
            return
        await trio.sleep(0.001)


async def test_applying_goes_on_while_one_is_written_and_a_cut_meanwhile_is_skipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = Slow.on(monkeypatch)
    settings: dict[str, Any] = {"data_dir": tmp_path, "snapshot_entries": 20, **QUICK}
    async with local_cluster(Journal, 1, **settings) as cluster:
        node = cluster["a"]
        try:
            await write(cluster, "a", 50)
            await wait_begun(slow)
            assert slow.begun == [20]
            assert node.statistics().snapshot_index == 0
        finally:
            slow.go.set()
        await wait_snapshot(node, 20)
        await write(cluster, "a", 20)
        await wait_snapshot(node, 60)

        assert slow.begun == [20, 60]


async def test_followers_are_served_from_storage_while_one_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = Slow.on(monkeypatch)
    settings: dict[str, Any] = {"data_dir": tmp_path, "snapshot_entries": 20, **QUICK}
    async with local_cluster(Journal, 1, **settings) as cluster:
        try:
            await write(cluster, "a", 25)
            await wait_begun(slow)
            with trio.fail_after(5):
                read = await cluster["a"]._server.storing.fetch(
                    Fetch(first=Index(1), last=Index(20), bytes_max=1000)
                )
            assert isinstance(read, Fetched)
            assert read.runs[0].first == 1
        finally:
            slow.go.set()


async def test_a_snapshot_asked_for_waits_for_the_one_being_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = Slow.on(monkeypatch)
    settings: dict[str, Any] = {"data_dir": tmp_path, "snapshot_entries": 20, **QUICK}
    async with local_cluster(Journal, 1, **settings) as cluster:
        node, taken = cluster["a"], list[SnapshotMeta]()

        async def ask() -> None:
            taken.append(await node.snapshot())

        async with trio.open_nursery() as nursery:
            await write(cluster, "a", 25)
            await wait_begun(slow)
            nursery.start_soon(ask)
            await trio.sleep(0.02)
            assert slow.begun == [20]
            slow.go.set()

        assert slow.begun == [20, taken[0].index]
        assert taken[0].index == node.statistics().snapshot_index == node.statistics().applied_index


async def test_a_snapshot_that_cannot_be_written_ends_the_node(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(storage: MemoryStorage, **_: object) -> SnapshotMeta:
        raise StorageError(f"{storage.record.identity.id}: the disk is gone")

    monkeypatch.setattr(MemoryStorage, "take_snapshot", refuse)

    async def live() -> None:
        async with local_cluster(Journal, 1, in_memory=True, snapshot_entries=10) as cluster:
            await write(cluster, "a", 20)
            await trio.sleep_forever()

    with pytest.raises(StorageError, match="the disk is gone"):
        await live()
