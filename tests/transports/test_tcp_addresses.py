"""Where a node may listen and whom it may dial, and how it is told otherwise."""

from __future__ import annotations

import socket
from typing import Any

import attrs
import pytest
import trio
import trio.abc
import trio.testing
from trio.testing import MockClock

from raftkit.errors import ConfigError
from raftkit.model import Identity
from raftkit.testing.transport_conformance import Station, until
from raftkit.transports import TcpTransport
from raftkit.transports.tcp.sockets import dial, listen, resolve
from tests.transports.parts import free_addresses, station


async def refusal(address: str, transport: TcpTransport | None = None) -> str:
    """What opening an endpoint there raises."""
    a = Station(identity=Identity(id="a", incarnation=1), address=address)
    with pytest.raises(ConfigError) as caught:
        async with a.open(transport or TcpTransport()):
            pass
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    "address",
    [
        "",
        "localhost",
        "localhost:",
        ":7001",
        "::1:7001",
        "[::1]",
        "[::1:7001",
        "local host:7001",
        "127.0.0.1:70000",
        "127.0.0.1:-1",
        "127.0.0.1:7001/",
        "127.0.0.1:７００１",
        "memory:a",
    ],
)
async def test_malformed_address_is_refused(address: str) -> None:
    assert await refusal(address) == (
        f'address {address!r} is not "host:port" or "[IPv6 host]:port"'
    )


@pytest.mark.parametrize("host", ["no-such-host.invalid", "a..b", "x" * 70])
async def test_unknown_host_is_refused(host: str) -> None:
    assert (await refusal(f"{host}:7001")).startswith(f"address {host}:7001: {host} is not known: ")


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "[::]", "[2001:db8::1]"])
async def test_what_is_not_loopback_is_refused(host: str) -> None:
    assert await refusal(f"{host}:0") == (
        f"address {host}:0 is not loopback, and nothing is encrypted: "
        "insecure=True allows it, on a network where everyone is trusted"
    )


async def test_what_is_not_loopback_is_allowed_if_insecure() -> None:
    async with station("b", TcpTransport(insecure=True, listen="0.0.0.0:0")) as (b, other):
        assert b.address == other.address != "0.0.0.0:0"
        port = other.address.rsplit(":", 1)[1]
        async with station("a") as (a, endpoint):
            endpoint.connect({"b": f"127.0.0.1:{port}"})
            await a.wait(linked="b")


async def test_a_peer_that_is_not_loopback_is_not_dialled() -> None:
    async with station("a") as (a, endpoint):
        endpoint.connect({"b": "192.0.2.1:7001"})
        await until(lambda: bool(a.news))
        await trio.sleep(0.3)

        assert len(a.news) == 1
        assert a.news[0][0].startswith("address 192.0.2.1:7001 is not loopback")


async def test_a_place_that_this_machine_lacks_is_refused() -> None:
    assert await refusal("192.0.2.1:7001", TcpTransport(insecure=True)) == (
        "can't listen at 192.0.2.1:7001: cannot assign requested address"
    )


async def test_a_port_in_use_is_refused() -> None:
    async with station("a") as (_, endpoint):
        assert await refusal(endpoint.address) == (
            f"can't listen at {endpoint.address}: the port is in use"
        )


@attrs.frozen
class Names(trio.abc.HostnameResolver):
    """Every name means these hosts, in this order."""

    hosts: tuple[str, ...]

    async def getaddrinfo(  # noqa: PLR0917 - as trio has it
        self,
        host: bytes | None,
        port: bytes | str | int | None,
        family: int = 0,
        type: int = 0,  # noqa: A002 - the name of the argument
        proto: int = 0,
        flags: int = 0,
    ) -> list[Any]:
        return [(socket.AF_INET, type, proto, "", (it, port)) for it in self.hosts]

    async def getnameinfo(self, sockaddr: object, flags: int) -> tuple[str, str]:
        raise NotImplementedError


async def test_a_name_may_mean_places_that_this_machine_lacks() -> None:
    trio.socket.set_custom_hostname_resolver(Names(("192.0.2.1", "127.0.0.1")))
    with await listen("my.name:0", insecure=True) as sock:
        assert sock.getsockname()[0] == "127.0.0.1"


async def test_a_port_in_use_is_not_evaded() -> None:
    trio.socket.set_custom_hostname_resolver(Names(("127.0.0.1", "127.0.0.2")))
    with (
        socket.create_server(("127.0.0.1", 0)) as other,
        pytest.raises(ConfigError, match="in use"),
    ):
        await listen(f"my.name:{other.getsockname()[1]}", insecure=False)


async def test_listening_elsewhere_than_advertised() -> None:
    (address,) = free_addresses(1)
    advertised = "node-a.example:7001"
    a = Station(identity=Identity(id="a", incarnation=1), address=advertised)
    async with a.open(TcpTransport(listen=address)), station("b") as (b, other):
        other.connect({"a": address})
        await b.wait(linked="a")


async def test_a_peer_that_does_not_answer_is_given_up_in_time(ticking_clock: MockClock) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        where = full.getsockname()
        # A full backlog is silent, like a machine that is gone.
        fillers = [socket.socket() for _ in range(4)]
        for it in fillers:
            it.setblocking(False)
            it.connect_ex(where)
        async with station("a") as (a, endpoint):
            endpoint.connect({"b": f"127.0.0.1:{where[1]}"})
            await trio.testing.wait_all_tasks_blocked(0.02)
            ticking_clock.jump(2.9)
            await trio.testing.wait_all_tasks_blocked(0.02)
            assert a.news == []
            ticking_clock.jump(0.1)
            await until(lambda: bool(a.news))
        for it in fillers:
            it.close()

    assert a.news == [("no answer in 3 s", "b")]


async def test_ipv6_addresses_are_read_and_written_alike() -> None:
    (place,) = await resolve("[::1]:7001", insecure=False)

    assert str(place) == "[::1]:7001"


async def test_dialling_a_free_port_never_meets_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    class Unlucky(socket.socket):
        """Is given the very port that it dials: the system does so once in some thousand times."""

        def connect(self, where: object) -> None:
            self.bind(where)  # type: ignore[arg-type]
            super().connect(where)  # type: ignore[arg-type]

    (address,) = free_addresses(1)
    monkeypatch.setattr(socket, "socket", Unlucky)
    with pytest.raises(ConnectionError, match="refused"):
        await dial(address, insecure=False)
