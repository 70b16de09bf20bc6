"""A node says which command held it up."""

from __future__ import annotations

import time
from collections.abc import Iterable

import attrs
import pytest
import trio

from raftkit import BytesStateMachine, StateMachine, command
from raftkit.driver import EventStream, SlowCommand
from raftkit.statemachine import Batch
from raftkit.testing import local_cluster
from tests.node.test_snapshots_and_files import QUICK

PAUSE = 0.05


@attrs.define
class Sleeper(StateMachine):
    total: int = 0

    @command
    def add(self) -> int:
        self.total += 1
        return self.total

    @command
    def doze(self) -> int:
        time.sleep(PAUSE)
        return self.total


class SleepingBytes(BytesStateMachine):
    def apply(self, batch: Batch) -> list[bytes]:
        time.sleep(PAUSE)
        return list(batch.commands)

    def snapshot(self) -> list[bytes]:
        return []

    def restore(self, chunks: Iterable[bytes]) -> None:
        assert not any(chunks)


async def slow_command(stream: EventStream, name: str) -> SlowCommand:
    """The next event that names this command; a busy machine may make others slow, too."""
    with trio.fail_after(5):
        while True:
            event = await stream.receive()
            if isinstance(event, SlowCommand) and event.command == name:
                return event


async def test_a_command_longer_than_a_heartbeat_is_named(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with local_cluster(Sleeper, 1, in_memory=True, **QUICK) as cluster:
        node = cluster["a"]
        await node.execute(Sleeper.add())
        stream = node.events()
        await node.execute_many([Sleeper.add(), Sleeper.doze(), Sleeper.add()])
        event = await slow_command(stream, "Sleeper.doze")

        assert event.index == node.statistics().applied_index - 1
        assert event.seconds >= PAUSE
    assert "in which nothing else ran" in caplog.text


async def test_a_slow_batch_is_named_by_its_machine() -> None:
    async with local_cluster(SleepingBytes, 1, in_memory=True, paranoid=False, **QUICK) as cluster:
        node = cluster["a"]
        stream = node.events()
        await node.execute(b"x")
        event = await slow_command(stream, "SleepingBytes.apply")

        assert event.index == node.statistics().applied_index
