"""When a clock entry is proposed, and what applying one does."""

from __future__ import annotations

import errno
import math
from collections.abc import Sequence
from typing import Any

import attrs
import pytest
import trio

from raftkit import BytesStateMachine, StateMachine, StateMachineFailed
from raftkit.driver.clocking import PAUSE_SECONDS, Clocking
from raftkit.driver.replica import Replica
from raftkit.errors import LocalProtocolError
from raftkit.messages import Barred, Propose, Proposed, Refusal, Refused, Unfit
from raftkit.model import Index, Kind, Run, Term
from raftkit.statemachine import Batch
from tests.paper.server import Server, follower, group, leader

NS = 1_000_000_000


@attrs.define
class Egg(StateMachine):
    """Boils for a while; what it does when time calls is up to the test."""

    due: int | None = 3 * NS
    seen: list[tuple[int, int, int, int]] = attrs.field(factory=list)

    def next_deadline(self) -> int | None:
        return self.due

    def on_clock(self) -> None:
        it = self.ctx
        self.seen.append((it.index, it.term, it.elapsed_ns, it.rng.randrange(10**9)))


def clock_entry(index: int, elapsed: int) -> Run:
    return Run(
        first=Index(index),
        term=Term(2),
        time_ns=7 * NS,
        elapsed_ns=elapsed * NS,
        kinds=(Kind.CLOCK,),
        payloads=(b"",),
    )


# ── applying one ─────────────────────────────────────────────────────────────────────────────────────


def test_a_clock_entry_is_applied_like_a_command() -> None:
    """With everything that the log determines, the same on every replica."""
    replicas = [Replica(Egg, cluster=b"c" * 16) for _ in range(2)]
    told: list[Index] = []
    for replica in replicas:
        assert replica.apply([clock_entry(1, 5)], each=told.append) == []

    (seen,) = replicas[0].machine.seen
    assert seen[:3] == (1, 2, 5 * NS)
    assert replicas[0].digest() == replicas[1].digest()
    assert (replicas[0].applied, replicas[0].elapsed_ns, told) == (1, 5 * NS, [1, 1])
    with pytest.raises(LocalProtocolError):
        replicas[0].machine.ctx


@pytest.mark.parametrize(
    "error", [MemoryError(), RecursionError(), SystemExit(), OSError(errno.ENOSPC, "full")]
)
def test_trouble_of_the_node_in_on_clock_halts_it(error: BaseException) -> None:
    @attrs.define
    class Starved(Egg):
        def on_clock(self) -> None:
            raise error

    with pytest.raises(
        StateMachineFailed, match=r"Starved\.on_clock at index 1 met this node's own"
    ):
        Replica(Starved).apply([clock_entry(1, 5)])


def test_a_bug_in_on_clock_does_not_halt_the_node(caplog: pytest.LogCaptureFixture) -> None:
    @attrs.define
    class Buggy(Egg):
        def on_clock(self) -> None:
            self.due = None
            raise OSError("without a number, so no disk of this node")

    replica = Replica(Buggy)
    replica.apply([clock_entry(1, 5)])

    assert (replica.applied, replica.machine.due) == (1, None)
    assert [it for it in caplog.messages if "Buggy.on_clock at index 1 raised" in it]


def test_a_command_is_not_called_through_the_machine_when_asked_for_its_deadline() -> None:
    """The question changes nothing."""

    @attrs.define
    class Sly(Egg):
        def next_deadline(self) -> int | None:
            return self.ctx.index

    with pytest.raises(LocalProtocolError):
        Replica(Sly).next_deadline()


class Recorder(BytesStateMachine):
    """Keeps its batches."""

    def __init__(self) -> None:
        self.batches: list[Batch] = []

    def apply(self, batch: Batch) -> Sequence[bytes]:
        self.batches.append(batch)
        return list(batch.commands)

    def snapshot(self) -> list[bytes]:
        return []

    def restore(self, chunks: Any) -> None:
        raise NotImplementedError


class Timed(Recorder):
    def next_deadline(self) -> int | None:
        return 0


def test_only_a_bytes_machine_that_names_deadlines_gets_batches_without_commands() -> None:
    plain, timed = Replica(Recorder), Replica(Timed)
    for replica in (plain, timed):
        replica.apply([clock_entry(1, 5)])

    expected = Batch(term=2, time_ns=7 * NS, elapsed_ns=5 * NS, indexes=[], commands=[])
    assert plain.machine.batches == []
    assert timed.machine.batches == [expected]


# ── proposing one ────────────────────────────────────────────────────────────────────────────────────


@attrs.define
class Applier:
    """What has been applied, as far as `Clocking` looks."""

    replica: Replica[Egg] = attrs.field(factory=lambda: Replica(Egg))
    stopped: str | None = None
    divergence: str | None = None

    @property
    def applied(self) -> Index:
        return self.replica.applied


class Bench:
    """A server that has just taken office, with log time 0, and its clock."""

    def __init__(self, server: Server | None = None) -> None:
        self.server = server or leader("1", configuration=group("a"))
        self.began = self.server.raft.state.monotonic_ns
        self.applier = Applier()
        self.tickets = 0
        applying: Any = self.applier  # the part of it that is looked at
        self.clocking = Clocking(
            id="a",
            applying=applying,
            new_ticket=self.ticket,
            monotonic_ns=lambda: self.began + round(trio.current_time() * NS) - self.start,
        )
        self.start = round(trio.current_time() * NS)

    def ticket(self) -> int:
        self.tickets += 1
        return self.tickets

    @property
    def deadline(self) -> float:
        """In seconds from now."""
        return self.clocking.deadline(self.server.raft, trio.current_time()) - trio.current_time()

    def collect(self) -> list[Propose]:
        return self.clocking.collect(self.server.raft, trio.current_time())


CLOCK = Propose(ticket=1, payloads=(b"",), kinds=(Kind.CLOCK,))


async def test_an_entry_is_proposed_when_the_deadline_has_come_and_not_before(
    autojump_clock: trio.testing.MockClock,
) -> None:
    bench = Bench()
    early = bench.collect()
    wait = bench.deadline
    await trio.sleep(wait)

    assert early == []
    assert wait == pytest.approx(3, abs=1e-3)
    assert bench.collect() == [CLOCK]


async def test_one_entry_is_under_way_at_a_time(autojump_clock: trio.testing.MockClock) -> None:
    bench = Bench()
    await trio.sleep(3.1)
    bench.collect()
    bench.clocking.on_answer(Proposed(ticket=1, first=Index(2), term=Term(2)))
    # What stands before it in the log has the machine name another deadline, which is over too.
    bench.applier.replica.machine.due = 2 * NS
    bench.applier.replica.apply([attrs.evolve(clock_entry(1, 3), kinds=(Kind.NOOP,))])
    await trio.sleep(1)
    under_way = (bench.collect(), bench.deadline)
    bench.applier.replica.apply([clock_entry(2, 4)])

    assert under_way == ([], math.inf)
    assert bench.collect() == [attrs.evolve(CLOCK, ticket=2)]


async def test_a_refused_entry_is_proposed_again_after_a_pause(
    autojump_clock: trio.testing.MockClock,
) -> None:
    bench = Bench()
    await trio.sleep(3.1)
    bench.collect()
    answer = Refused(ticket=1, reason=Refusal.OVERLOADED, leader="a")

    assert bench.clocking.on_answer(answer)
    assert bench.collect() == []
    assert bench.deadline == pytest.approx(PAUSE_SECONDS)
    await trio.sleep(PAUSE_SECONDS)
    assert bench.collect() == [attrs.evolve(CLOCK, ticket=2)]


async def test_answers_to_others_are_left_alone(autojump_clock: trio.testing.MockClock) -> None:
    bench = Bench()

    assert not bench.clocking.on_answer(Proposed(ticket=77, first=Index(1), term=Term(2)))


async def test_what_was_lost_with_a_leadership_is_proposed_in_the_next(
    autojump_clock: trio.testing.MockClock,
) -> None:
    bench = Bench(leader("1"))
    await trio.sleep(3.1)
    bench.collect()
    bench.clocking.on_answer(Proposed(ticket=1, first=Index(9), term=Term(2)))
    bench.server.tick(200)  # nobody answers
    deposed = bench.deadline
    bench.server.win()
    bench.began = bench.server.raft.state.monotonic_ns
    bench.start = round(trio.current_time() * NS)
    again = bench.deadline
    await trio.sleep(again)

    assert deposed == math.inf
    assert again == pytest.approx(3, abs=1e-3)  # the next leader measures anew
    assert bench.collect() == [attrs.evolve(CLOCK, ticket=2)]


async def test_only_a_leader_that_applies_proposes(autojump_clock: trio.testing.MockClock) -> None:
    following, stopped = Bench(follower("1")), Bench()
    stopped.applier.stopped = "this code is older than the log"
    await trio.sleep(10)

    for bench in (following, stopped):
        assert bench.collect() == []
        assert bench.deadline == math.inf


async def test_a_machine_without_a_deadline_is_not_waited_for(
    autojump_clock: trio.testing.MockClock,
) -> None:
    bench = Bench()
    bench.applier.replica.machine.due = None

    assert bench.deadline == math.inf


async def test_no_number_is_too_large_for_a_deadline(
    autojump_clock: trio.testing.MockClock,
) -> None:
    bench = Bench()
    bench.applier.replica.machine.due = 1 << 5000

    assert bench.deadline > 1e9


@pytest.mark.parametrize("lost", [Barred(reason="rolled back"), Unfit(reason="old")])
async def test_no_entry_after_the_leadership(
    autojump_clock: trio.testing.MockClock, lost: Barred | Unfit
) -> None:
    bench = Bench()
    await trio.sleep(3.1)
    bench.server.step(lost)

    assert bench.collect() == []
