"""What becomes of messages between simulated cores: one by one, and where one datagram is for several."""

from __future__ import annotations

import random
from typing import Any

import attrs

from raftkit.messages import Heartbeat, Message
from raftkit.model import Identity, Index, NodeId, Term
from raftkit.testing.world import World
from raftkit.testing.world.network import Network
from raftkit.testing.world.stage import Stage
from raftkit.testing.world.swarm import MULTICAST_FAULTS, Swarm

A = Identity(id="a", incarnation=1)
Arrival = tuple[float, NodeId, Message]


def network_of(*, multicast: bool = True, **faults: float) -> tuple[Network, list[Arrival]]:
    """One that does this to messages and nothing else, and what arrives: when, at whom and what."""
    rng = random.Random(1)
    quiet: dict[str, Any] = {"loss": 0.0, "duplication": 0.0, "delay": 1.0, "straggle": 0.0}
    swarm = attrs.evolve(Swarm.draw(rng), multicast=multicast, **(quiet | faults))
    stage, arrived = Stage(rng=rng, swarm=swarm), list[Arrival]()
    return Network(stage, lambda _, to, what: arrived.append((stage.agenda.now, to, what))), arrived


def send(network: Network, targets: str, count: int = 1) -> None:
    """Send so many messages to servers of these names, and let time go on until nothing is under way."""
    for number in range(count):
        beat = Heartbeat(term=Term(1), round=number, commit_index=Index(0))
        network.send(A, tuple(targets), beat)
    over: list[bool] = []
    network.stage.agenda.after(100.0, over.append, True)
    while not over:
        network.stage.agenda.advance()


def test_message_to_several_is_one_datagram() -> None:
    network, arrived = network_of(duplication=1.0)
    send(network, "bcd")

    times = [at for at, _, _ in arrived]
    assert [to for _, to, _ in arrived] == ["b", "c", "d", "b", "c", "d"]
    assert len(set(times)) == 2
    assert network.sent == 3


def test_messages_to_each_are_not() -> None:
    network, arrived = network_of(multicast=False)
    send(network, "bcd")

    assert len({at for at, _, _ in arrived}) == 3


def test_half_of_what_is_lost_is_lost_for_all() -> None:
    network, arrived = network_of(loss=0.4)
    send(network, "bcd", count=500)
    sent = [message for _, to, message in network.history if to == "b"]
    heard = [sum(it is message for _, _, it in arrived) for message in sent]

    assert 60 < heard.count(0) < 140
    assert heard.count(1) + heard.count(2) > 120


def test_the_deaf_hear_what_is_for_them_alone() -> None:
    network, arrived = network_of()
    network.deaf = frozenset({("a", "c")})
    send(network, "bcd")
    send(network, "c")

    assert [to for _, to, _ in arrived] == ["b", "d", "c"]


def test_some_worlds_multicast_and_some_of_them_deafen() -> None:
    swarms = [World(seed).stage.swarm for seed in range(30)]

    assert sum(it.multicast for it in swarms) == 10
    assert 0 < sum(bool(it.faults.keys() & MULTICAST_FAULTS.keys()) for it in swarms) < 10
