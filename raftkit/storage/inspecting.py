"""Looking at a data directory without touching it: that of a stopped node, or of one that runs meanwhile.

    with open_inspection("/var/lib/counter") as found:
        for placed in found.runs(first, last):
            …

Laws: nothing is written and no lock is taken. What opening would refuse is refused with the same error,
since it is the same code that judges; what opening would put right is told, and left as it is. A running
node may change one file between our looks at two, so an error counts only when it is met twice in a row.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager

import attrs

from raftkit.errors import LogCorrupt, StorageError, WrongCluster
from raftkit.model import Identity, Index, Term
from raftkit.snapshot import SnapshotMeta
from raftkit.storage import records
from raftkit.storage.base import Disk, IdentityRecord
from raftkit.storage.disk import OsDisk
from raftkit.storage.identity import IdentityFile
from raftkit.storage.log import Layout, Log
from raftkit.storage.records import Record, RecordType
from raftkit.storage.recovery import Recovery, check_remains, recover
from raftkit.storage.segments import NO_CUT, PREAMBLE_SIZE, PlacedRun, Segment
from raftkit.storage.snapshots import Snapshots, is_snapshot, name_of

__all__ = ["Checked", "Gap", "Inspection", "NoDataDirectory", "PlacedRecord", "open_inspection"]

_LOOKS_MAX = 10
"So often a directory may be another one each time before the last error is believed."


class NoDataDirectory(StorageError):
    """There is nothing of raftkit's at that path."""


@attrs.frozen(kw_only=True)
class PlacedRecord:
    """An intact record, live or not."""

    path: str
    "The segment's file."
    record: Record
    "What lies there, and where."


@attrs.frozen(kw_only=True)
class Gap:
    """Bytes that are no intact record."""

    path: str
    "The segment's file."
    offset: int
    "Where the bad record starts …"
    end: int
    "… and where the next intact one does, or the segment ends."


@attrs.frozen(kw_only=True)
class Checked:
    """What `Inspection.verify` has read. Whatever a node needs of it is intact."""

    segments: int
    "Segments read: all that the log needs."
    records: int
    "Intact records in them, of whatever type."
    bytes: int
    "Bytes of these segments up to their last records."
    gaps: tuple[Gap, ...]
    "What is damaged there, and belongs only to entries that were removed."


@attrs.frozen(kw_only=True, eq=False)
class Inspection:
    """What a directory holds. Its files stay open, so that a running node may remove them meanwhile."""

    path: str
    "The directory."
    identity: IdentityRecord
    "Whose it is."
    log: Log | None
    "Read and judged, for reading only. None: the node was never founded."
    snapshots: tuple[SnapshotMeta, ...]
    "Those that are whole and that the log joins, oldest first."
    torn: int
    "Bytes of an interrupted write behind the last record; of a running node, of one that is under way."
    remarks: tuple[str, ...]
    "What the next start would put right, pass over or remove."

    @property
    def first(self) -> Index:
        """The first live entry, if there is any."""
        return Index(1 if self.log is None else self.log.base_index + 1)

    @property
    def last(self) -> Index:
        """The last live entry, or the one before `first`."""
        return Index(0 if self.log is None else self.log.last_index)

    @property
    def hard_state(self) -> tuple[Term, Identity | None]:
        """The current term, and for whom the node has voted in it."""
        return (Term(0), None) if self.log is None else self.log.hard_state

    def runs(self, first: Index, last: Index) -> Iterator[PlacedRun]:
        """Live entries from `first` to `last`, as far as there are any. Raises LogCorrupt, OSError."""
        first, last = max(first, self.first), min(last, self.last)
        if self.log is not None and first <= last:
            yield from self.log.placed_runs(first, last)

    def records(self, first: Index, last: Index) -> Iterator[PlacedRecord | Gap]:
        """Every record of the segments that have to do with entries `first` to `last`, removed ones too.

        In the order in which they were written. Raises OSError.
        """
        for segment in self._concerned(first, last):
            for found in _walk(segment):
                if isinstance(found, Record):
                    yield PlacedRecord(path=segment.path, record=found)
                else:
                    yield found

    def removed(self, first: Index, last: Index) -> int:
        """How many entries from `first` to `last` were written and then truncated. Raises OSError."""
        count, end = 0, Index(0)
        for found in self.records(first, last):
            if isinstance(found, Gap):
                continue
            body = found.record.body
            match found.record.type:
                case RecordType.RUN:
                    end = records.run_span(body)[1]
                case RecordType.TRUNCATION:
                    cut = records.decode_truncation(body)
                    count += max(0, min(end, last) - max(cut, first) + 1)
                    end = Index(cut - 1)
                case _:
                    pass
        return count

    def verify(self, tell: Callable[[float], None]) -> Checked:
        """Read everything once more, and tell from time to time which part of it, up to 1, is done.

        Raises LogCorrupt for what a node could not start from; OSError.
        """
        if self.log is None:
            return Checked(segments=0, records=0, bytes=0, gaps=())
        for placed in self.runs(self.first, self.last):
            tell((placed.run.last - self.first + 1) / (self.last - self.first + 1) / 2)
        size = sum(segment.end for segment in self.log.segments)
        count, done, gaps = 0, len(self.log.segments) * PREAMBLE_SIZE, list[Gap]()
        for found in self.records(self.first, self.last):
            match found:
                case Gap():
                    gaps.append(found)
                case PlacedRecord():
                    count += 1
                    done += found.record.end - found.record.offset
                    tell(0.5 + done / size / 2)
        return Checked(segments=len(self.log.segments), records=count, bytes=size, gaps=tuple(gaps))

    def _concerned(self, first: Index, last: Index) -> Iterator[Segment]:
        """Segments in which an entry from `first` to `last` may have been written or removed."""
        if self.log is None:
            return
        segments = self.log.segments
        after = [*(each.header.first_index for each in segments[1:]), self.last + 1]
        for segment, following in zip(segments, after, strict=True):
            lowest = min(segment.header.first_index, segment.cut)
            if lowest <= last and (following > first or segment.cut != NO_CUT):
                yield segment


@contextmanager
def open_inspection(
    path: str | os.PathLike[str], *, disk: Disk | None = None
) -> Generator[Inspection]:
    """Look at the data directory at `path`; `disk` replaces the operating system's.

    Reads the newest segment, the ends of the others, and all snapshots. Raises NoDataDirectory; as
    opening would, LogCorrupt, WrongCluster, and StorageError for what can't be read.
    """
    try:
        disk = OsDisk(path, read_only=True) if disk is None else disk
    except OSError as error:
        raise NoDataDirectory(
            f"{os.fspath(path)} is no data directory: {error.strerror}"
        ) from error
    try:
        found = _settled(disk)
        try:
            yield found
        finally:
            if found.log is not None:
                found.log.close()
    finally:
        disk.close()


def _settled(disk: Disk) -> Inspection:
    """What `disk` holds, or what is wrong with it on two looks in a row.

    A record that was not there yet when its place was read, though a later one was, is there on the next
    look; a segment that was removed is not needed any more. So no race looks the same twice.
    """
    before: StorageError | WrongCluster | None = None
    for _ in range(_LOOKS_MAX):
        try:
            return _look(disk)
        except OSError as error:
            found: StorageError | WrongCluster = StorageError(
                f"{disk.path}: can't be read: {error}; nothing was changed"
            )
        except (StorageError, WrongCluster) as error:
            found = error
        if before is not None and str(before) == str(found):
            raise found
        before = found
    assert before is not None
    raise before


def _look(disk: Disk) -> Inspection:
    """What `disk` holds. Raises what opening would."""
    identity = IdentityFile.read(disk)
    if identity is None:
        check_remains(disk, boot=0)
        raise NoDataDirectory(f"{disk.path} is no data directory: it has no identity file")
    remarks = [
        f"{bad.path}: this copy is bad, the other will replace it" for bad in identity.broken
    ]
    founding = identity.record.founding
    if founding is None:
        check_remains(disk, boot=identity.record.boot)
        return Inspection(
            path=disk.path,
            identity=identity.record,
            log=None,
            snapshots=(),
            torn=0,
            remarks=tuple(remarks),
        )
    owner = identity.record.identity
    recovery = recover(disk, founding.scope, owner, Layout(), least_end=identity.log_end)
    snapshots = Snapshots(disk, founding.scope)
    try:
        bad = snapshots.recover(recovery.log.base_index, recovery.log.term_at)
        remarks += _about_segments(disk, recovery)
        remarks += _about_snapshots(disk, snapshots.adopted, bad)
    except BaseException:
        recovery.log.close()
        raise
    finally:
        snapshots.close()
    return Inspection(
        path=disk.path,
        identity=identity.record,
        log=recovery.log,
        snapshots=snapshots.adopted,
        torn=recovery.torn,
        remarks=tuple(remarks),
    )


def _about_segments(disk: Disk, recovery: Recovery) -> Iterator[str]:
    first, last = recovery.log.segments[0].header.number, recovery.log.segments[-1]
    for segment, _, _ in recovery.missing:
        yield f"{segment.path}: the footer is missing or bad, and will be written anew"
    if recovery.torn:
        yield f"{last.path}: an interrupted write will be cut off at byte {last.end}"
    old = sum(number < first for number in recovery.numbers)
    if old:
        yield f"{disk.path}: not read: older segments, which will be removed: {old}"


def _about_snapshots(
    disk: Disk, adopted: tuple[SnapshotMeta, ...], bad: tuple[LogCorrupt, ...]
) -> Iterator[str]:
    for error in bad:
        yield f"{error.path}: passed over, this snapshot is bad: {error.detail}"
    known = {name_of(meta.index) for meta in adopted}
    known |= {error.path.rpartition("/")[2] for error in bad}
    for name in disk.names():
        if is_snapshot(name) and name not in known:
            yield f"{disk.path}/{name}: passed over, the log does not join this snapshot"


def _walk(segment: Segment) -> Iterator[Record | Gap]:
    """All of `segment`, piece by piece: intact records, and gaps between them."""
    at = PREAMBLE_SIZE
    while at < segment.end:
        try:
            for record in segment.records(at, lambda: None):
                yield record
                at = record.end
                if at >= segment.end:
                    return
        except LogCorrupt:
            rest = segment.file.read_at(at, segment.end - at)
            later = records.search(rest, records.ALIGNMENT, seed=segment.seed, offset=at)
            end = next((record.offset for record in later), segment.end)
            yield Gap(path=segment.path, offset=at, end=end)
            at = end
