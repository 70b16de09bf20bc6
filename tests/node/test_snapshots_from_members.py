"""A snapshot on its way to a member comes from whoever holds the same one; who fails or lies costs time."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager
from typing import Any

import attrs
import pytest
import trio
import trio.testing

from raftkit import BytesStateMachine, Node
from raftkit.config import Config
from raftkit.driver.bytes_host import BytesHost
from raftkit.driver_messages import DriverMessage, SnapshotPart
from raftkit.messages import Message, SnapshotChunk
from raftkit.model import NodeId
from raftkit.snapshot import SnapshotMeta
from raftkit.statemachine import Batch
from raftkit.testing import Cluster, local_cluster
from raftkit.transports import MemoryNetwork
from raftkit.transports.memory import Link, MemoryEndpoint
from raftkit.wire import Limits, decode_message
from tests.node.machines import Journal

PART = 256
"Bytes of each part."


@attrs.define(eq=False)
class Counting(MemoryNetwork):
    """A network that counts the bytes of snapshots, by sender and kind, and loses those of some."""

    sent: Counter[tuple[NodeId, type]] = attrs.field(factory=Counter)
    mute: set[NodeId] = attrs.field(factory=set)
    "Whose parts are lost."
    mute_after: int | None = None
    "From so many bytes of parts on, whoever sends them."

    def carry(self, link: Link, sender: MemoryEndpoint, data: bytes) -> None:
        """See `MemoryNetwork`."""
        body = data[55 + int.from_bytes(data[53:55], "big") :]
        name, message = sender.identity.id, decode_message(body, limits=Limits())
        if not self._loses(name, message):
            super().carry(link, sender, data)

    def _loses(self, name: NodeId, message: Message | DriverMessage) -> bool:
        if isinstance(message, SnapshotPart):
            parts = self.bytes_of(SnapshotPart)
            if name in self.mute or (self.mute_after is not None and parts >= self.mute_after):
                return True
        if isinstance(message, SnapshotPart | SnapshotChunk):
            self.sent[name, type(message)] += len(message.data)
        return False

    def bytes_of(self, kind: type) -> int:
        return sum(count for (_, it), count in self.sent.items() if it is kind)


class Uneven(BytesStateMachine):
    """Keeps what it is given, and never writes the same bytes twice, though as many, and with one digest."""

    written = 0

    def __init__(self) -> None:
        self.lines: list[bytes] = []

    def apply(self, batch: Batch) -> list[bytes]:
        self.lines += [bytes(it) for it in batch.commands]
        return [b""] * len(batch.commands)

    def snapshot(self) -> Iterable[bytes]:
        Uneven.written += 1
        number = Uneven.written if self.lines else 0
        return [b"%08d\n" % number, b"\n".join(self.lines)]

    def restore(self, chunks: Iterable[bytes]) -> None:
        self.lines = b"".join(chunks).split(b"\n")[1:]

    def digest(self) -> bytes:
        return b"%d" % len(self.lines)


@attrs.define(eq=False)
class Group:
    """Three nodes, of which one was away for long."""

    cluster: Cluster[Any]
    network: Counting
    leader: Node[Any]
    holder: Node[Any]
    late: NodeId

    @property
    def size(self) -> int:
        """Bytes of the newest snapshot of the leader."""
        snapshot = self.leader._server.raft.state.snapshot  # type: ignore[union-attr]
        assert snapshot is not None
        return snapshot.size

    async def catch_up(self) -> Node[Any]:
        """Have the late one be as far as its leader."""
        node = await self.cluster.restart(self.late)
        with trio.fail_after(60):
            await node.wait_applied(self.leader.statistics().applied_index)
        return node


@asynccontextmanager
async def group(
    monkeypatch: pytest.MonkeyPatch,
    factory: Any = Journal,
    *,
    limits: dict[str, int] | None = None,
    **settings: Any,
) -> AsyncGenerator[Group]:
    """A group whose leader has compacted what the third node misses, and has cut a snapshot like all."""
    given: dict[str, Any] = {"compaction_tail_entries": 0, "snapshot_chunk_bytes": PART}
    given |= limits or {}
    monkeypatch.setattr("raftkit.driver.server.Config", lambda **it: Config(**(it | given)))
    network = Counting()
    settings = {"in_memory": True, "snapshot_entries": 200, "paranoid": True, **settings}
    async with local_cluster(factory, 3, network=network, **settings) as cluster:
        leader = await cluster.wait_leader()
        holder, late = (node for node in cluster if node is not leader)
        await cluster.crash(late.id)
        for number in range(25):
            await write(leader, number)
        await holder.wait_applied(leader.statistics().applied_index)
        await trio.sleep(1)
        yield Group(cluster, network, leader, holder, late.id)


async def write(node: Node[Any], number: int) -> None:
    """Ten lines, of whatever machine it is."""
    lines = [f"{number}/{n} and more" for n in range(10)]
    if isinstance(node._server.replica._host, BytesHost):
        await node.execute_many([line.encode() for line in lines])
    else:
        await node.execute_many([Journal.write(line=line) for line in lines])


async def test_most_of_a_snapshot_comes_from_a_follower_that_holds_it(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The leader sends what it takes to find out, which is three parts."""
    async with group(monkeypatch) as it:
        node = await it.catch_up()

        assert it.size > 10 * PART
        assert it.network.sent[it.leader.id, SnapshotChunk] <= 3 * PART
        assert it.network.sent[it.holder.id, SnapshotPart] >= it.size - 3 * PART
        assert it.network.bytes_of(SnapshotPart) <= it.size
        assert await node.read(Journal.read()) == await it.leader.read(Journal.read())


async def test_the_leader_sends_it_all_if_nobody_else_answers(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with group(monkeypatch) as it:
        it.network.mute = {it.holder.id}
        begun = trio.current_time()
        node = await it.catch_up()

        assert it.network.bytes_of(SnapshotPart) == 0
        assert it.network.sent[it.leader.id, SnapshotChunk] >= it.size
        assert trio.current_time() - begun < 2  # the leader does not wait for what does not come
        assert await node.read(Journal.read()) == await it.leader.read(Journal.read())


async def test_a_holder_that_dies_midway_costs_the_leader_the_rest(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with group(monkeypatch) as it:
        it.network.mute_after = it.size // 2
        node = await it.catch_up()

        assert it.network.sent[it.leader.id, SnapshotChunk] >= it.size // 2 - 2 * PART
        assert it.network.sent[it.leader.id, SnapshotChunk] < it.size
        assert await node.read(Journal.read()) == await it.leader.read(Journal.read())


async def test_a_holder_that_has_it_no_more_costs_the_leader_the_rest_at_once(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says so: there is nothing to wait for."""
    async with group(monkeypatch) as it:
        parts = it.holder._server.comparing.parts
        parts.held = lambda index: None
        node = await it.catch_up()

        assert it.network.bytes_of(SnapshotPart) == 0
        assert await node.read(Journal.read()) == await it.leader.read(Journal.read())


async def test_who_received_a_snapshot_tells_its_digest_and_gives_it_to_others(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a group that writes no more, no later cut would show whose state is right."""
    async with group(monkeypatch) as it:
        node = await it.catch_up()

        ours, theirs = node._server.comparing._own, it.leader._server.comparing._own
        index = max(ours)
        assert index == max(theirs)
        assert ours[index] == theirs[index]


async def test_a_lying_holder_costs_time_and_is_named(
    autojump_clock: trio.testing.MockClock,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The whole has another checksum, and the leader sends all of it."""
    async with group(monkeypatch) as it:
        storing = it.holder._server.comparing.parts.storing

        @attrs.define
        class Liar:
            async def read_part(self, snapshot: SnapshotMeta, offset: int, most: int) -> bytes:
                data = await storing.read_part(snapshot, offset, most)
                assert data is not None
                return data[::-1]

        liar: Any = Liar()
        it.holder._server.comparing.parts.storing = liar
        node = await it.cluster.restart(it.late)
        events = node.events()
        await node.wait_applied(it.leader.statistics().applied_index)

        assert it.network.sent[it.leader.id, SnapshotChunk] >= it.size
        assert await node.read(Journal.read()) == await it.leader.read(Journal.read())
        assert [str(event.peer.id) async for event in first(events)] == [it.holder.id]


async def first(events: Any) -> AsyncGenerator[Any]:
    """The next that says that somebody misbehaved."""
    async for event in events:
        if type(event).__name__ == "PeerMisbehaved":
            yield event
            return


async def test_files_that_are_not_the_same_bytes_are_not_mixed(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Equal states, of which the machine of each node writes other bytes: only the leader's are sent."""
    async with group(monkeypatch, Uneven) as it:
        node = await it.catch_up()

        assert it.network.bytes_of(SnapshotPart) == 0
        assert it.network.sent[it.leader.id, SnapshotChunk] >= it.size
        assert node._server.replica.digest() == it.leader._server.replica.digest()


async def test_holders_keep_to_their_rate(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is not to pass a link is not to pass another's either."""
    async with group(monkeypatch, snapshot_bytes_per_second=1000) as it:
        begun = trio.current_time()
        await it.catch_up()

        served = it.network.sent[it.holder.id, SnapshotPart]
        assert served > 3 * PART
        assert trio.current_time() - begun > (served - 2 * PART) / 1000


# ── a receiver that restarts ─────────────────────────────────────────────────────────────────────────


async def test_a_receiver_that_restarts_goes_on_where_it_was(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with group(monkeypatch, snapshot_bytes_per_second=2000) as it:
        await it.cluster.restart(it.late)
        half = it.size // 2
        with trio.fail_after(60):
            while it.network.sent.total() < half:  # noqa: ASYNC110 - a simulated clock
                await trio.sleep(0.05)
        await it.cluster.crash(it.late)
        before = it.network.sent.total()
        node = await it.catch_up()

        assert node._server.storage.recovered.received is not None
        assert it.network.sent.total() - before < it.size - half + 4 * PART
        assert await node.read(Journal.read()) == await it.leader.read(Journal.read())
