"""Leaders that die, partitions, and what may be said of commands that were under way (J1, J2, J6)."""

from __future__ import annotations

from typing import Any

import pytest
import trio
import trio.lowlevel

from raftkit import (
    DidNotHappen,
    NodeClosed,
    NoQuorum,
    OutcomeUnknown,
    Session,
    SessionExpired,
    Token,
)
from raftkit.testing import Cluster, local_cluster
from raftkit.transports import Faults, MemoryNetwork
from tests.node.machines import Counter, Journal
from tests.node.test_snapshots_and_files import short_tail


def follower(cluster: Cluster[Any]) -> Any:
    """A node that does not lead."""
    return next(node for node in cluster if node.status != "leader")


async def test_a_command_survives_the_leader_and_is_applied_once(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with local_cluster(Journal, 3, in_memory=True) as cluster:
        leader = await cluster.wait_leader()
        node = follower(cluster)

        async def write() -> None:
            for number in range(50):
                await node.execute(Journal.write(line=str(number)))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(write)
            await trio.lowlevel.checkpoint()
            await node.wait_applied(node.statistics().applied_index + 5)
            await cluster.crash(leader.id)

        assert await node.read(Journal.read()) == [str(number) for number in range(50)]


async def test_open_commands_are_resent_by_token_at_another_node(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with local_cluster(Journal, 3, in_memory=True) as cluster:
        leader = await cluster.wait_leader()
        session = await leader.session()
        left: dict[str, Token] = {}

        async def write(line: str) -> None:
            token = session.token()
            try:
                await leader.execute(Journal.write(line=line), token=token)
            except (OutcomeUnknown, NodeClosed):
                left[line] = token

        lines = [f"line {number}" for number in range(200)]
        async with trio.open_nursery() as nursery:
            for line in lines:
                nursery.start_soon(write, line)
            await trio.lowlevel.checkpoint()
            await trio.lowlevel.checkpoint()
            await cluster.crash(leader.id)
        other = await cluster.wait_leader()
        for line, token in left.items():
            await other.execute(Journal.write(line=line), token=token)
        await cluster.restart(leader.id)

        assert left  # otherwise nothing was proved
        for node in cluster:
            assert sorted(await node.read(Journal.read())) == sorted(lines)


async def test_a_token_answers_again_and_again_with_the_same_result(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with local_cluster(Counter, 3, in_memory=True) as cluster:
        session = await cluster["a"].session()
        token = session.token()
        assert await cluster["a"].execute(Counter.add(amount=5), token=token) == 5
        stored = Token(session=token.session, number=token.number)  # written down, read again

        assert await cluster["b"].execute(Counter.add(amount=5), token=stored) == 5
        assert await cluster["c"].outcome(stored) == 5
        assert await cluster["a"].read(Counter.value()) == 5


async def test_a_minority_never_sends_and_says_so(autojump_clock: trio.testing.MockClock) -> None:
    async with local_cluster(Counter, 3, in_memory=True) as cluster:
        node = follower(cluster)
        await node.execute(Counter.add())
        cluster.isolate(node.id)
        await trio.sleep(2)  # it knows that it has lost the leader
        with pytest.raises(NoQuorum):
            await node.execute(Counter.add(), timeout=1.0)
        with pytest.raises(NoQuorum, match="no leader"):
            await node.read(Counter.value(), timeout=1.0)
        assert "2 needed" in node.explain() or "no leader" in node.explain()
        cluster.heal()

        assert await node.read(Counter.value()) == 1


async def test_a_cut_off_leader_does_not_know(autojump_clock: trio.testing.MockClock) -> None:
    async with local_cluster(Counter, 3, in_memory=True) as cluster:
        leader = await cluster.wait_leader()
        await leader.execute(Counter.add())
        cluster.isolate(leader.id)
        with pytest.raises(OutcomeUnknown) as caught:
            await leader.execute(Counter.add(amount=10), timeout=1.0)
        token = caught.value.token
        assert isinstance(token, Token)
        with pytest.raises(OutcomeUnknown):
            await leader.outcome(token, timeout=1.0)
        cluster.heal()

        with pytest.raises(DidNotHappen):  # its entry was replaced, and now its number is void
            await leader.outcome(token)
        for node in cluster:
            assert await node.read(Counter.value()) == 1
        with pytest.raises(DidNotHappen):  # a late copy is refused for good
            await leader.execute(Counter.add(amount=10), token=token)


@pytest.mark.accept("U-65")
async def test_a_read_at_a_cut_off_leader_is_not_answered(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with local_cluster(Counter, 3, in_memory=True) as cluster:
        old = await cluster.wait_leader()
        cluster.isolate(old.id)
        await trio.sleep(2)
        new = next(node for node in cluster if node.status == "leader" and node is not old)
        await new.execute(Counter.add(amount=7))
        with pytest.raises(NoQuorum):
            await old.read(Counter.value(), timeout=1.0)
        cluster.heal()

        assert await old.read(Counter.value()) == 7


async def test_execute_waits_out_a_partition(autojump_clock: trio.testing.MockClock) -> None:
    async with local_cluster(Counter, 3, in_memory=True) as cluster:
        leader = await cluster.wait_leader()
        cluster.isolate(leader.id)

        async def heal() -> None:
            await trio.sleep(5)
            cluster.heal()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(heal)
            assert await leader.execute(Counter.add()) == 1

        for node in cluster:
            assert await node.read(Counter.value()) == 1


async def test_a_read_waits_out_a_partition(autojump_clock: trio.testing.MockClock) -> None:
    async with local_cluster(Counter, 3, in_memory=True) as cluster:
        leader = await cluster.wait_leader()
        await leader.execute(Counter.add())
        values: list[int] = []

        async def read() -> None:
            values.append(await leader.read(Counter.value()))

        cluster.isolate(leader.id)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)
            await trio.sleep(3)  # refused when it steps down, and asked again of the next leader
            other = next(it for it in cluster if it.status == "leader")
            await other.execute(Counter.add())
            cluster.heal()

        assert values == [2]


async def test_the_outcome_of_what_was_never_sent_is_that_it_did_not_happen(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with local_cluster(Counter, 3, in_memory=True) as cluster:
        session = await cluster["a"].session()
        token = session.token()
        with pytest.raises(DidNotHappen):
            await cluster["b"].outcome(token)
        with pytest.raises(DidNotHappen):
            await cluster["c"].execute(Counter.add(), token=token)

        assert await cluster["a"].read(Counter.value()) == 0


async def test_a_resent_token_is_not_said_to_have_not_happened(
    autojump_clock: trio.testing.MockClock,
) -> None:
    # It was sent by node a; that node b could not send it says nothing.
    async with local_cluster(Counter, 3, in_memory=True) as cluster:
        leader = await cluster.wait_leader()
        session = await leader.session()
        token = session.token()
        cluster.isolate(leader.id)
        with pytest.raises(OutcomeUnknown):
            await leader.execute(Counter.add(), token=token, timeout=0.5)
        lonely = follower(cluster)
        cluster.isolate(lonely.id)
        await trio.sleep(2)
        with pytest.raises(OutcomeUnknown):
            await lonely.execute(Counter.add(), token=token, timeout=0.5)
        await cluster.crash(lonely.id)
        with pytest.raises(OutcomeUnknown):
            await lonely.execute(Counter.add(), token=token)


async def test_a_token_that_was_answered_is_not_said_to_have_not_happened(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with local_cluster(Counter, 3, in_memory=True) as cluster:
        token = (await cluster["a"].session()).token()
        await cluster["a"].execute(Counter.add(), token=token)
        lonely = follower(cluster)
        cluster.isolate(lonely.id)
        await trio.sleep(2)
        await _expect_unknown(lonely, token)
        await _expect_unknown(lonely, Token(session=token.session, number=token.number))


async def test_a_token_in_use_at_another_node_is_not_said_to_have_not_happened(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with local_cluster(Counter, 3, in_memory=True) as cluster:
        leader = await cluster.wait_leader()
        lonely = follower(cluster)
        token = (await leader.session()).token()
        cluster.isolate(lonely.id)
        await trio.sleep(2)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_expect_unknown, lonely, token)
            await trio.testing.wait_all_tasks_blocked()
            cluster.isolate(leader.id)
            with pytest.raises(OutcomeUnknown):
                await leader.execute(Counter.add(), token=token, timeout=3.0)


async def _expect_unknown(node: Any, token: Token) -> None:
    with pytest.raises(OutcomeUnknown):
        await node.execute(Counter.add(), token=token, timeout=1.0)


async def test_at_most_once_is_not_sent_again(autojump_clock: trio.testing.MockClock) -> None:
    async with local_cluster(Counter, 3, in_memory=True) as cluster:
        leader = await cluster.wait_leader()
        cluster.isolate(leader.id)
        # Its entry is replaced by a later leader's: known for certain once that one is applied here.
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_expect_lost, leader)
            await trio.sleep(3)
            cluster.heal()
            await leader.execute(Counter.add(amount=2))

        assert await leader.read(Counter.value()) == 2


async def _expect_lost(node: Any) -> None:
    with pytest.raises(DidNotHappen):
        await node.execute(Counter.add(), session=None)


@pytest.mark.parametrize("ends", ["crash", "silence"])
async def test_a_caller_without_a_session_does_not_wait_for_a_leader_that_is_gone(
    autojump_clock: trio.testing.MockClock, ends: str
) -> None:
    """It hears what may be concluded about when others can write again, whatever its patience.

    What it calls for when the leader is silent for a while already waits for the next, and is decided.
    """
    network = MemoryNetwork(faults=Faults(delay=(0.005, 0.005)))
    async with local_cluster(Counter, 3, network=network, in_memory=True) as cluster:
        leader = await cluster.wait_leader()
        node, begin = follower(cluster), trio.current_time()
        heard: list[str] = []

        async def write() -> None:
            try:
                await node.execute(Counter.add(), session=None)
                heard.append("decided")
            except OutcomeUnknown as error:
                heard.append(error.why)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(write)
            await trio.sleep(0.001)  # it is on its way
            if ends == "crash":
                await cluster.crash(leader.id)
            else:
                cluster.isolate(leader.id)
            await trio.sleep(0.15)
            nursery.start_soon(write)

        why = {
            "crash": f"the connection to {leader.id} closed before it answered",
            "silence": f"{leader.id} did not answer before another was elected",
        }
        assert sorted(heard) == sorted([why[ends], "decided"])
        assert trio.current_time() - begin < {"crash": 0.25, "silence": 0.75}[ends]


async def test_a_session_that_the_group_forgot_is_replaced(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with local_cluster(Counter, 1, in_memory=True, sessions_max=1) as cluster:
        node = cluster["a"]
        assert await node.execute(Counter.add()) == 1
        other = await node.session()  # evicts the node's own
        assert await node.execute(Counter.add()) == 2  # which evicts the other, and is done once
        token = other.token()
        with pytest.raises(OutcomeUnknown) as caught:
            await node.execute(Counter.add(), token=token)

        assert caught.value.token == token
        assert await node.read(Counter.value()) == 2


async def test_a_command_of_a_forgotten_session_is_not_repeated_after_a_snapshot(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was applied in entries that this node never saw, so nobody can tell it so."""
    short_tail(monkeypatch)
    async with local_cluster(
        Counter, 3, in_memory=True, sessions_max=1, snapshot_entries=20
    ) as cluster:
        leader, node = await cluster.wait_leader(), follower(cluster)
        assert await node.execute(Counter.add()) == 1

        async def execute() -> None:
            with pytest.raises(SessionExpired):
                await node.execute(Counter.add(), timeout=100)

        cluster.network.cut(leader.id, node.id)  # what it asks for happens, and it does not hear
        async with trio.open_nursery() as nursery:
            nursery.start_soon(execute)
            await trio.sleep(0.1)
            cluster.isolate(node.id)
            for _ in range(30):
                await leader.execute(Counter.add())
            cluster.heal()

        assert node.statistics().snapshot_index > 0
        assert await node.read(Counter.value()) == 1 + 1 + 30


@pytest.mark.parametrize("seed", range(4))
async def test_exactly_once_over_a_bad_network(
    autojump_clock: trio.testing.MockClock, seed: int
) -> None:
    network = MemoryNetwork(seed=seed)
    async with local_cluster(Journal, 3, in_memory=True, network=network) as cluster:
        network.faults = Faults(loss=0.1, duplication=0.1, delay=(0.0, 0.03))

        async def write(node: Any) -> None:
            for number in range(15):
                await node.execute(Journal.write(line=f"{node.id}{number}"), timeout=600)

        with trio.fail_after(900):
            async with trio.open_nursery() as nursery:
                for node in cluster:
                    nursery.start_soon(write, node)
        network.faults = Faults()
        lines = await cluster["a"].read(Journal.read())

        assert len(lines) == len(set(lines)) == 45
        for name in "abc":
            assert [it for it in lines if it[0] == name] == [f"{name}{n}" for n in range(15)]


async def test_crashes_in_turn_lose_and_repeat_nothing(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with local_cluster(Journal, 3, in_memory=True) as cluster:
        done: list[str] = []

        async def write(session: Session, name: str) -> None:
            for number in range(20):
                line, token = f"{name}{number}", session.token()
                while True:
                    try:
                        await cluster[name].execute(Journal.write(line=line), token=token)
                    except (OutcomeUnknown, NodeClosed, KeyError):
                        await trio.sleep(0.05)
                    else:
                        break
                done.append(line)
                await trio.sleep(0.05)

        async with trio.open_nursery() as nursery:
            for node in cluster:
                nursery.start_soon(write, await node.session(), node.id)
            for name in "abcabc":
                await trio.sleep(0.1)
                await cluster.crash(name)
                await trio.sleep(0.3)
                await cluster.restart(name)
        for node in cluster:
            assert sorted(await node.read(Journal.read())) == sorted(done)
