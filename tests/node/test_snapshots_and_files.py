"""Snapshots, restarts and laggards, on real files; and a disk that fails."""

from __future__ import annotations

from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

from benchmarks.growth.directories import Past, make_group
from raftkit import LogCorrupt, NoQuorum, open_node
from raftkit.cli.bench.machine import Register
from raftkit.storage import open_storage
from raftkit.testing import Cluster, local_cluster
from raftkit.transports import MemoryNetwork
from tests.node.machines import Counter, Journal

QUICK: dict[str, Any] = {"election_timeout": (0.1, 0.2), "heartbeat_interval": 0.02}


async def write(cluster: Cluster[Journal], node: str, count: int) -> None:
    """Let one node write so many lines, some at a time."""
    limit = trio.CapacityLimiter(50)

    async def one(number: int) -> None:
        async with limit:
            await cluster[node].execute(Journal.write(line=f"{node} {number}"))

    async with trio.open_nursery() as nursery:
        for number in range(count):
            nursery.start_soon(one, number)


async def test_everything_is_there_after_a_restart_of_all(tmp_path: Path) -> None:
    async with local_cluster(Journal, 3, data_dir=tmp_path, **QUICK) as cluster:
        await write(cluster, "a", 100)
        before = await cluster["a"].read(Journal.read())
    async with local_cluster(Journal, 3, data_dir=tmp_path, **QUICK) as cluster:
        for node in cluster:
            assert await node.read(Journal.read()) == before


async def test_a_node_restarts_from_its_snapshot_and_the_log_behind_it(tmp_path: Path) -> None:
    async with local_cluster(Journal, 3, data_dir=tmp_path, **QUICK) as cluster:
        await write(cluster, "a", 50)
        last = cluster["a"].statistics().applied_index
        for node in cluster:
            await node.wait_applied(last)
            taken = await node.snapshot()
            assert taken.index == last
            assert taken.elapsed_ns == node._server.replica.elapsed_ns > 0
            assert taken.time_ns == node._server.replica.time_ns > 0
        await write(cluster, "b", 50)
        before = await cluster["b"].read(Journal.read())
    async with local_cluster(Journal, 3, data_dir=tmp_path, **QUICK) as cluster:
        for node in cluster:
            assert await node.read(Journal.read()) == before
        await write(cluster, "c", 10)
        assert len(await cluster["a"].read(Journal.read())) == 110


async def test_a_session_survives_in_a_snapshot(autojump_clock: trio.testing.MockClock) -> None:
    async with local_cluster(Counter, 3, in_memory=True) as cluster:
        session = await cluster["a"].session()
        token = session.token()
        await cluster["a"].execute(Counter.add(), token=token)
        last = cluster["a"].statistics().applied_index
        for name in "abc":
            await cluster[name].wait_applied(last)
            await cluster[name].snapshot()
        for name in "abc":
            await cluster.crash(name)
        for name in "abc":
            await cluster.restart(name)

        assert await cluster["b"].execute(Counter.add(), token=token) == 1
        assert await cluster["c"].outcome(token) == 1


async def test_a_follower_behind_the_log_gets_the_snapshot(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    short_tail(monkeypatch)
    async with local_cluster(Journal, 3, in_memory=True) as cluster:
        await cluster.crash("c")
        await write(cluster, "a", 300)
        for name in "ab":
            await cluster[name].snapshot()
        await write(cluster, "b", 20)
        await cluster.restart("c")
        late = cluster["c"]

        assert len(await late.read(Journal.read())) == 320
        assert await late.read(Journal.read()) == await cluster["a"].read(Journal.read())
        assert await late.execute(Journal.write(line="mine")) == 321


async def test_a_waiter_is_answered_out_of_an_installed_snapshot(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    short_tail(monkeypatch)
    async with local_cluster(Journal, 3, in_memory=True) as cluster:
        await write(cluster, "a", 10)
        leader = await cluster.wait_leader()
        node = next(it for it in cluster if it is not leader)
        other = next(it for it in cluster if it is not leader and it is not node)
        await node.execute(Journal.write(line="ready"))
        answers: list[int] = []

        async def call() -> None:
            answers.append(await node.execute(Journal.write(line="through a snapshot")))

        async with trio.open_nursery() as nursery:
            cluster.network.cut(leader.id, node.id)  # the forward goes out, no entry comes back
            cluster.network.cut(other.id, node.id)
            nursery.start_soon(call)
            await trio.testing.wait_all_tasks_blocked()
            await write(cluster, leader.id, 100)
            await leader.snapshot()
            cluster.heal()

        lines = await node.read(Journal.read())
        assert lines.count("through a snapshot") == 1
        assert lines[answers[0] - 1] == "through a snapshot"


def short_tail(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep no entry behind a snapshot."""
    from raftkit.config import Config

    monkeypatch.setattr(
        "raftkit.driver.server.Config", lambda **given: Config(**given, compaction_tail_entries=0)
    )


@pytest.mark.slow
async def test_a_crash_before_compaction_is_made_good_by_the_next_snapshot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the snapshot covers lies on disk still: it is not read, and goes behind the next snapshot."""
    short_tail(monkeypatch)
    past = Past(machine=partial(Register, count=500), snapshot=501, last=510)
    make_group(tmp_path, {"a": "a"}, past)
    opened = open_node(
        Register, id="a", members={"a": "a"}, data_dir=tmp_path / "a", transport=MemoryNetwork()
    )
    async with opened as node:
        with trio.fail_after(20):
            await node.execute(b"one more", session=None)
        assert node._server.raft is not None
        assert node._server.raft.first_index == 502
        assert await node.read(lambda it: it.count) == 500 + 9 + 1
        taken = await node.snapshot()
        await node.execute(b"and behind it", session=None)

    with closing(open_storage(tmp_path / "a", "a")) as storage:
        assert storage.recovered.base_index == taken.index == 512


async def test_a_snapshot_of_nothing_is_refused(autojump_clock: trio.testing.MockClock) -> None:
    async with local_cluster(Counter, 3, in_memory=True, start=False) as cluster:
        node = await cluster.start("a")
        with pytest.raises(NoQuorum, match="nothing is applied"):
            await node.snapshot()


async def test_a_flipped_byte_of_the_log_is_refused_and_the_rest_goes_on(tmp_path: Path) -> None:
    async with local_cluster(Journal, 3, data_dir=tmp_path, **QUICK) as cluster:
        await write(cluster, "a", 200)
        await cluster.crash("c")
        log = next(it for it in (tmp_path / "c").iterdir() if b"a 20" in it.read_bytes())
        content = bytearray(log.read_bytes())
        content[content.index(b"a 20")] ^= 1
        log.write_bytes(content)
        with pytest.raises(LogCorrupt) as caught:
            async with local_cluster(Journal, 3, data_dir=tmp_path, start=False) as broken:
                await broken.start("c")

        assert caught.value.path.endswith(log.name)
        assert len(await cluster["b"].read(Journal.read())) == 200


async def test_the_leader_dies_on_files_and_nothing_is_lost(tmp_path: Path) -> None:
    async with local_cluster(Journal, 3, data_dir=tmp_path, **QUICK) as cluster:
        leader = await cluster.wait_leader()
        name = next(node.id for node in cluster if node is not leader)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(write, cluster, name, 300)
            await trio.sleep(0.1)
            await cluster.crash(leader.id)
        await cluster.restart(leader.id)
        for node in cluster:
            lines = await node.read(Journal.read())
            assert len(lines) == len(set(lines)) == 300
