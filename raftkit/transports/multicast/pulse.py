"""Whether the other end of a link lives.

Laws: a stamp of ours that comes back, with how long it was held, proves when its carrier was sent, by our
own clock: what is recorded, delayed or forged proves nothing. All other datagrams count for a while after
such a proof. What a third party can say ("nobody is at that port") is only a reason to ask.
"""

from __future__ import annotations

from typing import Final

import attrs

__all__ = ["Pulse"]

PING_PART: Final = 0.05
"Of the time after which a link counts as silent: between two PINGs, once half of it has passed."
SUSPECT_SECONDS: Final = 0.02
"In which a peer answers that is said to be gone, or is gone."
SUSPECT_PINGS: Final = 3
"Sent in that time."
QUIET_SECONDS: Final = 0.075
"After the last message, until the peer is asked whether it is still there: a killed one refuses at once."
PROOF_FACTOR: Final = 3
"A link may be without a proof for so many times the time for which it may be silent."


@attrs.define(eq=False, kw_only=True)
class Pulse:
    """Times are seconds of our clock."""

    silence_max: float
    "A link that was silent for so long is closed."
    heard_at: float
    "When the last new datagram came."
    proved_at: float = attrs.field(init=False)
    "The peer lived then, for certain."
    rtt: float = attrs.field(init=False, default=0.0)
    "To the peer and back, smoothed; 0 until it is known."
    _quiet_at: float = attrs.field(init=False, default=float("inf"))
    "When to ask because no other message followed the last."
    _suspected_at: float = attrs.field(init=False, default=float("inf"))
    _pinged_at: float = attrs.field(init=False, default=float("-inf"))

    def __attrs_post_init__(self) -> None:
        self.proved_at = self.heard_at

    def hear(self, now: float) -> None:
        """A datagram came that is new on this link."""
        self.heard_at = now
        self._suspected_at = float("inf")

    def hear_message(self, now: float) -> None:
        """So did a part of a message. Others should follow, and if none does that may be a death."""
        self.hear(now)
        self._quiet_at = now + QUIET_SECONDS

    def prove(self, echo_us: int, held_us: int, now: float) -> None:
        """It brought back our stamp `echo_us`, which the peer has held for `held_us`."""
        sent_at = (echo_us + held_us) / 1e6
        if echo_us and sent_at <= now:
            self.proved_at = max(self.proved_at, sent_at)
            sample = now - sent_at
            self.rtt = sample if not self.rtt else 0.875 * self.rtt + 0.125 * sample

    def suspect(self, now: float) -> None:
        """Somebody says that the peer is gone."""
        if self._suspected_at == float("inf"):
            self._suspected_at, self._pinged_at = now, float("-inf")

    def verdict(self, now: float) -> str:
        """Why the link is to be closed; empty if it is not."""
        if now >= self._suspected_at + SUSPECT_SECONDS:
            return "refused: nobody is at its address any more"
        if now >= self.heard_at + self.silence_max:
            return f"silent for {self.silence_max:g} s"
        if now >= self.proved_at + PROOF_FACTOR * self.silence_max:
            return f"answered nothing for {PROOF_FACTOR * self.silence_max:g} s"
        return ""

    def wants_ping(self, now: float) -> bool:
        """Whether to ask for a STATUS now. True once for each PING."""
        if now < self._ping_at:
            return False
        self._pinged_at, self._quiet_at = now, float("inf")
        return True

    @property
    def _ping_at(self) -> float:
        if self._suspected_at < float("inf"):
            return max(self._suspected_at, self._pinged_at + SUSPECT_SECONDS / SUSPECT_PINGS)
        pause = self.silence_max * PING_PART
        silent_at = max(self.heard_at + self.silence_max / 2, self._pinged_at + pause)
        return min(self._quiet_at, silent_at)

    @property
    def deadline(self) -> float:
        """When there is a ping to send or a verdict."""
        return min(
            self._ping_at,
            self._suspected_at + SUSPECT_SECONDS,
            self.heard_at + self.silence_max,
            self.proved_at + PROOF_FACTOR * self.silence_max,
        )
