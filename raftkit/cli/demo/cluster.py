"""The nodes of the demo as a group: who is up, who leads, who is killed, who is back.

Laws: a node is killed by leaving its context: nothing is said to the others and nothing is handed over.
After a moment its directory is opened again by a new node, and so is that of a node that ended by itself
where this can be repaired (`NodeEnded`); both are told.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Literal, TypeVar

import attrs
import trio

from raftkit import MemoryNetwork
from raftkit.cli.demo.member import (
    Home,
    LocalMember,
    Member,
    NodeEnded,
    NodeRow,
    Reign,
    Unanswered,
    open_member,
)
from raftkit.cli.demo.report import DemoFailed

__all__ = [
    "PATIENCE_SECONDS",
    "PAUSE_SECONDS",
    "Cluster",
    "InProcess",
    "Kill",
    "Victim",
]

DOWN_SECONDS = 1.0
"Between the end of a node and its directory being opened again."
PATIENCE_SECONDS = 60.0
"Without a leader, or without a node, for so long: the demo gives up."
PAUSE_SECONDS = 0.02
"Before a node is asked again."

Victim = Literal["leader", "follower"]
R = TypeVar("R")


@attrs.frozen(kw_only=True)
class InProcess:
    """A home for nodes in this process: real logs in real directories, a network in memory."""

    directory: Path
    "Holds one directory for each node."
    names: tuple[str, ...]
    network: MemoryNetwork = attrs.field(factory=MemoryNetwork)

    def open(self, name: str) -> AbstractAsyncContextManager[LocalMember]:
        """See `Home`."""
        addresses = {it: f"memory:{it}" for it in self.names}
        return open_member(name, addresses, self.directory / name, self.network)


@attrs.frozen(kw_only=True)
class Kill:
    """The moment at which a node was ended on purpose."""

    node: str
    "Who."
    victim: Victim
    "As what."
    term: int
    "Its term."
    at: float
    "When, in trio's time."


@attrs.define(eq=False)
class _Place:
    """One place in the cluster: a node while it is up."""

    id: str
    member: Member | None = None
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    "Of the node's present life."
    has_ended: bool = False
    "Once, at least."


@attrs.define(eq=False)
class Cluster:
    """Nodes that are kept alive until the demo ends."""

    names: tuple[str, ...]
    "Of all nodes."
    _home: Home
    "Where they run."
    _tell: Callable[[str], None]
    "Who shows what happens."
    leaders: dict[int, str] = attrs.field(init=False, factory=dict[int, str])
    "Term → leader, of every term in which a node knew one."
    _places: dict[str, _Place] = attrs.field(init=False)
    _news: trio.lowlevel.ParkingLot = attrs.field(init=False, factory=trio.lowlevel.ParkingLot)
    "Who waits for a node to come up, or for a leader."

    def __attrs_post_init__(self) -> None:
        self._places = {name: _Place(name) for name in self.names}

    async def keep(self, name: str) -> None:
        """Keep one node up: open its directory again after each end. Runs until it is cancelled."""
        place = self._places[name]
        while True:
            try:
                with trio.CancelScope() as place.scope:
                    await self._live(place)
            except NodeEnded as ended:
                self._tell(f"{name} ended by itself: {ended}")
            place.has_ended = True
            await trio.sleep(DOWN_SECONDS)
            self._tell(f"{name} opens its directory again")

    async def near(self, home: str) -> Member:
        """The node `home`, or while it is down the next one that is up."""
        start = self.names.index(home)
        with trio.move_on_after(PATIENCE_SECONDS):
            while True:
                for name in self.names[start:] + self.names[:start]:
                    member = self._places[name].member
                    if member is not None:
                        return member
                await self._news.park()
        raise DemoFailed(f"no node came up within {PATIENCE_SECONDS:g} s")

    async def ask(self, name: str, question: Callable[[Member], Awaitable[R]]) -> R:
        """The answer of the node `name` itself, once it is up and can give one."""
        place, why = self._places[name], "it is down"
        with trio.move_on_after(PATIENCE_SECONDS):
            while True:
                while place.member is None:
                    await self._news.park()
                try:
                    return await question(place.member)
                except Unanswered as error:
                    why = str(error)
                await trio.sleep(PAUSE_SECONDS)
        raise DemoFailed(f"{name} can't be read: {why}")

    async def kill(self, victim: Victim) -> Kill:
        """End the leader, or a follower, at once if there is one."""
        with trio.move_on_after(PATIENCE_SECONDS):
            while (row := self._find(victim)) is None:
                await self._news.park()
            kill = Kill(node=row.id, victim=victim, term=row.term, at=trio.current_time())
            self._places[row.id].scope.cancel()
            self._tell(f"{row.id}, {victim} of term {row.term}, is killed: no goodbye")
            return kill
        raise DemoFailed(f"no {victim} to kill for {PATIENCE_SECONDS:g} s")

    def rows(self) -> tuple[NodeRow, ...]:
        """What every node says now."""
        return tuple(_row(place) for place in self._places.values())

    def _find(self, victim: Victim) -> NodeRow | None:
        """The leader, or the first follower, of the newest term, if it is up."""
        rows = [row for row in self.rows() if row.role == victim]
        return max(rows, key=lambda row: row.term, default=None)

    async def _live(self, place: _Place) -> None:
        """One life of a node."""
        async with self._home.open(place.id) as member:
            place.member = member
            self._news.unpark_all()
            try:
                await member.watch(self._heard)
            finally:
                place.member = None  # before it ends: nobody is sent to it any more

    async def _heard(self, reign: Reign | None) -> None:
        """Something happened at a node."""
        self._news.unpark_all()
        if reign is None or reign.leader is None or reign.term in self.leaders:
            return
        self.leaders[reign.term] = reign.leader
        self._tell(f"{reign.leader} leads term {reign.term}")


def _row(place: _Place) -> NodeRow:
    if place.member is None:
        return NodeRow(id=place.id, role="down" if place.has_ended else "starting")
    return place.member.row()
