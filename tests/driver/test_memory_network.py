"""The memory network: real frames, links that open, close and lose, and peers that are told."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import Any

import attrs
import pytest
import trio

from raftkit.driver_messages import UNBORN, Frame, Scope
from raftkit.errors import ConfigError
from raftkit.messages import Heartbeat
from raftkit.model import Identity, Index, NodeId, Term
from raftkit.transports import Faults, MemoryEndpoint, MemoryNetwork

ADDRESSES = {name: f"memory:{name}" for name in "abc"}


@attrs.define
class Listener:
    """A sink that remembers."""

    heard: list[Any] = attrs.field(factory=list)

    def linked(self, peer: NodeId) -> None:
        self.heard.append(("linked", peer))

    def received(self, frame: Frame) -> None:
        self.heard.append((frame.sender.id, getattr(frame.body, "round", None)))

    def unreachable(self, peer: NodeId, why: str) -> None:
        self.heard.append((why, peer))

    def objection(self, newcomer: Identity) -> str:
        return ""

    def settings_differ(self, peer: NodeId) -> None:
        self.heard.append(("has other settings", peer))

    def rounds(self) -> list[int]:
        return [it[1] for it in self.heard if isinstance(it[1], int)]


@attrs.define
class Bench:
    network: MemoryNetwork
    stack: AsyncExitStack
    sinks: dict[str, Listener] = attrs.field(factory=dict)
    ends: dict[str, MemoryEndpoint] = attrs.field(factory=dict)

    async def open(self, name: str) -> None:
        self.sinks[name] = sink = Listener()
        self.ends[name] = await self.stack.enter_async_context(
            self.network.open_endpoint(Identity(id=name, incarnation=1), ADDRESSES[name], sink)
        )
        self.ends[name].connect({it: ADDRESSES[it] for it in ADDRESSES if it != name})

    def say(self, sender: str, number: int, targets: str) -> None:
        self.ends[sender].send(list(targets), beat(number))


def beat(number: int) -> Heartbeat:
    return Heartbeat(term=Term(1), round=number, commit_index=Index(0))


async def test_links_open_when_both_are_there(autojump_clock: trio.testing.MockClock) -> None:
    async with AsyncExitStack() as stack:
        bench = Bench(MemoryNetwork(), stack)
        await bench.open("a")
        assert bench.sinks["a"].heard == [("refused", "b"), ("refused", "c")]
        await bench.open("b")

        assert bench.sinks["a"].heard[2:] == [("linked", "b")]
        assert bench.sinks["b"].heard == [("linked", "a"), ("refused", "c")]


async def test_one_message_reaches_all_its_targets(autojump_clock: trio.testing.MockClock) -> None:
    async with AsyncExitStack() as stack:
        bench = Bench(MemoryNetwork(), stack)
        for name in "abc":
            await bench.open(name)
        bench.say("a", 1, "bc")
        bench.say("b", 2, "c")
        await trio.testing.wait_all_tasks_blocked()

        assert bench.sinks["b"].heard[-1] == ("a", 1)
        assert bench.sinks["c"].heard[-2:] == [("a", 1), ("b", 2)]


async def test_peers_are_told_at_once_that_an_endpoint_closed(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with AsyncExitStack() as stack:
        bench = Bench(MemoryNetwork(), stack)
        await bench.open("a")
        async with AsyncExitStack() as inner:
            bench.stack = inner
            await bench.open("b")
            bench.network.faults = Faults(delay=(0.1, 0.1))
            bench.say("b", 1, "a")  # on its way when the link closes: lost with it
        assert bench.sinks["a"].heard[-1] == ("closed the connection", "b")
        await trio.sleep(5)
        assert bench.sinks["a"].rounds() == []
        assert bench.sinks["a"].heard[-1] == ("closed the connection", "b")  # told once
        bench.say("a", 1, "b")  # goes nowhere


async def test_frames_of_another_scope_close_the_link(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with AsyncExitStack() as stack:
        bench = Bench(MemoryNetwork(), stack)
        await bench.open("a")
        await bench.open("b")
        bench.ends["a"].adopt(Scope(cluster=bytes(15) + b"x"))
        bench.say("a", 1, "b")
        await trio.testing.wait_all_tasks_blocked()

        assert bench.sinks["b"].rounds() == []
        assert any("cluster" in str(it[0]) for it in bench.sinks["b"].heard)
        bench.ends["a"].adopt(UNBORN)
        await trio.sleep(2)
        bench.say("a", 2, "b")
        await trio.testing.wait_all_tasks_blocked()
        assert bench.sinks["b"].rounds() == [2]


async def test_a_partition_is_silent_and_heals(autojump_clock: trio.testing.MockClock) -> None:
    async with AsyncExitStack() as stack:
        bench = Bench(MemoryNetwork(), stack)
        for name in "abc":
            await bench.open(name)
        before = len(bench.sinks["a"].heard)
        bench.network.partition("a", "bc")
        bench.say("a", 1, "bc")
        bench.say("b", 2, "ac")
        await trio.sleep(1)

        assert len(bench.sinks["a"].heard) == before
        assert bench.sinks["b"].rounds() == []
        assert bench.sinks["c"].rounds() == [2]
        bench.network.heal()
        bench.say("a", 3, "bc")
        await trio.sleep(1)
        assert bench.sinks["b"].rounds() == [3]


async def test_one_direction_can_be_cut(autojump_clock: trio.testing.MockClock) -> None:
    async with AsyncExitStack() as stack:
        bench = Bench(MemoryNetwork(), stack)
        await bench.open("a")
        await bench.open("b")
        bench.network.cut("a", "b")
        bench.say("a", 1, "b")
        bench.say("b", 2, "a")
        await trio.sleep(1)

        assert (bench.sinks["a"].rounds(), bench.sinks["b"].rounds()) == ([2], [])


async def test_links_closed_by_hand_come_back(autojump_clock: trio.testing.MockClock) -> None:
    async with AsyncExitStack() as stack:
        bench = Bench(MemoryNetwork(), stack)
        await bench.open("a")
        await bench.open("b")
        bench.network.close_links("a")
        assert bench.sinks["b"].heard[-1] == ("closed the connection", "a")
        await trio.sleep(2)

        assert ("linked", "a") in bench.sinks["b"].heard[-2:]


async def test_a_full_queue_drops_what_is_new(autojump_clock: trio.testing.MockClock) -> None:
    async with AsyncExitStack() as stack:
        bench = Bench(MemoryNetwork(queue_bytes_max=1000), stack)
        await bench.open("a")
        await bench.open("b")
        for number in range(100):
            bench.say("a", number, "b")
        await trio.testing.wait_all_tasks_blocked()
        arrived = bench.sinks["b"].rounds()

        assert 0 < len(arrived) < 100
        assert arrived == list(range(len(arrived)))
        bench.say("a", 100, "b")
        await trio.testing.wait_all_tasks_blocked()
        assert bench.sinks["b"].rounds()[-1] == 100


async def test_faults_lose_repeat_and_reorder_as_the_seed_says(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def run(seed: int) -> list[int]:
        async with AsyncExitStack() as stack:
            faults = Faults(loss=0.2, duplication=0.2, delay=(0.0, 0.5))
            bench = Bench(MemoryNetwork(seed=seed, faults=faults), stack)
            await bench.open("a")
            await bench.open("b")
            for number in range(100):
                bench.say("a", number, "b")
            await trio.sleep(1)
            return bench.sinks["b"].rounds()

    first = await run(1)

    assert first == await run(1)
    assert first != await run(2)
    assert len(set(first)) < 100  # some were lost
    assert len(first) > len(set(first))  # some came twice
    assert first != sorted(first)  # and some overtook others


async def test_an_address_is_one_endpoints(autojump_clock: trio.testing.MockClock) -> None:
    async with AsyncExitStack() as stack:
        bench = Bench(MemoryNetwork(), stack)
        await bench.open("a")
        with pytest.raises(ConfigError, match="in use"):
            await bench.open("a")
