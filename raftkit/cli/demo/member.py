"""One node of the demo: what may be asked of it, wherever it runs, and the answers of one that runs here.

Laws: what the demo may conclude from a failure is in its class, the same for both kinds of node: refused
for good, no answer (ask again by the same token), or the end of the demo. What is shown of a node is
what it says of itself.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Protocol

import attrs
import trio

from raftkit import (
    CommandFailed,
    DidNotHappen,
    EntryTooLarge,
    Node,
    OutcomeUnknown,
    RaftError,
    Rejected,
    Session,
    SessionExpired,
    Token,
    open_node,
)
from raftkit.cli.demo.machine import Transcript
from raftkit.cli.demo.report import DemoFailed
from raftkit.messages import LeaderElected
from raftkit.transports import LossyTransport

__all__ = [
    "Heard",
    "Holdings",
    "Home",
    "LocalMember",
    "Member",
    "NodeEnded",
    "NodeRow",
    "Refused",
    "Reign",
    "Unanswered",
    "open_member",
]


class Refused(Exception):
    """This line is not written, and never will be. Says why."""


class Unanswered(Exception):
    """It may have happened or not: ask again, here or elsewhere, by the same token. Says why."""


class NodeEnded(Exception):
    """A node ended though nobody of the demo ended it; its directory may be opened again. Says how."""


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


@attrs.frozen
class Reign:
    """A term, and who leads it."""

    term: int
    leader: str | None
    "None: nobody, as far as known."


@attrs.frozen
class Holdings:
    """How much a node holds, in numbers."""

    count: int
    "Lines."
    repeats: Mapping[int, int]
    "Line → how often it was applied too often."


Heard = Callable[[Reign | None], Awaitable[None]]
"Told when something happened at a node: somebody leads, or (None) something else that shows in its row."


class Member(Protocol):
    """A node that is up."""

    def row(self) -> NodeRow:
        """What it said last of itself."""
        ...

    async def session(self) -> Session:
        """A new session of the group. Raises Unanswered."""
        ...

    async def write(self, number: int, content: bytes, token: Token) -> Reign:
        """Have a line written, once; under whom that was acknowledged.

        The token's session belongs to a client with one line open. Raises Refused or Unanswered.
        """
        ...

    async def holdings(self) -> Holdings:
        """What this node holds now. Linearizable. Raises Unanswered."""
        ...

    async def page(self, first: int, count: int) -> tuple[bytes | None, ...]:
        """What this node holds of `count` lines from `first` on. Linearizable. Raises Unanswered."""
        ...

    async def watch(self, heard: Heard) -> None:
        """Tell what happens for as long as the node lives. Raises NodeEnded when it does no more."""
        ...


class Home(Protocol):
    """Where the nodes of a demo run."""

    def open(self, name: str) -> AbstractAsyncContextManager[Member]:
        """Run one node on its directory. To leave the context kills it: no goodbye.

        Raises NodeEnded, or DemoFailed if the node must not go on.
        """
        ...


@attrs.frozen
class LocalMember:
    """A node of this process. See `Member`."""

    _node: Node[Transcript]

    def row(self) -> NodeRow:
        """See `Member`. It says it now."""
        now = self._node.statistics()
        return NodeRow(
            id=now.id,
            role=now.status,
            term=now.term,
            leader=now.leader,
            commit=now.commit_index,
            applied=now.applied_index,
        )

    async def session(self) -> Session:
        """See `Member`."""
        with _no_answer():
            return await self._node.session()

    async def write(self, number: int, content: bytes, token: Token) -> Reign:
        """See `Member`."""
        try:
            await self._node.execute(Transcript.write(number=number, content=content), token=token)
        except EntryTooLarge as error:
            raise Refused(str(error)) from error
        except (SessionExpired, CommandFailed, Rejected) as error:
            raise DemoFailed(f"line {number}: {error}") from error
        except (DidNotHappen, OutcomeUnknown) as error:
            # Whether it happened or not: the token tells the group that it is the same line.
            raise Unanswered(str(error)) from error
        now = self._node.statistics()
        return Reign(now.term, now.leader)

    async def holdings(self) -> Holdings:
        """See `Member`."""
        with _no_answer():
            count = await self._node.read(Transcript.count())
            return Holdings(count, await self._node.read(Transcript.repeated()))

    async def page(self, first: int, count: int) -> tuple[bytes | None, ...]:
        """See `Member`."""
        with _no_answer():
            return await self._node.read(Transcript.page(first=first, count=count))

    async def watch(self, heard: Heard) -> None:
        """See `Member`."""
        async for event in self._node.events():
            match event:
                case LeaderElected(leader=leader, term=term):
                    await heard(Reign(term, leader))
                case _:
                    await heard(None)
        await trio.sleep_forever()  # the stream ended, so the node's scope is about to


@contextmanager
def _no_answer() -> Generator[None]:
    """What did not happen is asked again."""
    try:
        yield
    except DidNotHappen as error:
        raise Unanswered(str(error)) from error


@asynccontextmanager
async def open_member(
    name: str, addresses: Mapping[str, str], directory: Path, transport: LossyTransport
) -> AsyncGenerator[LocalMember]:
    """Run a node in this process. Raises DemoFailed if it must not go on."""
    try:
        async with open_node(
            Transcript,
            id=name,
            members=addresses,
            data_dir=directory,
            transport=transport,
            found=len(addresses) == 1,
        ) as node:
            yield LocalMember(node)
    except RaftError as error:
        raise DemoFailed(f"node {name}: {error}") from error
