"""Many commands in one call: results in order, and one error that is true of all."""

from __future__ import annotations

import outcome
import pytest
import trio

from raftkit import (
    CommandFailed,
    EntryTooLarge,
    LocalProtocolError,
    NoQuorum,
    OutcomeUnknown,
    Rejected,
)
from raftkit.driver import calling
from raftkit.driver.sessions import OUTSTANDING_MAX
from raftkit.driver.tokens import Session
from raftkit.driver.waiters import Call
from raftkit.testing import Cluster, local_cluster
from raftkit.transports.memory import Faults
from tests.node.machines import Counter, Journal


async def follower_of(cluster: Cluster[Journal]) -> str:
    """A node that does not lead."""
    leader = await cluster.wait_leader()
    return next(node.id for node in cluster if node is not leader)


@pytest.mark.parametrize("leads", [True, False])
async def test_results_come_in_the_order_of_the_commands(
    autojump_clock: trio.testing.MockClock, leads: bool
) -> None:
    async with local_cluster(Journal, 3, in_memory=True) as cluster:
        name = (await cluster.wait_leader()).id if leads else await follower_of(cluster)
        lines = [f"line {number}" for number in range(300)]

        results = await cluster[name].execute_many(Journal.write(line=it) for it in lines)

        assert results == list(range(1, 301))
        assert await cluster[name].read(Journal.read()) == lines


async def test_they_do_not_wait_for_one_another(autojump_clock: trio.testing.MockClock) -> None:
    async with local_cluster(Journal, 3, in_memory=True) as cluster:
        node = cluster[await follower_of(cluster)]
        await node.execute(Journal.write(line="ready"))
        cluster.network.faults = Faults(delay=(0.01, 0.01))
        began = trio.current_time()
        await node.execute(Journal.write(line="one"))
        alone = trio.current_time() - began
        began = trio.current_time()
        await node.execute_many([Journal.write(line="many")] * 100)

        assert trio.current_time() - began < 3 * alone


async def test_of_no_commands_there_are_no_results(autojump_clock: trio.testing.MockClock) -> None:
    async with local_cluster(Counter, 1, in_memory=True) as cluster:
        assert await cluster["a"].execute_many([]) == []


async def test_more_than_a_session_has_numbers_for(autojump_clock: trio.testing.MockClock) -> None:
    async with local_cluster(Counter, 1, in_memory=True, paranoid=False) as cluster:
        count = OUTSTANDING_MAX + 100
        results = await cluster["a"].execute_many([Counter.add()] * count)

        assert results == list(range(1, count + 1))


async def test_bytes_under_way_are_bounded(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calling, "MANY_BYTES_MAX", 1000)
    async with local_cluster(Journal, 1, in_memory=True) as cluster:
        node, most = cluster["a"], 0
        real = node._server.forwarding.submit

        def submit(call: Call) -> None:
            nonlocal most
            real(call)
            most = max(most, node._server.forwarding.pending_bytes)

        monkeypatch.setattr(type(node._server.forwarding), "submit", lambda _, call: submit(call))
        results = await node.execute_many([Journal.write(line="x" * 300)] * 20)

        assert results == list(range(1, 21))
        assert 600 < most < 1200


async def test_a_rejected_command_does_not_stop_those_behind_it_and_is_raised(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with local_cluster(Counter, 3, in_memory=True) as cluster:
        node = cluster["a"]
        commands = [Counter.add(), Counter.take(amount=5), Counter.divide(by=0), Counter.add()]
        with pytest.raises(Rejected, match="only 1 left") as caught:
            await node.execute_many(commands)
        assert caught.value.__notes__ == ["the command at place 1 of 4"]
        with pytest.raises(CommandFailed):
            await node.execute_many(commands[2:])

        assert await node.read(Counter.value()) == 3


async def test_nothing_is_sent_if_one_cannot_be(autojump_clock: trio.testing.MockClock) -> None:
    async with local_cluster(Journal, 1, in_memory=True) as cluster:
        node = cluster["a"]
        with pytest.raises(EntryTooLarge):
            await node.execute_many([Journal.write(line=it) for it in ("a", "x" * 600_000)])
        with pytest.raises(LocalProtocolError):
            await node.execute_many([Journal.write(line="a"), "b"])  # type: ignore[arg-type]

        assert await node.read(Journal.read()) == []


async def test_without_a_quorum_none_happened(autojump_clock: trio.testing.MockClock) -> None:
    async with local_cluster(Counter, 3, in_memory=True, start=False) as cluster:
        node = await cluster.start("a")
        with pytest.raises(NoQuorum):
            await node.execute_many([Counter.add()] * 3, timeout=1)


async def test_what_was_sent_and_not_answered_is_unknown(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with local_cluster(Journal, 3, in_memory=True) as cluster:
        leader = await cluster.wait_leader()
        await leader.execute(Journal.write(line="ready"))
        cluster.isolate(leader.id)
        with pytest.raises(OutcomeUnknown) as caught:
            await leader.execute_many([Journal.write(line=f"{n}") for n in range(3)], timeout=0.1)
        cluster.heal()

        assert await leader.outcome(caught.value.token) in {2, 3, 4}  # type: ignore[arg-type]


async def test_it_did_not_happen_is_never_said_when_some_did(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calling, "MANY_BYTES_MAX", 1)  # one by one
    real, sessions = calling.Calling._own_session, ["found", "found", "missing"]

    async def own_session(self: calling.Calling, within: float) -> Session:
        if sessions.pop(0) == "missing":
            raise NoQuorum("no session could be registered")
        return await real(self, within)

    async with local_cluster(Journal, 3, in_memory=True) as cluster:
        node = cluster[await follower_of(cluster)]
        monkeypatch.setattr(calling.Calling, "_own_session", own_session)
        with pytest.raises(OutcomeUnknown, match="place 2 of 4") as caught:
            await node.execute_many([Journal.write(line="x")] * 4)

        assert isinstance(caught.value.__cause__, NoQuorum)
        assert await node.read(Journal.read()) == ["x", "x"]


async def test_nothing_more_is_sent_once_an_outcome_is_unknown(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calling, "MANY_BYTES_MAX", 1)
    async with local_cluster(Journal, 3, in_memory=True) as cluster:
        node = cluster[await follower_of(cluster)]
        await node.execute(Journal.write(line="ready"))
        cluster.isolate(node.id)
        with trio.fail_after(2), pytest.raises(OutcomeUnknown, match="no answer within 1 s"):
            await node.execute_many([Journal.write(line="x")] * 4, timeout=1)
        assert node.statistics().open_calls == 1


async def test_commands_move_to_a_new_session_when_theirs_expired(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with local_cluster(Journal, 3, in_memory=True, sessions_max=1) as cluster:
        node = cluster["a"]
        await node.execute(Journal.write(line="mine"))
        await cluster["b"].session()  # evicts it

        assert await node.execute_many([Journal.write(line=f"{n}") for n in range(50)]) == list(
            range(2, 52)
        )


async def test_each_happens_once_when_the_leader_dies(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with local_cluster(Journal, 3, in_memory=True) as cluster:
        node = cluster[await follower_of(cluster)]
        leader, lines = await cluster.wait_leader(), [f"{n}" for n in range(2000)]

        async def crash() -> None:
            await node.wait_applied(200)
            await cluster.crash(leader.id)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(crash)
            results = await node.execute_many([Journal.write(line=it) for it in lines])

        journal = await node.read(Journal.read())
        assert sorted(results) == list(range(1, 2001))
        assert [journal[result - 1] for result in results] == lines


async def test_a_cancelled_call_leaves_nothing_open(autojump_clock: trio.testing.MockClock) -> None:
    async with local_cluster(Journal, 3, in_memory=True) as cluster:
        node = cluster[await follower_of(cluster)]
        await node.execute(Journal.write(line="ready"))
        cluster.isolate(node.id)
        with trio.move_on_after(1) as scope:
            await node.execute_many([Journal.write(line="x")] * 10)
        assert scope.cancelled_caught
        cluster.heal()
        await node.execute(Journal.write(line="after"))
        await trio.sleep(5)

        assert node.statistics().open_calls == 0


def test_the_first_error_by_place_is_raised_whichever_was_known_first() -> None:
    late, early = outcome.Error(Rejected("late")), outcome.Error(Rejected("early"))
    with pytest.raises(Rejected, match="early"):
        calling._all_of({1: late, 0: early}, 2)
