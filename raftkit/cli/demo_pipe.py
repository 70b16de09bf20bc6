"""How the demo and its node processes talk: CBOR arrays behind their length, over a pipe each way.

To the node: `[number, verb, …]`, answered once under the same number, in any order. To the demo:
`[number, "done", …]` or `[number, why-not, words]`; and with number 0 what the node says unasked,
`[0, "row", role, term, leader, commit, applied]` and `[0, "elected", term, leader]`.

Laws: a frame is bounded. The end of the pipe is the end of the node: there is no other goodbye.
"""

from __future__ import annotations

import attrs
import trio

from raftkit.cli.demo_member import NodeRow, Reign
from raftkit.encoding import MalformedError, array, dumps, loads, printable, unsigned

__all__ = ["NEWS", "Pipe", "reign_in", "row_in", "row_out"]

NEWS = 0
"The number of what nobody asked for."
FRAME_BYTES_MAX = 32 * 1024 * 1024
"More than a line as it is kept, or a page of them; enough for repeats in the million."
_LENGTH_BYTES = 4
_RECEIVE_BYTES = 64 * 1024
_WORDS_MAX = 80
"Characters of a name or a role."


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


def row_out(row: NodeRow) -> list[object]:
    """A row, as the positions of a message."""
    return [row.role, row.term, row.leader, row.commit, row.applied]


def row_in(name: str, positions: list[object]) -> NodeRow:
    """The row of the node `name` that `row_out` made positions of. Raises MalformedError."""
    role, term, leader, commit, applied = array(positions, 5)
    return NodeRow(
        id=name,
        role=printable(role, length_max=_WORDS_MAX),
        term=unsigned(term),
        leader=None if leader is None else printable(leader, length_max=_WORDS_MAX),
        commit=unsigned(commit),
        applied=unsigned(applied),
    )


def reign_in(positions: list[object]) -> Reign:
    """The reign that was sent as its two fields. Raises MalformedError."""
    term, leader = array(positions, 2)
    return Reign(
        unsigned(term), None if leader is None else printable(leader, length_max=_WORDS_MAX)
    )
