"""Who calls `perform`: the loop itself while the disk is quick, a thread beside it when it isn't.

    async with open_writer(storage) as writer:
        if not writer.submit(write):
            sequence = await writer.wait_completed()

Laws: writes are performed in the order in which they were submitted; all that wait go in one `perform`,
so one sync serves them all (group commit). An error is final and is raised by every later call.
"""

from __future__ import annotations

import os
import queue
import sys
import threading
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from typing import final

import trio

from raftkit.messages import Write
from raftkit.storage.base import Storage

__all__ = ["DiskWriter", "Haste", "InlineWriter", "open_writer"]

_GROUP_MAX = 1024
"Writes in one `perform`: bounds the time until the first of them is answered."


@asynccontextmanager
async def open_writer(
    storage: Storage, *, prove_after: float = 0.05, haste: Haste | None = None
) -> AsyncGenerator[DiskWriter]:
    """A writer for a real disk. On leaving, what its thread is at is finished; the rest is dropped.

    After `prove_after` seconds without a write, a proof record is written once. `haste` says what the loop
    may do itself. Leaving waits for the disk, whatever is cancelled: the storage may be closed only when
    nobody uses it.
    """
    writer = DiskWriter(storage, prove_after, Haste() if haste is None else haste)
    try:
        yield writer
    finally:
        with trio.CancelScope(shield=True):
            await writer.aclose()


@final
class Haste:
    """Whether the loop may wait for the disk itself.

    A sync of 0.1 ms is over before a thread has been woken and has said so, and costs a third as much; one
    that takes longer stops heartbeats, and whatever else runs in this loop. So what a disk did last is
    what it is trusted with: after a write that was late, or some that were slow, the thread does a second's.
    """

    def __init__(
        self,
        *,
        slow_seconds: float = 0.001,
        late_seconds: float = 0.005,
        bytes_max: int = 256 * 1024,
        pause_seconds: float = 1.0,
    ) -> None:
        """Writes of up to `bytes_max` of payload that take `slow_seconds` on the average, and none of them
        `late_seconds`. After one that does the thread has the next `pause_seconds`.
        """
        self._slow = slow_seconds
        self._late = late_seconds
        self._bytes_max = bytes_max
        self._pause = pause_seconds
        self._mean = 0.0
        "Seconds of the last writes, weighted by how recent they are."
        self._resumes = 0.0
        "When the loop is trusted again."

    def allows(self, write: Write) -> bool:
        """Whether to perform `write` in the loop."""
        return (
            time.monotonic() >= self._resumes
            and write.chunk is None
            and sum(run.size for run in write.runs) <= self._bytes_max
        )

    def judge(self, seconds: float) -> None:
        """The loop waited so long for a write."""
        self._mean += (seconds - self._mean) / 16
        if seconds > self._late or self._mean > self._slow:
            self._mean, self._resumes = 0.0, time.monotonic() + self._pause


@final
class DiskWriter:
    """A `Writer` for a disk: performs at once what `Haste` allows, and the rest in a thread of its own.

    The thread is woken by a queue and answers by a descriptor that the loop waits on: half the latency of
    a trip through trio's thread pool. The queue is bounded by the core, which limits its uncommitted bytes.
    """

    def __init__(self, storage: Storage, prove_after: float, haste: Haste) -> None:
        self._storage = storage
        self._prove_after = prove_after
        self._haste = haste
        self._queue: queue.SimpleQueue[Write | None] = queue.SimpleQueue()
        "None makes the thread look up."
        self._closing = False
        self._queued = 0
        "Sequence of the last write that the thread was given."
        self._using = threading.Lock()
        "Held by whoever is at the storage."
        self._proved = True
        "Nothing was written since the last proof."
        self._written_at = 0.0
        "When the last write was done, on the monotonic clock."
        # Who performs writes these; the thread then rings, and the loop hears it and reads them.
        self._completed = 0
        self._failure: BaseException | None = None
        self._ended = False
        self._told = 0
        self._bell = _Bell()
        self._thread = threading.Thread(target=self._run, name="raftkit-writer", daemon=True)
        self._thread.start()

    def submit(self, write: Write) -> bool:
        """Perform a write, or queue it: whether it is durable already. Raises what an earlier one did."""
        if self._failure is not None:
            raise self._failure
        is_next = self._completed >= self._queued
        if is_next and self._haste.allows(write) and self._using.acquire(blocking=False):
            try:
                return self._perform_here(write)
            finally:
                self._using.release()
        self._queued = write.sequence
        self._queue.put(write)
        return False

    @trio.lowlevel.enable_ki_protection  # or Ctrl-C would leave half a record
    def _perform_here(self, write: Write) -> bool:
        """Perform it in the loop. What fails is raised by `wait_completed`, as with the thread."""
        began = time.monotonic()
        try:
            self._storage.perform((write,))
        except BaseException as error:  # noqa: BLE001 - wait_completed raises it
            self._failure = error
            self._bell.ring()
            return False
        self._completed = self._told = write.sequence
        self._written_at = time.monotonic()
        self._haste.judge(self._written_at - began)
        if self._proved:
            self._proved = False
            self._queue.put(None)  # from now on it waits for a pause
        return True

    async def wait_completed(self) -> int:
        """Wait until more of what was queued is durable; the sequence of the last. One task at a time.

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
            while (writes := self._wait_writes()) is not None:
                with self._using:
                    self._perform(writes)
        except BaseException as error:  # noqa: BLE001 - the loop raises it
            self._failure = error
        self._ended = True
        self._bell.ring()

    def _perform(self, writes: list[Write]) -> None:
        if writes:
            self._storage.perform(writes)
            self._written_at = time.monotonic()
            self._proved = False
            self._completed = writes[-1].sequence
            self._bell.ring()
        elif self._pause() == 0.0:
            self._storage.prove()
            self._proved = True

    def _wait_writes(self) -> list[Write] | None:
        """All writes that wait; none when there is something to prove; None when closing."""
        writes: list[Write] = []
        while not self._closing and len(writes) < _GROUP_MAX:
            try:
                write = self._queue.get(timeout=0.0 if writes else self._pause())
            except queue.Empty:
                return writes
            if write is not None:
                writes.append(write)
        return None if self._closing else writes

    def _pause(self) -> float | None:
        """How long nothing must be written from now on until that is to be proved; None if it is."""
        if self._proved:
            return None
        return max(0.0, self._written_at + self._prove_after - time.monotonic())


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

    def submit(self, write: Write) -> bool:
        """Perform `write`, and let `wait_completed` tell. That raises what fails, too."""
        if self._failure is not None:
            raise self._failure
        try:
            self._storage.perform((write,))
            self._completed = write.sequence
        except Exception as error:  # noqa: BLE001 - wait_completed raises it
            self._failure = error
        self._waiting.unpark_all()
        return False

    async def wait_completed(self) -> int:
        """Wait until more writes are durable; the sequence of the last. Raises StorageError, finally."""
        await trio.lowlevel.checkpoint_if_cancelled()
        while self._completed == self._told:
            if self._failure is not None:
                raise self._failure
            await self._waiting.park()
        self._told = self._completed
        return self._told
