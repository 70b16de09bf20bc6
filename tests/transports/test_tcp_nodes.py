"""Whole nodes over TCP: found, decide, lose one, go on, get it back."""

from __future__ import annotations

import attrs
import trio

from raftkit import Node, open_node
from raftkit.storage import MemoryStorage
from raftkit.transports import TcpTransport
from tests.node.machines import Counter
from tests.transports.parts import free_addresses


@attrs.define(eq=False)
class Life:
    """One node, until `scope` is cancelled."""

    storage: MemoryStorage
    members: dict[str, str]
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)

    async def run(self, task_status: trio.TaskStatus[Node[Counter]]) -> None:
        with self.scope:
            async with open_node(
                Counter,
                id=self.storage.record.identity.id,
                members=self.members,
                data_dir=self.storage,
                transport=TcpTransport(),
                paranoid=True,
            ) as node:
                task_status.started(node)
                await trio.sleep_forever()


async def start(nursery: trio.Nursery, life: Life) -> Node[Counter]:
    node: Node[Counter] = await nursery.start(life.run)
    return node


async def test_three_nodes_survive_the_death_of_their_leader() -> None:
    members = dict(zip("abc", free_addresses(3), strict=True))
    lives = {name: Life(MemoryStorage(name), members) for name in members}
    async with trio.open_nursery() as nursery:
        nodes = {name: await start(nursery, life) for name, life in lives.items()}
        for count, node in enumerate(nodes.values(), 1):
            with trio.fail_after(10):
                assert await node.execute(Counter.add()) == count
        assert [await node.read(Counter.value()) for node in nodes.values()] == [3, 3, 3]

        dead = await nodes["a"].wait_leader()
        lives[dead].scope.cancel()
        others = [node for name, node in nodes.items() if name != dead]
        started = trio.current_time()
        with trio.fail_after(10):
            assert await others[0].execute(Counter.add()) == 4
        gap = trio.current_time() - started
        assert await others[1].read(Counter.value()) == 4

        lives[dead] = Life(lives[dead].storage.reopen(), members)
        node = await start(nursery, lives[dead])
        with trio.fail_after(10):
            assert await node.execute(Counter.add()) == 5
        assert await node.read(Counter.value()) == 5
        nursery.cancel_scope.cancel()

    assert gap < 1.0
