"""How long nobody can write while leadership changes: planned, or because the leader is silent, or dead.

Laws: one writer, at a member that stays, writes one value after another. What takes longer than
`ATTEMPT_SECONDS` is given up and counts as failed, so that the gap is the group's and not a caller's
patience. The gap is the longest time between two acknowledged writes; what follows the last one counts, too.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from time import perf_counter
from typing import Literal

import attrs
import trio

from raftkit import RaftError

__all__ = ["FAULTS", "Fault", "Gap", "Probe"]

Fault = Literal["transfer", "silence", "kill"]
"The leader is told to hand over, or stopped (SIGSTOP, later SIGCONT), or killed (SIGKILL)."
FAULTS: tuple[Fault, ...] = ("transfer", "silence", "kill")
"In this order one group can suffer them all."

ATTEMPT_SECONDS = 0.2
PAUSE_SECONDS = 0.005
"After a write that failed."
_WORDS: Mapping[Fault, str] = {
    "transfer": "planned hand-over",
    "silence": "leader silent",
    "kill": "leader killed",
}


@attrs.frozen(kw_only=True)
class Gap:
    """What one fault did to the writes."""

    machine: str
    "bytes or typed."
    fault: Fault
    gap_ms: float
    "The longest time between two acknowledged writes."
    acknowledged: int
    "Writes."
    failed: int
    "Attempts without an answer, or with an error."

    def as_words(self) -> str:
        """One line."""
        return (
            f"{self.machine}, {_WORDS[self.fault]}: no write for {self.gap_ms:,.0f} ms, "
            f"{self.failed} of {self.acknowledged + self.failed} attempts failed"
        )

    def faults(self) -> Iterator[str]:
        """What makes the figure worthless, if anything does."""
        if not self.acknowledged:
            yield "no write was acknowledged"


@attrs.define(eq=False)
class Probe:
    """One writer, one value after another."""

    _write: Callable[[int], Awaitable[object]]
    gap_seconds: float = attrs.field(init=False, default=0.0)
    "The longest so far; after `run`, of all."
    acknowledged: int = attrs.field(init=False, default=0)
    failed: int = attrs.field(init=False, default=0)

    async def run(self, seconds: float) -> None:
        """Write for so long, but begin to count with the first write that is acknowledged."""
        ends, last = perf_counter() + seconds, None
        while (now := perf_counter()) < ends:
            if await self._is_written():
                now = perf_counter()
                self.gap_seconds = max(self.gap_seconds, now - (last or now))
                last = now
            else:
                await trio.sleep(PAUSE_SECONDS)
        self.gap_seconds = max(self.gap_seconds, ends - (last or ends - seconds))

    async def _is_written(self) -> bool:
        """One attempt."""
        try:
            with trio.fail_after(ATTEMPT_SECONDS):
                await self._write(self.acknowledged + self.failed)
        except (RaftError, trio.TooSlowError):
            self.failed += 1
            return False
        self.acknowledged += 1
        return True
