"""Writers: order, group commit, errors, and leaving cleanly."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

import pytest
import trio
import trio.testing

from raftkit.errors import StorageError
from raftkit.messages import Write
from raftkit.model import Index, Run, Term
from raftkit.storage import Haste, InlineWriter, MemoryStorage, open_writer
from raftkit.testing.storage_conformance import founding_record

NO_HASTE = Haste(bytes_max=-1)
"The loop waits for nothing."


class GatedStorage:
    """Records what is performed together; each `perform` waits until the gate is opened."""

    def __init__(self) -> None:
        self.groups: list[list[int]] = []
        self.proofs = 0
        self.proved = threading.Event()
        self.gate = threading.Semaphore(0)
        self.entered = threading.Semaphore(0)
        self.failure: Exception | None = None

    def perform(self, writes: Sequence[Write]) -> None:
        self.entered.release()
        assert self.gate.acquire(timeout=10)
        if self.failure is not None:
            raise self.failure
        self.groups.append([write.sequence for write in writes])

    def prove(self) -> None:
        self.proofs += 1
        self.proved.set()


async def wait_entered(storage: GatedStorage) -> None:
    await trio.to_thread.run_sync(storage.entered.acquire)


async def test_writes_that_wait_are_performed_together_and_in_order() -> None:
    storage = GatedStorage()
    async with open_writer(storage, haste=NO_HASTE) as writer:  # type: ignore[arg-type]
        writer.submit(Write(sequence=1))
        await wait_entered(storage)
        for sequence in (2, 3, 4):
            writer.submit(Write(sequence=sequence))
        storage.gate.release()
        assert await writer.wait_completed() == 1
        storage.gate.release()
        assert await writer.wait_completed() == 4

    assert storage.groups == [[1], [2, 3, 4]]


async def test_error_is_raised_by_every_later_call() -> None:
    storage = GatedStorage()
    storage.failure = StorageError("no")
    async with open_writer(storage, haste=NO_HASTE) as writer:  # type: ignore[arg-type]
        writer.submit(Write(sequence=1))
        storage.gate.release()
        for _ in range(2):
            with pytest.raises(StorageError, match="no"), trio.fail_after(10):
                await writer.wait_completed()
        with pytest.raises(StorageError, match="no"):
            writer.submit(Write(sequence=2))


async def test_leaving_finishes_what_is_under_way_drops_the_rest_and_blocks_nobody() -> None:
    storage = GatedStorage()

    async def open_gate() -> None:
        await trio.sleep(0.01)  # by then the writer is being left, and the loop must still turn
        storage.gate.release()

    async with trio.open_nursery() as nursery:
        with trio.CancelScope() as scope:
            async with open_writer(storage, haste=NO_HASTE) as writer:  # type: ignore[arg-type]
                writer.submit(Write(sequence=1))
                await wait_entered(storage)
                writer.submit(Write(sequence=2))
                nursery.start_soon(open_gate)
                scope.cancel()

    assert storage.groups == [[1]]
    assert not [thread for thread in threading.enumerate() if thread.name == "raftkit-writer"]


async def test_cancelled_wait_has_forgotten_nothing() -> None:
    storage = GatedStorage()
    async with open_writer(storage, haste=NO_HASTE) as writer:  # type: ignore[arg-type]
        writer.submit(Write(sequence=1))
        await wait_entered(storage)
        with trio.move_on_after(0):
            await writer.wait_completed()
        storage.gate.release()

        assert await writer.wait_completed() == 1


async def test_pause_is_proved_once() -> None:
    storage = GatedStorage()
    async with open_writer(storage, prove_after=0.001, haste=NO_HASTE) as writer:  # type: ignore[arg-type]
        assert not await trio.to_thread.run_sync(storage.proved.wait, 0.01)
        writer.submit(Write(sequence=1))
        storage.gate.release()
        await writer.wait_completed()
        assert await trio.to_thread.run_sync(storage.proved.wait, 10)
        await trio.sleep(0.01)

    assert storage.proofs == 1


class TimedStorage:
    """Takes as long as it is told to."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.performed: list[int] = []
        self.failure: Exception | None = None

    def perform(self, writes: Sequence[Write]) -> None:
        time.sleep(self.seconds)
        if self.failure is not None:
            raise self.failure
        self.performed += [write.sequence for write in writes]

    def prove(self) -> None:
        pass


def run_of(size: int) -> Run:
    return Run(first=Index(1), term=Term(1), time_ns=0, elapsed_ns=0, payloads=(bytes(size),))


async def test_while_the_disk_is_quick_the_loop_waits_for_it() -> None:
    storage = TimedStorage()
    haste = Haste(slow_seconds=10.0, late_seconds=10.0)
    async with open_writer(storage, haste=haste) as writer:  # type: ignore[arg-type]
        assert [writer.submit(Write(sequence=it)) for it in (1, 2, 3)] == [True] * 3

    assert storage.performed == [1, 2, 3]


async def test_what_is_late_is_waited_for_by_nobody_but_who_asks() -> None:
    """However long the disk takes, the loop is held up for no longer than is allowed."""
    storage = GatedStorage()
    async with open_writer(storage) as writer:  # type: ignore[arg-type]
        assert not writer.submit(Write(sequence=1))
        assert not writer.submit(Write(sequence=2))
        for sequence in (1, 2):
            storage.gate.release()
            assert await writer.wait_completed() == sequence


async def test_a_disk_that_was_late_is_not_waited_for_for_a_while() -> None:
    """Once is enough: the next writes stop nobody, though this one would be done at once."""
    storage = GatedStorage()
    haste = Haste(slow_seconds=10.0, late_seconds=0.05, pause_seconds=60.0)
    async with open_writer(storage, haste=haste) as writer:  # type: ignore[arg-type]
        assert not writer.submit(Write(sequence=1))
        storage.gate.release()
        with trio.fail_after(10):
            assert await writer.wait_completed() == 1
        storage.gate.release()
        assert not writer.submit(Write(sequence=2))
        assert await writer.wait_completed() == 2


async def test_a_disk_that_was_slow_is_not_waited_for_for_a_while() -> None:
    """Slow on the average, though never late."""
    storage = TimedStorage()
    haste = Haste(slow_seconds=0.0001, late_seconds=10.0, pause_seconds=60.0)
    async with open_writer(storage, haste=haste) as writer:  # type: ignore[arg-type]
        storage.seconds = 0.003
        assert writer.submit(Write(sequence=1))
        storage.seconds = 0.0
        assert not writer.submit(Write(sequence=2))
        assert await writer.wait_completed() == 2


async def test_a_disk_is_trusted_again_after_a_while() -> None:
    storage = TimedStorage()
    haste = Haste(slow_seconds=0.0001, late_seconds=10.0, pause_seconds=0.05)
    async with open_writer(storage, haste=haste) as writer:  # type: ignore[arg-type]
        storage.seconds = 0.003
        assert writer.submit(Write(sequence=1))
        await trio.sleep(0.06)
        assert writer.submit(Write(sequence=2))


async def test_what_is_large_or_comes_after_what_is_under_way_is_not_waited_for() -> None:
    storage = TimedStorage()
    haste = Haste(slow_seconds=10.0, late_seconds=10.0, bytes_max=100)
    async with open_writer(storage, haste=haste) as writer:  # type: ignore[arg-type]
        storage.seconds = 0.05
        assert not writer.submit(Write(sequence=1, runs=(run_of(101),)))
        assert not writer.submit(Write(sequence=2, runs=(run_of(1),)))
        while await writer.wait_completed() < 2:
            pass
        assert writer.submit(Write(sequence=3, runs=(run_of(100),)))


async def test_what_fails_while_the_loop_waits_is_final() -> None:
    storage = TimedStorage()
    storage.failure = StorageError("no")
    async with open_writer(storage, haste=Haste(late_seconds=10.0)) as writer:  # type: ignore[arg-type]
        assert not writer.submit(Write(sequence=1))
        with pytest.raises(StorageError, match="no"):
            await writer.wait_completed()
        with pytest.raises(StorageError, match="no"):
            writer.submit(Write(sequence=2))


async def test_inline_writer_performs_at_once_and_wakes_who_waits() -> None:
    storage = MemoryStorage("a")
    storage.found(founding_record(storage))
    writer = InlineWriter(storage)
    seen: list[int] = []

    async def wait() -> None:
        seen.append(await writer.wait_completed())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked()
        writer.submit(Write(sequence=1, hard_state=(Term(2), None)))
        writer.submit(Write(sequence=2, hard_state=(Term(3), None)))

    assert seen == [2]
    assert storage.reopen().recovered.term == 3


async def test_inline_writer_reports_errors_as_a_thread_does() -> None:
    storage = MemoryStorage("a")
    storage.found(founding_record(storage))
    storage.close()
    writer = InlineWriter(storage)
    writer.submit(Write(sequence=1))

    for _ in range(2):
        with pytest.raises(StorageError):
            await writer.wait_completed()
    with pytest.raises(StorageError):
        writer.submit(Write(sequence=2))
