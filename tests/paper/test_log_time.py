"""DESIGN §6, Time: how entries are stamped, so that replicated time can be believed."""

from __future__ import annotations

import attrs
import pytest

from raftkit.messages import ClockStepRefused, Propose, SnapshotTaken, Tick, VoteReply
from raftkit.model import Index, Run
from tests.paper.server import (
    TICK_NS,
    Server,
    append,
    everyone_answers,
    follower,
    heartbeat,
    leader,
    server,
    snapshot_of,
)

SECOND = 1_000_000_000


@attrs.define
class Stamping:
    """A leader, and its clocks at its first entry; all times are seconds since then."""

    server: Server
    began_ns: int

    def stamps(self, *, wall: float, monotonic: float) -> tuple[float, float]:
        """(time, elapsed) of an entry that is made when its clocks read so."""
        self.server.step(
            Tick(
                count=0,
                wall_ns=self.began_ns + round(wall * SECOND),
                monotonic_ns=self.began_ns + round(monotonic * SECOND),
            ),
            Propose(ticket=1, payloads=(b"x",)),
        )
        run = self.server.unwritten[-1].runs[-1]
        return (run.time_ns - self.began_ns) / SECOND, run.elapsed_ns / SECOND

    def refused_steps(self) -> list[float]:
        """By how much its wall clock jumped, where that was not followed."""
        found = [it for it in self.server.events if isinstance(it, ClockStepRefused)]
        return [it.step_ms / 1000 for it in found]


def stamping() -> Stamping:
    """A leader of which the wall clock is followed for 10 s and not further."""
    a = leader("1", clock_step_max_ms=10_000)
    return Stamping(a, a.raft.state.now * TICK_NS)


def test_stamps_advance_with_the_leaders_clocks() -> None:
    """Both clocks go on; the stamps follow them."""
    a = stamping()

    stamps = [a.stamps(wall=seconds, monotonic=seconds) for seconds in (3, 5)]

    assert stamps == [(3, 3), (5, 5)]


def test_entries_of_one_moment_have_one_stamp() -> None:
    """A step has one time, and two steps may have the same."""
    a = stamping()

    stamps = [a.stamps(wall=2, monotonic=2) for _ in range(2)]

    assert stamps == [(2, 2), (2, 2)]


def test_small_steps_of_the_wall_clock_are_followed_but_not_backwards() -> None:
    """A clock that was set back stands still in the log."""
    a = stamping()

    stamps = [a.stamps(wall=9, monotonic=1), a.stamps(wall=4, monotonic=2)]

    assert stamps == [(9, 1), (9, 2)]
    assert a.refused_steps() == []


@pytest.mark.parametrize("jump", [3600, -3600])
def test_large_step_of_the_wall_clock_is_refused(jump: int) -> None:
    """A clock that jumps is not believed: the stamp goes on by the monotonic one, and people are told."""
    a = stamping()

    stamps = [a.stamps(wall=2 + jump, monotonic=2)]

    assert stamps == [(2, 2)]
    assert a.refused_steps() == [jump]


@pytest.mark.parametrize("step, refused", [(10, []), (10.001, [10.001]), (-10.001, [-10.001])])
def test_largest_step_that_is_followed(step: float, refused: list[float]) -> None:
    """The bound itself is still followed, in both directions."""
    a = stamping()

    a.stamps(wall=20 + step, monotonic=20)

    assert a.refused_steps() == refused


def test_step_is_refused_once() -> None:
    """From the new reading of the clock on, its advance is followed again."""
    a = stamping()

    stamps = [a.stamps(wall=3602, monotonic=2), a.stamps(wall=3605, monotonic=5)]

    assert stamps == [(2, 2), (5, 5)]
    assert a.refused_steps() == [3600]


def test_monotonic_clock_that_falls_adds_nothing() -> None:
    """A broken clock must not break the order of stamps."""
    a = stamping()
    before = a.stamps(wall=2, monotonic=2)

    assert a.stamps(wall=2, monotonic=1) == before


# ── across leaders ───────────────────────────────────────────────────────────────────────────────────


def stamped(index: int, *, wall: int, elapsed: int) -> Run:
    """An entry of an earlier leader."""
    (run,) = append(1, (index - 1, 1), "1").runs
    return attrs.evolve(run, time_ns=wall * SECOND, elapsed_ns=elapsed * SECOND)


def elected_after(entry: Run, *, wall: int, monotonic: int) -> Run:
    """The first entry of a leader whose log ends in `entry` and whose clocks read so."""
    a = follower("1", of="b")
    a.receive("b", attrs.evolve(append(1, (1, 1)), runs=(entry,)))
    a.persist_all()
    a.stand()
    a.step(Tick(count=0, wall_ns=wall * SECOND, monotonic_ns=monotonic * SECOND))
    a.receive("b", VoteReply(term=a.raft.term, granted=True))
    return a.unwritten[-1].runs[-1]


def test_elapsed_time_gains_nothing_across_a_change_of_leader() -> None:
    """No clock measured the time between two leaders, so no expiry counts it."""
    run = elected_after(stamped(2, wall=50, elapsed=77), wall=60, monotonic=10_000)

    assert (run.time_ns, run.elapsed_ns) == (60 * SECOND, 77 * SECOND)


def test_new_leader_with_a_late_clock_stamps_no_earlier_than_the_log() -> None:
    """Stamps never decrease along the log, whoever makes them."""
    run = elected_after(stamped(2, wall=50, elapsed=77), wall=40, monotonic=5)

    assert (run.time_ns, run.elapsed_ns) == (50 * SECOND, 77 * SECOND)


def test_stamps_survive_in_snapshots() -> None:
    """A log that was compacted to nothing still knows the time below which no stamp may fall."""
    snapshot = attrs.evolve(
        snapshot_of(b"x", index=5, term=1), time_ns=50 * SECOND, elapsed_ns=77 * SECOND
    )
    a = server("", snapshot=snapshot)

    a.win()

    run = a.disk.runs[-1]
    assert (run.time_ns, run.elapsed_ns) == (50 * SECOND, 77 * SECOND)


def test_stamps_survive_eviction_and_compaction() -> None:
    """Neither memory nor disk may forget time with the entries."""
    a = stamping()
    a.server.raft.state.config = attrs.evolve(
        a.server.config, tail_bytes_max=0, compaction_tail_entries=0
    )
    a.stamps(wall=9, monotonic=9)
    a.server.persist_all()
    everyone_answers(a.server)
    a.server.apply_all()
    a.server.step(SnapshotTaken(snapshot=snapshot_of(b"x", index=3, term=2)))
    held = a.server.raft.state.log.first_held

    a.server.receive("b", heartbeat(7))
    a.server.win()

    run = a.server.disk.runs[-1]
    assert held == a.server.raft.last_index == Index(4)
    assert run.time_ns - a.began_ns == 9 * SECOND
    assert run.elapsed_ns == 9 * SECOND
