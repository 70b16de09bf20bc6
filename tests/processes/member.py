"""The program of one node process of a storm: a node over TCP that serves the pipe it was started with.

    python -m tests.processes.member NAME DIRECTORY NAME=HOST:PORT …

A request (see `raftkit.cli.pipe`) is answered by `["done", …]`, `["refused", words]` (it did not happen and
never will), or `["unanswered", words]` (it may have happened). Unasked it says `["opening"]` before the
directory is touched, `["row", status, term, leader]` once the node is open, and `["elected", term, leader]`.

Laws: it lives as long as its stdin, so no node outlives its storm, however that ends. Nothing but frames goes
to stdout. What ends it is the last line on stderr, with exit code 1.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any

import attrs
import trio

from raftkit import (
    DidNotHappen,
    Node,
    OutcomeUnknown,
    RaftError,
    Session,
    Token,
    open_node,
)
from raftkit.cli.pipe import NEWS, Pipe, stdio_pipe
from raftkit.messages import LeaderElected
from tests.processes.machine import Lists

__all__ = ["Service", "main"]

ROW_SECONDS = 0.2
"Between two rows."
SNAPSHOT_ENTRIES = 2_000
"Every few seconds, so that nodes die while they write one."


@attrs.define(eq=False)
class Copy:
    """A client's session as this node knows it: all numbers below the client's open one are closed.

    The token of the open one is held, for the node would void what nobody holds any more, and the
    client may still be asking for it elsewhere.
    """

    ledger: Session
    held: Token | None = None

    def token(self, number: int) -> Token:
        """The token of the client's open number, or of one that it has done with."""
        while self.held is None or self.held.number < number:
            if self.held is not None:
                self.ledger.close(self.held.number)
            self.held = self.ledger.token()
        if number < self.held.number:  # it was held up: this process was stopped, or is slow
            return Token(session=self.ledger.id, number=number)
        return self.held


@attrs.define(eq=False)
class Service:
    """What a node does for the storm. `tests.processes.broken` has some that do it wrong."""

    node: Node[Lists]
    pipe: Pipe
    scope: trio.CancelScope = attrs.field(init=False, factory=trio.CancelScope)
    "Of everything."
    copies: dict[str, Copy] = attrs.field(init=False, factory=dict[str, Copy])
    "By client: its newest session."

    @classmethod
    def open(
        cls, name: str, addresses: Mapping[str, str], directory: str
    ) -> AbstractAsyncContextManager[Node[Lists]]:
        """The node itself."""
        return open_node(
            Lists,
            id=name,
            members=addresses,
            data_dir=directory,
            snapshot_entries=SNAPSHOT_ENTRIES,
            paranoid=name == "a",  # of all nodes it would take half of the machine
        )

    # ── what is asked of it ──────────────────────────────────────────────────────────────────────

    async def decide(self, command: Any, token: Token, timeout: float) -> Any:  # noqa: ASYNC109
        """The first sending of a command."""
        return await self.node.execute(command, token=token, timeout=timeout)

    async def decide_again(self, command: Any, token: Token, timeout: float) -> Any:  # noqa: ASYNC109
        """A command that some node, this one or another, was given before."""
        return await self.node.execute(command, token=token, timeout=timeout)

    async def read(self, key: str, timeout: float) -> tuple[int, ...]:  # noqa: ASYNC109
        """What a list holds."""
        return await self.node.read(Lists.values(key=key), timeout=timeout)

    async def done(self, verb: object, arguments: list[Any]) -> list[object]:
        """The positions of an answer. Raises DidNotHappen or OutcomeUnknown."""
        match [verb, *arguments]:
            case ["session", timeout]:
                return [(await self.node.session(timeout=timeout)).id]
            case ["decide", command, client, session, number, timeout]:
                token = self.token(client, session, number)
                return [await self.decide(_command(command), token, timeout)]
            case ["again", command, session, number, timeout]:
                token = Token(session=session, number=number)
                return [await self.decide_again(_command(command), token, timeout)]
            case ["outcome", session, number, timeout]:
                token = Token(session=session, number=number)
                return [await self.node.outcome(token, timeout=timeout)]
            case ["read", key, timeout]:
                return [await self.read(key, timeout)]
            case ["state", timeout]:
                return list(await self.node.read(_everything, timeout=timeout))
            case other:
                raise AssertionError(f"no such request: {other!r}")

    def token(self, client: str, session: int, number: int) -> Token:
        """The token of a client's open number, whose session this node keeps like the client."""
        copy = self.copies.get(client)
        if copy is not None and copy.ledger.id > session:  # held up, likewise
            return Token(session=session, number=number)
        if copy is None or copy.ledger.id < session:
            copy = self.copies[client] = Copy(Session(session))
        return copy.token(number)

    # ── how it is heard ──────────────────────────────────────────────────────────────────────────

    async def run(self) -> None:
        """Serve until the pipe ends. As many requests at once as the storm has clients."""
        with self.scope:
            await self._say_row()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._say_rows)
                nursery.start_soon(self._say_leaders)
                while (request := await self.pipe.receive()) is not None:
                    nursery.start_soon(self._answer, request)
                self.scope.cancel()

    async def _answer(self, request: list[Any]) -> None:
        number, verb, *arguments = request
        answer: list[object]
        try:
            answer = ["done", *await self.done(verb, arguments)]
        except DidNotHappen as error:
            answer = ["refused", str(error)]
        except OutcomeUnknown as error:
            answer = ["unanswered", str(error)]
        await self._say([number, *answer])

    async def _say_rows(self) -> None:
        while True:
            await trio.sleep(ROW_SECONDS)
            await self._say_row()

    async def _say_row(self) -> None:
        now = self.node.statistics()
        await self._say([NEWS, "row", now.status, now.term, now.leader])

    async def _say_leaders(self) -> None:
        async for event in self.node.events():
            if isinstance(event, LeaderElected):
                await self._say([NEWS, "elected", event.term, event.leader])

    async def _say(self, message: list[object]) -> None:
        """Send a message; without anybody to hear it, this node ends."""
        try:
            await self.pipe.send(message)
        except trio.BrokenResourceError:
            self.scope.cancel()


def _command(words: list[Any]) -> Any:
    match words:
        case ["append", key, value]:
            return Lists.append(key=key, value=value)
        case ["retire", key]:
            return Lists.retire(key=key)
        case _:
            raise AssertionError(f"no such command: {words!r}")


def _everything(machine: Lists) -> tuple[int, int, dict[str, tuple[int, ...]]]:
    return machine.count, machine.chain, machine.lists.copy()


def main(service: type[Service], name: str, directory: str, *places: str) -> None:
    """Run the node of this name, as `service` has it."""
    addresses = dict(place.split("=", 1) for place in places)
    words = None
    try:
        trio.run(_run, service.open(name, addresses, directory), service)
    except* RaftError as failed:
        words = f"node {name}: {failed.exceptions!r}"
    sys.exit(words)


async def _run(opened: AbstractAsyncContextManager[Node[Lists]], service: type[Service]) -> None:
    """The node, until the pipe ends."""
    pipe = stdio_pipe()
    await pipe.send([NEWS, "opening"])
    async with opened as node:
        await service(node, pipe).run()


if __name__ == "__main__":
    main(Service, *sys.argv[1:])
