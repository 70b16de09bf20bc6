"""Where a node cuts its snapshots: at indexes that the log alone decides, so the same at every node (§5.1).

Laws: whether a snapshot is due behind an entry follows from the entries since the last cut and from the
settings in force before that entry; not from how entries were batched, nor from what this node did about
earlier cuts. The count is a part of the replicated state: a snapshot that a user asked for between two cuts
holds it, so who restores that one cuts where the others do. There is no clock here.
"""

from __future__ import annotations

from bisect import bisect_left
from itertools import accumulate

import attrs

from raftkit.membership import Settings
from raftkit.model import Index, Kind, Run

__all__ = ["Cuts"]

NS_PER_MS = 1_000_000


@attrs.define(eq=False)
class Cuts:
    """What was counted since the last cut."""

    index: Index = Index(0)
    "Of the entry behind which it was; 0 before the first."
    size: int = 0
    "Payload bytes of the entries since."
    elapsed_ns: int = 0
    "Stamp of the entry at `index`."

    def take(self, run: Run, settings: Settings) -> tuple[Run, bool]:
        """The beginning of `run` that is to be applied first, and whether a snapshot is due behind it.

        It ends where a snapshot is due, or with a configuration, whose settings are in force from the
        next entry on; else it is all of `run`. Counts nothing: `count` does, once it is applied.
        """
        assert run.first > self.index
        if run.kinds is not None and Kind.CONFIGURATION in run.kinds:
            run = run.cut(run.first, Index(run.first + run.kinds.index(Kind.CONFIGURATION)))
        due = self._due(run, settings)
        return (run, False) if due is None else (run.cut(run.first, due), True)

    def count(self, part: Run, *, cut: bool) -> None:
        """`part`, which `take` gave, is applied; `cut` says whether a snapshot was due behind it."""
        if cut:
            self.index, self.size, self.elapsed_ns = part.last, 0, part.elapsed_ns
        else:
            self.size += part.size

    def _due(self, run: Run, settings: Settings) -> Index | None:
        """The first entry of `run` behind which a snapshot is due."""
        entries, size = settings.snapshot_entries, settings.snapshot_bytes
        elapsed_ns = settings.snapshot_elapsed_ms * NS_PER_MS
        due: list[int] = []
        if elapsed_ns and run.elapsed_ns - self.elapsed_ns >= elapsed_ns:
            due.append(run.first)  # all entries of a run have one stamp
        if entries and run.last - self.index >= entries:
            due.append(max(run.first, self.index + entries))
        if size and self.size + run.size >= size:
            sums = list(accumulate(map(len, run.payloads), initial=self.size))
            due.append(run.first + max(bisect_left(sums, size) - 1, 0))
        return Index(min(due)) if due else None
