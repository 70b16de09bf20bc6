"""The receiving end of a stream of messages: what arrives in any order, twice or not at all becomes
messages, each once, in order.

Laws: whatever a sender does, the memory is bounded: a window of numbers, and in it a number of messages
and bytes; what has no room counts as not arrived. A gap is asked for soon, then ever less often, and is
given up when nothing of it arrived for a while or the sender says that it is gone; a message with a gap
in it is dropped whole. A control message of one piece is delivered at once: a heartbeat waits for no repair.
"""

from __future__ import annotations

import random
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable
from itertools import takewhile
from typing import Final

import attrs

from raftkit.wire.chunks import Chunk
from raftkit.wire.datagram import Range
from raftkit.wire.lanes import Lane

__all__ = [
    "GIVE_UP_SECONDS",
    "NACK_RANGES_MAX",
    "NACK_SECONDS",
    "WINDOW",
    "InCounts",
    "InStream",
]

WINDOW: Final = 16_384
"Numbers between the oldest that is missing and the newest: more than 256 messages of 64 000 bytes take."
NACK_SECONDS: Final = 0.002
"A gap is asked for within this time after it was noticed: at random, so that not all receivers ask at once."
TOGETHER_SECONDS: Final = 0.001
"Gaps that are to be asked for within this time are asked for together."
AGAIN_SECONDS: Final = 0.005
"Then asked for again after this time, the next time after twice as much, and so on."
GIVE_UP_SECONDS: Final = 0.1
"A gap of which nothing arrived for so long is not waited for any more."
NACK_RANGES_MAX: Final = 64
"Gaps asked for in one request."


@attrs.define(kw_only=True)
class InCounts:
    """What the receiving ends of an endpoint did."""

    messages: int = 0
    "Delivered."
    repeated: int = 0
    "Datagrams that had arrived before, or came too late."
    missed: int = 0
    "Datagrams that did not arrive when they should have, whether or not they did later."
    lost: int = 0
    "Datagrams given up."
    wasted: int = 0
    "Datagrams that arrived, but another of their message did not, or they made no message together."
    crowded: int = 0
    "Datagrams for which there was no room."


@attrs.define
class _Gap:
    """Numbers that are missing."""

    first: int
    end: int
    waited_since: float
    "When it was noticed, or last became smaller because something of it arrived."
    ask_at: float
    asked: int = 0
    "How often."


@attrs.define(kw_only=True)
class InStream:
    """One stream of one sender. Times are seconds of any one clock."""

    head: int
    "One above the highest number known to be sent. What is below the first value is never believed."
    bit: int
    "Which of a chunk's targets this receiver is."
    rng: random.Random
    "For the times at which it asks."
    messages_max: int = 256
    "Messages of which pieces wait behind a gap."
    bytes_max: int = 4 * 1024 * 1024
    "Of all pieces that wait, and again of the one message that arrives in order: the largest there is."
    counts: InCounts = attrs.field(factory=InCounts)
    "May be shared by many streams."
    _next: int = attrs.field(init=False)
    "All before it arrived or was given up."
    _gaps: list[_Gap] = attrs.field(init=False, factory=list[_Gap])
    "What is missing from `_next` to `head`, in order."
    _ask_at: float = attrs.field(init=False, default=float("inf"))
    "No gap is to be asked for before."
    _waiting: dict[int, Chunk] = attrs.field(init=False, factory=dict[int, Chunk])
    "Pieces behind a gap, by number."
    _waiting_bytes: int = attrs.field(init=False, default=0)
    _waiting_of: Counter[int] = attrs.field(init=False, factory=Counter[int])
    "How many of each message: by the number of its first piece."
    _pieces: list[Chunk] = attrs.field(init=False, factory=list[Chunk])
    "The beginning of the message that goes on at `_next`."
    _pieces_bytes: int = attrs.field(init=False, default=0)

    def __attrs_post_init__(self) -> None:
        self._next = self.head

    # ── what arrives ─────────────────────────────────────────────────────────────────────────────

    def receive(self, number: int, chunk: Chunk, now: float) -> list[bytes]:
        """The messages that are whole now that the datagram `number` has brought `chunk`."""
        if not self._is_missing(number):
            self.counts.repeated += 1
            return []
        mine = chunk.targets >> self.bit & 1
        at_once = chunk.lane is Lane.CONTROL and chunk.n == 1
        if mine and not at_once and not self._has_room(number, chunk):
            self.counts.crowded += 1
            return self.announce(number + 1, now)
        found = self.announce(number, now)
        if number == self.head:
            found += self._make_way(number + 1)
            self.head = number + 1
        else:
            self._fill(number, now)
        if mine and at_once:
            self.counts.messages += 1
            found.append(chunk.data)
        elif mine:
            self._wait(number, chunk)
        return found + self._advance()

    def announce(self, head: int, now: float) -> list[bytes]:
        """The sender says that all before `head` was sent. It may deliver: what waits can't wait for ever."""
        if head <= self.head:
            return []
        found = self._make_way(head)
        gap = _Gap(self.head, head, now, now + self.rng.random() * NACK_SECONDS)
        self._gaps.append(gap)
        self._ask_at = min(self._ask_at, gap.ask_at)
        self.counts.missed += head - self.head
        self.head = head
        return found

    def gone(self, ranges: Iterable[Range]) -> list[bytes]:
        """The sender says that it won't send these again. The messages that waited only for them."""
        for first, end in ranges:
            self.counts.lost += self._close(first, end)
        return self._advance()

    # ── what time brings ─────────────────────────────────────────────────────────────────────────

    @property
    def deadline(self) -> float:
        """When to call `give_up` and `nack` again; infinity if nothing is missing."""
        if not self._gaps:
            return float("inf")
        return min(self._ask_at, self._gaps[0].waited_since + GIVE_UP_SECONDS)

    def give_up(self, now: float) -> list[bytes]:
        """Wait no more for what is missing too long. The messages that waited only for it."""
        old = list(takewhile(lambda gap: gap.waited_since + GIVE_UP_SECONDS <= now, self._gaps))
        del self._gaps[: len(old)]
        self.counts.lost += sum(gap.end - gap.first for gap in old)
        return self._advance()

    def nack(self, now: float) -> tuple[Range, ...]:
        """What to ask the sender for now: at most `NACK_RANGES_MAX`, often nothing."""
        if now < self._ask_at:
            return ()
        due = [it for it in self._gaps if it.ask_at <= now + TOGETHER_SECONDS][:NACK_RANGES_MAX]
        for gap in due:
            pause = AGAIN_SECONDS * 2**gap.asked
            gap.ask_at = now + pause + self.rng.random() * NACK_SECONDS
            gap.asked += 1
        self._ask_at = min((gap.ask_at for gap in self._gaps), default=float("inf"))
        return tuple((gap.first, gap.end) for gap in due)

    # ── what is missing ──────────────────────────────────────────────────────────────────────────

    def _is_missing(self, number: int) -> bool:
        if number >= self.head or not self._gaps:
            return number >= self.head
        at = bisect_right(self._gaps, number, key=lambda gap: gap.end)
        return at < len(self._gaps) and self._gaps[at].first <= number

    def _fill(self, number: int, now: float) -> None:
        """What is missing beside `number` comes next, or else is asked for again soon."""
        gap = self._gaps[bisect_right(self._gaps, number, key=lambda gap: gap.end)]
        if gap.asked:
            gap.asked, gap.ask_at, gap.waited_since = 1, now + AGAIN_SECONDS, now
            self._ask_at = min(self._ask_at, gap.ask_at)
        self._close(number, number + 1)

    def _close(self, first: int, end: int) -> int:
        """Wait no more for the numbers from `first` to before `end`; how many of them were missing."""
        gaps, closed = self._gaps, 0
        begin = bisect_right(gaps, first, key=lambda gap: gap.end)
        stop = bisect_left(gaps, end, key=lambda gap: gap.first)
        rest: list[_Gap] = []
        for gap in gaps[begin:stop]:
            closed += min(gap.end, end) - max(gap.first, first)
            before, after = (gap.first, min(gap.end, first)), (max(gap.first, end), gap.end)
            rest += (attrs.evolve(gap, first=a, end=b) for a, b in (before, after) if a < b)
        gaps[begin:stop] = rest
        return closed

    def _make_way(self, end: int) -> list[bytes]:
        """Let the window reach `end`: what falls out of it is given up. The messages that waited for it."""
        floor = end - WINDOW
        if floor <= self._next:
            return []
        found = self.gone([(self._next, floor)])
        if floor > self.head:
            self.counts.lost += floor - self.head
            self._waste_pieces()
            self._next = self.head = floor
        return found

    # ── what waits ───────────────────────────────────────────────────────────────────────────────

    def _has_room(self, number: int, chunk: Chunk) -> bool:
        """Whether a piece may wait. The next in order always may: it waits for nothing."""
        return number == self._next or (
            self._waiting_bytes + len(chunk.data) <= self.bytes_max
            and (number - chunk.i in self._waiting_of or len(self._waiting_of) < self.messages_max)
        )

    def _wait(self, number: int, chunk: Chunk) -> None:
        self._waiting[number] = chunk
        self._waiting_bytes += len(chunk.data)
        self._waiting_of[number - chunk.i] += 1

    def _advance(self) -> list[bytes]:
        """Put together what waits for nothing any more; the messages that are whole."""
        found: list[bytes] = []
        edge = self._gaps[0].first if self._gaps else self.head
        while self._next < edge:
            chunk = self._take(self._next)
            self._next += 1
            if chunk is None:  # given up, for others, or delivered at once
                self._waste_pieces()
            elif self._join(chunk):
                found.append(b"".join(piece.data for piece in self._pieces))
                self._pieces, self._pieces_bytes = [], 0
        self.counts.messages += len(found)
        return found

    def _take(self, number: int) -> Chunk | None:
        chunk = self._waiting.pop(number, None)
        if chunk is not None:
            self._waiting_bytes -= len(chunk.data)
            message = number - chunk.i
            self._waiting_of[message] -= 1
            if not self._waiting_of[message]:
                del self._waiting_of[message]
        return chunk

    def _join(self, chunk: Chunk) -> bool:
        """Add the next piece; whether the message is whole."""
        if chunk.i != len(self._pieces) or (chunk.i and not _same_message(self._pieces[0], chunk)):
            self._waste_pieces()
            if chunk.i:  # its beginning was given up
                self.counts.wasted += 1
                return False
        self._pieces.append(chunk)
        self._pieces_bytes += len(chunk.data)
        if self._pieces_bytes > self.bytes_max:
            self.counts.crowded += 1
            self._waste_pieces()
            return False
        return len(self._pieces) == chunk.n

    def _waste_pieces(self) -> None:
        self.counts.wasted += len(self._pieces)
        self._pieces, self._pieces_bytes = [], 0


def _same_message(first: Chunk, other: Chunk) -> bool:
    return (first.n, first.lane, first.targets) == (other.n, other.lane, other.targets)
