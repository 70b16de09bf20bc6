"""Nodes as processes of their own: real directories, TCP on loopback, ended by SIGKILL.

Laws: a process is killed and reaped before its context is left, whatever leaves it; should the demo itself
be killed, the end of the pipe ends its nodes. How a node answers does not depend on where it runs:
`RemoteMember` says what the `LocalMember` at the other end of the pipe said.
"""

from __future__ import annotations

import random
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import ExitStack, asynccontextmanager
from itertools import count
from pathlib import Path
from typing import NoReturn

import attrs
import trio

from raftkit import Session, Token
from raftkit.cli.demo_member import Heard, Holdings, NodeEnded, NodeRow, Refused, Reign, Unanswered
from raftkit.cli.demo_pipe import NEWS, Pipe, reign_in, row_in
from raftkit.cli.demo_report import DemoFailed
from raftkit.encoding import MalformedError, array, octets, unsigned

__all__ = ["Processes", "RemoteMember", "free_addresses"]

STDERR = "stderr.txt"
"In a node's directory: what its processes wrote to stderr."
_PORTS = range(20_000, 32_000)
"Below those that Linux gives to outgoing connections, which might take the port of a node that is down."
ANSWER_SECONDS = 45.0
"Longer than a node takes to say that it has no answer. After that its process hangs, and is killed."
_LAST_WORDS_BYTES = 4096


def free_addresses(names: tuple[str, ...]) -> Mapping[str, str]:
    """A free loopback port for each name: free when it was looked for."""
    addresses: dict[str, str] = {}
    with ExitStack() as held:
        for name in names:
            while name not in addresses:
                sock = held.enter_context(socket.socket())
                port = random.choice(_PORTS)
                try:
                    sock.bind(("127.0.0.1", port))
                except OSError:
                    continue
                addresses[name] = f"127.0.0.1:{port}"
    return addresses


@attrs.frozen(kw_only=True)
class Processes:
    """A home for nodes in processes. See `Home`."""

    directory: Path
    "Holds one directory for each node."
    names: tuple[str, ...]
    addresses: Mapping[str, str] = attrs.field(init=False)
    "Where each node listens."

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "addresses", free_addresses(self.names))

    @asynccontextmanager
    async def open(self, name: str) -> AsyncGenerator[RemoteMember]:
        """See `Home`. The body begins when the node is open, founded or not."""
        directory = self.directory / name
        directory.mkdir(exist_ok=True)
        with (directory / STDERR).open("ab") as stderr:
            process = await trio.lowlevel.open_process(
                [
                    *(sys.executable, "-m", "raftkit.cli.demo_node", name, str(directory)),
                    *(f"{it}={address}" for it, address in self.addresses.items()),
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                start_new_session=True,  # a Ctrl-C is for the demo
            )
        assert process.stdin is not None
        assert process.stdout is not None
        pipe = Pipe(process.stdin, process.stdout)
        member = RemoteMember(NodeRow(id=name, role="starting"), process, pipe, directory / STDERR)
        try:
            await member.wait_open()
            yield member
        finally:
            process.kill()  # at once, without a goodbye
            with trio.CancelScope(shield=True):
                await process.wait()
                await pipe.aclose()


@attrs.define(eq=False)
class _Question:
    """A request that waits for its answer."""

    answer: list[object] = attrs.field(init=False)
    answered: trio.Event = attrs.field(init=False, factory=trio.Event)

    def resolve(self, answer: list[object]) -> None:
        self.answer = answer
        self.answered.set()


@attrs.define(eq=False)
class RemoteMember:
    """A node in a process. See `Member`."""

    _row: NodeRow
    "What it said last."
    _process: trio.Process
    _pipe: Pipe
    _stderr: Path
    _numbers: Iterator[int] = attrs.field(init=False, factory=lambda: count(NEWS + 1))
    _open: dict[int, _Question] = attrs.field(init=False, factory=dict[int, _Question])
    "By number."
    _ended: bool = attrs.field(init=False, default=False)
    "Nobody reads its answers any more."
    _hangs: bool = attrs.field(init=False, default=False)
    "It was killed because it gave no answer."

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
        if self._ended:
            raise Unanswered(f"{self._row.id} has ended")
        number, question = next(self._numbers), _Question()
        self._open[number] = question
        try:
            with trio.move_on_after(ANSWER_SECONDS) as patience:
                await self._pipe.send([number, verb, *arguments])
                await question.answered.wait()
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise Unanswered(f"{self._row.id} has ended") from error
        finally:
            del self._open[number]
        if patience.cancelled_caught:
            self._hangs = True
            self._process.kill()
            raise Unanswered(f"{self._row.id} hangs")
        match question.answer:
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
        await self._receive()

    async def watch(self, heard: Heard) -> None:
        """See `Member`. Answers are delivered here, too."""
        try:
            while True:
                match await self._receive():
                    case [0, "elected", *reign]:
                        await heard(reign_in(reign))
                    case [0, *_]:
                        await heard(None)
                    case [int(number), *answer] if number in self._open:
                        self._open[number].resolve(answer)
                    case _:
                        pass  # whoever asked has been cancelled
        finally:
            self._ended = True
            for question in self._open.values():
                question.resolve(["unanswered", f"{self._row.id} has ended"])

    async def _receive(self) -> list[object]:
        """The next message; a row is taken note of. Raises NodeEnded or DemoFailed at the end."""
        try:
            message = await self._pipe.receive()
            if message is None:
                await self._raise_end()
            if message[:2] == [NEWS, "row"]:
                self._row = row_in(self._row.id, message[2:])
        except MalformedError as error:
            raise DemoFailed(f"node {self._row.id}: {error}") from error
        return message

    async def _raise_end(self) -> NoReturn:
        """The process closed its pipe: say how it ended."""
        code = await self._process.wait()
        if self._hangs:
            raise NodeEnded(f"process {self._process.pid} gave no answer and was killed")
        if code < 0:
            raise NodeEnded(f"process {self._process.pid} got {signal.Signals(-code).name}")
        with self._stderr.open("rb") as stream:
            stream.seek(max(self._stderr.stat().st_size - _LAST_WORDS_BYTES, 0))
            lines = stream.read().decode(errors="replace").split("\n")
        words = next((line for line in reversed(lines) if line.strip()), f"exit code {code}")
        raise DemoFailed(words if words.startswith("node ") else f"node {self._row.id}: {words}")
