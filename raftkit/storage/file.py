"""The data directory of one node: identity, log, snapshots and a reserve, behind one door.

    storage = open_storage("/var/lib/counter", "a")     # boot counted, torn tail cut, lock held
    storage.found(record)                               # once in the life of a group
    storage.perform([write, …])                         # durable when it returns
    storage.close()

Laws: this file alone decides that an error is final: whatever fails while something is written or synced,
every later call raises the same StorageError. Reads may run beside `perform`, which holds `_mutex` while
it changes what reads look at, never while it syncs.
"""

from __future__ import annotations

import errno
import os
import secrets
import threading
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import final

import attrs

from raftkit.driver_messages import FoundingRecord, Remembered
from raftkit.errors import LocalProtocolError, StorageError, WrongCluster
from raftkit.membership import Configuration
from raftkit.messages import PersistentState, Write
from raftkit.model import Identity, Index, NodeId, Run, Term
from raftkit.snapshot import SnapshotMeta
from raftkit.storage.base import Disk, IdentityRecord, fitting
from raftkit.storage.disk import OsDisk
from raftkit.storage.identity import Entropy, IdentityFile
from raftkit.storage.log import Layout, Log
from raftkit.storage.receiving import PARTIAL, Receiving
from raftkit.storage.recovery import check_remains, recover
from raftkit.storage.snapshots import PartialSnapshot, Snapshots

__all__ = ["FileStorage", "open_storage"]

_RESERVE = "reserve"
_FULL = {errno.ENOSPC, errno.EDQUOT}
_READ_BYTES = 4 * 1024 * 1024


def _draw() -> int:
    """A u64 from the operating system."""
    return secrets.randbits(64)


def open_storage(
    path: str | os.PathLike[str],
    node_id: NodeId,
    *,
    disk: Disk | None = None,
    entropy: Entropy = _draw,
    segment_bytes: int = 64 * 1024 * 1024,
    preallocate_bytes: int = 512 * 1024,
    reserve_bytes: int = 1024 * 1024,
    mark_bytes: int = 4 * 1024 * 1024,
) -> FileStorage:
    """Open the data directory at `path` for node `node_id`; it is made if it is missing.

    `disk` replaces the operating system's (then `path` is not used); `entropy` draws the u64s that make
    the incarnation and each boot unlike any other. A segment is sealed when it has `segment_bytes`;
    zeros are written ahead in steps of `preallocate_bytes`; `reserve_bytes` are kept back for the day
    when the disk is full; a snapshot that is being received is synced each `mark_bytes`, from where it
    goes on after a restart. Returns when everything recovered is durable and this boot is counted.

    Raises LogCorrupt, WrongCluster, and StorageError where the directory is in use, can't be read or
    written, or was written by a newer raftkit. After any of these nothing of the log was changed.
    """
    layout = Layout(
        segment_bytes=segment_bytes,
        preallocate_bytes=preallocate_bytes,
        reserve_bytes=reserve_bytes,
    )
    try:
        disk = OsDisk(path) if disk is None else disk
    except OSError as error:
        raise StorageError(f"{os.fspath(path)}: can't be used as a directory: {error}") from error
    try:
        disk.lock()
        return FileStorage(disk, node_id, entropy, layout, mark_bytes)
    except OSError as error:
        disk.close()
        raise _explain(disk, error) from error
    except BaseException:
        disk.close()
        raise


@final
class FileStorage:
    """`Storage` in files. Made by `open_storage`."""

    def __init__(
        self, disk: Disk, node_id: NodeId, entropy: Entropy, layout: Layout, mark_bytes: int
    ) -> None:
        self._disk = disk
        self._layout = layout
        self._mark_bytes = mark_bytes
        self._mutex = threading.Lock()
        self._failure: StorageError | None = None
        self._log: Log | None = None
        self._snapshots: Snapshots | None = None
        self._receiving: Receiving | None = None
        try:
            with self._final():
                self._healed = tuple(self._open(node_id, entropy))
        except BaseException:
            self._close_files()
            raise
        self._recovered = self._state()

    # ── what was found ───────────────────────────────────────────────────────────────────────────────

    @property
    def record(self) -> IdentityRecord:
        """The identity file as it is now."""
        return self._identity.record

    @property
    def recovered(self) -> PersistentState:
        """What was found on opening. `runs` reads the disk lazily; read it before `perform`."""
        return self._recovered

    @property
    def healed(self) -> tuple[str, ...]:
        """What opening had to put right, in words for people."""
        return self._healed

    # ── founding and remembering ─────────────────────────────────────────────────────────────────────

    def found(self, record: FoundingRecord) -> PersistentState:
        """Make this node born: entry 1 durable in the log, then `record` in the identity file.

        Idempotent: a crash between leaves an unborn node, and a log that the next call replaces.
        Raises WrongCluster if the node was born otherwise.
        """
        assert (record.entry.first, record.entry.term, len(record.entry)) == (1, 1, 1)
        known = self.record.founding
        if known is not None:
            if known != record:
                raise WrongCluster(
                    f"{self._disk.path} belongs to cluster {known.scope.cluster.hex()}, not to "
                    f"{record.scope.cluster.hex()}: give this node a directory of its own"
                )
            return self._state()
        with self._final():
            owner = self.record.identity
            self._log = Log.found(self._disk, record.scope, owner, self._layout, record.entry)
            self._snapshots = Snapshots(self._disk, record.scope)
            self._receiving = Receiving(self._disk, record.scope, self._mark_bytes)
            self._store(attrs.evolve(self.record, founding=record))
        return self._state()

    def remember(self, remembered: Mapping[Identity, Remembered]) -> None:
        """Replace what is remembered of peers, durably."""
        with self._final():
            self._store(attrs.evolve(self.record, remembered=dict(remembered)))

    # ── writing ──────────────────────────────────────────────────────────────────────────────────────

    def perform(self, writes: Sequence[Write]) -> None:
        """Do these writes in order and make them durable with one sync. Raises StorageError, finally.

        A full segment adds the syncs of beginning the next one; a snapshot's last chunk adds its own, and
        so does one that fills `mark_bytes`.
        """
        with self._final():
            log, snapshots, receiving = self._born()
            with self._mutex:
                moved = False
                for write in writes:
                    moved |= self._add(log, snapshots, receiving, write)
                dirty = log.flush()
            if dirty:
                log.sync()
            receiving.mark()
            if moved:
                with self._mutex:
                    log.remove_compacted()
                    snapshots.remove_old(log.base_index)

    def prove(self) -> None:
        """Write a proof record, once after a pause: a rotten last batch is then told from a torn one."""
        with self._final():
            if self._log is None:
                return
            with self._mutex:
                dirty = self._log.prove() and self._log.flush()
            if dirty:
                self._log.sync()

    def take_snapshot(
        self,
        *,
        index: Index,
        term: Term,
        configuration: Configuration,
        configuration_index: Index,
        time_ns: int,
        elapsed_ns: int,
        content: Iterable[bytes],
    ) -> SnapshotMeta:
        """Write a snapshot of this node's own machine durably: temporary file, sync, rename.

        What `content` raises passes through and leaves nothing behind.
        """
        meta = SnapshotMeta(
            index=index,
            term=term,
            configuration=configuration,
            configuration_index=configuration_index,
            time_ns=time_ns,
            elapsed_ns=elapsed_ns,
            size=0,
            checksum=0,
        )
        with self._final():
            log, snapshots, _ = self._born()
            partial = snapshots.begin_own(meta)
        try:
            for piece in content:
                with self._final():
                    partial.append(piece)
        except BaseException:
            if self._failure is None:
                with self._final():
                    snapshots.drop_own(partial)
            raise
        with self._final():
            return self._finish_own(log, snapshots, partial)

    def close(self) -> None:
        """Release the directory. No sync: what was not performed was not promised."""
        self._close_files()
        self._disk.close()
        self._failure = self._failure or StorageError(f"{self._disk.path}: closed")

    # ── reading ──────────────────────────────────────────────────────────────────────────────────────

    def read(self, first: Index, bytes_max: int) -> tuple[Run, ...]:
        """Entries from `first` on, as many as fit in `bytes_max` of payload, at least one.

        Empty if compacted or not there. Raises LogCorrupt, finally.
        """
        with self._final():
            log, *_ = self._born()
            with self._mutex:
                if not log.base_index < first <= log.last_index:
                    return ()
                return tuple(fitting(log.runs(first, log.last_index), bytes_max))

    def read_snapshot(self, snapshot: SnapshotMeta, offset: int, bytes_max: int) -> bytes | None:
        """A part of that snapshot's content; None if it is gone."""
        with self._final():
            _, snapshots, _ = self._born()
            with self._mutex:
                return snapshots.read(snapshot, offset, bytes_max)

    def open_snapshot(self) -> Iterator[bytes]:
        """The newest snapshot's content in pieces; LogCorrupt, at the latest at its end, if it is bad."""
        with self._final():
            _, snapshots, _ = self._born()
            with self._mutex:
                newest = snapshots.open_newest()
        if newest is None:
            return
        try:
            pieces = newest.content()
            while True:
                with self._final():
                    piece = next(pieces, None)
                if piece is None:
                    return
                yield piece
        finally:
            newest.file.close()

    # ── opening ──────────────────────────────────────────────────────────────────────────────────────

    def _open(self, node_id: NodeId, entropy: Entropy) -> list[str]:
        """Judge all that is there, then put right what a crash left, then count this boot.

        Returns what was put right.
        """
        self._identity = IdentityFile.open(self._disk, node_id, entropy)
        broken = self._identity.broken
        healed = [f"{error.path}: a bad copy was replaced by the other" for error in broken]
        if self.record.founding is None:
            check_remains(self._disk, boot=self.record.boot)
        else:
            self._recover(self.record.founding, healed)
        for name in self._disk.names():
            if name.endswith(".partial") and not (name == PARTIAL and self._receiving):
                self._disk.remove(name)
        self._store(attrs.evolve(self.record, boot=self.record.boot + 1, nonce=entropy()))
        if self._log is not None:
            self._log.make_ready()
        self._keep_reserve(healed)
        return healed

    def _recover(self, founding: FoundingRecord, healed: list[str]) -> None:
        """Open log and snapshots of a node that is born."""
        owner = self.record.identity
        recovery = recover(
            self._disk,
            founding.scope,
            owner,
            self._layout,
            least_end=self._identity.log_end,
        )
        self._log = recovery.log
        self._snapshots = Snapshots(self._disk, founding.scope)
        broken = self._snapshots.recover(self._log.base_index, self._log.term_at)
        healed += [f"{error.path}: a bad snapshot was passed over" for error in broken]
        self._receiving = Receiving(self._disk, founding.scope, self._mark_bytes)
        self._receiving.recover(self._is_ahead)
        recovery.heal(healed)

    def _is_ahead(self, snapshot: SnapshotMeta) -> bool:
        """Whether neither the log nor a snapshot here reaches as far."""
        log, snapshots, _ = self._born()
        newest = snapshots.newest
        reached = newest is not None and newest.index >= snapshot.index
        return not reached and log.term_at(snapshot.index) != snapshot.term

    def _store(self, record: IdentityRecord) -> None:
        """Make `record` durable, and with it how long the log is: a cut is then noticed."""
        end = self._identity.log_end if self._log is None else self._log.end
        self._identity.store(record, end)

    def _close_files(self) -> None:
        """Release everything but the directory."""
        if self._log is not None:
            self._log.close()
        if self._snapshots is not None:
            self._snapshots.close()
        if self._receiving is not None:
            self._receiving.close()

    def _keep_reserve(self, healed: list[str]) -> None:
        """Keep some room back, if the disk has any; the log has its own by now."""
        if _RESERVE in self._disk.names():
            return
        try:
            file = self._disk.create(_RESERVE)
            try:
                file.write_at(0, bytes(self._layout.reserve_bytes))
                file.sync()
            finally:
                file.close()
            self._disk.sync_directory()
        except OSError as error:
            if error.errno not in _FULL:
                raise
            self._release_reserve()
            healed.append(f"{self._disk.path}: the disk is nearly full, no reserve could be kept")

    def _state(self) -> PersistentState:
        """What the core starts from."""
        log = self._log
        if log is None or self._snapshots is None or self.record.founding is None:
            return PersistentState()
        term, voted_for = log.hard_state
        return PersistentState(
            term=term,
            voted_for=voted_for,
            base_index=log.base_index,
            base_term=log.base_term,
            snapshot=self._snapshots.newest,
            runs=_Runs(self, Index(log.base_index + 1), log.last_index),
            write_sequence=log.sequence,
            received=None if self._receiving is None else self._receiving.beginning,
        )

    # ── steps of the above ───────────────────────────────────────────────────────────────────────────

    def _born(self) -> tuple[Log, Snapshots, Receiving]:
        """What a node that was founded has. Raises LocalProtocolError for one that was not."""
        log, snapshots, receiving = self._log, self._snapshots, self._receiving
        if log is None or snapshots is None or receiving is None or self.record.founding is None:
            raise LocalProtocolError("this node was not founded: it has no log yet")
        return log, snapshots, receiving

    def _add(self, log: Log, snapshots: Snapshots, receiving: Receiving, write: Write) -> bool:
        """Add one write. Returns whether older files may not be needed any more."""
        whole = None if write.chunk is None else receiving.receive(write.chunk)
        if whole is not None:
            snapshots.finish(PARTIAL, whole)
            receiving.end()
        log.add(write, installed=whole is not None)
        return whole is not None or write.compact_to is not None

    def _finish_own(self, log: Log, snapshots: Snapshots, partial: PartialSnapshot) -> SnapshotMeta:
        """Sync beside the writer, then rename between its writes."""
        partial.file.sync()
        with self._mutex:
            meta = snapshots.finish_own(partial)
            snapshots.remove_old(log.base_index)
        return meta

    def _release_reserve(self) -> None:
        """Give the reserve back to a full disk, for the next start. What fails here changes nothing."""
        with suppress(OSError):
            self._disk.remove(_RESERVE)
            self._disk.sync_directory()

    @contextmanager
    def _final(self) -> Generator[None]:
        """The first error within is final: it is raised now, and by every later call."""
        if self._failure is not None:
            raise self._failure
        try:
            yield
        except LocalProtocolError:
            raise
        except StorageError as error:
            self._failure = error
            raise
        except OSError as error:
            if error.errno in _FULL:
                self._release_reserve()
            self._failure = _explain(self._disk, error)
            raise self._failure from error
        except BaseException as error:
            self._failure = StorageError(f"{self._disk.path}: a write was interrupted by {error!r}")
            raise


@attrs.frozen
class _Runs:
    """The log as it was found, read piece by piece."""

    _storage: FileStorage
    _first: Index
    _last: Index

    def __iter__(self) -> Iterator[Run]:
        first = self._first
        while first <= self._last:
            for run in self._storage.read(first, _READ_BYTES):
                yield run.cut(run.first, min(run.last, self._last))
                first = Index(run.last + 1)


def _explain(disk: Disk, error: OSError) -> StorageError:
    """What an error of the operating system means here, and what to do."""
    if error.errno in _FULL:
        return StorageError(
            f"{disk.path}: the disk is full: free some space and start the node again "
            "(its reserve was released for that)"
        )
    return StorageError(
        f"{disk.path}: {error}: what the disk holds now is not known; check it, then start the node "
        "again, which reads it anew"
    )
