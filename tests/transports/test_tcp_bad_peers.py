"""What a broken or hostile peer may do: its connection is closed and counted, nobody else notices."""

from __future__ import annotations

import logging
import os
import resource
import socket
import struct
import zlib
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress

import attrs
import pytest
import trio
from trio.testing import MockClock

from raftkit.driver_messages import UNBORN, Scope
from raftkit.testing.transport_conformance import Station, a_hello, append, beat, until
from raftkit.transports import TcpEndpoint
from raftkit.wire import encode_message
from tests.transports.parts import Stranger, station

MALFORMED = "malformed, oversized or of another scope"
HELLO = Stranger.hello("x")
BEAT = Stranger.framed("x", beat(1))


@asynccontextmanager
async def good_company() -> AsyncGenerator[tuple[Station, TcpEndpoint]]:
    """A station with a peer, b, whose link must not notice what strangers do."""
    async with station("a") as (a, endpoint), station("b") as (b, _):
        endpoint.connect({"b": b.address})
        await a.wait(linked="b")
        await b.wait(linked="a")
        yield a, endpoint
        heard = len(b.heard("a"))
        a.say(1, "b")
        await until(lambda: len(b.heard("a")) > heard)
        assert [it for it in a.news if it[1] == "b"] == [("linked", "b")]


def damaged(frame: bytes) -> bytes:
    return frame[:-1] + bytes([frame[-1] ^ 1])


def of_length(length: int, content: bytes = b"") -> bytes:
    return struct.pack(">II", length, zlib.crc32(content)) + content


ELSEWHERE = Scope(cluster=b"another cluster!")

BEFORE_HELLO: dict[str, tuple[bytes, str]] = {
    "an HTTP request": (b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", MALFORMED),
    "a TLS hello": (bytes.fromhex("1603010200010001fc0303") + bytes(500), MALFORMED),
    "zeros": (bytes(1000), MALFORMED),
    "length 0": (of_length(0), MALFORMED),
    "length 1": (of_length(1, b"x"), MALFORMED),
    "one byte more than allowed": (of_length(8 * 1024 * 1024 + 1), MALFORMED),
    "more than any hello takes": (of_length(512 * 1024), MALFORMED),
    "length 2^31": (of_length(2**31), MALFORMED),
    "length 2^32 - 1": (of_length(2**32 - 1), MALFORMED),
    "a damaged hello": (damaged(HELLO), MALFORMED),
    "a heartbeat": (BEAT, "something before the hello"),
    "entries": (Stranger.framed("x", append(1, b"x")), "something before the hello"),
    "a hello in this node's own name": (Stranger.hello("a"), "not who it should be"),
}

AFTER_HELLO: dict[str, tuple[bytes, str]] = {
    "garbage": (b"\xff" * 1000, MALFORMED),
    "a damaged frame": (damaged(BEAT), MALFORMED),
    "an oversized frame": (of_length(2**30), MALFORMED),
    "a frame of another cluster": (Stranger.framed("x", beat(1), ELSEWHERE), MALFORMED),
    "a frame of an unborn node": (Stranger.framed("x", beat(1), UNBORN), MALFORMED),
    "a frame of another sender": (Stranger.framed("y", beat(1)), "not who it should be"),
    "a frame of another incarnation": (
        Stranger.framed("x", beat(1), incarnation=2),
        "not who it should be",
    ),
    "a hello of another sender": (Stranger.hello("y"), "not who it should be"),
}


@pytest.mark.parametrize("name", BEFORE_HELLO)
async def test_what_does_not_begin_with_a_hello_is_refused(name: str) -> None:
    data, reason = BEFORE_HELLO[name]
    async with good_company() as (a, endpoint):
        stranger = await Stranger.dial(a.address)
        await stranger.stream.send_all(data)
        await stranger.wait_closed()
        await until(lambda: not endpoint._pending)

        assert endpoint.statistics().refused == {reason: 1}
        assert {it.sender.id for it in a.frames} <= {"b"}


@pytest.mark.parametrize("name", AFTER_HELLO)
async def test_a_link_ends_with_the_first_frame_that_is_wrong(name: str) -> None:
    data, reason = AFTER_HELLO[name]
    async with good_company() as (a, endpoint):
        stranger = await Stranger.dial(a.address)
        await stranger.stream.send_all(HELLO + Stranger.framed("x", beat(7)) + data + BEAT)
        await stranger.wait_closed()
        await until(lambda: "x" not in a.links)

        assert endpoint.statistics().refused == {reason: 1}
        assert a.heard("x") == [7]
        assert [it[1] for it in a.news].count("x") == 2


async def test_hellos_of_any_scope_are_heard() -> None:
    async with good_company() as (a, _):
        stranger = await Stranger.dial(a.address)
        await stranger.say(a_hello(), scope=UNBORN)
        await stranger.say(a_hello(), scope=ELSEWHERE)
        await stranger.say(a_hello(), beat(1))
        await until(lambda: a.heard("x") == [1])

        scopes = [it.scope for it in a.frames if it.sender.id == "x"]
        assert scopes == [UNBORN, ELSEWHERE, a.scope, a.scope]


async def test_a_peer_of_a_later_wire_format_is_understood_after_its_hello() -> None:
    later = bytearray(BEAT[8:])
    at = len(later) - len(encode_message(beat(1)))
    later[at] = 2  # the version of the message
    frame = struct.pack(">II", len(later), zlib.crc32(later)) + later
    async with good_company() as (a, _):
        stranger = await Stranger.dial(a.address)
        await stranger.say(attrs.evolve(a_hello(), wire_format=2))
        await stranger.stream.send_all(frame)
        await until(lambda: a.heard("x") == [1])


async def test_a_connection_that_ends_inside_a_frame_delivers_nothing_of_it() -> None:
    async with good_company() as (a, _):
        stranger = await Stranger.dial(a.address)
        await stranger.stream.send_all(HELLO + BEAT[:-1])
        await a.wait(linked="bx")
        await stranger.stream.aclose()
        await until(lambda: "x" not in a.links)

        assert a.heard("x") == []


async def test_frames_may_come_byte_by_byte() -> None:
    async with good_company() as (a, _):
        stranger = await Stranger.dial(a.address)
        for byte in HELLO + BEAT:
            await stranger.stream.send_all(bytes([byte]))
            await trio.lowlevel.checkpoint()
        await until(lambda: a.heard("x") == [1])


async def pass_time(clock: MockClock, seconds: float, each_second: Callable[[], object]) -> None:
    """Let virtual time go by, giving sockets real time to deliver after each second."""
    for _ in range(int(seconds)):
        each_second()
        await trio.sleep(0.01)
        clock.jump(0.99)


@pytest.mark.parametrize("drip", [b"", HELLO], ids=["silent", "a byte a second"])
async def test_who_says_no_hello_in_5_s_is_closed(ticking_clock: MockClock, drip: bytes) -> None:
    async with good_company() as (a, endpoint):
        stranger = await Stranger.dial(a.address)
        await until(lambda: bool(endpoint._pending))
        left = bytearray(drip)

        def say_a_byte() -> None:
            stranger.sock.send(left[:1])
            del left[:1]

        await pass_time(ticking_clock, 4, say_a_byte)
        assert stranger.is_open()
        await pass_time(ticking_clock, 2, lambda: None)
        await stranger.wait_closed()

        assert endpoint.statistics().refused == {"no hello in time": 1}


async def test_a_dialled_peer_that_says_no_hello_is_closed_too(ticking_clock: MockClock) -> None:
    async with station("a") as (a, endpoint):
        await Stranger.dialled(endpoint, "b")
        await until(lambda: a.news == [("linked", "b")])
        ticking_clock.jump(5)
        await until(lambda: len(a.news) > 1)

        assert a.news[1] == ("said no hello in 5 s", "b")


async def test_a_frame_that_does_not_end_is_closed(ticking_clock: MockClock) -> None:
    async with good_company() as (a, endpoint):
        stranger = await Stranger.dial(a.address)
        await stranger.stream.send_all(HELLO)
        await a.wait(linked="bx")
        await stranger.stream.send_all(of_length(8 * 1024 * 1024))

        def say_a_byte() -> None:
            stranger.sock.send(b"x")

        await pass_time(ticking_clock, 28, say_a_byte)
        assert stranger.is_open()
        await pass_time(ticking_clock, 3, lambda: None)
        await stranger.wait_closed()

        assert endpoint.statistics().refused == {"a frame that does not end": 1}


async def test_an_idle_link_is_kept(ticking_clock: MockClock) -> None:
    async with good_company() as (a, _):
        stranger = await Stranger.dial(a.address)
        big = stranger.frame(append(1, bytes(1024 * 1024)))
        await stranger.stream.send_all(HELLO + big)
        await until(lambda: len(a.frames) == 3)
        await pass_time(ticking_clock, 120, lambda: None)
        assert stranger.is_open()
        await stranger.say(beat(1))
        await until(lambda: a.heard("x") == [1])


async def test_connections_without_a_hello_are_few_and_keep_nobody_out() -> None:
    async with good_company() as (a, endpoint):
        silent = [await Stranger.dial(a.address) for _ in range(100)]
        await until(lambda: endpoint.statistics().refused == {"too many connections": 36})
        await until(lambda: len(endpoint._pending) == 64)
        stranger = await Stranger.dial(a.address)
        await stranger.greet()
        await a.wait(linked="bx")

        assert [it.is_open() for it in silent].count(True) in (63, 64)
        assert not silent[0].is_open()


async def test_a_thousand_names_do_not_become_a_thousand_links() -> None:
    async with good_company() as (a, endpoint):
        for number in range(140):
            await (await Stranger.dial(a.address, f"x{number}")).greet()
        await until(lambda: endpoint.statistics().refused == {"too many connections": 13})

        assert endpoint.statistics().links == 128


async def test_a_storm_of_garbage_is_a_line_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    async with good_company() as (a, endpoint):
        for _ in range(50):
            await (await Stranger.dial(a.address)).stream.send_all(b"\xff" * 50)
        await until(lambda: endpoint.statistics().refused == {MALFORMED: 50})
        await until(lambda: not endpoint._pending)

    lines = [it.getMessage() for it in caplog.records if it.levelno >= logging.WARNING]
    assert len(lines) == 1
    assert lines[0].startswith("a: closed the connection with somebody at 127.0.0.1:")


@pytest.mark.slow
async def test_without_file_descriptors_links_live_and_accepting_goes_on_later(
    caplog: pytest.LogCaptureFixture,
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    async with good_company() as (a, _):
        sock = socket.socket()
        fillers: list[int] = []
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
        try:
            with suppress(OSError):  # too many open files
                while True:
                    fillers.append(os.open("/dev/null", os.O_RDONLY))
            host, port = a.address.split(":")
            sock.connect((host, int(port)))
            await until(lambda: bool(caplog.records))
            await trio.sleep(0.25)
        finally:
            for it in fillers:
                os.close(it)
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        stranger = Stranger(sock)
        await stranger.say(a_hello(), beat(1))
        await until(lambda: a.heard("x") == [1])

    assert [it.getMessage() for it in caplog.records] == [
        "a: can't accept connections: too many open files"
    ]
