"""A group of node processes: started, asked over a pipe, killed, stopped, and started again.

Laws: those of `raftkit.cli.child`, so no process outlives the storm, however that ends. A process that ends
though nobody killed it ends the storm; none is killed for giving no answer, for it may have been stopped.
"""

from __future__ import annotations

import random
import signal
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, TypeVar

import attrs
import trio

from raftkit.cli.child import (
    Child,
    ChildFailed,
    ChildKilled,
    NoAnswer,
    free_addresses,
    open_child,
)

__all__ = ["Group", "Member", "Refused", "StormFailed", "Unanswered"]

T = TypeVar("T")

ROOT = Path(__file__).resolve().parents[2]
"Where the programs of nodes are imported from."


class Refused(Exception):
    """It did not happen and never will. Says why."""


class Unanswered(Exception):
    """It may have happened or not: ask again, here or elsewhere, by the same token. Says why."""


class StormFailed(Exception):
    """What must never happen did, such as a process that ended by itself. Says what; ends the storm."""


@attrs.define(eq=False)
class Member:
    """A node in a process, from its start to its end."""

    child: Child
    killed: bool = False
    "Its end is no surprise."
    opening: bool = False
    "It has begun to open its directory."
    is_open: bool = False
    "It can be asked."
    status: str = "starting"
    "What it called itself last, such as `leader`."

    async def ask(self, verb: str, *arguments: object, patience: float) -> list[Any]:
        """The positions of the answer. Raises Refused; Unanswered also if none came in time."""
        if self.killed:
            raise Unanswered("the process has ended")
        try:
            answer = await self.child.ask(verb, *arguments, within=patience, kill=False)
        except NoAnswer as error:
            raise Unanswered(str(error)) from error
        match answer:
            case ["done", *positions]:
                return positions
            case ["refused", words]:
                raise Refused(words)
            case ["unanswered", words]:
                raise Unanswered(words)
            case other:
                raise AssertionError(f"node {self.child.name} answered {other!r:.80}")

    async def listen(self, group: Group) -> None:
        """Take what it says, until its process ends: raises ChildKilled or ChildFailed then."""
        try:
            while True:
                match await self.child.hear():
                    case ["opening"]:
                        self.opening = True
                        group.hear(0, None)
                    case ["row", str(status), int(term), str() | None as leader]:
                        self.status, self.is_open = status, True
                        group.hear(term, leader)
                    case ["elected", int(term), str(leader)]:
                        group.hear(term, leader)
                    case other:
                        raise AssertionError(f"node {self.child.name} said {other!r:.80}")
        finally:
            self.is_open = False


@attrs.define(eq=False, kw_only=True)
class Group:
    """All nodes."""

    directory: Path
    "Holds one directory for each node."
    names: tuple[str, ...]
    program: tuple[str, ...] = ("tests.processes.member",)
    "What a node runs: a module, and what it is to be told before the addresses."
    addresses: Mapping[str, str] = attrs.field(init=False)
    members: dict[str, Member] = attrs.field(init=False, factory=dict[str, Member])
    "By name: those that have a process now."
    leaders: dict[int, str] = attrs.field(init=False, factory=dict[int, str])
    "Term → who was heard to lead it."
    starts: int = attrs.field(init=False, default=0)
    "Processes started so far."
    _news: trio.lowlevel.ParkingLot = attrs.field(init=False, factory=trio.lowlevel.ParkingLot)
    "Who waits for something to change."
    _down: dict[str, float] = attrs.field(init=False, factory=dict[str, float])
    "For how many seconds a killed node is down."

    def __attrs_post_init__(self) -> None:
        self.addresses = free_addresses(self.names)

    async def run(self) -> None:
        """Keep all nodes up, but for those that are killed. Until cancelled; raises StormFailed."""
        async with trio.open_nursery() as nursery:
            for name in self.names:
                nursery.start_soon(self._keep, name)

    async def _keep(self, name: str) -> None:
        while True:
            async with self._start(name) as child:
                member = self.members[name] = Member(child)
                self.starts += 1
                try:
                    await member.listen(self)
                except (ChildKilled, ChildFailed) as error:
                    if not member.killed:
                        words = f"node {name} ended: {error}\n{child.last_words()}"
                        raise StormFailed(words) from error
                finally:
                    del self.members[name]
            await trio.sleep(self._down.get(name, 0.0))

    def _start(self, name: str) -> AbstractAsyncContextManager[Child]:
        """Run one process on the node's directory."""
        module, *arguments = self.program
        places = (f"{it}={address}" for it, address in self.addresses.items())
        return open_child(name, module, self.directory / name, (*arguments, *places), cwd=ROOT)

    # ── what is known of them ────────────────────────────────────────────────────────────────────

    def hear(self, term: int, leader: str | None) -> None:
        """A node has said something new of itself, and who leads, if it knows."""
        self._news.unpark_all()
        if leader is not None and self.leaders.setdefault(term, leader) != leader:
            raise StormFailed(f"term {term} has two leaders: {self.leaders[term]} and {leader}")

    @property
    def leader(self) -> str | None:
        """Who leads the newest term that anybody was heard to lead, as far as known."""
        return self.leaders[max(self.leaders)] if self.leaders else None

    def open_members(self) -> list[Member]:
        """Those that can be asked, by name."""
        return [it for _, it in sorted(self.members.items()) if it.is_open and not it.killed]

    async def wait_for(self, look: Callable[[], T | None]) -> T:
        """What `look` finds, as soon as it finds something."""
        while not (found := look()):
            await self._news.park()
        return found

    async def any_member(self, rng: random.Random) -> Member:
        """One that can be asked, as soon as there is any."""
        return rng.choice(await self.wait_for(self.open_members))

    async def open_member(self, name: str) -> Member:
        """This one, as soon as it can be asked."""
        (member,) = await self.wait_for(
            lambda: [it for it in self.open_members() if it.child.name == name]
        )
        return member

    async def opening_member(self, name: str) -> Member:
        """This one, as soon as it opens its directory, or has done so, and was not killed since."""
        return await self.wait_for(
            lambda: it if (it := self.members.get(name)) and it.opening and not it.killed else None
        )

    # ── what is done to them ─────────────────────────────────────────────────────────────────────

    def kill(self, name: str, *, down: float) -> bool:
        """End a process by SIGKILL; it is started again after `down` seconds. Whether there was one."""
        member = self.members.get(name)
        if member is None or member.killed:
            return False
        self._down[name] = down
        member.killed = True
        member.child.process.kill()
        return True

    async def stop(self, name: str, *, seconds: float) -> bool:
        """SIGSTOP a process for so long. Whether there was one. It may be killed meanwhile."""
        member = self.members.get(name)
        if member is None or member.killed:
            return False
        member.child.process.send_signal(signal.SIGSTOP)
        try:
            await trio.sleep(seconds)
        finally:
            member.child.process.send_signal(signal.SIGCONT)  # does nothing to one that has ended
        return True
