"""Peers that are away for an hour: a few lines in the log, nothing that grows, and back at once.

What TCP does meanwhile is in `tests/transports/test_tcp_links.py`.
"""

from __future__ import annotations

import gc
import logging
from typing import Any

import pytest
import trio
import trio.testing

from raftkit import NoQuorum
from raftkit.testing import Cluster, local_cluster
from tests.node.machines import Counter

HOUR = 3600.0


def of(name: str, caplog: pytest.LogCaptureFixture) -> list[str]:
    """What that node logged as a warning or worse."""
    return [
        it.message
        for it in caplog.records
        if it.levelno >= logging.WARNING and it.message.startswith(f"{name}: ")
    ]


async def grown_in(seconds: float) -> int:
    """Objects that this process holds more than before, after so long."""
    await trio.sleep(60)  # whatever is made once has been made
    gc.collect()
    before = len(gc.get_objects())
    await trio.sleep(seconds - 60)
    gc.collect()
    return len(gc.get_objects()) - before


async def assert_back_within(seconds: float, cluster: Cluster[Any], count: int) -> None:
    begun = trio.current_time()
    for node in cluster:
        await node.wait_leader()
    assert await cluster["a"].execute(Counter.add()) == count
    assert trio.current_time() - begun < seconds


@pytest.mark.slow
@pytest.mark.accept("U-57")
async def test_an_hour_without_a_majority_is_eleven_lines_and_no_memory(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with local_cluster(Counter, 3, in_memory=True, paranoid=False) as cluster:
        assert await cluster["a"].execute(Counter.add()) == 1
        await cluster.crash("b")
        await cluster.crash("c")
        while cluster["a"].leader is not None:  # noqa: ASYNC110
            await trio.sleep(0.1)
        caplog.clear()
        term = cluster["a"].statistics().term
        with pytest.raises(NoQuorum):
            await cluster["a"].execute(Counter.add(), timeout=5.0)
        grown = await grown_in(HOUR - 5)
        lines = of("a", caplog)
        later = cluster["a"].statistics()

        assert len(lines) == 11  # after 2, 4, 8, … 2048 s
        assert all("1 of 3 voters reachable" in it for it in lines), lines
        assert later.term == term  # it asks before it campaigns
        assert later.open_calls == later.open_reads == later.pending_bytes == 0
        assert grown < 1000
        await cluster.restart("b")
        await cluster.restart("c")
        await assert_back_within(3.0, cluster, 2)


@pytest.mark.slow
async def test_an_hour_of_waiting_to_found_is_eleven_lines_and_no_memory(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with local_cluster(Counter, 3, in_memory=True, start=False, paranoid=False) as cluster:
        await cluster.start("a")
        await cluster.start("b")
        grown = await grown_in(HOUR)

        for name in "ab":
            assert len(of(name, caplog)) == 11
        assert grown < 1000
        await cluster.start("c")
        await assert_back_within(3.0, cluster, 1)
