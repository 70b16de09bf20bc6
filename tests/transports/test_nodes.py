"""Whole nodes over each transport for many processes: found, decide, lose one, go on, get it back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import pytest
import trio

from raftkit import Node, StateMachine, open_node
from raftkit.driver import SettingsDiffer
from raftkit.storage import MemoryStorage
from raftkit.transports import LossyTransport, MulticastTransport, TcpTransport
from tests.node.machines import Counter
from tests.processes.machine import Lists
from tests.transports.multicast_places import a_group, free_datagram_addresses
from tests.transports.parts import free_addresses


def tcp(names: str) -> tuple[LossyTransport, dict[str, str]]:
    return TcpTransport(), dict(zip(names, free_addresses(len(names)), strict=True))


def multicast(names: str) -> tuple[LossyTransport, dict[str, str]]:
    transport = MulticastTransport(group=a_group(), interface="lo", cluster="nodes", insecure=True)
    return transport, dict(zip(names, free_datagram_addresses(len(names)), strict=True))


Network = Callable[[str], tuple[LossyTransport, dict[str, str]]]


@attrs.define(eq=False)
class Life:
    """One node, until `scope` is cancelled."""

    storage: MemoryStorage
    members: dict[str, str]
    transport: LossyTransport
    machine: type[StateMachine] = Counter
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)

    async def run(self, task_status: trio.TaskStatus[Node[Any]]) -> None:
        with self.scope:
            async with open_node(
                self.machine,
                id=self.storage.record.identity.id,
                members=self.members,
                data_dir=self.storage,
                transport=self.transport,
                paranoid=True,
            ) as node:
                task_status.started(node)
                await trio.sleep_forever()


async def start(nursery: trio.Nursery, life: Life) -> Node[Any]:
    node: Node[Any] = await nursery.start(life.run)
    return node


@pytest.mark.slow
@pytest.mark.parametrize("network", [tcp, multicast])
async def test_three_nodes_survive_the_death_of_their_leader(network: Network) -> None:
    transport, members = network("abc")
    lives = {name: Life(MemoryStorage(name), members, transport) for name in members}
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

        lives[dead] = Life(lives[dead].storage.reopen(), members, transport)
        node = await start(nursery, lives[dead])
        with trio.fail_after(10):
            assert await node.execute(Counter.add()) == 5
        assert await node.read(Counter.value()) == 5
        nursery.cancel_scope.cancel()

    assert gap < 1.0


@pytest.mark.slow
@pytest.mark.accept("U-43")
async def test_multicast_settings_that_differ_are_an_event_of_the_node() -> None:
    """Who runs the cluster is told, and decides: the link stands all the same."""
    transport, members = multicast("ab")
    assert isinstance(transport, MulticastTransport)
    other = attrs.evolve(transport, pacing_rate=1_000_000)
    lives = [Life(MemoryStorage("a"), members, transport), Life(MemoryStorage("b"), members, other)]
    async with trio.open_nursery() as nursery:
        a = await start(nursery, lives[0])
        events = a.events()
        await start(nursery, lives[1])
        with trio.fail_after(10):
            while not isinstance(told := await events.receive(), SettingsDiffer):
                pass
            assert await a.execute(Counter.add()) == 1
        nursery.cancel_scope.cancel()

    assert told == SettingsDiffer(peer="b")


@pytest.mark.slow
@pytest.mark.accept("P-03")
async def test_the_same_commands_leave_the_same_state_over_either_transport() -> None:
    """At every node, with entries of 64 000 bytes among them."""
    states = [state for network in (tcp, multicast) for state in await states_after_work(network)]

    assert len(states) == 6
    assert all(state == states[0] for state in states)
    assert states[0][0] == 60


State = tuple[int, int, dict[str, tuple[int, ...]]]


async def states_after_work(network: Network) -> list[State]:
    """What each node holds after the same commands: how many, a checksum of all in order, and the lists."""
    transport, members = network("abc")
    lives = [Life(MemoryStorage(name), members, transport, Lists) for name in members]
    async with trio.open_nursery() as nursery:
        nodes = [await start(nursery, life) for life in lives]
        with trio.fail_after(60):
            for number in range(60):
                key = "k" * (64_000 if number % 20 == 19 else number % 7)
                await nodes[number % 3].execute(Lists.append(key=key, value=number))
            states: list[State] = [await it.read(everything) for it in nodes]
        nursery.cancel_scope.cancel()
    return states


def everything(machine: Lists) -> State:
    return machine.count, machine.chain, machine.lists.copy()
