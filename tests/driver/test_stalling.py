"""A deadline on the oldest write that is under way, and what is said when it passes."""

from __future__ import annotations

import math
from typing import Any

import attrs
import pytest
import trio
import trio.testing

from raftkit.driver.events import DiskRecovered, DiskStalled
from raftkit.driver.stalling import Stalling
from raftkit.messages import StorageStalled, Write


@attrs.define
class Kept:
    """A writer that finishes nothing."""

    writes: list[Write] = attrs.field(factory=list[Write])

    def submit(self, write: Write) -> bool:
        self.writes.append(write)
        return False

    async def wait_completed(self) -> int:
        await trio.sleep_forever()


class Watched:
    """Writes of a node that may take 2 s, and what it publishes."""

    def __init__(self, seconds: float | None = 2.0) -> None:
        self.events: list[DiskStalled | DiskRecovered] = []
        self.writer: Any = Kept()
        self.stalling = Stalling(
            id="a", seconds=seconds, raft=lambda: None, publish=self.events.append
        )

    def submit(self, sequence: int) -> None:
        self.stalling.submit(self.writer, Write(sequence=sequence))

    def collect(self) -> list[StorageStalled]:
        return self.stalling.collect(trio.current_time())


async def test_write_is_given_on(autojump_clock: trio.testing.MockClock) -> None:
    it = Watched()
    it.submit(1)

    assert it.writer.writes == [Write(sequence=1)]


async def test_core_is_told_of_a_late_write_when_it_is_late_and_once(
    autojump_clock: trio.testing.MockClock,
) -> None:
    it = Watched()
    begun = trio.current_time()
    it.submit(1)
    await trio.sleep(1.9)
    it.submit(2)
    early, due = it.collect(), it.stalling.deadline()
    await trio.sleep_until(due)

    assert early == []
    assert due == begun + 2.0
    assert it.collect() == [StorageStalled(sequence=1)]
    assert it.collect() == []
    assert it.stalling.deadline() == math.inf
    assert it.events == [DiskStalled(seconds=2.0)]


@pytest.mark.parametrize("begun", [1e-3 * n for n in range(0, 2000, 61)])
async def test_at_its_deadline_a_write_is_late(
    autojump_clock: trio.testing.MockClock, begun: float
) -> None:
    """However numbers are rounded: or the loop would wake for nothing, and never sleep again."""
    it = Watched(0.1)
    await trio.sleep_until(begun)
    it.submit(1)
    await trio.sleep_until(it.stalling.deadline())

    assert it.stalling.collect(it.stalling.deadline()) == [StorageStalled(sequence=1)]


async def test_each_late_write_is_told_and_the_stall_is_one(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """The first is done and the second is late by then: the disk stands still all the time."""
    it = Watched()
    it.submit(1)
    it.submit(2)
    await trio.sleep(3)
    first = it.collect()
    it.stalling.on_persisted(1)
    second = it.collect()
    it.stalling.on_persisted(2)

    assert (first, second) == ([StorageStalled(sequence=1)], [StorageStalled(sequence=2)])
    assert it.events == [DiskStalled(seconds=2.0 + 1.0), DiskRecovered(seconds=3.0)]
    assert it.stalling.stalled_seconds is None


async def test_disk_that_finishes_in_time_is_not_late(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """However many writes it has: each has a time of its own."""
    it = Watched()
    for sequence in range(1, 9):
        it.submit(sequence)
        await trio.sleep(1)
        it.stalling.on_persisted(sequence - 1)

    assert it.collect() == []
    assert it.events == []


async def test_idle_disk_is_not_late(autojump_clock: trio.testing.MockClock) -> None:
    it = Watched()
    it.submit(1)
    it.stalling.on_persisted(1)
    await trio.sleep(100)

    assert it.collect() == []
    assert it.stalling.deadline() == math.inf


@pytest.mark.parametrize("seconds, patience", [(None, 1.0), (0.5, 0.5), (math.inf, math.inf)])
async def test_patience_is_what_was_said(seconds: float | None, patience: float) -> None:
    """A node that belongs to no group yet has no election timeouts to go by."""
    assert Watched(seconds).stalling.patience == patience
