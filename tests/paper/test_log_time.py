"""How entries are stamped, so that replicated time can be believed."""

from __future__ import annotations

import attrs
import pytest

from raftkit.core.stamps import STAMP_MAX
from raftkit.messages import ClockStepRefused, Propose, SnapshotTaken, Tick, VoteReply
from raftkit.model import Index, Run
from tests.paper.server import (
    TICK_NS,
    Server,
    append,
    beat,
    everyone_answers,
    follower,
    founding,
    group,
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


def test_leader_says_how_its_next_entry_would_be_stamped() -> None:
    """So that a driver knows when a deadline in log time comes; nobody else can say."""
    a = stamping()
    a.stamps(wall=3, monotonic=3)
    told = a.server.raft.elapsed_at(a.began_ns + 5 * SECOND)

    assert told == 5 * SECOND
    assert a.stamps(wall=5, monotonic=5) == (5, 5)
    assert follower("1").raft.elapsed_at(5 * SECOND) is None


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


@pytest.mark.parametrize("wall", [60, 40])
def test_new_leader_begins_at_the_time_of_the_last_entry(wall: int) -> None:
    """Neither clock measured the time between two leaders, and its own wall clock may be wrong."""
    run = elected_after(stamped(2, wall=50, elapsed=77), wall=wall, monotonic=10_000)

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


# ── whose wall clock is right ────────────────────────────────────────────────────────────────────────


@attrs.define
class Office:
    """A leader that was just elected after an entry of second 0; seconds are counted from then on."""

    stamping: Stamping

    @property
    def server(self) -> Server:
        return self.stamping.server

    def time(self, *, wall: float, monotonic: float) -> float:
        """The time of an entry that is made when its clocks read so."""
        return self.stamping.stamps(wall=wall, monotonic=monotonic)[0]

    def hear(self, voter: str, wall: float, *, round: int | None = None) -> None:  # noqa: A002
        """A voter whose clock reads so answers the last heartbeat, or another."""
        reply = beat(self.server, round=round)
        wall_ns = self.stamping.began_ns + round_ns(wall)
        self.server.receive(voter, attrs.evolve(reply, wall_ns=wall_ns))


def round_ns(seconds: float) -> int:
    """In ns; a float of seconds is not exact."""
    return round(seconds * SECOND)


def office(voters: str = "abc", *, learners: str = "") -> Office:
    """As described; nobody has answered a heartbeat yet, the bound is 10 s."""
    began = 1_000_000 * SECOND
    first = attrs.evolve(founding(group(voters, learners=learners)), time_ns=began)
    a = server("1", configuration=group(voters, learners=learners), clock_step_max_ms=10_000)
    a.disk.runs[:] = [first]
    a.restart()
    a.stand()
    a.step(Tick(count=0, wall_ns=began, monotonic_ns=began))
    for voter in a.raft.state.other_voters:
        a.receive(voter, VoteReply(term=a.raft.term, granted=True))
    a.persist_all()
    assert a.raft.role == "leader"
    return Office(Stamping(a, began))


def test_wall_clock_counts_for_nothing_before_a_quorum_was_heard() -> None:
    """Until then time goes on by the monotonic clock, which can't be wrong about how long something took."""
    a = office("abcde")
    a.hear("b", 3600)

    assert a.time(wall=3600, monotonic=1) == 1


def test_wall_clock_near_those_of_a_quorum_is_followed() -> None:
    """The time since the last entry is then a jump that is followed: the group may have been down a day."""
    a = office()
    a.hear("b", 86_409.5)

    assert a.time(wall=86_400, monotonic=0.5) == 86_400
    assert a.stamping.refused_steps() == []


@pytest.mark.parametrize("voters, clocks", [("abcde", [100, 101, 5_000]), ("abc", [95, 101])])
def test_wall_clock_apart_from_the_voters_is_corrected_to_their_median(
    voters: str, clocks: list[float]
) -> None:
    """A majority of clocks is not wrong by the same hours; people are told of the one that is."""
    a = office(voters)
    for voter, wall in zip("bcd", clocks, strict=False):
        a.hear(voter, wall)

    assert a.time(wall=7_200, monotonic=0) == 101
    assert a.stamping.refused_steps() == [7_099]


def test_correction_is_kept_for_the_leadership() -> None:
    """Or time would jump with the next entry; and a later step of that clock is judged as any."""
    a = office()
    a.hear("b", 100)
    a.hear("c", 100)

    times = [a.time(wall=7_200 + it, monotonic=it) for it in (0, 1, 2)]
    times.append(a.time(wall=103, monotonic=3))  # somebody mends it
    times.append(a.time(wall=104, monotonic=4))

    assert times == [100, 101, 102, 103, 104]


def test_the_earlier_of_two_clocks_is_followed_until_a_third_is_heard() -> None:
    """A stamp can wait for time and never goes back; who is right shows when more are heard."""
    a = office()
    a.hear("b", 100)
    alone = a.time(wall=500, monotonic=0)
    a.hear("c", 500)

    assert (alone, a.time(wall=501, monotonic=1)) == (100, 501)


def test_one_wild_clock_moves_nothing() -> None:
    """The median, not the mean: whatever number a peer sends."""
    for wild in (-1_000_000, (1 << 64) / SECOND - 1_000_001):
        a = office()
        a.hear("b", wild)
        a.hear("c", 5)

        assert a.time(wall=3, monotonic=1) in (3, 5)


def test_stamps_of_wild_clocks_still_fit_the_format() -> None:
    """When a majority is wild, time is of no use, but the group goes on."""
    a = office()
    for voter in "bc":
        reply = attrs.evolve(beat(a.server), wall_ns=(1 << 64) - 1)
        a.server.receive(voter, reply)
    a.time(wall=1, monotonic=1)
    a.time(wall=2, monotonic=2)

    assert [run.time_ns for write in a.server.unwritten for run in write.runs] == [STAMP_MAX] * 2


def test_time_waits_for_clocks_that_are_behind_the_log() -> None:
    """Stamps never decrease along the log, whoever makes them."""
    a = office()
    a.hear("b", -50)
    a.hear("c", -50)

    assert [a.time(wall=-40 + it, monotonic=it) for it in (0, 39, 45)] == [0, 0, 5]


def test_late_answers_say_nothing_of_a_clock() -> None:
    """What was long on its way would make a clock look slow."""
    a = office()
    began = a.stamping.began_ns
    a.server.step(Tick(count=5, wall_ns=began, monotonic_ns=began))
    for voter in "bc":
        a.hear(voter, 100)
    for voter in "bc":
        a.hear(voter, 20, round=1)

    assert a.time(wall=100, monotonic=5) == 100


def test_clocks_of_learners_do_not_count() -> None:
    """As nothing of them does."""
    a = office("abc", learners="de")
    a.hear("d", 100)
    a.hear("e", 100)

    assert a.time(wall=100, monotonic=1) == 1


def test_group_of_one_follows_its_own_clock_at_once() -> None:
    """There is nobody else to ask."""
    a = server("1", configuration=group("a"))
    a.stand()

    assert a.raft.role == "leader"
    assert a.disk.runs[-1].time_ns == a.raft.state.wall_ns > 0
