"""Who calls `perform`: a thread beside the loop, or the loop itself where a write costs nothing.

    async with open_writer(storage) as writer:
        writer.submit(write)
        sequence = await writer.wait_completed()

Laws: writes are performed in the order in which they were submitted; all that wait go in one `perform`,
so one sync serves them all (group commit). An error is final and is raised by every later call.
"""

from __future__ import annotations

import os
import queue
import sys
import threading
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from typing import final

import trio

from raftkit.messages import Write
from raftkit.storage.base import Storage

__all__ = ["InlineWriter", "ThreadWriter", "open_writer"]

_GROUP_MAX = 1024
"Writes in one `perform`: bounds the time until the first of them is answered."


@asynccontextmanager
async def open_writer(
    storage: Storage, *, prove_after: float = 0.05
) -> AsyncGenerator[ThreadWriter]:
    """A writer in a thread of its own. On leaving, what the thread is at is finished; the rest is dropped.

    After `prove_after` seconds without a write, a proof record is written once. Leaving waits for the
    disk, whatever is cancelled: the storage may be closed only when nobody uses it.
    """
    writer = ThreadWriter(storage, prove_after)
    try:
        yield writer
    finally:
        with trio.CancelScope(shield=True):
            await writer.aclose()


@final
class ThreadWriter:
    """A `Writer` in its own thread, woken by a queue, answering by a descriptor that the loop waits on.

    Half the latency of a trip through trio's thread pool. The queue is bounded by
    the core, which limits its uncommitted bytes.
    """

    def __init__(self, storage: Storage, prove_after: float) -> None:
        self._storage = storage
        self._prove_after = prove_after
        self._queue: queue.SimpleQueue[Write | None] = queue.SimpleQueue()
        self._closing = False
        # The thread writes these and then rings; the loop hears it and then reads them.
        self._completed = 0
        self._failure: BaseException | None = None
        self._ended = False
        self._told = 0
        self._bell = _Bell()
        self._thread = threading.Thread(target=self._run, name="raftkit-writer", daemon=True)
        self._thread.start()

    def submit(self, write: Write) -> None:
        """Queue a write. Never blocks. Raises what the thread failed with."""
        if self._failure is not None:
            raise self._failure
        self._queue.put(write)

    async def wait_completed(self) -> int:
        """Wait until more writes are durable; the sequence of the last. One task at a time.

        Raises StorageError, finally. A cancelled call has forgotten nothing.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        while self._completed == self._told:
            if self._failure is not None:
                raise self._failure
            await self._bell.wait()
        self._told = self._completed
        return self._told

    async def aclose(self) -> None:
        """Let the thread finish what it is at, and end."""
        self._closing = True
        self._queue.put(None)
        while not self._ended:
            await self._bell.wait()
        # Its last act is to ring. Were the bell closed before, it might ring in somebody else's file.
        self._thread.join()
        self._bell.close()

    # ── in the thread ────────────────────────────────────────────────────────────────────────────────

    def _run(self) -> None:
        """Perform until closed, or until something fails."""
        try:
            proved = True
            while (
                writes := self._wait_writes(self._prove_after if not proved else None)
            ) is not None:
                if writes:
                    self._storage.perform(writes)
                    self._completed = writes[-1].sequence
                    self._bell.ring()
                else:
                    self._storage.prove()
                proved = not writes
        except BaseException as error:  # noqa: BLE001 - the loop raises it
            self._failure = error
        self._ended = True
        self._bell.ring()

    def _wait_writes(self, timeout: float | None) -> list[Write] | None:
        """All writes that wait, at least one; none after `timeout` seconds; None when closing."""
        writes: list[Write] = []
        try:
            write = self._queue.get(timeout=timeout)
            while not self._closing and write is not None:
                writes.append(write)
                if len(writes) == _GROUP_MAX:
                    return writes
                write = self._queue.get_nowait()
        except queue.Empty:
            return writes
        return None


class _Bell:
    """Wakes the loop from a thread: an eventfd on Linux, a pipe elsewhere."""

    def __init__(self) -> None:
        if sys.platform == "linux":
            self._out = self._in = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        else:
            self._out, self._in = os.pipe()
            os.set_blocking(self._out, False)
            os.set_blocking(self._in, False)

    def ring(self) -> None:
        """Wake who waits, or who will wait next."""
        with suppress(BlockingIOError):  # it rings already
            os.write(self._in, (1).to_bytes(8, sys.byteorder))

    async def wait(self) -> None:
        """Wait until it has rung since the last wait."""
        await trio.lowlevel.wait_readable(self._out)
        with suppress(BlockingIOError):  # somebody else has heard it
            os.read(self._out, 4096)

    def close(self) -> None:
        """Release it."""
        for descriptor in {self._out, self._in}:
            os.close(descriptor)


@final
class InlineWriter:
    """A `Writer` that performs at once, in the loop: for memory and for simulated disks.

    A real disk that hesitates would stop heartbeats. Proofs are the caller's: `storage.prove()`.
    """

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._completed = 0
        self._told = 0
        self._failure: BaseException | None = None
        self._waiting = trio.lowlevel.ParkingLot()

    def submit(self, write: Write) -> None:
        """Perform `write`. What fails is raised by `wait_completed`, as with a thread."""
        if self._failure is not None:
            raise self._failure
        try:
            self._storage.perform((write,))
            self._completed = write.sequence
        except Exception as error:  # noqa: BLE001 - wait_completed raises it
            self._failure = error
        self._waiting.unpark_all()

    async def wait_completed(self) -> int:
        """Wait until more writes are durable; the sequence of the last. Raises StorageError, finally."""
        await trio.lowlevel.checkpoint_if_cancelled()
        while self._completed == self._told:
            if self._failure is not None:
                raise self._failure
            await self._waiting.park()
        self._told = self._completed
        return self._told
