"""Commands and reads in a healthy group, at whatever node."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from raftkit import (
    BytesStateMachine,
    CommandFailed,
    DidNotHappen,
    EntryTooLarge,
    LocalProtocolError,
    NodeClosed,
    OutcomeUnknown,
    Rejected,
    Token,
)
from raftkit.driver import forwarding
from raftkit.errors import Overloaded
from raftkit.testing import local_cluster
from tests.node.machines import Counter, Journal


@pytest.mark.accept("C-35")
async def test_every_node_executes_and_reads(autojump_clock: trio.testing.MockClock) -> None:
    async with local_cluster(Counter, 3, in_memory=True) as cluster:
        totals = [await node.execute(Counter.add(amount=5)) for node in cluster]
        values = [await node.read(Counter.value()) for node in cluster]

        assert totals == [5, 10, 15]
        assert values == [15, 15, 15]
        assert [await node.read(lambda c: c.total) for node in cluster] == [15, 15, 15]


async def test_a_group_of_one_executes(autojump_clock: trio.testing.MockClock) -> None:
    async with local_cluster(Counter, 1, in_memory=True) as cluster:
        assert await cluster["a"].execute(Counter.add(amount=5)) == 5
        assert await cluster["a"].read(Counter.value()) == 5


async def test_five_nodes_agree(autojump_clock: trio.testing.MockClock) -> None:
    async with local_cluster(Journal, 5, in_memory=True) as cluster:
        for node in cluster:
            await node.execute(Journal.write(line=node.id))
        for node in cluster:
            assert await node.read(Journal.read()) == ["a", "b", "c", "d", "e"]


@pytest.mark.accept("C-38")
async def test_a_read_sees_what_was_answered_elsewhere(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with local_cluster(Counter, 3, in_memory=True) as cluster:
        for turn, writer in enumerate([*cluster, *cluster], start=1):
            await writer.execute(Counter.add())
            for reader in cluster:
                assert await reader.read(Counter.value()) == turn


@pytest.mark.accept("C-37")
async def test_a_local_read_asks_nobody(autojump_clock: trio.testing.MockClock) -> None:
    async with local_cluster(Counter, 3, in_memory=True) as cluster:
        await cluster["a"].execute(Counter.add(amount=5))
        cluster.isolate("a")

        with trio.fail_after(60):
            assert await cluster["a"].read(Counter.value(), consistency="local") == 5


async def test_an_unknown_consistency_is_refused(autojump_clock: trio.testing.MockClock) -> None:
    async with local_cluster(Counter, 1, in_memory=True) as cluster:
        consistency: Any = "eventual"
        with pytest.raises(LocalProtocolError, match="consistency"):
            await cluster["a"].read(Counter.value(), consistency=consistency)


async def test_calls_of_one_task_apply_in_order(autojump_clock: trio.testing.MockClock) -> None:
    async with local_cluster(Journal, 3, in_memory=True) as cluster:

        async def write(name: str) -> None:
            for number in range(20):
                await cluster[name].execute(Journal.write(line=f"{name}{number}"))

        async with trio.open_nursery() as nursery:
            for node in cluster:
                nursery.start_soon(write, node.id)
        lines = await cluster["a"].read(Journal.read())

        assert len(lines) == 60
        for name in "abc":
            assert [it for it in lines if it[0] == name] == [f"{name}{n}" for n in range(20)]


async def test_a_rejection_reaches_the_caller_at_any_node(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with local_cluster(Counter, 3, in_memory=True) as cluster:
        for node in cluster:
            with pytest.raises(Rejected, match="only 0 left"):
                await node.execute(Counter.take(amount=1))


async def test_a_bug_in_a_command_is_its_answer_and_the_node_lives(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with local_cluster(Counter, 3, in_memory=True) as cluster:
        with pytest.raises(CommandFailed) as caught:
            await cluster["a"].execute(Counter.divide(by=0))

        assert caught.value.type == "ZeroDivisionError"
        assert await cluster["a"].execute(Counter.add()) == 1


@pytest.mark.accept("U-24")
async def test_an_entry_over_the_limit_is_refused_and_others_are_not(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with local_cluster(Journal, 3, in_memory=True, entry_bytes_max=64_000) as cluster:
        for node in cluster:
            with pytest.raises(EntryTooLarge) as caught:
                await node.execute(Journal.write(line="x" * 64_000))
            assert caught.value.limit == 64_000
            await node.execute(Journal.write(line="x" * 63_000))


async def test_too_much_waiting_for_a_leader_is_overload(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("raftkit.driver.calling.PENDING_BYTES_MAX", 1000)
    async with local_cluster(Journal, 3, in_memory=True) as cluster:
        await cluster["a"].execute(Journal.write(line="first"))
        await cluster.crash("b")
        await cluster.crash("c")
        await trio.sleep(2)  # nobody leads now
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_expect_nothing_sent, cluster["a"], "x" * 2000)
            await trio.testing.wait_all_tasks_blocked()
            with pytest.raises(Overloaded):
                await cluster["a"].execute(Journal.write(line="y"))
    assert forwarding.PENDING_BYTES_MAX > 1000


async def _expect_nothing_sent(node: Any, line: str) -> None:
    with pytest.raises(DidNotHappen):
        await node.execute(Journal.write(line=line), timeout=1.0)


async def test_at_most_once_needs_no_session(autojump_clock: trio.testing.MockClock) -> None:
    async with local_cluster(Counter, 3, in_memory=True) as cluster:
        before = cluster["a"].statistics().last_index
        assert await cluster["a"].execute(Counter.add(), session=None) == 1
        await cluster["a"].wait_applied(before + 1)

        assert cluster["a"].statistics().last_index == before + 1  # no session was registered


async def test_a_token_is_of_a_session(autojump_clock: trio.testing.MockClock) -> None:
    async with local_cluster(Counter, 1, in_memory=True) as cluster:
        token = Token(session=1, number=1)
        with pytest.raises(LocalProtocolError, match="session"):
            await cluster["a"].execute(Counter.add(), token=token, session=None)


async def test_a_session_has_a_window(autojump_clock: trio.testing.MockClock) -> None:
    async with local_cluster(Counter, 1, in_memory=True) as cluster:
        session = await cluster["a"].session()
        tokens = [session.token() for _ in range(4096)]
        with pytest.raises(Overloaded, match="4096"):
            session.token()

        assert await cluster["a"].execute(Counter.add(), token=tokens[0]) == 1
        session.token()  # the lowest is closed, so there is room for one


async def test_more_calls_at_once_than_a_session_holds(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with local_cluster(Counter, 1, in_memory=True) as cluster:
        async with trio.open_nursery() as nursery:
            for _ in range(5000):
                nursery.start_soon(cluster["a"].execute, Counter.add())

        assert await cluster["a"].read(Counter.value()) == 5000


async def test_a_bytes_machine_replicates_bytes(autojump_clock: trio.testing.MockClock) -> None:
    async with local_cluster(Echo, 3, in_memory=True) as cluster:
        assert await cluster["a"].execute(b"one") == b"1:one"
        assert await cluster["b"].execute(b"two") == b"2:two"
        assert await cluster["c"].read(lambda machine: machine.count) == 2


class Echo(BytesStateMachine):
    def __init__(self) -> None:
        self.count = 0

    def apply(self, batch: Any) -> list[bytes]:
        answers = []
        for command in batch.commands:
            self.count += 1
            answers.append(b"%d:%s" % (self.count, command))
        return answers

    def snapshot(self) -> Any:
        return iter([b"%d" % self.count])

    def restore(self, chunks: Any) -> None:
        self.count = int(b"".join(chunks))


async def test_calls_on_a_closed_node_did_not_happen(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with local_cluster(Counter, 1, in_memory=True) as cluster:
        node = cluster["a"]
        await cluster.crash("a")
        with pytest.raises(NodeClosed):
            await node.execute(Counter.add())
        with pytest.raises(NodeClosed):
            await node.read(Counter.value())
        with pytest.raises(NodeClosed):
            await node.wait_leader()
        with pytest.raises(NodeClosed):
            await node.session()
        with pytest.raises(NodeClosed):
            await node.snapshot()
        with pytest.raises(NodeClosed):
            await node.wait_applied(10_000)
        with pytest.raises(OutcomeUnknown):  # it says nothing of what the token names
            await node.outcome(Token(session=1, number=1))
        assert node.status == "closed"
        assert "closed" in node.explain()
