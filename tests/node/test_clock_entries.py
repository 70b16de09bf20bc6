"""What time alone changes: leases that end in an idle group, at every node behind the same entry."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import Any

import attrs
import pytest
import trio

from raftkit import BytesStateMachine, StateMachine, command, query
from raftkit.driver.clocking import PAUSE_SECONDS
from raftkit.statemachine import Batch
from raftkit.testing import Cluster, local_cluster
from tests.node.machines import Counter

NS = 1_000_000_000
TICK = 0.01
"What a deadline may be late by, beside `PAUSE_SECONDS`: a round to the followers and back."


@attrs.define
class Leases(StateMachine):
    """Leases that end by themselves."""

    ends_ns: dict[str, int] = attrs.field(factory=dict)
    ended: dict[str, tuple[int, int]] = attrs.field(factory=dict)
    clocks: int = 0

    @command
    def grant(self, name: str, seconds: float) -> int:
        self.ends_ns[name] = self.ctx.elapsed_ns + round(seconds * NS)
        return self.ends_ns[name]

    @command
    def touch(self) -> None:
        pass

    @query
    def held(self) -> list[str]:
        return list(self.ends_ns)

    def next_deadline(self) -> int | None:
        return min(self.ends_ns.values(), default=None)

    def on_clock(self) -> None:
        self.clocks += 1
        for name, end in list(self.ends_ns.items()):
            if end <= self.ctx.elapsed_ns:
                del self.ends_ns[name]
                self.ended[name] = (self.ctx.index, self.ctx.elapsed_ns)


@attrs.define
class Forgetful(Leases):
    """Never stops to name a deadline that has passed."""

    def on_clock(self) -> None:
        self.clocks += 1


@attrs.define
class Restless(Leases):
    """Always wants to be called again at once."""

    def on_clock(self) -> None:
        self.clocks += 1
        self.ends_ns = {"next": self.ctx.elapsed_ns + 1}


@attrs.define
class Broken(Leases):
    """Fails after half of its work."""

    def on_clock(self) -> None:
        self.clocks += 1
        self.ended["half"] = (self.ctx.index, 0)
        self.ends_ns.clear()
        raise ZeroDivisionError


async def states(cluster: Cluster[Any]) -> list[Any]:
    """What each node holds: the leases, those that ended, and how often time called."""
    return [
        await node.read(lambda it: (dict(it.ends_ns), dict(it.ended), it.clocks))
        for node in cluster
    ]


@pytest.mark.slow
async def test_a_lease_ends_in_an_idle_group(autojump_clock: trio.testing.MockClock) -> None:
    """Behind one entry of the log, so at the same index and time at every node; on time, and not before."""
    async with local_cluster(Leases, 3, in_memory=True) as cluster:
        end = await cluster["b"].execute(Leases.grant(name="x", seconds=10))
        await trio.sleep(9.99)
        before = await cluster["b"].read(Leases.held())
        await trio.sleep(TICK + 0.06)

        first, *others = await states(cluster)
        index, elapsed = first[1]["x"]
        assert before == ["x"]
        assert others == [first, first]
        assert first[0] == {}
        assert index > 1
        assert end <= elapsed <= end + round(TICK * NS)


@pytest.mark.slow
async def test_a_lease_ends_by_real_clocks() -> None:
    """Which go on while a turn of the loop is taken, so a deadline and its stamp are read at two times."""
    async with local_cluster(Leases, 1, in_memory=True) as cluster:
        ends = [
            await cluster["a"].execute(Leases.grant(name=f"{number}", seconds=0.02 * number))
            for number in range(1, 15)
        ]
        with trio.fail_after(10):
            held = ["the first"]
            while held:
                await trio.sleep(0.05)
                held = await cluster["a"].read(Leases.held())

        _, ended, clocks = (await states(cluster))[0]
        assert clocks <= 14
        assert [ended[f"{it}"][1] >= end for it, end in enumerate(ends, 1)] == [True] * 14


async def test_leases_end_in_the_order_of_their_deadlines(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """A command may name an earlier deadline than the one that is waited for; each gets its entry."""
    async with local_cluster(Leases, 3, in_memory=True) as cluster:
        for name, seconds in (("late", 5), ("early", 1), ("middle", 3)):
            await cluster["a"].execute(Leases.grant(name=name, seconds=seconds))
        await trio.sleep(6)

        _, ended, clocks = (await states(cluster))[0]
        assert list(ended) == ["early", "middle", "late"]
        assert clocks == 3


@pytest.mark.slow
async def test_a_lease_ends_in_a_busy_group(autojump_clock: trio.testing.MockClock) -> None:
    """Commands carry log time over the deadline, and end nothing by themselves."""
    async with local_cluster(Leases, 3, in_memory=True) as cluster:
        leader = await cluster.wait_leader()
        await leader.execute(Leases.grant(name="x", seconds=1))
        for _ in range(110):
            await leader.execute(Leases.touch())
            await trio.sleep(0.01)

        assert await leader.read(Leases.held()) == []


async def test_a_lease_ends_under_the_next_leader(autojump_clock: trio.testing.MockClock) -> None:
    """Nobody measured the time since the last entry of the one before, so it ends later, and everywhere."""
    async with local_cluster(Leases, 3, in_memory=True) as cluster:
        leader = await cluster.wait_leader()
        end = await leader.execute(Leases.grant(name="x", seconds=2))
        await trio.sleep(1.5)
        await cluster.crash(leader.id)
        leader2 = await cluster.wait_leader()
        await trio.sleep(1.9)
        before = await leader2.read(Leases.held())
        await trio.sleep(0.15)
        after = await leader2.read(Leases.held())
        await cluster.restart(leader.id)

        first, *others = await states(cluster)
        assert others == [first, first]
        assert (before, after) == (["x"], [])
        assert end <= first[1]["x"][1] <= end + round(TICK * NS)


async def test_nothing_is_written_for_time_without_a_deadline(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """An idle log does not grow, whether the machine never names a deadline or has none now."""
    async with local_cluster(Leases, 3, in_memory=True) as cluster:
        await cluster["a"].execute(Leases.grant(name="x", seconds=1))
        await trio.sleep(2)
        before = [node.statistics().last_index for node in cluster]
        await trio.sleep(4)

        assert [node.statistics().last_index for node in cluster] == before
    async with local_cluster(Counter, 3, in_memory=True) as plain:
        await plain["a"].execute(Counter.add())
        before = [node.statistics().last_index for node in plain]
        await trio.sleep(4)

        assert [node.statistics().last_index for node in plain] == before


async def test_a_deadline_that_stays_gets_one_entry_in_a_leadership(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """A machine that forgets to do what was due makes no storm, in an idle group and in a busy one."""
    async with local_cluster(Forgetful, 3, in_memory=True) as cluster:
        leader = await cluster.wait_leader()
        await leader.execute(Leases.grant(name="x", seconds=1))
        await trio.sleep(3)
        for _ in range(20):
            await leader.execute(Leases.touch())
            await trio.sleep(0.1)
        once = (await states(cluster))[0][2]
        await cluster.crash(leader.id)
        await cluster.wait_leader()
        await trio.sleep(3)

        assert once == 1
        assert (await states(cluster))[0][2] == 2


async def test_deadlines_that_come_faster_share_an_entry(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """The worst machine costs an entry in each pause, not the whole processor."""
    async with local_cluster(Restless, 3, in_memory=True) as cluster:
        await cluster["a"].execute(Leases.grant(name="x", seconds=0))
        await trio.sleep(3)

        clocks = (await states(cluster))[0][2]
        assert 2.5 / PAUSE_SECONDS <= clocks <= 3 / PAUSE_SECONDS + 1


async def test_what_on_clock_raises_is_logged_at_each_node_and_its_changes_stay(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """As with a command: a bug of the machine does not stop the group."""
    async with local_cluster(Broken, 3, in_memory=True) as cluster:
        with caplog.at_level(logging.ERROR, "raftkit"):
            await cluster["a"].execute(Leases.grant(name="x", seconds=1))
            await trio.sleep(5)
        await cluster["a"].execute(Leases.touch())

        first, *others = await states(cluster)
        assert others == [first, first]
        assert (first[0], list(first[1]), first[2]) == ({}, ["half"], 1)
        told = [it for it in caplog.messages if "Broken.on_clock at index" in it]
        assert len(told) == 3


async def test_a_machine_that_cannot_say_its_deadline_goes_on_without(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """The leader says so once, and leads."""

    @attrs.define
    class Wrong(Leases):
        def next_deadline(self) -> int | None:
            return 1.5  # type: ignore[return-value]

    async with local_cluster(Wrong, 1, in_memory=True) as cluster:
        for _ in range(3):
            await cluster["a"].execute(Leases.grant(name="x", seconds=1))
        await trio.sleep(5)

        assert await cluster["a"].read(Leases.held()) == ["x"]
    told = [it for it in caplog.records if "next_deadline" in it.message]
    assert len(told) == 1
    assert "got 1.5" in str(told[0].exc_info)


class Alarm(BytesStateMachine):
    """`b"n"` rings in n seconds; speaks bytes."""

    def __init__(self) -> None:
        self.due: int | None = None
        self.rung: list[int] = []

    def apply(self, batch: Batch) -> Sequence[bytes]:
        if self.due is not None and batch.elapsed_ns >= self.due:
            self.rung.append(len(batch.commands))
            self.due = None
        for it in batch.commands:
            self.due = batch.elapsed_ns + int(it) * NS
        return list(batch.commands)

    def snapshot(self) -> Iterable[bytes]:
        return [str((self.due, self.rung)).encode()]

    def restore(self, chunks: Iterable[bytes]) -> None:
        raise NotImplementedError

    def next_deadline(self) -> int | None:
        return self.due


async def test_a_bytes_machine_gets_a_batch_without_commands(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """In which only time has passed."""
    async with local_cluster(Alarm, 3, in_memory=True) as cluster:
        assert await cluster["a"].execute(b"3") == b"3"
        await trio.sleep(4)

        for node in cluster:
            assert await node.read(lambda it: (it.due, list(it.rung))) == (None, [0])
