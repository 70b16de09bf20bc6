"""Groups of every size, and that all members are linked to all, over TCP."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import pytest
import trio
import trio.testing

from raftkit import AddLearner
from raftkit.model import Index
from raftkit.testing import local_cluster
from tests.node.machines import Counter
from tests.node.tcp_group import open_group, until
from tests.transports.parts import free_addresses


@pytest.mark.slow
@pytest.mark.parametrize("size", range(1, 8))
@pytest.mark.accept("Q-01")
async def test_groups_of_one_to_seven_decide_together(
    autojump_clock: trio.testing.MockClock, size: int
) -> None:
    """Any node takes commands, and nothing else runs beside the nodes."""
    async with local_cluster(Counter, size, in_memory=True) as cluster:
        counts = [await node.execute(Counter.add()) for node in cluster]

        assert counts == list(range(1, size + 1))
        assert [await node.read(Counter.value()) for node in cluster] == [size] * size
        (votes,) = {node.statistics().votes.expected for node in cluster}
        assert votes == size


@pytest.mark.slow
@pytest.mark.accept("Q-02", "Q-25")
async def test_who_joins_a_group_is_given_its_state_and_linked_to_everybody(tmp_path: Path) -> None:
    """Three become four: six pairs, each with a link, for the log says where everybody is reached."""
    async with open_group(tmp_path) as group:
        await group.write("a", "1")
        leader = await group.wait_leader()
        (address,) = free_addresses(1)
        group.members["d"] = address
        d = await group.start("d", join=True)

        await leader.change_membership(AddLearner(id="d", address=address, promote=True))
        with trio.fail_after(10):
            await d.wait_leader()
        assert await group.lines("d") == ["1"]

        def links() -> set[tuple[str, str]]:
            return {(it.id, peer) for it in group for peer in group.endpoint(it.id).links}

        pairs = list(combinations("abcd", 2))
        await until(lambda: links() == {*pairs, *((b, a) for a, b in pairs)})
        assert len(pairs) == 6
        await until(lambda: all(node.members == group.members for node in group))

        def progress_of_d() -> Index | None:
            """As the leader shows it."""
            (row,) = (it for it in leader.statistics().members if it.id == "d")
            return None if row.progress is None else row.progress.match_index

        await until(lambda: progress_of_d() == leader.statistics().last_index)
