"""Changes of the group, and of who leads, asked at nodes that do not lead: the leader makes them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest
import trio
import trio.testing

from raftkit import (
    AddLearner,
    ChangeRefused,
    Demote,
    LocalProtocolError,
    MemoryNetwork,
    Node,
    NodeClosed,
    NoQuorum,
    OutcomeUnknown,
    Promote,
    Readdress,
    Remove,
    TransferFailed,
    open_node,
)
from raftkit.changes import CHANGES_MAX
from raftkit.driver_messages import ChangeMade, LeadershipMoved, TransferReferral
from raftkit.errors import NotLeader
from raftkit.model import Index
from raftkit.testing import Cluster, local_cluster
from raftkit.transports import Faults
from tests.node.machines import Counter


@asynccontextmanager
async def three(
    network: MemoryNetwork | None = None,
) -> AsyncGenerator[tuple[Cluster[Any], Node[Any], list[Node[Any]]]]:
    """A group, the node that leads it, and the others, which know it."""
    async with local_cluster(Counter, 3, in_memory=True, network=network) as cluster:
        leader = await cluster.wait_leader()
        await leader.execute(Counter.add(amount=1))  # so it may change the group
        yield cluster, leader, [node for node in cluster if node is not leader]


def role_of(node: Node[Any], name: str) -> str | None:
    return next((it.role for it in node.statistics().members if it.id == name), None)


async def until(condition: Callable[[], bool]) -> None:
    with trio.fail_after(30):
        while not condition():  # noqa: ASYNC110 - what is waited for is anything a test can see
            await trio.sleep(0.01)


def joining(network: MemoryNetwork, knocks_at: str) -> Any:
    """A newcomer d, which knows one address beside its own."""
    members = {knocks_at: f"memory:{knocks_at}", "d": "memory:d"}
    return open_node(Counter, id="d", members=members, join=True, transport=network)


# ── it is done ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.accept("C-39", "C-40", "Q-23")
async def test_a_newcomer_is_admitted_and_removed_at_any_member(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """It becomes a voter by itself; each member was asked once for each."""
    async with three() as (cluster, _, _):
        for name in "abc":
            asked = cluster[name]
            async with joining(cluster.network, name) as d:
                await asked.change_membership(AddLearner(id="d", address="memory:d", promote=True))
                await until(lambda d=d: role_of(d, "d") == "voter")  # type: ignore[misc]
                await d.execute(Counter.add(amount=1))

                index = await asked.change_membership(Remove(id="d"))

                await asked.wait_applied(index)
                assert role_of(asked, "d") is None


async def test_a_change_is_answered_when_it_is_committed_and_by_its_index(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with three() as (_, leader, (asked, other)):
        index = await asked.change_membership(Demote(id=other.id))

        assert leader.statistics().commit_index >= index
        assert leader.statistics().configuration_index == index
        assert role_of(leader, other.id) == "learner"


async def test_a_learner_may_be_asked_too(autojump_clock: trio.testing.MockClock) -> None:
    async with three() as (_, leader, (asked, other)):
        await leader.change_membership(Demote(id=asked.id))
        await trio.sleep(2)

        await asked.change_membership(Promote(id=asked.id))

        assert role_of(leader, asked.id) == "voter"
        assert await asked.transfer_leadership(other.id) == other.id


@pytest.mark.parametrize("leaves", ["the leader", "the node that is asked"])
async def test_who_leaves_says_so_before(
    autojump_clock: trio.testing.MockClock, leaves: str
) -> None:
    async with three() as (_, leader, (asked, other)):
        gone = leader if leaves == "the leader" else asked

        await asked.change_membership(Remove(id=gone.id))

        await until(lambda: gone.status == "removed")
        await until(lambda: role_of(other, gone.id) is None)


@pytest.mark.accept("C-31")
async def test_leadership_is_moved_at_any_node(autojump_clock: trio.testing.MockClock) -> None:
    """To the node that is asked, to another one, to anybody."""
    async with three() as (cluster, leader, (asked, other)):
        assert await asked.transfer_leadership(asked.id) == asked.id
        assert asked.status == "leader"
        assert await other.transfer_leadership(leader.id) == leader.id
        found = await asked.transfer_leadership()
        assert found in {asked.id, other.id}
        assert cluster[found].status == "leader"


async def test_it_is_done_once_however_often_it_arrives(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """The second of two would be refused: nothing would change."""
    async with three() as (cluster, leader, (asked, other)):
        cluster.network.faults = Faults(duplication=1.0)

        index = await asked.change_membership(Demote(id=other.id))
        await asked.transfer_leadership(asked.id)

        assert leader.statistics().configuration_index == index


async def test_what_is_lost_on_the_way_is_sent_again(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """The question, and the answer too: which is told again, and the same."""
    async with three() as (cluster, leader, (asked, other)):
        for change, lost in (
            (Demote(id=other.id), (asked.id, leader.id)),
            (Demote(id=asked.id), (leader.id, asked.id)),  # decided without it
        ):
            before = leader.statistics().configuration_index
            async with trio.open_nursery() as nursery:
                found: list[int] = []

                async def call(change: Any = change, found: list[int] = found) -> None:
                    found.append(await asked.change_membership(change))

                cluster.network.cut(*lost)
                nursery.start_soon(call)
                await trio.sleep(0.15)  # less than an election timeout
                assert not found
                cluster.network.heal()
            assert found == [leader.statistics().configuration_index]
            assert found[0] > before
            assert leader.status == "leader"


async def test_who_leads_next_is_asked_next(autojump_clock: trio.testing.MockClock) -> None:
    """While the leader waits for a newcomer, it hands over: nothing was changed yet."""
    async with three() as (cluster, leader, (asked, other)):
        async with trio.open_nursery() as nursery:
            change = AddLearner(id="d", address="memory:d")
            nursery.start_soon(partial(asked.change_membership, change))
            await trio.sleep(1)
            await leader.transfer_leadership(other.id)
            await trio.sleep(1)
            await other.transfer_leadership(asked.id)  # it is its own leader now
            await trio.sleep(1)
            d = await nursery.start(_run, joining(cluster.network, "a"))
        assert role_of(asked, "d") == "learner"
        await until(lambda: role_of(d, "d") == "learner")


async def test_a_leader_that_ends_before_it_began_is_not_the_last_that_is_asked(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """What was not begun did not happen, so whoever leads next may do it."""
    async with three() as (_, leader, (asked, other)):
        leader._server.changing.close("this node is closed")  # its links still stand
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(asked.change_membership, Demote(id=leader.id)))
            await trio.sleep(1)
            await leader.transfer_leadership(other.id)

        assert role_of(asked, leader.id) == "learner"


async def _run(opening: Any, task_status: trio.TaskStatus[Node[Any]]) -> None:
    async with opening as node:
        task_status.started(node)
        await until(lambda: role_of(node, "d") == "learner")


# ── it is refused ────────────────────────────────────────────────────────────────────────────────────


async def test_the_leader_refuses_in_its_own_words(autojump_clock: trio.testing.MockClock) -> None:
    async with three() as (_, leader, (asked, _)):
        for node in (leader, asked):
            with pytest.raises(ChangeRefused, match=r"^'x' is no member; there are: a, b, c$"):
                await node.change_membership(Remove(id="x"))
            with pytest.raises(TransferFailed) as caught:
                await node.transfer_leadership("zed")
            assert caught.value.leader == leader.id
            assert str(caught.value) == (
                "leadership was not handed over: the group has no member 'zed': there are a, b, c"
            )


async def test_a_change_is_based_on_what_the_asked_node_saw(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """It was cut off while the group was changed."""
    async with three() as (cluster, leader, (asked, _)):
        seen = asked.statistics().configuration_index
        cluster.network.cut(leader.id, asked.id)
        index = await leader.change_membership(Demote(id=asked.id))
        cluster.network.heal()

        with pytest.raises(ChangeRefused, match=f"of index {seen} was overtaken by .* {index}, "):
            await asked.change_membership(Promote(id=asked.id), based_on=seen)


async def test_the_leader_says_in_time_who_did_not_come(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """It is given less time than the caller has: so the answer is no, and not that nobody knows."""
    async with three() as (_, _, (asked, _)):
        with pytest.raises(ChangeRefused, match=r"within 1\.8 s: d at memory:d was not met"):
            await asked.change_membership(AddLearner(id="d", address="memory:d"), timeout=2)


@pytest.mark.parametrize(
    "changes, error",
    [
        ([], ChangeRefused),
        ([Remove(id="b")] * (CHANGES_MAX + 1), ChangeRefused),
        ([Remove(id="")], ChangeRefused),
        ([Readdress(id="b", address="x" * 256)], ChangeRefused),
        ([AddLearner(id="d", incarnation=1 << 64, address="")], ChangeRefused),
        (["remove b"], LocalProtocolError),
    ],
    ids=["none", "too many", "no name", "long address", "large number", "something else"],
)
async def test_what_no_node_can_read_is_not_sent(
    autojump_clock: trio.testing.MockClock, changes: list[Any], error: type[Exception]
) -> None:
    """It would cost the link, and the caller would be told that nobody knows."""
    async with three() as (_, leader, (asked, _)):
        for node in (leader, asked):
            with pytest.raises(error):
                await node.change_membership(*changes)
            for index in (0, 1 << 63):
                with pytest.raises(ChangeRefused, match="based_on is the index of a configur"):
                    await node.change_membership(Remove(id="b"), based_on=index)
            with pytest.raises(TransferFailed, match="'' is the name of no node"):
                await node.transfer_leadership("")
        assert asked._server.links.greeting.is_heard(leader.id)


async def test_without_a_leader_it_does_not_happen(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with three() as (cluster, leader, (asked, other)):
        await cluster.crash(leader.id)
        await cluster.crash(other.id)
        await trio.sleep(2)
        for call in (
            partial(asked.change_membership, Remove(id=other.id)),
            asked.transfer_leadership,
        ):
            with pytest.raises(
                NoQuorum, match=r"^no leader could be asked within 3 s: no leader: 1 of 3"
            ):
                await call(timeout=3)


async def test_an_unborn_node_says_why_it_can_not_ask(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with three() as (cluster, _, _), joining(cluster.network, "a") as d:
        with pytest.raises(NoQuorum, match="raftkit admit DIRECTORY d memory:d"):
            await d.change_membership(Remove(id="b"), timeout=3)


async def test_nothing_is_referred_on(autojump_clock: trio.testing.MockClock) -> None:
    """Who does not lead says so, and whom it follows."""
    async with three() as (_, leader, (asked, other)):
        with pytest.raises(NotLeader) as caught:
            await asked._server.referring._refer(
                other.id,
                TransferReferral(request=1, within_ms=1000, target=asked.id),
                1.0,
                LeadershipMoved,
            )
        assert caught.value.leader == leader.id
        assert leader.status == "leader"


# ── nobody knows ─────────────────────────────────────────────────────────────────────────────────────


async def test_a_link_that_breaks_after_it_was_asked_leaves_it_unknown(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with three() as (cluster, leader, (asked, other)):
        cluster.network.partition([leader.id], [other.id])
        async with trio.open_nursery() as nursery:
            begin = trio.current_time()

            async def call() -> None:
                words = (
                    f"the link to {leader.id}, which leads and was asked, broke before its answer"
                )
                with pytest.raises(OutcomeUnknown, match=words):
                    await asked.change_membership(
                        AddLearner(id="d", address="memory:d"), timeout=20
                    )

            nursery.start_soon(call)
            await trio.sleep(0.1)
            cluster.network.close_links(leader.id)
        assert trio.current_time() - begin < 0.2


async def test_an_answer_that_does_not_come_in_time_leaves_it_unknown(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """The change was made: the answer was lost."""
    async with three() as (cluster, leader, (asked, other)):
        cluster.network.cut(leader.id, asked.id)
        words = f"{leader.id}, which leads and was asked, gave no answer in 0.1 s"
        with pytest.raises(OutcomeUnknown, match=words):
            await asked.change_membership(Demote(id=other.id), timeout=0.1)
        assert role_of(leader, other.id) == "learner"


async def test_a_leader_that_loses_the_leadership_over_it_says_that_nobody_knows(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with local_cluster(Counter, 5, in_memory=True) as cluster:
        leader = await cluster.wait_leader()
        await leader.execute(Counter.add(amount=1))
        asked, *others = [node for node in cluster if node is not leader]
        cluster.partition([leader.id, asked.id], [it.id for it in others])

        with pytest.raises(OutcomeUnknown, match=f"{leader.id} lost the leadership while the"):
            await asked.change_membership(Demote(id=others[0].id))


async def test_a_node_that_ends_answers_whoever_asked_there(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Unknown where the leader was asked, and definite where nobody was."""
    async with three() as (cluster, leader, (asked, other)):
        admitted = AddLearner(id="d", address="memory:d")

        async def call(node: Node[Any], error: type[Exception], words: str) -> None:
            with pytest.raises(error, match=words):
                await node.change_membership(admitted)

        async with trio.open_nursery() as nursery:
            words = f"closed, before {leader.id} answered, which was asked"
            nursery.start_soon(call, asked, OutcomeUnknown, words)
            await trio.sleep(0.1)
            asked._server.close("this node is closed")  # whether or not its links report that
        await cluster.crash(asked.id)
        again = await cluster.start(asked.id)
        await cluster.crash(leader.id)
        await cluster.crash(other.id)
        await trio.sleep(2)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(call, again, NodeClosed, "closed")
            await trio.sleep(0.1)
            await cluster.crash(again.id)
        with pytest.raises(NodeClosed):
            await again.transfer_leadership()


async def test_only_the_answer_of_who_was_asked_counts(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Somebody else's is not heard, and one to another question says nothing."""
    async with three() as (_, leader, (asked, other)):
        async with trio.open_nursery() as nursery:
            found: list[str] = []

            async def call() -> None:
                with pytest.raises(OutcomeUnknown, match="answered something else") as caught:
                    await asked.change_membership(AddLearner(id="d", address="memory:d"))
                found.append(str(caught.value))

            nursery.start_soon(call)
            await trio.sleep(0.1)
            (request,) = asked._server.referring._open
            lie = ChangeMade(request=request, index=Index(1))
            other._server.links.send((asked.id,), lie)
            await trio.sleep(0.1)
            assert not found
            wrong = LeadershipMoved(request=request, leader=leader.id)
            leader._server.links.send((asked.id,), wrong)
        assert found
