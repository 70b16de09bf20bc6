"""How fast an endpoint sends, by a clock that the test holds."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given, strategies as st

from raftkit.transports.multicast.pacing import (
    FALL,
    FLOOR,
    LOOK_SECONDS,
    RISE,
    START,
    Bucket,
    Pacer,
    Turn,
)

CEILING, BURST = 4_000_000, 50_000
RATE = CEILING * START

SIZES = st.integers(1, BURST)
PAUSES = st.just(0.0) | st.floats(0.0, 0.2)
TURNS = st.sampled_from(Turn)


def a_pacer(**settings: int) -> Pacer[str]:
    defaults = {"rate_max": CEILING, "burst": BURST, "capacity": 256, "bytes_max": 1 << 24}
    return Pacer(**(defaults | settings))


def sent_until(pacer: Pacer[str], end: float) -> list[tuple[float, Turn, str]]:
    """What goes until then, and when, for who wakes at deadlines only."""
    found: list[tuple[float, Turn, str]] = []
    now = 0.0
    while now <= end:
        while (popped := pacer.pop(now)) is not None:
            found.append((now, *popped))
        now = max(now + 1e-6, pacer.deadline())
    return found


@pytest.mark.slow
@given(st.lists(st.tuples(PAUSES, SIZES, st.sampled_from([Turn.REPAIR, Turn.UNDER_WAY]))))
def test_no_interval_has_more_than_the_rate_and_one_burst(
    arrivals: list[tuple[float, int, Turn]],
) -> None:
    """Whatever comes when; and repairs at most half of it."""
    pacer = a_pacer()
    sizes: dict[str, int] = {}
    gone: list[tuple[float, Turn, int]] = []
    now = 0.0
    for number, (pause, size, turn) in enumerate(arrivals):
        end = now + pause
        while pacer.deadline() <= end:
            now = max(now + 1e-6, pacer.deadline())
            while (popped := pacer.pop(now)) is not None:
                gone.append((now, popped[0], sizes[popped[1]]))
        now = max(now, end)
        sizes[str(number)] = size
        pacer.push(turn, size, str(number))

    for which, part in ((set(Turn), 1.0), ({Turn.REPAIR}, 0.5)):
        chosen = [(at, size) for at, turn, size in gone if turn in which]
        for first in range(len(chosen)):
            total = 0
            for at, size in chosen[first:]:
                total += size
                allowed = part * (RATE * (at - chosen[first][0]) + BURST)
                # A repair larger than half a burst goes when half a burst is there.
                assert total <= allowed + (BURST / 2 if part < 1 else 0) + 1e-3


@pytest.mark.slow
@given(st.lists(st.tuples(SIZES, TURNS), max_size=40))
def test_all_that_waits_goes_in_time(arrivals: list[tuple[int, Turn]]) -> None:
    """In order within each queue, and not later than the rate (for repairs half of it) demands."""
    pacer = a_pacer()
    for number, (size, turn) in enumerate(arrivals):
        assert pacer.push(turn, size, str(number))
    gone = sent_until(pacer, 10.0)

    assert sorted(int(it) for _, _, it in gone) == list(range(len(arrivals)))
    for turn in Turn:
        numbers = [int(it) for _, its, it in gone if its is turn]
        assert numbers == sorted(numbers)
    if gone:
        assert gone[-1][0] <= 2 * sum(size for size, _ in arrivals) / RATE + 0.001


@pytest.mark.slow
@given(st.lists(st.tuples(SIZES, TURNS)))
def test_who_wakes_at_the_deadline_finds_something(arrivals: list[tuple[int, Turn]]) -> None:
    """Whatever waits, and for what: or an endpoint would wake again and again, at once, for nothing."""
    pacer = a_pacer()
    for size, turn in arrivals:
        pacer.push(turn, size, str(size))

    now = 0.0
    while pacer.deadline() < math.inf:
        now = max(now, pacer.deadline())
        popped = pacer.pop(now)
        assert popped is not None
        if popped[0] > Turn.UNDER_WAY:
            pacer.charge(int(popped[1]), now)


def test_what_waits_goes_in_the_order_of_turns() -> None:
    pacer = a_pacer()
    for turn in reversed(Turn):
        pacer.push(turn, 100, turn.name)

    assert [it for _, _, it in sent_until(pacer, 1.0)] == [turn.name for turn in Turn]


def test_no_message_begins_while_another_is_under_way() -> None:
    """A small one would fit into what is left, but its numbers would be ahead of the wire."""
    pacer = a_pacer()
    pacer.charge(BURST - 500, 0.0)
    pacer.push(Turn.UNDER_WAY, 1000, "rest")
    pacer.push(Turn.ENTRIES, 10, "small")

    assert pacer.pop(0.0) is None
    assert pacer.deadline() > 0.0, "nothing can go before the rest can"
    assert [it for _, _, it in sent_until(pacer, 1.0)] == ["rest", "small"]


def test_entries_without_end_leave_bulk_a_quarter() -> None:
    """A snapshot gets through a group that writes as fast as it may."""
    pacer = a_pacer()
    for number in range(4):
        pacer.push(Turn.BULK, 9000, f"{number}")
    now, sent = 0.0, {Turn.ENTRIES: 0, Turn.BULK: 0}
    for _ in range(1000):
        if not pacer.waiting(Turn.BULK):
            break
        if not pacer.waiting(Turn.ENTRIES):
            pacer.push(Turn.ENTRIES, 1000, "entries")
        popped = pacer.pop(now)
        if popped is None:
            now = pacer.deadline()
            continue
        sent[popped[0]] += (size := 9000 if popped[0] is Turn.BULK else 1000)
        pacer.charge(size, now)

    assert sent == {Turn.ENTRIES: 4 * 27_000, Turn.BULK: 4 * 9000}


def test_while_receivers_are_behind_only_repairs_go() -> None:
    """Until the time that was set, or until it is taken back."""
    pacer = a_pacer()
    for turn in reversed(Turn):
        pacer.push(turn, 100, turn.name)
    pacer.held_until = 0.5

    assert pacer.pop(0.0) == (Turn.REPAIR, "REPAIR")
    assert pacer.pop(0.1) is None
    assert pacer.deadline() == 0.5
    assert pacer.pop(0.5) == (Turn.UNDER_WAY, "UNDER_WAY")
    pacer.held_until = 9.0
    assert pacer.pop(0.6) is None
    pacer.held_until = 0.0
    assert pacer.pop(0.6) == (Turn.ENTRIES, "ENTRIES")


def test_what_is_urgent_is_charged() -> None:
    """It has gone already; what can wait pays for it."""
    pacer = a_pacer()
    pacer.charge(BURST, 0.0)
    pacer.push(Turn.UNDER_WAY, 10_000, "x")

    assert pacer.pop(0.0) is None
    assert pacer.deadline() == pytest.approx(0.01)
    assert pacer.pop(0.0101) == (Turn.UNDER_WAY, "x")


def test_what_is_urgent_cannot_silence_the_rest() -> None:
    """However much it is, the debt is one burst."""
    pacer = a_pacer()
    for _ in range(1000):
        pacer.charge(BURST, 0.0)
    pacer.push(Turn.UNDER_WAY, BURST, "x")

    assert pacer.deadline() == pytest.approx(2 * BURST / RATE)


def test_repairs_leave_half_of_the_rate() -> None:
    pacer = a_pacer()
    for _ in range(200):
        pacer.push(Turn.REPAIR, 10_000, "repair")
        pacer.push(Turn.UNDER_WAY, 10_000, "new")
    gone = [it for _, _, it in sent_until(pacer, 1.0)]

    assert 48 <= gone.count("repair") <= 54
    assert 50 <= gone.count("new") <= 57


def test_a_full_queue_refuses_and_another_has_room() -> None:
    pacer = a_pacer(capacity=2)
    assert [pacer.push(Turn.ENTRIES, 1, "x") for _ in range(3)] == [True, True, False]
    assert pacer.push(Turn.BULK, 1, "y")
    assert [pacer.push(Turn.UNDER_WAY, 1, "z") for _ in range(3)] == [True, True, True]
    assert [pacer.waiting(it) for it in Turn] == [0, 3, 2, 1]


def test_a_queue_is_bounded_in_bytes_too() -> None:
    pacer = a_pacer(bytes_max=1000)
    assert pacer.push(Turn.ENTRIES, 900, "x")
    assert not pacer.push(Turn.ENTRIES, 200, "y")
    assert pacer.pop(0.0) == (Turn.ENTRIES, "x")
    assert pacer.push(Turn.ENTRIES, 200, "y")


def test_a_message_longer_than_a_burst_goes_when_the_bucket_is_full() -> None:
    bucket = Bucket(1000.0, 100)
    assert bucket.allows(5000, 0.0)
    bucket.spend(5000, 0.0)
    assert not bucket.allows(1, 1.0)
    assert bucket.ready_at(1) == pytest.approx(4.901)


def test_time_that_stands_still_or_goes_back_gives_nothing() -> None:
    bucket = Bucket(1000.0, 100)
    bucket.spend(100, 5.0)
    assert not bucket.allows(10, 5.0)
    assert not bucket.allows(10, 4.0)
    assert bucket.allows(10, 5.01)


# ── losses ───────────────────────────────────────────────────────────────────────────────────────


def looks(
    pacer: Pacer[str],
    number: int,
    *,
    loss: float,
    sent: int = 1000,
    start: float = 0.0,
    used: float = 1.0,
) -> list[float]:
    """The rate after each of so many looks: each sees so many datagrams, losses, and use of the rate."""
    rates = [pacer.rate]
    for n in range(1, number + 1):
        now = start + n * LOOK_SECONDS * 1.001
        pacer.charge(int(used * pacer.rate * LOOK_SECONDS), now)
        pacer.adapt(sent * n, int(loss * sent * n), now)
        rates.append(pacer.rate)
    return rates


def test_the_rate_begins_low_and_rises_while_it_is_used_and_nothing_is_lost() -> None:
    rates = looks(a_pacer(), 60, loss=0.0)

    assert rates[0] == RATE
    assert all(
        after == pytest.approx(min(before + CEILING * RISE, CEILING))
        for before, after in pairwise(rates)
    )
    assert rates[-1] == CEILING


def test_a_rate_that_is_not_used_stays() -> None:
    """That a little got through does not prove that more would."""
    assert set(looks(a_pacer(), 60, loss=0.0, used=0.4)) == {RATE}


def test_the_rate_falls_while_too_much_is_lost_down_to_a_floor() -> None:
    rates = looks(a_pacer(), 20, loss=0.02)

    assert all(after == max(before * FALL, CEILING * FLOOR) for before, after in pairwise(rates))
    assert rates[-1] == CEILING * FLOOR


def test_a_little_loss_does_not_slow_down() -> None:
    rates = looks(a_pacer(), 20, loss=0.009)

    assert rates == sorted(rates)


def test_two_lost_datagrams_of_few_are_chance() -> None:
    rates = looks(a_pacer(), 20, loss=0.2, sent=10)

    assert rates == sorted(rates)


def test_losses_are_looked_at_now_and_then_not_each_time() -> None:
    pacer = a_pacer()
    for n in range(1, 1000):
        pacer.adapt(n * 10, n, 1.0 + n * 1e-6)

    assert pacer.rate >= RATE * FALL


def test_a_slower_rate_holds_for_repairs_too() -> None:
    pacer = a_pacer()
    looks(pacer, 20, loss=0.05)
    for _ in range(400):
        pacer.push(Turn.REPAIR, 1000, "repair")
    gone = [at for at, _, _ in sent_until(pacer, 3.5) if at >= 2.5]

    assert len(gone) * 1000 == pytest.approx(CEILING * FLOOR / 2, abs=2000)
