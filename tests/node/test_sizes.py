"""Groups of each size: how many of their nodes may fail, and what is said of those too small for any.

With f failures a group of 2f + 1 goes on and has lost nothing; with one more it decides nothing, and says so.
"""

from __future__ import annotations

import logging

import pytest
import trio
import trio.testing

from raftkit import NoQuorum
from raftkit.testing import local_cluster
from tests.node.machines import Counter

FEW = "decides nothing while one is away"


async def assert_tolerates(size: int, failures: int) -> None:
    """A group of that size outlives the crashes of so many nodes, its leaders first, and of no more."""
    async with local_cluster(Counter, size, in_memory=True) as cluster:
        assert len({(await node.wait_leader(), node.statistics().term) for node in cluster}) == 1
        done = 0
        for crashed in range(failures + 1):
            for node in cluster:
                done += 1
                assert await node.execute(Counter.add()) == done
            for node in cluster:
                assert await node.read(Counter.value()) == done
            if crashed < failures:
                await cluster.crash((await cluster.wait_leader()).id)
        assert (await cluster.wait_leader()).statistics().votes.quorate
        await cluster.crash((await cluster.wait_leader()).id)
        await trio.sleep(5)
        for node in cluster:
            assert not node.statistics().votes.quorate
            with pytest.raises(NoQuorum):
                await node.execute(Counter.add(), timeout=1.0)
            assert await node.read(Counter.value(), consistency="local") <= done
        for name in cluster.members:
            if name not in {node.id for node in cluster}:
                await cluster.restart(name)
        for node in cluster:
            assert await node.read(Counter.value()) == done


@pytest.mark.accept("C-07", "P-24", "C-01")
async def test_three_tolerate_one_failure(autojump_clock: trio.testing.MockClock) -> None:
    await assert_tolerates(3, 1)


async def test_four_tolerate_no_more_than_three(autojump_clock: trio.testing.MockClock) -> None:
    await assert_tolerates(4, 1)


@pytest.mark.accept("C-08")
async def test_five_tolerate_two_failures(autojump_clock: trio.testing.MockClock) -> None:
    await assert_tolerates(5, 2)


@pytest.mark.slow
@pytest.mark.accept("C-09")
async def test_seven_tolerate_three_failures(autojump_clock: trio.testing.MockClock) -> None:
    await assert_tolerates(7, 3)


@pytest.mark.accept("C-06")
async def test_one_runs_and_is_warned_of(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with local_cluster(Counter, 1, in_memory=True) as cluster:
        assert await cluster["a"].execute(Counter.add()) == 1
        await cluster.crash("a")
        await cluster.restart("a")
        assert await cluster["a"].read(Counter.value()) == 1

    assert (
        warnings(caplog)
        == [  # at each start
            f"a: a group of 1 {FEW}: for production have 3 voters"
        ]
        * 2
    )


@pytest.mark.parametrize("size", [1, 2, 3, 4])
@pytest.mark.accept("Q-13", "O-93")
async def test_two_or_more_work_and_less_than_three_are_warned_of(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture, size: int
) -> None:
    async with local_cluster(Counter, size, in_memory=True) as cluster:
        for done, node in enumerate(cluster, 1):
            assert await node.execute(Counter.add()) == done
        names = sorted(cluster.members)

    warned = [] if size > 2 else names
    assert sorted(warnings(caplog)) == [
        f"{name}: a group of {size} {FEW}: for production have 3 voters" for name in warned
    ]


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    """All that was logged as one or worse."""
    return [it.message for it in caplog.records if it.levelno >= logging.WARNING]
