"""Nodes over multicast whose lanes are full: nobody is taken for dead, and who asks too much is told so."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import attrs
import pytest
import trio

from raftkit import Node, Overloaded, StateMachine, command, open_node, query
from raftkit.driver_messages import DriverMessage, Frame, Scope
from raftkit.messages import Heartbeat, Message, PreVoteRequest
from raftkit.model import Identity, NodeId
from raftkit.storage import MemoryStorage
from raftkit.transports import MulticastEndpoint, MulticastTransport, Sink
from raftkit.transports.multicast.pacing import Turn
from tests.node.test_snapshot_transfer import limited
from tests.transports.multicast_places import a_group, free_datagram_addresses

TIMING = {"election_timeout": (0.75, 1.5), "heartbeat_interval": 0.05}
ROW_BYTES = 4000


@attrs.define
class Rows(StateMachine):
    """Rows of bytes, and how many were put."""

    rows: dict[str, bytes] = attrs.field(factory=dict)
    count: int = 0

    @command
    def fill(self, rows: int) -> None:
        """A snapshot that is large, of a command that is small."""
        for number in range(rows):
            self.rows[f"filled {number}"] = bytes(ROW_BYTES)

    @command
    def put(self, name: str, data: bytes) -> None:
        self.rows[name] = data
        self.count += 1

    @query
    def counted(self) -> int:
        return self.count


@attrs.define(eq=False)
class Watched:
    """A transport, one node's endpoint of it, and what passes."""

    transport: MulticastTransport
    sent: Counter[NodeId] = attrs.field(factory=Counter)
    "Heartbeats, by whom they were for, if there was a link."
    heard: int = 0
    "Heartbeats."
    doubts: int = 0
    "Requests for pre-votes sent: once a leader was missed."
    endpoint: MulticastEndpoint | None = None
    sink: Sink | None = None

    @asynccontextmanager
    async def open_endpoint(
        self, identity: Identity, address: str, sink: Sink
    ) -> AsyncGenerator[Watched]:
        self.sink = sink
        async with self.transport.open_endpoint(identity, address, self) as self.endpoint:
            yield self

    def linked(self, peer: NodeId) -> None:
        assert self.sink is not None
        self.sink.linked(peer)

    def unreachable(self, peer: NodeId, why: str) -> None:
        assert self.sink is not None
        self.sink.unreachable(peer, why)

    def objection(self, newcomer: Identity) -> str:
        assert self.sink is not None
        return self.sink.objection(newcomer)

    def settings_differ(self, peer: NodeId) -> None:
        assert self.sink is not None
        self.sink.settings_differ(peer)

    def received(self, frame: Frame) -> None:
        self.heard += isinstance(frame.body, Heartbeat)
        assert self.sink is not None
        self.sink.received(frame)

    def adopt(self, scope: Scope) -> None:
        self.own.adopt(scope)

    def connect(self, peers: Mapping[NodeId, str]) -> None:
        self.own.connect(peers)

    def send(self, targets: Sequence[NodeId], body: Message | DriverMessage) -> None:
        if isinstance(body, Heartbeat):
            self.sent.update(it for it in targets if it in self.own.engine.links)
        self.doubts += isinstance(body, PreVoteRequest)
        self.own.send(targets, body)

    @property
    def own(self) -> MulticastEndpoint:
        assert self.endpoint is not None
        return self.endpoint

    def waiting(self, turn: Turn) -> int:
        """Messages in that queue, or parts of the message under way."""
        return self.own._pacer.waiting(turn)


@attrs.define(eq=False)
class Party:
    """Three nodes over one network, and what passes between them."""

    nursery: trio.Nursery
    transport: MulticastTransport
    members: dict[str, str]
    nodes: dict[str, Node[Rows]] = attrs.field(factory=dict)
    watched: dict[str, Watched] = attrs.field(factory=dict)
    storages: dict[str, MemoryStorage] = attrs.field(factory=dict)
    scopes: dict[str, trio.CancelScope] = attrs.field(factory=dict)

    async def start(self, name: str) -> Node[Rows]:
        old = self.storages.get(name)
        self.storages[name] = old.reopen() if old else MemoryStorage(name)
        self.watched[name] = Watched(self.transport)
        node: Node[Rows] = await self.nursery.start(self._run, name)
        self.nodes[name] = node
        return node

    async def _run(self, name: str, task_status: trio.TaskStatus[Node[Rows]]) -> None:
        settings: dict[str, Any] = {"data_dir": self.storages[name], **TIMING}
        with trio.CancelScope() as self.scopes[name]:
            async with open_node(
                Rows, id=name, members=self.members, transport=self.watched[name], **settings
            ) as node:
                task_status.started(node)
                await trio.sleep_forever()

    async def leader(self) -> Node[Rows]:
        return self.nodes[await next(iter(self.nodes.values())).wait_leader()]

    def begin(self) -> None:
        """Count from here on."""
        for it in self.watched.values():
            it.sent.clear()
            it.heard = it.doubts = 0

    def assert_no_heartbeat_missed(self, leader: Node[Rows], *followers: Node[Rows]) -> None:
        """What was sent was heard, but for what is on its way, and nobody doubted."""
        for it in followers:
            sent, heard = self.watched[leader.id].sent[it.id], self.watched[it.id].heard
            assert sent > 10
            assert sent - heard <= 2
        assert sum(it.doubts for it in self.watched.values()) == 0


@asynccontextmanager
async def a_party(**choices: Any) -> AsyncGenerator[Party]:
    transport = MulticastTransport(
        group=a_group(), interface="lo", cluster="load", insecure=True, **choices
    )
    members = dict(zip("abc", free_datagram_addresses(3), strict=True))
    async with trio.open_nursery() as nursery:
        party = Party(nursery, transport, members)
        for name in members:
            await party.start(name)
        yield party
        nursery.cancel_scope.cancel()


@pytest.mark.slow
@pytest.mark.accept("P-44")
async def test_no_heartbeat_is_missed_while_a_snapshot_and_writes_fill_the_wire(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Neither for writes nor for a chunk that takes the time of many; and the snapshot gets through."""
    limited(monkeypatch, snapshot_chunk_bytes=1024 * 1024)
    async with a_party(pacing_rate=1_000_000, recv_buffer_size=64 * 1024) as party:
        leader = await party.leader()
        other, late = (name for name in "abc" if name != leader.id)
        with trio.fail_after(60):
            await leader.execute(Rows.fill(rows=100))
            party.scopes[late].cancel()
            await leader.execute(Rows.put(name="late misses it", data=b""))
            size = (await leader.snapshot()).size
            node, term = await party.start(late), leader.statistics().term
            party.begin()
            full = looks = written = 0
            async with trio.open_nursery() as writers:

                async def write(name: str) -> None:
                    nonlocal written
                    while True:
                        await leader.execute(Rows.put(name=name, data=bytes(ROW_BYTES)))
                        written += 1

                for number in range(8):
                    writers.start_soon(write, f"{number}")
                while node._server.applying.installs == 0:
                    looks += 1
                    at = party.watched[leader.id]
                    full += at.waiting(Turn.BULK) + at.waiting(Turn.UNDER_WAY) > 0
                    await trio.sleep(0.01)
                writers.cancel_scope.cancel()
            await node.wait_applied(leader.statistics().applied_index)

            party.assert_no_heartbeat_missed(leader, party.nodes[other], node)
            assert {it.statistics().term for it in party.nodes.values()} == {term}
            assert size > 100 * ROW_BYTES
            assert full > looks / 2
            assert written > 20


@pytest.mark.slow
@pytest.mark.accept("U-25")
async def test_a_full_lane_is_bounded_and_tells_proposers_and_delays_no_heartbeat(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What the wire does not take waits with the leader, to a bound, and then is refused to who asks."""
    capacity = 4
    limited(monkeypatch, uncommitted_bytes_max=200_000, append_bytes_max=16_000)
    async with a_party(
        pacing_rate=1_000_000, recv_buffer_size=32 * 1024, send_buffer_capacity=capacity
    ) as party:
        leader = await party.leader()
        term, outcomes = leader.statistics().term, Counter[str]()
        await leader.execute(Rows.put(name="first", data=b""))
        party.begin()
        longest = 0

        async def write(number: int) -> None:
            try:
                await leader.execute(Rows.put(name=f"{number % 10}", data=bytes(ROW_BYTES)))
                outcomes["done"] += 1
            except Overloaded:
                outcomes["overloaded"] += 1

        with trio.fail_after(60):
            async with trio.open_nursery() as writers:
                for number in range(200):
                    writers.start_soon(write, number)
                    if number % 50 == 49:  # as much as may be uncommitted, four times
                        await trio.sleep(0.05)
                while len(writers.child_tasks) > 0:
                    longest = max(longest, party.watched[leader.id].waiting(Turn.ENTRIES))
                    await trio.sleep(0.01)
            for it in party.nodes.values():
                assert await it.read(Rows.counted()) == 1 + outcomes["done"]

        followers = (it for it in party.nodes.values() if it is not leader)
        party.assert_no_heartbeat_missed(leader, *followers)
        assert {it.statistics().term for it in party.nodes.values()} == {term}
        assert outcomes["done"] > 20
        assert outcomes["overloaded"] > 20
        assert 0 < longest <= capacity
