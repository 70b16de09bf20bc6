"""A call may be cancelled at every checkpoint: nothing hangs, nothing is lost, nothing happens twice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import trio

from raftkit import DidNotHappen, Node, Session
from raftkit.testing import local_cluster
from tests.node.machines import Counter, Journal

CALLS: dict[str, Callable[[Node[Any]], Any]] = {
    "execute": lambda node: node.execute(Journal.write(line="x")),
    "once": lambda node: node.execute(Journal.write(line="x"), session=None),
    "read": lambda node: node.read(Journal.read()),
    "local": lambda node: node.read(Journal.read(), consistency="local"),
    "session": lambda node: node.session(),
    "snapshot": lambda node: node.snapshot(),
    "wait_leader": lambda node: node.wait_leader(),
}


async def cancel_after(scheduled: int, call: Callable[[], Any]) -> bool:
    """Run `call`, cancelled when the program was scheduled so many times. Whether it ended before."""
    finished = False
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:

            async def run() -> None:
                nonlocal finished
                await call()
                finished = True
                nursery.cancel_scope.cancel()

            nursery.start_soon(run)
            for _ in range(scheduled):
                await trio.lowlevel.checkpoint()
            scope.cancel()
    return finished


@pytest.mark.parametrize("at", ["leader", "follower"])
@pytest.mark.parametrize("name", CALLS)
async def test_a_call_is_cancelled_at_each_checkpoint(
    autojump_clock: trio.testing.MockClock, name: str, at: str
) -> None:
    async with local_cluster(Journal, 3, in_memory=True) as cluster:
        leader = await cluster.wait_leader()
        node = leader if at == "leader" else next(it for it in cluster if it is not leader)
        await node.execute(Journal.write(line="first"))
        scheduled = 0
        while not await cancel_after(scheduled, lambda: CALLS[name](node)):
            scheduled += 1
        assert scheduled > 0
        with trio.fail_after(5):  # nothing is left in a state in which others wait
            await node.execute(Journal.write(line="last"))
            lines = await node.read(Journal.read())

        assert lines[0] == "first"
        assert lines[-1] == "last"
        assert lines.count("x") <= scheduled + 1
        assert node.statistics().open_calls == 0


async def test_a_cancelled_command_happens_once_or_never_as_its_token_says(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with local_cluster(Journal, 3, in_memory=True) as cluster:
        node = cluster["a"]
        session = await node.session()
        decided: list[str] = []
        for scheduled in range(10_000):
            token, line = session.token(), f"line {scheduled}"

            async def write(token: Any = token, line: str = line) -> None:
                await node.execute(Journal.write(line=line), token=token)

            finished = await cancel_after(scheduled, write)
            try:
                await cluster["b"].outcome(token)
                decided.append(line)
            except DidNotHappen:
                assert not finished
            if finished:
                break

        assert await node.read(Journal.read()) == decided
        assert decided


async def test_numbers_of_cancelled_calls_are_closed(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with local_cluster(Counter, 3, in_memory=True) as cluster:
        node = next(it for it in cluster if it.status != "leader")
        session = await node.session()
        for scheduled in range(0, 40, 3):
            await cancel_after(scheduled, lambda: node.execute(Counter.add(), session=session))
        await node.execute(Counter.add(), session=session)

        assert await _closed(session) == session.ack_below


async def _closed(session: Session) -> int:
    """One above the highest number given out."""
    return session.take()


async def test_an_abandoned_command_that_lost_its_leader_is_voided(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with local_cluster(Counter, 3, in_memory=True) as cluster:
        leader = await cluster.wait_leader()
        session = await leader.session()
        cluster.isolate(leader.id)
        with trio.move_on_after(0.05):
            await leader.execute(Counter.add(amount=10), session=session)
        await trio.sleep(2)
        cluster.heal()
        await leader.execute(Counter.add(), session=session)
        await trio.sleep(1)

        assert await leader.read(Counter.value()) == 1
        assert session.take() == session.ack_below
        assert leader.statistics().open_calls == 0


async def test_the_number_of_a_token_that_nobody_holds_is_voided(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with local_cluster(Counter, 3, in_memory=True) as cluster:
        node = cluster["a"]
        session = await node.session()
        held, forgotten = session.token(), session.token()
        del forgotten
        await node.execute(Counter.add(), session=session)
        await node.execute(Counter.add(), session=session)
        await trio.sleep(1)

        assert session.ack_below == held.number  # which is still held
        assert await node.execute(Counter.add(), token=held) == 3
        assert session.take() == session.ack_below


async def test_the_answer_to_a_held_token_is_kept(autojump_clock: trio.testing.MockClock) -> None:
    async with local_cluster(Counter, 3, in_memory=True) as cluster:
        node = next(it for it in cluster if it.status != "leader")
        session = await node.session()
        token = session.token()
        await cancel_after(3, lambda: node.execute(Counter.add(amount=5), token=token))
        for _ in range(10):
            await node.execute(Counter.add(), session=session)

        assert session.ack_below == token.number
        try:
            assert await node.outcome(token) == 5
            total = 15
        except DidNotHappen:
            total = 10
        assert await node.read(Counter.value()) == total
        assert session.take() == session.ack_below
