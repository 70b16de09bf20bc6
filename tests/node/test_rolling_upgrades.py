"""A group whose code is replaced node by node: nothing stops, and the new version comes at the end."""

from __future__ import annotations

import logging
import math
from contextlib import AbstractAsyncContextManager
from typing import Any

import attrs
import pytest
import trio

from raftkit import (
    MemoryNetwork,
    NodeClosed,
    NoQuorum,
    NotYetEnabled,
    StateMachine,
    command,
    open_node,
    query,
)
from raftkit.driver import MachineDiffers, VersionRaised
from raftkit.storage import MemoryStorage
from raftkit.testing import Cluster, local_cluster
from tests.driver.test_versions import Broken, Middle, New, Old
from tests.node.mixed_group import mixed_group
from tests.node.tcp_group import until

pytestmark = pytest.mark.slow

HOLD = 10.0
"The default of `upgrade_hold`."


def three(code: Any, **settings: Any) -> AbstractAsyncContextManager[Cluster[Any]]:
    """A group of three, whose nodes will run code of several types."""
    return local_cluster(code, 3, in_memory=True, **settings)


async def replace(cluster: Cluster[Any], name: str, code: Any) -> None:
    """Stop a node, and start it again with other code."""
    await cluster.crash(name)
    cluster.factory = code
    node = await cluster.restart(name)
    await node.wait_leader()


async def replaced(cluster: Cluster[Any], code: Any, names: str = "abc") -> None:
    for name in names:
        await replace(cluster, name, code)


async def settled(cluster: Cluster[Any], version: int) -> None:
    """Wait until `version` is in force at every node."""
    await until(lambda: all(node.statistics().version == version for node in cluster))


@pytest.mark.accept("Q-15")
async def test_a_version_comes_in_force_by_itself_when_the_last_voter_runs_it(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """New code does what the old did until then: commands of the new version are refused, and not sent."""
    async with three(Old) as cluster:
        await cluster["a"].execute(Old.set("tea", 250))
        for name in "abc":
            await replace(cluster, name, Middle)
            node = cluster[name]
            with pytest.raises(NotYetEnabled, match="needs version 2"):
                await node.execute(Middle.forget("tea"))
            with pytest.raises(NotYetEnabled, match="note = str 'dear'"):
                await node.execute(Middle.set("tea", 300, note="dear"))
            await node.execute(Middle.set(name, 1))
        events, begun = cluster["b"].events(), trio.current_time()

        with trio.fail_after(2 * HOLD):
            await settled(cluster, 2)

        assert trio.current_time() - begun >= HOLD - 1
        async for event in events:
            if isinstance(event, VersionRaised):
                break
        await cluster["b"].execute(Middle.forget("tea"))
        await cluster["c"].execute(Middle.set("a", 2, note="dear"))
        for node in cluster:
            prices = await node.read(lambda it: (it.cents, it.currency, it.notes))
            assert prices == ({"a": 2, "b": 1, "c": 1}, "CHF", ["dear"])
            assert "all is well" in node.explain()


async def test_no_version_comes_in_force_while_a_voter_has_older_code(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Or may have, because it is not heard. Each node says whom it waits for."""
    async with three(Old) as cluster:
        await replaced(cluster, Middle, "ab")
        await trio.sleep(3 * HOLD)

        with pytest.raises(NotYetEnabled, match="it waits for c has version 1"):
            await cluster["a"].upgrade()
        assert "version 1 of the machine is in force, version 2 is there" in cluster["c"].explain()
        assert [it.version for it in cluster["a"].statistics().members] == [2, 2, 1]
        await cluster.crash("c")
        await trio.sleep(3 * HOLD)
        with pytest.raises(NotYetEnabled, match="it waits for c is not heard"):
            await cluster["a"].upgrade()
        assert {it.statistics().version for it in cluster} == {1}


async def test_the_hold_begins_again_where_a_voter_was_away(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Its new code may be what ended it."""
    async with three(Old) as cluster:
        await replaced(cluster, Middle)
        leader = await cluster.wait_leader()
        follower = next(it for it in cluster if it is not leader)
        await trio.sleep(0.7 * HOLD)
        await cluster.crash(follower.id)
        await trio.sleep(3)
        await cluster.restart(follower.id)
        await trio.sleep(0.7 * HOLD)
        assert leader.status == "leader"
        assert leader.statistics().version == 1

        with trio.fail_after(HOLD):
            await settled(cluster, 2)


async def test_what_all_code_has_comes_in_force_and_no_more(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Versions 1, 2 and 3 meet: the middle one comes once nobody has the first, the last when all have it."""
    async with three(Old) as cluster:
        await cluster["a"].execute(Old.set("tea", 250))
        await replace(cluster, "a", New)
        await replaced(cluster, Middle, "bc")
        with trio.fail_after(2 * HOLD):
            await settled(cluster, 2)
        await replaced(cluster, New, "bc")

        with trio.fail_after(2 * HOLD):
            await settled(cluster, 3)

        for node in cluster:
            assert await node.read(lambda it: it.cents) == {"tea": 2500}


async def test_by_hand_at_any_node_without_waiting(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with three(Old, upgrade_hold=math.inf) as cluster:
        await replaced(cluster, Middle)
        await trio.sleep(3 * HOLD)
        assert {it.statistics().version for it in cluster} == {1}
        follower = next(it for it in cluster if it.status == "follower")
        assert "await node.upgrade()" in follower.explain()

        assert await follower.upgrade() == 2
        assert await follower.upgrade() == 2
        for node in cluster:  # one that lags looks before it refuses
            await node.execute(Middle.set("tea", 1, note="at once"))


async def test_a_hand_that_reaches_no_leader_learns_that_nothing_happened(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with three(Old, upgrade_hold=math.inf) as cluster:
        await replaced(cluster, Middle)
        follower = next(it for it in cluster if it.status == "follower")
        for node in list(cluster):
            if node is not follower:
                await cluster.crash(node.id)
        await trio.sleep(1)

        with pytest.raises(NoQuorum, match="could not be learnt within 1 s"):
            await follower.upgrade(timeout=1)


async def test_a_new_group_begins_with_the_newest_version(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """And no upgrade is skipped: what the factory makes is always of version 1."""
    async with three(lambda: New(cents={"tea": 5})) as cluster:
        await cluster["a"].execute(New.set("milk", 7, note="fresh"))

        found = await cluster["b"].read(lambda it: (it.cents, it.currency, it.notes))

        assert found == ({"tea": 50, "milk": 7}, "CHF", ["fresh"])


async def test_old_and_new_code_found_no_group_together(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """They would disagree about the version that it begins with; whoever is wrong is told."""
    network, members = MemoryNetwork(), {name: f"memory:{name}" for name in "ab"}
    async with (
        open_node(Old, id="a", members=members, transport=network) as a,
        open_node(Middle, id="b", members=members, transport=network) as b,
    ):
        await trio.sleep(5)

        assert (a.status, b.status) == ("unborn", "unborn")
        assert "b memory:b has another machine: start all nodes with the same code" in a.explain()


# ── the way back ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("snapshot", [False, True])
async def test_older_code_under_a_later_version_stops_applying_and_says_what_to_do(
    autojump_clock: trio.testing.MockClock, snapshot: bool
) -> None:
    """A node that was forgotten, or went back; it reads of the version in its log, or in its snapshot."""
    async with three(Old) as cluster:
        await replaced(cluster, Middle)
        await cluster["a"].upgrade()
        await cluster["a"].execute(Middle.set("tea", 1, note="x"))
        await cluster["c"].wait_applied(cluster["a"].statistics().applied_index)
        if snapshot:
            await cluster["c"].snapshot()

        await cluster.crash("c")
        cluster.factory = Old
        c = await cluster.restart("c")
        await until(lambda: c.status == "stopped applying")

        assert "version 2 of the machine" in c.explain()
        assert "this code has version 1; upgrade this node's code" in c.explain()
        with pytest.raises(NodeClosed, match="upgrade this node's code"):
            await c.execute(Old.set("tea", 2))
        await cluster["a"].execute(Middle.set("tea", 3))
        cluster.factory = Middle
        await cluster.crash("c")
        c = await cluster.restart("c")
        assert await c.read(lambda it: it.cents) == {"tea": 3}


async def test_older_code_is_back_at_once_while_its_version_is_in_force(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """That is what `upgrade_hold` is for: until it is over, new code that fails is taken back."""
    async with three(Old) as cluster:
        await replaced(cluster, Middle)
        await cluster["c"].execute(Middle.set("tea", 1))
        await cluster["c"].snapshot()
        await replaced(cluster, Old)

        await cluster["c"].execute(Old.set("milk", 2))

        assert await cluster["c"].read(lambda it: it.cents) == {"tea": 1, "milk": 2}


async def test_an_upgrade_that_raises_ends_the_nodes_that_come_to_it_and_mended_code_goes_on(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL, "raftkit")
    storages = {name: MemoryStorage(name) for name in "abc"}
    async with mixed_group(dict.fromkeys("abc", Old), storages) as group:
        await group["a"].execute(Old.set("tea", 0))
    storages = {name: it.reopen() for name, it in storages.items()}
    async with mixed_group(dict.fromkeys("abc", Broken), storages) as group:
        await trio.sleep(3 * HOLD)

        assert len(group.errors) >= 2  # the last one may not learn that the entry is committed
        for error in group.errors.values():
            assert "Broken.divide, which makes version 2" in str(error)
    storages = {name: it.reopen() for name, it in storages.items()}
    async with mixed_group(dict.fromkeys("abc", Middle), storages) as group:
        await group["b"].execute(Middle.set("milk", 1, note="mended"))
        assert await group["c"].read(lambda it: (it.cents, it.currency)) == (
            {"tea": 0, "milk": 1},
            "CHF",
        )


# ── code that differs, of one version ────────────────────────────────────────────────────────────────


@attrs.define
class Longer(StateMachine):
    """A command more, which nothing says is new."""

    cents: dict[str, int] = attrs.field(factory=dict)

    @command
    def set(self, name: str, cents: int) -> int:
        self.cents[name] = cents
        return len(self.cents)

    @command
    def forget(self, name: str) -> None:
        del self.cents[name]


@attrs.define
class Asked(Old):
    """A query more."""

    @query
    def count(self) -> int:
        return len(self.cents)


async def test_another_machine_of_one_version_is_said_once(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with three(Old) as cluster:
        events = cluster["a"].events()
        await replace(cluster, "c", Longer)
        await trio.sleep(5)

        said = [await events.receive() for _ in range(len(events._queue))]
        differs = [it for it in said if isinstance(it, MachineDiffers)]
        assert [it.peer for it in differs] == ["c"]
        assert "has another machine than a, both of version 1" in differs[0].why
        assert "mark what is new with since(2)" in cluster["a"].explain()
        assert "a has another machine than c" in cluster["c"].explain()
        assert len([it for it in caplog.messages if it.startswith("a: c has another")]) == 1
        await replace(cluster, "c", Old)
        assert "another machine" not in cluster["a"].explain()


async def test_a_machine_that_only_answers_more_is_no_other(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with three(Old) as cluster:
        await replace(cluster, "c", Asked)

        assert await cluster["c"].read(Asked.count()) == 0
        assert "another machine" not in cluster["a"].explain()
