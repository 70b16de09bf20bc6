"""Which snapshot is the newest."""

from __future__ import annotations

from raftkit.driver.replica import Replica
from raftkit.driver.snapshotting import Snapshotting
from raftkit.driver.storing import InLoop, Storing
from raftkit.model import Index
from raftkit.storage import MemoryStorage
from tests.node.machines import Counter


async def test_an_own_snapshot_that_a_leaders_overtook_is_not_the_newest() -> None:
    storing = Storing(MemoryStorage("a"), InLoop())
    snapshotting = Snapshotting(
        id="a",
        replica=Replica(Counter),
        storing=storing,
        report=lambda _: None,
        publish=lambda _: None,
        compare=lambda _snapshot, _digest: None,
    )
    snapshotting.note(Index(9))
    snapshotting.note(Index(4))

    assert snapshotting.index == 9
