"""What a read may ask for: a majority's word, a lease, an index, an age, or nothing; and what it sees."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import attrs
import pytest
import trio
import trio.testing

from raftkit import LocalAnswer, LocalProtocolError, Node, NoQuorum, StateMachine, command, query
from raftkit.testing import Cluster, local_cluster
from tests.node.machines import Counter

LEASE = 0.225
"Nine tenths of the lower election bound, in seconds."


async def leader_of(cluster: Cluster[Counter]) -> Node[Counter]:
    """A leader that everybody has answered, and who it is said to be everywhere."""
    leader = await cluster.wait_leader()
    await leader.execute(Counter.add(amount=5))
    await trio.sleep(0.2)
    return leader


# ── by lease ─────────────────────────────────────────────────────────────────────────────────────────


async def test_a_lease_read_asks_nobody(autojump_clock: trio.testing.MockClock) -> None:
    async with local_cluster(Counter, 3, in_memory=True, leases=True) as cluster:
        leader = await leader_of(cluster)
        cluster.isolate(leader.id)

        value = await leader.read(Counter.value(), consistency="lease", timeout=0.01)

        assert value == 5
        with pytest.raises(NoQuorum):
            await leader.read(Counter.value(), timeout=0.01)


async def test_a_leader_without_its_lease_asks_a_majority(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with local_cluster(Counter, 3, in_memory=True, leases=True) as cluster:
        leader = await leader_of(cluster)
        cluster.isolate(leader.id)
        await trio.sleep(LEASE + 0.01)
        status = leader.status

        with pytest.raises(NoQuorum):
            await leader.read(Counter.value(), consistency="lease", timeout=0.01)
        assert status == "leader"


async def test_a_lease_read_at_any_node_sees_what_was_answered_elsewhere(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with local_cluster(Counter, 3, in_memory=True, leases=True) as cluster:
        for turn, writer in enumerate([*cluster, *cluster], start=1):
            await writer.execute(Counter.add())
            for reader in cluster:
                assert await reader.read(Counter.value(), consistency="lease") == turn


@pytest.mark.accept("O-07")
async def test_whoever_leads_next_does_so_after_the_lease(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """While the old leader serves reads by its lease, nobody writes what they would miss."""
    async with local_cluster(Counter, 3, in_memory=True, leases=True) as cluster:
        leader = await leader_of(cluster)
        others = [node for node in cluster if node is not leader]
        cluster.isolate(leader.id)
        ends: list[float] = []

        async def read_on() -> None:
            while True:
                try:
                    await leader.read(Counter.value(), consistency="lease", timeout=0.001)
                except NoQuorum:
                    return
                ends.append(trio.current_time())
                await trio.sleep(0.001)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(read_on)
            await others[0].execute(Counter.add())
            written = trio.current_time()

        assert ends
        assert max(ends) < written


class Traps:
    """What is done, beside the state, whenever an entry is applied anywhere."""

    on_add: list[Callable[[], None]] = []  # noqa: RUF012 - its test puts another one here


@attrs.define
class Trapped(StateMachine):
    total: int = 0

    @command
    def add(self) -> int:
        self.total += 1
        for trap in Traps.on_add:
            trap()
        return self.total

    @query
    def value(self) -> int:
        return self.total


async def test_a_process_that_slept_behind_the_answer_asks_again(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The core says yes; then the state machine lags, the process sleeps, and others may lead by now (D4)."""
    async with local_cluster(Trapped, 3, in_memory=True, leases=True) as cluster:
        leader = await cluster.wait_leader()
        await leader.execute(Trapped.add())
        asked = slept = answered = False
        begun = trio.Event()

        def sleep_once_confirmed() -> None:
            nonlocal slept
            begun.set()
            if asked and not slept and leader.statistics().open_reads == 0:
                slept = True
                cluster.isolate(leader.id)
                autojump_clock.jump(LEASE + 0.01)

        monkeypatch.setattr(Traps, "on_add", [sleep_once_confirmed])
        for _ in range(20):
            begun, asked, answered = trio.Event(), False, False
            async with trio.open_nursery() as nursery:
                nursery.start_soon(leader.execute_many, [Trapped.add()] * 1000)
                await begun.wait()
                with suppress(NoQuorum):
                    asked = True
                    await leader.read(Trapped.value(), consistency="lease", timeout=0.5)
                    answered = True
                asked = False
                nursery.cancel_scope.cancel()
            if slept:
                break

        assert slept
        assert not answered


async def test_leases_must_be_founded(autojump_clock: trio.testing.MockClock) -> None:
    async with local_cluster(Counter, 1, in_memory=True) as cluster:
        with pytest.raises(LocalProtocolError, match=r"open_node\(leases=True\)"):
            await cluster["a"].read(Counter.value(), consistency="lease")


# ── after an index ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.accept("Q-51")
async def test_a_local_read_elsewhere_sees_what_its_caller_wrote(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with local_cluster(Counter, 3, in_memory=True) as cluster:
        a, b = cluster["a"], cluster["b"]
        for turn in range(1, 20):
            await a.execute(Counter.add())

            assert await b.read(Counter.value(), consistency="local", after=a.applied_index) == turn


async def test_an_index_that_does_not_come_is_no_quorum(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with local_cluster(Counter, 3, in_memory=True) as cluster:
        await cluster["a"].execute(Counter.add())
        cluster.isolate("a")
        beyond = cluster["a"].applied_index + 1

        with pytest.raises(NoQuorum, match=f"index {beyond} was not applied here, which is at"):
            await cluster["a"].read(Counter.value(), consistency="local", after=beyond, timeout=1)


# ── of an age ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.accept("C-36", "C-42", "P-23")
async def test_a_minority_says_how_old_its_answers_are(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with local_cluster(Counter, 3, in_memory=True) as cluster:
        leader = await leader_of(cluster)
        (node, *_) = (it for it in cluster if it is not leader)
        unknown = await node.read_local(Counter.value())
        await node.read(Counter.value())
        asked = trio.current_time()
        cluster.isolate(node.id)
        await leader.execute(Counter.add())
        await trio.sleep(7)

        answer = await node.read_local(Counter.value())

        assert unknown == LocalAnswer(value=5, index=node.applied_index, staleness=None)
        assert (answer.value, answer.index) == (5, node.applied_index)
        assert answer.staleness == pytest.approx(trio.current_time() - asked, abs=0.02)
        assert node.statistics().staleness == answer.staleness
        assert "local reads may lack the last 7." in node.explain()


async def test_a_leader_that_is_cut_off_says_so_too(autojump_clock: trio.testing.MockClock) -> None:
    """It needs nobody's reads for that: it knows its rounds. Not after a restart."""
    async with local_cluster(Counter, 3, in_memory=True) as cluster:
        leader = await leader_of(cluster)
        in_contact = await leader.read_local(lambda it: it.total)
        cluster.isolate(leader.id)
        await trio.sleep(5)
        alone = await leader.read_local(lambda it: it.total)
        await cluster.crash(leader.id)
        again = await cluster.restart(leader.id)

        assert in_contact.staleness is not None
        assert in_contact.staleness <= 0.06  # a heartbeat, and its answer
        assert alone.staleness is not None
        assert 5.0 <= alone.staleness <= 5.06
        assert (await again.read_local(lambda it: it.total)).staleness is None


async def test_an_answer_that_is_young_enough_asks_nobody(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with local_cluster(Counter, 3, in_memory=True) as cluster:
        leader = await leader_of(cluster)
        (node, *_) = (it for it in cluster if it is not leader)
        await node.read(Counter.value())
        cluster.isolate(node.id)
        await trio.sleep(1)

        assert await node.read(Counter.value(), staleness_max=2, timeout=0.01) == 5


async def test_an_answer_that_is_too_old_asks_a_majority(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with local_cluster(Counter, 3, in_memory=True) as cluster:
        leader = await leader_of(cluster)
        (node, *_) = (it for it in cluster if it is not leader)
        await node.read(Counter.value())
        await trio.sleep(1)
        await leader.execute(Counter.add())

        assert await node.read(Counter.value(), staleness_max=0.5) == 6
        cluster.isolate(node.id)
        await trio.sleep(1)
        with pytest.raises(NoQuorum, match="the read was not confirmed"):
            await node.read(Counter.value(), staleness_max=0.5, timeout=1)


# ── what can't be meant ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "asked, words",
    [
        ({"consistency": "stale"}, 'consistency is "linearizable", "lease" or "local"'),
        ({"after": -1}, "after is an index, from 0, not -1"),
        ({"after": True}, "after is an index"),
        ({"staleness_max": -0.1}, "staleness_max is a number of seconds, from 0, not -0.1"),
        ({"staleness_max": float("nan")}, "staleness_max is a number of seconds"),
        ({"staleness_max": "1"}, "staleness_max is a number of seconds"),
        ({"staleness_max": 1, "consistency": "local"}, "leave out consistency, or staleness_max"),
    ],
)
async def test_what_can_not_be_meant_is_refused(
    autojump_clock: trio.testing.MockClock, asked: dict[str, Any], words: str
) -> None:
    async with local_cluster(Counter, 1, in_memory=True) as cluster:
        with pytest.raises(LocalProtocolError, match=words):
            await cluster["a"].read(Counter.value(), **asked)
