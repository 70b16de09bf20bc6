"""`Storage` in memory: for tests, demonstrations, and groups that hold nothing worth a disk.

Laws: it behaves as files do, restart included: `reopen` is what a new process would find. It can't lose
what was performed, and it can't fail.
"""

from __future__ import annotations

import secrets
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import final

import attrs

from raftkit.driver_messages import FoundingRecord, Remembered
from raftkit.errors import LocalProtocolError, StorageError, WrongCluster
from raftkit.membership import Configuration
from raftkit.messages import PersistentState, SnapshotWrite, Write
from raftkit.model import Identity, Index, NodeId, Run, Term
from raftkit.snapshot import SnapshotBeginning, SnapshotMeta
from raftkit.storage.base import IdentityRecord, fitting
from raftkit.storage.identity import Entropy

__all__ = ["MemoryStorage"]


def _draw() -> int:
    """A u64 from the operating system."""
    return secrets.randbits(64)


@attrs.define(kw_only=True)
class _Image:
    """What would be on disk."""

    record: IdentityRecord
    state: PersistentState = attrs.field(factory=PersistentState)
    runs: list[Run] = attrs.field(factory=list[Run])
    snapshot: bytes = b""
    receiving: SnapshotMeta | None = None
    received: bytearray = attrs.field(factory=bytearray)
    last_index: Index = Index(0)


@final
class MemoryStorage:
    """One node's storage. `entropy` draws u64s; the incarnation is the first of them."""

    def __init__(self, node_id: NodeId, *, entropy: Entropy = _draw) -> None:
        identity = Identity(id=node_id, incarnation=entropy() or 1)
        self._image = _Image(record=IdentityRecord(identity=identity, boot=0, nonce=0))
        self._sent: tuple[SnapshotMeta, bytes] | None = None
        self._entropy = entropy
        self._closed = False
        self._begin_boot()

    def reopen(self) -> MemoryStorage:
        """Close this one; what a restarted process finds. The boot is counted."""
        self.close()
        again = object.__new__(MemoryStorage)
        again._image = self._image
        again._sent = None
        again._entropy = self._entropy
        again._closed = False
        again._begin_boot()
        return again

    @property
    def record(self) -> IdentityRecord:
        """The identity as it is now."""
        return self._image.record

    @property
    def recovered(self) -> PersistentState:
        """What was found on opening."""
        return self._recovered

    @property
    def healed(self) -> tuple[str, ...]:
        """Nothing: memory does not tear."""
        return ()

    def found(self, record: FoundingRecord) -> PersistentState:
        """Make this node born. Idempotent. Raises WrongCluster if it was born otherwise."""
        image = self._open()
        if image.record.founding is None:
            assert (record.entry.first, record.entry.term, len(record.entry)) == (1, 1, 1)
            image.state = attrs.evolve(image.state, term=record.entry.term)
            image.runs, image.last_index = [record.entry], record.entry.last
            image.record = attrs.evolve(image.record, founding=record)
        if image.record.founding != record:
            raise WrongCluster(
                f"node {image.record.identity} belongs to another cluster than "
                f"{record.scope.cluster.hex()}"
            )
        return self._state()

    def remember(self, remembered: Mapping[Identity, Remembered]) -> None:
        """Replace what is remembered of peers."""
        image = self._open()
        image.record = attrs.evolve(image.record, remembered=dict(remembered))

    def perform(self, writes: Sequence[Write]) -> None:
        """Do these writes in order."""
        image = self._born()
        for write in writes:
            assert write.sequence > image.state.write_sequence, "sequences increase"
            hard_state = write.hard_state or (image.state.term, image.state.voted_for)
            image.state = attrs.evolve(
                image.state,
                write_sequence=write.sequence,
                term=hard_state[0],
                voted_for=hard_state[1],
            )
            if write.chunk is not None:
                self._receive(write.chunk)
            if write.truncate_from is not None:
                self._truncate(write.truncate_from)
            for run in write.runs:
                assert run.first == image.last_index + 1, "entries are contiguous"
                image.runs.append(run)
                image.last_index = run.last
            if write.compact_to is not None and write.compact_to > image.state.base_index:
                self._move_base(write.compact_to)

    def prove(self) -> None:
        """Nothing: memory does not tear."""
        self._open()

    def read(self, first: Index, bytes_max: int) -> tuple[Run, ...]:
        """Entries from `first` on, as many as fit in `bytes_max` of payload, at least one."""
        image = self._born()
        if not image.state.base_index < first <= image.last_index:
            return ()
        wanted = (
            run.cut(Index(max(run.first, first)), run.last)
            for run in image.runs
            if run.last >= first
        )
        return tuple(fitting(wanted, bytes_max))

    def read_snapshot(self, snapshot: SnapshotMeta, offset: int, bytes_max: int) -> bytes | None:
        """A part of that snapshot; None if it is gone."""
        image = self._born()
        if image.state.snapshot == snapshot:
            self._sent = snapshot, image.snapshot
        if self._sent is None or self._sent[0] != snapshot:
            return None
        return self._sent[1][offset : offset + bytes_max]

    def open_snapshot(self) -> Iterator[bytes]:
        """The newest snapshot's content."""
        image = self._born()
        return iter((image.snapshot,) if image.snapshot else ())

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
        """Keep a snapshot of this node's own machine."""
        image = self._born()
        data = b"".join(content)
        meta = SnapshotMeta(
            index=index,
            term=term,
            configuration=configuration,
            configuration_index=configuration_index,
            time_ns=time_ns,
            elapsed_ns=elapsed_ns,
            size=len(data),
            checksum=zlib.crc32(data),
        )
        if image.state.snapshot is None or image.state.snapshot.index <= index:
            self._keep(meta, data)
        return meta

    def close(self) -> None:
        """Every later call raises StorageError."""
        self._closed = True

    # ── steps of the above ───────────────────────────────────────────────────────────────────────────

    def _begin_boot(self) -> None:
        record = self._image.record
        self._image.record = attrs.evolve(record, boot=record.boot + 1, nonce=self._entropy())
        self._recovered = self._state()

    def _open(self) -> _Image:
        if self._closed:
            raise StorageError(f"the storage of node {self._image.record.identity} is closed")
        return self._image

    def _born(self) -> _Image:
        image = self._open()
        if image.record.founding is None:
            raise LocalProtocolError("this node was not founded: it has no log yet")
        return image

    def _state(self) -> PersistentState:
        image = self._image
        return attrs.evolve(image.state, runs=tuple(image.runs), received=_beginning(image))

    def _receive(self, chunk: SnapshotWrite) -> None:
        image = self._image
        if image.receiving != chunk.snapshot or chunk.offset == 0:
            image.receiving, image.received = chunk.snapshot, bytearray()
        assert chunk.offset == len(image.received), "chunks follow each other"
        image.received += chunk.data
        if not chunk.last:
            return
        data, image.receiving = bytes(image.received), None
        if zlib.crc32(data) != chunk.snapshot.checksum:
            raise StorageError(
                f"the snapshot received for index {chunk.snapshot.index} does not match its checksum"
            )
        self._keep(chunk.snapshot, data)
        image.runs, image.received = [], bytearray()
        image.last_index = chunk.snapshot.index
        image.state = attrs.evolve(
            image.state, base_index=chunk.snapshot.index, base_term=chunk.snapshot.term
        )
        self._forget_sent(chunk.snapshot.index)

    def _keep(self, meta: SnapshotMeta, data: bytes) -> None:
        self._image.snapshot = data
        self._image.state = attrs.evolve(self._image.state, snapshot=meta)

    def _forget_sent(self, base: Index) -> None:
        if self._sent is not None and self._sent[0].index < base:
            self._sent = None

    def _truncate(self, first: Index) -> None:
        image = self._image
        assert image.state.base_index < first <= image.last_index + 1
        while image.runs and image.runs[-1].last >= first:
            run = image.runs.pop()
            if run.first < first:
                image.runs.append(run.cut(run.first, Index(first - 1)))
        image.last_index = Index(first - 1)

    def _move_base(self, index: Index) -> None:
        image = self._image
        term = next(run.term for run in image.runs if run.first <= index <= run.last)
        image.runs = [
            run.cut(Index(max(run.first, index + 1)), run.last)
            for run in image.runs
            if run.last > index
        ]
        image.state = attrs.evolve(image.state, base_index=index, base_term=term)
        self._forget_sent(index)


def _beginning(image: _Image) -> SnapshotBeginning | None:
    """What is there of a snapshot, if that is further than the log and its own."""
    it, newest = image.receiving, image.state.snapshot
    if it is None or not image.received or (newest is not None and newest.index >= it.index):
        return None
    if any(run.term == it.term and run.first <= it.index <= run.last for run in image.runs):
        return None
    return SnapshotBeginning(
        snapshot=it, size=len(image.received), checksum=zlib.crc32(image.received)
    )
