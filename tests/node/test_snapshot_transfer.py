"""A snapshot on its way to a member, while everything else goes on."""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
import trio.testing

from raftkit import MemoryNetwork, Node, StateMachine, command
from raftkit.config import Config
from raftkit.driver_messages import Frame
from raftkit.messages import Heartbeat
from raftkit.model import Identity, NodeId
from raftkit.testing import local_cluster
from raftkit.transports import Faults, Sink, TcpEndpoint
from tests.node.machines import Journal
from tests.node.tcp_group import open_group


def limited(monkeypatch: pytest.MonkeyPatch, **limits: Any) -> None:
    """Give the cores of this test tiny limits, and no tail of the log behind a snapshot."""
    limits = {"compaction_tail_entries": 0} | limits
    monkeypatch.setattr("raftkit.driver.server.Config", lambda **given: Config(**(given | limits)))


async def write_until(node: Node[Journal], done: trio.Event) -> None:
    """Write, ten lines in each round, until that happened."""
    while not done.is_set():
        await node.execute_many([Journal.write(line=f"line {n}") for n in range(10)])


async def test_snapshots_are_sent_at_the_rate_that_the_leader_was_given(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    limited(monkeypatch, snapshot_chunk_bytes=256)
    async with local_cluster(
        Journal, 3, in_memory=True, snapshot_bytes_per_second=1000, paranoid=False
    ) as cluster:
        leader = await cluster.wait_leader()
        late = next(node.id for node in cluster if node is not leader)
        await cluster.crash(late)
        await leader.execute_many([Journal.write(line=f"line {n}") for n in range(300)])
        size = (await leader.snapshot()).size
        begun = trio.current_time()
        node = await cluster.restart(late)
        await node.wait_applied(leader.statistics().applied_index)
        seconds = trio.current_time() - begun

        assert size > 3000
        assert size / 1000 - 0.3 < seconds < size / 1000 + 1  # the first chunk need not wait
        assert leader.leader == leader.id  # nobody missed a heartbeat


@pytest.mark.slow
@pytest.mark.accept("U-51", "U-52")
async def test_a_slow_link_and_fast_writers_end_in_one_snapshot(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A member far behind is brought up by one snapshot, though tens are cut while it is on its way."""
    limited(monkeypatch, snapshot_chunk_bytes=256)
    network = MemoryNetwork(faults=Faults(delay=(0.03, 0.03)))
    async with local_cluster(
        Journal, 3, in_memory=True, network=network, snapshot_entries=20, paranoid=False
    ) as cluster:
        leader = await cluster.wait_leader()
        late = next(node.id for node in cluster if node is not leader)
        await cluster.crash(late)
        await leader.execute_many([Journal.write(line=f"line {n}") for n in range(1000)])
        caught_up, begun = trio.Event(), trio.current_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(write_until, leader, caught_up)
            node = await cluster.restart(late)
            first = leader.statistics().snapshot_index
            with trio.fail_after(120):
                while leader.statistics().applied_index - node.statistics().applied_index > 100:  # noqa: ASYNC110
                    await trio.sleep(0.05)
            took = trio.current_time() - begun
            cut = (leader.statistics().snapshot_index - first) // 20
            installs = node._server.applying.installs
            caught_up.set()

        print(
            f"{took:.1f} s of virtual time, {cut} snapshots were cut meanwhile, {installs} installed"
        )
        assert cut >= 10
        assert installs == 1
        await node.wait_applied(leader.statistics().applied_index)
        assert await node.read(Journal.read()) == await leader.read(Journal.read())


# ── a large one, over TCP ────────────────────────────────────────────────────────────────────────────

ROWS, ROW_BYTES, FILLS = 100_000, 64, 10
MIB = 1024 * 1024
SILENCE_MAX = 0.25
"Of all the time that it takes: to read a million rows at once is half of it, on any machine."


@attrs.define
class Table(StateMachine):
    """Many small rows, of which one command makes thousands."""

    rows: dict[str, bytes] = attrs.field(factory=dict)

    @command
    def fill(self, name: str, count: int, size: int) -> int:
        for number in range(count):
            self.rows[f"{name} {number}"] = bytes(size)
        return len(self.rows)


@attrs.define(eq=False)
class Listening:
    """A sink that notes when heartbeats come, and hands on everything."""

    sink: Sink
    heard_at: list[float] = attrs.field(factory=list)
    "In seconds of this process's processor time, all threads: what others take of the machine is left out."

    def linked(self, peer: NodeId) -> None:
        self.sink.linked(peer)

    def unreachable(self, peer: NodeId, why: str) -> None:
        self.sink.unreachable(peer, why)

    def objection(self, newcomer: Identity) -> str:
        return self.sink.objection(newcomer)

    def settings_differ(self, peer: NodeId) -> None:
        self.sink.settings_differ(peer)

    def received(self, frame: Frame) -> None:
        if isinstance(frame.body, Heartbeat):
            self.heard_at.append(time.process_time())
        self.sink.received(frame)


def listen(endpoint: TcpEndpoint) -> Listening:
    """Note the heartbeats that arrive at `endpoint` from now on."""
    endpoint.sink = listening = Listening(endpoint.sink)
    return listening


@contextmanager
def longest_silence(what: str, *of: Listening) -> Generator[list[float]]:
    """What comes back holds, in the end, the longest silence of a leader at each, as a share of the whole."""
    begun, longest = time.process_time(), list[float]()
    yield longest
    ended = time.process_time()
    for it in of:
        times = [begun, *(at for at in it.heard_at if at > begun), ended]
        longest.append(max(b - a for a, b in pairwise(times)) / (ended - begun))
    print(f"{what}: {ended - begun:.2f} s, {max(longest):.0%} of it without a heartbeat at most")


@pytest.mark.slow
@pytest.mark.accept("U-51")
async def test_heartbeats_and_writes_go_on_while_a_large_snapshot_is_written_sent_and_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """§5.3: a million rows, 75 MiB. All three nodes share one thread here, which is worse than life."""
    limited(monkeypatch)
    timing = {"election_timeout": (3.0, 6.0), "heartbeat_interval": 0.02}
    async with open_group(tmp_path, start=False) as group:
        for name in "abc":
            await group.start(name, Table, **timing)
        leader = await group.wait_leader()
        other, late = (name for name in "abc" if name != leader.id)
        await group.kill(late)
        for number in range(FILLS):
            await leader.execute(Table.fill(name=f"{number}", count=ROWS, size=ROW_BYTES))
        await group[other].wait_applied(leader.statistics().applied_index)
        term = leader.statistics().term
        at_other = listen(group.endpoint(other))

        with longest_silence("written", at_other) as while_written:
            size = (await leader.snapshot()).size
        node = await group.start(late, Table, **timing)
        at_late = listen(group.endpoint(late))
        slowest = 0.0
        with longest_silence("sent and installed", at_other, at_late) as while_sent:
            while node._server.applying.installs == 0:
                begun = time.process_time()
                await group[other].execute(Table.fill(name="meanwhile", count=1, size=1))
                slowest = max(slowest, time.process_time() - begun)
                await trio.sleep(0.01)
        print(f"{size / MIB:.0f} MiB; the slowest write meanwhile took {slowest:.3f} s")

        assert size > 64 * MIB
        assert max(*while_written, *while_sent) < SILENCE_MAX
        assert {it.statistics().term for it in group} == {term}
        await node.wait_applied(leader.statistics().applied_index)
        assert node._server.replica.digest() == leader._server.replica.digest()
