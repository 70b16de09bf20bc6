"""How groups begin, and what is refused."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
import trio

from raftkit import MemoryNetwork, Node, NoQuorum, WrongCluster, open_node
from raftkit.driver.storing import Storing
from raftkit.driver_messages import Remembered
from raftkit.errors import ConfigError, StorageError
from raftkit.model import Index, Term
from raftkit.storage import MemoryStorage, Storage
from raftkit.testing import local_cluster
from raftkit.transports import Faults
from tests.node.machines import Counter, Journal

MEMBERS = {name: f"memory:{name}" for name in "abc"}


@asynccontextmanager
async def nodes(
    network: MemoryNetwork, homes: dict[str, Storage], **settings: Any
) -> AsyncGenerator[dict[str, Node[Counter]]]:
    """Open one node for each home."""
    async with AsyncExitStack() as stack:
        yield {
            name: await stack.enter_async_context(
                open_node(
                    Counter,
                    id=name,
                    members=MEMBERS,
                    transport=network,
                    data_dir=home,
                    **settings,
                )
            )
            for name, home in homes.items()
        }


def fresh(names: str = "abc") -> dict[str, Storage]:
    return {name: MemoryStorage(name) for name in names}


@pytest.mark.parametrize("order", ["".join(it) for it in permutations("abc")])
@pytest.mark.accept("U-49")
async def test_a_group_is_founded_in_whatever_order_its_nodes_start(
    autojump_clock: trio.testing.MockClock, order: str
) -> None:
    async with local_cluster(Counter, 3, in_memory=True, start=False) as cluster:
        for name in order:
            assert name not in [node.id for node in cluster]
            await cluster.start(name)
            await trio.sleep(3)
        for node in cluster:
            assert await node.execute(Counter.add()) > 0


async def test_a_missing_member_is_waited_for_and_named(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with local_cluster(Counter, 3, in_memory=True, start=False) as cluster:
        a = await cluster.start("a")
        await cluster.start("b")
        with caplog.at_level(logging.WARNING, "raftkit"):
            await trio.sleep(30)
        lines = [it.message for it in caplog.records if it.message.startswith("a: ")]

        assert a.status == "unborn"
        assert lines[0] == "a: waiting to found: 2 of 3 here; c memory:c refused"
        assert len(lines) == 4  # after 2, 4, 8 and 16 seconds
        with pytest.raises(NoQuorum):
            await a.execute(Counter.add(), timeout=1.0)
        await cluster.start("c")
        assert await a.execute(Counter.add()) == 1
        caplog.clear()
        await trio.sleep(30)
        assert not caplog.records


async def test_commands_given_before_founding_are_decided_after_it(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with local_cluster(Counter, 3, in_memory=True, start=False) as cluster:
        a = await cluster.start("a")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(a.execute, Counter.add())
            nursery.start_soon(a.read, Counter.value())
            await trio.sleep(5)
            await cluster.start("c")
            await cluster.start("b")

        assert await a.read(Counter.value()) == 1


async def test_a_list_of_one_founds_only_when_told_to(
    autojump_clock: trio.testing.MockClock,
) -> None:
    storage = MemoryStorage("a")
    network = MemoryNetwork()
    members = {"a": "memory:a"}
    async with open_node(
        Counter, id="a", members=members, transport=network, data_dir=storage
    ) as node:
        await trio.sleep(10)
        assert node.status == "unborn"
        assert "found=True" in node.explain()
    async with open_node(
        Counter,
        id="a",
        members=members,
        transport=network,
        data_dir=storage.reopen(),
        found=True,
    ) as node:
        assert await node.execute(Counter.add()) == 1
    async with open_node(
        Counter, id="a", members=members, transport=network, data_dir=storage.reopen()
    ) as node:
        assert await node.execute(Counter.add()) == 2


async def test_different_lists_found_nothing(autojump_clock: trio.testing.MockClock) -> None:
    network, homes = MemoryNetwork(), fresh()
    async with (
        nodes(network, {"a": homes["a"], "b": homes["b"]}) as opened,
        open_node(
            Counter,
            id="c",
            members={**MEMBERS, "d": "memory:d"},
            transport=network,
            data_dir=homes["c"],
        ) as c,
    ):
        await trio.sleep(10)

        assert {it.status for it in (*opened.values(), c)} == {"unborn"}
        assert "c memory:c lists a, b, c, d" in opened["a"].explain()
        assert "a memory:a lists a, b, c" in c.explain()


@pytest.mark.parametrize(
    "machine, setting, words",
    [
        (Counter, {"election_timeout": (0.3, 0.5)}, "has other settings"),
        (Counter, {"entry_bytes_max": 2000}, "has other settings"),
        (partial(Counter, total=1), {}, "or a machine that begins otherwise"),
        (Journal, {}, "has another machine"),
    ],
)
async def test_different_settings_or_machines_found_nothing(
    autojump_clock: trio.testing.MockClock, machine: Any, setting: dict[str, Any], words: str
) -> None:
    network, homes = MemoryNetwork(), fresh()
    async with nodes(network, {"a": homes["a"], "b": homes["b"]}) as opened:
        async with open_node(
            machine, id="c", members=MEMBERS, transport=network, data_dir=homes["c"], **setting
        ) as c:
            await trio.sleep(10)

            assert {it.status for it in opened.values()} == {"unborn"}
            assert "c memory:c has " in opened["a"].explain()
            assert words in opened["a"].explain()
            assert words in c.explain()
        await trio.sleep(5)
        async with nodes(network, {"c": MemoryStorage("c")}):  # put right, and started again
            assert await opened["a"].execute(Counter.add()) == 1


async def test_who_missed_the_founding_is_born_later(
    autojump_clock: trio.testing.MockClock,
) -> None:
    # c was there, and went before it could hear of it. Its directory is the same, and unborn.
    network, homes = MemoryNetwork(), fresh()
    network.cut("a", "c")
    network.heal()
    async with nodes(network, {"a": homes["a"], "b": homes["b"]}) as opened:
        async with open_node(
            Counter, id="c", members=MEMBERS, transport=network, data_dir=homes["c"]
        ):
            for sender in "ab":
                network.cut(sender, "c")  # its hello is heard, nothing reaches it
            await opened["a"].wait_leader()
        assert homes["c"].record.founding is None
        network.heal()
        assert await opened["a"].execute(Counter.add()) == 1
        c = homes["c"]
        assert isinstance(c, MemoryStorage)
        async with open_node(
            Counter, id="c", members=MEMBERS, transport=network, data_dir=c.reopen()
        ) as late:
            assert await late.read(Counter.value()) == 1


async def test_who_missed_the_founding_is_born_after_all_others_were_restarted(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """They met it and wrote down whom they met: that is no promise of its."""
    network, homes = MemoryNetwork(), fresh()
    async with nodes(network, {"a": homes["a"], "b": homes["b"]}) as opened:
        async with nodes(network, {"c": homes["c"]}):
            for sender in "ab":
                network.cut(sender, "c")
            await opened["a"].wait_leader()
        network.heal()
        await trio.sleep(15)  # long enough to write down whom they met
    ours = {name: home.reopen() for name, home in homes.items() if isinstance(home, MemoryStorage)}
    assert ours["c"].record.founding is None
    assert ours["b"].record.identity in ours["a"].record.remembered
    with trio.fail_after(30):
        async with nodes(network, {**ours}) as opened:
            assert await opened["c"].execute(Counter.add()) == 1


async def test_a_wiped_node_founds_nothing_and_is_not_taken_in(
    autojump_clock: trio.testing.MockClock,
) -> None:
    network, homes = MemoryNetwork(), fresh()
    async with nodes(network, {"a": homes["a"], "b": homes["b"]}) as opened:
        async with nodes(network, {"c": homes["c"]}) as others:
            assert await others["c"].execute(Counter.add()) == 1
        async with nodes(network, {"c": MemoryStorage("c")}) as others:
            await trio.sleep(10)

            assert others["c"].status == "unborn"
            assert "does not name" in others["c"].explain()
            assert await opened["a"].execute(Counter.add()) == 2


async def test_a_wiped_node_founds_nothing_while_the_others_restore_their_states(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its name is the smallest, and all are up; but the others were born long ago, and say so at once."""
    network, homes = MemoryNetwork(), fresh()
    async with nodes(network, homes) as opened:
        await opened["a"].execute(Counter.add())
        await opened["b"].snapshot()
        await opened["c"].snapshot()
    ours: dict[str, Storage] = {
        name: home.reopen() for name, home in homes.items() if isinstance(home, MemoryStorage)
    }
    real = Storing.read_snapshot

    async def slowly(storing: Storing) -> list[bytes]:
        await trio.sleep(5)  # a large snapshot: hellos come and go meanwhile
        return await real(storing)

    monkeypatch.setattr(Storing, "read_snapshot", slowly)
    async with nodes(network, ours | {"a": MemoryStorage("a")}) as opened:
        await trio.sleep(3)
        assert opened["a"].status == "unborn"
        await opened["b"].wait_leader()

        assert opened["a"].status == "unborn"
        assert await opened["b"].execute(Counter.add()) == 2


async def test_a_directory_emptied_of_its_founding_is_recognised(
    autojump_clock: trio.testing.MockClock,
) -> None:
    network, homes = MemoryNetwork(), fresh()
    unborn = homes["c"].record
    async with nodes(network, {"a": homes["a"], "b": homes["b"]}) as opened:
        async with nodes(network, {"c": homes["c"]}) as others:
            await others["c"].execute(Counter.add())
        rolled_back = MemoryStorage("c")
        rolled_back._image.record = unborn  # a copy of the directory from before the founding
        async with nodes(network, {"c": rolled_back}) as others:
            await trio.sleep(10)

            assert others["c"].status == "unborn"
            assert "emptied or rolled back" in others["c"].explain()
            assert await opened["a"].execute(Counter.add()) == 2


@pytest.mark.parametrize(
    "told", [{"boot": 99}, {"nonce": 1}, {"term": Term(99)}, {"index": Index(10_000)}]
)
async def test_a_rolled_back_directory_neither_votes_nor_acknowledges(
    autojump_clock: trio.testing.MockClock, told: dict[str, Any]
) -> None:
    network, homes = MemoryNetwork(), fresh()
    async with nodes(network, homes) as opened:
        await opened["c"].execute(Counter.add())
    reopened: dict[str, Any] = {
        name: home.reopen() for name, home in homes.items() if isinstance(home, MemoryStorage)
    }
    c = reopened["c"].record
    true = {"boot": c.boot, "nonce": c.nonce, "term": Term(2), "index": Index(3)}
    reopened["a"].remember({c.identity: Remembered(**(true | told))})
    async with nodes(network, reopened) as opened:
        await opened["a"].wait_leader()
        await trio.sleep(3)

        assert opened["c"].status == "barred"
        assert "rolled back" in opened["c"].explain()
        assert await opened["a"].execute(Counter.add()) == 2


async def test_a_rolled_back_directory_is_recognised_by_what_was_said_while_it_opened(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    network, homes = MemoryNetwork(), fresh()
    async with nodes(network, homes) as opened:
        await opened["c"].execute(Counter.add())
        await opened["c"].snapshot()
    ours: dict[str, Storage] = {
        name: home.reopen() for name, home in homes.items() if isinstance(home, MemoryStorage)
    }
    c = ours["c"].record
    ours["a"].remember(
        {c.identity: Remembered(boot=99, nonce=c.nonce, term=Term(2), index=Index(3))}
    )
    real = Storing.read_snapshot

    async def slowly(storing: Storing) -> list[bytes]:
        await trio.sleep(5)  # a large snapshot: hellos come and go meanwhile
        return await real(storing)

    monkeypatch.setattr(Storing, "read_snapshot", slowly)
    async with nodes(network, ours) as opened:
        await trio.sleep(10)

        assert opened["c"].status == "barred"


async def test_a_founded_group_starts_again_in_any_order(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with local_cluster(Counter, 3, in_memory=True) as cluster:
        await cluster["a"].execute(Counter.add())
        for order in permutations("abc"):
            for name in "abc":
                await cluster.crash(name)
            for name in order[:2]:
                await cluster.restart(name)
            assert await cluster[order[0]].read(Counter.value()) == 1
            await cluster.restart(order[2])


async def test_a_changed_list_means_nothing_after_founding(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    network, homes = MemoryNetwork(), fresh()
    async with nodes(network, homes) as opened:
        await opened["a"].execute(Counter.add())
    ours = {name: home.reopen() for name, home in homes.items() if isinstance(home, MemoryStorage)}
    changed = {"a": MEMBERS["a"], "x": "memory:x"}
    async with (
        nodes(network, {"b": ours["b"]}) as opened,
        open_node(Counter, id="a", members=changed, transport=network, data_dir=ours["a"]) as a,
    ):
        assert await a.execute(Counter.add()) == 2
        assert a.members == opened["b"].members == MEMBERS

    assert [it.message for it in caplog.records if "means nothing" in it.message] == [
        f"a: members={changed} means nothing now: by the log they are {MEMBERS}"
    ]


async def test_a_directory_of_another_cluster_ends_the_node_and_no_other(
    autojump_clock: trio.testing.MockClock,
) -> None:
    strange = fresh()
    async with nodes(MemoryNetwork(), strange) as opened:
        await opened["a"].execute(Counter.add())
    network, homes = MemoryNetwork(), fresh()
    async with nodes(network, homes) as opened:
        await opened["a"].execute(Counter.add(amount=5))
    c = strange["c"]
    ours = {name: home.reopen() for name, home in homes.items() if isinstance(home, MemoryStorage)}
    assert isinstance(c, MemoryStorage)
    async with nodes(network, {"a": ours["a"], "b": ours["b"]}) as opened:
        with pytest.raises(WrongCluster, match="a, b are of cluster"):
            async with nodes(network, {"c": c.reopen()}):
                await trio.sleep(5)

        assert await opened["a"].read(Counter.value()) == 5


async def test_founding_over_a_bad_network(autojump_clock: trio.testing.MockClock) -> None:
    network = MemoryNetwork(seed=3, faults=Faults(loss=0.3, duplication=0.3, delay=(0.0, 0.1)))
    async with nodes(network, fresh()) as opened:
        with trio.fail_after(120):
            for node in opened.values():
                await node.wait_leader()


async def test_an_address_in_use_is_refused(autojump_clock: trio.testing.MockClock) -> None:
    network = MemoryNetwork()
    async with nodes(network, fresh("a")):
        with pytest.raises(ConfigError, match="memory:a is in use"):
            async with nodes(network, fresh("a")):
                pass


async def test_a_directory_in_use_or_of_another_node_is_refused(tmp_path: Path) -> None:
    network = MemoryNetwork()

    async def opening(name: str, folder: str) -> None:
        async with open_node(
            Counter,
            id=name,
            members=MEMBERS,
            transport=network,
            data_dir=tmp_path / folder,
        ):
            with pytest.raises(StorageError):
                async with open_node(
                    Counter, id=name, members=MEMBERS, transport=network, data_dir=tmp_path / folder
                ):
                    pass

    await opening("a", "home")
    with pytest.raises(WrongCluster, match="home"):
        await opening("b", "home")
