"""A sender keeps what may be asked for again, within bounds, and sends it again no more than it must."""

from __future__ import annotations

import pytest

from raftkit.errors import LocalProtocolError
from raftkit.wire import (
    HEAD_BYTES,
    ClusterKeys,
    Datagram,
    Lane,
    Opener,
    OutStream,
    Repair,
    Sealer,
    cluster_tag,
    decode_chunk,
)
from raftkit.wire.datagram import NUMBERS_END
from raftkit.wire.out_stream import KEEP_SECONDS, REPAIR_DATAGRAMS_MAX

TAG = cluster_tag("orders")
KEYS = ClusterKeys.unsealed(unsafe=True)
CHUNK_BYTES = 10
A, B, C = 0, 1, 2
ALL = 0b111
RTT = 0.001


def _stream(*, messages_max: int = 256, bytes_max: int = 1_000_000) -> OutStream:
    return OutStream(
        numbered=Sealer(cluster=TAG, keys=KEYS, start=1).open_stream(),
        chunk_bytes=CHUNK_BYTES,
        messages_max=messages_max,
        bytes_max=bytes_max,
    )


def _send(stream: OutStream, pieces: int = 1, targets: int = ALL, now: float = 0.0) -> list[bytes]:
    message = bytes([stream.head % 256]) * (pieces * CHUNK_BYTES)
    return list(stream.send(message, Lane.ENTRIES, targets, now))


# ── sending ──────────────────────────────────────────────────────────────────────────────────────


def test_a_message_becomes_datagrams_of_one_size_with_numbers_in_a_row() -> None:
    stream, opener = _stream(), Opener(cluster=TAG, keys=KEYS, own=2)
    _send(stream)

    sent = stream.send(b"a message in three pieces", Lane.BULK, 0b10, 0.0)

    opened = [opener.open(it) for it in sent]
    found = [(it.number, decode_chunk(it.body)) for it in opened if isinstance(it, Datagram)]
    assert [number for number, _ in found] == [1, 2, 3]
    assert [(it.lane, it.i, it.n, it.targets) for _, it in found] == [
        (Lane.BULK, i, 3, 0b10) for i in range(3)
    ]
    assert b"".join(it.data for _, it in found) == b"a message in three pieces"
    assert [len(it) for it in sent] == [HEAD_BYTES + 1 + 13 + size for size in (10, 10, 5)]
    assert (stream.head, stream.counts.datagrams) == (4, 4)


def test_what_was_sent_long_ago_is_forgotten() -> None:
    """A stream that was busy once holds on to nothing: what is asked for so late is gone."""
    stream = _stream()
    _send(stream, pieces=3, now=0.0)
    late = _send(stream, now=3.0)

    stream.forget(KEEP_SECONDS - 0.1)
    assert len(stream.repair([(0, 3)], A, 4.9, rtt=RTT).unicast) == 3
    stream.forget(KEEP_SECONDS)

    repair = stream.repair([(0, 4)], B, 5.0, rtt=RTT)
    assert repair == Repair(unicast=tuple(late), gone=((0, 3),))
    assert stream._kept_bytes == len(late[0])
    stream.forget(100.0)
    assert (stream._kept, stream._kept_bytes) == ([], 0)
    assert stream.repair([(3, 4)], A, 100.0, rtt=RTT) == Repair(gone=((3, 4),))


def test_a_message_that_would_need_more_numbers_than_are_left_takes_none() -> None:
    """Sequence wrap: the stream ends before a number is used twice."""
    stream = _stream()
    stream.numbered.head = NUMBERS_END - 3

    with pytest.raises(LocalProtocolError, match="stream 1 has used up its numbers"):
        _send(stream, pieces=4)
    assert stream.head == NUMBERS_END - 3
    assert len(_send(stream, pieces=3)) == 3
    with pytest.raises(LocalProtocolError):
        _send(stream)


# ── telling the head ─────────────────────────────────────────────────────────────────────────────


def test_the_head_is_told_three_times_after_the_last_datagram() -> None:
    stream = _stream()
    assert stream.deadline == float("inf")
    assert not stream.tell_head(1.0)

    _send(stream, now=10.0)

    told: list[float] = []
    for _ in range(3):
        at = stream.deadline
        assert not stream.tell_head(at - 0.000_001)
        assert stream.tell_head(at)
        told.append(round(at - 10.0, 6))
    assert told == [0.005, 0.020, 0.080]
    assert stream.deadline == float("inf")
    assert not stream.tell_head(99.0)


def test_the_head_is_told_after_what_left_late() -> None:
    """A large message is written in slices: told earlier, the head would make everybody ask for the rest."""
    stream = _stream()
    _send(stream, now=10.0)
    assert stream.tell_head(10.005)

    stream.resume(10.019)

    assert not stream.tell_head(10.020)
    assert stream.tell_head(10.025)


def test_while_datagrams_follow_each_other_no_head_is_told() -> None:
    """The next datagram tells it."""
    stream = _stream()
    for ms in range(0, 100, 4):
        assert not stream.tell_head(ms / 1000)
        _send(stream, now=ms / 1000)

    assert stream.deadline == pytest.approx(0.096 + 0.005)


# ── repair ───────────────────────────────────────────────────────────────────────────────────────


def test_what_is_missing_is_sent_again_as_it_was() -> None:
    stream = _stream()
    sent = [it for pieces in (1, 3, 2, 1) for it in _send(stream, pieces)]
    assert len(sent) == stream.head == 7

    found = stream.repair([(1, 3), (5, 7)], A, 1.0, rtt=RTT)

    assert found == Repair(unicast=(sent[1], sent[2], sent[5], sent[6]))
    assert stream.counts.repaired == 4


def test_what_is_on_its_way_is_not_sent_again() -> None:
    stream = _stream()
    sent = _send(stream, 3)
    stream.repair([(0, 2)], A, 1.0, rtt=RTT)

    assert stream.repair([(0, 3)], A, 1.0 + RTT / 2, rtt=RTT) == Repair(unicast=(sent[2],))
    assert stream.counts.spared == 2
    later = stream.repair([(0, 2)], A, 1.0 + 2 * RTT, rtt=RTT)
    assert later == Repair(unicast=(sent[0], sent[1]))


def test_what_two_miss_is_sent_to_all() -> None:
    stream = _stream()
    sent = _send(stream, 3)
    assert stream.repair([(0, 2)], A, 1.0, rtt=RTT) == Repair(unicast=(sent[0], sent[1]))

    second = stream.repair([(1, 3)], B, 1.001, rtt=RTT)
    third = stream.repair([(1, 2)], C, 1.0015, rtt=RTT)
    first_again = stream.repair([(1, 2)], A, 1.0019, rtt=RTT)

    assert second == Repair(unicast=(sent[2],), multicast=(sent[1],))
    assert third == first_again == Repair()


def test_what_another_missed_a_while_ago_is_sent_to_who_asks() -> None:
    stream = _stream()
    sent = _send(stream)
    stream.repair([(0, 1)], A, 1.0, rtt=RTT)

    assert stream.repair([(0, 1)], B, 1.002, rtt=RTT) == Repair(unicast=(sent[0],))


def test_what_is_not_kept_or_not_for_who_asks_is_gone() -> None:
    stream = _stream(messages_max=2)
    sent = [
        it
        for pieces, targets in ((2, ALL), (2, ALL), (2, 0b110), (1, ALL))
        for it in _send(stream, pieces, targets)
    ]
    _send(stream, 1, 0b110)
    kept = stream._kept[0].first
    assert kept == 6

    found = stream.repair([(1, 5), (5, 99)], A, 1.0, rtt=RTT)

    assert found == Repair(unicast=(sent[6],), gone=((1, 5), (5, 6), (7, 8)))
    assert stream.counts.gone == 6


def test_nothing_is_answered_for_what_was_never_sent() -> None:
    stream = _stream()
    assert stream.repair([(0, 9)], A, 0.0, rtt=RTT) == Repair()

    _send(stream, pieces=3, targets=0b110)
    for asker in (A, B):
        assert stream.repair([(3, 9), (5, 2), (2, 1), (0, 0)], asker, 0.0, rtt=RTT) == Repair()


def test_one_request_makes_a_sender_repeat_so_much_and_no_more() -> None:
    """Who misses more asks once more for the rest."""
    stream = _stream(messages_max=1000)
    sent = [it for _ in range(100) for it in _send(stream, 3)]

    first = stream.repair([(0, 300)], A, 1.0, rtt=RTT)
    second = stream.repair([(REPAIR_DATAGRAMS_MAX, 300)], A, 1.0, rtt=RTT)

    assert first.unicast == tuple(sent[:REPAIR_DATAGRAMS_MAX])
    assert second.unicast == tuple(sent[REPAIR_DATAGRAMS_MAX:])


def test_so_many_messages_and_bytes_are_kept_and_no_more() -> None:
    size = HEAD_BYTES + 1 + 13 + CHUNK_BYTES
    by_count, by_bytes = _stream(messages_max=5), _stream(bytes_max=5 * size)
    for _ in range(50):
        _send(by_count)
        _send(by_bytes)

        for stream in (by_count, by_bytes):
            assert len(stream._kept) <= 5
            assert stream._kept_bytes == sum(it.size for it in stream._kept) <= 5 * size
    assert [it.first for it in by_count._kept] == [45, 46, 47, 48, 49]
    assert [it.first for it in by_bytes._kept] == [45, 46, 47, 48, 49]


def test_the_last_message_is_kept_whatever_its_size() -> None:
    stream = _stream(bytes_max=100)
    sent = _send(stream, 30)

    assert stream.repair([(0, 30)], A, 1.0, rtt=RTT).unicast == tuple(sent)
    _send(stream)
    assert len(stream._kept) == 1
