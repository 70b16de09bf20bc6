"""A doctor that listens, and one that probes, against others than each other: on lo, in this process."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from socket import AF_INET, SOCK_DGRAM

import attrs
import pytest
import trio

from raftkit import MulticastTransport
from raftkit.cli.child import free_addresses
from raftkit.cli.doctor import answering
from raftkit.cli.doctor.answering import listen
from raftkit.cli.doctor.case import Case
from raftkit.cli.doctor.datagrams import (
    LISTENER,
    PROBER,
    Exchange,
    body_of,
    card_of,
    exchange,
    open_sealed,
)
from raftkit.cli.lines import Line
from raftkit.transports.multicast.group import nowhere, place_of
from raftkit.transports.multicast.sockets import MulticastSockets
from raftkit.wire import Opener, Refused, Sealer
from raftkit.wire.control import NONCE_BYTES, Accept, Ends, Hello, Open, encode_control
from tests.transports.multicast_places import a_group

pytestmark = pytest.mark.slow

QUIET_SECONDS = 0.3
"After which nothing more is expected on lo."


@pytest.fixture
def over(tmp_path: Path) -> MulticastTransport:
    key = tmp_path / "cluster.key"
    key.touch(mode=0o600)
    key.write_text("17" * 32)
    return MulticastTransport(group=a_group(), interface="lo", cluster="ours", key=key)


@asynccontextmanager
async def listener(over: MulticastTransport, address: str) -> AsyncIterator[list[Line]]:
    """A doctor listens at `address`; what it says."""
    said: list[Line] = []
    ready = trio.Event()

    def say(line: Line) -> None:
        said.append(line)
        ready.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(listen, Case(own=address, peers={}, multicast=over), say)
        with trio.fail_after(10):
            await ready.wait()
        yield said
        nursery.cancel_scope.cancel()


@attrs.define(eq=False)
class Member:
    """Somebody with the key who is not a doctor, unless it says so."""

    sockets: MulticastSockets
    sealer: Sealer
    opener: Opener
    over: MulticastTransport
    sent: int = 0
    "Bytes of the longest probe."

    async def ask(self, address: str, name: str, count: int = 1) -> None:
        """Probe whoever is at `address`, as `name`, so often."""
        place = await place_of(address, AF_INET)
        for _ in range(count):
            nonce = secrets.token_bytes(NONCE_BYTES)
            body = Open(card=card_of(name, self.over), wanted="b", link=3, nonce=nonce)
            datagram = self.sealer.control.seal(*encode_control(body))
            self.sent = max(self.sent, len(datagram))
            self.sockets.send(place.where, [datagram])

    async def heard(self) -> list[bytes]:
        """What arrives from others until there is silence."""
        found: list[bytes] = []
        with trio.move_on_after(QUIET_SECONDS) as patience:
            while True:
                await self.sockets.wait_arrivals()
                found += [data for data, _ in self.sockets.arrivals()]
                patience.deadline = trio.current_time() + QUIET_SECONDS
        return [it for it in found if self.opener.open(it) is not Refused.OWN]


@asynccontextmanager
async def member(over: MulticastTransport) -> AsyncIterator[Member]:
    sockets, sealer, opener = await open_sealed(over, nowhere(AF_INET))
    try:
        yield Member(sockets, sealer, opener, over)
    finally:
        sockets.close()


def an_address() -> str:
    return free_addresses(("b",), SOCK_DGRAM)["b"]


async def test_a_doctor_is_answered_both_ways_and_never_at_greater_length(
    over: MulticastTransport,
) -> None:
    address = an_address()
    async with listener(over, address) as said, member(over) as somebody:
        await somebody.ask(address, PROBER)
        answers = await somebody.heard()

        assert len(answers) == 2
        assert somebody.sockets.from_one.datagrams == 1
        assert all(len(it) <= somebody.sent for it in answers)
        assert [it.event for it in said] == ["listening", "heard"]
        assert said[1].facts == {"host": "127.0.0.1", "way": "unicast"}


async def test_nodes_are_not_answered(over: MulticastTransport) -> None:
    address = an_address()
    async with listener(over, address) as said, member(over) as somebody:
        await somebody.ask(address, "a", 3)

        assert await somebody.heard() == []
        assert len(said) == 1


async def test_answers_are_bounded(
    over: MulticastTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answering, "ANSWERS_MAX", 3)
    address = an_address()
    async with listener(over, address), member(over) as somebody:
        await somebody.ask(address, PROBER, 10)
        first = await somebody.heard()
        await trio.sleep(1.0)
        await somebody.ask(address, PROBER, 10)
        second = await somebody.heard()

    # Ten on lo may fall into two seconds, on a machine that is busy.
    assert len(first) in (6, 12)
    assert len(second) in (6, 12)


async def test_what_no_member_sealed_is_not_answered_and_said_once(
    over: MulticastTransport, tmp_path: Path
) -> None:
    other = tmp_path / "other.key"
    other.touch(mode=0o600)
    other.write_text("18" * 32)
    address = an_address()
    async with (
        listener(over, address) as said,
        member(attrs.evolve(over, key=other)) as somebody,
    ):
        await somebody.ask(address, PROBER, 3)

        assert await somebody.heard() == []
        assert [it.event for it in said] == ["listening", "refused"]
        assert said[1].facts == {"host": "127.0.0.1", "why": Refused.KEY.value}


async def probed(over: MulticastTransport, address: str, seconds: float) -> Exchange:
    found = await exchange(over, "127.0.0.1:0", {"b": address}, seconds)
    return found.with_peers["b"]


async def test_a_doctor_that_listens_has_every_probe_answered(over: MulticastTransport) -> None:
    address = an_address()
    async with listener(over, address):
        it = await probed(over, address, 8.0)

    assert it.answered == it.sent == {"unicast": 20, "multicast": 10}
    assert 20 <= it.heard["unicast"] <= 30
    assert 1 <= it.heard["multicast"] <= 30
    assert len(it.round_trips) == 20
    assert it.who is not None
    assert (it.who.id, it.settings_differ, it.refused, it.nobody) == (LISTENER, False, (), False)


@asynccontextmanager
async def node(
    over: MulticastTransport, address: str, *, echoes: bool = True, hello_after: float = 60.0
) -> AsyncIterator[None]:
    """What answers probes at `address` as the node b does, or by another nonce than it was asked with.

    It says hello once, after so many seconds.
    """
    sockets, sealer, opener = await open_sealed(over, await place_of(address, AF_INET))
    card = card_of("b", over)

    async def say_hello() -> None:
        await trio.sleep(hello_after)
        hello = Hello(card=card, address=address)
        sockets.send(None, [sealer.control.seal(*encode_control(hello))])

    async def answer() -> None:
        while True:
            await sockets.wait_arrivals()
            for data, source in sockets.arrivals():
                datagram = opener.open(data)
                if isinstance(datagram, Refused):
                    continue  # its own hello
                body = body_of(datagram)
                assert isinstance(body, Open)
                ends = Ends(to=datagram.start, mine=3, yours=body.link)
                echo = body.nonce if echoes else bytes(NONCE_BYTES)
                accept = Accept(ends=ends, card=card, echo=echo, nonce=bytes(NONCE_BYTES))
                sockets.send(source, [sealer.control.seal(*encode_control(accept))])

    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(say_hello)
            nursery.start_soon(answer)
            yield
            nursery.cancel_scope.cancel()
    finally:
        sockets.close()


async def test_an_answer_to_another_probe_is_none(over: MulticastTransport) -> None:
    """As a recording of an earlier answer is: it is sealed by a member, and proves that one way works."""
    address = an_address()
    async with node(over, address, echoes=False):
        it = await probed(over, address, 1.0)

    assert it.sent["unicast"] > 0
    assert (it.answered, it.round_trips, it.who) == ({}, (), None)
    assert it.heard["unicast"] > 0


async def test_a_hello_is_waited_for_when_all_probes_are_answered(over: MulticastTransport) -> None:
    address = an_address()
    async with node(over, address, hello_after=2.0):
        it = await probed(over, address, 8.0)

    assert it.answered == it.sent
    assert it.heard["multicast"] == 1
