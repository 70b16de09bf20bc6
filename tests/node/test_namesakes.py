"""A second node under the name of one that lives is refused, over TCP, and both sides say so."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from raftkit import AddLearner, ChangeRefused, Node, open_node
from raftkit.driver import NameTaken
from raftkit.transports import TcpTransport
from tests.node.machines import Journal
from tests.node.tcp_group import Group, open_group, until
from tests.transports.parts import free_addresses

pytestmark = pytest.mark.slow


@asynccontextmanager
async def namesake(group: Group, name: str) -> AsyncGenerator[Node[Any]]:
    """An empty node under that name, at an address of its own."""
    (address,) = free_addresses(1)
    async with open_node(
        Journal,
        id=name,
        members={**group.members, name: address},
        data_dir=group.root / "namesake",
        transport=TcpTransport(),
        join=True,
    ) as node:
        yield node


@pytest.mark.accept("C-11", "P-13")
async def test_a_second_node_of_a_members_name_is_refused_and_both_sides_say_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It keeps knocking for seconds; the member's links stand, nobody campaigns, and it can't be admitted."""
    async with open_group(tmp_path) as group:
        leader = await group.wait_leader()
        name, other = (it.id for it in group if it is not leader)
        events = {it.id: it.events() for it in group}
        links, term = dict(group.endpoint(leader.id).links), leader.statistics().term
        words = f"another node named {name} is alive at {group.members[name]}: give this one another name"

        async with namesake(group, name) as second:
            await until(lambda: second.explain().count(words) == 2)
            address = second._server.plan.members[name]
            with pytest.raises(ChangeRefused, match=words):
                await leader.change_membership(AddLearner(id=name, address=address))
            newcomer = second._server.storage.record.identity
            explicit = AddLearner(id=name, address=address, incarnation=newcomer.incarnation)
            with pytest.raises(ChangeRefused, match=words):
                await leader.change_membership(explicit)
            await trio.sleep(3)  # silence between followers is not taken for death
            assert second.status == "unborn"

        refused = NameTaken(newcomer=newcomer, address=group.members[name])
        for peer in (leader.id, other):
            told = [it for it in events[peer]._queue if isinstance(it, NameTaken)]
            assert told == [refused]
            line = f"{peer}: refused {newcomer}, for another node named {name} is alive"
            assert sum(it.startswith(line) for it in caplog.messages) == 1
            assert group.endpoint(peer).statistics().refused.keys() == {
                "of the name of a node that lives"
            }
        assert any(it.startswith(f"{name}: ") and words in it for it in caplog.messages)
        assert group.endpoint(leader.id).links == links
        assert leader.statistics().term == term
        assert await group.write(name, "x") == 1


@pytest.mark.accept("P-13")
async def test_a_member_that_was_killed_and_wiped_takes_its_old_place_at_once(
    tmp_path: Path,
) -> None:
    """Its connections closed with its process, so nobody takes the new one for a second."""
    async with open_group(tmp_path) as group:
        leader = await group.wait_leader()
        name = next(it.id for it in group if it is not leader)
        await group.kill(name)
        group.wipe(name)
        events = leader.events()
        back = await group.start(name)

        with trio.fail_after(5):
            await leader.change_membership(
                AddLearner(id=name, address=group.members[name], promote=True)
            )
        await until(lambda: back.status == "follower")

        assert not [it for it in events._queue if isinstance(it, NameTaken)]
        assert await group.write(name, "x") == 1


async def test_a_member_that_comes_back_takes_its_link_from_who_has_its_name(
    tmp_path: Path,
) -> None:
    """While it was away its name was free; the configuration says whose it is."""
    async with open_group(tmp_path) as group:
        leader = await group.wait_leader()
        name = next(it.id for it in group if it is not leader)
        await group.kill(name)
        async with namesake(group, name) as second:
            greeting = leader._server.links.greeting
            newcomer = second._server.storage.record.identity
            await until(lambda: greeting.peers[name].identity == newcomer)

            back = await group.start(name)
            await until(lambda: back.status == "follower" and greeting.is_heard(name))

            assert greeting.peers[name].identity == group.identity(name)
            assert await group.write(name, "x") == 1
