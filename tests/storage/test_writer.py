"""Writers: order, group commit, errors, and leaving cleanly."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import pytest
import trio
import trio.testing

from raftkit.errors import StorageError
from raftkit.messages import Write
from raftkit.model import Term
from raftkit.storage import InlineWriter, MemoryStorage, open_writer
from raftkit.testing.storage_conformance import founding_record


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
    async with open_writer(storage) as writer:  # type: ignore[arg-type]
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
    async with open_writer(storage) as writer:  # type: ignore[arg-type]
        writer.submit(Write(sequence=1))
        storage.gate.release()
        for _ in range(2):
            with pytest.raises(StorageError, match="no"):
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
            async with open_writer(storage) as writer:  # type: ignore[arg-type]
                writer.submit(Write(sequence=1))
                await wait_entered(storage)
                writer.submit(Write(sequence=2))
                nursery.start_soon(open_gate)
                scope.cancel()

    assert storage.groups == [[1]]
    assert not [thread for thread in threading.enumerate() if thread.name == "raftkit-writer"]


async def test_cancelled_wait_has_forgotten_nothing() -> None:
    storage = GatedStorage()
    async with open_writer(storage) as writer:  # type: ignore[arg-type]
        writer.submit(Write(sequence=1))
        await wait_entered(storage)
        with trio.move_on_after(0):
            await writer.wait_completed()
        storage.gate.release()

        assert await writer.wait_completed() == 1


async def test_pause_is_proved_once() -> None:
    storage = GatedStorage()
    async with open_writer(storage, prove_after=0.001) as writer:  # type: ignore[arg-type]
        assert not await trio.to_thread.run_sync(storage.proved.wait, 0.01)
        writer.submit(Write(sequence=1))
        storage.gate.release()
        await writer.wait_completed()
        assert await trio.to_thread.run_sync(storage.proved.wait, 10)
        await trio.sleep(0.01)

    assert storage.proofs == 1


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
