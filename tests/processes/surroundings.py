"""What the machine did meanwhile: a pause of the group may be one of the disk, or of everything.

    async with trio.open_nursery() as nursery:
        surroundings = Surroundings(directory)
        nursery.start_soon(surroundings.watch)
        ...
    surroundings.longest_sync(begin, end), surroundings.longest_lag(begin, end)

All times are seconds of `time.monotonic`.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import attrs
import trio

__all__ = ["Surroundings"]

SYNC_EVERY = 0.05
LOOK_EVERY = 0.01


@attrs.define(eq=False)
class Surroundings:
    """Syncs a file of its own beside the group's, and looks how late it wakes."""

    directory: Path
    _syncs: list[tuple[float, float]] = attrs.field(init=False, factory=list[tuple[float, float]])
    "When each began and ended."
    _sleeps: list[tuple[float, float]] = attrs.field(init=False, factory=list[tuple[float, float]])
    "When each should have ended, and when it did."

    async def watch(self) -> None:
        """Until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch_disk)
            nursery.start_soon(self._watch_processor)

    def longest_sync(self, begin: float, end: float) -> float:
        """Of the syncs that were under way between these moments."""
        return _longest(self._syncs, begin, end)

    def longest_lag(self, begin: float, end: float) -> float:
        """How late this process, which only asks the nodes, was woken between these moments."""
        return _longest(self._sleeps, begin, end)

    async def _watch_disk(self) -> None:
        with (self.directory / "surroundings").open("wb", buffering=0) as file:

            def sync() -> None:
                began = time.monotonic()
                file.write(b"x")
                os.fdatasync(file.fileno())
                self._syncs.append((began, time.monotonic()))

            while True:
                await trio.to_thread.run_sync(sync)
                await trio.sleep(SYNC_EVERY)

    async def _watch_processor(self) -> None:
        while True:
            due = time.monotonic() + LOOK_EVERY
            await trio.sleep(LOOK_EVERY)
            self._sleeps.append((due, time.monotonic()))


def _longest(spans: list[tuple[float, float]], begin: float, end: float) -> float:
    return max((b - a for a, b in spans if a < end and b > begin), default=0.0)
