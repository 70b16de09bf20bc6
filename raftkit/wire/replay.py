"""Which numbers were heard: a datagram that somebody recorded and sends again is heard once.

(RFC 4303 §3.4.3)
"""

from __future__ import annotations

from typing import Final

import attrs

__all__ = ["REPLAY_BITS", "ReplayWindow"]

REPLAY_BITS: Final = 4096
"How far behind the highest number heard another may be and still be heard. A tenth of a second's worth."


@attrs.define
class ReplayWindow:
    """The numbers heard on one unordered stream of one sender. Takes `REPLAY_BITS` of memory."""

    _end: int = 0
    "One above the highest number heard. What is `REPLAY_BITS` or more below it counts as heard."
    _heard: int = attrs.field(default=0, init=False)
    "Bit b: whether number `_end` - 1 - b was."

    @classmethod
    def above(cls, number: int) -> ReplayWindow:
        """A window in which `number` and all before it were heard."""
        window = cls(number + 1)
        window._heard = _ALL
        return window

    def hear(self, number: int) -> bool:
        """Whether `number` is heard for the first time, as far as can be told. From now on it was heard."""
        ahead = number + 1 - self._end
        if ahead > 0:
            self._heard = (self._heard << min(ahead, REPLAY_BITS) & _ALL) | 1
            self._end = number + 1
            return True
        if -ahead >= REPLAY_BITS or self._heard >> -ahead & 1:
            return False
        self._heard |= 1 << -ahead
        return True


_ALL: Final = (1 << REPLAY_BITS) - 1
