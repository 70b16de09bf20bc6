"""Who is connected to whom over TCP: dialling, dialling at once, losing, replacing, ending."""

from __future__ import annotations

import itertools
import random
import socket

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from raftkit.driver_messages import Frame
from raftkit.messages import Heartbeat
from raftkit.model import Identity
from raftkit.testing.transport_conformance import Station, a_hello, beat, until
from raftkit.transports import TcpEndpoint, TcpTransport
from raftkit.transports.tcp import transport as tcp
from raftkit.transports.tcp.sockets import dial
from tests.transports.parts import Stranger, free_addresses, open_files, station


async def test_two_that_dial_at_once_agree_on_one_connection() -> None:
    for _ in range(20):
        async with station("a") as (a, one), station("b") as (b, other):
            one.connect({"b": b.address})
            other.connect({"a": a.address})
            await a.wait(linked="b")
            await b.wait(linked="a")
            await trio.testing.wait_all_tasks_blocked(0.005)
            here, there = one.links["b"].sock, other.links["a"].sock

            assert here.getsockname() == there.getpeername()
            assert [it for it in a.news + b.news if it[0] != "linked"] in ([], [a.news[0]])


async def test_the_smaller_name_keeps_what_it_dialled_when_both_dial_at_once() -> None:
    async with station("a") as (a, endpoint):
        dialled = await Stranger.dialled(endpoint, "b")
        late = await Stranger.dial(a.address, "b")
        await late.greet()
        await late.wait_closed()
        await dialled.greet()
        await a.wait(linked="b")

        assert a.news == [("linked", "b")]
        assert endpoint.statistics().refused == {"both sides dialled": 1}


async def test_the_larger_name_takes_what_the_other_dialled_when_both_dial_at_once() -> None:
    async with station("b") as (b, endpoint):
        dialled = await Stranger.dialled(endpoint, "a")
        late = await Stranger.dial(b.address, "a")
        await late.greet()
        await dialled.wait_closed()
        await late.say(beat(1))
        await until(lambda: b.heard("a") == [1])

        assert b.news == [("linked", "a"), ("linked", "a")]
        assert endpoint.links["a"].dialled is False


async def test_what_a_dialled_peer_says_before_both_have_agreed_is_heard_once() -> None:
    async with station("a") as (a, endpoint):
        dialled = await Stranger.dialled(endpoint, "b")
        late = await Stranger.dial(a.address, "b")
        await late.say(a_hello(), beat(1))
        await dialled.say(a_hello(), beat(2))
        await until(lambda: bool(a.heard("b")))
        await late.wait_closed()

        assert a.heard("b") == [2]


async def test_a_dial_that_the_peer_has_overtaken_is_dropped_unseen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    overtaken = trio.Event()

    async def dial_slowly(address: str, *, insecure: bool) -> socket.socket:
        await overtaken.wait()
        return await dial(address, insecure=insecure)

    monkeypatch.setattr(tcp, "dial", dial_slowly)
    async with station("a") as (a, endpoint):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            endpoint.connect({"b": f"127.0.0.1:{listener.getsockname()[1]}"})
            faster = await Stranger.dial(a.address, "b")
            await faster.greet()
            await a.wait(linked="b")
            overtaken.set()
            await trio.lowlevel.wait_readable(listener)
            slower = Stranger(listener.accept()[0], "b")
            await slower.wait_closed()

        assert a.news == [("linked", "b")]
        assert faster.is_open()
        assert endpoint.links["b"].dialled is False


async def test_a_dial_that_is_not_wanted_when_it_succeeds_is_no_link(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with station("a") as (a, endpoint):

        async def dial_too_late(address: str, *, insecure: bool) -> socket.socket:
            sock = await dial(address, insecure=insecure)
            endpoint.connect({})
            return sock

        monkeypatch.setattr(tcp, "dial", dial_too_late)
        unwanted = await Stranger.dialled(endpoint, "b")
        await unwanted.wait_closed()

        assert a.news == []


async def test_a_peer_that_has_lost_the_link_is_heard_on_a_new_one() -> None:
    async with station("a") as (a, endpoint):
        dialled = await Stranger.dialled(endpoint, "b")
        await dialled.greet()
        await a.wait(linked="b")
        await trio.sleep(0.1)
        anew = await Stranger.dial(a.address, "b")
        await anew.greet()
        await dialled.wait_closed()

        assert a.news == [("linked", "b"), ("linked", "b")]
        assert endpoint.links["b"].dialled is False


async def test_the_newest_connection_of_a_peer_replaces_the_older() -> None:
    async with station("a") as (a, endpoint):
        old, new = [await Stranger.dial(a.address) for _ in range(2)]
        await old.say(a_hello(), beat(1))
        await until(lambda: a.heard("x") == [1])
        await new.say(a_hello(), beat(2))
        await old.wait_closed()
        await until(lambda: a.heard("x") == [1, 2])

        assert a.news == [("linked", "x"), ("linked", "x")]
        assert endpoint.statistics().links == 1
        await new.stream.aclose()
        await until(lambda: len(a.news) == 3)
        assert a.news[2] == ("closed the connection", "x")


async def test_frames_behind_the_one_that_closes_their_link_are_not_delivered() -> None:
    class Hasty(Station):
        def received(self, frame: Frame) -> None:
            super().received(frame)
            if isinstance(frame.body, Heartbeat):
                assert isinstance(self.endpoint, TcpEndpoint)
                self.endpoint.links["x"].close("had enough")

    (address,) = free_addresses(1)
    a = Hasty(identity=Identity(id="a", incarnation=1), address=address)
    async with a.open(TcpTransport()):
        stranger = await Stranger.dial(a.address)
        await stranger.say(a_hello(), beat(1), beat(2), beat(3))
        await stranger.wait_closed()
        await until(lambda: not a.links)

        assert a.heard("x") == [1]
        assert a.news == [("linked", "x"), ("had enough", "x")]


async def test_a_refused_peer_is_reported_once_until_something_changes() -> None:
    (address,) = free_addresses(1)
    async with station("a") as (a, endpoint):
        endpoint.connect({"b": address})
        await trio.sleep(0.5)
        assert a.news == [("refused", "b")]
        b = Station(identity=Identity(id="b", incarnation=1), address=address)
        for _ in range(2):
            async with b.open(TcpTransport()):
                await a.wait(linked="b")
            await until(lambda: a.news[-1] == ("refused", "b"))
        await trio.sleep(0.2)

        lost = [("closed the connection", "b"), ("refused", "b")]
        assert a.news == [("refused", "b"), *[("linked", "b"), *lost] * 2]


async def test_attempts_begin_soon_and_grow_rare() -> None:
    times: list[float] = []

    async def count(stream: trio.SocketStream) -> None:
        times.append(trio.current_time())
        await stream.aclose()

    transport = TcpTransport(rng=random.Random(3))
    async with station("a", transport) as (a, endpoint), trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, count, [listener])
        endpoint.connect({"b": f"127.0.0.1:{listener.socket.getsockname()[1]}"})
        await until(lambda: len(times) == 6)
        nursery.cancel_scope.cancel()
    pauses = [after - before for before, after in itertools.pairwise(times)]

    for pause, longest in zip(pauses, (0.05, 0.1, 0.2, 0.4, 0.8), strict=True):
        assert longest / 2 <= pause <= longest + 0.1
    assert {it[0] for it in a.news[1::2]} == {"closed the connection"}


async def test_after_a_link_attempts_begin_soon_again(ticking_clock: MockClock) -> None:
    (address,) = free_addresses(1)
    b = Station(identity=Identity(id="b", incarnation=1), address=address)
    async with station("a") as (a, endpoint):
        endpoint.connect({"b": address})
        for _ in range(8):
            await trio.testing.wait_all_tasks_blocked(0.005)
            ticking_clock.jump(2)
        async with b.open(TcpTransport()):
            ticking_clock.jump(2)
            await a.wait(linked="b")
        lost = trio.current_time()
        async with b.open(TcpTransport()):
            await until(lambda: a.news.count(("linked", "b")) == 2)

            assert trio.current_time() - lost < 0.5


@pytest.mark.accept("U-57")
async def test_an_hour_without_a_peer_is_one_report_and_an_attempt_every_second_or_two(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempts: list[float] = []

    async def dial_in_vain(address: str, *, insecure: bool) -> socket.socket:
        await trio.lowlevel.checkpoint()
        attempts.append(trio.current_time())
        raise ConnectionError("refused")

    monkeypatch.setattr(tcp, "dial", dial_in_vain)
    async with station("a", TcpTransport(rng=random.Random(3))) as (a, endpoint):
        endpoint.connect({"b": "127.0.0.1:9"})
        tasks = trio.lowlevel.current_statistics().tasks_living
        await trio.sleep(3600)

        assert a.news == [("refused", "b")]
        assert trio.lowlevel.current_statistics().tasks_living == tasks
    pauses = [after - before for before, after in itertools.pairwise(attempts)]
    assert 3600 / 2 < len(attempts) < 3600
    assert 1.9 < max(pauses) <= 2.0  # so long at most until a peer that is back is found


async def test_a_peer_that_is_not_wanted_any_more_is_left() -> None:
    async with station("a") as (a, one), station("b") as (b, _), station("c") as (c, other):
        other.connect({"a": a.address})
        await a.wait(linked="c")
        one.connect({"b": b.address, "c": c.address})
        await a.wait(linked="bc")
        one.connect({})
        await a.wait(linked="c")
        await trio.sleep(0.2)

        assert a.news[-1] == ("not wanted any more", "b")
        assert a.links == {"c"}  # c began that one
        assert c.links == {"a"}


async def test_a_peer_that_moved_is_followed() -> None:
    async with station("a") as (a, endpoint), station("b") as (b, _):
        endpoint.connect({"b": b.address})
        await a.wait(linked="b")
        async with station("b") as (moved, _):
            endpoint.connect({"b": moved.address})
            await moved.wait(linked="a")
            await a.wait(linked="b")
            a.say(1, "b")
            await until(lambda: moved.heard("a") == [1])

            assert b.heard("a") == []


async def test_a_node_that_answers_in_another_name_is_no_link() -> None:
    async with station("a") as (a, endpoint), station("c") as (c, _):
        endpoint.connect({"b": c.address})
        await until(lambda: ("says that it is c, not b", "b") in a.news)

        assert a.links == set()
        assert a.frames == []


async def test_sending_on_a_dead_link_tells_nobody_in_the_middle_of_it() -> None:
    async with station("a") as (a, endpoint):
        stranger = await Stranger.dial(a.address)
        await stranger.greet()
        await a.wait(linked="x")
        before = list(a.news)
        stranger.stream.socket.close()
        for number in range(50):
            a.say(number, "x")
        assert a.news == before
        await until(lambda: a.news != before)

        assert a.news[-1][1] == "x"
        assert endpoint.links == {}


async def test_the_end_of_an_endpoint_is_seen_within_100_ms_and_leaks_nothing() -> None:
    before = open_files()
    async with station("a") as (a, endpoint):
        strangers = [await Stranger.dial(a.address, f"x{n}") for n in range(20)]
        for it in strangers[:10]:
            await it.greet()
        await until(lambda: len(a.links) == 10 and len(endpoint._pending) == 10)
    started = trio.current_time()
    for it in strangers:
        await it.wait_closed(0.1)
        await it.stream.aclose()

    assert trio.current_time() - started < 0.1
    assert open_files() == before
    assert [it[0] for it in a.news] == ["linked"] * 10  # who closes knows it


@pytest.mark.slow
async def test_an_endpoint_may_be_cancelled_at_any_moment() -> None:
    before = open_files()
    async with station("b") as (b, other):
        for scheduled in range(40):
            other.connect({})
            with trio.CancelScope() as scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(_use, b, other)
                    for _ in range(scheduled):
                        await trio.lowlevel.checkpoint()
                    scope.cancel()
            await until(lambda: not other.links and not other._pending)
    await until(lambda: open_files() == before)


async def _use(b: Station, other: TcpEndpoint) -> None:
    """Link to `b` from both sides and send."""
    async with station("a") as (a, endpoint):
        endpoint.connect({"b": b.address})
        other.connect({"a": a.address})
        while True:
            endpoint.send(
                ("b",), Heartbeat(term=beat(1).term, round=1, commit_index=beat(1).commit_index)
            )
            await trio.lowlevel.checkpoint()
