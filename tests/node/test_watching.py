"""What a node says of itself: events, numbers, words."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
import trio

from raftkit import (
    MemoryNetwork,
    NodeClosed,
    NoQuorum,
    OutcomeUnknown,
    StateMachine,
    command,
    open_node,
    query,
)
from raftkit.driver import events as driver_events
from raftkit.messages import LeaderElected, LeaderLost, RoleChanged
from raftkit.storage import MemoryStorage
from raftkit.testing import local_cluster
from tests.node.machines import Counter


async def test_events_tell_of_leaders(autojump_clock: trio.testing.MockClock) -> None:
    async with local_cluster(Counter, 3, in_memory=True) as cluster:
        leader = await cluster.wait_leader()
        node = next(it for it in cluster if it is not leader)
        stream = node.events()
        await cluster.crash(leader.id)
        with trio.fail_after(5):
            kinds: list[Any] = []
            async for event in stream:
                kinds.append(event)
                if isinstance(event, LeaderElected):
                    break

        assert isinstance(kinds[0], LeaderLost)
        assert any(isinstance(it, RoleChanged) for it in kinds)
        assert kinds[-1].leader == (await cluster.wait_leader()).id
        assert stream.dropped == 0
        await stream.aclose()
        with pytest.raises(trio.ClosedResourceError):
            await stream.receive()


@pytest.mark.accept("O-24")
async def test_a_node_says_what_it_becomes_and_what_it_was(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with local_cluster(Counter, 3, in_memory=True) as cluster:
        old = await cluster.wait_leader()
        streams = {node.id: node.events() for node in cluster}
        new = await old.transfer_leadership()
        await trio.sleep(1)

        changes = {
            name: [(it.before, it.role) for it in stream._queue if isinstance(it, RoleChanged)]
            for name, stream in streams.items()
        }
        assert changes[old.id][0] == ("leader", "follower")
        assert changes[new] == [("follower", "candidate"), ("candidate", "leader")]


@pytest.mark.accept("O-25", "O-26", "O-27")
async def test_every_node_hears_of_leaders_and_of_terms(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with local_cluster(Counter, 3, in_memory=True) as cluster:
        old = await cluster.wait_leader()
        streams = {node.id: node.events() for node in cluster if node is not old}
        term = old.statistics().term
        await cluster.crash(old.id)
        new = await cluster.wait_leader()
        await cluster.restart(old.id)
        streams[old.id] = cluster[old.id].events()
        await trio.sleep(3)
        later = new.statistics().term

        assert later > term
        for name, stream in streams.items():
            await cluster.crash(name)
            heard = [event async for event in stream]
            assert LeaderElected(leader=new.id, term=later) in heard
            assert later in [it.term for it in heard if isinstance(it, RoleChanged)]
            if name != old.id:
                assert LeaderLost(leader=old.id, term=term) in heard


@pytest.mark.accept("O-28")
async def test_events_of_a_slow_listener_are_coalesced_and_counted(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driver_events, "QUEUE_MAX", 4)
    async with local_cluster(Counter, 3, in_memory=True) as cluster:
        node = cluster["a"]
        stream = node.events()
        for _ in range(6):
            leader = await cluster.wait_leader()
            await leader.execute(Counter.add())
            if leader is node:
                cluster.isolate("a")
                await trio.sleep(2)
                cluster.heal()
            else:
                await cluster.crash(leader.id)
                await cluster.restart(leader.id)
            await trio.sleep(2)
        await cluster.crash("a")
        left = [event async for event in stream]

        assert len(left) == 4
        assert stream.dropped > 0


async def test_a_stream_of_a_closed_node_ends(autojump_clock: trio.testing.MockClock) -> None:
    async with local_cluster(Counter, 1, in_memory=True) as cluster:
        node = cluster["a"]
        await cluster.crash("a")

        assert [event async for event in node.events()] == []


async def test_the_first_election_is_an_event(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with local_cluster(Counter, 1, in_memory=True, start=False) as cluster:
        node = await cluster.start("a")
        stream = node.events()
        seen: list[Any] = []
        while not seen or not isinstance(seen[-1], LeaderElected):
            seen.append(await stream.receive())

        assert seen[-1].leader == "a"
        assert any(isinstance(it, RoleChanged) and it.role == "leader" for it in seen)


async def test_statistics_and_words_of_a_healthy_group(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with local_cluster(Counter, 3, in_memory=True) as cluster:
        leader = await cluster.wait_leader()
        for _ in range(5):
            await leader.execute(Counter.add())
        await trio.sleep(1)
        now = leader.statistics()

        assert now.id == leader.id
        assert now.status == "leader"
        assert now.leader == leader.id
        assert now.commit_index == now.applied_index == now.last_index == now.durable_index
        assert [it.id for it in now.members] == ["a", "b", "c"]
        assert {it.id: it.progress and it.progress.match_index for it in now.members} == {
            it: None if it == leader.id else now.last_index for it in "abc"
        }
        assert (now.open_calls, now.open_reads, now.pending_bytes) == (0, 0, 0)
        assert leader.explain().startswith("all is well: leader in term")
        assert leader.members == {name: f"memory:{name}" for name in "abc"}


async def test_words_for_a_commit_that_is_stuck(autojump_clock: trio.testing.MockClock) -> None:
    async with local_cluster(Counter, 3, in_memory=True) as cluster:
        leader = await cluster.wait_leader()
        await leader.execute(Counter.add())
        cluster.isolate(leader.id)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_unknown, leader)
            await trio.sleep(0.05)

            assert "is not committed: waiting for a majority" in leader.explain()
            assert leader.statistics().open_calls == 1


async def _unknown(node: Any) -> None:
    with pytest.raises(OutcomeUnknown):
        await node.execute(Counter.add(), timeout=0.1)


async def test_words_for_a_majority_that_is_away(autojump_clock: trio.testing.MockClock) -> None:
    async with local_cluster(Counter, 3, in_memory=True) as cluster:
        await cluster.crash("b")
        await cluster.crash("c")
        await trio.sleep(5)

        assert (
            cluster["a"]
            .explain()
            .startswith(
                "no leader: 1 of 3 voters reachable, need 2; b memory:b refused; c memory:c refused; "
                "local reads may "
            )
        )


@pytest.mark.accept("P-23", "P-19")
async def test_the_survivor_of_two_is_read_only_and_says_why(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with local_cluster(Counter, 2, in_memory=True) as cluster:
        assert await cluster["a"].execute(Counter.add()) == 1
        await cluster["a"].wait_applied(cluster["a"].statistics().last_index)
        await cluster.crash("b")
        await trio.sleep(5)
        a = cluster["a"]

        assert a.explain().startswith(
            "no leader: 1 of 2 voters reachable, need 2; b memory:b refused; local reads may "
        )
        assert attrs.asdict(a.statistics().votes) == {
            "expected": 2,
            "here": 1,
            "needed": 2,
            "quorate": False,
        }
        with pytest.raises(NoQuorum):
            await a.execute(Counter.add(), timeout=1)
        with pytest.raises(NoQuorum, match="need 2"):
            await a.read(Counter.value(), timeout=1)
        assert await a.read(Counter.value(), consistency="local") == 1


async def test_the_votes_of_a_barred_node_are_not_here(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with local_cluster(Counter, 3, in_memory=True) as cluster:
        a = cluster["a"]
        a._server.remembering.barred = "it was rolled back"
        await cluster.crash("b")
        await trio.sleep(1)

        votes = a.statistics().votes
        assert (votes.expected, votes.here, votes.needed, votes.quorate) == (3, 1, 2, False)


@attrs.define
class Old(StateMachine):
    total: int = 0

    @command
    def add(self, amount: int = 1) -> int:
        self.total += amount
        return self.total

    @query
    def value(self) -> int:
        return self.total


async def test_a_node_that_does_not_know_a_command_stops_applying_and_says_so(
    autojump_clock: trio.testing.MockClock,
) -> None:
    network = MemoryNetwork()
    members = {name: f"memory:{name}" for name in "abc"}

    async def run(name: str, machine: Any, task_status: Any) -> None:
        async with open_node(
            machine,
            id=name,
            members=members,
            transport=network,
            data_dir=MemoryStorage(name),
        ) as node:
            task_status.started(node)
            await trio.sleep_forever()

    @attrs.define
    class Renamed(StateMachine):
        total: int = 0

        @command
        def increase(self, amount: int = 1) -> int:
            self.total += amount
            return self.total

    async with trio.open_nursery() as nursery:
        a = await nursery.start(run, "a", Old)
        b = await nursery.start(run, "b", Old)
        c = await nursery.start(run, "c", Renamed)
        await a.wait_leader()
        await a.execute(Old.add())
        await b.execute(Old.add())
        await trio.sleep(1)

        assert c.status == "stopped applying"
        assert "upgrade" in c.explain()
        with pytest.raises(NodeClosed, match="upgrade"):
            await c.execute(Renamed.increase())
        with pytest.raises(NodeClosed, match="upgrade"):
            await c.read(lambda machine: machine.total)
        with pytest.raises(NodeClosed, match="upgrade"):
            await c.wait_applied(10_000)
        assert await b.read(Old.value()) == 2
        nursery.cancel_scope.cancel()
