"""Snapshots: one file each, made under another name and renamed when it is whole and synced (§5).

Laws: a file under a snapshot's name was whole and durable once. The one before is kept as long as the log
reaches back to it, and so is the one last read from: it may be on its way to a follower. A received
snapshot that the log does not join is what a crash left between its rename and the log's RESET record: it
was never acknowledged, and is passed over.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator

import attrs

from raftkit.driver_messages import Scope
from raftkit.encoding import MalformedError, array, octets, unsigned
from raftkit.errors import LogCorrupt, WrongCluster
from raftkit.membership import Configuration
from raftkit.model import Index, Term
from raftkit.snapshot import SnapshotMeta
from raftkit.storage import envelope
from raftkit.storage.base import Disk, DiskFile

__all__ = [
    "PIECE_BYTES",
    "PartialSnapshot",
    "SnapshotFile",
    "Snapshots",
    "decode_head",
    "encode_head",
    "is_snapshot",
    "name_of",
]

MAGIC = b"raftsnap"
PIECE_BYTES = 1024 * 1024
"Content is read and checked in pieces of this size."
KEPT = 2
"Newest snapshots kept, as long as the log reaches back to them."
_SUFFIX = ".snapshot"
_OWN = "own.partial"


def name_of(index: Index) -> str:
    """The file of the snapshot at `index`."""
    return f"{index:020d}{_SUFFIX}"


def is_snapshot(name: str) -> bool:
    """Whether the file `name` is a snapshot, whole or not."""
    return name.endswith(_SUFFIX)


def encode_head(scope: Scope, meta: SnapshotMeta) -> bytes:
    """What comes before the content. Size and checksum have a fixed form: they are filled in last."""
    return envelope.seal(
        MAGIC,
        [
            scope.cluster,
            scope.group,
            meta.index,
            meta.term,
            meta.configuration_index,
            meta.configuration.encode(),
            meta.time_ns,
            meta.elapsed_ns,
            meta.size.to_bytes(8, "little"),
            meta.checksum.to_bytes(4, "little"),
        ],
    )


def decode_head(path: str, data: bytes) -> tuple[bytes, int, SnapshotMeta]:
    """Cluster, group and meta of what `encode_head` wrote. Raises LogCorrupt or StorageError."""
    fields = envelope.unseal(path, MAGIC, data)
    try:
        cluster, group, index, term, at, members, time, elapsed, size, checksum = array(fields, 10)
        meta = SnapshotMeta(
            index=Index(unsigned(index)),
            term=Term(unsigned(term)),
            configuration=Configuration.decode(octets(members)),
            configuration_index=Index(unsigned(at)),
            time_ns=unsigned(time),
            elapsed_ns=unsigned(elapsed),
            size=int.from_bytes(octets(size, 8), "little"),
            checksum=int.from_bytes(octets(checksum, 4), "little"),
        )
        return octets(cluster, 16), unsigned(group), meta
    except MalformedError as error:
        raise LogCorrupt(path, envelope.PREFIX_SIZE, None, str(error)) from error


@attrs.define(kw_only=True)
class SnapshotFile:
    """A snapshot's file, open."""

    file: DiskFile
    "Its file."
    path: str
    "Where it is, for messages."
    meta: SnapshotMeta
    "What it is."
    start: int
    "Where the content begins."

    def read(self, offset: int, size: int) -> bytes:
        """Up to `size` bytes of the content; fewer only at its end."""
        size = max(0, min(size, self.meta.size - offset))
        return self.file.read_at(self.start + offset, size)

    def content(self) -> Iterator[bytes]:
        """All of it, in pieces. Raises LogCorrupt, at the latest where the content ends."""
        checksum = 0
        for offset in range(0, self.meta.size, PIECE_BYTES):
            piece = self.read(offset, PIECE_BYTES)
            checksum = zlib.crc32(piece, checksum)
            yield piece
        # Checked although opening has done so: memory and disk have had time to rot since.
        if checksum != self.meta.checksum:
            detail = "the snapshot's content does not match its checksum"
            raise LogCorrupt(self.path, self.start, self.meta.index, detail)


@attrs.define(kw_only=True)
class PartialSnapshot:
    """A snapshot being written."""

    file: DiskFile
    "Its file, under a temporary name."
    meta: SnapshotMeta
    "What it is to be."
    start: int
    "Where the content begins."
    size: int = 0
    "Bytes of content written."
    checksum: int = 0
    "CRC-32 of these."

    def append(self, data: bytes) -> None:
        """Write the next part of the content."""
        self.file.write_at(self.start + self.size, data)
        self.size += len(data)
        self.checksum = zlib.crc32(data, self.checksum)


@attrs.define
class Snapshots:
    """The snapshots of one directory. Methods that write raise OSError; the storage makes that final."""

    _disk: Disk
    _scope: Scope
    _files: list[SnapshotFile] = attrs.field(factory=list[SnapshotFile])
    _sent: SnapshotMeta | None = None
    "The one last read from."

    @property
    def newest(self) -> SnapshotMeta | None:
        """The newest whole one."""
        return self._files[-1].meta if self._files else None

    @property
    def adopted(self) -> tuple[SnapshotMeta, ...]:
        """All that are whole and that the log joins, oldest first."""
        return tuple(each.meta for each in self._files)

    # ── opening ──────────────────────────────────────────────────────────────────────────────────────

    def recover(
        self, base: Index, term_at: Callable[[Index], Term | None]
    ) -> tuple[LogCorrupt, ...]:
        """Adopt the whole snapshots that the log joins. The others go when a next one is durable.

        Returns what is wrong with those that are not whole, newest first. Raises LogCorrupt if the log
        needs one and has none. Changes nothing on disk.
        """
        broken: list[LogCorrupt] = []
        for name in reversed([n for n in self._disk.names() if is_snapshot(n)]):
            try:
                found = self._open(name)
            except LogCorrupt as error:
                broken.append(error)
                continue
            if term_at(found.meta.index) == found.meta.term:
                self._files.insert(0, found)
            else:
                found.file.close()
        if base > 0 and not self._files:
            path = f"{self._disk.path}/{name_of(base)}"
            missing = LogCorrupt(path, 0, base, "the log begins after this, and it is missing")
            raise next(iter(broken), missing)
        return tuple(broken)

    def _open(self, name: str) -> SnapshotFile:
        """The snapshot in the file `name`, its content verified. Raises LogCorrupt, WrongCluster."""
        path = f"{self._disk.path}/{name}"
        file = self._disk.open(name)
        try:
            head = file.read_at(0, envelope.PREFIX_SIZE)
            start = envelope.sealed_size(path, head)
            cluster, group, meta = decode_head(path, file.read_at(0, start))
            if (cluster, group) != (self._scope.cluster, self._scope.group):
                raise WrongCluster(
                    f"{path} is of cluster {cluster.hex()}: put it back where it was"
                )
            if name != name_of(meta.index):
                raise LogCorrupt(path, 0, meta.index, "a snapshot under another's name")
            if file.size() != start + meta.size:
                detail = f"{file.size()} bytes where {start + meta.size} belong"
                raise LogCorrupt(path, file.size(), meta.index, detail)
            found = SnapshotFile(file=file, path=path, meta=meta, start=start)
            for _ in found.content():
                pass
        except BaseException:
            file.close()
            raise
        return found

    # ── reading ──────────────────────────────────────────────────────────────────────────────────────

    def read(self, snapshot: SnapshotMeta, offset: int, bytes_max: int) -> bytes | None:
        """A part of `snapshot`; None if it is gone."""
        for each in self._files:
            if each.meta == snapshot:
                self._sent = snapshot
                return each.read(offset, bytes_max)
        return None

    def open_newest(self) -> SnapshotFile | None:
        """The newest one, opened once more: its reader is not disturbed when it is replaced."""
        if not self._files:
            return None
        newest = self._files[-1]
        return attrs.evolve(newest, file=self._disk.open(name_of(newest.meta.index)))

    # ── writing ──────────────────────────────────────────────────────────────────────────────────────

    def finish(self, name: str, partial: PartialSnapshot) -> None:
        """Make what the file `name` holds a snapshot: head, sync, rename, sync of the directory."""
        meta = partial.meta
        head = encode_head(self._scope, meta)
        assert len(head) == partial.start
        partial.file.write_at(0, head)
        partial.file.sync()
        self._disk.rename(name, name_of(meta.index))
        self._disk.sync_directory()
        path = f"{self._disk.path}/{name_of(meta.index)}"
        found = SnapshotFile(file=partial.file, path=path, meta=meta, start=partial.start)
        for each in self._files:
            if each.meta.index == meta.index:
                each.file.close()
        others = [each for each in self._files if each.meta.index != meta.index]
        self._files = sorted([*others, found], key=lambda each: each.meta.index)

    def begin_own(self, meta: SnapshotMeta) -> PartialSnapshot:
        """Begin a snapshot of this node's own; its size and checksum are not known yet."""
        start = len(encode_head(self._scope, meta))
        return PartialSnapshot(file=self._disk.create(_OWN), meta=meta, start=start)

    def finish_own(self, partial: PartialSnapshot) -> SnapshotMeta:
        """Make it durable."""
        partial.meta = attrs.evolve(partial.meta, size=partial.size, checksum=partial.checksum)
        self.finish(_OWN, partial)
        return partial.meta

    def drop_own(self, partial: PartialSnapshot) -> None:
        """Forget what was begun."""
        partial.file.close()
        self._disk.remove(_OWN)

    def remove_old(self, base: Index) -> None:
        """Remove what nobody will ask for any more: the log begins after `base`.

        Of those that it reaches back to, the newest stay, and the one last read from.
        """
        reached = [each for each in self._files if each.meta.index >= base]
        kept = [it for it in reached[:-KEPT] if it.meta == self._sent] + reached[-KEPT:]
        kept = kept or self._files[-1:]
        for each in self._files:
            if each not in kept:
                each.file.close()
        self._files = kept
        names = {name_of(each.meta.index) for each in kept}
        for name in self._disk.names():
            if is_snapshot(name) and name not in names:
                self._disk.remove(name)

    def close(self) -> None:
        """Release all files."""
        for each in self._files:
            each.file.close()
