"""The program of one node process of the demo: a node that serves the pipe it was started with.

    python -m raftkit.cli.demo.node NAME DIRECTORY NETWORK NAME=HOST:PORT …

NETWORK and what follows are `raftkit.cli.network.Network.arguments`.

Laws: it lives as long as its stdin, so no node outlives its demo, however that ends. Nothing but
frames goes to stdout. What ends it is the last line on stderr, with exit code 1.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import attrs
import trio

from raftkit import Session, Token
from raftkit.cli.demo.member import LocalMember, Refused, Reign, Unanswered, open_member
from raftkit.cli.demo.pipe import row_out
from raftkit.cli.demo.report import DemoFailed
from raftkit.cli.network import transport_in
from raftkit.cli.pipe import NEWS, Pipe, stdio_pipe
from raftkit.cli.starting import first_of
from raftkit.encoding import MalformedError, array, octets, unsigned

__all__ = ["main"]

ROW_SECONDS = 0.2
"Between two rows while nothing but indexes changes."


def main() -> None:
    """Run the node that the arguments name."""
    name, directory, network, *places = sys.argv[1:]
    addresses = dict(place.split("=", 1) for place in places)
    words = None
    try:
        trio.run(_run, name, addresses, Path(directory), network)
    except* DemoFailed as failed:
        words = str(first_of(failed))
    sys.exit(words)


async def _run(name: str, addresses: Mapping[str, str], directory: Path, network: str) -> None:
    """The node, until the demo closes the pipe."""
    pipe = stdio_pipe()
    async with open_member(name, addresses, directory, transport_in(network)) as member:
        await _Service(member, pipe).run()


@attrs.define(eq=False)
class _Copy:
    """A client's session as this node knows it: all numbers below the client's open one are closed.

    The token of the open one is held, for the node would void what nobody holds any more, and the
    client may still be asking for it elsewhere.
    """

    _ledger: Session
    _token: Token | None = None

    def token(self, number: int) -> Token:
        """The token of the client's open number. The client never goes back."""
        while self._token is None or self._token.number < number:
            if self._token is not None:
                self._ledger.close(self._token.number)
            self._token = self._ledger.token()
        assert self._token.number == number
        return self._token


@attrs.define(eq=False)
class _Service:
    """What a node does for the demo."""

    _member: LocalMember
    _pipe: Pipe
    _scope: trio.CancelScope = attrs.field(init=False, factory=trio.CancelScope)
    "Of everything."
    _copies: dict[int, _Copy] = attrs.field(init=False, factory=dict[int, _Copy])
    "By session."

    async def run(self) -> None:
        """Serve until the pipe ends. As many requests at once as the demo has clients."""
        with self._scope:
            await self._say_row()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._member.watch, self._heard)
                nursery.start_soon(self._say_rows)
                while (request := await self._pipe.receive()) is not None:
                    nursery.start_soon(self._answer, request)
                self._scope.cancel()

    async def _answer(self, request: list[object]) -> None:
        """Do what one request asks."""
        number, verb, *arguments = request
        answer: list[object]
        try:
            answer = ["done", *await self._done(verb, arguments)]
        except Refused as error:
            answer = ["refused", str(error)]
        except Unanswered as error:
            answer = ["unanswered", str(error)]
        await self._say([number, *answer])

    async def _done(self, verb: object, arguments: list[object]) -> list[object]:
        """The positions of the answer. Raises Refused, Unanswered, DemoFailed."""
        match verb:
            case "session":
                return [(await self._member.session()).id]
            case "write":
                session, number, line, content = array(arguments, 4)
                token = self._token(unsigned(session), unsigned(number))
                reign = await self._member.write(unsigned(line), octets(content), token)
                return [reign.term, reign.leader]
            case "holdings":
                held = await self._member.holdings()
                return [held.count, [list(pair) for pair in held.repeats.items()]]
            case "page":
                first, count = map(unsigned, array(arguments, 2))
                return [list(await self._member.page(first, count))]
            case _:
                raise MalformedError(f"no such request: {verb!r:.80}")

    def _token(self, session: int, number: int) -> Token:
        return self._copies.setdefault(session, _Copy(Session(session))).token(number)

    async def _heard(self, reign: Reign | None) -> None:
        """Something happened at the node: what matters to the demo is said at once."""
        if reign is not None:
            await self._say([NEWS, "elected", reign.term, reign.leader])
            await self._say_row()

    async def _say_rows(self) -> None:
        while True:
            await trio.sleep(ROW_SECONDS)
            await self._say_row()

    async def _say_row(self) -> None:
        await self._say([NEWS, "row", *row_out(self._member.row())])

    async def _say(self, message: list[object]) -> None:
        """Send a message; without anybody to hear it, this node ends."""
        try:
            await self._pipe.send(message)
        except trio.BrokenResourceError:
            self._scope.cancel()


if __name__ == "__main__":
    main()
