"""A group of node processes: started, asked over a pipe, killed, stopped, and started again.

Laws: a process is killed and reaped before its task is left, whatever leaves it; should the storm itself be
killed, the end of the pipe ends its nodes. A process that ends though nobody killed it ends the storm.
"""

from __future__ import annotations

import random
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

import attrs
import trio

from raftkit.cli.child import free_addresses
from raftkit.cli.pipe import NEWS, Pipe

__all__ = ["Group", "Member", "Refused", "StormFailed", "Unanswered"]

T = TypeVar("T")

ROOT = Path(__file__).resolve().parents[2]
"Where the programs of nodes are imported from."
_LAST_WORDS_BYTES = 4096


class Refused(Exception):
    """It did not happen and never will. Says why."""


class Unanswered(Exception):
    """It may have happened or not: ask again, here or elsewhere, by the same token. Says why."""


class StormFailed(Exception):
    """What must never happen did, such as a process that ended by itself. Says what; ends the storm."""


@attrs.define(eq=False)
class _Question:
    """A request that waits for its answer."""

    answered: trio.Event = attrs.field(factory=trio.Event)
    answer: list[Any] = attrs.field(factory=lambda: ["unanswered", "no answer in time"])


@attrs.define(eq=False)
class Member:
    """A node in a process, from its start to its end."""

    name: str
    process: trio.Process
    pipe: Pipe
    killed: bool = False
    "Its end is no surprise."
    opening: bool = False
    "It has begun to open its directory."
    is_open: bool = False
    "It can be asked."
    status: str = "starting"
    "What it called itself last, such as `leader`."
    _numbers: Iterator[int] = attrs.field(init=False, factory=lambda: count(NEWS + 1))
    _questions: dict[int, _Question] = attrs.field(init=False, factory=dict[int, _Question])
    "By number."
    _ended: bool = attrs.field(init=False, default=False)

    async def ask(self, verb: str, *arguments: object, patience: float) -> list[Any]:
        """The positions of the answer. Raises Refused; Unanswered also if none came in time."""
        if self._ended or self.killed:
            raise Unanswered("the process has ended")
        number, question = next(self._numbers), _Question()
        self._questions[number] = question
        try:
            # To cancel this would break the pipe. It waits only for a process that is stopped and has a
            # full pipe, and that one goes on or is killed.
            with trio.CancelScope(shield=True):
                await self.pipe.send([number, verb, *arguments])
            with trio.move_on_after(patience):
                await question.answered.wait()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        finally:
            del self._questions[number]
        match question.answer:
            case ["done", *positions]:
                return positions
            case ["refused", words]:
                raise Refused(words)
            case [_, words]:
                raise Unanswered(words)
            case other:
                raise AssertionError(f"node {self.name} answered {other!r:.80}")

    async def listen(self, group: Group) -> None:
        """Take what it says, until its process ends."""
        try:
            while (message := await self.pipe.receive()) is not None:
                match message:
                    case [0, "opening"]:
                        self.opening = True
                        group.hear(0, None)
                    case [0, "row", str(status), int(term), str() | None as leader]:
                        self.status, self.is_open = status, True
                        group.hear(term, leader)
                    case [0, "elected", int(term), str(leader)]:
                        group.hear(term, leader)
                    case [int(number), *answer] if number in self._questions:
                        question = self._questions[number]
                        question.answer = answer
                        question.answered.set()
                    case _:
                        pass  # whoever asked has lost patience
        finally:
            self._ended, self.is_open = True, False
            for question in self._questions.values():
                question.answered.set()


@attrs.define(eq=False, kw_only=True)
class Group:
    """All nodes."""

    directory: Path
    "Holds one directory for each node, and what its processes wrote to stderr."
    names: tuple[str, ...]
    program: tuple[str, ...] = ("tests.processes.member",)
    "What a node runs: a module, and arguments before those that every node gets."
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
            async with self._start(name) as member:
                self.members[name] = member
                try:
                    await member.listen(self)
                    code = await member.process.wait()
                finally:
                    del self.members[name]
            if not member.killed:
                raise StormFailed(f"node {name} ended with {code}: {self._last_words(name)}")
            await trio.sleep(self._down.get(name, 0.0))

    @asynccontextmanager
    async def _start(self, name: str) -> AsyncGenerator[Member]:
        """Run one process on the node's directory. To leave the context kills it: no goodbye."""
        directory = self.directory / name
        directory.mkdir(exist_ok=True)
        with self._stderr(name).open("ab") as stderr:
            process = await trio.lowlevel.open_process(
                [
                    *(sys.executable, "-m", *self.program, name, str(directory)),
                    *(f"{it}={address}" for it, address in self.addresses.items()),
                ],
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                start_new_session=True,  # a Ctrl-C is for the storm
            )
        self.starts += 1
        assert process.stdin is not None
        assert process.stdout is not None
        pipe = Pipe(process.stdin, process.stdout)
        try:
            yield Member(name, process, pipe)
        finally:
            process.kill()
            with trio.CancelScope(shield=True):
                await process.wait()
                await pipe.aclose()

    def _stderr(self, name: str) -> Path:
        return self.directory / f"{name}.stderr"

    def _last_words(self, name: str) -> str:
        """The end of what it wrote to stderr."""
        with self._stderr(name).open("rb") as stream:
            stream.seek(max(self._stderr(name).stat().st_size - _LAST_WORDS_BYTES, 0))
            return stream.read().decode(errors="replace").strip()

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
            lambda: [it for it in self.open_members() if it.name == name]
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
        member.process.kill()
        return True

    async def stop(self, name: str, *, seconds: float) -> bool:
        """SIGSTOP a process for so long. Whether there was one. It may be killed meanwhile."""
        member = self.members.get(name)
        if member is None or member.killed:
            return False
        member.process.send_signal(signal.SIGSTOP)
        try:
            await trio.sleep(seconds)
        finally:
            member.process.send_signal(signal.SIGCONT)  # does nothing to one that has ended
        return True
