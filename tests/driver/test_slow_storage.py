"""A disk that does not answer makes no call last longer than it may, and no node's end a riddle."""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, TypeVar

import attrs
import pytest
import trio
import trio.testing

from raftkit import MemoryNetwork, NodeClosed, NoQuorum, OutcomeUnknown
from raftkit.driver import Replica, open_server
from raftkit.driver.storing import InLoop
from raftkit.node import Node
from raftkit.storage import MemoryStorage, Storage, Writer
from raftkit.testing import local_cluster
from raftkit.transports import Faults
from tests.driver.plans import plan_of_a
from tests.node.machines import Counter

T = TypeVar("T")


@attrs.define
class Slowly:
    """Calls a storage late, but for its writes. Implements `StorageCalls`."""

    seconds: float

    def open_writer(self, storage: Storage) -> AbstractAsyncContextManager[Writer]:
        return InLoop().open_writer(storage)

    async def run(self, function: Callable[[], T]) -> T:
        await trio.sleep(self.seconds)
        return function()


@asynccontextmanager
async def node_alone(calls: Slowly) -> AsyncGenerator[Node[Any]]:
    storage = MemoryStorage("a")
    plan = attrs.evolve(plan_of_a({"a": "memory:a"}), calls=calls)
    async with open_server(plan, Replica(Counter), storage, MemoryNetwork()) as server:
        yield Node(server)


async def test_a_call_at_a_node_whose_disk_hangs_at_its_start_ends_in_time(
    autojump_clock: trio.testing.MockClock,
) -> None:
    with trio.fail_after(1.1):
        async with node_alone(Slowly(math.inf)) as node:
            with pytest.raises(NoQuorum):
                await node.execute(Counter.add(), timeout=1.0, session=None)


async def test_a_snapshot_that_the_end_of_its_node_overtakes_says_so(
    autojump_clock: trio.testing.MockClock,
) -> None:
    raised: list[BaseException] = []

    async def take(node: Node[Any]) -> None:
        try:
            await node.snapshot()
        except NodeClosed as error:
            raised.append(error)

    async with trio.open_nursery() as nursery, node_alone(Slowly(0.5)) as node:
        await node.execute(Counter.add())
        nursery.start_soon(take, node)
        await trio.testing.wait_all_tasks_blocked()

    assert len(raised) == 1


@pytest.mark.slow
async def test_registering_a_session_counts_towards_the_timeout(
    autojump_clock: trio.testing.MockClock,
) -> None:
    network = MemoryNetwork(faults=Faults(delay=(0.4, 0.4)))
    async with local_cluster(
        Counter,
        3,
        in_memory=True,
        network=network,
        election_timeout=(4.0, 8.0),
        heartbeat_interval=0.5,
    ) as cluster:
        leader = await cluster.wait_leader()
        follower = next(it for it in cluster if it is not leader)
        begun = trio.current_time()
        with pytest.raises(OutcomeUnknown):
            await follower.execute(Counter.add(), timeout=2.5)

        assert trio.current_time() - begun < 2.6
