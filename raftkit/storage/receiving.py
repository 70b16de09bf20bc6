"""A snapshot on its way here, in two files, so that after a restart it goes on where it was synced (§5.3).

    received.partial    room for a snapshot's head, then the content as it comes
    received.marks      that head; then, for each time the content was synced, how much there was of it

Laws: a mark is written when what it counts is durable. Opening believes it if the bytes before it have its
checksum, whatever became of the two files: so what it goes on from is right, or is nothing. There is one
reception at a time; a part of another snapshot, or of this one from its start, ends it.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator

import attrs

from raftkit.driver_messages import Scope
from raftkit.errors import LogCorrupt, StorageError
from raftkit.messages import SnapshotWrite
from raftkit.snapshot import SnapshotBeginning, SnapshotMeta
from raftkit.storage import envelope
from raftkit.storage.base import Disk, DiskFile
from raftkit.storage.snapshots import PIECE_BYTES, PartialSnapshot, decode_head, encode_head

__all__ = ["PARTIAL", "Receiving"]

PARTIAL, MARKS = "received.partial", "received.marks"
_MARK = struct.Struct("<QI")  # bytes of content, their CRC-32
_CHECKSUM = struct.Struct("<I")  # of the twelve bytes before
_MARK_BYTES = _MARK.size + _CHECKSUM.size


@attrs.define
class Receiving:
    """The reception of one directory, if there is one. Raises OSError; the storage makes that final."""

    _disk: Disk
    _scope: Scope
    _mark_bytes: int
    "Content is synced and marked when so much has come since the last mark."
    _partial: PartialSnapshot | None = None
    _marks: DiskFile | None = None
    "Open from the first mark on."
    _marked: int = 0
    "Bytes of content at the last mark."
    _marks_end: int = 0
    "Where the next mark belongs."

    @property
    def beginning(self) -> SnapshotBeginning | None:
        """What there is of a snapshot; None if nothing is."""
        it = self._partial
        if it is None or not it.size:
            return None
        return SnapshotBeginning(snapshot=it.meta, size=it.size, checksum=it.checksum)

    # ── opening ──────────────────────────────────────────────────────────────────────────────────────

    def recover(self, is_of_use: Callable[[SnapshotMeta], bool]) -> None:
        """Go on with what was left, if it is sound and still of use; remove it if not."""
        names = self._disk.names()
        if PARTIAL in names and MARKS in names:
            self._adopt(is_of_use)
        if self._partial is None:
            self._remove(names)

    def _adopt(self, is_of_use: Callable[[SnapshotMeta], bool]) -> None:
        marks = self._disk.open(MARKS)
        file = self._disk.open(PARTIAL)
        found = self._read_head(marks)
        if found is not None and is_of_use(found[0]):
            partial = PartialSnapshot(file=file, meta=found[0], start=found[1])
            self._marks_end = found[1]
            for size, checksum in _read_marks(marks, found[1]):
                if not _reaches(partial, size, checksum):
                    break
                self._marks_end += _MARK_BYTES
            if partial.size:
                self._partial, self._marks, self._marked = partial, marks, partial.size
                return
        marks.close()
        file.close()

    def _read_head(self, marks: DiskFile) -> tuple[SnapshotMeta, int] | None:
        """Of which snapshot these marks are, and where they begin. None if that can't be said."""
        path = f"{self._disk.path}/{MARKS}"
        try:
            size = envelope.sealed_size(path, marks.read_at(0, envelope.PREFIX_SIZE))
            cluster, group, meta = decode_head(path, marks.read_at(0, size))
        except LogCorrupt:
            return None
        ours = (cluster, group) == (self._scope.cluster, self._scope.group)
        return (meta, size) if ours else None

    # ── receiving ────────────────────────────────────────────────────────────────────────────────────

    def receive(self, chunk: SnapshotWrite) -> PartialSnapshot | None:
        """Write a received part; with the last one all of the snapshot, which the caller makes durable.

        Raises StorageError if the whole is not what its sender said.
        """
        if self._partial is None or self._partial.meta != chunk.snapshot or chunk.offset == 0:
            self._begin(chunk.snapshot)
        partial = self._partial
        assert partial is not None
        assert chunk.offset == partial.size, "chunks follow each other"
        partial.append(chunk.data)
        if not chunk.last:
            return None
        if partial.checksum != chunk.snapshot.checksum:
            raise StorageError(
                f"the snapshot received for index {chunk.snapshot.index} does not match its checksum: "
                "its sender's file or memory is bad; start the node again to receive another"
            )
        return partial

    def mark(self) -> None:
        """Make what came durable, and note how much it is, if it is enough to be worth that."""
        partial = self._partial
        if partial is None or partial.size - self._marked < self._mark_bytes:
            return
        partial.file.sync()
        if self._marks is None:
            head = encode_head(self._scope, partial.meta)
            self._marks = self._disk.create(MARKS)
            self._marks.write_at(0, head)
            self._marks_end = len(head)
        mark = _MARK.pack(partial.size, partial.checksum)
        self._marks.write_at(self._marks_end, mark + _CHECKSUM.pack(zlib.crc32(mark)))
        self._marks.sync()
        if not self._marked:
            self._disk.sync_directory()
        self._marked = partial.size
        self._marks_end += _MARK_BYTES

    def end(self) -> None:
        """The whole has a name of its own now: forget that it was received."""
        self._partial = None
        self._forget_marks()

    def close(self) -> None:
        """Release the files."""
        if self._partial is not None:
            self._partial.file.close()
        if self._marks is not None:
            self._marks.close()

    def _begin(self, meta: SnapshotMeta) -> None:
        """Begin anew, with nothing."""
        if self._partial is not None:
            self._partial.file.close()
            self._forget_marks()
            self._disk.remove(PARTIAL)
        start = len(encode_head(self._scope, meta))
        file = self._disk.create(PARTIAL)
        self._partial = PartialSnapshot(file=file, meta=meta, start=start)

    def _forget_marks(self) -> None:
        if self._marks is not None:
            self._marks.close()
            self._disk.remove(MARKS)
        self._marks, self._marked = None, 0

    def _remove(self, names: list[str]) -> None:
        for name in (MARKS, PARTIAL):
            if name in names:
                self._disk.remove(name)


def _read_marks(marks: DiskFile, start: int) -> Iterator[tuple[int, int]]:
    """Sizes and checksums, up to the first mark that is not whole."""
    data = marks.read_at(start, max(0, marks.size() - start))
    for at in range(0, len(data) - _MARK_BYTES + 1, _MARK_BYTES):
        mark = data[at : at + _MARK.size]
        if _CHECKSUM.unpack_from(data, at + _MARK.size) != (zlib.crc32(mark),):
            return
        yield _MARK.unpack(mark)


def _reaches(partial: PartialSnapshot, size: int, checksum: int) -> bool:
    """Whether the content up to `size` is there and has that checksum; if so, `partial` counts it."""
    if not partial.size < size < partial.meta.size:
        return False
    found = partial.checksum
    for offset in range(partial.size, size, PIECE_BYTES):
        piece = partial.file.read_at(partial.start + offset, min(PIECE_BYTES, size - offset))
        found = zlib.crc32(piece, found)
    if found != checksum:
        return False
    partial.size, partial.checksum = size, checksum
    return True
