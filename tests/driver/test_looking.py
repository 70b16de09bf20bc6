"""An idle node wakes for its housekeeping a few times a second, and once for all of it."""

from __future__ import annotations

from contextlib import AsyncExitStack

import attrs
import pytest
import trio
import trio.testing

from raftkit.driver.looking import next_look
from raftkit.testing import local_cluster
from tests.node.machines import Counter


@pytest.mark.parametrize("seconds", [0.5, 1.0])
async def test_the_next_look_is_ahead_and_at_most_its_time_away(
    autojump_clock: trio.testing.MockClock, seconds: float
) -> None:
    for pause in (0.0, 0.2, 0.5, 1.0, 1e-9, 0.75):
        await trio.sleep(pause)
        now = trio.current_time()

        assert now < next_look(seconds) <= now + seconds


async def test_those_who_look_at_different_times_of_the_same_second_meet(
    autojump_clock: trio.testing.MockClock,
) -> None:
    await trio.sleep(0.3)
    early = next_look(1.0)
    await trio.sleep(0.4)

    assert next_look(1.0) == early
    assert next_look(0.5) == early


@attrs.define(eq=False)
class Wakings(trio.abc.Instrument):
    """At which moments of virtual time anything ran."""

    moments: set[float] = attrs.field(factory=set[float])

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self.moments.add(trio.current_time())


async def test_idle_nodes_wake_twice_a_second_whenever_they_were_opened(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Each of a group of its own, so that there are no heartbeats."""
    async with AsyncExitStack() as stack:
        for _ in range(3):
            cluster = await stack.enter_async_context(local_cluster(Counter, 1, in_memory=True))
            await cluster.wait_leader()
            await trio.sleep(0.13)
        await trio.sleep(5)  # what is done once after the start
        trio.lowlevel.add_instrument(wakings := Wakings())
        await trio.sleep(10)
        trio.lowlevel.remove_instrument(wakings)

        assert len(wakings.moments) < 2.5 * 10
