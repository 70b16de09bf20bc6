"""Replicas whose states differ: found where the log has snapshots cut, and mended (F17, J4).

The machine miscounts where and when a test says so: a node is known by a context variable, which all
its tasks inherit from whoever started it.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import Any

import attrs
import pytest
import trio
import trio.testing

from raftkit import BytesStateMachine, Diverged, Node, OutcomeUnknown, StateMachine, command, query
from raftkit.driver import EventStream, StateDiverged, StateHealed
from raftkit.driver_messages import (
    DriverMessage,
    SnapshotPart,
    SnapshotWanted,
    StateDigest,
    StateDigests,
)
from raftkit.messages import Message
from raftkit.model import Identity, Index, NodeId
from raftkit.snapshot import SnapshotMeta
from raftkit.statemachine import Batch
from raftkit.testing import Cluster, local_cluster
from tests.node.sieve import Sieve

HERE: ContextVar[NodeId] = ContextVar("HERE")
"Which node runs this."
WRONG: dict[NodeId, int] = {}
"How often a node will still count wrong."
CUT = 10
"Entries between two snapshots."


def _slip() -> int:
    """1 where the node is to count wrong, else 0."""
    name = HERE.get("")
    if not WRONG.get(name):
        return 0
    WRONG[name] -= 1
    return 1


@attrs.define
class Tally(StateMachine):
    total: int = 0
    lines: list[str] = attrs.field(factory=list)

    @command
    def add(self, amount: int = 1) -> int:
        self.total += amount + _slip()
        return self.total

    @command
    def write(self, line: str) -> int:
        self.lines.append(line)
        return len(self.lines)

    @query
    def value(self) -> int:
        return self.total


class Sum(BytesStateMachine):
    """Adds what it is given, and never writes the same bytes twice, but for the beginning."""

    written = 0

    def __init__(self) -> None:
        self.total = 0

    def apply(self, batch: Batch) -> list[bytes]:
        results: list[bytes] = []
        for it in batch.commands:
            self.total += int(it) + _slip()
            results.append(b"%d" % self.total)
        return results

    def snapshot(self) -> Iterable[bytes]:
        Sum.written += 1
        return [b"%d %d" % (self.total, Sum.written if self.total else 0)]

    def restore(self, chunks: Iterable[bytes]) -> None:
        self.total = int(b"".join(chunks).split()[0])


class DigestedSum(Sum):
    def digest(self) -> bytes:
        return b"%d" % self.total


@attrs.define(eq=False)
class Group:
    """A cluster whose nodes know who they are, and all that they said."""

    cluster: Cluster[Any]
    network: Sieve
    events: dict[NodeId, EventStream] = attrs.field(factory=dict)

    def __getitem__(self, name: NodeId) -> Node[Any]:
        return self.cluster[name]

    async def start(self, name: NodeId) -> Node[Any]:
        """Start it, as itself, and listen."""
        token = HERE.set(name)
        try:
            node = await self.cluster.start(name)
        finally:
            HERE.reset(token)
        self.events[name] = node.events()
        return node

    async def fill(self, at: NodeId | None = None) -> None:
        """Have the log reach the next cut, every node have applied it, and its snapshot written."""
        node = self[at] if at is not None else await self.cluster.wait_leader()
        last = node.statistics().last_index
        goal = (last // CUT + 1) * CUT
        while node.statistics().commit_index < goal:
            await node.execute(Tally.write("x"))
        await trio.sleep(0.5)

    def said(self, name: NodeId) -> list[StateDiverged | StateHealed]:
        """What a node said of states since it was asked last."""
        found: list[StateDiverged | StateHealed] = []
        stream = self.events[name]
        while stream._queue:  # pyright: ignore[reportPrivateUsage] - without waiting for more
            event = stream._queue.popleft()  # pyright: ignore[reportPrivateUsage]
            if isinstance(event, StateDiverged | StateHealed):
                found.append(event)
        return found

    async def wait_healed(self, name: NodeId) -> None:
        """Wait until a node is no longer divergent and has caught up."""
        with trio.fail_after(60):
            leader = await self.cluster.wait_leader()
            while self[name].status == "divergent":  # noqa: ASYNC110 - a simulated clock
                await trio.sleep(0.01)
            await self[name].wait_applied(leader.statistics().commit_index)

    def states(self) -> set[bytes]:
        """Digests of the states of all that run."""
        return {server_of(node).replica.digest() for node in self.cluster}


@asynccontextmanager
async def group(size: int = 3, factory: Any = Tally, **settings: Any) -> AsyncGenerator[Group]:
    """A group that cuts a snapshot every ten entries."""
    WRONG.clear()
    settings = {"snapshot_entries": CUT, **settings}
    network = Sieve()
    async with local_cluster(
        factory, size, in_memory=True, start=False, network=network, **settings
    ) as cluster:
        found = Group(cluster, network)
        for name in cluster.members:
            await found.start(name)
        with trio.fail_after(30):
            await cluster.wait_leader()
        yield found


async def slipping_follower(it: Group) -> NodeId:
    """One that is to count its next command wrong."""
    leader = await it.cluster.wait_leader()
    name = next(node.id for node in it.cluster if node is not leader)
    WRONG[name] = 1
    return name


async def divergent_follower(it: Group) -> NodeId:
    """One that was found, and gets no snapshot until the network is mended."""
    name = await slipping_follower(it)
    it.network.lose(name, SnapshotPart)
    await it[name].execute(Tally.add(5))
    await it.fill()
    assert it[name].status == "divergent"
    return name


def index_of_cut(it: Node[Any]) -> int:
    return it.statistics().snapshot_index


def server_of(node: Node[Any]) -> Any:
    return node._server  # pyright: ignore[reportPrivateUsage]


# ── found and mended ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("size", [3, 5])
async def test_a_follower_that_miscounted_is_found_at_the_next_cut_and_mended(
    autojump_clock: trio.testing.MockClock, size: int, caplog: pytest.LogCaptureFixture
) -> None:
    async with group(size) as it:
        wrong = await slipping_follower(it)
        leader = await it.cluster.wait_leader()

        await leader.execute(Tally.add(5))
        await it.fill()
        await it.wait_healed(wrong)

        at = Index(index_of_cut(leader))
        assert len(it.states()) == 1
        assert await it[wrong].read(Tally.value(), consistency="local") == 5
        assert it.said(wrong) == [
            StateDiverged(index=at, members=(wrong,), decided=True),
            StateHealed(index=at),
        ]
        assert it.said(leader.id) == [StateDiverged(index=at, members=(wrong,), decided=True)]
    assert f"{wrong}: healed at index {at}" in caplog.text
    assert (
        f"{leader.id}: at index {at} the state of {wrong} is not what a majority has" in caplog.text
    )


async def test_a_leader_that_miscounted_leads_no_more_until_it_is_mended(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with group() as it:
        wrong = await it.cluster.wait_leader()
        WRONG[wrong.id] = 1
        it.network.lose(wrong.id, SnapshotPart)

        await wrong.execute(Tally.add(5))
        await it.fill()
        await trio.sleep(2)
        leader = await it.cluster.wait_leader()

        assert leader is not wrong
        assert wrong.status == "divergent"
        it.network.mend()
        await it.wait_healed(wrong.id)
        assert wrong.status == "follower"
        assert len(it.states()) == 1


async def test_a_mended_node_can_lead(autojump_clock: trio.testing.MockClock) -> None:
    async with group() as it:
        wrong = await slipping_follower(it)
        await it[wrong].execute(Tally.add(5))
        await it.fill()
        await it.wait_healed(wrong)

        for _ in range(20):
            leader = await it.cluster.wait_leader()
            if leader.id == wrong:
                break
            it.cluster.isolate(leader.id)
            await trio.sleep(2)
            it.cluster.heal()
            await trio.sleep(1)

        assert (await it.cluster.wait_leader()).id == wrong


async def test_a_divergent_node_answers_no_reads_and_says_why(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Nor does it answer from what it holds when it is called: only once its state is a right one."""
    async with group() as it:
        wrong = await divergent_follower(it)

        for consistency in ("local", "linearizable"):
            with pytest.raises(Diverged, match="diverged at index 10"):
                await it[wrong].read(Tally.value(), consistency=consistency)
        with pytest.raises(Diverged):
            await it[wrong].wait_applied(1)
        with pytest.raises(Diverged):
            await it[wrong].snapshot()
        assert f"the state of {wrong} diverged at index 10" in it[wrong].explain()


async def test_a_read_that_waits_when_its_node_diverges_is_refused(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with group() as it:
        wrong = await slipping_follower(it)
        it.network.lose(wrong, SnapshotPart)
        await it[wrong].execute(Tally.add(5))
        beyond = it[wrong].statistics().last_index + 100

        async with trio.open_nursery() as nursery:
            nursery.start_soon(it.fill)
            with pytest.raises(Diverged):
                await it[wrong].wait_applied(beyond)


async def test_a_call_at_a_divergent_node_is_answered_from_the_right_state(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """It waits meanwhile: its command is decided by the group, and applied here when that can be."""
    async with group() as it:
        wrong = await divergent_follower(it)

        with pytest.raises(OutcomeUnknown):
            await it[wrong].execute(Tally.add(7), timeout=1.0)
        answers: list[int] = []

        async def ask() -> None:
            answers.append(await it[wrong].execute(Tally.add(100), timeout=60.0))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            await trio.sleep(0.5)
            it.network.mend()

        assert answers == [112]
        assert len(it.states()) == 1


@pytest.mark.slow
async def test_a_divergent_node_cuts_no_snapshots_and_keeps_up_with_the_log(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with group() as it:
        wrong = await divergent_follower(it)
        before = index_of_cut(it[wrong])
        for _ in range(12):
            await it.fill()

        leader = await it.cluster.wait_leader()
        assert index_of_cut(it[wrong]) == before
        assert it[wrong].statistics().commit_index == leader.statistics().commit_index
        it.network.mend()
        await it.wait_healed(wrong)
        assert len(it.states()) == 1
        assert index_of_cut(it[wrong]) > before


async def test_a_node_that_restarts_before_it_was_found_is_found_then(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Its own snapshot is wrong on disk: it says so by its digest as soon as it is back."""
    async with group() as it:
        wrong = await slipping_follower(it)
        it.network.lose(wrong, StateDigests)
        await it[wrong].execute(Tally.add(5))
        await it.fill()
        assert it[wrong].status == "follower"
        assert len(it.states()) == 2

        await it.cluster.crash(wrong)
        it.network.mend()
        await it.start(wrong)
        await trio.sleep(1)
        await it.wait_healed(wrong)

        assert len(it.states()) == 1
        assert StateHealed(index=Index(10)) in it.said(wrong)


@pytest.mark.slow
async def test_a_divergent_node_that_restarts_is_mended_after_all(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with group() as it:
        wrong = await divergent_follower(it)

        await it.cluster.crash(wrong)
        await it.start(wrong)
        await trio.sleep(1)
        assert it[wrong].status == "divergent"
        it.network.mend()
        await trio.sleep(15)
        await it.wait_healed(wrong)

        assert len(it.states()) == 1


async def test_what_was_mended_is_durable(autojump_clock: trio.testing.MockClock) -> None:
    async with group() as it:
        wrong = await slipping_follower(it)
        await it[wrong].execute(Tally.add(5))
        await it.fill()
        await it.wait_healed(wrong)
        it.cluster.isolate(wrong)
        await it.cluster.crash(wrong)

        await it.start(wrong)
        await trio.sleep(1)

        assert await it[wrong].read(Tally.value(), consistency="local") == 5


@pytest.mark.slow
async def test_another_holder_is_asked_when_one_dies_midway(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with group(5) as it:
        wrong = await slipping_follower(it)
        for node in it.cluster:
            server_of(node).comparing.parts.part_bytes = 40
        first = next(name for name in "abcde" if name != wrong)
        asked: list[tuple[NodeId, int]] = []

        def dies(sender: NodeId, receiver: NodeId, message: Message | DriverMessage) -> bool:
            if isinstance(message, SnapshotWanted):
                asked.append((receiver, message.offset))
            return first in (sender, receiver) and (first, 80) in asked

        it.network.loses = dies
        await it[wrong].execute(Tally.add(5))
        await it.fill(at=wrong)
        await trio.sleep(10)
        await it.wait_healed(wrong)

        whole = [at for who, at in asked if who != first]
        assert [at for who, at in asked if who == first] == [0, 40, 80, 80, 80]
        assert whole == list(range(0, whole[-1] + 1, 40))
        assert await it[wrong].read(Tally.value(), consistency="local") == 5


@attrs.define
class Liar:
    """Storage whose snapshots are not what was written."""

    lie: Callable[[SnapshotMeta, int, int], Awaitable[bytes | None]]

    async def read_part(self, snapshot: SnapshotMeta, offset: int, bytes_max: int) -> bytes | None:
        """See `Storing`."""
        return await self.lie(snapshot, offset, bytes_max)


async def test_a_holder_whose_snapshot_is_damaged_is_not_believed(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with group(5) as it:
        wrong = await slipping_follower(it)
        liar = server_of(it[next(name for name in "abcde" if name != wrong)]).comparing.parts
        storing = liar.storing

        async def damaged(snapshot: SnapshotMeta, offset: int, bytes_max: int) -> bytes | None:
            data = await storing.read_part(snapshot, offset, bytes_max)
            return None if data is None else data[:-1] + bytes([data[-1] ^ 1])

        liar.storing = Liar(damaged)
        await it[wrong].execute(Tally.add(5))
        await it.fill()
        await it.wait_healed(wrong)

        assert len(it.states()) == 1
    assert "is refused: the snapshot can't be restored" in caplog.text


async def test_a_snapshot_of_another_state_is_refused_by_its_digest(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """It is well formed, of the right index, and of a state that no majority ever had."""
    async with group(5) as it:
        wrong = await slipping_follower(it)
        liar = server_of(it[next(name for name in "abcde" if name != wrong)]).comparing.parts

        async def another(snapshot: SnapshotMeta, offset: int, bytes_max: int) -> bytes | None:
            own = server_of(it[wrong]).comparing
            wrong_one = own._own[snapshot.index][0]
            part: bytes | None = await own.storing.read_part(wrong_one, offset, bytes_max)
            return part

        liar.storing = Liar(another)
        await it[wrong].execute(Tally.add(5))
        await it.fill()
        await it.wait_healed(wrong)

        assert len(it.states()) == 1
    assert "its digest is not that of a majority's states" in caplog.text


# ── not decided, not compared ────────────────────────────────────────────────────────────────────


def forged(index: int, *, version: int = 1) -> StateDigests:
    """Of a state that nobody has."""
    digest = StateDigest(index=Index(index), format=2, version=version, size=100, digest=b"\1" * 32)
    return StateDigests(digests=(digest,))


async def test_of_two_that_differ_nobody_is_called_wrong(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with group(2) as it:
        WRONG["b"] = 1
        await it["a"].execute(Tally.add(5))
        await it.fill()
        await it.fill()

        assert [node.status for node in it.cluster if node.status == "divergent"] == []
        assert (
            it.said("a")
            == it.said("b")
            == [
                StateDiverged(index=Index(at), members=("a", "b"), decided=False) for at in (10, 20)
            ]
        )
        assert len(it.states()) == 2
        assert "the states of a, b differ" in it["a"].explain()
    assert caplog.text.count("a: at index 10 the states of a, b differ") == 1


async def test_without_a_majority_that_is_said_after_a_while(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """One is away, so the others can't know yet; when it is back, it decides."""
    async with group() as it:
        leader = await it.cluster.wait_leader()
        wrong, away = (node.id for node in it.cluster if node is not leader)
        it.cluster.isolate(away)
        WRONG[wrong] = 1
        await leader.execute(Tally.add(5))
        await it.fill(at=leader.id)

        assert it.said(leader.id) == []
        await trio.sleep(2)
        assert it.said(leader.id) == [
            StateDiverged(index=Index(10), members=tuple(sorted((leader.id, wrong))), decided=False)
        ]
        assert it[wrong].status == "follower"
        it.cluster.heal()
        await trio.sleep(2)
        await it.wait_healed(wrong)
        assert len(it.states()) == 1


async def test_a_member_cannot_make_another_diverge(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """One voice is not a majority's, however often it is raised."""
    async with group() as it:
        await it.fill()
        for node in it.cluster:
            comparing = server_of(node).comparing
            lie = forged(10)
            sender = next(other for other in it.cluster if other is not node)
            for _ in range(3):
                comparing.on_digests(server_of(sender).storage.record.identity, lie)

        assert all(node.status != "divergent" for node in it.cluster)


async def test_a_digest_of_somebody_who_is_no_member_is_ignored(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Of another name, and of a member's name with another incarnation."""
    async with group() as it:
        await it.fill()
        for node in it.cluster:
            for stranger in ("x", "a", "b", "c"):
                identity = Identity(id=stranger, incarnation=99)
                server_of(node).comparing.on_digests(identity, forged(10))
                server_of(node).comparing.parts.on_wanted(
                    identity, SnapshotWanted(index=Index(10), offset=0)
                )
        await trio.sleep(5)

        for node in it.cluster:
            assert node.status != "divergent"
            assert it.said(node.id) == []


async def test_digests_of_another_version_are_not_compared(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with group() as it:
        await it.fill()
        node = it["a"]
        for other in ("b", "c"):
            identity = server_of(it[other]).storage.record.identity
            server_of(node).comparing.on_digests(identity, forged(10, version=2))
        await trio.sleep(5)

        assert node.status != "divergent"
        assert it.said("a") == []
        for other in ("b", "c"):  # of the same version they would have been believed
            identity = server_of(it[other]).storage.record.identity
            server_of(node).comparing.on_digests(identity, forged(10))
        assert node.status == "divergent"


# ── machines that speak bytes ────────────────────────────────────────────────────────────────────


async def sums(it: Group) -> None:
    leader = await it.cluster.wait_leader()
    while leader.statistics().commit_index < 12:
        await leader.execute(b"1")
    await trio.sleep(3)


async def test_a_bytes_machine_is_compared_by_its_own_digest(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with group(factory=DigestedSum) as it:
        wrong = await slipping_follower(it)
        await sums(it)
        await it.wait_healed(wrong)

        assert [type(event) for event in it.said(wrong)] == [StateDiverged, StateHealed]
        assert len({server_of(node).replica.machine.total for node in it.cluster}) == 1


async def test_a_bytes_machine_without_a_digest_is_not_compared(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with group(factory=Sum) as it:
        await slipping_follower(it)
        await sums(it)

        assert len({server_of(node).replica.machine.total for node in it.cluster}) == 2
        assert all(it.said(node.id) == [] for node in it.cluster)
        assert [node.status for node in it.cluster if node.status == "divergent"] == []
