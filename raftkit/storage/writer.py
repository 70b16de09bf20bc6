"""Who calls `perform`: a thread, for which the loop waits a moment as long as the disk is quick.

    async with open_writer(storage) as writer:
        if not writer.submit(write):
            sequence = await writer.wait_completed()

Laws: writes are performed in the order in which they were submitted; all that wait go in one `perform`,
so one sync serves them all (group commit). An error is final and is raised by every later call. Nothing
waits for the disk itself: the loop, for a few milliseconds at most, waits for the thread.
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

    After `prove_after` seconds without a write, a proof record is written once. `haste` says for what the
    loop waits. Leaving waits for the disk, whatever is cancelled: the storage may be closed only when
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
    """Whether the loop waits for a write, and how long.

    A sync of 0.1 ms is over before the loop could have gone to sleep and been woken again: to wait costs half
    of that. One that takes longer would stop heartbeats, and whatever else runs in this loop. So what a disk
    did last is what it is trusted with: after a write that was late, or some that were slow, nobody waits for
    a second. Nor for a large write: then there is much to do meanwhile, and the next batch to be gathered.
    """

    def __init__(
        self,
        *,
        slow_seconds: float = 0.001,
        late_seconds: float = 0.005,
        bytes_max: int = 4096,
        pause_seconds: float = 1.0,
    ) -> None:
        """Waits `late_seconds` at most, for writes of up to `bytes_max` of payload, while they take less than
        `slow_seconds` on the average; for none in the `pause_seconds` after one that was late.
        """
        self.late_seconds = late_seconds
        self._slow = slow_seconds
        self._bytes_max = bytes_max
        self._pause = pause_seconds
        self._mean = 0.0
        "Seconds of the last writes, weighted by how recent they are."
        self._resumes = 0.0
        "When the disk is trusted again."

    def allows(self, write: Write) -> bool:
        """Whether to wait for `write`."""
        return (
            time.monotonic() >= self._resumes
            and write.chunk is None
            and sum(run.size for run in write.runs) <= self._bytes_max
        )

    def judge(self, seconds: float) -> None:
        """The loop waited so long for a write."""
        self._mean += (seconds - self._mean) / 16
        if seconds >= self.late_seconds or self._mean > self._slow:
            self._mean, self._resumes = 0.0, time.monotonic() + self._pause


@final
class DiskWriter:
    """A `Writer` in its own thread, woken by a queue.

    It answers by a lock where the loop waits, and else by a descriptor on which the loop sleeps: half the
    latency of a trip through trio's thread pool. The queue is bounded by the core, which limits its
    uncommitted bytes.
    """

    def __init__(self, storage: Storage, prove_after: float, haste: Haste) -> None:
        self._storage = storage
        self._prove_after = prove_after
        self._haste = haste
        self._queue: queue.SimpleQueue[Write | None] = queue.SimpleQueue()
        self._closing = False
        self._submitted = 0
        "Sequence of the last write that was queued."
        # The thread writes these and then answers or rings; the loop hears it and then reads them.
        self._completed = 0
        self._failure: BaseException | None = None
        self._ended = False
        self._told = 0
        self._answering = threading.Lock()
        "Held by whoever looks at the next, and acts on it."
        self._awaited: threading.Lock | None = None
        "For this the loop waits, until the thread releases it."
        self._bell = _Bell()
        self._thread = threading.Thread(target=self._run, name="raftkit-writer", daemon=True)
        self._thread.start()

    def submit(self, write: Write) -> bool:
        """Queue a write, and wait if `Haste` allows that: whether it is durable already.

        Raises what the thread failed with.
        """
        if self._failure is not None:
            raise self._failure
        awaited: threading.Lock | None = None
        with self._answering:
            if self._completed == self._submitted and self._haste.allows(write):
                awaited = threading.Lock()
                awaited.acquire()
            self._submitted, self._awaited = write.sequence, awaited
        self._queue.put(write)
        return awaited is not None and self._is_done_in_time(awaited)

    def _is_done_in_time(self, awaited: threading.Lock) -> bool:
        """Wait until what was queued is performed, or until that is late."""
        began = time.monotonic()
        awaited.acquire(timeout=self._haste.late_seconds)
        self._haste.judge(time.monotonic() - began)
        with self._answering:
            # What is not performed by now is waited for by nobody here: the thread rings.
            self._awaited, done = None, self._completed == self._submitted
            if done:
                self._told = self._completed
        return done

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
            proved = True
            while (
                writes := self._wait_writes(self._prove_after if not proved else None)
            ) is not None:
                if writes:
                    self._storage.perform(writes)
                    self._answer(writes[-1].sequence)
                else:
                    self._storage.prove()
                proved = not writes
        except BaseException as error:  # noqa: BLE001 - the loop raises it
            self._failure = error
        self._ended = True
        self._answer(self._completed)
        self._bell.ring()

    def _answer(self, completed: int) -> None:
        """Tell how far it is, where that is waited for."""
        with self._answering:
            self._completed = completed
            awaited, self._awaited = self._awaited, None
        if awaited is not None:
            awaited.release()
        else:
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
