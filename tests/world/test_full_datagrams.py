"""The sockets that whole nodes have on a simulated network do what a kernel's would."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from trio.testing import MockClock

from raftkit.testing.datagrams import DatagramNetwork
from raftkit.testing.full.datagrams import LOOKS_MAX, FullSockets
from raftkit.testing.full.multicast import GROUP
from raftkit.testing.full.stage import Story
from raftkit.testing.world.shadows import InvariantViolated
from raftkit.transports.multicast.group import place_of


async def sockets_at(
    network: DatagramNetwork, host: int, *, powered: Callable[[], bool] = lambda: True
) -> FullSockets:
    own = await place_of(f"10.0.0.{host}:7400", GROUP.family)
    made = FullSockets(
        network=network,
        own=own,
        group=GROUP,
        recv_buffer_size=4096,
        story=Story(None),
        powered=powered,
        sent=lambda: None,
    )
    network.join(own.where, made)
    return made


@pytest.fixture
def network() -> DatagramNetwork:
    return DatagramNetwork(random.Random(1))


async def test_what_is_not_fetched_in_time_overruns(
    network: DatagramNetwork, autojump_clock: MockClock
) -> None:
    a, b = await sockets_at(network, 1), await sockets_at(network, 2)
    a.send(b.own.where, [bytes(1000)] * 6)
    network.deliver(1.0)

    assert [data for data, _ in b.arrivals()] == [bytes(1000)] * 5
    assert b.overruns == 1
    a.send(b.own.where, [bytes(8000), b"too late"])
    network.deliver(1.0)
    assert [*b.arrivals()] == [(bytes(8000), a.own.where)]


async def test_group_hears_what_is_for_all(
    network: DatagramNetwork, autojump_clock: MockClock
) -> None:
    a, b, c = [await sockets_at(network, host) for host in (1, 2, 3)]
    a.send(None, [b"all"])
    network.deliver(1.0)

    assert [*b.arrivals()] == [*c.arrivals()] == [(b"all", a.own.where)]
    assert (a.to_group.datagrams, a.to_one.datagrams) == (1, 0)


async def test_host_without_power_says_nothing(
    network: DatagramNetwork, autojump_clock: MockClock
) -> None:
    """No goodbye, though the endpoint says one."""
    a = await sockets_at(network, 1, powered=lambda: False)
    a.send(None, [b"goodbye"])

    assert network.sent == 0


async def test_nobody_at_an_address_is_told(
    network: DatagramNetwork, autojump_clock: MockClock
) -> None:
    a = await sockets_at(network, 1)
    a.send(("10.0.0.9", 7400), [b"hello?"])
    network.deliver(1.0)
    await a.wait_arrivals()

    assert a.take_refused() == (("10.0.0.9", 7400),)
    assert a.take_refused() == ()


async def test_who_looks_again_and_again_while_time_stands_still_is_told(
    network: DatagramNetwork, autojump_clock: MockClock
) -> None:
    """Or a world in which an endpoint spins would never end."""
    a = await sockets_at(network, 1)
    for _ in range(LOOKS_MAX + 1):
        assert not [*a.arrivals()]

    with pytest.raises(InvariantViolated, match="N2 Spins"):
        next(a.arrivals())
