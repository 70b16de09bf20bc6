"""The log: its segments in order, what is live in them, and how each step of a `Write` becomes records.

Laws: what is written and what is recovered go through the same `on_…` methods, so the log in memory is what
opening would find. Nothing here is durable before `sync`. A segment is removed only when a durable BASE or
RESET record has said that it is not needed any more.
"""

from __future__ import annotations

from collections.abc import Iterator

import attrs

from raftkit.driver_messages import Scope
from raftkit.messages import Write
from raftkit.model import Identity, Index, Run, Term
from raftkit.storage import records, segments
from raftkit.storage.base import Disk
from raftkit.storage.records import Record, RecordType
from raftkit.storage.segments import PlacedRun, Segment, SegmentHeader

__all__ = ["Layout", "Log"]


@attrs.frozen(kw_only=True)
class Layout:
    """Sizes of files."""

    segment_bytes: int = 64 * 1024 * 1024
    "A segment that has reached this is sealed; one record may go beyond."
    preallocate_bytes: int = 512 * 1024
    "Zeros are written ahead in multiples of this."
    reserve_bytes: int = 1024 * 1024
    "Kept back so that a node with a full disk can still be started and stopped in order."


@attrs.define(kw_only=True)
class Log:
    """One log. Methods that write raise OSError; the storage above makes that final."""

    disk: Disk
    "Where the segments are."
    scope: Scope
    "Goes into segment headers."
    owner: Identity
    "Goes into segment headers."
    layout: Layout
    "Sizes."
    segments: list[Segment] = attrs.field(factory=list[Segment])
    "Oldest first, numbers without a gap; the last one is appended to."
    hard_state: tuple[Term, Identity | None] = (Term(0), None)
    "Term and vote."
    base_index: Index = Index(0)
    "The entry before the first live one."
    base_term: Term = Term(0)
    "Its term."
    last_index: Index = Index(0)
    "The last live entry, or `base_index`."
    first_segment: int = 1
    "The oldest segment that is needed."
    sequence: int = 0
    "Of the last record."

    @classmethod
    def found(cls, disk: Disk, scope: Scope, owner: Identity, layout: Layout, entry: Run) -> Log:
        """The log of a group that begins with `entry`, durable at once in segment 1."""
        log = cls(disk=disk, scope=scope, owner=owner, layout=layout, hard_state=(entry.term, None))
        head = [*log._head(), (RecordType.RUN, records.encode_run_body(entry))]
        log.segments.append(log._begin(1, 0, head))
        log.last_index = entry.last
        return log

    @property
    def end(self) -> tuple[int, int]:
        """Up to where it is durable: number of a segment, and an offset in it."""
        last = self.segments[-1]  # once, since the writer may be about to begin another
        return last.header.number, last.durable

    # ── reading ──────────────────────────────────────────────────────────────────────────────────────

    def term_at(self, index: Index) -> Term | None:
        """Term of the entry at `index`, or of the base; None where the log can't tell."""
        if index == self.base_index:
            return self.base_term
        place = self.find(index) if self.base_index < index <= self.last_index else None
        return None if place is None else Term(place[0].stretches.terms[place[1]])

    def runs(self, first: Index, last: Index) -> Iterator[Run]:
        """Live entries `first` to `last` as they lie on disk. Raises LogCorrupt."""
        return (placed.run for placed in self.placed_runs(first, last))

    def placed_runs(self, first: Index, last: Index) -> Iterator[PlacedRun]:
        """The same, with where each run lies. Raises LogCorrupt."""
        assert self.base_index < first
        assert last <= self.last_index
        while first <= last:
            place = self.find(first)
            assert place is not None, "the log has no gap"
            segment, position = place
            end = min(last, self._stretch_end(segment, position))
            yield from segment.runs(position, first, end)
            first = Index(end + 1)

    def find(self, index: Index) -> tuple[Segment, int] | None:
        """The stretch that holds `index`, if it is live."""
        for segment in reversed(self.segments):
            position = segment.stretches.find(index)
            if position >= 0:
                return segment, position
        return None

    def _stretch_end(self, segment: Segment, position: int) -> Index:
        """The last live entry of a stretch: the one before the next stretch's first."""
        if position + 1 < len(segment.stretches):
            return Index(segment.stretches.firsts[position + 1] - 1)
        oldest = self.segments[0].header.number
        for later in self.segments[segment.header.number - oldest + 1 :]:
            if later.stretches:
                return Index(later.stretches.firsts[0] - 1)
        return self.last_index

    # ── writing ──────────────────────────────────────────────────────────────────────────────────────

    def add(self, write: Write, *, installed: bool = False) -> None:
        """Add the records of `write` in the order of its fields.

        `installed` says that its chunk completed a snapshot: the log is empty and begins after it.
        """
        assert write.sequence > self.sequence, "sequences increase"
        self.sequence = write.sequence
        if write.hard_state is not None:
            self._add(RecordType.HARD_STATE, records.encode_hard_state(*write.hard_state))
            self.on_hard_state(*write.hard_state)
        if installed and write.chunk is not None:
            self._add_reset(write.chunk.snapshot.index, write.chunk.snapshot.term)
        if write.truncate_from is not None:
            assert self.base_index < write.truncate_from <= self.last_index + 1
            self._add(RecordType.TRUNCATION, records.encode_truncation(write.truncate_from))
            self.on_truncation(self.segments[-1], write.truncate_from)
        for run in write.runs:
            assert run.first == self.last_index + 1, "entries are contiguous"
            offset = self._add(RecordType.RUN, records.encode_run_body(run))
            self.on_run(self.segments[-1], offset, run.first, run.last, run.term)
        if write.compact_to is not None and write.compact_to > self.base_index:
            self._add_base(write.compact_to)

    def prove(self) -> bool:
        """Add a proof record, unless one says the same already."""
        segment = self.segments[-1]
        if segment.proved == segment.end:
            return False
        self._add(RecordType.PROOF, ())
        segment.proved = segment.end
        return True

    def flush(self) -> bool:
        """Write what was added. Returns whether there is anything to sync."""
        self.segments[-1].flush(self.layout.preallocate_bytes)
        return self.segments[-1].durable < self.segments[-1].end

    def sync(self) -> None:
        """Make durable what was flushed."""
        self.segments[-1].sync()

    def make_ready(self) -> None:
        """Have zeros ahead, durably, so that the first records need no room on the disk."""
        self.segments[-1].extend(self.layout.preallocate_bytes)

    def remove_compacted(self) -> None:
        """Remove segments that are not needed any more. Call it when that is durable."""
        while self.segments[0].header.number < self.first_segment:
            segment = self.segments.pop(0)
            segment.file.close()
            self.disk.remove(segments.name_of(segment.header.number))

    def close(self) -> None:
        """Release all files."""
        for segment in self.segments:
            segment.file.close()

    def _add(self, type: RecordType, body: tuple[bytes, ...]) -> int:  # noqa: A002
        """Add a record to the last segment, or to a new one if that is full. Returns its offset."""
        self._make_room()
        return self.segments[-1].add(type, body, self.sequence)

    def _add_base(self, index: Index) -> None:
        """Add the record that gives up all entries up to `index`."""
        term = self.term_at(index)
        assert term is not None, "only what is in the log is compacted"
        self._make_room()  # first, since the segment of this record may be the oldest one needed
        place = self.find(Index(index + 1)) if index < self.last_index else None
        needed = self.segments[-1] if place is None else place[0]
        self._add(RecordType.BASE, records.encode_base(index, term, needed.header.number))
        self.on_base(index, term, needed.header.number)

    def _add_reset(self, index: Index, term: Term) -> None:
        """Add the record that gives up all entries for the snapshot at `index`."""
        self._make_room()
        number = self.segments[-1].header.number
        self._add(RecordType.RESET, records.encode_base(index, term, number))
        self.on_reset(self.segments[-1], index, term, number)

    def _make_room(self) -> None:
        """Where the last segment is full, begin another and seal that one. Syncs both.

        The order matters: the footer comes last, so that a sealed segment without a successor means
        that the successor was lost, not that a crash came between.
        """
        full = self.segments[-1]
        if full.end < self.layout.segment_bytes:
            return
        full.flush(self.layout.preallocate_bytes)
        full.sync()
        self.segments.append(self._begin(full.header.number + 1, full.chain, self._head()))
        full.seal(full.footer(self.last_index), self.sequence)

    def _head(self) -> list[tuple[RecordType, tuple[bytes, ...]]]:
        """What each segment repeats, so that older ones can go."""
        base = records.encode_base(self.base_index, self.base_term, self.first_segment)
        return [
            (RecordType.HARD_STATE, records.encode_hard_state(*self.hard_state)),
            (RecordType.BASE, base),
        ]

    def _begin(
        self, number: int, chain: int, head: list[tuple[RecordType, tuple[bytes, ...]]]
    ) -> Segment:
        """A new segment that follows on what the log is now."""
        previous_term = self.term_at(self.last_index)
        assert previous_term is not None
        header = SegmentHeader(
            scope=self.scope,
            owner=self.owner,
            number=number,
            head=0,
            first_index=Index(self.last_index + 1),
            previous_term=previous_term,
            chain=chain,
        )
        return segments.create(
            self.disk,
            header,
            head,
            sequence=self.sequence,
            preallocate_bytes=self.layout.preallocate_bytes,
        )

    # ── what records mean, written or read back ──────────────────────────────────────────────────────

    def on_hard_state(self, term: Term, voted_for: Identity | None) -> None:
        """HARD_STATE."""
        self.hard_state = (term, voted_for)

    def on_run(self, segment: Segment, offset: int, first: Index, last: Index, term: Term) -> None:
        """RUN, at `offset` of `segment`."""
        segment.place(first, term, offset)
        self.last_index = last

    def on_truncation(self, segment: Segment, first: Index) -> None:
        """TRUNCATION, in `segment`."""
        segment.cut = min(segment.cut, first)
        for each in self.segments:
            each.remove_from(first)
        self.last_index = Index(first - 1)

    def on_base(self, index: Index, term: Term, first_segment: int) -> None:
        """BASE."""
        self.base_index, self.base_term, self.first_segment = index, term, first_segment

    def on_reset(self, segment: Segment, index: Index, term: Term, first_segment: int) -> None:
        """RESET, in `segment`."""
        segment.cut = 0
        for each in self.segments:
            each.remove_from(Index(0))
        self.on_base(index, term, first_segment)
        self.last_index = index

    def on_record(self, segment: Segment, record: Record) -> None:
        """A record read back from `segment`. Raises MalformedError."""
        self.sequence = max(self.sequence, record.sequence)
        match record.type:
            case RecordType.HARD_STATE:
                self.on_hard_state(*records.decode_hard_state(record.body))
            case RecordType.RUN:
                self.on_run(segment, record.offset, *records.run_span(record.body))
            case RecordType.TRUNCATION:
                self.on_truncation(segment, records.decode_truncation(record.body))
            case RecordType.BASE:
                self.on_base(*records.decode_base(record.body))
            case RecordType.RESET:
                self.on_reset(segment, *records.decode_base(record.body))
            case RecordType.PROOF:
                segment.proved = record.end
            case RecordType.FOOTER:
                pass

    def on_footer(self, segment: Segment, record: Record) -> None:
        """FOOTER, instead of all records of `segment`. Raises MalformedError."""
        last, cut, stretches = records.decode_footer(record.body)
        if cut != segments.NO_CUT:
            self.on_truncation(segment, Index(cut))
        segment.cut = cut
        segment.stretches = segments.Stretches.decode(stretches)
        self.last_index = last
        self.sequence = max(self.sequence, record.sequence)
