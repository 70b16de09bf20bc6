"""A receiver delivers each message once, asks for what it misses, and never waits nor keeps without bound."""

from __future__ import annotations

import random
import tracemalloc

import pytest

from raftkit.encoding import U64_MAX
from raftkit.wire import Chunk, InStream, Lane
from raftkit.wire.datagram import NUMBERS_END
from raftkit.wire.in_stream import (
    AGAIN_SECONDS,
    GIVE_UP_SECONDS,
    NACK_RANGES_MAX,
    NACK_SECONDS,
    WINDOW,
)

MINE, OTHERS = 0b01, 0b10


def _stream(*, head: int = 0, messages_max: int = 256, bytes_max: int = 1_000_000) -> InStream:
    return InStream(
        head=head, bit=0, rng=random.Random(1), messages_max=messages_max, bytes_max=bytes_max
    )


def _chunk(
    data: bytes = b"x",
    i: int = 0,
    n: int = 1,
    lane: Lane = Lane.ENTRIES,
    targets: int = MINE,
) -> Chunk:
    return Chunk(lane=lane, i=i, n=n, targets=targets, data=data)


def _message(text: bytes, lane: Lane = Lane.ENTRIES, targets: int = MINE) -> list[Chunk]:
    """A piece for each letter."""
    return [_chunk(text[i : i + 1], i, len(text), lane, targets) for i in range(len(text))]


# ── what arrives ─────────────────────────────────────────────────────────────────────────────────


def test_messages_in_order_are_delivered_as_they_come() -> None:
    stream = _stream()
    pieces = [*_message(b"one"), *_message(b"two")]

    found = [stream.receive(number, piece, 0.0) for number, piece in enumerate(pieces)]

    assert found == [[], [], [b"one"], [], [], [b"two"]]
    assert (stream.head, stream.deadline, stream.counts.messages) == (6, float("inf"), 2)


def test_pieces_in_any_order_make_the_message() -> None:
    for seed in range(50):
        stream = _stream()
        pieces = list(enumerate([*_message(b"one"), *_message(b"two"), *_message(b"three")]))
        random.Random(seed).shuffle(pieces)

        found = [it for number, piece in pieces for it in stream.receive(number, piece, 0.0)]

        assert found == [b"one", b"two", b"three"]
        assert stream.deadline == float("inf")


def test_a_datagram_that_comes_twice_is_heard_once() -> None:
    stream = _stream()
    pieces = _message(b"ab")
    stream.receive(1, pieces[1], 0.0)
    assert stream.receive(1, pieces[1], 0.0) == []
    assert stream.receive(0, pieces[0], 0.0) == [b"ab"]

    assert [stream.receive(number, pieces[number], 0.0) for number in (0, 1)] == [[], []]
    assert stream.counts.repeated == 3


def test_what_was_sent_before_the_link_stood_is_not_believed() -> None:
    """Recorded traffic of an earlier link proves nothing."""
    stream = _stream(head=10)

    assert stream.receive(9, _chunk(b"old"), 0.0) == []
    assert stream.receive(10, _chunk(b"new"), 0.0) == [b"new"]
    assert stream.counts.repeated == 1


def test_a_message_that_began_before_the_link_stood_is_not_delivered() -> None:
    stream = _stream(head=10)
    stream.receive(10, _chunk(b"the end of it", i=1, n=2), 0.0)

    assert stream.receive(11, _chunk(b"whole"), 0.0) == [b"whole"]
    assert stream.counts.wasted == 1


def test_what_is_for_others_is_passed_over() -> None:
    stream = _stream()

    assert stream.receive(0, _chunk(targets=OTHERS), 0.0) == []
    assert stream.receive(1, _chunk(b"mine", targets=MINE | OTHERS), 0.0) == [b"mine"]
    assert stream.receive(3, _chunk(b"behind a gap", targets=OTHERS), 0.0) == []
    assert stream.receive(2, _chunk(b"more"), 0.0) == [b"more"]
    assert (stream.counts.messages, stream._waiting) == (2, {})


def test_a_control_message_waits_for_nothing() -> None:
    """A heartbeat must not come late because an entry was lost."""
    stream = _stream()
    beat = _chunk(b"beat", lane=Lane.CONTROL)

    assert stream.receive(1, _chunk(b"entry"), 0.0) == []
    assert stream.receive(3, beat, 0.0) == [b"beat"]
    assert stream.receive(3, beat, 0.0) == []
    assert stream.receive(0, beat, 0.0) == [b"beat", b"entry"]


def test_a_long_control_message_comes_in_order() -> None:
    stream = _stream()
    hello = _message(b"hi", Lane.CONTROL)

    assert stream.receive(1, hello[0], 0.0) == []
    assert stream.receive(2, hello[1], 0.0) == []
    assert stream.receive(0, _chunk(b"entry"), 0.0) == [b"entry", b"hi"]


# ── what is missing ──────────────────────────────────────────────────────────────────────────────


def test_a_gap_is_asked_for_soon_and_then_ever_less_often() -> None:
    stream = _stream()
    stream.receive(5, _chunk(), 1.0)

    asked: list[float] = []
    while (now := stream.deadline) < 1.0 + GIVE_UP_SECONDS:
        assert stream.nack(now - 0.000_001) == ()
        assert stream.nack(now) == ((0, 5),)
        asked.append(now)

    pauses = [after - before for before, after in zip([1.0, *asked], asked, strict=False)]
    assert len(asked) == 5
    for pause, least in zip(pauses, (0, 0.005, 0.010, 0.020, 0.040), strict=True):
        assert least <= pause <= least + NACK_SECONDS


def test_receivers_do_not_all_ask_at_once() -> None:
    streams = [InStream(head=0, bit=0, rng=random.Random(seed)) for seed in range(20)]
    for stream in streams:
        stream.receive(1, _chunk(), 0.0)

    assert len({round(stream.deadline, 4) for stream in streams}) > 10


def test_only_what_is_missing_is_asked_for() -> None:
    stream = _stream()
    for number in (0, 2, 3, 7):
        stream.receive(number, _chunk(), 0.0)
    stream.receive(5, _chunk(), 0.0)

    assert stream.nack(NACK_SECONDS) == ((1, 2), (4, 5), (6, 7))
    assert stream.counts.missed == 4  # one of them only came late


def test_so_many_gaps_are_asked_for_at_once_and_the_others_right_after() -> None:
    stream = _stream()
    for number in range(1, 201, 2):
        stream.receive(number, _chunk(), 0.0)

    asked = stream.nack(NACK_SECONDS)
    assert asked == tuple((number, number + 1) for number in range(0, 2 * NACK_RANGES_MAX, 2))
    assert stream.deadline <= NACK_SECONDS
    assert stream.nack(NACK_SECONDS) == tuple(
        (n, n + 1) for n in range(2 * NACK_RANGES_MAX, 200, 2)
    )
    assert stream.deadline > NACK_SECONDS


def test_tail_loss_is_noticed_when_the_head_is_told() -> None:
    stream = _stream()
    stream.receive(0, _chunk(), 0.0)
    assert stream.announce(3, 1.0) == []
    assert stream.announce(2, 1.0) == []

    assert stream.head == 3
    assert stream.nack(1.0 + NACK_SECONDS) == ((1, 3),)


def test_a_closed_gap_is_not_asked_for() -> None:
    stream = _stream()
    stream.receive(1, _chunk(), 0.0)
    stream.receive(3, _chunk(), 0.001)
    stream.receive(0, _chunk(), 0.001)
    stream.receive(2, _chunk(), 0.001)

    assert stream.deadline == float("inf")
    assert stream.nack(1.0) == ()
    assert stream.give_up(1.0) == []


# ── what is given up ─────────────────────────────────────────────────────────────────────────────


def test_a_gap_is_given_up_after_a_while_and_what_waited_goes_on() -> None:
    stream = _stream()
    stream.receive(1, _chunk(b"waited"), 1.0)
    stream.receive(3, _chunk(b"waits longer"), 1.05)

    assert stream.give_up(1.0999) == []
    assert stream.give_up(1.0 + GIVE_UP_SECONDS) == [b"waited"]
    assert stream.deadline <= 1.05 + GIVE_UP_SECONDS
    assert stream.give_up(1.05 + GIVE_UP_SECONDS) == [b"waits longer"]
    assert (stream.counts.lost, stream.deadline) == (2, float("inf"))
    assert stream.receive(0, _chunk(b"late"), 1.2) == []


def test_a_gap_that_gets_smaller_is_not_given_up_and_soon_asked_for_again() -> None:
    """A sender repeats only so much at a time: who has lost more must ask more often, not less."""
    stream = _stream()
    stream.announce(100, 0.0)
    stream.nack(NACK_SECONDS)

    now = NACK_SECONDS
    for number in range(50):
        now += 0.050
        assert stream.give_up(now) == []
        stream.receive(number, _chunk(), now)
        assert stream.nack(now) == ()
        assert stream.nack(now + AGAIN_SECONDS) == ((number + 1, 100),)

    assert stream.counts.lost == 0
    stream.give_up(now + GIVE_UP_SECONDS)
    assert stream.counts.lost == 50


def test_what_the_sender_says_is_gone_is_given_up_at_once() -> None:
    stream = _stream()
    stream.receive(10, _chunk(b"waited"), 0.0)
    stream.receive(4, _chunk(b"first"), 0.0)

    assert stream.gone([(0, 3)]) == []
    assert stream.nack(NACK_SECONDS) == ((3, 4), (5, 10))
    assert stream.gone([(2, 6)]) == [b"first"]
    assert stream.gone([(7, 8), (9, 7)]) == []
    assert stream.nack(0.5) == ((6, 7), (8, 10))
    assert stream.gone([(0, U64_MAX)]) == [b"waited"]
    assert stream.counts.lost == 9


@pytest.mark.parametrize("lost", [0, 1, 2])
def test_a_message_with_a_gap_is_dropped_whole(lost: int) -> None:
    """Whichever piece is missing, the others make nothing, and what follows is delivered."""
    stream = _stream()
    for number, piece in enumerate(_message(b"abc")):
        if number != lost:
            stream.receive(number, piece, 0.0)
    stream.receive(3, _chunk(b"next"), 0.0)

    assert stream.gone([(lost, lost + 1)]) == [b"next"]
    assert (stream.counts.wasted, stream._waiting, stream._pieces) == (2, {}, [])


def test_a_piece_of_a_message_that_was_given_up_is_dropped_when_it_comes() -> None:
    stream = _stream()
    pieces = _message(b"abc")
    stream.receive(1, pieces[1], 0.0)
    stream.gone([(0, 1)])

    assert stream.receive(2, pieces[2], 0.0) == []
    assert stream.receive(3, _chunk(b"next"), 0.0) == [b"next"]


@pytest.mark.parametrize(
    "second",
    [
        pytest.param(_chunk(b"b", 1, 3), id="of another length"),
        pytest.param(_chunk(b"b", 1, 2, Lane.BULK), id="of another lane"),
        pytest.param(_chunk(b"b", 1, 2, targets=0b11), id="for others"),
        pytest.param(_chunk(b"b", 2, 3), id="of another place"),
        pytest.param(_chunk(b"b", 0, 2), id="a beginning"),
    ],
)
def test_pieces_that_do_not_belong_together_make_no_message(second: Chunk) -> None:
    """A sender that errs can't have a message delivered that nobody sent."""
    stream = _stream()

    found = [
        it
        for number, piece in enumerate([_chunk(b"a", 0, 2), second, _chunk(b"c")])
        for it in stream.receive(number, piece, 0.0)
    ]

    assert found == [b"c"]


def test_pieces_with_a_hole_between_them_make_no_message() -> None:
    stream = _stream()
    stream.receive(0, _chunk(b"a", 0, 2), 0.0)
    stream.receive(2, _chunk(b"b", 1, 2), 0.0)

    assert stream.gone([(1, 2)]) == []
    assert stream.counts.wasted == 2


# ── what is kept ─────────────────────────────────────────────────────────────────────────────────


def test_so_many_messages_wait_and_no_more() -> None:
    """What has no room counts as not arrived: it is asked for again."""
    stream = _stream(messages_max=3)
    for number in range(1, 10):
        stream.receive(number, _chunk(b"%d" % number), 0.0)

    assert sorted(stream._waiting) == [1, 2, 3]
    assert stream.counts.crowded == 6
    asked = {n for first, end in stream.nack(NACK_SECONDS) for n in range(first, end)}
    assert asked == {0, 4, 5, 6, 7, 8, 9}
    assert stream.receive(0, _chunk(b"0"), 0.0) == [b"0", b"1", b"2", b"3"]
    assert [stream.receive(n, _chunk(b"%d" % n), 0.0) for n in (5, 4)] == [[], [b"4", b"5"]]


def test_pieces_of_a_message_that_waits_have_room_beside_it() -> None:
    stream = _stream(messages_max=1)
    for number, piece in enumerate(_message(b"abc"), 1):
        stream.receive(number, piece, 0.0)

    assert stream.receive(0, _chunk(b"first"), 0.0) == [b"first", b"abc"]


def test_so_many_bytes_wait_and_no_more() -> None:
    stream = _stream(bytes_max=250)
    for number in range(1, 6):
        stream.receive(number, _chunk(bytes(100)), 0.0)

    assert (stream._waiting_bytes, stream.counts.crowded) == (200, 3)
    assert stream.receive(0, _chunk(bytes(100)), 0.0) == [bytes(100)] * 3
    assert stream._waiting_bytes == 0


def test_a_message_larger_than_all_that_may_wait_is_dropped() -> None:
    stream = _stream(bytes_max=250)
    pieces = [_chunk(bytes(100), i, 4) for i in range(4)]

    assert [stream.receive(number, it, 0.0) for number, it in enumerate(pieces)] == [[]] * 4
    assert (stream._pieces_bytes, stream.counts.wasted, stream.counts.crowded) == (0, 4, 1)
    assert stream.receive(4, _chunk(bytes(250)), 0.0) == [bytes(250)]


def test_what_falls_out_of_the_window_is_given_up() -> None:
    stream = _stream()
    stream.receive(1, _chunk(b"waited"), 0.0)
    stream.receive(2, _chunk(b"begun", 0, 2), 0.0)

    assert stream.receive(WINDOW - 1, _chunk(b"in"), 0.0) == []
    assert stream.receive(WINDOW, _chunk(b"far"), 0.0) == [b"waited"]
    assert stream.receive(WINDOW + 1, _chunk(b"farther"), 0.0) == []
    assert stream.counts.lost == 1


@pytest.mark.parametrize("by", ["a datagram", "its head"])
@pytest.mark.parametrize("far", [WINDOW + 5, 10 * WINDOW, NUMBERS_END - 1])
def test_a_sender_that_is_far_ahead_is_followed_at_once(far: int, by: str) -> None:
    """However far: neither time nor memory for what lies between."""
    stream = _stream()
    stream.receive(0, _chunk(b"a", 0, 2), 0.0)
    stream.receive(2, _chunk(b"waited"), 0.0)

    if by == "a datagram":
        found = stream.receive(far, _chunk(b"b", 1, 2), 0.0)
    else:
        found = stream.announce(far + 1, 0.0)

    assert found == [b"waited"]
    assert stream.head == far + 1
    assert stream.nack(NACK_SECONDS)[0][0] == far + 1 - WINDOW
    assert stream.give_up(GIVE_UP_SECONDS) == []
    assert (stream.counts.lost, stream._next) == (
        far - 2 + (by == "its head"),
        far + 1,
    )


def test_half_a_message_before_a_leap_and_half_after_it_make_none() -> None:
    stream = _stream()
    stream.receive(0, _chunk(b"a", 0, 2), 0.0)
    stream.announce(5 * WINDOW, 0.0)

    assert stream.receive(4 * WINDOW, _chunk(b"b", 1, 2), 0.0) == []
    assert stream.give_up(1.0) == []


@pytest.mark.slow
def test_whatever_a_member_sends_the_memory_stays_bounded() -> None:
    """A window of the smallest pieces, every other one missing, each of a message of its own."""
    stream = _stream(messages_max=WINDOW)
    tracemalloc.start()
    try:
        for number in range(1, 3 * WINDOW, 2):
            stream.receive(number, _chunk(bytes(1), 0, 2), 0.0)
        held = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()

    assert len(stream._waiting) <= WINDOW // 2
    assert held < 8 * 1024 * 1024
