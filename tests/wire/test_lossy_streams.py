"""Over a network that loses, repeats and reorders: nothing twice, all in order, and in the end all of it."""

from __future__ import annotations

import random
from collections import Counter

import attrs
import pytest
from hypothesis import given, settings, strategies as st

from raftkit.wire import (
    ClusterKeys,
    Datagram,
    InStream,
    Lane,
    Opener,
    OutStream,
    Sealer,
    cluster_tag,
    decode_chunk,
)

TAG = cluster_tag("orders")
KEYS = ClusterKeys(ring={7: bytes(32)}, sealing=7)
CHUNK_BYTES = 8
RECEIVERS = 3
RTT = 0.0005
STEP = 0.001


@attrs.frozen(kw_only=True)
class Sent:
    """A message: unlike any other."""

    data: bytes
    lane: Lane
    targets: int

    @property
    def at_once(self) -> bool:
        return self.lane is Lane.CONTROL and len(self.data) <= CHUNK_BYTES


@st.composite
def traffic(draw: st.DrawFn) -> list[Sent]:
    """Up to 20 messages of 1 to 6 pieces, each for some of the receivers."""
    sizes = draw(st.lists(st.integers(2, 6 * CHUNK_BYTES), min_size=1, max_size=20))
    return [
        Sent(
            data=bytes([number]) * size,
            lane=draw(st.sampled_from(Lane)),
            targets=draw(st.integers(1, (1 << RECEIVERS) - 1)),
        )
        for number, size in enumerate(sizes)
    ]


def _sender() -> OutStream:
    sealer = Sealer(cluster=TAG, keys=KEYS, start=1)
    return OutStream(numbered=sealer.open_stream(), chunk_bytes=CHUNK_BYTES)


@attrs.define
class Receiver:
    """One receiving end and what it delivered."""

    stream: InStream
    got: list[bytes] = attrs.field(factory=list[bytes])
    opener: Opener = attrs.field(factory=lambda: Opener(cluster=TAG, keys=KEYS, own=2))

    def hear(self, data: bytes, now: float) -> None:
        datagram = self.opener.open(data)
        assert isinstance(datagram, Datagram)
        self.got += self.stream.receive(datagram.number, decode_chunk(datagram.body), now)

    def check(self, sent: list[Sent]) -> None:
        """Each message at most once, none that is for others, and in order but for control."""
        mine = [it for it in sent if it.targets >> self.stream.bit & 1]
        assert not Counter(self.got) - Counter(it.data for it in mine)
        order = [it.data for it in mine if not it.at_once]
        got = [it for it in self.got if it in order]
        assert got == [it for it in order if it in got]

    def check_bounds(self) -> None:
        stream = self.stream
        assert len(stream._waiting_of) <= stream.messages_max
        assert stream._waiting_bytes <= stream.bytes_max
        assert stream._waiting_bytes == sum(len(it.data) for it in stream._waiting.values())
        assert stream._pieces_bytes == sum(len(it.data) for it in stream._pieces)
        assert stream._pieces_bytes <= stream.bytes_max
        assert sum(stream._waiting_of.values()) == len(stream._waiting)
        # What is missing lies between what is done and the head, in order and apart.
        edges = [it for gap in stream._gaps for it in (gap.first, gap.end)]
        assert edges == sorted(edges)
        assert all(gap.first < gap.end for gap in stream._gaps)
        assert all(stream._next <= it <= stream.head for it in edges)
        assert stream._next == (edges[0] if edges else stream.head)
        assert not any(stream._is_missing(number) for number in stream._waiting)


def _receiver(bit: int, messages_max: int = 256, bytes_max: int = 1_000_000) -> Receiver:
    rng = random.Random(bit)
    return Receiver(
        InStream(head=0, bit=bit, rng=rng, messages_max=messages_max, bytes_max=bytes_max)
    )


@pytest.mark.slow
@settings(max_examples=300)
@given(
    sent=traffic(),
    messages_max=st.integers(1, 6),
    bytes_max=st.integers(CHUNK_BYTES, 12 * CHUNK_BYTES),
    data=st.data(),
)
def test_whatever_the_network_does_nothing_comes_twice_or_in_another_order(
    sent: list[Sent], messages_max: int, bytes_max: int, data: st.DataObject
) -> None:
    """Any datagram at any time, any number of times; heads, gaps given up and lies about what is gone."""
    sender = _sender()
    wire = [
        it
        for message in sent
        for it in sender.send(message.data, message.lane, message.targets, 0.0)
    ]
    receiver = _receiver(0, messages_max, bytes_max)
    place = st.integers(0, len(wire) - 1)
    steps = st.one_of(
        place.map(lambda it: ("hear", it)),
        place.map(lambda it: ("head", it)),
        st.tuples(st.just("gone"), place),
        st.tuples(st.just("wait"), st.sampled_from([0, 1, 50, 100])),
    )

    now = 0.0
    for what, value in data.draw(st.lists(steps, max_size=80)):
        match what:
            case "hear":
                receiver.hear(wire[value], now)
            case "head":
                receiver.got += receiver.stream.announce(value, now)
            case "gone":
                receiver.got += receiver.stream.gone([(value, value + 3)])
            case _:
                now += value / 1000
                receiver.got += receiver.stream.give_up(now)
                receiver.stream.nack(now)
        receiver.check_bounds()
    receiver.check(sent)


@pytest.mark.slow
@settings(max_examples=200)
@given(sent=traffic(), data=st.data(), seed=st.integers(0, 2**32 - 1))
def test_with_a_sender_that_repairs_everything_arrives(
    sent: list[Sent], data: st.DataObject, seed: int
) -> None:
    """Each datagram may be lost three times on its way to each receiver, who asks more often than that."""
    rng = random.Random(seed)
    lose = data.draw(st.sampled_from([0.0, 0.05, 0.5, 1.0]))
    losses: Counter[tuple[int, bytes]] = Counter()
    sender = _sender()
    receivers = [_receiver(bit) for bit in range(RECEIVERS)]
    on_the_way: list[tuple[int, bytes]] = []

    def put(bit: int, datagram: bytes) -> None:
        if losses[bit, datagram] < 3 and rng.random() < lose:
            losses[bit, datagram] += 1
        else:
            on_the_way.extend([(bit, datagram)] * rng.choice([1, 1, 1, 2]))

    waiting = list(reversed(sent))
    for tick in range(400):
        now = tick * STEP
        if waiting and rng.random() < 0.5:
            message = waiting.pop()
            for datagram in sender.send(message.data, message.lane, message.targets, now):
                for bit in range(RECEIVERS):
                    put(bit, datagram)
        if sender.tell_head(now):
            for receiver in receivers:
                receiver.got += receiver.stream.announce(sender.head, now)
        rng.shuffle(on_the_way)
        for bit, datagram in on_the_way:
            receivers[bit].hear(datagram, now)
        on_the_way.clear()
        for bit, receiver in enumerate(receivers):
            if receiver.stream.deadline > now:
                continue
            receiver.got += receiver.stream.give_up(now)
            repair = sender.repair(receiver.stream.nack(now), bit, now, rtt=RTT)
            for datagram in repair.unicast:
                put(bit, datagram)
            for datagram in repair.multicast:
                for other in range(RECEIVERS):
                    put(other, datagram)
            receiver.got += receiver.stream.gone(repair.gone)
            receiver.check_bounds()

    for bit, receiver in enumerate(receivers):
        receiver.check(sent)
        assert sorted(receiver.got) == sorted(it.data for it in sent if it.targets >> bit & 1)
        assert receiver.stream.deadline == float("inf")


@pytest.mark.slow
@given(traffic(), st.integers(0, 2**32 - 1))
def test_the_same_datagrams_and_times_make_the_same(sent: list[Sent], seed: int) -> None:
    def run() -> list[object]:
        rng = random.Random(seed)
        sender, receiver = _sender(), _receiver(0)
        found: list[object] = []
        for tick, message in enumerate(sent):
            now = tick * STEP
            for datagram in sender.send(message.data, message.lane, message.targets, now):
                if rng.random() < 0.7:
                    receiver.hear(datagram, now)
            found += [receiver.stream.deadline, asked := receiver.stream.nack(now)]
            found.append(sender.repair(asked, 0, now, rtt=RTT))
        return [*found, receiver.got]

    assert run() == run()
