"""How a member comes to hold what the others hold: heartbeats and hellos, entries, a snapshot, a new disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
import trio.testing

from raftkit import MemoryNetwork, Node, StateMachine, command, open_node
from raftkit.testing import local_cluster
from tests.node.machines import Journal
from tests.node.tcp_group import WAIT_SECONDS, open_group, until
from tests.node.test_snapshots_and_files import short_tail


@attrs.define
class Placements(StateMachine):
    """Which application runs where."""

    apps: dict[str, str] = attrs.field(factory=dict)

    @command
    def place(self, app: str, node: str) -> None:
        self.apps[app] = node


@pytest.mark.accept("Q-10")
async def test_state_and_configuration_are_equal_at_every_node(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with local_cluster(Placements, 3, in_memory=True) as cluster:
        for number, node in enumerate([*cluster, *cluster]):
            await node.execute(Placements.place(app=f"app {number}", node=node.id))
        dead = (await cluster.wait_leader()).id
        await cluster.crash(dead)
        node = await cluster.wait_leader()
        await node.execute(Placements.place(app="app 0", node=node.id))
        await cluster.restart(dead)
        last = node.statistics().last_index
        for node in cluster:
            await node.wait_applied(last)
        taken = [await node.snapshot() for node in cluster]

        assert {it.index for it in taken} == {last}
        assert len({node._server.replica.digest() for node in cluster}) == 1
        assert taken[0] == taken[1] == taken[2]  # the configuration and the checksum are in there
        assert [it.id for it in taken[0].configuration.members] == ["a", "b", "c"]


@pytest.mark.slow
@pytest.mark.accept("Q-55")
async def test_hellos_and_heartbeats_keep_an_idle_group_together(tmp_path: Path) -> None:
    async with open_group(tmp_path, "abcd", start=False) as group:
        for name in "abcd":
            await group.start(name, election_timeout=(1.0, 2.0))
        await until(lambda: all(group.endpoint(it).statistics().links == 3 for it in "abcd"))
        for node in group:
            peers = node._server.links.greeting.peers.values()
            assert {it.id for it in peers if it.hello is not None} == set("abcd") - {node.id}
        leader = await group.wait_leader()
        for name in "abcd":
            await group.lines(name)
        before = group.endpoint(leader.id).statistics()
        terms = [node.statistics().term for node in group]
        last = leader.statistics().last_index
        await trio.sleep(2.2)  # more than the longest election timeout
        after = group.endpoint(leader.id).statistics()

        assert [node.statistics().term for node in group] == terms
        assert {node.leader for node in group} == {leader.id}
        assert leader.statistics().last_index == last  # nothing was written meanwhile
        # A heartbeat each 50 ms to three, and their answers; half of them would do on a busy machine.
        assert after.frames_out - before.frames_out > 3 * 22
        assert after.frames_in - before.frames_in > 3 * 22


@pytest.mark.slow
@pytest.mark.accept("Q-52")
async def test_entries_and_a_snapshot_bring_a_member_up_to_date_over_tcp(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    short_tail(monkeypatch)
    async with open_group(tmp_path) as group:
        await group.write("c", "by entries")
        await group.kill("c")
        for number in range(20):
            await group.write("a", f"missed {number}")
        cut = [(await group[name].snapshot()).index for name in "ab"]
        late = await group.start("c")
        lines = await group.lines("c")

        assert lines == ["by entries", *[f"missed {number}" for number in range(20)]]
        assert late.statistics().snapshot_index == max(cut)
        assert await group.write("b", "by entries again") == 22
        assert await group.lines("c") == await group.lines("a")


@pytest.mark.slow
@pytest.mark.accept("U-50", "U-51")
async def test_an_empty_member_makes_its_directory_and_is_given_a_snapshot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was heard when the group was founded, and has seen nothing of it since, but perhaps its founding."""
    short_tail(monkeypatch)
    network = MemoryNetwork()

    def opening(name: str) -> Any:
        members = {it: f"memory:{it}" for it in "abc"}
        return open_node(
            Journal, id=name, members=members, transport=network, data_dir=tmp_path / "new" / name
        )

    assert not (tmp_path / "new").exists()
    with trio.fail_after(WAIT_SECONDS):
        async with opening("a") as a, opening("b") as b:
            async with opening("c") as c:
                for sender in "ab":
                    network.cut(sender, "c")
                await a.wait_leader()
                assert c.statistics().applied_index == 0
            network.heal()
            await write(a, 30)
            assert len(await b.read(Journal.read())) == 30
            cut = max([(await node.snapshot()).index for node in (a, b)])
            await write(b, 2)
            async with opening("c") as c:
                lines = await c.read(Journal.read())

                assert c.statistics().snapshot_index == cut
                assert lines == await a.read(Journal.read())
                assert len(lines) == 32
    assert sorted(it.name for it in (tmp_path / "new").iterdir()) == ["a", "b", "c"]


async def write(node: Node[Journal], count: int) -> None:
    for number in range(count):
        await node.execute(Journal.write(line=f"{node.id} {number}"))
