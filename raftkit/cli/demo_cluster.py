"""The nodes of the demo in one process: real logs in real directories, a network in memory.

Laws: a node is killed by cancelling its scope: nothing is said to the others and nothing is handed over.
After a moment its directory is opened again by a new node. What is shown of a node is what it says.
"""

from __future__ import annotations

import string
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import attrs
import trio

from raftkit import DidNotHappen, MemoryNetwork, Node, Query, RaftError, open_node
from raftkit.cli.demo_machine import Transcript
from raftkit.cli.demo_report import DemoFailed
from raftkit.messages import LeaderElected

__all__ = ["PATIENCE_SECONDS", "PAUSE_SECONDS", "Cluster", "Kill", "NodeRow"]

DOWN_SECONDS = 1.0
"Between the end of a killed node and its directory being opened again."
PATIENCE_SECONDS = 60.0
"Without a leader, or without a node, for so long: the demo gives up."
PAUSE_SECONDS = 0.02
"Before a node is asked again."

R = TypeVar("R")


@attrs.frozen(kw_only=True)
class NodeRow:
    """What one node says of itself, for the view."""

    id: str
    "Its name."
    role: str
    "starting, down, or what the node calls its status."
    term: int = 0
    "Its current term; like all that follows, of no meaning while it is not up."
    leader: str | None = None
    "Whom it follows."
    commit: int = 0
    "Its commit index."
    applied: int = 0
    "Index of the last entry in its state."


@attrs.frozen(kw_only=True)
class Kill:
    """The moment at which a leader ended."""

    node: str
    "Who."
    term: int
    "Its term."
    at: float
    "When, in trio's time."


@attrs.define(eq=False)
class _Member:
    """One place in the cluster: a directory, and a node while it is up."""

    id: str
    directory: Path
    node: Node[Transcript] | None = None
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    "Of the node's present life."
    was_killed: bool = False


@attrs.define(eq=False)
class Cluster:
    """Nodes that are kept alive until the demo ends."""

    _directory: Path
    "Holds one directory for each node."
    _size: int
    _tell: Callable[[str], None]
    "Who shows what happens."
    leaders: dict[int, str] = attrs.field(init=False, factory=dict[int, str])
    "Term → leader, of every term in which a node knew one."
    _members: dict[str, _Member] = attrs.field(init=False)
    _network: MemoryNetwork = attrs.field(init=False, factory=MemoryNetwork)
    _news: trio.lowlevel.ParkingLot = attrs.field(init=False, factory=trio.lowlevel.ParkingLot)
    "Who waits for a node to come up, or for a leader."

    def __attrs_post_init__(self) -> None:
        names = string.ascii_lowercase[: self._size]
        self._members = {name: _Member(name, self._directory / name) for name in names}

    @property
    def names(self) -> tuple[str, ...]:
        """Of all nodes."""
        return tuple(self._members)

    async def keep(self, name: str) -> None:
        """Keep one node up: open its directory again after each kill. Runs until it is cancelled."""
        member = self._members[name]
        while True:
            with trio.CancelScope() as member.scope:
                await self._live(member)
            member.was_killed = True
            await trio.sleep(DOWN_SECONDS)
            self._tell(f"{name} opens its directory again")

    async def near(self, home: str) -> Node[Transcript]:
        """The node `home`, or while it is down the next one that is up."""
        names = self.names
        start = names.index(home)
        with trio.move_on_after(PATIENCE_SECONDS):
            while True:
                for name in names[start:] + names[:start]:
                    node = self._members[name].node
                    if node is not None:
                        return node
                await self._news.park()
        raise DemoFailed(f"no node came up within {PATIENCE_SECONDS:g} s")

    async def ask(self, name: str, question: Query[Transcript, R]) -> R:
        """The linearizable answer of the node `name` itself, once it is up and can give one."""
        member, why = self._members[name], "it is down"
        with trio.move_on_after(PATIENCE_SECONDS):
            while True:
                while member.node is None:
                    await self._news.park()
                try:
                    return await member.node.read(question)
                except DidNotHappen as error:
                    why = str(error)
                await trio.sleep(PAUSE_SECONDS)
        raise DemoFailed(f"{name} can't be read: {why}")

    async def kill_leader(self) -> Kill:
        """End the leader, at once if there is one."""
        with trio.move_on_after(PATIENCE_SECONDS):
            while (leader := self._leader()) is None:
                await self._news.park()
            kill = Kill(node=leader.id, term=leader.term, at=trio.current_time())
            self._members[leader.id].scope.cancel()
            self._tell(f"{leader.id}, leader of term {leader.term}, is killed: no goodbye")
            return kill
        raise DemoFailed(f"no leader to kill for {PATIENCE_SECONDS:g} s")

    def rows(self) -> tuple[NodeRow, ...]:
        """What every node says now."""
        return tuple(_row(member) for member in self._members.values())

    def _leader(self) -> NodeRow | None:
        """The leader of the newest term, if it is up."""
        leading = [row for row in self.rows() if row.role == "leader"]
        return max(leading, key=lambda row: row.term, default=None)

    async def _live(self, member: _Member) -> None:
        """One life of a node."""
        members = {name: f"memory:{name}" for name in self.names}
        try:
            async with open_node(
                Transcript,
                id=member.id,
                members=members,
                data_dir=member.directory,
                transport=self._network,
                found=self._size == 1,
            ) as node:
                member.node = node
                self._news.unpark_all()
                await self._watch(node)
        except RaftError as error:
            raise DemoFailed(f"node {member.id}: {error}") from error
        finally:
            member.node = None

    async def _watch(self, node: Node[Transcript]) -> None:
        """Note who leads, for as long as the node lives."""
        async for event in node.events():
            self._news.unpark_all()
            if isinstance(event, LeaderElected) and event.term not in self.leaders:
                self.leaders[event.term] = event.leader
                self._tell(f"{event.leader} leads term {event.term}")
        await trio.sleep_forever()  # the stream ended, so the scope is about to


def _row(member: _Member) -> NodeRow:
    if member.node is None:
        return NodeRow(id=member.id, role="down" if member.was_killed else "starting")
    now = member.node.statistics()
    return NodeRow(
        id=member.id,
        role=now.status,
        term=now.term,
        leader=now.leader,
        commit=now.commit_index,
        applied=now.applied_index,
    )
