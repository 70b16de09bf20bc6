"""What a command may know beside its arguments and the machine's fields: `self.ctx`.

Law: everything here comes from the log or is computed from it, so it is the same on every replica and
on every Python. There is no clock, no identity of the node and no entropy.
"""

from __future__ import annotations

from collections.abc import MutableSequence, Sequence
from functools import partial
from hashlib import blake2b
from typing import TypeVar

import attrs

from raftkit.errors import LocalProtocolError

__all__ = ["Context", "Rng", "Unasked"]

T = TypeVar("T")
_MASK = (1 << 64) - 1


class Rng:
    """A small generator whose numbers will never change: SplitMix64 (Steele, Lea and Flood 2014).

    Python promises the sequence of its own only for `random()`, and replicas may run two Pythons.
    Not for secrets: whoever reads the log knows what comes next.
    """

    __slots__ = ("_state",)

    def __init__(self, seed: int) -> None:
        self._state = seed & _MASK

    def _next(self) -> int:
        self._state = (self._state + 0x9E3779B97F4A7C15) & _MASK
        mixed = self._state
        mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & _MASK
        return mixed ^ (mixed >> 31)

    def random(self) -> float:
        """A float in [0, 1), a multiple of 2⁻⁵³."""
        return float(self._next() >> 11) * 2.0**-53

    def randrange(self, start: int, stop: int | None = None) -> int:
        """An int in [start, stop), or in [0, start); each equally likely.

        Raises LocalProtocolError if there is none.
        """
        low, high = (0, start) if stop is None else (start, stop)
        if high <= low:
            raise LocalProtocolError(f"randrange({low}, {high}): there is no number in it")
        return low + self._below(high - low)

    def choice(self, items: Sequence[T]) -> T:
        """One of `items`. Raises LocalProtocolError if there is none."""
        return items[self.randrange(len(items))]

    def shuffle(self, items: MutableSequence[T]) -> None:
        """Puts `items` into any order, each equally likely (Fisher and Yates)."""
        for last in range(len(items) - 1, 0, -1):
            other = self._below(last + 1)
            items[last], items[other] = items[other], items[last]

    def _below(self, bound: int) -> int:
        # Drawing again, rather than taking the remainder, keeps every number equally likely.
        bits = (bound - 1).bit_length()
        while True:
            drawn = 0
            for _ in range(0, bits, 64):
                drawn = drawn << 64 | self._next()
            drawn >>= -bits % 64
            if drawn < bound:
                return drawn


@attrs.define(kw_only=True)
class Context:
    """`self.ctx` of the command being applied. Of no use once the command has returned."""

    index: int
    "The entry's place in the log; unique, growing."
    term: int
    "The term of the leader that made the entry."
    time_ns: int
    "Leaders' wall clock, made monotone, in ns since 1970. For people and schedules."
    elapsed_ns: int
    "Leaders' monotonic clocks added up, in ns. For every expiry."
    cluster: bytes = attrs.field(default=bytes(16), repr=False)
    "The cluster's id; with `index` it seeds `rng`."
    _rng: Rng | None = attrs.field(default=None, init=False, repr=False, eq=False)

    @property
    def rng(self) -> Rng:
        """Chance that is the same on every replica, seeded by cluster and index. Made at first use."""
        if self._rng is None:
            seed = blake2b(self.cluster + self.index.to_bytes(8, "big"), digest_size=8).digest()
            self._rng = Rng(int.from_bytes(seed, "big"))
        return self._rng


Unasked = partial[Context]
"Makes the context of a command that has not asked for it. Most never do, and it takes longer than they do."
