"""Directories that were made are those of a group that has done much."""

from __future__ import annotations

from contextlib import AsyncExitStack, closing
from functools import partial
from pathlib import Path

import pytest
import trio

from benchmarks.growth.directories import Past, make_group
from raftkit import open_node
from raftkit.cli.bench.machine import Register
from raftkit.storage import open_storage
from raftkit.transports import MemoryNetwork


@pytest.mark.slow
async def test_a_group_that_was_made_stands_on_its_entries_and_writes_on(tmp_path: Path) -> None:
    """No node ever wrote them; all three go on behind the last."""
    addresses = {name: name for name in "abc"}
    past = Past(machine=partial(Register, count=998), base=900, snapshot=1000, last=1010)
    make_group(tmp_path, addresses, past)
    network = MemoryNetwork()
    async with AsyncExitStack() as stack:
        nodes = [
            await stack.enter_async_context(
                open_node(
                    Register,
                    id=name,
                    members=addresses,
                    data_dir=tmp_path / name,
                    transport=network,
                )
            )
            for name in addresses
        ]
        with trio.fail_after(20):
            await nodes[0].execute(b"one more", session=None)
            counts = [await node.read(lambda it: it.count) for node in nodes]
            statistics = [node.statistics() for node in nodes]

    assert counts == [998 + 10 + 1] * 3
    assert [it.snapshot_index for it in statistics] == [1000] * 3
    assert (
        min(it.applied_index for it in statistics) >= 1010 + 2
    )  # a leader's first entry, and ours


def test_the_log_of_a_group_that_was_made_begins_where_compaction_left_it(tmp_path: Path) -> None:
    past = Past(machine=Register, base=900, snapshot=1000, last=1010, payload_bytes=100)
    make_group(tmp_path, {"a": "a", "b": "b"}, past, filled=["a"])

    with closing(open_storage(tmp_path / "a", "a")) as storage:
        found = storage.recovered
        runs = list(found.runs)
    with closing(open_storage(tmp_path / "b", "b")) as storage:
        other = storage.recovered

    assert storage.healed == ()
    assert found.snapshot is not None
    assert (found.base_index, found.snapshot.index) == (900, 1000)
    assert [index for run in runs for index in range(run.first, run.last + 1)] == [
        *range(901, 1011)
    ]
    assert {len(it) for run in runs for it in run.payloads} == {100}
    assert (other.base_index, other.snapshot) == (0, None)
