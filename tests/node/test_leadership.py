"""Nodes that hand over, step down, or do something for as long as they lead (§3.10)."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any

import attrs
import pytest
import trio
import trio.testing

from raftkit import (
    LeadershipLost,
    NodeClosed,
    NotLeader,
    OutcomeUnknown,
    TransferFailed,
)
from raftkit.driver import Replica, open_server
from raftkit.node import Node
from raftkit.storage import MemoryStorage
from raftkit.testing import Cluster, local_cluster
from raftkit.transports import Faults, MemoryNetwork
from tests.driver.plans import plan_of_a
from tests.node.machines import Counter, Journal


@asynccontextmanager
async def group(
    size: int = 3, factory: Any = Counter, **more: Any
) -> AsyncGenerator[tuple[Cluster[Any], Any, list[Any]]]:
    """Nodes in one process, the one that leads, and the others."""
    async with local_cluster(factory, size, in_memory=True, **more) as cluster:
        leader = await cluster.wait_leader()
        yield cluster, leader, [node for node in cluster if node is not leader]


@asynccontextmanager
async def group_cut() -> AsyncGenerator[tuple[Cluster[Any], Any, Any]]:
    """Such a group: its leader has counted 1, and now can't reach the node that comes last."""
    network = MemoryNetwork()
    async with group(network=network) as (cluster, leader, (target, _)):
        await leader.execute(Counter.add(amount=1))
        network.cut(leader.id, target.id)
        yield cluster, leader, target


# ── handing over ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.accept("C-31", "Q-70")
async def test_leadership_goes_to_the_named_node(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with group() as (_, leader, (_, target)):
        assert await leader.transfer_leadership(target.id) == target.id
        assert (target.status, leader.status) == ("leader", "follower")


async def test_leadership_goes_to_anybody(autojump_clock: trio.testing.MockClock) -> None:
    async with group() as (cluster, leader, others):
        found = await leader.transfer_leadership()

        assert found in {node.id for node in others}
        assert cluster[found].status == "leader"


async def test_leadership_goes_to_the_highest_priority_of_the_others(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """A leader knows the priorities of the others, for they say how they are."""
    network, members = MemoryNetwork(), {name: f"memory:{name}" for name in "abc"}
    nodes: dict[str, Node[Any]] = {}
    async with AsyncExitStack() as stack:
        for name, priority in {"a": -2, "b": -1, "c": 0}.items():
            plan = attrs.evolve(plan_of_a(members, found=False), id=name, priority=priority)
            opened = open_server(plan, Replica(Counter), MemoryStorage(name), network)
            nodes[name] = Node(await stack.enter_async_context(opened))
        assert await nodes["a"].wait_leader() == "c"
        await trio.sleep(2)

        assert await nodes["c"].transfer_leadership() == "b"
        assert await nodes["b"].transfer_leadership() == "c"


@pytest.mark.accept("C-31", "O-39")
async def test_no_command_fails_of_a_transfer(autojump_clock: trio.testing.MockClock) -> None:
    """Five transfers while every node executes; each command is applied once, in its caller's order."""
    async with local_cluster(Journal, 3, in_memory=True) as cluster:
        await cluster.wait_leader()
        stop = False
        written: dict[str, list[str]] = {}

        async def write(node: Any) -> None:
            lines = written.setdefault(node.id, [])
            while not stop:
                line = f"{node.id}{len(lines)}"
                await node.execute(Journal.write(line=line))
                lines.append(line)
                await trio.sleep(0.005)  # virtual time stands still while there is anything to do

        async with trio.open_nursery() as nursery:
            for node in cluster:
                nursery.start_soon(write, node)
            for _ in range(5):
                await trio.sleep(0.2)
                leader = await cluster.wait_leader()
                await leader.transfer_leadership()
            stop = True

        lines = await (await cluster.wait_leader()).read(Journal.read())
        for name, expected in written.items():
            assert len(expected) > 20
            assert [line for line in lines if line.startswith(name)] == expected


async def test_commands_without_a_session_survive_a_transfer(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """What was sent at most once is not sent again, and need not be: the target has it."""
    async with group(factory=Journal) as (_, leader, (target, _)):
        async with trio.open_nursery() as nursery:
            for number in range(100):
                node = leader if number % 2 else target
                line = Journal.write(line=str(number))
                nursery.start_soon(partial(node.execute, line, session=None))
            await leader.transfer_leadership(target.id)

        assert len(await target.read(Journal.read())) == 100


async def test_no_command_without_a_session_fails_of_a_transfer(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Neither of who stays nor of who takes over, in whatever order they hear of it."""
    network = MemoryNetwork(faults=Faults(delay=(0.0, 0.01)))
    async with group(network=network) as (cluster, _, _):
        count, stop = 0, False

        async def write(node: Any) -> None:
            nonlocal count
            while not stop:
                await node.execute(Counter.add(), session=None)
                count += 1

        async with trio.open_nursery() as nursery:
            for node in cluster:
                nursery.start_soon(write, node)
            for _ in range(5):
                await trio.sleep(0.1)
                leader = await cluster.wait_leader()
                await leader.transfer_leadership()
            stop = True

        assert await cluster["a"].read(Counter.value()) == count


async def test_only_a_leader_can_step_down(autojump_clock: trio.testing.MockClock) -> None:
    """Anybody else says who leads: it is asked of that very node, so nobody else does it instead."""
    async with group() as (_, leader, (node, _)):
        await node.wait_leader()

        with pytest.raises(NotLeader, match=f"leader is {leader.id}") as caught:
            await node.step_down()

        assert caught.value.leader == leader.id
        assert leader.status == "leader"


async def test_who_can_not_lead_is_refused_in_one_clear_line(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with group() as (cluster, leader, (dead, _)):
        await cluster.crash(dead.id)
        await trio.sleep(0.3)

        for target, why in (
            ("zed", "the group has no member 'zed': there are a, b, c"),
            (leader.id, f"{leader.id} leads already: name another member"),
            (dead.id, f"{dead.id} has not been heard for an election timeout: see whether it runs"),
        ):
            with pytest.raises(TransferFailed) as caught:
                await leader.transfer_leadership(target)

            assert str(caught.value) == f"leadership was not handed over: {why}"
            assert caught.value.leader == leader.id
        assert leader.status == "leader"


async def test_single_node_has_nobody_to_hand_over_to(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with group(1) as (_, leader, _):
        with pytest.raises(TransferFailed, match="no other voter has been heard"):
            await leader.transfer_leadership()

        assert leader.status == "leader"


async def test_target_that_is_cut_off_is_given_up(autojump_clock: trio.testing.MockClock) -> None:
    """The leader leads on, and what waited is decided."""
    async with group_cut() as (_, leader, target):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(leader.execute, Counter.add(amount=2))
            begin = trio.current_time()
            with pytest.raises(TransferFailed):
                await leader.transfer_leadership(target.id)

        assert trio.current_time() - begin < 1.0
        assert await leader.read(Counter.value()) == 3


async def test_caller_with_little_time_is_told_that_nothing_is_settled(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with group_cut() as (_, leader, target):
        with pytest.raises(OutcomeUnknown, match=r"after 0.05 s . leads still, and may hand over"):
            await leader.transfer_leadership(target.id, timeout=0.05)


async def test_node_that_ends_while_it_hands_over_says_so(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with group_cut() as (cluster, leader, target):
        await end_while_it_hands_over(cluster, leader, target)

        with pytest.raises(NodeClosed):
            await leader.transfer_leadership()


async def test_node_that_ends_while_it_hands_over_may_have_handed_over(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """The target was told already, and wins an election of which the old leader never hears."""
    network = MemoryNetwork(faults=Faults(delay=(0.03, 0.03)))
    async with group(network=network) as (cluster, leader, (target, other)):
        await trio.sleep(1)
        await end_while_it_hands_over(cluster, leader, target)
        await trio.sleep(0.1)  # less than an election timeout

        assert (target.status, other.leader) == ("leader", target.id)


async def end_while_it_hands_over(cluster: Cluster[Any], leader: Any, target: Any) -> None:
    """Kill the leader 50 ms after it was asked to make room; whoever asked is told that nobody knows."""
    async with trio.open_nursery() as nursery:

        async def hand_over() -> None:
            with pytest.raises(OutcomeUnknown, match="closed, while leadership was handed over"):
                await leader.transfer_leadership(target.id)

        nursery.start_soon(hand_over)
        await trio.sleep(0.05)
        await cluster.crash(leader.id)


# ── stepping down ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.accept("O-33", "O-86")
@pytest.mark.parametrize("hand_over", [True, False])
async def test_leader_that_steps_down_is_followed_by_another(
    autojump_clock: trio.testing.MockClock, hand_over: bool
) -> None:
    """With hand-over in a moment, without it after a silence."""
    async with group() as (_, leader, _):
        begin = trio.current_time()

        found = await leader.step_down(hand_over=hand_over)

        assert found != leader.id
        assert leader.status == "follower"
        assert (trio.current_time() - begin < 0.1) is hand_over


# ── while it leads ───────────────────────────────────────────────────────────────────────────────────


async def test_body_runs_while_its_node_leads_and_is_cancelled_then(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with group() as (_, leader, _):
        began: list[int] = []

        async with trio.open_nursery() as nursery:

            async def work() -> None:
                async with leader.leadership() as term:
                    began.append(term)
                    await trio.sleep_forever()

            async def lose() -> None:
                with pytest.raises(LeadershipLost, match="leads no more") as caught:
                    await work()

                assert [caught.value.term] == began

            nursery.start_soon(lose)
            await trio.testing.wait_all_tasks_blocked()
            await leader.step_down()

        assert began == [leader.statistics().term - 1]


async def test_leadership_waits_until_its_node_leads_and_has_seen_what_was_decided(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """What was proposed just before, its new leader has, and does not know yet that it is decided."""
    async with group() as (_, leader, (target, _)):
        await leader.execute(Counter.add(amount=1))
        seen: list[int] = []

        async with trio.open_nursery() as nursery:

            async def work() -> None:
                async with target.leadership():
                    seen.append(await target.read(Counter.value(), consistency="local"))

            nursery.start_soon(work)
            await trio.sleep(1)
            early = list(seen)
            nursery.start_soon(leader.execute, Counter.add(amount=4))
            await leader.transfer_leadership(target.id)

        assert (early, seen) == ([], [5])


async def test_body_that_ends_or_raises_by_itself_does_just_that(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with group(1) as (_, leader, _):
        async with leader.leadership() as first:
            pass
        terms = [first]

        async def fail() -> None:
            async with leader.leadership() as second:
                terms.append(second)
                raise KeyError

        with pytest.raises(KeyError):
            await fail()

        assert terms == [first, first]


async def test_end_of_the_node_ends_what_waits_for_leadership_and_what_has_it(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with group() as (cluster, leader, (waiting, _)), trio.open_nursery() as nursery:

        async def work(node: Any) -> None:
            with pytest.raises(NodeClosed):
                async with node.leadership():
                    await trio.sleep_forever()

        nursery.start_soon(work, leader)
        nursery.start_soon(work, waiting)
        await trio.testing.wait_all_tasks_blocked()
        await cluster.crash(waiting.id)
        await cluster.crash(leader.id)


async def test_cut_off_leader_ends_its_body_by_itself(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """After an election timeout without a majority (§6.2); another may lead before that."""
    network = MemoryNetwork()
    async with group(network=network) as (_, leader, others):
        begin = trio.current_time()

        async def work() -> None:
            async with leader.leadership():
                network.partition(leader.id, [node.id for node in others])
                await trio.sleep_forever()

        with pytest.raises(LeadershipLost):
            await work()

        assert trio.current_time() - begin < 1.0


# ── who campaigns ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.accept("O-87")
async def test_appointed_leader_is_waited_for_and_may_hand_over(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Two nodes and one permanent master: without it nothing is decided, whatever the other could do."""
    async with local_cluster(Counter, 2, in_memory=True, appointed_leader="b") as cluster:
        first = await cluster["a"].wait_leader()
        second = await cluster["b"].transfer_leadership("a")
        await cluster.crash("a")
        await cluster.start("a")
        third = await cluster["a"].wait_leader()

        assert (first, second, third) == ("b", "a", "b")
