"""A node process of ours, at the other end of a pipe: started, asked, heard, ended by SIGKILL.

Laws: it is killed and reaped before its context is left, whatever leaves it; should this process be killed,
the end of the pipe ends it. Every question ends: by its answer, by the end of the process, or when the asker
has no patience any more, who may have the process killed for giving none.
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
from typing import BinaryIO

import attrs
import trio

from raftkit.cli.pipe import NEWS, Pipe

__all__ = [
    "STDERR",
    "Child",
    "ChildFailed",
    "ChildKilled",
    "NoAnswer",
    "free_addresses",
    "open_child",
]

STDERR = "stderr.txt"
"In a node's directory: what its processes wrote to stderr."
_PORTS = range(20_000, 32_000)
"Below those that Linux gives to outgoing connections, which might take the port of a node that is down."
_LAST_WORDS_BYTES = 4096


class NoAnswer(Exception):
    """The question was not answered, and whoever asked will not hear of it any more. Says why."""


class ChildKilled(Exception):
    """The process was ended by a signal. Says which, or that it gave no answer."""


class ChildFailed(Exception):
    """The process ended by itself. Says its last words on stderr, or its exit code."""


def free_addresses(
    names: tuple[str, ...], kind: socket.SocketKind = socket.SOCK_STREAM
) -> Mapping[str, str]:
    """A free loopback port for each name, of TCP or another `kind`: free when it was looked for."""
    addresses: dict[str, str] = {}
    with ExitStack() as held:
        for name in names:
            while name not in addresses:
                sock = held.enter_context(socket.socket(type=kind))
                port = random.choice(_PORTS)
                try:
                    sock.bind(("127.0.0.1", port))
                except OSError:
                    continue
                addresses[name] = f"127.0.0.1:{port}"
    return addresses


@asynccontextmanager
async def open_child(
    name: str, module: str, directory: Path, arguments: tuple[str, ...], *, cwd: Path | None = None
) -> AsyncGenerator[Child]:
    """Run `python -m module name directory arguments…`, which serves a `Pipe` on its stdin and stdout.

    It runs in `cwd`, from which the module may be imported; without one, where this process runs. To leave
    the context kills it at once, without a goodbye.
    """
    with _open_stderr(directory) as stderr:
        process = await trio.lowlevel.open_process(
            [sys.executable, "-m", module, name, str(directory), *arguments],
            cwd=cwd,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            start_new_session=True,  # a Ctrl-C is for the command
        )
    assert process.stdin is not None
    assert process.stdout is not None
    pipe = Pipe(process.stdin, process.stdout)
    try:
        yield Child(name, process, pipe, directory / STDERR)
    finally:
        process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()
            await pipe.aclose()


def _open_stderr(directory: Path) -> BinaryIO:
    """Where the process's stderr goes, in its directory, which is made if it is missing."""
    directory.mkdir(exist_ok=True)
    return (directory / STDERR).open("ab")


@attrs.define(eq=False)
class _Question:
    """A request that waits for its answer."""

    answer: list[object] | None = None
    "None: the process has ended."
    answered: trio.Event = attrs.field(init=False, factory=trio.Event)

    def resolve(self, answer: list[object] | None) -> None:
        self.answer = answer
        self.answered.set()


@attrs.define(eq=False)
class Child:
    """One process. Made by `open_child`. Answers arrive only while a task is in `hear`."""

    name: str
    process: trio.Process
    _pipe: Pipe
    _stderr: Path
    _numbers: Iterator[int] = attrs.field(init=False, factory=lambda: count(NEWS + 1))
    _open: dict[int, _Question] = attrs.field(init=False, factory=dict[int, _Question])
    "By number."
    _ended: bool = attrs.field(init=False, default=False)
    "Nobody reads its answers any more."
    _hangs: bool = attrs.field(init=False, default=False)
    "It was killed because it gave no answer."

    async def ask(
        self, verb: str, *arguments: object, within: float, kill: bool = True
    ) -> list[object]:
        """The answer. Raises NoAnswer if the process ends before, or takes more than `within` seconds.

        What takes longer than that hangs: it is killed, unless `kill` is false. Then the question still gets
        to a process that was stopped and goes on; its answer is dropped.
        """
        if self._ended:
            raise NoAnswer(f"{self.name} has ended")
        number, question = next(self._numbers), _Question()
        self._open[number] = question
        try:
            with trio.move_on_after(within) as patience:
                # To cancel this breaks the pipe, which is harmless only where the process is killed then.
                with trio.CancelScope(shield=not kill):
                    await self._pipe.send([number, verb, *arguments])
                await question.answered.wait()
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise NoAnswer(f"{self.name} has ended") from error
        finally:
            del self._open[number]
        if patience.cancelled_caught:
            if not kill:
                raise NoAnswer(f"{self.name} gave no answer in time")
            self._hangs = True
            self.process.kill()
            raise NoAnswer(f"{self.name} hangs")
        if question.answer is None:
            raise NoAnswer(f"{self.name} has ended")
        return question.answer

    async def hear(self) -> list[object]:
        """What it says next of its own accord.

        Raises ChildKilled or ChildFailed when the process has ended, MalformedError if it speaks wrongly.
        """
        try:
            while True:
                message = await self._pipe.receive()
                if message is None:
                    raise await self._how_it_ended()
                match message:
                    case [0, *news]:
                        return news
                    case [int(number), *answer] if number in self._open:
                        self._open[number].resolve(answer)
                    case _:
                        pass  # whoever asked has been cancelled, or has lost patience
        except BaseException:
            self._ended = True
            for question in self._open.values():
                question.resolve(None)
            raise

    async def _how_it_ended(self) -> ChildKilled | ChildFailed:
        """The process closed its pipe."""
        code = await self.process.wait()
        if self._hangs:
            return ChildKilled(f"process {self.process.pid} gave no answer and was killed")
        if code < 0:
            return ChildKilled(f"process {self.process.pid} got {signal.Signals(-code).name}")
        lines = self.last_words().split("\n")
        return ChildFailed(next((it for it in reversed(lines) if it.strip()), f"exit code {code}"))

    def last_words(self) -> str:
        """The end of what it wrote to stderr, at most 4 KiB."""
        with self._stderr.open("rb") as stream:
            stream.seek(max(self._stderr.stat().st_size - _LAST_WORDS_BYTES, 0))
            return stream.read().decode(errors="replace").strip()
