"""Names the commands, clock entries and upgrades that hold up a node: nothing is sent or heard meanwhile.

Laws: it measures and tells, and changes nothing that is replicated. Each is an event; the log gets a line
at most once in `QUIET_SECONDS`.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable

import attrs

from raftkit.driver.events import SlowCommand
from raftkit.model import Index, Kind, Run

__all__ = ["Watchdog"]

QUIET_SECONDS = 60.0
"After a warning, until the next."

_BY_ITSELF = {Kind.CLOCK: "on_clock", Kind.VERSION: "the upgrade"}
"What runs at entries that no caller's command is in."

logger = logging.getLogger("raftkit")


@attrs.define(eq=False, kw_only=True)
class Watchdog:
    """Measures each command that a node applies."""

    id: str
    "Of the node, for messages."
    limit_seconds: float
    "One heartbeat interval: a leader that is busy for longer is late."
    name: Callable[[bytes], str]
    "Says what a command's payload calls."
    publish: Callable[[SlowCommand], None]
    clock: Callable[[], float]
    "See `Clock.work`."
    _warned: float = attrs.field(init=False, default=-math.inf)
    "When the last warning was logged."

    def watch(self, run: Run) -> Callable[[Index], None]:
        """Begin to measure `run`; what comes back is to be called after each of its commands."""
        since = self.clock()

        def note(index: Index) -> None:
            nonlocal since
            before, since = since, self.clock()
            if since - before > self.limit_seconds:
                command = _BY_ITSELF.get(run.kind(index)) or self.name(
                    run.payloads[index - run.first]
                )
                self._tell(index, command, since - before)

        return note

    def _tell(self, index: Index, command: str, seconds: float) -> None:
        self.publish(SlowCommand(index=index, command=command, seconds=seconds))
        now = self.clock()
        if now - self._warned >= QUIET_SECONDS:
            self._warned = now
            logger.warning(
                "%s: the command at index %s, %s, took %.3f s, in which nothing else ran; beyond %.3f s "
                "heartbeats are late: make it do less at once, or give this node more of a processor",
                self.id, index, command, seconds, self.limit_seconds,
            )  # fmt: skip
