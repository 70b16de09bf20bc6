"""A snapshot on its way to a member, while everything else goes on."""

from __future__ import annotations

from typing import Any

import pytest
import trio
import trio.testing

from raftkit import MemoryNetwork, Node
from raftkit.config import Config
from raftkit.testing import local_cluster
from raftkit.transports import Faults
from tests.node.machines import Journal


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
