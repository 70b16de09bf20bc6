"""The simulated network of datagrams does what its faults say, and nothing else."""

from __future__ import annotations

import random

import attrs

from raftkit.testing.datagrams import EVERYBODY, DatagramFaults, DatagramNetwork, Place


@attrs.define(eq=False)
class Ear:
    """Somebody on the network who notes what it hears."""

    heard: list[tuple[float, Place, bytes]] = attrs.field(factory=list[tuple[float, Place, bytes]])
    refusals: list[Place] = attrs.field(factory=list[Place])

    def receive(self, data: bytes, source: Place, now: float) -> None:
        self.heard.append((now, source, data))

    def refused(self, place: Place, now: float) -> None:
        self.refusals.append(place)

    @property
    def said(self) -> list[bytes]:
        return [data for _, _, data in self.heard]


def network_of(
    names: str, faults: DatagramFaults | None = None
) -> tuple[DatagramNetwork, list[Ear]]:
    network = DatagramNetwork(random.Random(1), faults or DatagramFaults())
    ears = [Ear() for _ in names]
    for name, ear in zip(names, ears, strict=True):
        network.join(name, ear)
    return network, ears


def test_multicast_reaches_all_and_unicast_one() -> None:
    """The sender hears its own multicast too, as on a real network with loopback."""
    network, (a, b, c) = network_of("abc")
    network.send("a", EVERYBODY, b"all", 1.0)
    network.send("a", "b", b"one", 1.0)
    assert network.next_at == 1.0001
    network.deliver(2.0)

    assert (a.said, b.said, c.said) == ([b"all"], [b"all", b"one"], [b"all"])
    assert b.heard[0] == (1.0001, "a", b"all")
    assert network.next_at == float("inf")
    assert (network.sent, network.bytes_sent) == (2, 6)


def test_nothing_arrives_before_its_time() -> None:
    network, (_, b) = network_of("ab", DatagramFaults(delay=(0.5, 0.5)))
    network.send("a", "b", b"slow", 1.0)

    network.deliver(1.4)
    assert b.heard == []
    network.deliver(1.5)
    assert b.said == [b"slow"]


def test_loss_and_duplication_are_as_often_as_asked_for() -> None:
    network, (_, b) = network_of("ab", DatagramFaults(loss=0.3, duplication=0.1))
    for n in range(2000):
        network.send("a", "b", b"%d" % n, 0.0)
    network.deliver(1.0)

    assert 1250 < len(set(b.said)) < 1550
    assert 80 < len(b.said) - len(set(b.said)) < 200


def test_unequal_delays_and_stragglers_reorder() -> None:
    network, (_, b) = network_of("ab", DatagramFaults(delay=(0.0, 0.01), straggle=0.1))
    for n in range(100):
        network.send("a", "b", bytes([n]), 0.0)
    network.deliver(1.0)

    assert b.said != sorted(b.said)
    assert len(b.said) == 100
    assert max(at for at, _, _ in b.heard) > 0.1


def test_burst_loses_all_for_a_while() -> None:
    """Of one receiver, not of the others."""
    network, (_, b, c) = network_of("abc", DatagramFaults(bursts=0.05, burst_seconds=0.1))
    for n in range(1000):
        network.send("a", EVERYBODY, b"%d" % n, n * 0.01)
    network.deliver(100.0)
    missing = sorted({*range(1000)} - {int(it) for it in b.said})

    assert 200 < len(missing) < 800
    assert sum(n + 1 in missing for n in missing) > 0.8 * len(missing)
    assert b.said != c.said


def test_directions_are_cut_and_deafened() -> None:
    network, (_, b, c) = network_of("abc")
    network.cut.add(("a", "b"))
    network.deaf.add(("a", "c"))
    for to in ("b", "c", EVERYBODY):
        network.send("a", to, b"x", 0.0)
    network.send("b", "a", b"y", 0.0)
    network.deliver(1.0)

    assert b.heard == []
    assert c.said == [b"x"]


def test_what_is_too_large_is_lost() -> None:
    network, (_, b) = network_of("ab")
    network.mtu = 10
    network.send("a", "b", bytes(11), 0.0)
    network.send("a", "b", bytes(10), 0.0)
    network.deliver(1.0)

    assert b.said == [bytes(10)]


def test_nobody_at_an_address_refuses() -> None:
    """Unless that word is lost, too. Multicast is never refused."""
    network, (a, b) = network_of("ab")
    network.leave("b")
    network.send("a", "b", b"x", 0.0)
    network.send("a", EVERYBODY, b"x", 0.0)
    network.deliver(1.0)
    assert a.refusals == ["b"]

    network.cut.add(("b", "a"))
    network.send("a", "b", b"x", 1.0)
    network.deliver(2.0)
    assert a.refusals == ["b"]
    assert b.heard == []


def test_what_is_on_its_way_to_who_left_is_lost() -> None:
    network, (_, b) = network_of("ab")
    network.send("a", "b", b"x", 0.0)
    network.leave("b")
    later = Ear()
    network.join("b", later)
    network.deliver(1.0)

    assert b.heard == []
    assert later.heard == []


def test_chosen_datagrams_are_lost() -> None:
    network, (_, b) = network_of("ab")
    network.is_lost = lambda source, to, data: data == b"this"
    sent = network.listen()
    network.send("a", "b", b"this", 0.0)
    network.send("a", "b", b"that", 0.0)
    network.deliver(1.0)

    assert b.said == [b"that"]
    assert sent == [("a", "b", b"this"), ("a", "b", b"that")]


def test_what_is_lost_at_its_source_is_lost_for_all() -> None:
    network, (_, b, c) = network_of("abc", DatagramFaults(loss_at_source=0.5))
    for n in range(100):
        network.send("a", EVERYBODY, bytes([n]), 0.0)
    network.deliver(1.0)

    assert b.said == c.said
    assert 30 < len(b.said) < 70


def test_clogged_direction_holds_everything_and_then_lets_go() -> None:
    network, (a, b) = network_of("ab")
    network.clogged["a", "b"] = 3.0
    for said in (b"1", b"2"):
        network.send("a", "b", said, 1.0)
    network.send("b", "a", b"free", 1.0)
    network.deliver(2.9)
    assert (a.said, b.said) == ([b"free"], [])

    network.deliver(3.0)
    assert b.said == [b"1", b"2"]


def test_host_that_is_down_refuses_nothing() -> None:
    network, (a, _) = network_of("ab")
    network.leave("b")
    network.silent.add("b")
    network.send("a", "b", b"x", 0.0)
    network.deliver(1.0)

    assert a.refusals == []
