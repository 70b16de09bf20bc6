"""UDP with each peer: sealed probes by unicast and by multicast, and by which way what comes back arrives.

    OPEN(nonce), to an address or to the group ──▶ peer: its running node, or a doctor that listens
    ACCEPT(nonce), from its address            ◀── both
    ACCEPT(nonce), to the group                ◀── a doctor that listens
    hellos and all else, to the group          ◀── a running node

A nonce tells which way its probe went, the socket by which way its answer came; so each of the four ways is
known by itself, if there is any way back at all.

Laws: a nonce is drawn for one probe, so that no recording answers it. Nothing that was not sealed by a member
is looked at; why it was refused is counted by host, for as many hosts as there are peers. Nothing is
confirmed, so no link begins.
"""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final, Literal

import attrs
import trio

from raftkit import ConfigError, MulticastTransport
from raftkit.cli.doctor.case import with_port
from raftkit.encoding import MalformedError
from raftkit.model import Identity
from raftkit.transports.multicast.group import Interface, nowhere, parse_group, place_of
from raftkit.transports.multicast.keys import read_keys
from raftkit.transports.multicast.sockets import Address, MulticastSockets, open_sockets
from raftkit.transports.tcp.sockets import Place, host_and_port
from raftkit.wire import CONTROL_STREAM, Datagram, Opener, Refused, Sealer, cluster_tag
from raftkit.wire.control import (
    NONCE_BYTES,
    Accept,
    Card,
    Control,
    Hello,
    Open,
    decode_control,
    encode_control,
)

__all__ = [
    "LISTENER",
    "PROBER",
    "Exchange",
    "Exchanges",
    "Way",
    "body_of",
    "card_of",
    "exchange",
    "open_sealed",
]

Way = Literal["unicast", "multicast"]
"How a datagram goes."

PROBER: Final = "raftkit doctor"
"As what a doctor that probes introduces itself."
LISTENER: Final = "doctor --listen"
"As what one does that listens."
PROBES: Final = 20
"That each peer gets by unicast; by multicast half as many."
PAUSE_SECONDS: Final = 0.05
"Between two to the same peer."
LOOKUP_SECONDS: Final = 1.0
"For a name: all are looked up together."
_LINK: Final = 3
"The number that no link will have."


@attrs.frozen(kw_only=True)
class Exchange:
    """What went between this host and one peer."""

    sent: Mapping[Way, int]
    "Probes, by the way that they went."
    answered: Mapping[Way, int]
    "Those of them that were answered, by whatever way."
    heard: Mapping[Way, int]
    "Datagrams of the peer that arrived here, by the way that they came."
    round_trips: tuple[float, ...] = ()
    "Seconds until an answer to a probe, both by unicast, in the order in which they came."
    who: Identity | None = None
    "Who answered, or said hello."
    settings_differ: bool = False
    "Whether its settings are others than ours where all must agree."
    refused: tuple[Refused, ...] = ()
    "Why datagrams of its host were not believed."
    nobody: bool = False
    "Whether its host said that nobody listens there."


@attrs.frozen(kw_only=True)
class Exchanges:
    """What was found on a network."""

    interface: Interface
    "On which the group was joined."
    send_buffer_size: int
    "Granted, in bytes, like the next."
    recv_buffer_size: int
    with_peers: Mapping[str, Exchange]
    "By name."
    unknown: Mapping[str, str]
    "Why a peer's address means nothing here, by its name."
    unsent: Mapping[str, int]
    "Datagrams that the kernel did not take, by reason."


@attrs.define(eq=False, kw_only=True)
class _Talk:
    """What was exchanged with one peer so far."""

    name: str
    "Of its node."
    is_named: bool
    "Whether that is known. If not it is the address, until somebody there has said who it is."
    place: Place
    sent: Counter[Way] = attrs.field(factory=Counter[Way])
    answered: Counter[Way] = attrs.field(factory=Counter[Way])
    heard: Counter[Way] = attrs.field(factory=Counter[Way])
    round_trips: list[float] = attrs.field(factory=list[float])
    card: Card | None = None
    refused: Counter[Refused] = attrs.field(factory=Counter[Refused])
    nobody: bool = False

    @property
    def host(self) -> object:
        return self.place.where[0]

    @property
    def is_whole(self) -> bool:
        """Whether nothing is missing that could still come."""
        return (
            self.sent["unicast"] >= PROBES
            and self.answered == self.sent
            and len(self.round_trips) == self.sent["unicast"]
            and all(self.heard[way] for way in self.sent)
        )

    def meet(self, card: Card) -> None:
        """Somebody there says who it is. Probes for it by another name were none."""
        self.card = card
        if not self.is_named and self.name != card.identity.id:
            self.name, self.sent = card.identity.id, Counter(self.answered)


@attrs.define(eq=False)
class _Probe:
    """One that was sent."""

    talk: _Talk
    way: Way
    at: float
    is_answered: bool = False
    is_timed: bool = False
    "Whether its round trip is known."


@attrs.define(eq=False, kw_only=True)
class _Prober:
    """One doctor at work."""

    sockets: MulticastSockets
    sealer: Sealer
    opener: Opener
    card: Card
    talks: Sequence[_Talk]
    probes: dict[bytes, _Probe] = attrs.field(factory=dict[bytes, _Probe])
    "By nonce."
    whole: trio.Event = attrs.field(factory=trio.Event)
    "Set when nothing is missing."

    async def probe(self) -> None:
        """Send probes to all who have not had theirs, for ever: a name learned late has them begin anew."""
        while True:
            for talk in self.talks:
                if talk.sent["unicast"] < PROBES:
                    self._open(talk, "unicast")
                    if talk.sent["unicast"] % 2:
                        self._open(talk, "multicast")
            await trio.sleep(PAUSE_SECONDS)

    def _open(self, talk: _Talk, way: Way) -> None:
        nonce = secrets.token_bytes(NONCE_BYTES)
        body = Open(card=self.card, wanted=talk.name[:64], link=_LINK, nonce=nonce)
        self.probes[nonce] = _Probe(talk, way, trio.current_time())
        talk.sent[way] += 1
        to = talk.place.where if way == "unicast" else None
        self.sockets.send(to, [self.sealer.control.seal(*encode_control(body))])

    async def hear(self) -> None:
        """Take what arrives, for ever."""
        while True:
            await self.sockets.wait_arrivals()
            before = self.sockets.from_group.datagrams
            for data, source in self.sockets.arrivals():
                # Each is counted before it is handed out.
                after = self.sockets.from_group.datagrams
                self._take(data, source, "unicast" if after == before else "multicast")
                before = after
            for address in self.sockets.take_refused():
                for talk in self._at(address):
                    talk.nobody = True
            if all(it.is_whole for it in self.talks):
                self.whole.set()

    def _take(self, data: bytes, source: Address, way: Way) -> None:
        datagram = self.opener.open(data)
        if isinstance(datagram, Refused):
            for talk in self.talks:
                if talk.host == source[0] and datagram is not Refused.OWN:
                    talk.refused[datagram] += 1
            return
        for talk in self._at(source):
            talk.heard[way] += 1
        if datagram.stream == CONTROL_STREAM:
            self._listen(datagram, source, way)

    def _listen(self, datagram: Datagram, source: Address, way: Way) -> None:
        body = body_of(datagram)
        if isinstance(body, Accept):
            self._on_accept(body, source, way)
        elif isinstance(body, Hello):
            for talk in self._at(source):
                talk.meet(body.card)

    def _on_accept(self, body: Accept, source: Address, way: Way) -> None:
        probe = self.probes.get(body.echo)
        if probe is None:
            return
        talk, elsewhere = probe.talk, source[:2] != probe.talk.place.where[:2]
        if elsewhere and body.card.identity.id == LISTENER:
            return  # doctors that listen answer probes to the group whoever they are for
        talk.card = body.card
        talk.heard[way] += elsewhere
        if not probe.is_answered:  # a second answer tells of another way back
            probe.is_answered = True
            talk.answered[probe.way] += 1
        if way == probe.way == "unicast" and not probe.is_timed:
            probe.is_timed = True
            talk.round_trips.append(trio.current_time() - probe.at)

    def _at(self, source: Address) -> list[_Talk]:
        return [it for it in self.talks if it.place.where[:2] == source[:2]]


def body_of(datagram: Datagram) -> Control | None:
    """What a datagram of the control stream says; None if that is not well formed."""
    try:
        return decode_control(datagram.kind, datagram.body)
    except MalformedError:
        return None


def card_of(name: str, transport: MulticastTransport) -> Card:
    """How a doctor introduces itself."""
    identity = Identity(id=name, incarnation=secrets.randbits(64))
    return Card(identity=identity, settings=transport.settings_hash())


async def _own_place(own: str | None, family: int) -> Place:
    """A free port at the host of `own`, so that a node that runs at its own keeps it. Raises ConfigError."""
    if own is None:
        return nowhere(family)
    host, _ = host_and_port(own)
    return await _looked_up(with_port(host, 0), family)


async def _looked_up(address: str, family: int) -> Place:
    """Where `address` is, if its name is known soon. Raises ConfigError."""
    with trio.move_on_after(LOOKUP_SECONDS):
        return await place_of(address, family)
    raise ConfigError(f"address {address}: its name is not looked up within {LOOKUP_SECONDS:g} s")


async def exchange(
    transport: MulticastTransport, own: str | None, peers: Mapping[str, str], seconds: float
) -> Exchanges:
    """Probe these peers, for so many seconds at most. Raises ConfigError if the network can't be joined."""
    ends, family = trio.current_time() + seconds, parse_group(transport.group).family
    talks, unknown = await _talks(peers, family)
    sockets, sealer, opener = await open_sealed(transport, await _own_place(own, family))
    prober = _Prober(
        sockets=sockets,
        sealer=sealer,
        opener=opener,
        card=card_of(PROBER, transport),
        talks=tuple(talks.values()),
    )
    try:
        await _work(prober, ends)
        return Exchanges(
            interface=sockets.interface,
            send_buffer_size=sockets.send_buffer_size,
            recv_buffer_size=sockets.recv_buffer_size,
            with_peers={name: _result(talk, transport) for name, talk in talks.items()},
            unknown=unknown,
            unsent=dict(sockets.unsent),
        )
    finally:
        sockets.close()


async def open_sealed(
    transport: MulticastTransport, own: Place
) -> tuple[MulticastSockets, Sealer, Opener]:
    """Sockets with the transport's settings, and what seals and opens. Raises ConfigError."""
    keys = read_keys(
        transport.key, transport.other_key, encrypt=transport.encrypt, insecure=transport.insecure
    )
    tag, start = cluster_tag(transport.cluster), secrets.randbits(64)
    sockets = open_sockets(
        group=parse_group(transport.group),
        interface=transport.interface,
        own=own,
        ttl=transport.ttl,
        loopback=transport.loopback,
        send_buffer_size=transport.send_buffer_size,
        recv_buffer_size=transport.recv_buffer_size,
    )
    sealer = Sealer(cluster=tag, keys=keys, start=start)
    return sockets, sealer, Opener(cluster=tag, keys=keys, own=start)


async def _talks(peers: Mapping[str, str], family: int) -> tuple[dict[str, _Talk], dict[str, str]]:
    """With whom there is to be talked, and why with others that is not possible."""
    talks: dict[str, _Talk] = {}
    unknown: dict[str, str] = {}

    async def look_up(name: str) -> None:
        address = peers[name]
        try:
            place = await _looked_up(address, family)
        except ConfigError as error:
            unknown[name] = str(error)
        else:
            talks[name] = _Talk(name=name, is_named=name != address, place=place)

    async with trio.open_nursery() as nursery:
        for name in peers:
            nursery.start_soon(look_up, name)
    return talks, unknown


async def _work(prober: _Prober, ends: float) -> None:
    """Probe and listen until nothing is missing, or time is up."""
    with trio.move_on_at(ends):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(prober.hear)
            nursery.start_soon(prober.probe)
            if prober.talks:
                await prober.whole.wait()
            nursery.cancel_scope.cancel()


def _result(talk: _Talk, transport: MulticastTransport) -> Exchange:
    return Exchange(
        sent=dict(talk.sent),
        answered=dict(talk.answered),
        heard=dict(talk.heard),
        round_trips=tuple(talk.round_trips),
        who=talk.card.identity if talk.card is not None else None,
        settings_differ=talk.card is not None and talk.card.settings != transport.settings_hash(),
        refused=tuple(it for it, _ in talk.refused.most_common()),
        nobody=talk.nobody,
    )
