"""A process that says JSON objects, one a line, and may be told some.

Law: it ends with its context, and is killed by the kernel should this process be killed.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import trio

from benchmarks.peers.subject import Failed

__all__ = ["Program", "open_program"]

PATIENCE_SECONDS = 30.0
"For a line, beyond what it takes."
_LAST_WORDS = 300
_RECEIVE_BYTES = 64 * 1024


@asynccontextmanager
async def open_program(
    name: str, arguments: Sequence[str], directory: Path
) -> AsyncGenerator[Program]:
    """Run it in `directory`, where what it writes to stderr goes into NAME.stderr."""
    path = directory / f"{name}.stderr"
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        raise Failed("setpriv is missing: apt-get install util-linux")
    with path.open("ab") as stderr:
        # Not in a thread, as trio would start it: the kernel watches the thread that did.
        process = subprocess.Popen(  # noqa: ASYNC220
            [setpriv, "--pdeathsig", "KILL", *arguments],
            cwd=directory,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            start_new_session=True,  # a Ctrl-C is for the command
        )
    assert process.stdin is not None
    assert process.stdout is not None
    stdin = trio.lowlevel.FdStream(os.dup(process.stdin.fileno()))
    stdout = trio.lowlevel.FdStream(os.dup(process.stdout.fileno()))
    process.stdin.close()
    process.stdout.close()
    try:
        yield Program(name, process, stdin, stdout, path)
    finally:
        process.kill()
        process.wait()
        with trio.CancelScope(shield=True):
            await stdin.aclose()
            await stdout.aclose()


@attrs.define(eq=False)
class Program:
    """One process. Made by `open_program`."""

    name: str
    process: subprocess.Popen[bytes]
    _stdin: trio.lowlevel.FdStream
    _stdout: trio.lowlevel.FdStream
    _stderr: Path
    _received: bytearray = attrs.field(init=False, factory=bytearray)

    @property
    def pid(self) -> int:
        """Of the process."""
        return self.process.pid

    async def tell(self, verb: str, **arguments: object) -> None:
        """One line to it. Raises Failed if it has ended."""
        line = json.dumps({"verb": verb, **arguments}) + "\n"
        try:
            await self._stdin.send_all(line.encode())
        except trio.BrokenResourceError as error:
            raise Failed(f"{self.name} has ended: {self._last_words()}") from error

    async def hear(self, *, within: float = 0.0) -> dict[str, Any]:
        """The next that it says; it `takes` so many seconds. Raises Failed if it ends or hangs."""
        with trio.move_on_after(within + PATIENCE_SECONDS):
            while b"\n" not in self._received:
                data = await self._stdout.receive_some(_RECEIVE_BYTES)
                if not data:
                    raise Failed(f"{self.name} has ended: {self._last_words()}")
                self._received += data
            line, _, self._received[:] = self._received.partition(b"\n")
            found: dict[str, Any] = json.loads(bytes(line))
            return found
        raise Failed(f"{self.name} said nothing for {within + PATIENCE_SECONDS:g} s")

    async def ask(self, verb: str, *, within: float = 0.0, **arguments: object) -> dict[str, Any]:
        """Tell, and hear what it says to that. Raises Failed."""
        await self.tell(verb, **arguments)
        return await self.hear(within=within)

    def _last_words(self) -> str:
        lines = self._stderr.read_text(errors="replace").strip().splitlines()
        return lines[-1][-_LAST_WORDS:] if lines else "without a word"
