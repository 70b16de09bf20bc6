"""Multicast between hosts, on interfaces that come, go and change: see `tests/netns.py`."""

from __future__ import annotations

import os
import socket
from collections.abc import Generator
from contextlib import ExitStack, contextmanager

import pytest
import trio

from raftkit.errors import ConfigError
from raftkit.transports.multicast.group import IP_BYTES, find_interface, parse_group
from raftkit.transports.multicast.sockets import MulticastSockets, open_sockets
from raftkit.transports.tcp.sockets import Place
from tests.netns import INTERFACE, Host, network, require_namespaces

pytestmark = pytest.mark.slow

GROUPS: dict[int, Place] = {
    socket.AF_INET: parse_group("239.192.7.1:7400"),
    socket.AF_INET6: parse_group("[ff15::7:1]:7400"),
}
BUFFER_BYTES = 1 << 20
SECONDS = 5.0
FAMILIES = pytest.mark.parametrize(
    "family", [socket.AF_INET, socket.AF_INET6], ids=["IPv4", "IPv6"]
)


@pytest.fixture(autouse=True)
def _namespaces() -> None:
    require_namespaces()


def place(host: Host, family: int, port: int) -> Place:
    if family == socket.AF_INET6:
        return Place(family, (host.ipv6, port, 0, 0))
    return Place(family, (host.ipv4, port))


def opened_at(
    host: Host, family: int, *, port: int = 7400, fragment: bool = False, loopback: bool = True
) -> MulticastSockets:
    with host.entered():
        return open_sockets(
            group=GROUPS[family],
            interface=INTERFACE,
            own=place(host, family, port),
            loopback=loopback,
            send_buffer_size=BUFFER_BYTES,
            recv_buffer_size=BUFFER_BYTES,
            fragment=fragment,
        )


@contextmanager
def sockets_on(
    *hosts: Host, family: int = socket.AF_INET, fragment: bool = False
) -> Generator[list[MulticastSockets]]:
    with ExitStack() as stack:
        made: list[MulticastSockets] = []
        for host in hosts:
            made.append(opened_at(host, family, fragment=fragment))
            stack.callback(made[-1].close)
        yield made


async def heard(sockets: MulticastSockets, number: int) -> list[bytes]:
    """The next datagrams, so many."""
    found: list[bytes] = []
    with trio.fail_after(SECONDS):
        while len(found) < number:
            await sockets.wait_arrivals()
            found += [data for data, _ in sockets.arrivals()]
    return found


def a_message(size: int, datagram: int) -> list[bytes]:
    data = os.urandom(size)
    return [data[at : at + datagram] for at in range(0, size, datagram)]


@FAMILIES
@pytest.mark.accept("U-19")
async def test_one_send_reaches_every_host(family: int) -> None:
    """In one packet on the sender's cable: its own interface counts them."""
    with network(4) as net, sockets_on(*net.hosts, family=family) as (a, *others):
        message = a_message(64_000, 1200)
        before = packets_out(net.hosts[0])
        a.send(None, message)

        for each in others:
            assert await heard(each, len(message)) == message
        assert packets_out(net.hosts[0]) - before < len(message) + 10


def packets_out(host: Host) -> int:
    text = host.namespace.run("ip", "-s", "link", "show", INTERFACE).splitlines()
    return int(text[text.index(next(it for it in text if "TX:" in it)) + 1].split()[1])


@pytest.mark.parametrize(
    "family,mtu",
    [(socket.AF_INET, it) for it in (576, 1280, 1400, 9000)]
    + [(socket.AF_INET6, it) for it in (1280, 1400, 9000)],
)
async def test_datagrams_as_long_as_the_mtu_allows(family: int, mtu: int) -> None:
    with network(2, mtu=mtu) as net, sockets_on(*net.hosts, family=family) as (a, b):
        assert a.interface.mtu == mtu
        message = a_message(40_000, mtu - IP_BYTES[family])
        a.send(None, message)

        assert await heard(b, len(message)) == message
        assert a.segmenting


@FAMILIES
async def test_ip_cuts_what_is_longer_than_the_mtu(family: int) -> None:
    with (
        network(2, mtu=1280) as net,
        sockets_on(*net.hosts, family=family, fragment=True) as (a, b),
    ):
        longest = a_message(65_000, 65_000)
        a.send(None, longest)
        assert await heard(b, 1) == longest

        several = a_message(20_000, 5_000)
        a.send(None, several)
        assert await heard(b, 4) == several
        assert not a.segmenting  # the kernel segments only to what fits into a packet


@FAMILIES
@pytest.mark.accept("U-21")
async def test_who_chose_no_loopback_is_not_heard_on_its_own_host(family: int) -> None:
    with network(2) as net, sockets_on(*net.hosts, family=family) as (beside, there):
        quiet = opened_at(net.hosts[0], family, port=7500, loopback=False)
        quiet.send(None, [b"quiet"])
        assert await heard(there, 1) == [b"quiet"]
        loud = opened_at(net.hosts[0], family, port=7501)
        loud.send(None, [b"loud"])

        assert await heard(beside, 1) == [b"loud"]
        assert next(iter(quiet.arrivals()))[0] == b"loud"
        quiet.close()
        loud.close()


async def test_the_group_on_another_interface_is_not_heard() -> None:
    """Though somebody on this host joined it there, and the kernel would hand it to all who have the port."""
    with network(1) as net, sockets_on(*net.hosts) as (there,):
        with net.hosts[0].entered():
            here = open_sockets(
                group=GROUPS[socket.AF_INET],
                interface="lo",
                own=Place(socket.AF_INET, ("127.0.0.1", 0)),
                send_buffer_size=BUFFER_BYTES,
                recv_buffer_size=BUFFER_BYTES,
            )
        there.send(None, [b"there"])
        assert await heard(there, 1) == [b"there"]
        here.send(None, [b"here"])

        assert await heard(here, 1) == [b"here"]
        here.close()


@pytest.mark.accept("Q-20")
@pytest.mark.parametrize("fragment", [True, False])
async def test_routers_may_cut_datagrams_only_where_that_was_chosen(fragment: bool) -> None:
    """The bit in the header of IPv4 that forbids it, as a host nearby sees it."""
    with network(2) as net, sockets_on(net.hosts[0], fragment=fragment) as (a,):
        with net.hosts[1].entered():
            ears = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x0800))
        with ears:
            ears.settimeout(SECONDS)
            a.send(None, [b"x"])
            header = ears.recv(2000)

    assert header[16:20] == socket.inet_aton("239.192.7.1")
    assert bool(header[6] & 0x40) == (not fragment)
    assert header[8] == 1  # and none of them passes it on


async def test_a_host_to_which_the_switch_forwards_no_multicast_is_reached_alone() -> None:
    with network(3) as net, sockets_on(*net.hosts) as (a, b, c):
        net.hosts[1].deafen()
        a.send(None, [b"to all"])
        a.send(b.own.where, [b"to b"])

        assert await heard(c, 1) == [b"to all"]
        assert await heard(b, 1) == [b"to b"]


async def test_an_interface_that_went_down_and_up_hears_again() -> None:
    """By itself: the kernel remembers who joined."""
    with network(2) as net, sockets_on(*net.hosts) as (a, b):
        net.hosts[1].namespace.ip(f"link set {INTERFACE} down", f"link set {INTERFACE} up")
        await heard_at_last(a, b)


async def test_an_interface_that_was_made_anew_is_joined_anew() -> None:
    """It has another number now, so membership and route are of something that is no more."""
    with network(2) as net, sockets_on(*net.hosts) as (a, b):
        old = b.interface.index
        net.hosts[1].unplug()
        with net.hosts[1].entered(), pytest.raises(ConfigError, match="eth0' does not exist"):
            b.join()
        net.hosts[1].namespace.ip("link add other type bridge")  # may get the number that is free
        net.hosts[1].plug_in()
        with net.hosts[1].entered():
            b.join()
        assert b.interface.index != old

        await heard_at_last(a, b)
        await heard_at_last(b, a)


async def heard_at_last(sender: MulticastSockets, receiver: MulticastSockets) -> None:
    """A link that comes up needs a moment, so say it until it is heard."""
    with trio.fail_after(SECONDS):
        while not [data for data, _ in receiver.arrivals() if data == b"again"]:
            sender.send(None, [b"again"])
            await trio.sleep(0.02)


async def test_what_cannot_be_sent_is_counted_by_reason() -> None:
    with network(1) as net, sockets_on(*net.hosts) as (a,):
        net.hosts[0].namespace.ip(f"link set {INTERFACE} down")
        a.send(None, [b"x", b"y"])

        assert sum(a.unsent.values()) == 2
        assert set(a.unsent) <= {"network is unreachable", "network is down"}


def test_an_interface_that_is_down_is_refused() -> None:
    with network(1) as net, net.hosts[0].entered():
        net.hosts[0].namespace.ip(f"link set {INTERFACE} down")
        with pytest.raises(ConfigError, match="eth0 is down: ip link set eth0 up"):
            find_interface(INTERFACE, socket.AF_INET)


@FAMILIES
def test_an_interface_without_an_address_of_the_family_is_refused(family: int) -> None:
    with network(1) as net, net.hosts[0].entered():
        net.hosts[0].namespace.ip(f"addr flush dev {INTERFACE}")
        with pytest.raises(ConfigError, match=r"eth0 has no IPv[46] address"):
            find_interface(INTERFACE, family)


def test_an_interface_that_does_no_multicast_is_refused() -> None:
    with network(1) as net, net.hosts[0].entered():
        net.hosts[0].namespace.ip(f"link set {INTERFACE} multicast off")
        with pytest.raises(ConfigError, match="eth0 does not do multicast"):
            find_interface(INTERFACE, socket.AF_INET)


def test_a_loopback_address_is_refused_on_another_interface() -> None:
    with (
        network(1) as net,
        net.hosts[0].entered(),
        pytest.raises(ConfigError, match="nobody there could answer"),
    ):
        open_sockets(
            group=GROUPS[socket.AF_INET],
            interface=INTERFACE,
            own=Place(socket.AF_INET, ("127.0.0.1", 0)),
            send_buffer_size=4096,
            recv_buffer_size=4096,
        )
