"""Whether this node's disk stands still: a deadline on the oldest write that is under way.

Laws: the core is told once of each write that is late, and by its completion that it is not any more. Events
tell of the first one that is late, and of when none is.
"""

from __future__ import annotations

import logging
import math
from collections import deque
from collections.abc import Callable

import attrs
import trio

from raftkit.core import Raft
from raftkit.driver.events import DiskRecovered, DiskStalled
from raftkit.messages import StorageStalled, Write
from raftkit.model import NodeId
from raftkit.storage import Writer

__all__ = ["Stalling"]

STALL_SECONDS_MIN = 1.0
"By default a write that takes less than this is never late, however short election timeouts are."

logger = logging.getLogger("raftkit")


@attrs.define(eq=False, kw_only=True)
class Stalling:
    """The writes of a node, and when each was given to its writer."""

    id: NodeId
    "Of the node."
    seconds: float | None
    "A write that takes longer than this is late; None: by the group's election timeout."
    raft: Callable[[], Raft | None]
    "The core, to be read; None while unborn."
    publish: Callable[[DiskStalled | DiskRecovered], None]
    _since: float | None = attrs.field(init=False, default=None)
    "The disk stands still: what it is late with was given to it then, in trio's time. None: it does not."
    _writes: deque[tuple[int, float]] = attrs.field(init=False, factory=deque[tuple[int, float]])
    "Sequence of each write under way, and when it was given."
    _told: int = attrs.field(init=False, default=-1)
    "Sequence of the last one that the core was told to be late."

    def submit(self, writer: Writer, write: Write) -> bool:
        """Give `write` to the writer, and note when. Whether it is durable already."""
        given = trio.current_time()
        durable = writer.submit(write)
        if not durable:
            self._writes.append((write.sequence, given))
        return durable

    def on_persisted(self, sequence: int) -> None:
        """Writes up to that one are on disk. If the next is late as well, the disk still stands."""
        while self._writes and self._writes[0][0] <= sequence:
            self._writes.popleft()
        now = trio.current_time()
        if self._since is not None and not self._is_late(now):
            lasted, self._since = now - self._since, None
            logger.warning("%s: its disk finishes writes again, after %.1f s", self.id, lasted)
            self.publish(DiskRecovered(seconds=lasted))

    def collect(self, now: float) -> list[StorageStalled]:
        """What the core is to be told: that the oldest write is late, if it is and was not told."""
        if not self._is_late(now) or self._told == self._writes[0][0]:
            return []
        self._told, since = self._writes[0]
        if self._since is None:
            self._since = since
            logger.warning(
                "%s: its disk has been at a write for %.1f s: if others do better, this node leads no more",
                self.id,
                now - since,
            )
            self.publish(DiskStalled(seconds=now - since))
        return [StorageStalled(sequence=self._told)]

    def deadline(self) -> float:
        """When `collect` has something to say at the latest, in trio's time; inf if no write is under way."""
        if not self._writes or self._writes[0][0] == self._told:
            return math.inf
        return self._writes[0][1] + self.patience

    @property
    def patience(self) -> float:
        """How long a write may take, in seconds."""
        raft = self.raft()
        if self.seconds is not None or raft is None:
            return STALL_SECONDS_MIN if self.seconds is None else self.seconds
        _, high = raft.configuration.settings.election_timeout_ms
        return max(STALL_SECONDS_MIN, 2 * high / 1000)

    @property
    def stalled_seconds(self) -> float | None:
        """How long the disk has been at the write that it is late with; None if it is not."""
        return None if self._since is None else trio.current_time() - self._since

    def explain(self) -> list[str]:
        """In words, that the disk stands still; nothing if it does not."""
        seconds = self.stalled_seconds
        if seconds is None:
            return []
        words = (
            f"this disk has been at a write for {seconds:.1f} s, so this node begins no campaign, and leads "
            "only while no quorum of others has what waits here: look at the disk, and what else uses it"
        )
        return [words]

    def _is_late(self, now: float) -> bool:
        # Added as in `deadline`, or rounding would wake the loop for nothing, again and again.
        return bool(self._writes) and now >= self._writes[0][1] + self.patience
