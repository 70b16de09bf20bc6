"""Datagrams to a group and to one address, over the loopback interface, as the kernel really carries them."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from raftkit.errors import ConfigError
from raftkit.transports.multicast import sockets
from raftkit.transports.multicast.group import find_interface, parse_group
from raftkit.transports.multicast.sockets import MulticastSockets, open_sockets
from raftkit.transports.tcp.sockets import Place
from tests.transports.multicast_places import a_group

LOOPBACK = Place(socket.AF_INET, ("127.0.0.1", 0))
SECONDS = 5.0


@contextmanager
def opened(group: Place | None = None, **settings: Any) -> Generator[MulticastSockets]:
    defaults: dict[str, Any] = {
        "group": group or parse_group(a_group()),
        "interface": "lo",
        "own": LOOPBACK,
        "send_buffer_size": 100_000,
        "recv_buffer_size": 100_000,
    }
    sockets = open_sockets(**(defaults | settings))
    try:
        yield sockets
    finally:
        sockets.close()


async def arrived(sockets: MulticastSockets, number: int) -> list[tuple[bytes, Any]]:
    """The next datagrams, so many."""
    found: list[tuple[bytes, Any]] = []
    with trio.fail_after(SECONDS):
        while len(found) < number:
            await sockets.wait_arrivals()
            found += sockets.arrivals()
    assert len(found) == number
    return found


def contents(arrivals: list[tuple[bytes, Any]]) -> list[bytes]:
    return [data for data, _ in arrivals]


# ── what is carried ──────────────────────────────────────────────────────────────────────────────


async def test_a_multicast_reaches_every_socket_of_the_group_its_sender_included() -> None:
    group = parse_group(a_group())
    with opened(group) as a, opened(group) as b, opened(group) as c:
        a.send(None, [b"to all"])

        for each in (a, b, c):
            assert await arrived(each, 1) == [(b"to all", a.own.where)]


async def test_the_source_of_a_multicast_is_where_its_sender_is_answered() -> None:
    group = parse_group(a_group())
    with opened(group) as a, opened(group) as b:
        a.send(None, [b"question"])
        [(_, source)] = await arrived(b, 1)
        await arrived(a, 1)
        b.send(source, [b"answer"])

        assert await arrived(a, 1) == [(b"answer", b.own.where)]


async def test_one_address_is_reached_alone() -> None:
    group = parse_group(a_group())
    with opened(group) as a, opened(group) as b, opened(group) as c:
        a.send(b.own.where, [b"for b"])
        a.send(None, [b"for all"])

        assert sorted(contents(await arrived(b, 2))) == [b"for all", b"for b"]
        assert contents(await arrived(c, 1)) == [b"for all"]


async def test_another_group_at_the_same_port_is_not_heard() -> None:
    """Though other sockets of this host joined it: the kernel would deliver it to a wildcard."""
    one, other = parse_group("239.192.9.1:29001"), parse_group("239.192.9.2:29001")
    with opened(one) as a, opened(other) as b:
        b.send(None, [b"not for a"])
        await arrived(b, 1)
        a.send(None, [b"for a"])

        assert contents(await arrived(a, 1)) == [b"for a"]
        assert list(b.arrivals()) == []


@pytest.mark.parametrize("segmenting", [True, False])
async def test_a_message_in_many_datagrams_arrives_cut_as_it_was(segmenting: bool) -> None:
    """By one call of the kernel for 54 of them, or by 54."""
    datagrams = [bytes([n % 256]) * 1200 for n in range(100)] + [b"the rest"]
    with opened(recv_buffer_size=1 << 20, send_buffer_size=1 << 20) as a:
        a.segmenting = segmenting
        a.send(None, datagrams)

        assert contents(await arrived(a, 101)) == datagrams
        assert a.segmenting == segmenting
        assert (a.to_group.datagrams, a.to_group.bytes) == (101, 120_008)
        assert (a.from_group.datagrams, a.from_group.bytes) == (101, 120_008)
        assert a.to_one.datagrams == a.from_one.datagrams == 0


async def test_a_kernel_that_cannot_segment_is_given_one_after_the_other() -> None:
    """No IPv4 packet holds two segments of 40 000 bytes: refused, noted, and sent all the same."""
    with opened(recv_buffer_size=1 << 20) as a:
        big = [bytes(40_000), bytes(40_000)]
        assert not a._write_segmented(a._group_address, big, a.to_group)
        assert not a.segmenting

        a.send(None, [b"one", b"two"])
        assert contents(await arrived(a, 2)) == [b"one", b"two"]


async def test_the_longest_datagram_travels_in_fragments() -> None:
    with opened(fragment=True, recv_buffer_size=1 << 20, send_buffer_size=1 << 20) as a:
        longest = os.urandom(sockets.DATAGRAM_BYTES_MAX[socket.AF_INET])
        a.send(None, [longest])
        assert contents(await arrived(a, 1)) == [longest]

        a.send(None, [longest + b"."])
        assert a.unsent == {"message too long": 1}


async def test_a_turn_takes_a_bounded_number_of_datagrams(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets, "READS_MAX", 3)
    with opened() as a:
        for number in range(5):
            a.send(None, [bytes([number])])

        with trio.fail_after(SECONDS):
            await a.wait_arrivals()
        assert len(list(a.arrivals())) == 3
        assert len(list(a.arrivals())) == 2


# ── what is lost ─────────────────────────────────────────────────────────────────────────────────


async def test_datagrams_for_which_a_buffer_had_no_room_are_counted() -> None:
    """Told by the kernel with the next datagram that arrives."""
    with opened(recv_buffer_size=4_000) as a:
        for _ in range(50):
            a.send(None, [bytes(1000)])
        got = len(list(a.arrivals()))
        assert got < 50
        a.send(None, [b"next"])
        await arrived(a, 1)

        assert a.overruns == 50 - got


async def test_a_port_where_nobody_listens_is_told() -> None:
    """And what is sent elsewhere meanwhile arrives: the refusal of one is not the loss of another."""
    group = parse_group(a_group())
    with opened(group) as a, opened(group) as b:
        with opened(group) as gone:
            nowhere = gone.own.where
        a.send(nowhere, [b"anybody?"])
        a.send(b.own.where, [b"you there?"])

        assert contents(await arrived(b, 1)) == [b"you there?"]
        with trio.fail_after(SECONDS):
            while not (refused := a.take_refused()):
                await a.wait_arrivals()
                assert list(a.arrivals()) == []
        assert refused == (nowhere,)
        assert a.take_refused() == ()


# ── what is refused ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "group,why",
    [
        ("10.0.0.1:7400", "not a multicast address"),
        ("[fd00::1]:7400", "not a multicast address"),
        ("224.0.0.251:7400", "belongs to routing protocols"),
        ("239.192.7.1:0", "needs a port"),
        ("all-nodes:7400", "not an IP address"),
        ("239.192.7.1", 'is not "host:port"'),
        ("239.192.7.1:70000", 'is not "host:port"'),
    ],
)
def test_a_group_must_be_a_multicast_address_with_a_port(group: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why) as caught:
        parse_group(group)

    assert "\n" not in str(caught.value)


def test_groups_of_both_families_are_understood() -> None:
    assert str(parse_group("239.192.7.1:7400")) == "239.192.7.1:7400"
    assert str(parse_group("[ff15::7:1]:7400")) == "[ff15::7:1]:7400"


@pytest.mark.parametrize("name", ["no-such", "a name longer than fifteen", "", "nul\0"])
def test_an_unknown_interface_is_refused_with_those_there_are(name: str) -> None:
    with pytest.raises(ConfigError, match=r"does not exist: there are .*\blo\b"):
        find_interface(name, socket.AF_INET)


def test_ipv6_multicast_on_loopback_is_refused() -> None:
    with pytest.raises(ConfigError, match="no IPv6 multicast there: take an IPv4 group"):
        find_interface("lo", socket.AF_INET6)


@pytest.mark.parametrize("ttl", [0, 256, -1])
def test_a_ttl_out_of_range_is_refused(ttl: int) -> None:
    with pytest.raises(ConfigError, match="ttl must lie between 1"), opened(ttl=ttl):
        pass


def test_address_and_group_must_be_of_one_family() -> None:
    own = Place(socket.AF_INET6, ("::1", 0, 0, 0))
    with pytest.raises(ConfigError, match="must both be IPv4, or both IPv6"), opened(own=own):
        pass


def test_an_address_in_use_is_refused_and_free_again_later() -> None:
    with opened() as a:
        own = a.own
        with pytest.raises(ConfigError, match="the port is in use"), opened(own=own):
            pass
    with opened(own=own) as b:
        assert b.own == own


def test_a_group_port_taken_by_another_program_is_refused() -> None:
    group = parse_group(a_group())
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("0.0.0.0", int(str(group.where[1]))))
        with pytest.raises(ConfigError, match="the port is in use"), opened(group):
            pass


def test_a_refused_opening_leaves_no_file_open() -> None:
    with opened() as a:
        own = a.own
        before = len(list(Path("/proc/self/fd").iterdir()))
        for _ in range(3):
            with pytest.raises(ConfigError), opened(own=own):
                pass

        assert len(list(Path("/proc/self/fd").iterdir())) == before


@pytest.mark.accept("U-23")
def test_a_clamped_buffer_is_a_warning_that_says_what_to_do(
    caplog: pytest.LogCaptureFixture,
) -> None:
    most = int(Path("/proc/sys/net/core/rmem_max").read_text())
    with caplog.at_level(logging.WARNING), opened(recv_buffer_size=2 * most) as a:
        assert a.recv_buffer_size == most

    [record] = caplog.records
    assert f"{most} bytes instead of {2 * most}" in record.message
    assert f"sysctl -w net.core.rmem_max={2 * most}" in record.message


@pytest.mark.accept("U-22")
def test_a_granted_buffer_is_no_warning(caplog: pytest.LogCaptureFixture) -> None:
    sizes: dict[str, Any] = {"recv_buffer_size": 50_000, "send_buffer_size": 60_000}
    with caplog.at_level(logging.WARNING), opened(**sizes) as a:
        assert (a.recv_buffer_size, a.send_buffer_size) == (50_000, 60_000)

    assert caplog.records == []


async def test_joining_anew_hears_as_before() -> None:
    """Done now and then, since switches forget who listens."""
    group = parse_group(a_group())
    with opened(group) as a, opened(group) as b:
        b.join()
        a.send(None, [b"still there?"])

        assert contents(await arrived(b, 1)) == [b"still there?"]
