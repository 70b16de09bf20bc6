"""What may be said of a call when it ends: matched by number, never by index (J1, J2)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import outcome
import pytest
import trio

from raftkit.driver.tokens import Session
from raftkit.driver.waiters import Call, Waiters
from raftkit.errors import DidNotHappen, NodeClosed, NoQuorum, OutcomeUnknown
from raftkit.model import Index, Kind, Term


def call(number: int = 1, **facts: Any) -> Call:
    return Call(session=7, number=number, payload=b"", **facts)


async def ending(
    waiters: Waiters, open_call: Call, within: float, end: Callable[[], object]
) -> bytes | Exception:
    """What a task that waits for `open_call` gets when `end` is called."""
    ended: list[bytes | Exception] = []

    async def waiting() -> None:
        waiters.add(open_call, within)
        try:
            ended.append(await waiters.wait(open_call))
        except (DidNotHappen, OutcomeUnknown) as error:
            ended.append(error)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(waiting)
        await trio.testing.wait_all_tasks_blocked()
        end()
    return ended[0]


async def test_a_call_is_answered_by_its_number() -> None:
    waiters = Waiters()
    mine = call()

    def end() -> None:
        waiters.resolve(7, 2, b"of another number")
        waiters.resolve(8, 1, b"of another session")
        waiters.resolve(7, 1, b"mine")

    assert await ending(waiters, mine, 1.0, end) == b"mine"
    assert len(waiters) == 0


async def test_many_calls_are_answered_in_their_order_when_the_last_is_over() -> None:
    waiters, calls = Waiters(), [call(number) for number in (1, 2, 3)]
    for each in calls:
        waiters.add(each, 1.0)
    ended: list[outcome.Outcome[bytes]] = []

    async def wait() -> None:
        ended.extend(await waiters.wait_all(calls))

    refusal = NoQuorum("none")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked()
        waiters.resolve(7, 3, b"three")
        waiters.fail(calls[1], refusal, "none")
        await trio.testing.wait_all_tasks_blocked()
        assert ended == []
        waiters.resolve(7, 1, b"one")

    assert ended == [outcome.Value(b"one"), outcome.Error(refusal), outcome.Value(b"three")]


async def test_what_was_never_sent_did_not_happen(autojump_clock: trio.testing.MockClock) -> None:
    waiters = Waiters()
    end: Callable[[], object] = lambda: waiters.expire(waiters.deadline())  # noqa: E731

    assert isinstance(await ending(waiters, call(), 1.0, end), NoQuorum)
    assert len(waiters) == 0


async def test_what_was_sent_may_have_happened(autojump_clock: trio.testing.MockClock) -> None:
    waiters, ledger = Waiters(), Session(7)
    mine = call(ledger.take(), ledger=ledger)
    mine.count_sending(1)
    end: Callable[[], object] = lambda: waiters.expire(waiters.deadline())  # noqa: E731
    ended = await ending(waiters, mine, 1.0, end)

    assert isinstance(ended, OutcomeUnknown)
    assert ended.token == ledger.hold(1)
    assert ledger.ack_below == 1  # its number stays open
    waiters.resolve(7, 1, b"late")
    assert ledger.ack_below == 1  # the token is held, so its answer is kept


async def test_a_sending_by_another_node_counts(autojump_clock: trio.testing.MockClock) -> None:
    waiters, ledger = Waiters(), Session(7)
    mine, other = [call(1, ledger=ledger) for _ in range(2)]
    ledger.take()

    def end() -> None:
        other.count_sending(1)  # by the same token, at another node
        waiters.expire(waiters.deadline())

    assert isinstance(await ending(waiters, mine, 1.0, end), OutcomeUnknown)


async def test_what_another_process_may_have_sent_is_never_certain(
    autojump_clock: trio.testing.MockClock,
) -> None:
    waiters = Waiters()
    end: Callable[[], object] = lambda: waiters.expire(waiters.deadline())  # noqa: E731

    assert isinstance(await ending(waiters, call(elsewhere=True), 1.0, end), OutcomeUnknown)


async def test_what_was_replaced_did_not_happen() -> None:
    waiters = Waiters()
    mine = call(sendings=1, index=Index(5), term=Term(1))

    def end() -> None:
        assert waiters.take_lost(Index(4), Term(1)) == []
        assert waiters.take_lost(Index(5), Term(2)) == [mine]
        waiters.fail(mine, NoQuorum("lost"), "")

    assert isinstance(await ending(waiters, mine, 1.0, end), NoQuorum)


async def test_what_was_sent_twice_and_replaced_once_may_have_happened() -> None:
    waiters = Waiters()
    mine = call(sendings=2, index=Index(5), term=Term(1))

    def end() -> None:
        waiters.take_lost(Index(5), Term(2))
        waiters.fail(mine, NoQuorum("lost"), "sent twice")

    ended = await ending(waiters, mine, 1.0, end)

    assert isinstance(ended, OutcomeUnknown)
    assert "sent twice" in str(ended)


async def test_an_entry_of_an_earlier_term_behind_a_later_one_is_lost() -> None:
    waiters = Waiters()
    mine = call(sendings=1, index=Index(50), term=Term(1))
    waiters.add(mine, 1.0)

    assert waiters.take_lost(Index(5), Term(2)) == [mine]


async def test_a_sending_of_a_twin_counts() -> None:
    waiters = Waiters()
    first, second = call(sendings=1), call()
    waiters.add(first, 1.0)

    ended = await ending(
        waiters, second, 1.0, lambda: waiters.fail(second, NoQuorum("no leader"), "")
    )

    assert isinstance(ended, OutcomeUnknown)


async def test_twins_are_answered_together() -> None:
    waiters = Waiters()
    ended: list[bytes] = []

    async def waiting() -> None:
        mine = call()
        waiters.add(mine, 1.0)
        ended.append(await waiters.wait(mine))

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(waiting)
        await trio.testing.wait_all_tasks_blocked()
        waiters.resolve(7, 1, b"reply")

    assert ended == [b"reply"] * 3


async def test_a_cancelled_twin_leaves_the_others() -> None:
    waiters = Waiters()
    calls = [call() for _ in range(3)]
    scopes = [trio.CancelScope() for _ in calls]

    async def waiting(place: int) -> None:
        with scopes[place]:
            waiters.add(calls[place], 1.0)
            await waiters.wait(calls[place])

    for victim in range(3):
        async with trio.open_nursery() as nursery:
            for place in range(3):
                nursery.start_soon(waiting, place)
            await trio.testing.wait_all_tasks_blocked()
            scopes[victim].cancel()
            await trio.testing.wait_all_tasks_blocked()
            assert len(list(waiters)) == 2
            waiters.resolve(7, 1, b"reply")
        assert len(waiters) == 0
        calls = [call() for _ in range(3)]
        scopes = [trio.CancelScope() for _ in calls]


async def test_calls_of_different_timeouts_end_in_time(
    autojump_clock: trio.testing.MockClock,
) -> None:
    waiters = Waiters()
    ended: dict[float, float] = {}

    async def waiting(number: int, seconds: float) -> None:
        mine = call(number)
        waiters.add(mine, seconds)
        with pytest.raises(NoQuorum):
            await waiters.wait(mine)
        ended[seconds] = trio.current_time() - began

    began = trio.current_time()
    async with trio.open_nursery() as nursery:
        for number, timeout in enumerate([3.0, 1.0, 2.0]):
            nursery.start_soon(waiting, number, timeout)
        await trio.testing.wait_all_tasks_blocked()
        while waiters.deadline() < 1e9:
            await trio.sleep_until(waiters.deadline())
            waiters.expire(trio.current_time())

    assert ended == {1.0: 1.0, 2.0: 2.0, 3.0: 3.0}


@pytest.mark.parametrize("sendings, error", [(0, NodeClosed), (1, OutcomeUnknown)])
async def test_the_end_of_a_node_resolves_everyone(sendings: int, error: type[Exception]) -> None:
    waiters = Waiters()
    end: Callable[[], object] = lambda: waiters.fail_all(NodeClosed("bye"), "bye")  # noqa: E731

    assert isinstance(await ending(waiters, call(sendings=sendings), 1.0, end), error)
    assert len(waiters) == 0


@pytest.mark.parametrize("facts", [{"once": True}, {"kind": Kind.SESSION}])
async def test_what_has_no_number_to_close_is_forgotten_when_nobody_waits(
    autojump_clock: trio.testing.MockClock, facts: dict[str, Any]
) -> None:
    """A command without a session, or the registration of one: its answer may be lost for good."""
    waiters = Waiters()
    sent = call(**facts)
    sent.count_sending(1)

    assert isinstance(await ending(waiters, sent, 9.0, lambda: waiters.expire(9.1)), OutcomeUnknown)
    assert len(waiters) == 0


async def test_what_was_replaced_is_forgotten_when_nobody_waits() -> None:
    waiters = Waiters()
    left = call()
    waiters.add(left, 1.0)
    left.count_sending(1)
    left.index, left.term = Index(5), Term(1)

    assert waiters.take_lost(Index(5), Term(2)) == [left]
    assert len(waiters) == 0
