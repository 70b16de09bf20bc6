"""Calls of the storage beside the writer's: founding, reading back, remembering, snapshots.

Laws: in a thread if the storage may block, so that no disk holds up the loop. One at a time, but for a
snapshot of this node's own, which is long in writing: followers are served meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from functools import partial
from typing import Protocol, TypeVar, final

import attrs
import trio

from raftkit.driver.replica import Capture
from raftkit.driver_messages import FoundingRecord, Remembered
from raftkit.errors import NoQuorum
from raftkit.messages import (
    Fetch,
    Fetched,
    PersistentState,
    ReadSnapshot,
    SnapshotRead,
)
from raftkit.model import Identity, Index, Run
from raftkit.snapshot import SnapshotMeta
from raftkit.storage import InlineWriter, Storage, Writer, open_writer

__all__ = ["InLoop", "InThreads", "StorageCalls", "Storing"]

T = TypeVar("T")
_READ_BYTES = 4 * 1024 * 1024


class StorageCalls(Protocol):
    """How a storage is called: in threads, in the loop, or in the virtual time of a simulated world."""

    def open_writer(self, storage: Storage) -> AbstractAsyncContextManager[Writer]:
        """Who performs the writes of `storage`."""
        ...

    async def run(self, function: Callable[[], T]) -> T:
        """Call `function`, which asks something of a storage, and return what it does."""
        ...


@final
class InThreads:
    """For a storage that may block."""

    def open_writer(self, storage: Storage) -> AbstractAsyncContextManager[Writer]:
        """A thread of its own."""
        return open_writer(storage)

    async def run(self, function: Callable[[], T]) -> T:
        """In one of trio's threads."""
        return await trio.to_thread.run_sync(function)


@final
class InLoop:
    """For a storage that takes no time."""

    def open_writer(self, storage: Storage) -> AbstractAsyncContextManager[Writer]:
        """Performs at once."""
        return nullcontext(InlineWriter(storage))

    async def run(self, function: Callable[[], T]) -> T:
        """At once."""
        return function()


@attrs.define(eq=False)
class Storing:
    """A node's storage, as its tasks use it."""

    storage: Storage
    "Whose calls block."
    calls: StorageCalls
    "How it is called."
    _turn: trio.Lock = attrs.field(init=False, factory=trio.Lock)

    def open_writer(self) -> AbstractAsyncContextManager[Writer]:
        """The writer of this storage; its writes may run beside the calls below."""
        return self.calls.open_writer(self.storage)

    async def found(self, record: FoundingRecord) -> PersistentState:
        """Make this node born. Raises WrongCluster if it was born otherwise."""
        return await self._call(partial(self.storage.found, record))

    async def shorten(self, found: PersistentState, tail_entries: int) -> PersistentState:
        """`found` without what its snapshot covers, but for so many entries: as compaction would leave it.

        A crash, or who waited for a follower, may have left any number of them on disk. None of it is needed,
        and a core takes all that it is given into memory. The disk is cleared at the next compaction.
        """
        base = Index(0 if found.snapshot is None else found.snapshot.index - tail_entries)
        if base <= found.base_index:
            return found
        run, *_ = await self.read_log(base, 1)
        rest = _Rest(self.storage, Index(base + 1))
        return attrs.evolve(found, base_index=base, base_term=run.term, runs=rest)

    async def remember(self, remembered: Mapping[Identity, Remembered]) -> None:
        """Write down what is remembered of peers."""
        await self._call(partial(self.storage.remember, remembered))

    async def fetch(self, wanted: Fetch | ReadSnapshot) -> Fetched | SnapshotRead:
        """Read back what the core asks for."""
        match wanted:
            case Fetch(first=first, bytes_max=bytes_max):
                return Fetched(fetch=wanted, runs=await self.read_log(first, bytes_max))
            case ReadSnapshot(snapshot=snapshot, offset=offset, bytes_max=bytes_max):
                data = await self.read_part(snapshot, offset, bytes_max)
                return SnapshotRead(request=wanted, data=data)

    async def read_snapshot(self) -> list[bytes]:
        """The newest snapshot's content. Raises LogCorrupt if it is not what was written."""
        return await self._call(lambda: list(self.storage.open_snapshot()))

    async def read_log(self, first: Index, bytes_max: int) -> tuple[Run, ...]:
        """Entries from `first` on, as many as fit, at least one; they may be uncommitted ones."""
        return await self._call(partial(self.storage.read, first, bytes_max))

    async def read_part(self, snapshot: SnapshotMeta, offset: int, bytes_max: int) -> bytes | None:
        """A part of that snapshot; None if it is gone."""
        return await self._call(partial(self.storage.read_snapshot, snapshot, offset, bytes_max))

    async def take_snapshot(self, capture: Capture, content: Iterable[bytes]) -> SnapshotMeta:
        """Write a captured state, whose bytes `content` yields, to a durable file. One at a time, but beside
        all others.

        Raises NoQuorum if nothing was applied: there is nothing to write.
        """
        if capture.configuration is None:
            raise NoQuorum("nothing is applied here yet, so there is no state to keep")
        take = partial(
            self.storage.take_snapshot,
            index=capture.index,
            term=capture.term,
            configuration=capture.configuration,
            configuration_index=capture.configuration_index,
            time_ns=capture.time_ns,
            elapsed_ns=capture.elapsed_ns,
            content=content,
        )
        return await self.calls.run(take)

    async def _call(self, function: Callable[[], T]) -> T:
        async with self._turn:
            return await self.calls.run(function)


@attrs.frozen
class _Rest:
    """The log from an entry on, read piece by piece."""

    _storage: Storage
    _first: Index

    def __iter__(self) -> Iterator[Run]:
        first = self._first
        while runs := self._storage.read(first, _READ_BYTES):
            yield from runs
            first = Index(runs[-1].last + 1)
