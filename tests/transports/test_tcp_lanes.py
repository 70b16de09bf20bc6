"""What waits when a peer reads slowly: how much, in which order, and that nobody else waits."""

from __future__ import annotations

import socket
import tracemalloc
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

import pytest
import trio

from raftkit.driver_messages import Hello
from raftkit.errors import LocalProtocolError
from raftkit.testing.transport_conformance import Station, append, beat, chunk, until
from raftkit.transports import TcpEndpoint
from raftkit.transports.tcp.link import QUEUE_BYTES_MAX, TcpLink
from raftkit.wire import Lane
from tests.transports.parts import Stranger, station

KILOBYTES_100 = bytes(100_000)


@asynccontextmanager
async def slow_reader() -> AsyncGenerator[tuple[Station, TcpEndpoint, Stranger, TcpLink]]:
    """A station and its link to x, which reads only what the test asks it to."""
    async with station("a") as (a, endpoint):
        stranger = await Stranger.dial(a.address)
        await stranger.greet()
        await a.wait(linked="x")
        for _ in range(2):  # when the link stood, and in answer
            assert isinstance(await stranger.hear(), Hello)
        yield a, endpoint, stranger, endpoint.links["x"]


def fill(endpoint: TcpEndpoint, link: TcpLink) -> int:
    """Send entries until the socket takes no more; how many."""
    count = 0
    while not link._blocked.is_set():
        count += 1
        endpoint.send(("x",), append(count, KILOBYTES_100))
    return count


async def hear_until(stranger: Stranger, last: object) -> list[object]:
    """Messages up to and with `last`."""
    heard: list[object] = []
    while not heard or heard[-1] != last:
        heard.append(await stranger.hear())
    return heard


async def test_control_overtakes_entries_and_entries_overtake_bulk() -> None:
    async with slow_reader() as (a, endpoint, stranger, link):
        count = fill(endpoint, link)
        endpoint.send(("x",), chunk(0, KILOBYTES_100))
        endpoint.send(("x",), chunk(1, KILOBYTES_100))
        endpoint.send(("x",), append(count + 1, b"later"))
        a.say(1, "x")
        a.say(2, "x")
        endpoint.send(("x",), append(count + 2, b"last"))

        heard = await hear_until(stranger, chunk(1, KILOBYTES_100))
        assert heard == [
            *(append(number, KILOBYTES_100) for number in range(1, count + 1)),
            beat(1),
            beat(2),
            append(count + 1, b"later"),
            append(count + 2, b"last"),
            chunk(0, KILOBYTES_100),
            chunk(1, KILOBYTES_100),
        ]


async def test_a_heartbeat_waits_for_one_chunk_at_most() -> None:
    async with slow_reader() as (a, endpoint, stranger, link):
        count = 0
        while len(link._queues[Lane.BULK]) < 50:
            endpoint.send(("x",), chunk(count, KILOBYTES_100))
            count += 1
        while len(link._queues[Lane.BULK]) == 50:
            await stranger.hear()
        await until(link._blocked.is_set)  # a chunk is under way, the others still wait
        waiting = len(link._queues[Lane.BULK])
        a.say(1, "x")
        heard = await hear_until(stranger, chunk(count - 1, KILOBYTES_100))

        assert waiting > 0
        assert heard.index(beat(1)) == len(heard) - 1 - waiting


async def test_a_peer_that_reads_nothing_costs_a_bounded_queue_and_nobody_else() -> None:
    async with slow_reader() as (a, endpoint, stranger, link), station("b") as (b, _):
        endpoint.connect({"b": b.address})
        await a.wait(linked="bx")
        await b.wait(linked="a")
        tracemalloc.start()
        try:
            for number in range(1, 250):
                endpoint.send(("x",), append(number, KILOBYTES_100))
                endpoint.send(("x",), chunk(number, KILOBYTES_100))
                for _ in range(100):
                    endpoint.send(("x",), beat(number))
                started = trio.current_time()
                a.say(number, "b")
                await b.wait_message(beat(number))
                assert trio.current_time() - started < 0.25
            held, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()

        assert held < 32 * 1024 * 1024
        for lane in Lane:
            assert link._queued_bytes[lane] <= QUEUE_BYTES_MAX[lane]
        dropped = endpoint.statistics().dropped
        assert set(dropped) == {"control", "entries", "bulk"}
        assert dropped["control"] > 5_000
        await hear_until(stranger, append(1, KILOBYTES_100))


async def test_dropped_are_the_newest_and_what_comes_arrives_in_order() -> None:
    async with slow_reader() as (_, endpoint, stranger, link):
        count = 400
        for number in range(1, count + 1):
            endpoint.send(("x",), append(number, KILOBYTES_100))
        dropped = endpoint.statistics().dropped["entries"]
        heard = await hear_until(stranger, append(count - dropped, KILOBYTES_100))

        assert heard == [append(number, KILOBYTES_100) for number in range(1, len(heard) + 1)]
        await until(lambda: not link._blocked.is_set())
        assert link._queued_bytes == [0, 0, 0]
        endpoint.send(("x",), append(count + 1, b"room again"))
        assert await stranger.hear() == append(count + 1, b"room again")


async def test_the_largest_frame_passes_and_a_larger_one_is_the_callers_mistake() -> None:
    largest = tuple([bytes(4 * 1024 * 1024 - 100)] * 2)
    async with station("a") as (a, endpoint), station("b") as (b, _):
        endpoint.connect({"b": b.address})
        await a.wait(linked="b")
        endpoint.send(("b",), append(1, *largest))
        await until(lambda: b.frames[-1].body == append(1, *largest))

        with pytest.raises(LocalProtocolError, match="frame_bytes_max"):
            endpoint.send(("b",), append(1, *largest, bytes(1000)))
        a.say(1, "b")
        await until(lambda: b.heard("a") == [1])


async def test_a_frame_to_an_idle_peer_is_on_its_way_when_send_returns() -> None:
    async with slow_reader() as (a, endpoint, stranger, _):
        before = endpoint.statistics().bytes_out
        a.say(1, "x")
        data = stranger.sock.recv(1000)

        assert len(data) == endpoint.statistics().bytes_out - before > 0


async def test_statistics_count_both_ways() -> None:
    async with station("a") as (a, one), station("b") as (b, other):
        one.connect({"b": b.address})
        await a.wait(linked="b")
        await b.wait(linked="a")
        await until(lambda: one.statistics().frames_out == other.statistics().frames_in)
        before = other.statistics()
        for number in range(10):
            a.say(number, "b")
        await until(lambda: len(b.heard("a")) == 10)
        sent, received = one.statistics(), other.statistics()

        assert received.frames_in - before.frames_in == 10
        assert sent.frames_out == received.frames_in
        assert sent.bytes_out == received.bytes_in
        assert (sent.links, sent.dropped, sent.refused) == (1, {}, {})


async def test_a_connection_is_told_to_hurry_and_to_miss_the_dead() -> None:
    async with slow_reader() as (_, _, _, link):
        tcp: Callable[[int], int] = lambda option: link.sock.getsockopt(socket.IPPROTO_TCP, option)  # noqa: E731

        assert tcp(socket.TCP_NODELAY) == 1
        assert tcp(socket.TCP_USER_TIMEOUT) == 10_000
        assert tcp(socket.TCP_KEEPIDLE) == 5
        assert link.sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
