"""What befalls a full-stack world's network of datagrams befalls the endpoints that ship."""

from __future__ import annotations

import random
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

import attrs
import trio
from trio.testing import MockClock

from raftkit.model import Identity
from raftkit.testing.datagrams import DatagramFaults
from raftkit.testing.full.multicast import FullMulticast
from raftkit.testing.full.stage import Story
from raftkit.testing.full.swarm import DatagramSwarm
from raftkit.testing.transport_conformance import Station
from raftkit.transports import Faults

A = Identity(id="a", incarnation=1)


@attrs.define
class Stage:
    """A network on which nothing is wrong yet, and stations that are linked to each other."""

    network: FullMulticast
    stations: list[Station]


@asynccontextmanager
async def stage_of(names: str) -> AsyncGenerator[Stage]:
    swarm = attrs.evolve(
        DatagramSwarm.draw(random.Random(1)), faults=DatagramFaults(), hello_interval=0.2
    )
    network = FullMulticast(rng=random.Random(1), swarm=swarm, story=Story(None))
    made = [
        Station(identity=Identity(id=name, incarnation=1), address=network.address_of(name))
        for name in names
    ]
    async with trio.open_nursery() as nursery:
        network.begin(nursery)
        async with AsyncExitStack() as stack:
            for it in made:
                await stack.enter_async_context(it.open(network.transport(lambda: True)))
            for it in made:
                it.endpoint.connect({o.identity.id: o.address for o in made if o is not it})
            for it in made:
                await it.wait(linked=names.replace(it.identity.id, ""))
            yield Stage(network, made)
        nursery.cancel_scope.cancel()


async def test_direction_that_is_cut_is_silent_until_it_is_healed(
    autojump_clock: MockClock,
) -> None:
    async with stage_of("ab") as stage:
        a, b = stage.stations
        stage.network.cut("a", "b")
        a.say(1, "b")
        b.say(1, "a")
        await trio.sleep(0.05)
        assert (a.heard("b"), b.heard("a")) == ([1], [])

        stage.network.heal()
        a.say(2, "b")
        await b.wait_heard("a", 2, 1)  # what is new does not wait for the repair


async def test_direction_that_is_clogged_holds_what_goes_there(autojump_clock: MockClock) -> None:
    async with stage_of("ab") as stage:
        a, b = stage.stations
        begin = trio.current_time()
        stage.network.clog("a", "b", begin + 0.3)
        a.say(1, "b")
        await b.wait_heard("a", 1)

        assert 0.3 <= trio.current_time() - begin < 0.35


async def test_weather_lasts_until_the_calm(autojump_clock: MockClock) -> None:
    async with stage_of("ab") as stage:
        a, b = stage.stations
        stage.network.weather(Faults(loss=1.0))
        a.say(1, "b")
        await trio.sleep(0.05)
        assert b.heard("a") == []

        stage.network.calm()
        await b.wait_heard("a", 1)


async def test_the_deaf_are_told_by_unicast(autojump_clock: MockClock) -> None:
    async with stage_of("abc") as stage:
        a, b, c = stage.stations
        await trio.sleep(1.0)  # until all are served by multicast
        before = stage.network.carried
        stage.network.deafen([("a", "b")])
        a.say(1, "b", "c")
        await c.wait_heard("a", 1)
        assert b.heard("a") == []
        assert stage.network.carried > before

        await b.wait_heard("a", 1)


async def test_links_that_are_closed_are_made_anew(autojump_clock: MockClock) -> None:
    async with stage_of("ab") as stage:
        a, b = stage.stations
        a.news.clear()
        b.news.clear()
        stage.network.close_links("a")
        await trio.sleep(1.0)

        for station, peer in ((a, "b"), (b, "a")):
            assert station.news == [("closed the link", peer), ("linked", peer)]
            assert station.links == {peer}


async def test_who_ends_says_so_and_who_loses_power_does_not(autojump_clock: MockClock) -> None:
    for powered in (True, False):
        async with stage_of("b") as stage:
            (b,), on = stage.stations, [True]
            a = Station(identity=A, address=stage.network.address_of("a"))
            async with a.open(stage.network.transport(partial(all, on))):
                a.endpoint.connect({"b": b.address})
                await b.wait(linked="a")
                on[0] = powered
            await b.wait(linked="")

            assert (b.news[-1] == ("closed the endpoint", "a")) is powered
