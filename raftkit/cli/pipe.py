"""How a command and the node processes it starts talk: CBOR arrays behind their length, over a pipe each way.

To the node: `[number, verb, …]`, answered once under the same number, in any order: `[number, …]`. What
the node says unasked has the number 0.

Laws: a frame is bounded. The end of the pipe is the end of the node: there is no other goodbye.
"""

from __future__ import annotations

import os

import attrs
import trio

from raftkit.encoding import MalformedError, array, dumps, loads

__all__ = ["FRAME_BYTES_MAX", "NEWS", "Pipe", "stdio_pipe"]

NEWS = 0
"The number of what nobody asked for."
FRAME_BYTES_MAX = 32 * 1024 * 1024
"More than a line as the demo keeps it, or a page of them; enough for repeats in the million."
_LENGTH_BYTES = 4
_RECEIVE_BYTES = 64 * 1024


@attrs.define(eq=False)
class Pipe:
    """Both directions, seen from one end."""

    _into: trio.abc.SendStream
    _out_of: trio.abc.ReceiveStream
    _received: bytearray = attrs.field(init=False, factory=bytearray)
    "What has not made a frame yet."
    _sending: trio.Lock = attrs.field(init=False, factory=trio.Lock)
    "Frames go out whole."

    async def send(self, message: list[object]) -> None:
        """Write one message; waits while the other end does not read.

        Raises trio.BrokenResourceError if the other end is gone. To cancel this breaks the pipe.
        """
        data = dumps(message)
        assert len(data) <= FRAME_BYTES_MAX
        async with self._sending:
            await self._into.send_all(len(data).to_bytes(_LENGTH_BYTES, "big") + data)

    async def receive(self) -> list[object] | None:
        """The next message; None at the end, be it in the midst of one. Raises MalformedError."""
        head = await self._take(_LENGTH_BYTES)
        if head is None:
            return None
        size = int.from_bytes(head, "big")
        if size > FRAME_BYTES_MAX:
            raise MalformedError(f"a frame of {size} bytes, above {FRAME_BYTES_MAX}")
        data = await self._take(size)
        return None if data is None else array(loads(data))

    async def aclose(self) -> None:
        """Close both ends that are ours."""
        await self._into.aclose()
        await self._out_of.aclose()

    async def _take(self, size: int) -> bytes | None:
        """The next `size` bytes, or None if the pipe ends before."""
        while len(self._received) < size:
            try:
                data = await self._out_of.receive_some(_RECEIVE_BYTES)
            except trio.BrokenResourceError:
                return None
            if not data:
                return None
            self._received += data
        taken = bytes(self._received[:size])
        del self._received[:size]
        return taken


def stdio_pipe() -> Pipe:
    """The pipe to whoever started this process: its stdin and stdout.

    What is printed goes to stderr from now on, for it must not go into a frame.
    """
    stdin, stdout = os.dup(0), os.dup(1)
    os.dup2(2, 1)
    return Pipe(trio.lowlevel.FdStream(stdout), trio.lowlevel.FdStream(stdin))
