"""Reads share questions to the core, and none is answered by a question from before it came (§6.4)."""

from __future__ import annotations

import math
from typing import Any

import attrs
import pytest
import trio
import trio.testing

from raftkit.driver.reading import PAUSE_SECONDS, Reading
from raftkit.errors import NodeClosed
from raftkit.messages import Read, ReadConfirmed, Refusal, Refused
from raftkit.model import Index, NodeId


@attrs.define
class Core:
    """What reading reads of a core."""

    leader: NodeId | None = "a"


@attrs.define
class Bench:
    """The reads of a node, each with a task that waits."""

    nursery: trio.Nursery
    core: Any = attrs.field(factory=Core)
    tickets: int = 0
    wakes: int = 0
    now_ns: int = 0
    answers: dict[str, ReadConfirmed] = attrs.field(factory=dict)
    reading: Reading = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.reading = Reading(self.new_ticket, self.wake, lambda: self.now_ns)

    def new_ticket(self) -> int:
        self.tickets += 1
        return self.tickets

    def wake(self) -> None:
        self.wakes += 1

    async def read(self, name: str, *, lease: bool = False) -> None:
        """Begin a read; its answer comes into `answers`."""

        async def wait() -> None:
            self.answers[name] = await self.reading.wait_confirmed(lease=lease)

        self.nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked()

    def collect(self) -> list[Read]:
        return self.reading.collect(self.core, trio.current_time())

    async def hear(self, answer: ReadConfirmed | Refused) -> bool:
        ours = self.reading.on_answer(answer)
        await trio.testing.wait_all_tasks_blocked()
        return ours


def confirmed(ticket: int, index: int) -> ReadConfirmed:
    return ReadConfirmed(ticket=ticket, index=Index(index))


def refused(ticket: int) -> Refused:
    return Refused(ticket=ticket, reason=Refusal.NOT_LEADER, leader=None)


async def test_reads_that_come_before_a_question_share_it(nursery: trio.Nursery) -> None:
    bench = Bench(nursery)
    await bench.read("x")
    await bench.read("y")

    assert bench.collect() == [Read(ticket=1)]
    assert bench.collect() == []
    assert await bench.hear(confirmed(1, 5))
    assert bench.answers == {"x": confirmed(1, 5), "y": confirmed(1, 5)}
    assert len(bench.reading) == 0


async def test_a_read_is_not_answered_by_a_question_from_before_it_came(
    nursery: trio.Nursery,
) -> None:
    """The index may lie before what its caller has seen written since."""
    bench = Bench(nursery)
    await bench.read("early")
    bench.collect()
    await bench.read("late")
    await bench.hear(confirmed(1, 5))
    before = dict(bench.answers)
    asked = bench.collect()
    await bench.hear(confirmed(2, 6))

    assert before == {"early": confirmed(1, 5)}
    assert asked == [Read(ticket=2)]
    assert bench.answers == {"early": confirmed(1, 5), "late": confirmed(2, 6)}


async def test_a_confirmed_read_says_of_what_age_a_copy_is_from_the_question_on(
    nursery: trio.Nursery,
) -> None:
    """What was decided while the answer was on its way may be missed by it."""
    bench = Bench(nursery, now_ns=100)
    await bench.read("x")
    bench.collect()
    bench.now_ns = 200
    await bench.hear(confirmed(1, 5))

    assert bench.reading.freshness.complete_ns(Index(5)) == 100


async def test_a_refused_read_is_asked_again_after_a_pause(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    bench = Bench(nursery)
    await bench.read("x")
    bench.collect()
    await bench.hear(refused(1))
    at_once, due = bench.collect(), bench.reading.deadline(trio.current_time())
    await trio.sleep_until(due)
    later = bench.collect()
    await bench.hear(confirmed(2, 7))

    assert at_once == []
    assert due == pytest.approx(trio.current_time())
    assert due >= PAUSE_SECONDS
    assert later == [Read(ticket=2)]
    assert bench.answers == {"x": confirmed(2, 7)}


async def test_reads_that_may_go_by_a_lease_have_a_question_of_their_own(
    nursery: trio.Nursery,
) -> None:
    """Its answer expires, which concerns no other read."""
    bench = Bench(nursery)
    await bench.read("x")
    await bench.read("y", lease=True)
    by_lease = attrs.evolve(confirmed(2, 6), expires_ns=9)

    asked = bench.collect()
    await bench.hear(confirmed(1, 5))
    await bench.hear(by_lease)

    assert asked == [Read(ticket=1), Read(ticket=2, lease=True)]
    assert bench.answers == {"x": confirmed(1, 5), "y": by_lease}


async def test_without_a_leader_nothing_is_asked_and_nobody_wakes_for_it(
    nursery: trio.Nursery,
) -> None:
    bench = Bench(nursery, core=Core(leader=None))
    await bench.read("x")

    assert bench.collect() == []
    assert bench.reading.deadline(trio.current_time()) == math.inf
    assert bench.wakes == 1
    nursery.cancel_scope.cancel()


async def test_a_cancelled_read_is_not_asked_for(nursery: trio.Nursery) -> None:
    bench = Bench(nursery)
    with trio.move_on_after(0):
        await bench.reading.wait_confirmed()

    assert bench.collect() == []
    assert len(bench.reading) == 0


async def test_answers_to_others_are_left_alone(nursery: trio.Nursery) -> None:
    bench = Bench(nursery)
    await bench.read("x")
    bench.collect()

    assert not await bench.hear(confirmed(9, 5))
    assert not await bench.hear(refused(9))
    assert bench.answers == {}
    nursery.cancel_scope.cancel()


async def test_the_end_of_a_node_ends_reads_asked_and_not_asked() -> None:
    ended: list[str] = []

    async def read(reading: Reading, name: str) -> None:
        with pytest.raises(NodeClosed):
            await reading.wait_confirmed()
        ended.append(name)

    async with trio.open_nursery() as nursery:
        bench = Bench(nursery)
        nursery.start_soon(read, bench.reading, "asked")
        await trio.testing.wait_all_tasks_blocked()
        bench.collect()
        nursery.start_soon(read, bench.reading, "not asked")
        await trio.testing.wait_all_tasks_blocked()
        bench.reading.fail_all(lambda: NodeClosed("over"))

    assert sorted(ended) == ["asked", "not asked"]
