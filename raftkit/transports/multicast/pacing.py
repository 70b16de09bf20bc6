"""How fast a multicast endpoint may send: UDP has nobody else to slow it down (RFC 8085).

Laws: over any time, what was paced is at most `rate` × seconds + `burst` bytes, and repairs at most half of
that. What is urgent is charged and never waits. Order of what waits: repairs, for receivers hold back what
comes behind a gap; the rest of the message under way; entries; bulk, which gets a quarter of what those two
send where both always wait, or a busy group would never get a snapshot through. Each queue is bounded, and
what is too much is refused, never kept. Whole messages wait here *before* they are numbered: numbers are in
the order of the wire, and what overtakes looks like no gap. Nothing here has a clock: `now` is given, in
seconds.
"""

from __future__ import annotations

import math
from collections import deque
from enum import IntEnum
from typing import Final, Generic, TypeVar

import attrs

__all__ = ["Bucket", "Pacer", "Turn"]

LOSS_MAX: Final = 0.01
"Part of the datagrams that may be asked for again before the rate falls."
LOSS_IGNORED: Final = 2
"So many in one look are chance."
LOOK_SECONDS: Final = 0.1
"From one look at the losses to the next."
FALL: Final = 0.7
"What is left of the rate after a look that finds too many."
RISE: Final = 1 / 50
"Of the ceiling, added after each other look that found the rate in use: in 5 s from nothing to the ceiling."
START: Final = 1 / 4
"Of the ceiling: nobody knows yet how much receivers can take."
FLOOR: Final = 1 / 16
"Of the ceiling. Loss that has other reasons than haste is not to stop a group."
ENTRIES_TO_BULK: Final = 3
"Bytes of entries that may overtake each byte of bulk."
ROUNDING: Final = 1.0
"Bytes that may be missing, or who wakes at the very moment of `ready_at` might wake again and again."


@attrs.define(eq=False)
class Bucket:
    """Bytes that may be sent: they trickle in at `rate`, and up to `burst` of them are saved."""

    rate: float
    "Bytes a second."
    burst: int
    "Bytes that may go at once after a pause."
    _level: float = attrs.field(init=False)
    _at: float = attrs.field(init=False, default=-math.inf)
    "When `_level` was so."

    def __attrs_post_init__(self) -> None:
        self._level = self.burst

    def allows(self, size: int, now: float) -> bool:
        """Whether `size` bytes may go now. More than `burst` go when it is full, and are paid for later."""
        self._fill(now)
        return self._level >= min(size, self.burst) - ROUNDING

    def spend(self, size: int, now: float) -> None:
        """Charge `size` bytes, allowed or not. Debts end at one burst: the urgent can't silence the rest."""
        self._fill(now)
        self._level = max(self._level - size, -float(max(size, self.burst)))

    def ready_at(self, size: int) -> float:
        """When `size` bytes will be allowed, if nothing is spent until then."""
        missing = min(size, self.burst) - self._level
        return self._at + max(0.0, missing) / self.rate

    def _fill(self, now: float) -> None:
        if now > self._at:
            gained = (now - self._at) * self.rate if self._at > -math.inf else 0.0
            self._level = min(self._level + gained, self.burst)
            self._at = now


class Turn(IntEnum):
    """What waits, in the order in which it goes."""

    REPAIR = 0
    "What was asked for again."
    UNDER_WAY = 1
    "The rest of a message of which a part has gone."
    ENTRIES = 2
    BULK = 3


T = TypeVar("T")


@attrs.define(eq=False, kw_only=True)
class Pacer(Generic[T]):
    """Queues of what waits for its turn, and how much may go."""

    rate_max: int
    "The ceiling, in bytes a second."
    burst: int
    "Bytes that may go at once: not more than receivers can hold that are busy for a moment."
    capacity: int
    "Of each queue, in messages."
    bytes_max: int
    "Of each queue."
    held_until: float = attrs.field(init=False, default=-math.inf)
    "Before this time nothing goes but repairs: receivers are behind."
    _all: Bucket = attrs.field(init=False)
    _repairs: Bucket = attrs.field(init=False)
    _queues: tuple[deque[tuple[int, T]], ...] = attrs.field(
        init=False, factory=lambda: tuple(deque() for _ in Turn)
    )
    "Sizes and what has them, by turn."
    _queued: list[int] = attrs.field(init=False, factory=lambda: [0 for _ in Turn])
    "Bytes of each."
    _overtook: int = attrs.field(init=False, default=0)
    "Bytes of entries that went before the bulk that waits."
    _look_at: float = attrs.field(init=False, default=-math.inf)
    _seen: tuple[int, int] = attrs.field(init=False, default=(0, 0))
    "Datagrams sent and lost, at the last look."
    _spent: int = attrs.field(init=False, default=0)
    "Bytes since then."

    def __attrs_post_init__(self) -> None:
        self._all = Bucket(self.rate_max * START, self.burst)
        self._repairs = Bucket(self.rate_max * START / 2, self.burst // 2)

    @property
    def rate(self) -> float:
        """Bytes a second, as losses allow now."""
        return self._all.rate

    def waiting(self, turn: Turn) -> int:
        """How many wait in that queue."""
        return len(self._queues[turn])

    @property
    def is_waiting(self) -> bool:
        """Whether anything waits for its turn."""
        return any(self._queues)

    def push(self, turn: Turn, size: int, what: T) -> bool:
        """Let `what`, of so many bytes, wait for its turn. False if there is no room.

        The rest of a message under way always has room: only one is.
        """
        queue = self._queues[turn]
        full = len(queue) >= self.capacity or self._queued[turn] + size > self.bytes_max
        if full and turn is not Turn.UNDER_WAY:
            return False
        queue.append((size, what))
        self._queued[turn] += size
        return True

    def charge(self, size: int, now: float) -> None:
        """So many bytes went that could not wait."""
        self._spend(size, now)

    def pop(self, now: float) -> tuple[Turn, T] | None:
        """What goes next, if anything may go now. Repairs and parts under way are charged here.

        A message is charged when its parts are pushed and popped in turn, for only then its bytes are known.
        """
        for turn in Turn:
            queue = self._queues[turn]
            if not queue or not self._may_go(turn, queue[0][0], now):
                continue
            size, what = queue.popleft()
            self._queued[turn] -= size
            if turn <= Turn.UNDER_WAY:
                self._spend(size, now)
            if turn is Turn.REPAIR:
                self._repairs.spend(size, now)
            if turn is Turn.ENTRIES and self._queues[Turn.BULK]:
                self._overtook += size
            if turn is Turn.BULK:
                self._overtook = 0
            return turn, what
        return None

    def _spend(self, size: int, now: float) -> None:
        self._all.spend(size, now)
        self._spent += size

    def _may_go(self, turn: Turn, size: int, now: float) -> bool:
        if self._is_held_back(turn):
            return False
        if turn is Turn.REPAIR:
            return self._repairs.allows(size, now) and self._all.allows(size, now)
        return now >= self.held_until and self._all.allows(size, now)

    def _is_held_back(self, turn: Turn) -> bool:
        """One message at a time, or the numbers were not in the order of the wire; and bulk has its part."""
        if turn > Turn.UNDER_WAY and self._queues[Turn.UNDER_WAY]:
            return True
        bulk = self._queues[Turn.BULK]
        due = bulk and self._overtook >= ENTRIES_TO_BULK * bulk[0][0]
        return turn is Turn.ENTRIES and bool(due)

    def deadline(self) -> float:
        """When `pop` has something, if nothing is spent until then; infinity if nothing waits."""
        return min((self._ready_at(turn) for turn in Turn), default=math.inf)

    def _ready_at(self, turn: Turn) -> float:
        queue = self._queues[turn]
        if not queue or self._is_held_back(turn):
            return math.inf
        ready = self._all.ready_at(queue[0][0])
        if turn is Turn.REPAIR:
            return max(ready, self._repairs.ready_at(queue[0][0]))
        return max(ready, self.held_until)

    def adapt(self, sent: int, lost: int, now: float) -> None:
        """Go slower if too much is lost; a little faster if nothing is and as much was sent as was allowed.

        `sent` and `lost` are datagrams so far, in all. What was not tried proves nothing, so a rate that is
        not used stays as it is (RFC 7661).
        """
        if now < self._look_at:
            return
        used = self._spent > self._all.rate * LOOK_SECONDS / 2
        (sent_before, lost_before), self._seen = self._seen, (sent, lost)
        self._look_at, self._spent = now + LOOK_SECONDS, 0
        rate, lately = self._all.rate, lost - lost_before
        if lately > LOSS_IGNORED and lately > LOSS_MAX * (sent - sent_before):
            rate = max(rate * FALL, self.rate_max * FLOOR)
        elif used:
            rate = min(rate + self.rate_max * RISE, float(self.rate_max))
        self._all.rate, self._repairs.rate = rate, rate / 2
