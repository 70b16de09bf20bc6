"""What everything in a simulated world shares: virtual time, one source of chance, the switches.

Laws: nothing happens but by the agenda, in the order of times and, at one time, of entering. All chance
comes from one generator, so that a seed is a world, whatever the machine, the day or the hash seed.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from heapq import heappop, heappush
from typing import TypeVarTuple

import attrs

from raftkit.driver import Recorder
from raftkit.testing.world.swarm import Swarm

__all__ = ["Agenda", "Stage"]

Arguments = TypeVarTuple("Arguments")


class Agenda:
    """What happens when. The unit of time is the tick; between ticks it goes on too."""

    def __init__(self) -> None:
        self.now = 0.0
        self._order = 0
        self._events: list[tuple[float, int, Callable[..., None], tuple[object, ...]]] = []

    def after(
        self, delay: float, action: Callable[[*Arguments], None], *arguments: *Arguments
    ) -> None:
        """Do `action(*arguments)` in `delay` ticks."""
        self._order += 1
        heappush(self._events, (self.now + delay, self._order, action, arguments))

    def advance(self) -> None:
        """Go to the next thing to happen, and let it."""
        self.now, _, action, arguments = heappop(self._events)
        action(*arguments)


@attrs.define(kw_only=True)
class Stage:
    """Shared by all of one world."""

    rng: random.Random
    "The only source of chance."
    swarm: Swarm
    "The switches in force; replaced when the world calms down."
    agenda: Agenda = attrs.field(factory=Agenda)
    "Virtual time."
    trace: Callable[[str], None] | None = None
    "Is told what happens, where somebody wants to know."
    recorder: Recorder | None = None
    "Records the cores, where somebody wants to replay them."

    def around(self, mean: float) -> float:
        """A time around `mean`: uniform up to twice of it."""
        return 2.0 * mean * self.rng.random()

    def tell(self, what: str) -> None:
        """For the trace, if there is one. On hot paths ask for `trace` before making the text."""
        if self.trace is not None:
            self.trace(f"{self.agenda.now:9.2f} {what}")

    def note(self, what: str) -> None:
        """For the trace and the recording: something that no core did."""
        self.tell(what)
        if self.recorder is not None:
            self.recorder.note(what)
