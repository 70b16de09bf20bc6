"""A closed loop: so many tasks, each with one write or read under way, as a program with much to do at once.

Laws: an operation is measured if it began in the measured time, however long it takes: a stall can't hide by
outlasting the measurement. Nothing is kept for it but four bytes, and nothing is computed from
them here: that would hold up the node whose process this is.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Awaitable, Callable
from itertools import count
from time import perf_counter_ns

import attrs
import trio

from raftkit import RaftError

__all__ = ["Load"]

PAUSE_SECONDS = 0.01
"After a write that failed."
_US_MAX = 2**32 - 1
"More than an hour: what four bytes hold."


@attrs.define(eq=False, kw_only=True)
class Load:
    """One run of the loop."""

    outstanding: int
    "Writes and reads under way at any time."
    write: Callable[[int], Awaitable[object]]
    "Writes a value made of this number; returns when that is acknowledged."
    read: Callable[[int], Awaitable[object]] | None = None
    "Reads what this number chooses. None only where all operations write."
    writes_in_ten: int = 10
    "Operations that write, of every ten with consecutive numbers."
    latencies_us: array[int] = attrs.field(init=False, factory=lambda: array("I"))
    "Of the measured operations, in the order in which they were answered."
    acknowledged: int = attrs.field(init=False, default=0)
    "Writes, those of the warm-up included."
    errors: Counter[str] = attrs.field(init=False, factory=Counter[str])
    "Operations that failed, by the error's name; those of the warm-up included."
    measured_seconds: float = attrs.field(init=False, default=0.0)
    "How long the measured time was."
    _numbers: count[int] = attrs.field(init=False, factory=count)
    _measuring: bool = attrs.field(init=False, default=False)
    _over: bool = attrs.field(init=False, default=False)

    async def run(
        self, warm_up: float, seconds: float, at_edge: Callable[[], Awaitable[None]]
    ) -> None:
        """Write and read for `warm_up` and then for `seconds`, which are measured, until all is answered.

        `at_edge` is called when the measured time begins, and when it has ended.
        """
        async with trio.open_nursery() as nursery:
            for _ in range(self.outstanding):
                nursery.start_soon(self._go_on)
            await trio.sleep(warm_up)
            self._measuring, began = True, perf_counter_ns()
            await at_edge()
            await trio.sleep_until(trio.current_time() + seconds - _seconds_since(began))
            self._over, self.measured_seconds = True, _seconds_since(began)
            await at_edge()

    async def _go_on(self) -> None:
        """One operation after another."""
        while not self._over:
            measured, began = self._measuring, perf_counter_ns()
            number = next(self._numbers)
            try:
                if number % 10 < self.writes_in_ten:
                    await self.write(number)
                    self.acknowledged += 1
                else:
                    assert self.read is not None
                    await self.read(number)
            except RaftError as error:
                self.errors[type(error).__name__] += 1
                await trio.sleep(PAUSE_SECONDS)
                continue
            if measured:
                self.latencies_us.append(min((perf_counter_ns() - began) // 1000, _US_MAX))


def _seconds_since(began: int) -> float:
    return (perf_counter_ns() - began) / 1e9
