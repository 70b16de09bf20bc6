"""What storage promises: a write reported durable is there after any crash, or the node learns otherwise.

Laws: every method but `Writer`'s blocks. `perform` and `prove` are called by one thread at a time, and
nothing beside `found`; all other methods may run beside them, each in one thread at a time. The first
failed write or sync poisons the storage for good: every later call raises the same `StorageError` (fsync is
never retried, see `docs/disk-format.md`). Nothing is acknowledged before `perform` has returned.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate, takewhile
from typing import Protocol

import attrs

from raftkit.driver_messages import FoundingRecord, Remembered
from raftkit.membership import Configuration
from raftkit.messages import PersistentState, Write
from raftkit.model import Identity, Index, Run, Term
from raftkit.snapshot import SnapshotMeta

__all__ = ["Disk", "DiskFile", "IdentityRecord", "Storage", "Writer", "fitting"]


@attrs.frozen(kw_only=True)
class IdentityRecord:
    """The identity file: whose directory this is. Two copies, each with its own checksum."""

    identity: Identity
    "Drawn when the directory was made; never changes."
    boot: int
    "How often the directory was opened, this time included; persisted before `open` returns."
    nonce: int
    "u64, drawn at this start."
    founding: FoundingRecord | None = None
    "How the group began. None while unborn."
    remembered: Mapping[Identity, Remembered] = attrs.field(factory=dict[Identity, Remembered])
    "What this node remembers of its peers. Written lazily."


class Storage(Protocol):
    """One data directory (or its like in memory), locked by this process."""

    @property
    def record(self) -> IdentityRecord:
        """The identity file as it is now."""
        ...

    @property
    def recovered(self) -> PersistentState:
        """What was found on opening."""
        ...

    @property
    def healed(self) -> tuple[str, ...]:
        """What opening had to put right, in words for people: a torn tail that was cut, for example."""
        ...

    def found(self, record: FoundingRecord) -> PersistentState:
        """Make this node born: entry 1 durable in the log, then `record` in the identity file.

        Idempotent across crashes. Returns what the core starts from. Raises WrongCluster if it was born
        otherwise.
        """
        ...

    def remember(self, remembered: Mapping[Identity, Remembered]) -> None:
        """Replace what is remembered of peers, durably."""
        ...

    def perform(self, writes: Sequence[Write]) -> None:
        """Do these writes in order and make them durable with one sync. Raises StorageError, finally."""
        ...

    def prove(self) -> None:
        """Write a proof record, once after a pause: a rotten last batch is then told from a torn one."""
        ...

    def read(self, first: Index, bytes_max: int) -> tuple[Run, ...]:
        """Entries from `first` on, as many as fit, at least one; empty if compacted or not there."""
        ...

    def read_snapshot(self, snapshot: SnapshotMeta, offset: int, bytes_max: int) -> bytes | None:
        """A part of that snapshot's file; None if it is gone.

        The one asked for last stays while the log reaches back to it, however many newer ones there are.
        """
        ...

    def open_snapshot(self) -> Iterator[bytes]:
        """The newest snapshot's content in pieces, its checksum verified before the iterator ends."""
        ...

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
        ...

    def close(self) -> None:
        """Release the directory. No sync: what was not performed was not promised."""
        ...


def fitting(runs: Iterable[Run], bytes_max: int) -> Iterator[Run]:
    """What `read` returns of `runs`: as many entries as fit in `bytes_max` of payload, but at least one."""
    room, least = bytes_max, 1
    for run in runs:
        sizes = accumulate(map(len, run.payloads))
        count = max(least, sum(1 for _ in takewhile(room.__ge__, sizes)))
        if count > 0:
            yield run.cut(run.first, Index(run.first + count - 1))
        if count < len(run):
            return
        room, least = room - run.size, 0


class Writer(Protocol):
    """Performs writes: in a thread of its own, at once, or with virtual latency."""

    def submit(self, write: Write) -> bool:
        """Queue a write for `wait_completed` to tell of; or True: it is durable already.

        That may take the few milliseconds for which a quick disk is waited for.

        Writes are performed in order, those that wait with one sync.
        """
        ...

    async def wait_completed(self) -> int:
        """Wait until more of what was queued is durable; the sequence of the last.

        Raises StorageError, finally.
        """
        ...


class DiskFile(Protocol):
    """One open file of a `Disk`."""

    def write_at(self, offset: int, data: bytes) -> None:
        """Write all of `data` at `offset`, or raise OSError. Not durable before `sync`."""
        ...

    def read_at(self, offset: int, size: int) -> bytes:
        """Up to `size` bytes; fewer only at the end of the file."""
        ...

    def size(self) -> int:
        """Bytes of the file now."""
        ...

    def truncate(self, size: int) -> None:
        """Cut or extend (by zeros) to `size`. Not durable before `sync`."""
        ...

    def sync(self) -> None:
        """Make content and size durable. The name needs `Disk.sync_directory`."""
        ...

    def close(self) -> None:
        """Release it. Says nothing about durability."""
        ...


class Disk(Protocol):
    """One directory. The operating system's, or the simulated one of `raftkit.testing`."""

    @property
    def path(self) -> str:
        """Where it is, for messages."""
        ...

    def create(self, name: str) -> DiskFile:
        """A new empty file, which must not exist. Raises FileExistsError."""
        ...

    def open(self, name: str) -> DiskFile:
        """An existing file, for reading and writing. Symbolic links and non-files are refused."""
        ...

    def rename(self, old: str, new: str) -> None:
        """Atomically give `old` the name `new`, replacing what was there. Durable by `sync_directory`."""
        ...

    def remove(self, name: str) -> None:
        """Remove the name. Durable by `sync_directory`."""
        ...

    def names(self) -> list[str]:
        """Names of all files, sorted."""
        ...

    def sync_directory(self) -> None:
        """Make creations, renames and removals durable."""
        ...

    def lock(self) -> None:
        """Hold the directory until `close`. Raises StorageError naming the holder if another does."""
        ...

    def close(self) -> None:
        """Release the lock."""
        ...
