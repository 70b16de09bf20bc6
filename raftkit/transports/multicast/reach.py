"""Whether a peer hears our multicasts, and so whether it is sent any.

Laws: a peer begins without; it is invited when it says that it hears us, and served by multicast when it
has answered the invitation, so it knows from which numbers on it is meant. If it stops hearing us, the
invitation is void, and everything goes by unicast until it hears us again. A bit that meant one peer
means no other until the first has closed its link.
"""

from __future__ import annotations

from collections import deque
from typing import Final

import attrs

from raftkit.wire.control import NEVER, NOT_INVITED, TARGETS_MAX, Positions, Status

__all__ = ["Bits", "Reach", "Recent"]

MISSED_MAX: Final = 8
"Multicasts sent at different times of which a peer that hears us hears at least one."
APART_SECONDS: Final = 0.005
"Multicasts closer together are lost together."
ON_ITS_WAY_SECONDS: Final = 0.02
"A multicast younger than this may not have arrived."
HELLOS_MISSED_MAX: Final = 3
"Hello intervals of silence after which a peer does not hear us."


@attrs.define(eq=False)
class Recent:
    """When we last sent something to the group."""

    _times: deque[float] = attrs.field(init=False, factory=lambda: deque[float](maxlen=64))

    def note(self, now: float) -> None:
        """Something is sent to all now."""
        if not self._times or now >= self._times[-1] + APART_SECONDS:
            self._times.append(now)

    def between(self, after: float, before: float) -> int:
        """How often, at times apart, between two times."""
        return sum(after < at < before for at in self._times)


@attrs.define(eq=False)
class Bits:
    """Which peer each bit of a chunk's targets means."""

    rest_seconds: float
    "Before a bit means another peer: its old one has surely closed the link by then."
    _free_at: list[float] = attrs.field(init=False, factory=lambda: [float("-inf")] * TARGETS_MAX)

    def take(self, now: float) -> int | None:
        """A bit that means nobody, the one that has rested longest; None if there is none."""
        bit = min(range(TARGETS_MAX), key=self._free_at.__getitem__)
        if self._free_at[bit] > now:
            return None
        self._free_at[bit] = float("inf")
        return bit

    def give_back(self, bit: int, now: float) -> None:
        """It means nobody any more."""
        self._free_at[bit] = now + self.rest_seconds


@attrs.define(eq=False, kw_only=True)
class Reach:
    """What one peer hears of our multicasts."""

    bits: Bits
    "Of all peers."
    hello_seconds: float
    "Between two hellos to the group."
    bit: int | None = attrs.field(init=False, default=None)
    "What means it; None until it is first invited, or while other peers have them all."
    invitation: int = attrs.field(init=False, default=NOT_INVITED)
    "The number of the one that holds."
    since: Positions = attrs.field(init=False, default=Positions(control=0, data=0))
    "Multicasts from here on may be for it; without an invitation, those from here on are not."
    by_multicast: bool = attrs.field(init=False, default=False)
    "Whether it is served so."
    fell_at: float | None = attrs.field(init=False, default=None)
    "When it was found not to hear us any more, the last time."
    _invited: int = attrs.field(init=False, default=NOT_INVITED)
    "The number of the last."

    def on_status(
        self, status: Status, sent_at: float, group: Positions, recent: Recent, now: float
    ) -> None:
        """Conclude from what the peer says. `sent_at`: when it did, by our clock, or a little before."""
        hears = self._hears(status, sent_at, recent)
        if not hears and self.invitation != NOT_INVITED:
            if self.by_multicast:
                self.fell_at = now
            self.invitation, self.since, self.by_multicast = NOT_INVITED, group, False
        elif hears and self.invitation == NOT_INVITED and self._may_invite(now):
            self._invited += 1
            self.invitation, self.since = self._invited, group
        elif self.invitation != NOT_INVITED and status.accepted == self.invitation:
            self.by_multicast = True

    def _may_invite(self, now: float) -> bool:
        """Once it fell back, a hello that gets through by luck is not enough."""
        if self.fell_at is not None and now < self.fell_at + HELLOS_MISSED_MAX * self.hello_seconds:
            return False
        if self.bit is None:
            self.bit = self.bits.take(now)
        return self.bit is not None

    def _hears(self, status: Status, sent_at: float, recent: Recent) -> bool:
        if status.silence_ms == NEVER:
            return False
        silence = status.silence_ms / 1000
        if silence > HELLOS_MISSED_MAX * self.hello_seconds:
            return False
        missed = recent.between(sent_at - silence, sent_at - ON_ITS_WAY_SECONDS)
        return missed < MISSED_MAX
