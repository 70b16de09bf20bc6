"""A node whose code is older than the log: it stays for the others, says why, and leads no more."""

from __future__ import annotations

import attrs
import pytest
import trio

from raftkit import (
    NodeClosed,
    NoQuorum,
    OutcomeUnknown,
    StateMachine,
    command,
    query,
)
from raftkit.storage import MemoryStorage
from raftkit.testing import local_cluster
from tests.node.mixed_group import ELECTION_SECONDS, led_by_a


@attrs.define
class Old(StateMachine):
    """What all nodes ran."""

    total: int = 0

    @command
    def add(self, amount: int = 1) -> int:
        self.total += amount
        return self.total

    @query
    def value(self) -> int:
        return self.total


@attrs.define
class New(StateMachine):
    """What they are being upgraded to: it has one command more."""

    total: int = 0

    @command
    def add(self, amount: int = 1) -> int:
        self.total += amount
        return self.total

    @command
    def double(self) -> int:
        self.total *= 2
        return self.total

    @query
    def value(self) -> int:
        return self.total


MIXED = {"a": Old, "b": New, "c": New}


async def test_a_leader_of_older_code_is_replaced(autojump_clock: trio.testing.MockClock) -> None:
    """When a command that it doesn't know commits, another leads within an election timeout or two."""
    async with led_by_a(MIXED) as group:
        assert await group["b"].execute(New.add(amount=5)) == 5

        assert await group["c"].execute(New.double()) == 10
        with trio.fail_after(2 * ELECTION_SECONDS):
            await group.wait_leader("b", "c")

        assert await group["b"].execute(New.add()) == 11
        assert await group["c"].read(New.value()) == 11


async def test_a_node_of_older_code_stays_and_says_why(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Its callers are told the same, at once."""
    async with led_by_a(MIXED) as group:
        a = group["a"]
        await group["b"].execute(New.double())
        await group.wait_leader("b", "c")

        assert a.status == "stopped applying"
        assert "upgrade this node's code" in a.explain()
        with trio.fail_after(0.01), pytest.raises(NodeClosed, match="upgrade this node's code"):
            await a.read(Old.value())
        with trio.fail_after(0.01), pytest.raises(NodeClosed, match="upgrade this node's code"):
            await a.execute(Old.add())
        assert await a.read(Old.value(), consistency="local") == 0


async def test_a_read_under_way_at_a_node_of_older_code_fails_with_the_reason(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """It does not wait for a leader that can't help it."""
    async with local_cluster(Old, 3, in_memory=True) as cluster:
        a, why = cluster["a"], list[str]()

        async def read() -> None:
            with pytest.raises(NodeClosed) as caught:
                await a.read(Old.value(), timeout=1000)
            why.append(str(caught.value))

        cluster.isolate("a")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)
            await trio.sleep(2)
            a._server.applying._stop("upgrade this node's code")

        assert why == ["upgrade this node's code"]


@pytest.mark.parametrize("sent", [False, True])
async def test_a_command_under_way_at_a_node_of_older_code_ends_with_the_reason(
    autojump_clock: trio.testing.MockClock, sent: bool
) -> None:
    """What was sent may have happened; what never was did not."""
    async with local_cluster(Old, 3, in_memory=True) as cluster:
        name = (await cluster.wait_leader()).id
        node, expected = cluster[name], OutcomeUnknown if sent else NodeClosed
        await node.execute(Old.add())  # it has a session
        ended = trio.Event()

        async def execute() -> None:
            with pytest.raises(expected, match="upgrade this node's code"):
                await node.execute(Old.add(), timeout=1000)
            ended.set()

        cluster.isolate(name)
        if not sent:
            await trio.sleep(2)  # by then it knows of no leader, nor leads
        async with trio.open_nursery() as nursery:
            nursery.start_soon(execute)
            await trio.sleep(2)
            node._server.applying._stop("upgrade this node's code")
            with trio.fail_after(1):
                await ended.wait()


async def test_a_node_of_older_code_still_counts(autojump_clock: trio.testing.MockClock) -> None:
    """Without its acknowledgements nothing would commit while the third node is away."""
    async with local_cluster(Old, 3, in_memory=True) as cluster:
        # The code is changed under a live cluster, a node at a time, as in a rolling upgrade.
        await cluster["a"].execute(Old.add(amount=3))
        cluster.factory = New  # type: ignore[assignment]
        for name in "bc":
            await cluster.crash(name)
            await cluster.restart(name)
        assert await cluster["b"].execute(New.double(), timeout=5) == 6  # type: ignore[arg-type]
        while True:
            leader = cluster.leader()
            if leader is not None and leader.id != "a":
                break
            await trio.sleep(0.01)
        await cluster.crash("b" if leader.id == "c" else "c")

        assert await leader.execute(New.double(), timeout=5) == 12  # type: ignore[arg-type]
        assert cluster["a"].status == "stopped applying"


async def test_nobody_leads_when_all_code_is_older(autojump_clock: trio.testing.MockClock) -> None:
    """And each says so, and what to do; a node that is upgraded leads, with the votes of the others."""
    async with local_cluster(Old, 3, in_memory=True) as cluster:
        cluster.factory = New  # type: ignore[assignment]
        await cluster.crash("c")
        c = await cluster.restart("c")
        await cluster.wait_leader()
        with trio.move_on_after(2):
            await c.execute(New.double())  # type: ignore[arg-type]
        await cluster.crash("c")
        cluster.factory = Old
        await cluster.restart("c")
        await trio.sleep(5)

        assert [node.leader for node in cluster] == [None] * 3
        for node in cluster:
            assert "upgrade this node's code" in node.explain()
            assert "no leader" in node.explain()
            assert "this node can't lead" in node.explain()
        await cluster.crash("b")
        cluster.factory = New  # type: ignore[assignment]
        b = await cluster.restart("b")
        assert await b.execute(New.double(), timeout=5) == 0  # type: ignore[arg-type]


async def test_a_node_that_starts_from_a_snapshot_of_newer_code_does_not_lead(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """It can't even begin to apply, and is told before its first election."""
    async with local_cluster(Old, 1, in_memory=True) as cluster:
        await cluster["a"].execute(Old.add())
        await cluster["a"].snapshot()
        home = cluster.homes["a"]
        assert isinstance(home, MemoryStorage)
        await cluster.crash("a")
        image = home._image
        image.snapshot = image.snapshot.replace(b"\x66fields\x01", b"\x66fields\x02")
        a = await cluster.restart("a")
        await trio.sleep(5)

        assert a.status == "stopped applying"
        assert a.leader is None
        assert "version 2" in a.explain()
        with pytest.raises((NodeClosed, NoQuorum), match="version 2"):
            await a.read(Old.value(), timeout=1)
