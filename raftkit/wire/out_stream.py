"""The sending end of a stream of messages: numbers them, keeps the last ones, sends again what was lost.

Laws: a repair is the same sealed datagram once more, never another under its number. What is kept is
bounded; what is asked for and no longer kept is said to be gone, so that nobody waits for it. The head is
told some milliseconds after the last datagram, or its loss would be noticed only with the next one.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from enum import Enum
from itertools import islice
from typing import Final

import attrs

from raftkit.errors import LocalProtocolError
from raftkit.wire.chunks import encode_chunk, split
from raftkit.wire.datagram import NUMBERS_END, DatagramKind, NumberedStream, Range
from raftkit.wire.lanes import Lane

__all__ = ["HEAD_SECONDS", "REPAIR_DATAGRAMS_MAX", "OutCounts", "OutStream", "Repair"]

HEAD_SECONDS: Final = (0.005, 0.020, 0.080)
"After the last datagram of a stream its head is told: at these times."
TOGETHER_SECONDS: Final = 0.002
"Two receivers who miss the same within this time get it by one multicast."
KEEP_SECONDS: Final = 5.0
"After a message: who has missed it and has not asked has long given it up."
REPAIR_DATAGRAMS_MAX: Final = 256
"Datagrams sent again for one request. Who misses more asks again for the rest."


@attrs.define(kw_only=True)
class OutCounts:
    """What the sending ends of an endpoint did."""

    datagrams: int = 0
    "Sent for the first time."
    repaired: int = 0
    "Sent again."
    spared: int = 0
    "Asked for again, but on their way already."
    gone: int = 0
    "Asked for and not kept any more, or not meant for who asked."


@attrs.frozen(kw_only=True)
class Repair:
    """What to do for a receiver that misses something."""

    unicast: tuple[bytes, ...] = ()
    "Datagrams for it alone."
    multicast: tuple[bytes, ...] = ()
    "Datagrams for all, since another missed them just now too."
    gone: tuple[Range, ...] = ()
    "What it is to stop waiting for."


class _Way(Enum):
    """How a datagram is sent again."""

    NOT = "it is on its way"
    ONE = "to who asked"
    ALL = "by multicast"


@attrs.frozen(kw_only=True)
class _Message:
    """A message that can be sent again."""

    first: int
    targets: int
    datagrams: tuple[bytes, ...]
    sent_at: float
    resent: dict[int, tuple[float, int | None]] = attrs.field(
        factory=dict[int, tuple[float, int | None]]
    )
    "By number: when it was last sent again, and to whom: a receiver's bit, None for all."

    @property
    def end(self) -> int:
        return self.first + len(self.datagrams)

    @property
    def size(self) -> int:
        return sum(map(len, self.datagrams))

    def resend(self, number: int, asker: int, now: float, rtt: float) -> _Way:
        """How to answer one who misses `number`: remembered as done."""
        at, to = self.resent.get(number, (float("-inf"), asker))
        reached = to is None or to == asker
        if reached and now - at < rtt:
            return _Way.NOT
        if not reached and now - at < TOGETHER_SECONDS:
            self.resent[number] = now, None
            return _Way.ALL
        self.resent[number] = now, asker
        return _Way.ONE


@attrs.define(kw_only=True)
class OutStream:
    """Messages to one receiver, or to many by multicast. Times are seconds of any one clock."""

    numbered: NumberedStream
    "Gives the numbers and the seal. Used by nobody else."
    chunk_bytes: int
    "See `chunk_bytes_max`."
    messages_max: int = 256
    "Messages kept for repair …"
    bytes_max: int = 16 * 1024 * 1024
    "… and the bytes of their datagrams. The last message is kept whatever its size."
    counts: OutCounts = attrs.field(factory=OutCounts)
    "May be shared by many streams."
    _kept: list[_Message] = attrs.field(init=False, factory=list[_Message])
    "The last messages, in order."
    _kept_bytes: int = attrs.field(init=False, default=0)
    _sent_at: float = attrs.field(init=False, default=0.0)
    "When the last datagram was sent."
    _told: int = attrs.field(init=False, default=len(HEAD_SECONDS))
    "How often the head was told since then."

    @property
    def head(self) -> int:
        """The number of the next datagram."""
        return self.numbered.head

    @property
    def deadline(self) -> float:
        """When the head is to be told; infinity if it was told often enough."""
        if self._told == len(HEAD_SECONDS):
            return float("inf")
        return self._sent_at + HEAD_SECONDS[self._told]

    def send(self, message: bytes, lane: Lane, targets: int, now: float) -> tuple[bytes, ...]:
        """The datagrams of `message` for the receivers whose bits are in `targets`: send them now.

        All but the last have the same size. Raises LocalProtocolError, and nothing is numbered, if the
        message is too large for any stream or the stream has used up its numbers.
        """
        chunks = split(message, lane, targets, chunk_bytes=self.chunk_bytes)
        first = self.head
        if first + len(chunks) > NUMBERS_END:
            raise LocalProtocolError(
                f"stream {self.numbered.number} has used up its numbers: open another endpoint"
            )
        seal = self.numbered.seal
        datagrams = tuple(seal(DatagramKind.CHUNK, encode_chunk(chunk)) for chunk in chunks)
        self.counts.datagrams += len(datagrams)
        self._keep(_Message(first=first, targets=targets, datagrams=datagrams, sent_at=now))
        self.resume(now)
        return datagrams

    def _keep(self, message: _Message) -> None:
        self._kept.append(message)
        self._kept_bytes += message.size
        while len(self._kept) > 1 and (
            len(self._kept) > self.messages_max or self._kept_bytes > self.bytes_max
        ):
            self._kept_bytes -= self._kept.pop(0).size

    def forget(self, now: float) -> None:
        """Keep nothing that was sent `KEEP_SECONDS` ago: an idle stream is to cost no memory."""
        while self._kept and self._kept[0].sent_at + KEEP_SECONDS <= now:
            self._kept_bytes -= self._kept.pop(0).size

    def resume(self, now: float) -> None:
        """The datagrams of the last message have left only now: tell the head after them."""
        self._sent_at, self._told = now, 0

    def tell_head(self, now: float) -> bool:
        """Whether the head is to be told now. True once for each time of `HEAD_SECONDS`."""
        if now < self.deadline:
            return False
        self._told += 1
        return True

    # ── repair ───────────────────────────────────────────────────────────────────────────────────

    def repair(self, missing: Iterable[Range], asker: int, now: float, *, rtt: float) -> Repair:
        """What to send because the receiver of bit `asker` misses the numbers in `missing`.

        What was sent to it again less than `rtt` seconds ago, in any way, is left out, and so is what is
        above `REPAIR_DATAGRAMS_MAX`: it asks once more if it has to.
        """
        gone: list[Range] = []
        wanted: list[tuple[_Message, int]] = []
        for first, end, message in self._pieces(missing):
            if message is None or not message.targets >> asker & 1:
                gone.append((first, end))
            else:
                room = REPAIR_DATAGRAMS_MAX - len(wanted)
                wanted += ((message, number) for number in range(first, min(end, first + room)))
        resent = [(it.datagrams[n - it.first], it.resend(n, asker, now, rtt)) for it, n in wanted]
        unicast = tuple(datagram for datagram, way in resent if way is _Way.ONE)
        multicast = tuple(datagram for datagram, way in resent if way is _Way.ALL)
        self.counts.gone += sum(end - first for first, end in gone)
        self.counts.repaired += len(unicast) + len(multicast)
        self.counts.spared += len(resent) - len(unicast) - len(multicast)
        return Repair(unicast=unicast, multicast=multicast, gone=tuple(gone))

    def _pieces(self, missing: Iterable[Range]) -> Iterator[tuple[int, int, _Message | None]]:
        """`missing`, as far as it was sent, cut where messages begin; None for what is not kept."""
        kept_from = self._kept[0].first if self._kept else self.head
        for first, asked_end in missing:
            end = min(asked_end, self.head)
            if first < min(end, kept_from):
                yield first, min(end, kept_from), None
            at = bisect_right(self._kept, first, key=lambda it: it.end)
            for message in islice(self._kept, at, None):
                begin = max(first, message.first)
                if begin >= end:
                    break
                yield begin, min(end, message.end), message
