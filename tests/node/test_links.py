"""What members say of themselves reaches all: who hears whom, who is silent, and who campaigns first."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import attrs
import pytest
import trio
import trio.testing

from raftkit import MemberLinks, MemoryNetwork, Node, Presence, open_node
from raftkit.driver import presence
from raftkit.driver.presence import REPEAT_SECONDS, SILENT_SECONDS
from raftkit.messages import AppendEntries, RoleChanged
from raftkit.model import Identity, Index, NodeId, Term
from raftkit.storage import MemoryStorage
from raftkit.testing import Cluster, local_cluster
from tests.node.machines import Counter
from tests.node.sieve import Sieve

SAID = 1.5
"Seconds after which news have been told."
SILENT = SILENT_SECONDS + REPEAT_SECONDS
"Seconds after which whoever is silent has been missed."


def row(node: Node[Any], member: NodeId) -> MemberLinks:
    return {it.id: it for it in node.links()}[member]


def missing(node: Node[Any]) -> dict[NodeId, tuple[NodeId, ...] | None]:
    return {it.id: it.missing for it in node.links()}


# ── what is said ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.slow
@pytest.mark.accept("U-60", "U-61")
async def test_every_node_hears_of_every_other_how_it_is(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Followers of each other too, which no message of Raft connects."""
    async with local_cluster(Counter, 3, in_memory=True) as cluster:
        leader = await cluster.wait_leader()
        for _ in range(5):
            await leader.execute(Counter.add())
        await trio.sleep(SAID)

        for node in cluster:
            now = node.statistics()
            says = Presence(
                term=now.term,
                leader=leader.id,
                last_index=now.last_index,
                last_term=now.term,
                first_index=Index(1),
                commit_index=now.commit_index,
                applied_index=now.applied_index,
                configuration_index=now.configuration_index,
                missing=(),
            )
            for other in cluster:
                known = row(other, node.id)
                assert (known.said, known.missing) == (says, ())
                assert known.heard_age is not None
                assert known.said_age is not None
                assert (known.said_age == 0.0) == (other is node)
                assert known.heard_age <= known.said_age <= SAID


@pytest.mark.slow
async def test_news_are_told_each_second_and_nothing_else_each_fifth(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """One frame a peer, so an idle group is hardly disturbed."""
    told: list[NodeId] = []

    def note(sender: NodeId, _receiver: NodeId, message: object) -> bool:
        told.extend([sender] * isinstance(message, Presence))
        return False

    network = Sieve()
    network.loses = note
    async with local_cluster(Counter, 3, in_memory=True, network=network) as cluster:
        await cluster.wait_leader()
        await trio.sleep(10)
        told.clear()
        await trio.sleep(20)
        idle = len(told)
        told.clear()
        for _ in range(40):
            await cluster["a"].execute(Counter.add())
            await trio.sleep(0.5)

        assert idle == 3 * 2 * 4
        assert 3 * 2 * 19 <= len(told) <= 3 * 2 * 21


async def test_a_node_that_is_unborn_knows_of_no_links() -> None:
    async with open_node(
        Counter,
        id="a",
        members={"a": "memory:a", "b": "memory:b"},
        transport=MemoryNetwork(),
        data_dir=MemoryStorage("a"),
    ) as node:
        assert node.links() == ()


async def test_what_a_stranger_says_is_not_kept(autojump_clock: trio.testing.MockClock) -> None:
    """Nor what another incarnation of a member does."""
    async with local_cluster(Counter, 3, in_memory=True) as cluster:
        a = cluster["a"]
        await trio.sleep(SAID)
        presences = a._server.presences
        before = a.links()
        said = row(a, "b").said
        assert said is not None
        lie = attrs.evolve(said, missing=("a", "c"), last_index=Index(99))

        presences.on_presence(Identity(id="b", incarnation=1), lie)
        presences.on_presence(Identity(id="x", incarnation=1), lie)

        assert a.links() == before


# ── who is missing ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.slow
@pytest.mark.accept("U-62")
async def test_everyone_knows_who_does_not_hear_whom(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Nothing that b sends gets to c; b hears c well, and so it shows in the rows of all."""
    async with local_cluster(Counter, 3, in_memory=True) as cluster:
        leader = await cluster.wait_leader()
        if leader.id != "a":
            await leader.transfer_leadership("a")
        cluster.network.cut("b", "c")
        await trio.sleep(SILENT)

        assert missing(cluster["a"]) == {"a": (), "b": (), "c": ("b",)}
        assert missing(cluster["b"]) == {"a": (), "b": (), "c": ("b",)}
        assert missing(cluster["c"]) == {"a": (), "b": None, "c": ("b",)}
        assert cluster["a"].explain() == "c does not hear b"
        assert cluster["b"].explain() == "c does not hear b"
        silence = row(cluster["c"], "b").heard_age
        assert silence is not None
        assert SILENT_SECONDS < silence <= SILENT + 1
        assert cluster["c"].explain() == (
            f"b has said nothing for {silence:.0f} s, on a link that stands"
        )
        cluster.heal()
        await trio.sleep(REPEAT_SECONDS + 2 * SAID)
        for node in cluster:
            assert missing(node) == {"a": (), "b": (), "c": ()}
            assert node.explain().startswith("all is well")


@pytest.mark.slow
async def test_words_for_who_hears_few_or_nobody(autojump_clock: trio.testing.MockClock) -> None:
    async with local_cluster(Counter, 5, in_memory=True) as cluster:
        leader = await cluster.wait_leader()
        if leader.id != "a":
            await leader.transfer_leadership("a")
        for other in "bcd":
            cluster.network.cut(other, "e")
        await trio.sleep(SILENT)

        assert cluster["a"].explain() == "e hears only a"
        cluster.network.cut("a", "e")
        await trio.sleep(SILENT)
        assert "e hears nobody" in cluster["a"].explain()


@pytest.mark.slow
async def test_of_a_node_that_is_gone_nothing_is_known(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """What it said last is there, of its age; that others miss it as well is no more news."""
    async with local_cluster(Counter, 3, in_memory=True) as cluster:
        await cluster.wait_leader()
        await trio.sleep(SAID)
        await cluster.crash("c")
        await trio.sleep(SAID)
        await cluster.wait_leader()

        for name in "ab":
            gone = row(cluster[name], "c")
            assert (gone.heard_age, gone.missing) == (None, None)
            assert gone.said is not None
            assert gone.said_age is not None
            assert gone.said_age >= SAID
            assert missing(cluster[name]) == {"a": ("c",), "b": ("c",), "c": None}
            assert cluster[name].explain() == "c memory:c refused"


@pytest.mark.slow
async def test_a_node_that_slept_does_not_say_that_others_were_silent(
    autojump_clock: trio.testing.MockClock,
) -> None:
    network, told = Sieve(), list[Presence]()

    def note(_sender: NodeId, _receiver: NodeId, message: object) -> bool:
        told.extend([message] if isinstance(message, Presence) else [])
        return False

    async with local_cluster(Counter, 3, in_memory=True, network=network) as cluster:
        await cluster.wait_leader()
        await trio.sleep(SAID)
        network.loses = note
        autojump_clock.jump(60)
        await trio.sleep(2 * SAID)

        assert len(told) >= 6
        assert {it.missing for it in told} == {()}


# ── who campaigns first ──────────────────────────────────────────────────────────────────────────


@asynccontextmanager
async def ahead_of_a() -> AsyncGenerator[Cluster[Counter]]:
    """c leads, b holds its log, a lacks the last entries and hears heartbeats only; all know that."""
    network = Sieve()
    async with local_cluster(Counter, 3, in_memory=True, network=network) as cluster:
        leader = await cluster.wait_leader()
        if leader.id != "c":
            await leader.transfer_leadership("c")
        await cluster["c"].execute(Counter.add())
        await trio.sleep(SAID)
        network.lose("a", AppendEntries)
        for _ in range(3):
            await cluster["c"].execute(Counter.add())
        await trio.sleep(SAID)
        yield cluster


@pytest.mark.slow
@pytest.mark.accept("U-63", "U-64")
async def test_who_said_to_have_the_furthest_log_takes_over(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """a, which would ask first by its name, could not win; it does not even ask."""
    async with ahead_of_a() as cluster:
        term, events = cluster["a"].statistics().term, cluster["a"].events()

        await cluster.crash("c")
        await trio.sleep(0.2)
        assert cluster["a"].leader == "b"

        await cluster.crash("a")
        roles = {it.role async for it in events if isinstance(it, RoleChanged)}
        assert roles == {"follower"}
        assert cluster["b"].statistics().term == term + 1


@pytest.mark.slow
async def test_what_was_said_by_who_is_gone_counts_no_more(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """It would be waited for in vain."""
    async with ahead_of_a() as cluster:
        presences = cluster["a"]._server.presences
        assert presences.succession() == ("b", "c", "a")

        await cluster.crash("b")

        assert presences.succession() == ("c", "a")


@pytest.mark.slow
async def test_all_know_the_same_order_whatever_they_have_written_since(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each has come further than the others know: if it went by that, all would campaign first."""
    async with local_cluster(Counter, 3, in_memory=True) as cluster:
        await cluster.wait_leader()
        await trio.sleep(SAID)
        monkeypatch.setattr(presence, "LOOK_SECONDS", 1000.0)
        await trio.sleep(SAID)  # from now on nobody says any more

        await cluster["b"].execute(Counter.add())
        await trio.sleep(SAID)

        for node in cluster:
            assert node._server.presences.succession() == ("a", "b", "c")


@pytest.mark.slow
@pytest.mark.accept("U-60")
async def test_what_is_said_moves_neither_terms_nor_leaders(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Who claims to be far ahead, and that another leads a later term, is noted and not obeyed."""
    async with local_cluster(Counter, 3, in_memory=True) as cluster:
        leader = await cluster.wait_leader()
        await trio.sleep(SAID)
        term = leader.statistics().term
        lie = Presence(
            term=Term(term + 7),
            leader="x",
            last_index=Index(1000),
            last_term=Term(term + 7),
            first_index=Index(1),
            commit_index=Index(1000),
            applied_index=Index(1000),
            configuration_index=Index(1),
            missing=("a", "b", "c"),
        )
        liar = next(node for node in cluster if node is not leader)
        liar._server.links.send([it for it in "abc" if it != liar.id], lie)
        await trio.sleep(0.1)

        others = [node for node in cluster if node is not liar]
        assert [row(node, liar.id).said for node in others] == [lie, lie]
        await trio.sleep(SAID)
        assert {node.statistics().term for node in cluster} == {term}
        assert {node.leader for node in cluster} == {leader.id}
        assert await leader.execute(Counter.add()) == 1
