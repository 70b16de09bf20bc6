"""A server's disk in the simulated world: it keeps what was performed, and loses what was queued.

Laws: writes are performed in the order in which they were issued, each in the order of its fields. A crash
loses what was not performed, any suffix of it, and cuts one write anywhere (`messages.Write`).
"""

from __future__ import annotations

import random
import zlib
from bisect import bisect_right
from collections import deque
from operator import attrgetter

import attrs

from raftkit.messages import PersistentState, SnapshotWrite, Write
from raftkit.model import Identity, Index, Run, Term
from raftkit.snapshot import SnapshotBeginning, SnapshotMeta

__all__ = ["LogImage", "WorldDisk"]

_FIRST = attrgetter("first")


@attrs.define
class LogImage:
    """A log as it would be read: a term an entry for looking up, the runs for reading back."""

    base_index: Index = Index(0)
    "The entry before the first."
    base_term: Term = Term(0)
    "Its term."
    terms: list[Term] = attrs.field(factory=list[Term])
    "Of the entries from `base_index` + 1 on."
    runs: list[Run] = attrs.field(factory=list[Run])
    "The same entries."

    @property
    def last_index(self) -> Index:
        """The last entry, or the base where there is none."""
        return Index(self.base_index + len(self.terms))

    @property
    def last_term(self) -> Term:
        """Its term."""
        return self.terms[-1] if self.terms else self.base_term

    def term(self, index: Index) -> Term | None:
        """Term of the entry at `index`, None where there is none (any more)."""
        offset = index - self.base_index
        if 0 < offset <= len(self.terms):
            return self.terms[offset - 1]
        return self.base_term if offset == 0 else None

    def holds(self, index: Index, term: Term) -> bool:
        """Whether the entry (index, term), which must be committed if it is compacted, is in this log."""
        return index < self.base_index or self.term(index) == term

    def append(self, run: Run) -> None:
        """Append `run`, which must begin after the last entry."""
        assert run.first == self.last_index + 1, "runs are contiguous"
        self.runs.append(run)
        self.terms.extend([run.term] * len(run.payloads))

    def truncate(self, first: Index) -> None:
        """Remove `first` and all after it."""
        assert self.base_index < first <= self.last_index, "only what is there is truncated"
        del self.terms[first - self.base_index - 1 :]
        while self.runs and self.runs[-1].last >= first:
            run = self.runs.pop()
            if run.first < first:
                self.runs.append(run.cut(run.first, Index(first - 1)))

    def compact(self, index: Index) -> None:
        """Let the log begin after `index`. Nothing happens if it does already."""
        if index <= self.base_index:
            return
        term = self.term(index)
        assert term is not None, "only what is there is compacted"
        gone = bisect_right(self.runs, index, key=_FIRST)
        cut = self.runs[gone - 1]
        del self.runs[:gone], self.terms[: index - self.base_index]
        if cut.last > index:
            self.runs.insert(0, cut.cut(Index(index + 1), cut.last))
        self.base_index, self.base_term = index, term

    def reset(self, index: Index, term: Term) -> None:
        """A snapshot up to `index` takes the place of everything."""
        self.terms.clear()
        self.runs.clear()
        self.base_index, self.base_term = index, term

    def change(self, write: Write) -> None:
        """Do what `write` says about the log."""
        if write.chunk is not None and write.chunk.last:
            self.reset(write.chunk.snapshot.index, write.chunk.snapshot.term)
        if write.truncate_from is not None:
            self.truncate(write.truncate_from)
        for run in write.runs:
            self.append(run)
        if write.compact_to is not None:
            self.compact(write.compact_to)

    def read(self, first: Index, last: Index, bytes_max: int) -> tuple[Run, ...]:
        """Entries from `first` to `last`, as many as fit but at least one; empty where `first` is gone."""
        if not self.base_index < first <= min(last, self.last_index):
            return ()
        found: list[Run] = []
        for place in range(bisect_right(self.runs, first, key=_FIRST) - 1, len(self.runs)):
            run = self.runs[place]
            for index in range(max(first, run.first), min(last, run.last) + 1):
                bytes_max -= len(run.payloads[index - run.first])
                if bytes_max < 0 and index > first:
                    if index > max(first, run.first):
                        found.append(run.cut(max(first, run.first), Index(index - 1)))
                    return tuple(found)
            if run.first > last:
                break
            found.append(run.cut(max(first, run.first), min(last, run.last)))
        return tuple(found)


@attrs.define
class WorldDisk:
    """One data directory, and the writes on their way to it."""

    term: Term
    "Durable current_term."
    voted_for: Identity | None
    "Durable vote of that term."
    log: LogImage
    "The durable log."
    snapshot: SnapshotMeta | None = None
    "The newest whole snapshot."
    snapshot_data: bytes = b""
    "Its file."
    sent: tuple[SnapshotMeta, bytes] | None = None
    "The snapshot last read from, and its file, which stays while the log reaches back to it."
    receiving: SnapshotMeta | None = None
    "The snapshot whose parts are being written."
    received: bytes = b""
    "Those parts."
    queue: deque[Write] = attrs.field(factory=deque[Write])
    "Issued and not performed."
    sequence: int = 0
    "Of the last write performed."

    def perform(self) -> Write:
        """Make the oldest queued write durable."""
        write = self.queue.popleft()
        self._perform(write)
        return write

    def crash(self, rng: random.Random) -> list[Write]:
        """Lose what is queued but a prefix, and some of a snapshot's parts; returns what became durable."""
        kept, steps = rng.randint(0, len(self.queue)), 0
        if kept < len(self.queue):
            steps = rng.randint(0, 3 + sum(map(len, self.queue[kept].runs)))
        survived = self.lose(kept, steps)
        if self.received:  # parts are synced from time to time, not each
            self.received = self.received[: rng.randint(0, len(self.received))]
        return survived

    def lose(self, kept: int = 0, steps: int = 0) -> list[Write]:
        """Lose what is queued but the first `kept` writes and the first `steps` changes of the next one.

        Returns what became durable.
        """
        survived = [self.perform() for _ in range(kept)]
        if self.queue:
            torn = _prefix(self.queue.popleft(), steps)
            self._perform(torn)
            survived.append(torn)
        self.queue.clear()
        self.sent = None
        return survived

    def copy(self) -> WorldDisk:
        """What is durable now, as a backup would keep it."""
        log = self.log
        return attrs.evolve(
            self,
            log=LogImage(log.base_index, log.base_term, list(log.terms), list(log.runs)),
            receiving=None,
            received=b"",
            queue=deque(),
        )

    def take_snapshot(self, snapshot: SnapshotMeta, data: bytes) -> None:
        """A snapshot of this server's own machine is durable."""
        self.snapshot, self.snapshot_data = snapshot, data

    def read_snapshot(self, snapshot: SnapshotMeta, offset: int, bytes_max: int) -> bytes | None:
        """A part of that snapshot's file; None if a newer one has taken its place."""
        if snapshot == self.snapshot:
            self.sent = snapshot, self.snapshot_data
        if self.sent is None or self.sent[0] != snapshot or snapshot.index < self.log.base_index:
            return None
        return self.sent[1][offset : offset + bytes_max]

    def recover(self) -> PersistentState:
        """What storage finds on opening."""
        return PersistentState(
            term=self.term,
            voted_for=self.voted_for,
            base_index=self.log.base_index,
            base_term=self.log.base_term,
            snapshot=self.snapshot,
            runs=tuple(self.log.runs),
            write_sequence=self.sequence,
            received=self._beginning(),
        )

    def _beginning(self) -> SnapshotBeginning | None:
        """What there is of a snapshot that reaches further than all else."""
        it = self.receiving
        if it is None or not self.received or self.log.holds(it.index, it.term):
            return None
        if self.snapshot is not None and self.snapshot.index >= it.index:
            return None
        return SnapshotBeginning(
            snapshot=it, size=len(self.received), checksum=zlib.crc32(self.received)
        )

    def _perform(self, write: Write) -> None:
        assert write.sequence > self.sequence, "sequences increase"
        self.sequence = write.sequence
        if write.hard_state is not None:
            self.term, self.voted_for = write.hard_state
        if write.chunk is not None:
            self._receive(write.chunk)
        self.log.change(write)

    def _receive(self, chunk: SnapshotWrite) -> None:
        if chunk.offset == 0:
            self.receiving, self.received = chunk.snapshot, b""
        assert self.receiving == chunk.snapshot, "a snapshot's parts are not mixed with another's"
        assert len(self.received) == chunk.offset, "they follow each other"
        self.received += chunk.data
        if chunk.last:
            assert zlib.crc32(self.received) == chunk.snapshot.checksum, (
                "the whole has its checksum"
            )
            self.snapshot, self.snapshot_data = chunk.snapshot, self.received
            self.receiving, self.received = None, b""


def _prefix(write: Write, steps: int) -> Write:
    """The first few of the changes that `write` makes, in their order; each entry is one."""
    runs: list[Run] = []
    left = steps - 3
    for run in write.runs:
        if left <= 0:
            break
        runs.append(run.cut(run.first, Index(min(run.last, run.first + left - 1))))
        left -= len(run)
    return Write(
        sequence=write.sequence,
        hard_state=write.hard_state if steps >= 1 else None,
        chunk=write.chunk if steps >= 2 else None,
        truncate_from=write.truncate_from if steps >= 3 else None,
        runs=tuple(runs),
    )
