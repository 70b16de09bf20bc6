"""Nodes as processes of their own: real directories, TCP or multicast on loopback, ended by SIGKILL.

Law: how a node answers does not depend on where it runs: `RemoteMember` says what the `LocalMember` at the
other end of the pipe said.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import attrs

from raftkit import Session, Token
from raftkit.cli.child import Child, ChildFailed, ChildKilled, NoAnswer, open_child
from raftkit.cli.demo.member import Heard, Holdings, NodeEnded, NodeRow, Refused, Reign, Unanswered
from raftkit.cli.demo.pipe import reign_in, row_in
from raftkit.cli.demo.report import DemoFailed
from raftkit.cli.network import Kind, Network, network_on_loopback
from raftkit.encoding import MalformedError, array, octets, unsigned

__all__ = ["Processes", "RemoteMember"]

ANSWER_SECONDS = 45.0
"Longer than a node takes to say that it has no answer. After that its process hangs, and is killed."


@attrs.frozen(kw_only=True)
class Processes:
    """A home for nodes in processes. See `Home`."""

    directory: Path
    "Holds one directory for each node."
    names: tuple[str, ...]
    transport: Kind = "tcp"
    network: Network = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        network = network_on_loopback(self.transport, self.names, self.directory)
        object.__setattr__(self, "network", network)

    @asynccontextmanager
    async def open(self, name: str) -> AsyncGenerator[RemoteMember]:
        """See `Home`. The body begins when the node is open, founded or not."""
        directory, arguments = self.directory / name, self.network.arguments()
        async with open_child(name, "raftkit.cli.demo.node", directory, arguments) as child:
            member = RemoteMember(NodeRow(id=name, role="starting"), child)
            await member.wait_open()
            yield member


@attrs.define(eq=False)
class RemoteMember:
    """A node in a process. See `Member`."""

    _row: NodeRow
    "What it said last."
    _child: Child

    # ── what may be asked ────────────────────────────────────────────────────────────────────────

    def row(self) -> NodeRow:
        """See `Member`. It is a fraction of a second old."""
        return self._row

    async def session(self) -> Session:
        """See `Member`."""
        (session,) = array(await self._ask("session"), 1)
        return Session(unsigned(session))

    async def write(self, number: int, content: bytes, token: Token) -> Reign:
        """See `Member`. Keeps the books of the token's session, which is held here."""
        assert token.ledger is not None
        assert token.ledger.ack_below == token.number  # so the number says it all to the node
        try:
            reign = reign_in(await self._ask("write", token.session, token.number, number, content))
        except Refused:
            token.ledger.close(token.number)
            raise
        token.ledger.close(token.number)
        return reign

    async def holdings(self) -> Holdings:
        """See `Member`."""
        held, repeats = array(await self._ask("holdings"), 2)
        pairs = (array(pair, 2) for pair in array(repeats))
        return Holdings(unsigned(held), {unsigned(line): unsigned(times) for line, times in pairs})

    async def page(self, first: int, count: int) -> tuple[bytes | None, ...]:
        """See `Member`."""
        (contents,) = array(await self._ask("page", first, count), 1)
        return tuple(None if it is None else octets(it) for it in array(contents, count))

    async def _ask(self, verb: str, *arguments: object) -> list[object]:
        """What the node answered. Raises Refused, or Unanswered also if the process ends before."""
        try:
            answer = await self._child.ask(verb, *arguments, within=ANSWER_SECONDS)
        except NoAnswer as error:
            raise Unanswered(str(error)) from error
        match answer:
            case ["done", *positions]:
                return positions
            case ["refused", str(words)]:
                raise Refused(words)
            case ["unanswered", str(words)]:
                raise Unanswered(words)
            case other:
                raise DemoFailed(f"node {self._row.id} answered {other!r:.80}")

    # ── what it says by itself ───────────────────────────────────────────────────────────────────

    async def wait_open(self) -> None:
        """Wait for its first row. Raises as `watch`."""
        await self._hear()

    async def watch(self, heard: Heard) -> None:
        """See `Member`. Answers are delivered here, too."""
        while True:
            await heard(await self._hear())

    async def _hear(self) -> Reign | None:
        """What is new; a row is taken note of. Raises NodeEnded or DemoFailed at the end."""
        name = self._row.id
        try:
            match await self._child.hear():
                case ["row", *row]:
                    self._row = row_in(name, row)
                case ["elected", *reign]:
                    return reign_in(reign)
                case _:
                    pass
        except ChildKilled as error:
            raise NodeEnded(str(error)) from error
        except (ChildFailed, MalformedError) as error:
            words = str(error)
            raise DemoFailed(
                words if words.startswith("node ") else f"node {name}: {words}"
            ) from error
        return None
