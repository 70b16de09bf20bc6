"""Groups in parts: the majority goes on, a minority only reads, and nothing is ever decided twice.

The network loses everything between the parts and tells nobody, as a cut cable does.
"""

from __future__ import annotations

from typing import Any

import pytest
import trio
import trio.testing

from raftkit import NoQuorum, OutcomeUnknown
from raftkit.testing import Cluster, local_cluster
from tests.node.machines import Journal

ELECTED = 3.0
"Seconds after which whoever can lead does, and whoever can't has noticed."


async def write(cluster: Cluster[Journal], name: str, line: str) -> None:
    await cluster[name].execute(Journal.write(line=line))


async def lines(cluster: Cluster[Journal], name: str, **how: Any) -> list[str]:
    return await cluster[name].read(Journal.read(), **how)


async def assert_read_only(cluster: Cluster[Journal], names: str, expected: list[str]) -> None:
    """These nodes neither write nor claim to know the newest; what they have is read when asked for."""
    for name in names:
        with pytest.raises(NoQuorum):
            await cluster[name].execute(Journal.write(line=f"never {name}"), timeout=1.0)
        with pytest.raises(NoQuorum, match="no leader"):
            await lines(cluster, name, timeout=1.0)
        assert await lines(cluster, name, consistency="local") == expected


@pytest.mark.slow
@pytest.mark.parametrize("leader_in", ["majority", "minority"])
@pytest.mark.accept("C-41", "C-42", "C-43")
async def test_the_majority_goes_on_a_minority_reads_and_both_are_one_again(
    autojump_clock: trio.testing.MockClock, leader_in: str
) -> None:
    async with local_cluster(Journal, 5, in_memory=True) as cluster:
        leader = await cluster.wait_leader()
        others = [it for it in cluster.members if it != leader.id]
        few = [leader.id, others[0]] if leader_in == "minority" else others[:2]
        minority, majority = "".join(few), "".join(it for it in cluster.members if it not in few)
        await write(cluster, majority[0], "before")
        for node in cluster:
            await lines(cluster, node.id)
        cluster.partition(majority, minority)
        await trio.sleep(ELECTED)

        for name in majority:
            await write(cluster, name, name)
        decided = ["before", *majority]
        assert {cluster[name].leader for name in minority} == {None}
        await assert_read_only(cluster, minority, ["before"])
        term = cluster[majority[0]].statistics().term
        await trio.sleep(15)  # the minority asks for votes all the while
        cluster.heal()
        await trio.sleep(ELECTED)

        assert {node.statistics().term for node in cluster} == {term}  # and disturbs nobody
        for node in cluster:
            assert await lines(cluster, node.id) == decided


@pytest.mark.slow
@pytest.mark.accept("P-20", "O-84")
async def test_only_the_majority_changes_the_state(autojump_clock: trio.testing.MockClock) -> None:
    """In every split of five in two, with a leader that was cut off unawares, one history is left."""
    async with local_cluster(Journal, 5, in_memory=True) as cluster:
        told = ["first"]
        await write(cluster, "a", "first")
        for node in cluster:
            assert await lines(cluster, node.id) == told
        for turn, few in enumerate(("ab", "cd", "ae", "b", "c"), 1):
            many = "".join(it for it in "abcde" if it not in few)
            cluster.partition(few, many)
            committed = [cluster[name].statistics().commit_index for name in few]
            for name in few:  # before anybody has noticed
                with pytest.raises((OutcomeUnknown, NoQuorum)):
                    await cluster[name].execute(
                        Journal.write(line=f"{turn} {name}"), session=None, timeout=0.05
                    )
            await write(cluster, many[0], f"{turn} {many[0]}")
            told.append(f"{turn} {many[0]}")
            for name in few:
                assert await lines(cluster, name, consistency="local") == told[:-1]
            assert [cluster[name].statistics().commit_index for name in few] == committed
            cluster.heal()
            for node in cluster:
                assert await lines(cluster, node.id) == told


@pytest.mark.accept("P-22")
async def test_two_that_lose_each_other_decide_nothing(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with local_cluster(Journal, 2, in_memory=True) as cluster:
        await write(cluster, "a", "before")
        for name in "ab":
            await lines(cluster, name)
        before = {node.statistics().commit_index for node in cluster}
        cluster.partition("a", "b")
        async with trio.open_nursery() as nursery:
            for name in "ab":
                nursery.start_soon(expect_nothing_told, cluster, name)
        await trio.sleep(ELECTED)

        assert {node.status for node in cluster} & {"leader"} == set()
        assert {node.statistics().commit_index for node in cluster} == before
        await assert_read_only(cluster, "ab", ["before"])
        cluster.heal()
        await write(cluster, "b", "after")
        for name in "ab":
            assert (await lines(cluster, name))[-1] == "after"


async def expect_nothing_told(cluster: Cluster[Journal], name: str) -> None:
    with pytest.raises((OutcomeUnknown, NoQuorum)):
        await cluster[name].execute(Journal.write(line=f"never {name}"), timeout=5.0)
