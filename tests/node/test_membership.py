"""Nodes come, go, move and lose their directories, while the group goes on (§4)."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

import attrs
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
    OutcomeUnknown,
    Promote,
    Readdress,
    Remove,
    open_node,
)
from raftkit.storage import MemoryStorage
from tests.node.machines import Journal


async def until(condition: Callable[[], bool], within: float = 30.0) -> None:
    """Wait, in virtual time, until `condition` holds. Raises trio.TooSlowError."""
    with trio.fail_after(within):
        while not condition():  # noqa: ASYNC110 - what is waited for is anything a test can see
            await trio.sleep(0.01)


@attrs.define(eq=False)
class Life:
    node: Node[Journal]
    scope: trio.CancelScope
    ended: trio.Event


@attrs.define(eq=False)
class Group:
    """Nodes by name, on disks in memory, that start, end, and begin anew."""

    nursery: trio.Nursery
    settings: dict[str, Any]
    network: MemoryNetwork = attrs.field(factory=MemoryNetwork)
    founders: dict[str, str] = attrs.field(
        factory=lambda: {name: f"memory:{name}" for name in "abc"}
    )
    disks: dict[str, MemoryStorage] = attrs.field(factory=dict[str, MemoryStorage])
    lives: dict[str, Life] = attrs.field(factory=dict[str, Life])

    def __getitem__(self, name: str) -> Node[Journal]:
        return self.lives[name].node

    def __iter__(self) -> Any:
        return iter([self[name] for name in sorted(self.lives)])

    async def start(self, name: str, **settings: Any) -> Node[Journal]:
        life: Life = await self.nursery.start(self._live, name, settings)
        return life.node

    async def join(self, name: str, **settings: Any) -> Node[Journal]:
        """Start a newcomer, which knocks at the founders."""
        members = {**self.founders, name: f"memory:{name}"}
        return await self.start(name, **{"members": members, "join": True, **settings})

    async def end(self, name: str) -> None:
        life = self.lives[name]
        life.scope.cancel()
        await life.ended.wait()

    def wipe(self, name: str) -> None:
        del self.disks[name]

    async def leader(self) -> Node[Journal]:
        """Whoever leads the latest term, once somebody does."""

        def newest() -> Node[Journal]:
            return max(self, key=lambda node: (node.statistics().term, node.status == "leader"))

        await until(lambda: newest().status == "leader")
        return newest()

    async def is_at(self, **roles: str) -> None:
        """Wait until every running member says that the group is this."""

        def seen(node: Node[Journal]) -> dict[str, str]:
            return {it.id: it.role for it in node.statistics().members}

        await until(lambda: all(seen(self[name]) == roles for name in roles if name in self.lives))

    async def _live(
        self, name: str, settings: dict[str, Any], task_status: trio.TaskStatus[Life]
    ) -> None:
        disk = self.disks[name].reopen() if name in self.disks else MemoryStorage(name)
        self.disks[name] = disk
        given = {"members": self.founders, "paranoid": True, **self.settings, **settings}
        ended = trio.Event()
        with trio.CancelScope() as scope:
            async with open_node(
                Journal, id=name, transport=self.network, data_dir=disk, **given
            ) as node:
                life = self.lives[name] = Life(node, scope, ended)
                task_status.started(life)
                try:
                    await trio.sleep_forever()
                finally:
                    del self.lives[name]
        ended.set()


@asynccontextmanager
async def open_group(names: str = "abc", **settings: Any) -> AsyncGenerator[Group]:
    """A group of these founders, which knows its leader."""
    async with trio.open_nursery() as nursery:
        group = Group(nursery, settings, founders={name: f"memory:{name}" for name in names})
        alone = {"found": True} if len(names) == 1 else {}
        for name in names:
            await group.start(name, **alone)
        for node in group:
            await node.wait_leader()
        yield group
        nursery.cancel_scope.cancel()


async def write(node: Node[Journal], *lines: str) -> None:
    for line in lines:
        await node.execute(Journal.write(line=line))


# ── a node joins ─────────────────────────────────────────────────────────────────────────────────────


async def test_a_node_joins_and_becomes_a_voter_by_itself(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_group() as group:
        leader = await group.leader()
        await write(leader, "before")
        d = await group.join("d")
        await trio.sleep(3)
        assert d.status == "unborn"
        assert "waiting to be admitted" in d.explain()
        assert "raftkit admit DIRECTORY d memory:d" in d.explain()

        index = await leader.change_membership(AddLearner(id="d", address="memory:d", promote=True))

        assert index == leader.statistics().configuration_index
        await group.is_at(a="voter", b="voter", c="voter", d="voter")
        assert d.status == "follower"
        await write(d, "after")
        assert await d.read(Journal.read()) == ["before", "after"]


@pytest.mark.slow
async def test_a_node_joins_under_writes_and_misses_none(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """It comes by a snapshot, as the log before it is gone; no write fails and nobody else is elected."""
    async with open_group(snapshot_entries=50) as group:
        leader = await group.leader()
        term = leader.statistics().term
        lines: list[str] = []
        over = False

        async def use() -> None:
            while not over:
                line = str(len(lines))
                await write(group["b"], line)
                lines.append(line)
                await trio.sleep(0.005)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(use)
            await until(lambda: len(lines) > 200)
            d = await group.join("d")
            await leader.change_membership(AddLearner(id="d", address="memory:d", promote=True))
            await group.is_at(a="voter", b="voter", c="voter", d="voter")
            over = True

        assert await d.read(Journal.read()) == lines
        assert d.statistics().snapshot_index > 0
        assert (await group.leader()).statistics().term == term


async def test_the_leader_waits_for_a_newcomer_and_calls_it(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """The newcomer knows nobody's address, and comes late."""
    async with open_group() as group:
        leader = await group.leader()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(
                leader.change_membership, AddLearner(id="d", address="memory:d", promote=True)
            )
            await trio.sleep(5)
            assert "d" not in leader.members
            d = await group.start("d", members={"d": "memory:d"}, join=True)
        await group.is_at(a="voter", b="voter", c="voter", d="voter")
        await write(d, "here")


async def test_a_learner_learns_and_is_promoted_and_demoted_when_asked(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_group() as group:
        leader = await group.leader()
        d = await group.join("d")
        await leader.change_membership(AddLearner(id="d", address="memory:d"))
        await write(leader, "1")
        await d.wait_applied(leader.applied_index)
        assert d.status == "learner"
        assert leader.statistics().votes.expected == 3
        await trio.sleep(2)

        await leader.change_membership(Promote(id="d"))
        await group.is_at(a="voter", b="voter", c="voter", d="voter")
        await leader.change_membership(Demote(id="d"))
        await group.is_at(a="voter", b="voter", c="voter", d="learner")


async def test_a_newcomer_is_a_member_after_it_started_again(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Also if it crashed between its admission and its birth."""
    async with open_group() as group:
        leader = await group.leader()
        await group.join("d")
        for name in "abc":
            group.network.cut(name, "d")
        await leader.change_membership(AddLearner(id="d", address="memory:d", promote=True))
        await trio.sleep(3)
        assert group["d"].status == "unborn"
        await group.end("d")
        group.network.heal()
        await group.join("d")
        await group.is_at(a="voter", b="voter", c="voter", d="voter")
        await group.end("d")
        d = await group.join("d")
        await d.wait_leader()
        await write(d, "again")


# ── a node leaves ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.slow
async def test_a_follower_is_removed_and_knows_it(autojump_clock: trio.testing.MockClock) -> None:
    async with open_group() as group:
        leader = await group.leader()
        term = leader.statistics().term
        gone = next(node for node in group if node is not leader)

        await leader.change_membership(Remove(id=gone.id))
        await until(lambda: gone.status == "removed")

        assert "this node was removed from its group: stop it" in gone.explain()
        assert gone.id not in gone.members
        await trio.sleep(10)
        assert (gone.status, leader.status) == ("removed", "leader")
        assert leader.statistics().term == term
        assert not leader._server.links.greeting.is_heard(gone.id)
        await write(leader, "without")


async def test_a_leader_removes_itself(autojump_clock: trio.testing.MockClock) -> None:
    """It commits its removal, hands over, and is none any more; no write fails of it."""
    async with open_group() as group:
        old = await group.leader()
        other = next(node for node in group if node is not old)
        async with trio.open_nursery() as nursery:
            for number in range(20):
                nursery.start_soon(write, other, str(number))
            await old.change_membership(Remove(id=old.id))
        await until(lambda: old.status == "removed")

        await until(lambda: other.leader not in (None, old.id))
        await write(other, "after")
        assert len(await other.read(Journal.read())) == 21


@pytest.mark.slow
async def test_who_was_removed_while_it_was_away_is_told(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_group("abcd") as group:
        leader = await group.leader()
        name = next(node.id for node in group if node is not leader)
        await group.end(name)
        await leader.change_membership(Remove(id=name))
        await trio.sleep(3)  # longer than it is waited for
        term = leader.statistics().term

        gone = await group.start(name)
        await until(lambda: gone.status == "removed")
        await trio.sleep(10)

        assert "this node was removed from its group: stop it" in gone.explain()
        assert f"{name}: this node was removed" in caplog.text
        assert leader.statistics().term == term


@pytest.mark.slow
@pytest.mark.accept("Q-23")
async def test_three_become_five_become_three(autojump_clock: trio.testing.MockClock) -> None:
    """All three founders are gone in the end, and one that was away all the while finds the others."""
    async with open_group() as group:
        leader = await group.leader()
        away = next(node.id for node in group if node is not leader)
        await write(leader, "1")
        await group.end(away)
        for name in "de":
            await group.join(name)
            await leader.change_membership(
                AddLearner(id=name, address=f"memory:{name}", promote=True)
            )
            await group.is_at(**dict.fromkeys("abcd" if name == "d" else "abcde", "voter"))
        others = [name for name in "abc" if name != away]
        for name in others:
            leader = await group.leader()
            if leader.id == name:
                await leader.transfer_leadership("d")
                leader = await group.leader()
            await leader.change_membership(Remove(id=name))
            await group.end(name)
        await write(group["d"], "2")

        back = await group.start(away)  # knows a, b and c only
        await group.is_at(**{away: "voter", "d": "voter", "e": "voter"})
        assert await back.read(Journal.read()) == ["1", "2"]


# ── directories and addresses ────────────────────────────────────────────────────────────────────────


async def test_a_member_that_lost_its_directory_is_admitted_again(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_group() as group:
        leader = await group.leader()
        name = next(node.id for node in group if node is not leader)
        await write(leader, "1")
        await group.end(name)
        group.wipe(name)
        back = await group.start(name)
        await until(lambda: "waiting to be admitted" in back.explain())
        assert f"raftkit admit DIRECTORY {name} memory:{name}`" in back.explain()

        await leader.change_membership(AddLearner(id=name, address=f"memory:{name}", promote=True))

        await group.is_at(a="voter", b="voter", c="voter")
        await until(lambda: back.status == "follower")
        assert await back.read(Journal.read()) == ["1"]
        assert leader._server.raft is not None
        assert leader._server.raft.configuration.knows(group.disks[name].record.identity)


@pytest.mark.accept("P-14", "P-15")
async def test_a_member_moves_to_another_address(autojump_clock: trio.testing.MockClock) -> None:
    async with open_group() as group:
        leader = await group.leader()
        name = next(node.id for node in group if node is not leader)
        await group.end(name)
        moved = {**group.founders, name: "memory:elsewhere"}
        back = await group.start(name, members=moved)

        await leader.change_membership(Readdress(id=name, address="memory:elsewhere"))

        await until(lambda: back.leader == leader.id)
        for node in group:
            await until(lambda node=node: node.members[name] == "memory:elsewhere")  # type: ignore[misc]
        await write(back, "here")


# ── what is refused ──────────────────────────────────────────────────────────────────────────────────


REFUSED: list[tuple[list[Any], str]] = [
    ([], "no change is asked for"),
    ([Remove(id="x")], "'x' is no member; there are: a, b, c"),
    ([Remove(id="b"), Demote(id="b")], "b changed twice at once"),
    ([Promote(id="b")], "b is a voter: only learners are promoted"),
    ([Remove(id="a"), Remove(id="b"), Remove(id="c")], "no voter would be left"),
    ([Readdress(id="b", address="memory:a")], "memory:a is the address of a"),
    ([AddLearner(id="b", address="memory:b")], "is a member already, as a voter"),
]


@pytest.mark.parametrize("changes, words", REFUSED, ids=[words for _, words in REFUSED])
async def test_what_can_not_be_is_refused_in_one_line_and_changes_nothing(
    autojump_clock: trio.testing.MockClock, changes: list[Any], words: str
) -> None:
    async with open_group() as group:
        leader = await group.leader()
        before = leader.statistics().configuration_index

        with pytest.raises(ChangeRefused) as caught:
            await leader.change_membership(*changes)

        assert words in str(caught.value)
        assert "\n" not in str(caught.value)
        assert leader.statistics().configuration_index == before


async def test_something_else_than_a_change_is_refused(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_group() as group:
        leader = await group.leader()
        wrong: Any = "remove b"
        with pytest.raises(LocalProtocolError, match="a change is an AddLearner"):
            await leader.change_membership(wrong)


async def test_a_newcomer_that_does_not_come_is_named(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_group() as group:
        leader = await group.leader()
        with pytest.raises(ChangeRefused, match="within 2 s: d at memory:d was not met: start it"):
            await leader.change_membership(AddLearner(id="d", address="memory:d"), timeout=2)
        await group.join("d")
        with pytest.raises(ChangeRefused, match="says that it is reached at memory:d: give that"):
            await leader.change_membership(AddLearner(id="d", address="memory:e"), timeout=2)
        assert "d" not in leader.members


async def test_a_change_based_on_another_configuration_is_refused(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_group("abcd") as group:
        leader = await group.leader()
        b, c = [node.id for node in group if node is not leader][:2]
        index = await leader.change_membership(Demote(id=b), based_on=1)
        with pytest.raises(
            ChangeRefused, match=f"of index 1 was overtaken by that of index {index}"
        ):
            await leader.change_membership(Demote(id=c), based_on=1)


@pytest.mark.slow
async def test_one_change_at_a_time(autojump_clock: trio.testing.MockClock) -> None:
    """The second is refused, and told which is under way; the first is undecided while nobody answers."""
    async with open_group() as group:
        leader = await group.leader()
        b, c = [node.id for node in group if node is not leader]
        await write(leader, "1")  # so it may change the group
        group.network.partition([leader.id], [b, c])
        async with trio.open_nursery() as nursery:

            async def first() -> None:
                with pytest.raises(OutcomeUnknown, match="lost the leadership"):
                    await leader.change_membership(Demote(id=b))

            nursery.start_soon(first)
            await trio.sleep(0.1)
            with pytest.raises(ChangeRefused, match=rf"{b} \(learner\).*, is under way"):
                await leader.change_membership(Demote(id=c))
        group.network.heal()
        await group.is_at(a="voter", b="voter", c="voter")  # it was lost


async def test_a_change_that_nobody_acknowledges_in_time_is_unknown(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_group() as group:
        leader = await group.leader()
        b, c = [node.id for node in group if node is not leader]
        await write(leader, "1")
        group.network.partition([leader.id], [b, c])
        with pytest.raises(OutcomeUnknown, match=r"it was not decided within 0\.1 s"):
            await leader.change_membership(Demote(id=b), timeout=0.1)
        group.network.heal()
        await group.leader()


async def test_who_has_not_caught_up_is_not_promoted(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_group() as group:
        leader = await group.leader()
        await group.join("d")
        await leader.change_membership(AddLearner(id="d", address="memory:d"))
        await group.end("d")
        await write(leader, *map(str, range(10)))
        await trio.sleep(2)
        with pytest.raises(ChangeRefused, match=r"d is at index .* too far to become a voter"):
            await leader.change_membership(Promote(id="d"))


@pytest.mark.parametrize("names", ["a", "abc"])
async def test_a_node_that_ends_answers_whoever_waits(
    autojump_clock: trio.testing.MockClock, names: str
) -> None:
    async with open_group(names) as group:
        leader = await group.leader()
        async with trio.open_nursery() as nursery:

            async def call() -> None:
                with pytest.raises(NodeClosed):
                    await leader.change_membership(AddLearner(id="d", address="memory:d"))

            nursery.start_soon(call)
            await trio.sleep(0.1)
            await group.end(leader.id)
        with pytest.raises(NodeClosed):
            await leader.change_membership(Remove(id="b"))
