"""What the multicast transport does about lost datagrams: engines on a simulated network."""

from __future__ import annotations

import random

import attrs
import pytest

from raftkit.testing.datagrams import EVERYBODY, DatagramFaults, Place
from raftkit.transports.multicast.engine import EngineSettings
from raftkit.wire import Lane
from raftkit.wire.control import Nack, encode_control
from tests.transports.multicast_parts import Post, Stage, all_linked


def together(names: str = "abc", stage: Stage | None = None) -> tuple[Stage, list[Post]]:
    """Posts that all hear each other's multicasts."""
    stage = stage or Stage()
    posts = stage.open_all(names)
    assert stage.until(
        lambda: all(a.by_multicast(*(b for b in posts if b is not a)) for a in posts)
    )
    stage.run(0.3)
    return stage, posts


def lose(stage: Stage, *, source: Post, to: list[Post], count: int) -> None:
    """The next `count` datagrams that `source` sends are lost on the way to each of these."""
    left = dict.fromkeys([it.place for it in to], count)

    def is_lost(sender: Place, place: object, _: bytes) -> bool:
        if sender != source.place or not left.get(place, 0):
            return False
        left[place] -= 1
        return True

    stage.network.is_lost = is_lost


def test_one_datagram_serves_all_that_hear_it() -> None:
    stage, (a, *others) = together("abcdefg")
    record = stage.network.listen()

    a.say("once", *others)

    assert [to for _, to, _ in record] == [EVERYBODY]
    stage.run(0.004)
    assert [it.heard() for it in others] == [[b"once"]] * 6


def sent_by_leader(nodes: int) -> tuple[int, int]:
    """Bytes and datagrams of a leader in 0.8 seconds: 50 appends a second, each acknowledged, and beats."""
    stage, (a, *others) = together("abcdefghi"[:nodes])
    record = stage.network.listen()
    for number in range(40):
        a.say(random.Random(number).randbytes(1600), *others, lane=Lane.ENTRIES)
        stage.run(0.01)
        for it in others:
            it.say("durable", a)
        a.say("committed", *others)
        stage.run(0.01)
    sent = [data for source, _, data in record if source == a.place]
    return sum(map(len, sent)), len(sent)


@pytest.mark.slow
def test_what_a_leader_sends_hardly_grows_with_the_group() -> None:
    """Nine nodes cost it a fifth more than three, at most: each link has words of its own, now and then."""
    (bytes_3, packets_3), (bytes_9, packets_9) = sent_by_leader(3), sent_by_leader(9)

    assert 40 * 1600 < bytes_3 < bytes_9 <= 1.2 * bytes_3
    assert packets_9 <= 1.2 * packets_3


def test_only_the_targets_hear_it() -> None:
    stage, (a, b, c, d) = together("abcd")

    a.say("not for d", b, c)
    a.say("for d alone", d)
    a.say("for nobody", "x")
    stage.run(0.2)

    assert (b.heard(), c.heard(), d.heard()) == ([b"not for d"], [b"not for d"], [b"for d alone"])


def test_one_target_is_served_by_unicast() -> None:
    stage, (a, b, _) = together()
    record = stage.network.listen()

    a.say("for one", b)

    assert [to for _, to, _ in record] == [b.place]


@pytest.mark.parametrize("targets", [1, 2])
def test_lost_end_of_a_burst_is_found_within_10_ms(targets: int) -> None:
    """Nothing follows it that would show the gap but the announcement of the head."""
    stage, (a, *others) = together()
    others = others[:targets]
    a.say("first", *others)
    lose(stage, source=a, to=others, count=1)
    a.say("last", *others)

    assert stage.until(lambda: all(len(it.heard()) == 2 for it in others), within=0.01)


def test_lost_announcements_are_made_up_for_by_the_next_status() -> None:
    stage, (a, b, c) = together()
    lose(stage, source=a, to=[b, c], count=4)  # the message and three heads
    a.say("alone", b, c)

    assert stage.until(lambda: b.heard() == c.heard() == [b"alone"], within=0.4)


def test_lost_announcements_to_one_are_made_up_for_too() -> None:
    stage, (a, b, _) = together()
    lose(stage, source=a, to=[b], count=4)
    a.say("alone", b)

    assert stage.until(lambda: b.heard() == [b"alone"], within=0.4)


def test_two_that_miss_the_same_get_it_by_one_multicast() -> None:
    """The first that asks is served at once by unicast, the second lets all be served."""
    stage, (a, *others) = together("abcdef")
    lose(stage, source=a, to=others, count=1)
    record = stage.network.listen()

    a.say("missed by all", *others)
    stage.run(0.02)

    assert [it.heard() for it in others] == [[b"missed by all"]] * 5
    assert a.engine.counts.repaired_to_group == 1
    assert a.engine.counts.repaired <= 3
    original = record[0][2]
    assert [to for source, to, data in record[1:] if data == original].count(EVERYBODY) == 1


def test_what_one_misses_is_sent_to_it_alone() -> None:
    stage, (a, b, c) = together()
    lose(stage, source=a, to=[b], count=1)

    sent = stage.network.listen()
    a.say("missed by one", b, c)
    stage.run(0.02)

    assert b.heard() == c.heard() == [b"missed by one"]
    assert [to for _, to, data in sent if data == sent[0][2]] == [EVERYBODY, b.place]
    assert (a.engine.counts.repaired, a.engine.counts.repaired_to_group) == (1, 0)


def test_who_misses_what_was_not_for_it_is_told_to_forget_it() -> None:
    stage, (a, b, c, d) = together("abcd")
    lose(stage, source=a, to=[d], count=1)

    a.say("not for d", b, c, lane=Lane.ENTRIES)
    stage.run(0.01)
    a.say("for d", b, d, lane=Lane.ENTRIES)
    stage.run(0.01)

    assert d.heard() == [b"for d"]
    assert a.engine.counts.repaired == 0
    assert a.engine.out_counts.gone == 1


@pytest.mark.slow
def test_large_messages_arrive_whole_whatever_is_lost() -> None:
    """Of each only the lost pieces are sent again."""
    stage, (a, b, c) = together()
    stage.network.faults = DatagramFaults(loss=0.05)
    frames = [random.Random(n).randbytes(64_000) for n in range(20)]

    for frame in frames:
        a.say(frame, b, c, lane=Lane.ENTRIES)
        stage.run(0.01)
    stage.run(0.2)

    assert b.heard() == c.heard() == frames
    assert a.engine.counts.repaired < 0.2 * a.engine.counts.datagrams_out


@pytest.mark.slow
def test_largest_frame_arrives() -> None:
    """Of 8 MiB, as a part of a snapshot may be, by unicast and by multicast."""
    stage, (a, b, c) = together()
    frame = bytes(8 * 1024 * 1024)

    a.say(frame, b, lane=Lane.BULK)
    a.say(frame, b, c, lane=Lane.BULK)
    stage.run(0.1)

    assert [len(it) for it in b.heard()] == [len(frame)] * 2
    assert [len(it) for it in c.heard()] == [len(frame)]


def test_heartbeat_waits_for_no_gap() -> None:
    """Nor does it make one: it has a stream of its own."""
    stage, (a, b, c) = together()
    lose(stage, source=a, to=[b, c], count=9)
    a.say(bytes(10_000), b, c, lane=Lane.ENTRIES)
    a.say("beat", b, c)
    assert b.heard() == []

    stage.until(lambda: bool(b.heard()), within=0.005)

    assert b.heard() == [b"beat"]
    stage.run(0.2)
    assert [len(it) for it in b.heard()] == [4, 10_000]


def test_what_still_waits_here_is_neither_announced_nor_repaired() -> None:
    """A large frame may be written in slices over many milliseconds: the rest of it is not lost.

    Nor does a heartbeat that overtakes it make it look so.
    """
    stage, (a, b, c) = together()
    a.engine.send(["b", "c"], Lane.ENTRIES, bytes(200_000), stage.now)
    slices = a.engine.take_outputs()
    assert [len(it.datagrams) for it in slices[:-1]] == [53] * (len(slices) - 1)
    for output in slices:
        for datagram in output.datagrams:
            stage.network.send(a.place, EVERYBODY, datagram, stage.now)
        a.engine.sent(output, stage.now)
        a.say("beat", b, c)
        a.engine.links["b"].say_status(stage.now)
        a.pump()
        stage.run(0.03)

    heard = [len(it) for it in b.heard()]
    assert heard == [4] * (len(slices) - 1) + [200_000, 4]
    assert (b.engine.counts.nacks_out, a.engine.counts.nacked) == (0, 0)


def test_what_still_waits_here_is_not_sent_again() -> None:
    """Who asks for it asks too early."""
    stage, (a, b, _) = together()
    a.engine.send(["b", "c"], Lane.ENTRIES, bytes(200_000), stage.now)
    outputs = a.engine.take_outputs()
    a.engine.sent(outputs[0], stage.now)
    asked = Nack(to=a.engine.start, stream=outputs[0].stream, ranges=((50, 60),))

    a.receive(b.engine._outlet.sealer.control.seal(*encode_control(asked)), b.place, stage.now)

    assert outputs[0].head == 53
    assert a.engine.counts.nacked == a.engine.counts.repaired == 3


def test_gap_that_nobody_can_fill_is_skipped() -> None:
    """What left the buffer for repairs is gone, which is said at once: later messages go on."""
    settings = EngineSettings(send_buffer_capacity=4)
    stage, (a, b, c) = together(stage=Stage(settings=settings))
    lose(stage, source=a, to=[b], count=10)
    for n in range(12):
        a.say(f"{n}", b, c, lane=Lane.ENTRIES)
    stage.run(0.02)

    assert b.heard() == [b"8", b"9", b"10", b"11"]
    assert c.heard() == [b"%d" % n for n in range(12)]


def test_nothing_is_kept_for_repairs_that_nobody_will_ask_for() -> None:
    """Megabytes for each link, otherwise, long after it was busy."""
    stage, (a, b, c) = together()
    a.say(bytes(100_000), b, lane=Lane.BULK)
    a.say(bytes(100_000), b, c, lane=Lane.ENTRIES)
    ways = (a.engine._group, a.engine.links["b"].way)
    assert all(it.data._kept_bytes > 100_000 for it in ways)

    stage.run(7.0)

    assert [it.data._kept_bytes for it in ways] == [0, 0]


def test_overruns_are_told() -> None:
    """So that the sender goes slower. Each counts once."""
    stage, (a, b, c) = together()
    b.engine.overran(5)
    c.engine.overran(2)
    stage.run(0.5)
    b.engine.overran(6)
    stage.run(0.5)

    assert a.engine.counts.overruns_reported == 8


@pytest.mark.slow
@pytest.mark.parametrize("loss", [0.01, 0.05, 0.2])
def test_messages_arrive_once_and_in_order_under_loss(loss: float) -> None:
    """As long as repairs keep up. At most a few are given up."""
    faults = DatagramFaults(loss=loss, duplication=0.05, delay=(0.0001, 0.002))
    stage = Stage(3, faults)
    posts = stage.open_all("abc")
    stage.until(lambda: all_linked(posts))
    a, b, c = posts
    stage.run(2.0)
    sent = [b"%d" % n for n in range(300)]

    for frame in sent:
        a.say(frame, b, c, lane=Lane.ENTRIES)
        stage.run(0.005)
    stage.run(0.5)

    for post in (b, c):
        heard = post.heard()
        assert len(heard) == len(set(heard))
        assert heard == [it for it in sent if it in set(heard)]
        assert len(heard) >= (1 - loss**3 * 10) * len(sent) - 3


def test_datagrams_are_of_the_size_that_was_chosen() -> None:
    stage, (a, b, c) = together(
        stage=Stage(settings=attrs.evolve(EngineSettings(), datagram_bytes=548))
    )
    stage.network.mtu = 548
    record = stage.network.listen()

    a.say(bytes(50_000), b, c, lane=Lane.ENTRIES)
    stage.run(0.1)

    assert [len(it) for it in b.heard()] == [50_000]
    assert max(len(data) for _, _, data in record) == 548
