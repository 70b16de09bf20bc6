"""The protocol of the multicast transport without I/O: datagrams in, datagrams and events out.

    connect ─┐                          ┌─ take_outputs: (GROUP or an address, datagrams)
    send ────┤   handshakes · links     │
    receive ─┼─▶ the way to the group  ─┼─▶ take_events: linked, received, unreachable …
    refused ─┤   discovery              │
    wake ────┘                          └─ deadline: when to wake

Laws: it has no clock, no socket and no randomness but what it is given: `now` is in seconds of any one
clock that does not go back, the same for one endpoint throughout. The order of checks is that of trust:
the seal, then the link, then that it is new, and only then what it says.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Final, assert_never

import attrs

from raftkit.encoding import MalformedError
from raftkit.membership import MEMBERS_MAX
from raftkit.model import Identity, NodeId
from raftkit.transports.multicast.discovery import Discovered, Discovery
from raftkit.transports.multicast.handshake import Handshakes, Proven, Streams
from raftkit.transports.multicast.link import GROUP_STREAMS, Link
from raftkit.transports.multicast.outlet import (
    GROUP,
    Address,
    Counts,
    Event,
    Group,
    Ignored,
    Linked,
    Outlet,
    Output,
    SettingsDiffer,
    Unreachable,
)
from raftkit.transports.multicast.pulse import PROOF_FACTOR, Pulse
from raftkit.transports.multicast.reach import Bits, Reach, Recent
from raftkit.transports.multicast.ways import Way, first_stream
from raftkit.transports.multicast.window import Window
from raftkit.wire import (
    CONTROL_STREAM,
    ClusterKeys,
    Datagram,
    InCounts,
    Lane,
    Opener,
    OutCounts,
    OutStream,
    Refused,
    Sealer,
    chunk_bytes_max,
    decode_chunk,
)
from raftkit.wire.control import (
    Accept,
    Bye,
    Card,
    Confirm,
    Control,
    Gone,
    Head,
    Hello,
    Nack,
    Open,
    Ping,
    Status,
    Taken,
    decode_control,
)

__all__ = ["BYES", "LINKS_MAX", "Engine", "EngineSettings"]

LINKS_MAX: Final = 2 * MEMBERS_MAX
"Links, of which this node wanted none, that it tolerates."
BYES: Final = 3
"Copies of the last word on a link: nobody can ask for it again."
HELLOS_APART_SECONDS: Final = 0.02
"However many links begin at once."
COMPLAIN_SECONDS: Final = 60.0
"Between two events about the settings of one node."


@attrs.frozen(kw_only=True)
class EngineSettings:
    """What may be chosen. Times in seconds, sizes in bytes."""

    datagram_bytes: int = 1200
    "Of the largest datagram, without the headers of IP and UDP."
    hello_interval: float = 1.0
    "Between two hellos to the group."
    status_interval: float = 0.25
    "Between two STATUS on a link."
    silence_max: float = 1.0
    "After which a link is closed."
    send_buffer_capacity: int = 256
    "Messages of each stream that can be repaired."
    recv_buffer_capacity: int = 256
    "Messages of each stream that may wait behind a gap."
    window: int = 645
    "Datagrams of entries and bulk by which receivers may be behind, see `window.py`."
    frame_bytes_max: int = 8 * 1024 * 1024 + 1024
    "Of the largest frame that is received: as much may wait, a stream."
    settings_hash: bytes = bytes(8)
    "Of the settings that must be the same everywhere: those who differ are told of."


@attrs.define(eq=False, kw_only=True)
class Engine:
    """One endpoint."""

    identity: Identity
    "Whose."
    address: str
    "Where it says that it is found, for people."
    cluster: bytes
    "The `cluster_tag`."
    keys: ClusterKeys
    "Of the cluster."
    start: int
    "64 bits, drawn for this endpoint alone, that nobody can guess."
    rng: random.Random
    "For all chance. What it draws must be as hard to guess."
    settings: EngineSettings = EngineSettings()
    objection: Callable[[Identity], str] = lambda _: ""
    "See `Sink.objection`."
    counts: Counts = attrs.field(init=False)
    "What was done so far."
    out_counts: OutCounts = attrs.field(init=False, factory=OutCounts)
    "Of all streams out."
    in_counts: InCounts = attrs.field(init=False, factory=InCounts)
    "Of all streams in."
    links: dict[NodeId, Link] = attrs.field(init=False, factory=dict[NodeId, Link])
    "Those that stand."
    _by_start: dict[int, Link] = attrs.field(init=False, factory=dict[int, Link])
    "The same by the start of the peer."
    _outlet: Outlet = attrs.field(init=False)
    _opener: Opener = attrs.field(init=False)
    _handshakes: Handshakes = attrs.field(init=False)
    _discovery: Discovery = attrs.field(init=False, factory=Discovery)
    _group: Way = attrs.field(init=False)
    "To all."
    _ways: dict[int, Way] = attrs.field(init=False, factory=dict[int, Way])
    "The same and those of the links, by their numbers."
    _recent: Recent = attrs.field(init=False, factory=Recent)
    "When something went there."
    _bits: Bits = attrs.field(init=False)
    _hello_at: float = attrs.field(init=False, default=float("-inf"))
    "When to say hello next."
    _said_at: float = attrs.field(init=False, default=float("-inf"))
    "When it was said last."
    _overruns: int = attrs.field(init=False, default=0)
    _complained: dict[NodeId, float] = attrs.field(init=False, factory=dict[NodeId, float])
    "When it was last told that somebody's settings differ."

    def __attrs_post_init__(self) -> None:
        sealer = Sealer(cluster=self.cluster, keys=self.keys, start=self.start)
        self._opener = Opener(cluster=self.cluster, keys=self.keys, own=self.start)
        self._outlet = Outlet(sealer=sealer)
        self.counts = self._outlet.counts
        self._group = self._way(GROUP, self._open_streams())
        self._bits = Bits(rest_seconds=(PROOF_FACTOR + 2) * self.settings.silence_max)
        self._handshakes = Handshakes(
            start=self.start,
            card=Card(identity=self.identity, settings=self.settings.settings_hash),
            outlet=self._outlet,
            rng=self.rng,
            open_streams=self._open_streams,
        )
        self._ways[self._group.number] = self._group
        assert self._group.number == GROUP_STREAMS[0]

    # ── what comes out ───────────────────────────────────────────────────────────────────────────

    def take_outputs(self) -> list[Output]:
        """What is to be written now, in this order."""
        taken, self._outlet.outputs = self._outlet.outputs, []
        return taken

    def take_events(self) -> list[Event]:
        """What has happened since the last call."""
        taken, self._outlet.events = self._outlet.events, []
        return taken

    @property
    def deadline(self) -> float:
        """When to call `wake`."""
        return min(
            self._hello_at,
            self._handshakes.deadline,
            self._group.deadline,
            min((link.deadline for link in self.links.values()), default=float("inf")),
        )

    def held_until(self, now: float) -> float:
        """Until when entries and bulk are to wait for receivers that are behind; in the past if for none."""
        ways = (self._group, *(link.way for link in self.links.values()))
        return max(way.held_until(now) for way in ways)

    def discovered(self, now: float) -> tuple[Discovered, ...]:
        """Who said hello on this network lately with a key of this cluster, linked or not."""
        return self._discovery.known(now, self.links)

    # ── what the endpoint asks ───────────────────────────────────────────────────────────────────

    def connect(self, peers: Mapping[NodeId, Address], now: float) -> None:
        """Keep links to these, and to no others that this side began."""
        for peer, attempt in sorted(self._handshakes.attempts.items()):
            if peers.get(peer) != attempt.address:
                self._handshakes.unwant(peer)
                link = self.links.get(peer)
                if link is not None and link.proven.begun_here:
                    self.drop(peer, "not wanted any more", now)
        for peer, address in sorted(peers.items()):
            if peer not in self._handshakes.attempts:
                self._handshakes.want(peer, address, now, linked=peer in self.links)
        self.wake(now)

    def send(self, targets: Sequence[NodeId], lane: Lane, frame: bytes, now: float) -> None:
        """Send `frame` to the targets to which there is a link: once for all that hear our multicasts.

        Raises LocalProtocolError for a frame that takes more datagrams than a message may have.
        """
        links = [link for it in dict.fromkeys(targets) if (link := self.links.get(it)) is not None]
        together = [link for link in links if link.reach.by_multicast]
        if len(together) < 2:
            together = []
        self.counts.messages_out += len(links)
        if together:
            bits = sum(1 << (link.reach.bit or 0) for link in together)
            self._recent.note(now)
            self._group.send(frame, lane, bits, now)
        for link in links:
            if link not in together:
                link.way.send(frame, lane, 1, now)

    def sent(self, output: Output, now: float) -> None:
        """`output` was handed to the network; tell it of those whose `stream` is not 0, in their order."""
        way = self._ways.get(first_stream(output.stream))
        if way is not None:
            way.sent(output.stream, output.head, now)

    def drop(self, peer: NodeId, why: str, now: float) -> None:
        """Close the link to `peer`, and begin anew if one is wanted."""
        link = self.links.get(peer)
        if link is not None:
            link.say_bye(why)
            self._close(link, why, now)

    def refused(self, address: Address, now: float) -> None:
        """The network says that nobody listens at `address`. It may be wrong, or lie: peers are asked."""
        self._handshakes.refused(address)
        for link in self.links.values():
            if link.proven.address == address:
                link.pulse.suspect(now)
        self.wake(now)

    def overran(self, count: int) -> None:
        """Our sockets have lost so many datagrams since they were opened: the next STATUS tells."""
        self._overruns = count

    def close(self, now: float) -> None:
        """Say goodbye on every link, for the endpoint closes."""
        for peer, link in sorted(self.links.items()):
            for _ in range(BYES - 1):
                link.say_bye("closed the endpoint")
            self.drop(peer, "closed the endpoint", now)

    def wake(self, now: float) -> None:
        """Do what is due. Call it at `deadline`; earlier does no harm."""
        if now >= self._hello_at:
            self._say_hello(now)
        self._handshakes.wake(now)
        self._group.announce(now)
        for link in sorted(self.links.values(), key=lambda it: it.peer):
            why = link.wake(now)
            if why:
                self.drop(link.peer, why, now)

    # ── what arrives ─────────────────────────────────────────────────────────────────────────────

    def receive(self, data: bytes, source: Address, now: float) -> None:
        """A datagram came from `source`. Whatever it is, nothing is raised."""
        datagram = self._opener.open(data)
        if isinstance(datagram, Refused):
            self.counts.refused[datagram] += 1
            return
        link = self._by_start.get(datagram.start)
        if link is not None and link.pulse.verdict(now):
            # We were away for longer than a link lasts: what waited for us was of that link.
            self.wake(now)
            link = None
        try:
            if datagram.stream != CONTROL_STREAM:
                self._on_chunk(link, datagram, now)
            elif link is None or link.is_new(datagram.number, now):
                body = decode_control(datagram.kind, datagram.body)
                self._on_control(link, datagram, body, source, now)
        except MalformedError:
            self.counts.refused[Refused.MALFORMED] += 1

    def _on_chunk(self, link: Link | None, datagram: Datagram, now: float) -> None:
        if link is None:
            self.counts.ignored[Ignored.STRANGER] += 1
        else:
            chunk = decode_chunk(datagram.body)
            link.on_chunk(datagram.stream, datagram.number, chunk, now)

    def _on_control(
        self, link: Link | None, datagram: Datagram, body: Control, source: Address, now: float
    ) -> None:
        match body:
            case Hello():
                self._on_hello(link, body, source, now)
            case Open():
                self._on_open(link, datagram, body, source, now)
            case Accept():
                self._on_accept(link, datagram, body, source, now)
            case Confirm():
                self._on_confirm(link, datagram, body, source, now)
            case Head():
                if link is not None:
                    link.on_head(body.stream, body.head, now)
            case Status() | Ping() | Bye():
                if link is not None and link.is_of(body.ends):
                    self._on_link(link, body, now)
                    return
                self.counts.ignored[Ignored.OTHER_LINK] += 1
                if body.ends.to == self.start and not isinstance(body, Bye):
                    self._handshakes.accept_again(datagram.start, body.ends, source, now)
            case Nack() | Gone() | Taken():
                if link is None or body.to != self.start:
                    self.counts.ignored[Ignored.NOT_OURS] += 1
                else:
                    self._on_stream(link, body, now)
            case _:
                assert_never(body)

    def _on_stream(self, link: Link, body: Nack | Gone | Taken, now: float) -> None:
        match body:
            case Nack():
                link.on_nack(body, now)
            case Gone():
                link.on_gone(body.stream, body.ranges)
            case Taken():
                link.on_taken(body)
            case _:
                assert_never(body)

    def _on_link(self, link: Link, body: Status | Ping | Bye, now: float) -> None:
        match body:
            case Status():
                link.on_status(body, now)
            case Ping():
                link.say_status(now)
            case Bye():
                self._close(link, body.why or "closed the link", now)
            case _:
                assert_never(body)

    # ── who is here ──────────────────────────────────────────────────────────────────────────────

    def _say_hello(self, now: float) -> None:
        self._outlet.say(GROUP, Hello(card=self._handshakes.card, address=self.address))
        self._recent.note(now)
        self._group.forget(now)
        self._said_at = now
        self._hello_at = now + self.settings.hello_interval * self.rng.uniform(0.8, 1.0)

    def _on_hello(self, link: Link | None, hello: Hello, source: Address, now: float) -> None:
        if not self._is_other(hello.card, source, now):
            return
        self._discovery.on_hello(hello, source, now)
        peer = hello.card.identity.id
        if link is not None:
            link.hear_group(now)
        elif peer in self.links:
            self.links[peer].pulse.suspect(now)  # another life of it: is the one we know over?
        else:
            self._handshakes.nudge(peer, now)

    def _is_other(self, card: Card, source: Address, now: float) -> bool:
        """Whether `card` is of another node, as it should be. Notes whether its settings differ."""
        peer = card.identity.id
        if peer == self.identity.id:
            self.counts.ignored[Ignored.IMPOSTOR] += 1
            return False
        if card.settings != self.settings.settings_hash:
            self.counts.mismatches += 1
            if now >= self._complained.get(peer, float("-inf")) + COMPLAIN_SECONDS:
                if len(self._complained) >= LINKS_MAX:
                    self._complained.clear()
                self._complained[peer] = now
                self._outlet.tell(SettingsDiffer(peer, source))
        return True

    # ── how links begin and end ──────────────────────────────────────────────────────────────────

    def _on_open(
        self, link: Link | None, datagram: Datagram, body: Open, source: Address, now: float
    ) -> None:
        peer = body.card.identity.id
        if body.wanted != self.identity.id:
            self.counts.ignored[Ignored.NOT_OURS] += 1
        elif not self._is_other(body.card, source, now):
            return
        elif link is not None and body.link == link.proven.theirs:
            self._handshakes.accept_standing(link.ends, body, source)
        elif self._has_room(peer):
            self._handshakes.on_open(datagram.start, body, source, now)
        else:
            self.counts.ignored[Ignored.CROWDED] += 1

    def _has_room(self, peer: NodeId) -> bool:
        known = peer in self.links or peer in self._handshakes.attempts
        return known or len(self.links) < LINKS_MAX

    def _on_accept(
        self, link: Link | None, datagram: Datagram, body: Accept, source: Address, now: float
    ) -> None:
        if body.ends.to != self.start:
            self.counts.ignored[Ignored.NOT_OURS] += 1
        elif not self._is_other(body.card, source, now):
            return
        elif link is not None and link.is_of(body.ends):
            self._handshakes.confirm(datagram.start, body, source)
        else:
            proven = self._handshakes.on_accept(datagram.start, body, datagram.number, source)
            self._establish(proven, now)

    def _on_confirm(
        self, link: Link | None, datagram: Datagram, body: Confirm, source: Address, now: float
    ) -> None:
        if body.ends.to != self.start:
            self.counts.ignored[Ignored.NOT_OURS] += 1
        elif link is None or not link.is_of(body.ends):
            number = datagram.number
            proven = self._handshakes.on_confirm(datagram.start, body, number, source, now)
            if proven is not None and not self._has_room(proven.identity.id):
                self.counts.ignored[Ignored.CROWDED] += 1
                self._handshakes.deny(datagram.start, body.ends, source)
            elif proven is not None and (why := self._objection(proven.identity)):
                self.counts.ignored[Ignored.NAMESAKE] += 1
                self._handshakes.deny(datagram.start, body.ends, source, why)
            else:
                self._establish(proven, now)

    def _objection(self, newcomer: Identity) -> str:
        """Why it must not replace the other node of its name to which a link stands."""
        standing = self.links.get(newcomer.id)
        if standing is None or standing.proven.identity == newcomer:
            return ""
        return self.objection(newcomer)

    def _establish(self, proven: Proven | None, now: float) -> None:
        """A link stands, instead of one to an earlier life if there is one."""
        if proven is None:
            return
        peer = proven.identity.id
        older = self.links.get(peer)
        if older is not None:
            self._forget(older, now)
        link = self.links[peer] = self._by_start[proven.start] = self._link(proven, now)
        self._ways[link.way.number] = link.way
        self._handshakes.settle(proven)
        self._outlet.tell(Linked(peer, proven.identity))
        # So that it is soon known whether it hears our multicasts.
        self._hello_at = min(self._hello_at, max(now, self._said_at + HELLOS_APART_SECONDS))
        self.wake(now)

    def _close(self, link: Link, why: str, now: float) -> None:
        self._forget(link, now)
        self._handshakes.unlinked(link.peer, now, stood=now - link.began_at)
        self._outlet.tell(Unreachable(link.peer, why))

    def _forget(self, link: Link, now: float) -> None:
        del self.links[link.peer], self._by_start[link.proven.start], self._ways[link.way.number]
        if link.reach.bit is not None:
            self._bits.give_back(link.reach.bit, now)
        self._group.window.forget(link.peer)

    # ── what all is made of ──────────────────────────────────────────────────────────────────────

    def _link(self, proven: Proven, now: float) -> Link:
        settings = self.settings
        return Link(
            start=self.start,
            proven=proven,
            way=self._way(proven.address, proven.mine),
            group=self._group,
            recent=self._recent,
            reach=Reach(bits=self._bits, hello_seconds=settings.hello_interval),
            outlet=self._outlet,
            in_counts=self.in_counts,
            rng=self.rng,
            status_seconds=settings.status_interval,
            overruns=lambda: self._overruns,
            window=settings.window,
            messages_max=settings.recv_buffer_capacity,
            bytes_max=settings.frame_bytes_max,
            began_at=now,
            pulse=Pulse(silence_max=settings.silence_max, heard_at=now),
        )

    def _open_streams(self) -> Streams:
        return self._outlet.sealer.open_stream(), self._outlet.sealer.open_stream()

    def _way(self, to: Address | Group, streams: Streams) -> Way:
        control, data = (
            OutStream(
                numbered=stream,
                chunk_bytes=chunk_bytes_max(self.settings.datagram_bytes, self.keys.scheme),
                messages_max=self.settings.send_buffer_capacity,
                counts=self.out_counts,
            )
            for stream in streams
        )
        window = Window(datagrams=self.settings.window, counts=self.counts)
        return Way(to=to, control=control, data=data, window=window, outlet=self._outlet)
