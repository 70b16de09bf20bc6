"""Endpoints over real sockets on loopback: what they refuse, whom they hear, how fast they send.

What the protocol does about loss, replays and the like is tried in virtual time, in the tests of the engine.
"""

from __future__ import annotations

import logging
import socket
import sys
import time
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import trio

from raftkit.driver_messages import Frame
from raftkit.errors import ConfigError, LocalProtocolError
from raftkit.messages import AppendEntries
from raftkit.model import Identity
from raftkit.testing.transport_conformance import (
    SCOPE,
    Station,
    append,
    beat,
    chunk,
    until,
)
from raftkit.transports import MulticastEndpoint, MulticastTransport
from raftkit.transports.multicast import endpoint
from raftkit.transports.multicast.outlet import Output, Received
from raftkit.transports.multicast.pacing import Turn
from raftkit.transports.multicast.sockets import Address, MulticastSockets
from raftkit.transports.multicast.window import PATIENCE_SECONDS
from raftkit.wire import Lane, encode_frame
from tests.transports.multicast_places import a_group, free_datagram_addresses

SO_MAX_PACING_RATE = 47
"Of Linux; Python does not name it."
KEYS = [bytes([n]) * 32 for n in range(1, 4)]


@pytest.fixture
def group() -> str:
    return a_group()


def a_transport(group: str, **choices: Any) -> MulticastTransport:
    defaults: dict[str, Any] = {"interface": "lo", "cluster": "ours"}
    if "key" not in choices:
        defaults["insecure"] = True
    return MulticastTransport(group=group, **(defaults | choices))


def key_file(path: Path, key: bytes) -> Path:
    path.write_bytes(key)
    path.chmod(0o600)
    return path


@asynccontextmanager
async def station(name: str, transport: MulticastTransport) -> AsyncGenerator[Station]:
    made = Station(identity=Identity(id=name, incarnation=1), address="127.0.0.1:0")
    async with made.open(transport):
        made.address = endpoint_of(made).address
        yield made


def endpoint_of(made: Station) -> MulticastEndpoint:
    assert isinstance(made.endpoint, MulticastEndpoint)
    return made.endpoint


async def join(*stations: Station) -> None:
    """Have all be linked to all others, by multicast."""
    for it in stations:
        it.endpoint.connect({o.identity.id: o.address for o in stations if o is not it})
    others = len(stations) - 1
    await until(
        lambda: all(
            len(it.links) == others and endpoint_of(it).statistics().links_by_multicast == others
            for it in stations
        )
    )


def appends(made: Station) -> int:
    return sum(isinstance(it.body, AppendEntries) for it in made.frames)


# ── whom it hears ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.slow
async def test_what_several_are_to_hear_is_sent_once(group: str) -> None:
    transport = a_transport(group)
    async with (
        station("a", transport) as a,
        station("b", transport) as b,
        station("c", transport) as c,
    ):
        await join(a, b, c)
        before = endpoint_of(a).statistics()
        for number in range(20):
            a.endpoint.send(("b", "c"), append(number + 1, bytes(10_000)))
        await until(lambda: appends(b) == appends(c) == 20)
        after = endpoint_of(a).statistics()

        assert after.bytes_out["multicast"] - before.bytes_out["multicast"] < 1.1 * 200_000
        assert after.bytes_out["unicast"] - before.bytes_out["unicast"] < 10_000
        assert after.frames_out - before.frames_out == 40


@pytest.mark.parametrize("encrypt", [False, True])
async def test_members_with_one_key_hear_each_other(
    group: str, encrypt: bool, tmp_path: Path
) -> None:
    transport = a_transport(group, key=key_file(tmp_path / "key", KEYS[0]), encrypt=encrypt)
    async with station("a", transport) as a, station("b", transport) as b:
        await join(a, b)
        a.say(1, "b")
        await b.wait_heard("a", 1)


@pytest.mark.slow
@pytest.mark.parametrize("stranger", ["another key", "another cluster", "no key", "another seal"])
async def test_a_stranger_on_the_group_is_not_heard(
    group: str, stranger: str, tmp_path: Path
) -> None:
    """And costs a number in the statistics, by what was wrong with it."""
    ours = a_transport(group, key=key_file(tmp_path / "key", KEYS[0]))
    theirs, why = {
        "another key": (
            a_transport(group, key=key_file(tmp_path / "other", KEYS[1])),
            "sealed with a key that is not in use here",
        ),
        "another cluster": (
            a_transport(group, key=tmp_path / "key", cluster="theirs"),
            "of another cluster",
        ),
        "no key": (a_transport(group), "sealed in another way"),
        "another seal": (
            a_transport(group, key=tmp_path / "key", encrypt=True),
            "sealed in another way",
        ),
    }[stranger]
    async with station("a", ours) as a, station("b", theirs) as b:
        a.endpoint.connect({"b": b.address})
        b.endpoint.connect({"a": a.address})
        await trio.sleep(0.5)

        assert a.links == b.links == set()
        assert all(why != "linked" for why, _ in a.news + b.news)
        assert endpoint_of(a).statistics().refused.keys() >= {why}
        assert endpoint_of(a).discovered() == endpoint_of(b).discovered() == ()


async def test_a_cluster_changes_its_key_node_by_node(group: str, tmp_path: Path) -> None:
    """First all believe the new one, then all seal with it, then the old one is forgotten."""
    old, new = (key_file(tmp_path / name, key) for name, key in zip("on", KEYS, strict=False))
    steps = [
        a_transport(group, key=old),
        a_transport(group, key=old, other_key=new),
        a_transport(group, key=new, other_key=old),
        a_transport(group, key=new),
    ]
    for before, after in pairwise(steps):
        async with station("a", before) as a, station("b", after) as b:
            await join(a, b)
            assert endpoint_of(a).statistics().settings_mismatches == 0


@pytest.mark.slow
@pytest.mark.accept("Q-20", "U-42")
async def test_members_on_the_network_are_discovered_and_not_linked(group: str) -> None:
    transport = a_transport(group, hello_retry_interval=0.05)
    async with station("a", transport) as a, station("b", transport) as b:
        await until(lambda: bool(endpoint_of(a).discovered()))
        [found] = endpoint_of(a).discovered()

        assert (found.identity, found.address, found.is_linked) == (b.identity, b.address, False)
        assert a.news == []


@pytest.mark.slow
async def test_settings_that_differ_are_a_line_in_the_log(
    group: str, caplog: pytest.LogCaptureFixture
) -> None:
    one = a_transport(group, hello_retry_interval=0.05)
    other = a_transport(group, hello_retry_interval=0.05, pacing_rate=1_000_000)
    with caplog.at_level(logging.WARNING):
        async with station("a", one) as a, station("b", other) as b:
            await join(a, b)
            await until(lambda: endpoint_of(a).statistics().settings_mismatches > 3)

    lines = [it.message for it in caplog.records if it.message.startswith("a: b at ")]
    assert len(lines) == 1
    assert "make them the same" in lines[0]


# ── frames ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.slow
async def test_the_largest_frame_arrives(group: str) -> None:
    """An entry of 4 MiB, the most that any group allows, in some 3500 pieces."""
    transport = a_transport(group)
    async with station("a", transport) as a, station("b", transport) as b:
        await join(a, b)
        message = append(1, bytes(4 * 1024 * 1024))
        a.endpoint.send(("b",), message)

        await b.wait_message(message)


async def test_a_frame_that_receivers_would_refuse_is_refused_at_once(group: str) -> None:
    transport = a_transport(group)
    async with station("a", transport) as a, station("b", transport) as b:
        await join(a, b)
        with pytest.raises(LocalProtocolError, match="frame_bytes_max"):
            a.endpoint.send(("b",), append(1, bytes(9 * 1024 * 1024)))


@pytest.mark.slow
@pytest.mark.parametrize(
    "data,why",
    [
        (b"nonsense, and long enough to be looked at" * 3, "a frame of"),
        (
            encode_frame(Frame(scope=SCOPE, sender=Identity(id="x", incarnation=1), body=beat(1))),
            "not of",
        ),
        (
            encode_frame(Frame(scope=SCOPE, sender=Identity(id="a", incarnation=1), body=beat(1)))[
                :-1
            ],
            "into a frame",
        ),
        (
            2
            * encode_frame(
                Frame(scope=SCOPE, sender=Identity(id="a", incarnation=1), body=beat(1))
            ),
            "into a frame",
        ),
    ],
    ids=["malformed", "of somebody else", "cut off", "two in one"],
)
async def test_a_link_on_which_a_wrong_frame_comes_is_closed_and_made_anew(
    group: str, data: bytes, why: str
) -> None:
    """A member with the key may still be broken; nothing that it sent after the wrong frame is heard."""
    transport = a_transport(group)
    async with station("a", transport) as a, station("b", transport) as b:
        await join(a, b)
        endpoint = endpoint_of(a)
        endpoint.engine.send(["b"], Lane.CONTROL, data, trio.current_time())
        a.say(7, "b")
        await until(lambda: len(b.news) >= 3 and b.links == {"a"})

        assert [what for what, _ in b.news][0::2] == ["linked", "linked"]
        assert why in b.news[1][0]
        assert b.heard("a") == []
        a.say(8, "b")
        await b.wait_heard("a", 8)


async def test_nothing_of_a_closed_link_is_heard(group: str) -> None:
    """Two frames come at once, of which the first is somebody else's and closes the link."""
    transport = a_transport(group)
    async with station("a", transport) as a, station("b", transport) as b:
        await join(a, b)
        for sender in (Identity(id="x", incarnation=1), a.identity):
            frame = encode_frame(Frame(scope=SCOPE, sender=sender, body=beat(7)))
            endpoint_of(b).engine._outlet.tell(Received("a", frame))
        await until(lambda: len(b.news) >= 3)

        assert b.heard("a") == []


@pytest.mark.slow
async def test_what_waits_for_its_turn_does_not_reach_the_next_life(group: str) -> None:
    """A slow sender with a second's worth of entries for a peer that dies meanwhile."""
    transport = a_transport(group, pacing_rate=200_000, recv_buffer_size=40_000)
    [place] = free_datagram_addresses(1)
    async with station("a", transport) as a:
        first = Station(identity=Identity(id="b", incarnation=1), address=place)
        async with first.open(transport):
            await join(a, first)
            for number in range(20):
                a.endpoint.send(("b",), append(number + 1, bytes(10_000)))
            await until(lambda: appends(first) > 2)
        second = Station(identity=Identity(id="b", incarnation=1), address=place)
        async with second.open(transport):
            second.endpoint.connect({"a": a.address})
            await second.wait(linked="a")
            await a.wait(linked="b")
            await trio.sleep(1.0)

        assert appends(first) < 15
        assert appends(second) == 0


# ── how fast ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.slow
@pytest.mark.accept("U-20")
async def test_a_second_carries_no_more_than_the_rate(group: str) -> None:
    """And heartbeats are as quick as ever."""
    rate, buffer = 500_000, 100_000
    transport = a_transport(group, pacing_rate=rate, recv_buffer_size=buffer)
    async with station("a", transport) as a, station("b", transport) as b:
        await join(a, b)
        before = endpoint_of(a).statistics()
        started = trio.current_time()
        for number in range(200):
            a.endpoint.send(("b",), append(number + 1, bytes(10_000)))
            a.endpoint.send(("b",), chunk(number, bytes(10_000)))
        slowest = 0.0
        for number in range(20):
            sent = trio.current_time()
            a.say(number, "b")
            await until(lambda number=number: b.heard("a")[-1:] == [number])  # type: ignore[misc]
            slowest = max(slowest, trio.current_time() - sent)
            await trio.sleep(0.05)
        seconds = trio.current_time() - started
        after = endpoint_of(a).statistics()

    out = after.bytes_out["unicast"] - before.bytes_out["unicast"]
    assert 0.2 * rate * seconds < out < rate * seconds + buffer / 2 + 20_000
    assert slowest < 0.5  # what waits takes seconds
    assert after.dropped.keys() <= {"entries", "bulk"}


@pytest.mark.parametrize(
    "rate, buffer, told",
    [(2 * 2**20, 32 * 1024, 2 * 2**20), (5 * 2**30, 2**20, 5 * 2**30), (4096, 2**20, 50 * 2**20)],
)
async def test_the_kernel_is_told_the_rate_too(
    group: str, rate: int, buffer: int, told: int
) -> None:
    """Where its queue is `fq` it spreads bursts, but never so that a heartbeat waits 10 ms behind one."""
    transport = a_transport(group, pacing_rate=rate, recv_buffer_size=buffer)
    async with station("a", transport) as a:
        sockets = endpoint_of(a).sockets
        assert isinstance(sockets, MulticastSockets)
        sock = sockets.unicast
        number = sock.getsockopt(socket.SOL_SOCKET, SO_MAX_PACING_RATE, 8)

    assert int.from_bytes(number, sys.byteorder) == told


@pytest.mark.slow
async def test_what_is_urgent_never_waits(group: str) -> None:
    """While one message is under way that takes ten seconds."""
    transport = a_transport(group, pacing_rate=40_000, recv_buffer_size=10_000)
    async with station("a", transport) as a, station("b", transport) as b:
        await join(a, b)
        a.endpoint.send(("b",), append(1, bytes(100_000)))
        await until(lambda: endpoint_of(a).statistics().bytes_out["unicast"] > 50_000)
        for number in range(5):
            a.say(number, "b")
            await b.wait_heard("a", *range(number + 1))


async def test_who_sends_without_a_pause_sends_one_burst(group: str) -> None:
    """However long it takes: who receives may be in this very thread."""
    transport = a_transport(group, recv_buffer_size=100_000)
    async with station("a", transport) as a, station("b", transport) as b:
        await join(a, b)
        before = endpoint_of(a).statistics()
        ends = time.monotonic() + 0.1
        while time.monotonic() < ends:
            a.endpoint.send(("b",), append(1, bytes(10_000)))
        after = endpoint_of(a).statistics()

    assert after.bytes_out["unicast"] - before.bytes_out["unicast"] < 50_000
    assert after.dropped["entries"] > 0


@pytest.mark.slow
async def test_a_message_longer_than_receivers_can_hold_goes_in_parts(group: str) -> None:
    """Half of what a receive buffer takes, then what the rate allows."""
    transport = a_transport(group, recv_buffer_size=40_000, pacing_rate=4_000_000)
    async with station("a", transport) as a, station("b", transport) as b:
        await join(a, b)
        message = append(1, bytes(100_000))
        a.endpoint.send(("b",), message)
        await b.wait_message(message)

        assert endpoint_of(b).statistics().overruns == 0


@pytest.mark.slow
async def test_what_came_while_the_process_was_held_up_is_not_given_up(
    group: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each time a repair has arrived already when the time to wait for it is over."""
    send, lost = MulticastSockets.send, set[bytes]()

    def slowly(self: MulticastSockets, target: Address | None, datagrams: Sequence[bytes]) -> None:
        if len(datagrams[0]) > 1000 and datagrams[0] not in lost:
            lost.add(datagrams[0])  # it never arrives …
            return
        send(self, target, datagrams)
        if len(datagrams[0]) > 1000:
            time.sleep(0.15)  # … and this thread has other things to do when it is sent again

    transport = a_transport(group)
    async with station("a", transport) as a, station("b", transport) as b:
        await join(a, b)
        monkeypatch.setattr(MulticastSockets, "send", slowly)
        for number in range(10):
            message = append(number + 1, bytes(1000))
            a.endpoint.send(("b",), message)
            await b.wait_message(message)

        assert len(lost) == 10
        assert endpoint_of(b).statistics().given_up == 0


@pytest.mark.slow
async def test_a_node_that_is_busy_for_a_moment_loses_nothing(
    group: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sender goes on when it has read: its socket holds a third of what is sent meanwhile."""
    hear = MulticastEndpoint._hear
    busy: list[MulticastEndpoint] = []
    transport = a_transport(group, recv_buffer_size=100_000)
    async with station("a", transport) as a, station("b", transport) as b:
        await join(a, b)
        monkeypatch.setattr(MulticastEndpoint, "_hear", lambda it: 0 if it in busy else hear(it))
        busy.append(endpoint_of(b))
        for number in range(30):
            a.endpoint.send(("b",), append(number + 1, bytes(10_000)))
        await trio.sleep(PATIENCE_SECONDS * 0.8)
        busy.clear()
        await until(lambda: appends(b) == 30)
        here, there = endpoint_of(a).statistics(), endpoint_of(b).statistics()

    assert (there.overruns, here.asked, here.repaired) == (0, 0, 0)
    assert here.holds > 0


@pytest.mark.slow
async def test_what_has_arrived_and_was_not_read_yet_is_not_asked_for(
    group: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Words about a stream come to the other socket, and are read before all that they are about."""
    arrivals = MulticastSockets.arrivals

    def slowly(self: MulticastSockets) -> Iterator[tuple[bytes, Address]]:
        for it in arrivals(self):
            time.sleep(0.000_1)  # a processor that is busy: a turn takes longer than a gap may last
            yield it

    transport = a_transport(group)
    async with (
        station("a", transport) as a,
        station("b", transport) as b,
        station("c", transport) as c,
    ):
        await join(a, b, c)
        monkeypatch.setattr(MulticastSockets, "arrivals", slowly)
        message = append(1, bytes(150_000))
        a.endpoint.send(("b", "c"), message)
        for link in endpoint_of(a).engine.links.values():
            link.say_status(trio.current_time())
        endpoint_of(a)._settle(trio.current_time())
        for it in (b, c):
            await it.wait_message(message)

        assert endpoint_of(a).statistics().asked == 0


async def test_what_is_asked_for_twice_is_repaired_once(group: str) -> None:
    """While the repair waits for its turn."""
    transport = a_transport(group, pacing_rate=4096, recv_buffer_size=10_000)
    async with station("a", transport) as a, station("b", transport) as b:
        await join(a, b)
        endpoint, to = endpoint_of(a), endpoint_of(b).sockets.own.where
        for datagrams in 2 * [(bytes(1000),) * 60, (b"x" * 1000,), (b"y" * 1000,)]:
            output = Output(to=to, lane=Lane.ENTRIES, datagrams=datagrams, repair=True)
            endpoint._put(output, trio.current_time())

        assert endpoint._pacer.waiting(Turn.REPAIR) == 3


@pytest.mark.slow
async def test_a_full_lane_drops_and_says_so(group: str) -> None:
    transport = a_transport(
        group, pacing_rate=100_000, recv_buffer_size=10_000, send_buffer_capacity=5
    )
    async with station("a", transport) as a, station("b", transport) as b:
        await join(a, b)
        for number in range(20):
            a.endpoint.send(("b",), append(number + 1, bytes(10_000)))

        assert endpoint_of(a).statistics().dropped["entries"] in {14, 15}  # one may be on its way
        a.say(1, "b")
        await b.wait_heard("a", 1)


@pytest.mark.slow
@pytest.mark.accept("U-26")
async def test_what_waits_behind_a_missing_message_is_bounded_and_the_rest_is_counted(
    group: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is asked for again when there is room: a bound loses nothing."""
    messages = [append(number + 1, bytes(900)) for number in range(20)]
    send, lost = MulticastSockets.send, list[bytes]()

    def without_the_first(
        self: MulticastSockets, target: Address | None, datagrams: Sequence[bytes]
    ) -> None:
        if len(datagrams[0]) > 900 and not lost:
            lost.append(datagrams[0])
        else:
            send(self, target, datagrams)

    transport = a_transport(group, recv_buffer_capacity=4)
    async with station("a", transport) as a, station("b", transport) as b:
        await join(a, b)
        monkeypatch.setattr(MulticastSockets, "send", without_the_first)
        for message in messages:
            a.endpoint.send(("b",), message)
        await until(lambda: appends(b) == len(messages))
        told = endpoint_of(b).statistics()

    assert told.crowded >= 15
    assert told.given_up == 0


# ── how it ends ──────────────────────────────────────────────────────────────────────────────────


async def test_peers_are_told_why_an_endpoint_closed(group: str) -> None:
    """By itself, before the system says that nobody is there any more."""
    transport = a_transport(group)
    async with station("a", transport) as a:
        async with station("b", transport) as b:
            await join(a, b)
        await until(lambda: a.links == set())

        assert a.news[-1] == ("closed the endpoint", "b")


async def test_a_peer_whose_name_leads_nowhere_is_reported_once(
    group: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However often it is looked up."""
    monkeypatch.setattr(endpoint, "RESOLVE_SECONDS", (0.01, 0.01))
    async with station("a", a_transport(group)) as a:
        a.endpoint.connect({"b": "[::1]:7400"})
        await until(lambda: bool(a.news))
        await trio.sleep(0.1)

        assert a.news == [("address [::1]:7400 is not IPv4, as the group is: [::1]:7400", "b")]


async def test_a_peer_that_is_wanted_no_more_is_let_go(group: str) -> None:
    transport = a_transport(group)
    async with station("a", transport) as a, station("b", transport) as b:
        a.endpoint.connect({"b": b.address})
        await a.wait(linked="b")
        a.endpoint.connect({})
        await until(lambda: a.links == b.links == set())

        assert a.news[-1] == ("not wanted any more", "b")


# ── what it refuses ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "choices,why",
    [
        ({"insecure": False}, "multicast needs a key"),
        ({"key": "/nowhere/key"}, "can't read the key file /nowhere/key"),
        ({"interface": "none0"}, "interface 'none0' does not exist"),
        ({"group": "10.0.0.1:7400"}, "not a multicast address"),
        ({"ttl": 0}, "ttl must lie between"),
        ({"pacing_rate": 0}, "pacing_rate must be at least 4096, got 0"),
        ({"send_buffer_size": 0}, "send_buffer_size must be at least 4096"),
        ({"recv_buffer_size": 0}, "recv_buffer_size must be at least 4096"),
        ({"send_buffer_capacity": 0}, "send_buffer_capacity must be at least 1, got 0"),
        ({"recv_buffer_capacity": -1}, "recv_buffer_capacity must be at least 1, got -1"),
        ({"hello_retry_interval": 0.0}, "hello_retry_interval must be above 0"),
        ({"cluster": ""}, "cluster needs a name"),
        ({"fragmentation": "none"}, 'fragmentation must be "app" or "ip"'),
        ({"datagram_size": 65_520}, r"datagram_size 65520 does not fit the MTU 65536 of lo"),
        ({"datagram_size": 100}, "100"),
    ],
)
async def test_a_setting_that_cannot_be_is_refused(
    group: str, choices: dict[str, Any], why: str
) -> None:
    """In one line, before anything is started."""
    with pytest.raises(ConfigError, match=why) as caught:
        async with station("a", a_transport(**({"group": group} | choices))):
            pass

    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("address", ["[::1]:7400", "nowhere.invalid:7400", "7400"])
async def test_an_address_that_cannot_be_is_refused(group: str, address: str) -> None:
    made = Station(identity=Identity(id="a", incarnation=1), address=address)
    with pytest.raises(ConfigError, match="address"):
        async with made.open(a_transport(group)):
            pass


@pytest.mark.parametrize(
    "choices", [{"fragmentation": "ip"}, {"datagram_size": 8000}, {"datagram_size": 512}]
)
async def test_messages_are_cut_as_was_chosen(group: str, choices: dict[str, Any]) -> None:
    transport = a_transport(group, **choices)
    async with station("a", transport) as a, station("b", transport) as b:
        await join(a, b)
        before = endpoint_of(a).statistics()
        message = append(1, bytes(60_000))
        a.endpoint.send(("b",), message)
        await b.wait_message(message)
        after = endpoint_of(a).statistics()

    size = choices.get("datagram_size", 65_507)
    pieces = -(-60_000 // size)
    count = after.datagrams_out["unicast"] - before.datagrams_out["unicast"]
    assert pieces <= count < pieces * 1.2 + 10
