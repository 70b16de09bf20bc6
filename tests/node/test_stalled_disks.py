"""A disk that finishes nothing, on whole nodes: others take over, the node stays, and says why (I1, F15)."""

from __future__ import annotations

import math
import threading
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, nullcontext
from pathlib import Path
from typing import Any, TypeVar

import attrs
import pytest
import trio
import trio.testing

from raftkit import MemoryNetwork, OutcomeUnknown
from raftkit.driver import (
    DiskRecovered,
    DiskStalled,
    EventStream,
    Replica,
    open_server,
)
from raftkit.messages import Write
from raftkit.node import Node
from raftkit.storage import FileStorage, InlineWriter, MemoryStorage, Storage, Writer
from raftkit.testing import local_cluster
from tests.driver.plans import plan_of_a
from tests.node.machines import Counter

T = TypeVar("T")
MEMBERS = {name: f"memory:{name}" for name in "abc"}
STALL = 1.0
"The default of `storage_stall_timeout` with the default of election timeouts."


@attrs.define(eq=False)
class Disk:
    """A disk that can be told to finish nothing. Implements `StorageCalls` and `Writer`."""

    inner: InlineWriter | None = None
    stuck: bool = False
    waiting: list[Write] = attrs.field(factory=list[Write])

    def open_writer(self, storage: Storage) -> AbstractAsyncContextManager[Writer]:
        self.inner = InlineWriter(storage)
        return nullcontext(self)

    async def run(self, function: Callable[[], T]) -> T:
        return function()

    def submit(self, write: Write) -> bool:
        self.waiting.append(write)
        if not self.stuck:
            self.free()
        return False

    def free(self) -> None:
        """Finish all that waits."""
        assert self.inner is not None
        self.stuck = False
        for write in self.waiting:
            self.inner.submit(write)
        self.waiting.clear()

    async def wait_completed(self) -> int:
        assert self.inner is not None
        return await self.inner.wait_completed()


@attrs.frozen
class Group:
    """Three nodes, and their disks."""

    nodes: dict[str, Node[Any]]
    disks: dict[str, Disk]

    @property
    def leader(self) -> Node[Any] | None:
        """Who leads, if somebody does."""
        return next((it for it in self.nodes.values() if it.status == "leader"), None)

    def other(self, node: Node[Any]) -> Node[Any]:
        """Another one."""
        return next(it for it in self.nodes.values() if it is not node)


@asynccontextmanager
async def group(
    *, limits: dict[str, int] | None = None, storage_stall_timeout: float | None = None
) -> AsyncGenerator[Group]:
    """Three nodes in virtual time; the body begins when one leads and each has a session."""
    network, it = MemoryNetwork(), Group({}, {name: Disk() for name in MEMBERS})
    async with AsyncExitStack() as stack:
        for name in MEMBERS:
            plan = attrs.evolve(
                plan_of_a(MEMBERS, found=False),
                id=name,
                calls=it.disks[name],
                limits=limits or {},
                storage_stall_timeout=storage_stall_timeout,
            )
            opened = open_server(plan, Replica(Counter), MemoryStorage(name), network)
            it.nodes[name] = Node(await stack.enter_async_context(opened))
        for node in it.nodes.values():
            await node.execute(Counter.add())
        assert it.leader is not None
        yield it


def heard(stream: EventStream) -> list[DiskStalled | DiskRecovered]:
    """What a node has said of its disk."""
    return [it for it in stream._queue if isinstance(it, DiskStalled | DiskRecovered)]


async def begin_call(nursery: trio.Nursery, node: Node[Any]) -> list[Any]:
    """Have `node` execute a command; what is answered comes to the list."""
    answers: list[Any] = []

    async def call() -> None:
        answers.append(await node.execute(Counter.add()))

    nursery.start_soon(call)
    await trio.testing.wait_all_tasks_blocked()
    return answers


async def test_group_goes_on_when_the_disk_of_its_leader_stands_still(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Another leads in little more than the timeout, and whoever waits at the old one is answered later."""
    async with group() as it, trio.open_nursery() as nursery:
        old = it.leader
        assert old is not None
        it.disks[old.id].stuck = True
        waiting = await begin_call(nursery, old)
        await trio.sleep(STALL + 0.2)

        assert it.leader not in (None, old)
        assert await it.other(old).execute(Counter.add(), timeout=0.5) == 5
        assert waiting == []
        it.disks[old.id].free()
        await trio.sleep(0.2)
        assert waiting == [4]
        assert await old.read(Counter.value()) == 5


@pytest.mark.slow
async def test_leader_leads_on_where_all_disks_stand_still(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Of one storage that all share: it is nobody's fault, and reads need no disk."""
    async with group() as it, trio.open_nursery() as nursery:
        leader = it.leader
        assert leader is not None
        for disk in it.disks.values():
            disk.stuck = True
        waiting = await begin_call(nursery, leader)
        await trio.sleep(10 * STALL)

        assert it.leader is leader
        assert all(node.statistics().stalled_seconds for node in it.nodes.values())
        assert await leader.read(Counter.value()) == 3
        for disk in it.disks.values():
            disk.free()
        await trio.sleep(0.2)
        assert it.leader is leader
        assert waiting == [4]


async def test_node_says_that_its_disk_stands_still_and_when_it_does_no_more(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with group() as it, trio.open_nursery() as nursery:
        old = it.leader
        assert old is not None
        stream, disk = old.events(), it.disks[old.id]
        disk.stuck = True
        await begin_call(nursery, old)
        await trio.sleep(STALL - 0.1)
        before = (heard(stream), old.statistics().stalled_seconds, old.explain())
        await trio.sleep(2.1)
        (stalled,), seconds, words = heard(stream), old.statistics().stalled_seconds, old.explain()
        disk.free()
        await trio.sleep(0.1)

        assert before[:2] == ([], None)
        assert "look at the disk" not in before[2]
        assert isinstance(stalled, DiskStalled)
        assert stalled.seconds == pytest.approx(STALL, abs=0.02)
        assert seconds == pytest.approx(3.0, abs=0.02)
        assert "this disk has been at a write for 3.0 s" in words
        (recovered,) = heard(stream)[1:]
        assert isinstance(recovered, DiskRecovered)
        assert recovered.seconds == pytest.approx(3.0, abs=0.02)
        assert old.statistics().stalled_seconds is None
        assert "look at the disk" not in old.explain()


async def test_next_write_that_is_late_as_well_is_no_recovery(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """A disk that takes two seconds for each write stands still all the time."""
    async with group() as it, trio.open_nursery() as nursery:
        old = it.leader
        assert old is not None
        stream, disk = old.events(), it.disks[old.id]
        disk.stuck = True
        await begin_call(nursery, old)
        await begin_call(nursery, old)
        await trio.sleep(2 * STALL)
        assert disk.inner is not None
        disk.inner.submit(disk.waiting.pop(0))
        await trio.sleep(0.1)

        assert [type(it) for it in heard(stream)] == [DiskStalled]
        assert old.statistics().stalled_seconds == pytest.approx(2 * STALL + 0.1, abs=0.02)
        disk.free()
        await trio.sleep(0.1)
        assert [type(it) for it in heard(stream)] == [DiskStalled, DiskRecovered]


@pytest.mark.parametrize("seconds, leads", [(0.1, False), (3.0, True), (math.inf, True)])
async def test_how_long_a_write_may_take_can_be_said(
    autojump_clock: trio.testing.MockClock, seconds: float, leads: bool
) -> None:
    async with group(storage_stall_timeout=seconds) as it, trio.open_nursery() as nursery:
        old = it.leader
        assert old is not None
        it.disks[old.id].stuck = True
        await begin_call(nursery, old)
        await trio.sleep(2 * STALL)

        assert (it.leader is old) is leads
        it.disks[old.id].free()


async def test_slow_elections_make_patient_with_disks(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """By default a write may take twice the upper election timeout: replacing a leader takes as long."""
    async with local_cluster(
        Counter, 1, in_memory=True, election_timeout=(3.0, 6.0), heartbeat_interval=0.5
    ) as cluster:
        assert cluster["a"]._server.stalling.patience == 12.0


@pytest.mark.slow
async def test_what_waits_for_the_disk_of_a_follower_is_bounded(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Its leader sends on only what was acknowledged before, so neither of them collects what comes (F15)."""
    window = 2000
    async with group(limits={"inflight_bytes_max": window, "append_bytes_max": 500}) as it:
        leader = it.leader
        assert leader is not None
        slow = it.other(leader)
        disk = it.disks[slow.id]
        disk.stuck = True
        for _ in range(400):
            await leader.execute(Counter.add())

        waiting = [run for write in disk.waiting for run in write.runs]
        assert 0 < sum(map(len, waiting)) < 100
        assert sum(run.size for run in waiting) <= window + 500
        disk.free()
        assert await slow.read(Counter.value()) == 403


@pytest.mark.slow
async def test_thread_that_hangs_in_a_sync_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On real disks and by real clocks: what stands still is a thread, and the loop goes on."""
    stuck: list[FileStorage] = []
    release = threading.Event()
    perform = FileStorage.perform

    def hang(self: FileStorage, writes: Any) -> None:
        if self in stuck:
            assert release.wait(30)
        perform(self, writes)

    monkeypatch.setattr(FileStorage, "perform", hang)
    async with local_cluster(Counter, 3, data_dir=tmp_path) as cluster:
        old = await cluster.wait_leader()
        storage = old._server.storage
        assert isinstance(storage, FileStorage)
        await old.execute(Counter.add())
        stuck.append(storage)
        with pytest.raises(OutcomeUnknown):
            await old.execute(Counter.add(), timeout=0.5)
        with trio.fail_after(10):
            while cluster.leader() in (None, old):  # noqa: ASYNC110 - a node tells of its own leaders only
                await trio.sleep(0.01)
            new = await cluster.wait_leader()
            assert await new.execute(Counter.add()) == 3
        release.set()
        with trio.fail_after(10):
            assert await old.read(Counter.value()) == 3
