"""The loop: one step for each batch, effects in their order, and sends that wait for all earlier writes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import attrs
import pytest
import trio

from raftkit.driver.loop import NOTES_MAX, Clock, Duties, Loop
from raftkit.membership import Configuration, Member
from raftkit.messages import (
    Applied,
    Effects,
    Fetch,
    Heartbeat,
    Input,
    LeaderElected,
    Persisted,
    Read,
    ReadConfirmed,
    ReadSnapshot,
    Send,
    Tick,
    Write,
)
from raftkit.model import Index, Run, Term
from raftkit.snapshot import SnapshotMeta

RUN = Run(first=Index(1), term=Term(1), time_ns=0, elapsed_ns=0, payloads=(b"",))
META = SnapshotMeta(
    index=Index(1),
    term=Term(1),
    configuration=Configuration(members=(Member(id="a", incarnation=1, address=""),)),
    configuration_index=Index(1),
    time_ns=0,
    elapsed_ns=0,
    size=0,
    checksum=0,
)


def send(name: str) -> Send:
    return Send(targets=(name,), message=Heartbeat(term=Term(1), round=1, commit_index=Index(0)))


@attrs.define
class ScriptedCore:
    """Gives out prepared effects, and remembers what it was given."""

    script: list[Effects] = attrs.field(factory=list)
    batches: list[list[Input]] = attrs.field(factory=list)
    ticks_until_next_deadline: int | None = None
    patient: bool = False

    def can_wait(self, _: Applied | Persisted) -> bool:
        return self.patient

    def step(self, inputs: Iterable[Input]) -> Effects:
        self.batches.append(list(inputs))
        return self.script.pop(0) if self.script else Effects()


@attrs.define
class Bench:
    core: ScriptedCore = attrs.field(factory=ScriptedCore)
    done: list[Any] = attrs.field(factory=list)
    wanted: list[Input] = attrs.field(factory=list)
    quick_disk: bool = False
    loop: Loop = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        duties = Duties(
            collect=self.collect,
            deadline=lambda: 1e9,
            send=lambda sends: self.done.extend(("send", it.targets[0]) for it in sends),
            persist=self.persist,
            fetch=lambda wanted: self.done.append(("fetch", type(wanted).__name__)),
            apply=lambda items: self.done.extend(("apply", type(it).__name__) for it in items),
            answer=lambda answer: self.done.append(("answer", answer.ticket)),
            publish=lambda event: self.done.append(("publish", type(event).__name__)),
        )
        core: Any = self.core
        self.loop = Loop(core, duties, 0.01, Clock(wall_ns=lambda: 5, monotonic_ns=lambda: 7))

    def persist(self, write: Write) -> bool:
        self.done.append(("persist", write.sequence))
        return self.quick_disk

    def collect(self, _: float) -> list[Input]:
        wanted, self.wanted = self.wanted, []
        return wanted

    async def turn(self, *script: Effects) -> list[Any]:
        """Let the loop take one turn for each of `script`; what was done."""
        self.done.clear()
        for effects in script:
            self.core.script.append(effects)
            self.loop._turn()
        return list(self.done)


async def test_effects_are_done_from_top_to_bottom(autojump_clock: trio.testing.MockClock) -> None:
    everything = Effects(
        send_now=(send("now"),),
        persist=Write(sequence=1),
        send_after_persist=(send("after"),),
        fetch=(Fetch(first=Index(1), last=Index(1), bytes_max=1),),
        read_snapshot=(ReadSnapshot(target="b", snapshot=META, offset=0, bytes_max=1),),
        install=META,
        apply=(RUN,),
        answer=(ReadConfirmed(ticket=3, index=Index(1)),),
        events=(LeaderElected(leader="a", term=Term(1)),),
    )
    bench = Bench()

    assert await bench.turn(everything) == [
        ("send", "now"),
        ("persist", 1),
        ("fetch", "Fetch"),
        ("fetch", "ReadSnapshot"),
        ("apply", "SnapshotMeta"),
        ("apply", "Run"),
        ("answer", 3),
        ("publish", "LeaderElected"),
    ]
    bench.done.clear()
    bench.loop.on_persisted(1)
    assert bench.done == [("send", "after")]


async def test_a_send_waits_for_all_earlier_writes(autojump_clock: trio.testing.MockClock) -> None:
    bench = Bench()
    await bench.turn(
        Effects(persist=Write(sequence=1), send_after_persist=(send("first"),)),
        Effects(persist=Write(sequence=2), send_after_persist=(send("second"),)),
        Effects(send_after_persist=(send("third"),)),  # writes nothing itself
    )
    sent: list[list[Any]] = []
    for sequence in (1, 2):
        bench.done.clear()
        bench.loop.on_persisted(sequence)
        sent.append(list(bench.done))

    assert sent == [[("send", "first")], [("send", "second"), ("send", "third")]]
    assert await bench.turn(Effects(send_after_persist=(send("fourth"),))) == [("send", "fourth")]


async def test_what_waits_for_a_quick_disk_is_done_in_the_same_turn(
    autojump_clock: trio.testing.MockClock,
) -> None:
    bench = Bench(quick_disk=True)
    bench.core.script.append(Effects(persist=Write(sequence=1), send_after_persist=(send("vote"),)))
    bench.core.script.append(Effects(send_now=(send("acknowledgement"),)))

    bench.loop._turn()

    assert bench.done == [("persist", 1), ("send", "vote"), ("send", "acknowledgement")]
    assert bench.core.batches[1] == [Persisted(sequence=1)]


@pytest.mark.parametrize("quick_disk", [True, False])
async def test_what_can_wait_is_told_with_the_next_batch(
    quick_disk: bool, autojump_clock: trio.testing.MockClock
) -> None:
    """A leader's own write says nothing as long as no follower has answered: it costs no step of its own."""
    bench = Bench(ScriptedCore(patient=True), quick_disk=quick_disk)
    bench.core.script.append(Effects(persist=Write(sequence=1)))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bench.loop.run)
        bench.loop.wake()
        await trio.testing.wait_all_tasks_blocked()
        if not quick_disk:
            bench.loop.on_persisted(1)
        bench.loop.note(Applied(index=Index(1)))
        await trio.testing.wait_all_tasks_blocked()
        before = len(bench.core.batches)
        bench.loop.put(Read(ticket=1))
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()

    assert before == 1
    told = [Persisted(sequence=1), Applied(index=Index(1)), Read(ticket=1)]
    assert bench.core.batches[1][1:] == told


async def test_of_what_can_wait_only_so_much_does(autojump_clock: trio.testing.MockClock) -> None:
    """Followers that say it over and over fill no memory."""
    bench = Bench(ScriptedCore(patient=True))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bench.loop.run)
        bench.loop.wake()
        await trio.testing.wait_all_tasks_blocked()
        for _ in range(NOTES_MAX):
            bench.loop.note(Applied(index=Index(1)))
        await trio.testing.wait_all_tasks_blocked()
        before = len(bench.core.batches)
        bench.loop.note(Applied(index=Index(1)))
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()

    assert (before, len(bench.core.batches)) == (1, 2)
    assert len(bench.core.batches[1]) == 1 + NOTES_MAX + 1


async def test_what_can_not_wait_is_told_at_once(autojump_clock: trio.testing.MockClock) -> None:
    """A follower's acknowledgement comes of its write, and what is left to apply of what was applied."""
    bench = Bench()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bench.loop.run)
        await trio.testing.wait_all_tasks_blocked()
        bench.loop.on_persisted(1)
        await trio.testing.wait_all_tasks_blocked()
        bench.loop.note(Applied(index=Index(1)))
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()

    assert [it[1:] for it in bench.core.batches] == [
        [Persisted(sequence=1)],
        [Applied(index=Index(1))],
    ]


async def test_one_step_takes_everything_that_came(autojump_clock: trio.testing.MockClock) -> None:
    bench = Bench()
    bench.loop.put(Persisted(sequence=1))
    bench.loop.put(Persisted(sequence=2))
    bench.wanted = [Read(ticket=1)]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bench.loop.run)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()

    assert bench.core.batches == [
        [
            Tick(count=0, wall_ns=5, monotonic_ns=7),
            Read(ticket=1),
            Persisted(sequence=1),
            Persisted(sequence=2),
        ]
    ]


async def test_an_overslept_loop_reports_all_ticks_at_once(
    autojump_clock: trio.testing.MockClock,
) -> None:
    bench = Bench()
    await trio.sleep(0.105)
    bench.loop._turn()
    await trio.sleep(0.005)
    bench.loop._turn()
    bench.loop._turn()

    assert [it[0].count for it in bench.core.batches if isinstance(it[0], Tick)] == [10, 1, 0]


async def test_the_loop_sleeps_until_the_next_deadline(
    autojump_clock: trio.testing.MockClock,
) -> None:
    bench = Bench()
    bench.core.ticks_until_next_deadline = 5
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bench.loop.run)
        await trio.sleep(0.251)
        nursery.cancel_scope.cancel()

    counts = [it[0].count for it in bench.core.batches if isinstance(it[0], Tick)]
    assert counts == [5, 5, 5, 5, 5]


async def test_a_deadline_in_the_past_does_not_spin(
    autojump_clock: trio.testing.MockClock,
) -> None:
    bench = Bench()
    bench.core.ticks_until_next_deadline = 0
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bench.loop.run)
        await trio.sleep(0.1)
        nursery.cancel_scope.cancel()

    assert len(bench.core.batches) <= 11


async def test_the_clock_is_read_after_what_is_wanted(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """What is wanted because its time has come must not be stamped before that time."""
    bench = Bench()
    readings = iter(range(100))
    bench.loop.clock = Clock(wall_ns=lambda: 5, monotonic_ns=lambda: next(readings))
    wanted_at: list[int] = []

    def collect(_: float) -> list[Input]:
        wanted_at.append(next(readings))
        return []

    bench.loop.duties = attrs.evolve(bench.loop.duties, collect=collect)
    bench.loop._turn()

    ((tick,),) = bench.core.batches
    assert isinstance(tick, Tick)
    assert tick.monotonic_ns > wanted_at[0]
