"""How far ahead of its receivers a way may send entries and bulk: nobody else slows UDP down for who is busy.

Laws: a receiver that reads what is sent holds the sender back, and so loses nothing for want of room. One
that does not get on holds it back for `PATIENCE_SECONDS`, once, and is waited for no more until it has
caught up: it gets repairs, and the others what is new. Nothing else waits for a window: not what keeps a
group alive, and no repair.
"""

from __future__ import annotations

from typing import Final

import attrs

from raftkit.model import NodeId
from raftkit.transports.multicast.outlet import OUTPUT_BYTES_MAX, Counts

__all__ = ["PATIENCE_SECONDS", "TOLD_PART", "WINDOW_MIN", "Window", "window_of"]

PATIENCE_SECONDS: Final = 0.1
"For which a receiver may hold the sender back without getting on."
TOLD_PART: Final = 8
"Parts of a window: a receiver says how far it is once for each."
WINDOW_MIN: Final = TOLD_PART
"However small buffers are."


def window_of(recv_buffer_size: int, datagram_bytes: int) -> int:
    """Datagrams of that size for receivers with such buffers.

    Linux takes for 1 MiB about as many bytes in datagrams of 1200. A fifth stays free, and so does the room
    for one output more: what has begun before the window was full.
    """
    beyond = min(OUTPUT_BYTES_MAX, recv_buffer_size // 2)
    return max(WINDOW_MIN, (recv_buffer_size * 4 // 5 - beyond) // datagram_bytes)


@attrs.define(eq=False, kw_only=True)
class Window:
    """Of the stream of entries and bulk on one way. Times are seconds of any one clock."""

    datagrams: int
    "That may be sent and not read."
    counts: Counts
    "Of the endpoint."
    _taken: dict[NodeId, int] = attrs.field(init=False, factory=dict[NodeId, int])
    "By receiver: all before this number was read, or was lost before what was."
    _since: dict[NodeId, float] = attrs.field(init=False, factory=dict[NodeId, float])
    "Who is a whole window behind, and since when."

    def take(self, receiver: NodeId, head: int) -> None:
        """The receiver has read so far. A new one begins at what is sent to it next."""
        self._taken[receiver] = max(head, self._taken.get(receiver, 0))

    def forget(self, receiver: NodeId) -> None:
        """It gets nothing on this way any more."""
        self._taken.pop(receiver, None)
        self._since.pop(receiver, None)

    def held_until(self, sent: int, now: float) -> float:
        """Until when nothing more is to be sent, if no receiver gets on, since `sent` datagrams were.

        A time in the past if there is room.
        """
        for receiver, taken in self._taken.items():
            if sent - taken < self.datagrams:
                self._since.pop(receiver, None)
            elif receiver not in self._since:
                self._since[receiver] = now
                self.counts.holds += 1
        return max(self._since.values(), default=float("-inf")) + PATIENCE_SECONDS
