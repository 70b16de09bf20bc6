"""One segment: a file of the log, its header, the records appended to it, and where live entries lie in it.

Laws: a segment gets its name when its header and head records are synced, and only after all of the segment
before is synced: a name proves both. What lies beyond the last record is zeros, written beforehand, since a
sync that needn't change the file's size is a quarter cheaper. The footer is derived: it can be rebuilt.
"""

from __future__ import annotations

import struct
import zlib
from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterator

import attrs

from raftkit import encoding
from raftkit.driver_messages import Scope
from raftkit.encoding import MalformedError
from raftkit.errors import LogCorrupt, WrongCluster
from raftkit.membership import Epoch, node_id
from raftkit.model import Identity, Index, Run, Term
from raftkit.storage import envelope, records
from raftkit.storage.base import Disk, DiskFile
from raftkit.storage.records import Record, RecordType

__all__ = [
    "NO_CUT",
    "PREAMBLE_SIZE",
    "PlacedRun",
    "Segment",
    "SegmentHeader",
    "Stretches",
    "create",
    "name_of",
    "number_of",
    "seed_of",
]

MAGIC = b"raft-log"
PREAMBLE_SIZE = 512
"Bytes before the first record: the header, and zeros. One sector."
NO_CUT = (1 << 64) - 1
"The `cut` of a segment in which nothing older was removed."
_STRETCH_BYTES = 64 * 1024
_WINDOW_BYTES = 64 * 1024
_STRETCH = struct.Struct("<QQQ")
_PREFIX = "log-"


def name_of(number: int) -> str:
    """The file of segment `number`."""
    return f"{_PREFIX}{number:010d}"


def number_of(name: str) -> int | None:
    """The segment that the file `name` is; None for other files."""
    digits = name.removeprefix(_PREFIX)
    return int(digits) if digits.isdecimal() and name == name_of(int(digits)) else None


# ── where live entries lie ───────────────────────────────────────────────────────────────────────────


@attrs.define
class Stretches:
    """A sparse index: from each place on, runs of one term follow each other without a gap or a truncation.

    Columns, since a segment may hold a million runs. A stretch ends where the next one's first entry is.
    """

    firsts: array[int] = attrs.field(factory=lambda: array("Q"))
    "Index of the first entry of each stretch, increasing."
    terms: array[int] = attrs.field(factory=lambda: array("Q"))
    "The term of all entries of each."
    offsets: array[int] = attrs.field(factory=lambda: array("Q"))
    "Where each starts in the segment."

    def __len__(self) -> int:
        return len(self.firsts)

    def find(self, index: Index) -> int:
        """Which stretch holds `index`, if it is live; -1 if it lies before all of them."""
        return bisect_right(self.firsts, index) - 1

    def add(self, first: Index, term: Term, offset: int) -> None:
        """A stretch after all others."""
        assert not self.firsts or self.firsts[-1] < first
        self.firsts.append(first)
        self.terms.append(term)
        self.offsets.append(offset)

    def cut(self, first: Index) -> None:
        """Forget `first` and all after it."""
        keep = self.find(Index(first - 1)) + 1
        for column in (self.firsts, self.terms, self.offsets):
            del column[keep:]

    def encode(self) -> bytes:
        """The form in a footer."""
        rows = zip(self.firsts, self.terms, self.offsets, strict=True)
        return b"".join(_STRETCH.pack(*row) for row in rows)

    @classmethod
    def decode(cls, data: memoryview) -> Stretches:
        """What `encode` returned."""
        found = cls()
        for first, term, offset in _STRETCH.iter_unpack(data):
            if found.firsts and found.firsts[-1] >= first:
                raise MalformedError("stretches out of order")
            found.add(Index(first), Term(term), offset)
        return found


# ── the header ───────────────────────────────────────────────────────────────────────────────────────


@attrs.frozen(kw_only=True)
class SegmentHeader:
    """Whose log this is, and how the segment joins the one before."""

    scope: Scope
    "Cluster, epoch and group."
    owner: Identity
    "The node whose directory this is."
    number: int
    "Of the segment, from 1."
    head: int
    "Bytes that were durable before the file got its name: header and first records."
    first_index: Index
    "The log's last index when this segment was begun, plus 1."
    previous_term: Term
    "The term at that last index."
    chain: int
    "Checksum of the last record of the segment before; 0 in the first."

    def encode(self) -> bytes:
        """PREAMBLE_SIZE bytes."""
        scope = self.scope
        sealed = envelope.seal(
            MAGIC,
            [
                scope.cluster,
                scope.epoch.number,
                scope.epoch.nonce,
                scope.group,
                self.owner.id,
                self.owner.incarnation,
                self.number,
                self.head,
                self.first_index,
                self.previous_term,
                self.chain,
            ],
        )
        assert len(sealed) <= PREAMBLE_SIZE
        return sealed.ljust(PREAMBLE_SIZE, b"\0")

    @classmethod
    def decode(cls, path: str, data: bytes) -> SegmentHeader:
        """What `encode` returned, with which `data` begins. Raises LogCorrupt or StorageError."""
        fields = envelope.unseal(path, MAGIC, data[:PREAMBLE_SIZE])
        size = envelope.sealed_size(path, data)
        if data[size:PREAMBLE_SIZE].strip(b"\0") or len(data) < PREAMBLE_SIZE:
            raise LogCorrupt(path, size, None, "the rest of the header is not zeros")
        try:
            return cls._of(encoding.array(fields, 11))
        except MalformedError as error:
            raise LogCorrupt(path, 0, None, str(error)) from error

    @classmethod
    def _of(cls, fields: list[object]) -> SegmentHeader:
        cluster, epoch, nonce, group, owner, *numbers = fields
        incarnation, number, head, first, previous_term, chain = map(encoding.unsigned, numbers)
        return cls(
            scope=Scope(
                cluster=encoding.octets(cluster, 16),
                epoch=Epoch(number=encoding.unsigned(epoch), nonce=encoding.unsigned(nonce)),
                group=encoding.unsigned(group),
            ),
            owner=Identity(id=node_id(owner), incarnation=incarnation),
            number=number,
            head=head,
            first_index=Index(first),
            previous_term=Term(previous_term),
            chain=chain,
        )

    def check(self, path: str, scope: Scope, owner: Identity, number: int) -> None:
        """Whether this is the header of segment `number` of that log. Raises WrongCluster or LogCorrupt."""
        if (self.scope, self.owner) != (scope, owner):
            raise WrongCluster(
                f"{path} is of node {self.owner} of cluster {self.scope.cluster.hex()}, the directory "
                f"is of node {owner} of cluster {scope.cluster.hex()}: put the files back where they were"
            )
        if self.number != number:
            raise LogCorrupt(path, 0, None, f"this is segment {self.number} under another name")


# ── the file ─────────────────────────────────────────────────────────────────────────────────────────


@attrs.frozen(kw_only=True)
class PlacedRun:
    """Live entries, and where on disk they lie."""

    path: str
    "The segment's file."
    offset: int
    "Where in it their record starts."
    run: Run
    "The entries; the record may hold more, which are not live or were not asked for."


@attrs.define(kw_only=True)
class Segment:
    """A segment's file, open."""

    file: DiskFile
    "Its file."
    path: str
    "Where it is, for messages."
    header: SegmentHeader
    "See there."
    seed: int
    "Mixed into every checksum of the segment: the CRC-32 of its header."
    end: int
    "Where the next record goes; parts that wait for `flush` are counted."
    durable: int
    "Offset below which all is synced."
    allocated: int
    "Bytes of the file; from `end` on they are zeros."
    chain: int
    "Checksum of the last record."
    stretches: Stretches = attrs.field(factory=Stretches)
    "Where its live entries lie."
    cut: int = NO_CUT
    "The lowest index that a truncation or reset in this segment removed; 0: everything before."
    proved: int = 0
    "Where the last proof record ended."
    contiguous: bool = False
    "Whether the next run can continue the last stretch."
    parts: list[bytes] = attrs.field(factory=list[bytes])
    "Records added and not yet flushed."
    flushed: int
    "Where the first of `parts` goes."

    def add(self, type: RecordType, body: tuple[bytes, ...], sequence: int) -> int:  # noqa: A002
        """Add a record; it reaches the file by `flush`. Returns its offset."""
        offset = self.end
        parts, size, self.chain = records.encode(
            type,
            body,
            seed=self.seed,
            offset=offset,
            durable=self.durable,
            sequence=sequence,
            previous=self.chain,
        )
        self.parts += parts
        self.end += size
        return offset

    def flush(self, preallocate_bytes: int) -> None:
        """Write what was added, with zeros up to a multiple of `preallocate_bytes` where the file ends."""
        if not self.parts:
            return
        if self.end > self.allocated:
            self.allocated = -(-self.end // preallocate_bytes) * preallocate_bytes
            self.parts.append(bytes(self.allocated - self.end))
        self.file.write_at(self.flushed, b"".join(self.parts))
        self.parts.clear()
        self.flushed = self.end

    def extend(self, preallocate_bytes: int) -> None:
        """Have at least half of `preallocate_bytes` of zeros ahead, durably."""
        assert not self.parts
        if self.allocated - self.end < preallocate_bytes // 2:
            size = -(-(self.end + preallocate_bytes // 2) // preallocate_bytes) * preallocate_bytes
            self.file.write_at(self.allocated, bytes(size - self.allocated))
            self.allocated = size
            self.sync()

    def sync(self) -> None:
        """Make durable what was flushed."""
        end = self.flushed
        self.file.sync()
        self.durable = end

    def footer(self, last: Index) -> tuple[bytes, ...]:
        """Body of the footer, if the segment ends now and `last` is the log's last index."""
        return records.encode_footer(last, self.cut, self.stretches.encode(), self.end)

    def seal(self, footer: tuple[bytes, ...], sequence: int) -> None:
        """End the segment by its footer, durably. Its successor exists already."""
        assert not self.parts
        assert self.durable == self.end
        self.add(RecordType.FOOTER, footer, sequence)
        self.flush(1)
        self.file.truncate(self.end)
        self.allocated = self.end
        self.sync()

    def place(self, first: Index, term: Term, offset: int) -> None:
        """A live run of `term` from `first` on was put at `offset`."""
        stretches = self.stretches
        if (
            self.contiguous
            and stretches
            and stretches.terms[-1] == term
            and offset - stretches.offsets[-1] < _STRETCH_BYTES
        ):
            return
        stretches.add(first, term, offset)
        self.contiguous = True

    def remove_from(self, first: Index) -> None:
        """A truncation, here or later, removed `first` and all after it. 0 is a reset: all entries."""
        self.stretches.cut(first)
        self.contiguous = False

    def runs(self, position: int, first: Index, last: Index) -> Iterator[PlacedRun]:
        """Live entries `first` to `last`, all in the stretch `position`. Raises LogCorrupt."""
        expected = first
        offset = self.stretches.offsets[position]
        for record in self.records(offset, lambda: expected):  # noqa: B023 - as it is by then
            if record.type is not RecordType.RUN:
                continue
            try:
                start, end, _ = records.run_span(record.body)
                if end < expected:
                    continue
                run = records.decode_run_body(record.body)
            except MalformedError as error:
                raise LogCorrupt(self.path, record.offset, expected, str(error)) from error
            if start > expected:
                raise LogCorrupt(
                    self.path, record.offset, expected, f"entry {start} comes too soon"
                )
            end = min(end, last)
            yield PlacedRun(path=self.path, offset=record.offset, run=run.cut(expected, end))
            expected = Index(end + 1)
            if end == last:
                return

    def records(self, offset: int, index: Callable[[], Index | None]) -> Iterator[Record]:
        """Records from `offset` on, without end; a bad one raises LogCorrupt.

        The error names what `index` gives then: the entry that is sought there.
        """
        window, start = b"", offset
        while True:
            record = records.decode(window, offset - start, seed=self.seed, offset=offset)
            if record is None:
                start = offset
                window = self.file.read_at(start, self._window(offset))
                record = records.decode(window, 0, seed=self.seed, offset=offset)
            if record is None:
                raise LogCorrupt(
                    self.path, offset, index(), "the record does not match its checksum"
                )
            yield record
            offset = record.end

    def _window(self, offset: int) -> int:
        """Bytes to read at `offset` for one record at least."""
        head = self.file.read_at(offset, records.HEADER_SIZE)
        size = records.peek_size(head, 0, seed=self.seed, offset=offset)
        return max(size or 0, _WINDOW_BYTES)


def create(
    disk: Disk,
    header: SegmentHeader,
    head: list[tuple[RecordType, tuple[bytes, ...]]],
    *,
    sequence: int,
    preallocate_bytes: int,
) -> Segment:
    """A new segment with these head records, durable under its name. `header.head` is worked out here.

    A crash before the rename leaves a temporary file, which opening removes.
    """
    size = PREAMBLE_SIZE + sum(records.record_size(sum(map(len, body))) for _, body in head)
    header = attrs.evolve(header, head=size)
    preamble = header.encode()
    name = name_of(header.number)
    partial = f"{name}.partial"
    segment = Segment(
        file=disk.create(partial),
        path=f"{disk.path}/{name}",
        header=header,
        seed=seed_of(preamble),
        end=PREAMBLE_SIZE,
        durable=PREAMBLE_SIZE,
        allocated=0,
        chain=seed_of(preamble),
        parts=[preamble],
        flushed=0,
    )
    for type, body in head:  # noqa: A001
        offset = segment.add(type, body, sequence)
        if type is RecordType.RUN:
            first, _, term = records.run_span(memoryview(b"".join(body)))
            segment.place(first, term, offset)
    assert segment.end == size
    segment.flush(preallocate_bytes)
    segment.sync()
    disk.rename(partial, name)
    disk.sync_directory()
    return segment


def seed_of(preamble: bytes) -> int:
    """What goes into all checksums of a segment that starts with `preamble`, and begins its chain."""
    return zlib.crc32(preamble)
