"""TCP between nodes: one connection a pair, dialled again when it is lost, in the clear.

Laws: a connection is nobody's until a hello named its sender, within `HELLO_SECONDS`; after that only
this sender is heard on it. There is one link to a peer: the newest, but for two that dial each other at
once, where the connection that the smaller name dialled stays, and for another node of the same name, which
has to wait until the sink has no objection. Refused and closed connections are told
to the sink at once, each change once, always from a task of the endpoint and never out of `send`.
"""

from __future__ import annotations

import logging
import random
import socket
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from types import MappingProxyType
from typing import Final

import attrs
import trio

from raftkit.driver_messages import UNBORN, DriverMessage, Frame, Goodbye, Hello, Scope
from raftkit.errors import ConfigError
from raftkit.membership import MEMBERS_MAX
from raftkit.messages import Message
from raftkit.model import Identity, NodeId
from raftkit.transports.base import Sink
from raftkit.transports.tcp.link import Counts, Refusal, TcpLink
from raftkit.transports.tcp.sockets import (
    as_stream,
    dial,
    listen,
    name_of_peer,
    name_of_self,
    reason_of,
)
from raftkit.wire import FORMAT, FrameDecoder, Limits, encode_frame, lane_of

__all__ = ["TcpEndpoint", "TcpStatistics", "TcpTransport"]

PAUSE_SECONDS: Final = (0.05, 2.0)
"Between attempts to connect: the first and the longest; each twice the one before, then cut by chance."
RACE_SECONDS: Final = 0.05
"Two connections greeted within this were dialled at once; later, the peer has lost the older one."
PENDING_MAX: Final = 64
"Accepted connections without a hello. One more, and the oldest is closed."
LINKS_MAX: Final = 2 * MEMBERS_MAX
"Links, of which this node wanted none, that it tolerates."
ACCEPT_PAUSE_SECONDS: Final = 0.1
"After the system refused to accept, for want of files or memory."
COMPLAIN_SECONDS: Final = 60.0
"Between two lines in the log about connections that were refused."

_LIMITS: Final = Limits()
_HELLO_LIMITS: Final = attrs.evolve(_LIMITS, frame_bytes_max=_LIMITS.control_bytes_max + 1024)
"Until a hello has come, so that `PENDING_MAX` strangers hold 16 MiB together, not 512."

logger = logging.getLogger("raftkit")


@attrs.frozen(kw_only=True)
class TcpStatistics:
    """What an endpoint did since it was opened."""

    links: int
    "That stand now."
    bytes_in: int
    "Received."
    bytes_out: int
    "Given to the kernel."
    frames_in: int
    "Received whole, on links that stood."
    frames_out: int
    "Written or queued, one a target."
    dropped: Mapping[str, int]
    "Frames for which there was no room, by lane: control, entries, bulk."
    refused: Mapping[str, int]
    "Connections closed for what the peer did, by `Refusal`, in words."


@attrs.frozen(kw_only=True)
class TcpTransport:
    """Connects nodes over TCP, each at its "host:port" or "[IPv6 host]:port". See `LossyTransport`.

    A hello must be the first frame of each side on a link: a sink sends it when it is told `linked`.

    Nothing is encrypted and no name is proven, so addresses that are not loopback are refused unless
    `insecure` says that everyone on the network is trusted.
    """

    insecure: bool = False
    "Talk in the clear beyond this machine."
    listen: str | None = None
    "Where to listen, if not at the address that peers dial."
    rng: random.Random = attrs.field(factory=random.Random, repr=False)
    "Spreads attempts to connect."

    @asynccontextmanager
    async def open_endpoint(
        self, identity: Identity, address: str, sink: Sink
    ) -> AsyncGenerator[TcpEndpoint]:
        """See `LossyTransport.open_endpoint`. Port 0 listens at a free port, see `TcpEndpoint.address`.

        Raises ConfigError, in one line, if the address is malformed, unknown, in use, or not allowed.
        """
        listener = await listen(self.listen or address, insecure=self.insecure)
        with listener:
            async with trio.open_nursery() as nursery:
                endpoint = TcpEndpoint(
                    transport=self, identity=identity, sink=sink, nursery=nursery, listener=listener
                )
                nursery.start_soon(endpoint.accept)
                yield endpoint
                nursery.cancel_scope.cancel()


@attrs.frozen
class _Wanted:
    """A peer to which a link is kept."""

    address: str
    scope: trio.CancelScope
    "Of the task that keeps it."


@attrs.define(eq=False, kw_only=True)
class TcpEndpoint:
    """One node's listener and links. Made by `TcpTransport.open_endpoint`; see `LossyEndpoint`."""

    transport: TcpTransport
    identity: Identity
    "Whose endpoint this is."
    sink: Sink
    "Who is told."
    nursery: trio.Nursery
    "Of all that runs here."
    listener: socket.socket
    address: str = attrs.field(init=False)
    "Where it listens."
    links: dict[NodeId, TcpLink] = attrs.field(init=False, factory=dict[NodeId, TcpLink])
    "Those reported to the sink, by the peer's name."
    _pending: dict[TcpLink, None] = attrs.field(init=False, factory=dict[TcpLink, None])
    "Accepted and without a hello, the oldest first."
    _wanted: dict[NodeId, _Wanted] = attrs.field(init=False, factory=dict[NodeId, _Wanted])
    _scope: Scope = attrs.field(init=False, default=UNBORN)
    _counts: Counts = attrs.field(init=False, factory=Counts)
    _complained_at: float = attrs.field(init=False, default=float("-inf"))
    "In trio's time."
    _unsaid: int = attrs.field(init=False, default=0)
    "Complaints since then that were not written."

    def __attrs_post_init__(self) -> None:
        self.address = name_of_self(self.listener)

    def statistics(self) -> TcpStatistics:
        """Figures, now."""
        counts = self._counts
        return TcpStatistics(
            links=len(self.links),
            bytes_in=counts.bytes_in,
            bytes_out=counts.bytes_out,
            frames_in=counts.frames_in,
            frames_out=counts.frames_out,
            dropped=MappingProxyType({it.name.lower(): n for it, n in counts.dropped.items()}),
            refused=MappingProxyType({it.value: n for it, n in counts.refused.items()}),
        )

    # ── what the driver asks ─────────────────────────────────────────────────────────────────────

    def adopt(self, scope: Scope) -> None:
        """See `LossyEndpoint`."""
        self._scope = scope
        for link in (*self.links.values(), *self._pending):
            link.decoder.scope = scope

    def connect(self, peers: Mapping[NodeId, str]) -> None:
        """See `LossyEndpoint`. Links that this side dialled to others, or elsewhere, are closed."""
        for peer, wanted in list(self._wanted.items()):
            if peers.get(peer) != wanted.address:
                del self._wanted[peer]
                wanted.scope.cancel()
                link = self.links.get(peer)
                if link is not None and link.dialled:
                    link.close("not wanted any more")
        for peer, address in peers.items():
            if peer not in self._wanted:
                self._wanted[peer] = wanted = _Wanted(address, trio.CancelScope())
                self.nursery.start_soon(self._keep, peer, wanted)

    def send(self, targets: Sequence[NodeId], body: Message | DriverMessage) -> None:
        """See `LossyEndpoint`. Tries the sockets at once; bounds by lane are in `QUEUE_BYTES_MAX`.

        Raises LocalProtocolError for a frame that receivers would refuse for its size.
        """
        links = [link for target in targets if (link := self.links.get(target)) is not None]
        if links:
            frame = Frame(scope=self._scope, sender=self.identity, body=body)
            data, lane = encode_frame(frame, limits=_LIMITS), lane_of(body)
            for link in links:
                link.send(lane, data)

    # ── links that this side dials ───────────────────────────────────────────────────────────────

    async def _keep(self, peer: NodeId, wanted: _Wanted) -> None:
        """Dial `peer` whenever there is no link to it, for as long as it is wanted."""
        shortest, longest = PAUSE_SECONDS
        pause, told = shortest, ""
        with wanted.scope:
            while True:
                link = self.links.get(peer)
                if link is not None:
                    await link.ended.wait()
                    told = ""
                    if link.identity is not None:
                        pause = shortest
                else:
                    why = await self._dial(peer, wanted)
                    if not why:
                        continue
                    if why != told:
                        told = why
                        self.sink.unreachable(peer, why)
                await trio.sleep(pause * self.transport.rng.uniform(0.5, 1.0))
                pause = min(2 * pause, longest)

    async def _dial(self, peer: NodeId, wanted: _Wanted) -> str:
        """Link to `peer`, unless it was faster. Why that was not possible, or nothing."""
        try:
            sock = await dial(wanted.address, insecure=self.transport.insecure)
        except (OSError, ConfigError) as error:
            return "" if peer in self.links else str(error)
        if peer in self.links or wanted.scope.cancel_called:
            sock.close()  # nobody there has heard of it: the peer's own connection stays, or none
        else:
            self._link(self._begin(sock, peer), peer)
        return ""

    # ── links that peers dial ────────────────────────────────────────────────────────────────────

    async def accept(self) -> None:
        """Take connections for as long as the endpoint is open."""
        while True:
            await trio.lowlevel.wait_readable(self.listener)
            try:
                sock, _ = self.listener.accept()
            except (BlockingIOError, ConnectionError):
                continue  # it has gone already
            except OSError as error:
                self._complain(f"can't accept connections: {reason_of(error)}")
                await trio.sleep(ACCEPT_PAUSE_SECONDS)
                continue
            self._pending[self._begin(sock, None)] = None
            if len(self._pending) > PENDING_MAX:
                # A peer says hello within milliseconds; who was silent for longest is none.
                oldest = next(iter(self._pending))
                del self._pending[oldest]
                oldest.refuse(Refusal.CROWDED, "said no hello while others connected")

    def _admit(self, link: TcpLink, peer: NodeId) -> None:
        """An accepted connection turns out to be of `peer`: it becomes the link, or is refused."""
        standing, why = self.links.get(peer), ""
        if standing is not None and standing.identity not in (None, link.identity):
            assert link.identity is not None  # it has said hello
            why = self.sink.objection(link.identity)
        if why:
            self._dismiss(link, why)
        elif standing is not None and self._prevails(standing, link):
            link.refuse(Refusal.TWICE, "both sides dialled, and the other connection stays")
        elif standing is None and peer not in self._wanted and len(self.links) >= LINKS_MAX:
            link.refuse(Refusal.CROWDED, "there are too many links")
        else:
            if standing is not None:
                standing.close("replaced by a newer connection")
            del self._pending[link]
            self._link(link, peer)

    def _dismiss(self, link: TcpLink, why: str) -> None:
        """Refuse a connection, and tell its sender why."""
        goodbye = Frame(scope=self._scope, sender=self.identity, body=Goodbye(why=why))
        link.send(lane_of(goodbye.body), encode_frame(goodbye, limits=_LIMITS))
        link.refuse(Refusal.NAMESAKE, why)

    def _prevails(self, standing: TcpLink, new: TcpLink) -> bool:
        """Whether our own connection stays: both sides dialled at once, and ours is the smaller name.

        The other side decides the same, since for it the new one is ours. A connection accepted well after
        the peer greeted us on the standing one tells that the peer has lost that, or started anew.
        """
        return (
            standing.why is None
            and standing.dialled
            and self.identity.id < str(standing.peer)
            and new.begun_at <= standing.greeted_at + RACE_SECONDS
        )

    # ── what both have in common ─────────────────────────────────────────────────────────────────

    def _begin(self, sock: socket.socket, peer: NodeId | None) -> TcpLink:
        """Run a connection, `peer` being whom we dialled."""
        link = TcpLink(
            sock=as_stream(sock),
            peer=peer,
            dialled=peer is not None,
            decoder=FrameDecoder(scope=self._scope, limits=_HELLO_LIMITS),
            counts=self._counts,
            deliver=self._on_frame,
        )
        self.nursery.start_soon(self._run, link, name_of_peer(sock))
        return link

    async def _run(self, link: TcpLink, place: str) -> None:
        """A connection from its first byte to the report of its end; none if the endpoint ends."""
        await link.run()
        assert link.why is not None
        self._pending.pop(link, None)
        link.ended.set()
        if link.peer is not None and self.links.get(link.peer) is link:
            del self.links[link.peer]
            self.sink.unreachable(link.peer, link.why)
        if link.refusal not in (
            None,
            Refusal.TWICE,
            Refusal.NAMESAKE,
        ):  # the sink tells of the last
            self._complain(
                f"closed the connection with {link.peer or 'somebody'} at {place}: {link.why}"
            )

    def _link(self, link: TcpLink, peer: NodeId) -> None:
        assert link.peer == peer
        self.links[peer] = link
        self.sink.linked(peer)

    def _on_frame(self, link: TcpLink, frame: Frame) -> None:
        """Hear a frame if it is of whom it should be."""
        if isinstance(frame.body, Goodbye):
            link.close(frame.body.why or "said goodbye")
            return
        known = frame.sender == link.identity  # attrs makes `!=` from `==`, at twice the price
        if not known:
            self._identify(link, frame)
        if isinstance(frame.body, Hello):
            link.decoder.sender_format = max(FORMAT, frame.body.wire_format)
        if link.why is None:
            self.sink.received(frame)

    def _identify(self, link: TcpLink, frame: Frame) -> None:
        """The first frame names the sender of all others on this connection."""
        sender, body = frame.sender, frame.body
        if link.identity is not None:
            link.refuse(Refusal.IMPOSTOR, f"a frame of {sender} on the link of {link.identity}")
        elif not isinstance(body, Hello):
            link.refuse(Refusal.NOT_A_HELLO, f"began with {type(body).__name__} instead of a hello")
        elif sender.id == self.identity.id:
            link.refuse(Refusal.IMPOSTOR, f"says that it is {sender.id}, which is this node")
        elif link.peer not in (None, sender.id):
            link.refuse(Refusal.IMPOSTOR, f"says that it is {sender.id}, not {link.peer}")
        else:
            link.greet(sender)
            link.decoder.limits = _LIMITS
            if link in self._pending:
                self._admit(link, sender.id)

    def _complain(self, what: str) -> None:
        """One line in the log, but not for each of a thousand."""
        now = trio.current_time()
        if now < self._complained_at + COMPLAIN_SECONDS:
            self._unsaid += 1
            return
        more = f" ({self._unsaid} more since the last line)" if self._unsaid else ""
        self._complained_at, self._unsaid = now, 0
        logger.warning("%s: %s%s", self.identity.id, what, more)
