"""A network in one process: real frames through real codecs, over links that can be cut, slow or unreliable.

Laws: every frame is encoded and decoded as if it had travelled. All chance comes from one seeded
generator, all time from trio, so that a run under a `MockClock` can be repeated.
"""

from __future__ import annotations

import heapq
import math
import random
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager

import attrs
import trio

from raftkit.driver_messages import UNBORN, DriverMessage, Frame, Scope
from raftkit.errors import ConfigError, RemoteProtocolError
from raftkit.messages import Message
from raftkit.model import Identity, NodeId
from raftkit.transports.base import Sink
from raftkit.wire import NEED_DATA, FrameDecoder, Limits, encode_frame

__all__ = ["Faults", "MemoryEndpoint", "MemoryNetwork"]

_RETRY_SECONDS = 1.0
_LIMITS = Limits()


@attrs.frozen(kw_only=True)
class Faults:
    """What happens to frames on their way."""

    loss: float = 0.0
    "Part of the frames that never arrive, 0 to 1."
    duplication: float = 0.0
    "Part of the frames that arrive twice, 0 to 1."
    delay: tuple[float, float] = (0.0, 0.0)
    "Seconds that a frame travels, drawn between these bounds; unequal bounds reorder."


@attrs.define(eq=False)
class MemoryNetwork:
    """Where endpoints of one process meet, by address. Give the same network to every node."""

    seed: int = 0
    "Of the generator behind `faults`."
    faults: Faults = Faults()
    "May be set at any time; holds for frames sent from then on."
    queue_bytes_max: int = 16 * 1024 * 1024
    "Bytes on their way over one direction of a link; what exceeds it is dropped."
    endpoints: dict[str, MemoryEndpoint] = attrs.field(
        init=False, factory=dict[str, "MemoryEndpoint"]
    )
    "By address, in the order in which they were opened."
    _cut: set[tuple[NodeId, NodeId]] = attrs.field(init=False, factory=set[tuple[NodeId, NodeId]])
    "Directions (from, to) in which nothing arrives."
    _rng: random.Random = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._rng = random.Random(self.seed)

    @asynccontextmanager
    async def open_endpoint(
        self, identity: Identity, address: str, sink: Sink
    ) -> AsyncGenerator[MemoryEndpoint]:
        """See `LossyTransport.open_endpoint`. An address in use is a ConfigError."""
        if address in self.endpoints:
            raise ConfigError(f"address {address} is in use by {self.endpoints[address].identity}")
        endpoint = MemoryEndpoint(self, identity, address, sink)
        self.endpoints[address] = endpoint
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(endpoint.run)
                yield endpoint
                nursery.cancel_scope.cancel()
        finally:
            del self.endpoints[address]
            endpoint.close()

    def cut(self, sender: NodeId, receiver: NodeId) -> None:
        """Silently lose everything from `sender` to `receiver`. Links stand, as across a dead switch."""
        self._cut.add((sender, receiver))

    def partition(self, *groups: Iterable[NodeId]) -> None:
        """Cut every pair of nodes that are in two different `groups`, both ways."""
        sides = [tuple(group) for group in groups]
        for side in sides:
            for other in sides:
                if side is not other:
                    self._cut.update((a, b) for a in side for b in other)

    def heal(self) -> None:
        """Undo every `cut` and `partition`."""
        self._cut.clear()
        self._link_all()

    def close_links(self, id: NodeId) -> None:  # noqa: A002 - the field's name
        """Close every link of `id`; both ends are told, and try again."""
        for endpoint in list(self.endpoints.values()):
            if endpoint.identity.id == id:
                endpoint.close()

    def _link_all(self) -> None:
        ends = list(self.endpoints.values())
        for number, one in enumerate(ends):
            for other in ends[number + 1 :]:
                self.join(one, other)

    def join(self, one: MemoryEndpoint, other: MemoryEndpoint) -> None:
        """Connect the two if either wants it and nothing stands between them."""
        a, b = one.identity.id, other.identity.id
        wanted = one.wants(other) or other.wants(one)
        if not wanted or {(a, b), (b, a)} & self._cut:
            return
        if not (one.has_room_for(other) and other.has_room_for(one)):
            return
        link = Link((one, other))
        one.links[b] = other.links[a] = link
        one.sink.linked(b)
        other.sink.linked(a)

    def carry(self, link: Link, sender: MemoryEndpoint, data: bytes) -> None:
        """Put `data` on its way, or lose it."""
        receiver = link.other(sender)
        if (sender.identity.id, receiver.identity.id) in self._cut:
            return
        copies = 1
        if self.faults.loss and self._rng.random() < self.faults.loss:
            return
        if self.faults.duplication and self._rng.random() < self.faults.duplication:
            copies = 2
        for _ in range(copies):
            low, high = self.faults.delay
            receiver.arrive(link, data, self._rng.uniform(low, high) if high else 0.0)


@attrs.define(eq=False)
class Link:
    """A connection of two endpoints. What is on its way when it closes is lost."""

    ends: tuple[MemoryEndpoint, MemoryEndpoint]
    open: bool = True

    def other(self, end: MemoryEndpoint) -> MemoryEndpoint:
        return self.ends[1] if end is self.ends[0] else self.ends[0]

    def close(self, why: str) -> None:
        """Forget the link at both ends and tell them."""
        self.open = False
        for end in self.ends:
            peer = self.other(end).identity.id
            del end.links[peer]
            end.sink.unreachable(peer, why)
            end.retry_soon()


@attrs.define(eq=False, order=False)
class _Arrival:
    """One frame on its way."""

    due: float
    "In trio's time."
    number: int
    "Breaks ties, first sent first."
    link: Link
    data: bytes

    def __lt__(self, other: _Arrival) -> bool:
        return (self.due, self.number) < (other.due, other.number)


@attrs.define(eq=False)
class MemoryEndpoint:
    """One node's place in a `MemoryNetwork`. See `LossyEndpoint`."""

    network: MemoryNetwork
    "Where it is."
    identity: Identity
    "Whose endpoint this is."
    address: str
    "Where it is found in its network."
    sink: Sink
    "Who is told."
    links: dict[NodeId, Link] = attrs.field(init=False, factory=dict[NodeId, Link])
    "Those that stand, by the peer's name."
    scope: Scope = attrs.field(init=False, default=UNBORN)
    "Of the frames it sends."
    _decoder: FrameDecoder = attrs.field(init=False, factory=lambda: FrameDecoder(scope=UNBORN))
    _peers: dict[NodeId, str] = attrs.field(init=False, factory=dict[NodeId, str])
    _refused: set[NodeId] = attrs.field(init=False, factory=set[NodeId])
    "Peers without a link, of whom the sink knows."
    _arriving: list[_Arrival] = attrs.field(init=False, factory=list[_Arrival])
    "A heap."
    _queued_bytes: dict[Link, int] = attrs.field(init=False, factory=dict[Link, int])
    "Of `_arriving`, by link."
    _sent: int = attrs.field(init=False, default=0)
    _retry_at: float = attrs.field(init=False, default=math.inf)
    _news: trio.Event = attrs.field(init=False, factory=trio.Event)

    def adopt(self, scope: Scope) -> None:
        """See `LossyEndpoint`."""
        self.scope = self._decoder.scope = scope

    def connect(self, peers: Mapping[NodeId, str]) -> None:
        """See `LossyEndpoint`. Here a refused peer is tried again when it opens, or after a second."""
        self._peers = dict(peers)
        for other in list(self.network.endpoints.values()):
            if other is not self:
                self.network.join(self, other)
        absent = self._peers.keys() - self.links.keys()
        for peer in sorted(absent - self._refused):
            self.sink.unreachable(peer, "refused")
        self._refused = absent
        if absent:
            self.retry_soon()

    def wants(self, other: MemoryEndpoint) -> bool:
        """Whether this end was told to connect to `other`."""
        return self._peers.get(other.identity.id) == other.address

    def has_room_for(self, other: MemoryEndpoint) -> bool:
        """Whether there is no link to `other`'s name now. One to another node of that name may give way."""
        link = self.links.get(other.identity.id)
        if link is None or link.other(self) is other:
            return link is None
        same = link.other(self).identity == other.identity
        why = "" if same else self.sink.objection(other.identity)
        if why:
            other.refused(self.identity.id, why)
        else:
            link.close("replaced by a newer connection")
        return not why

    def refused(self, peer: NodeId, why: str) -> None:
        """`peer` wants no link to this endpoint."""
        self._refused.add(peer)
        self.sink.unreachable(peer, why)
        self.retry_soon()

    def send(self, targets: Sequence[NodeId], body: Message | DriverMessage) -> None:
        """See `LossyEndpoint`."""
        frame = Frame(scope=self.scope, sender=self.identity, body=body)
        data = encode_frame(frame, limits=_LIMITS)
        for target in targets:
            link = self.links.get(target)
            if link is not None:
                self.network.carry(link, self, data)

    def close(self) -> None:
        """Close every link, as a process that dies does."""
        for link in list(self.links.values()):
            link.close("closed the connection")

    def arrive(self, link: Link, data: bytes, seconds: float) -> None:
        """Note that `data` will be here in so many seconds."""
        queued = self._queued_bytes.get(link, 0) + len(data)
        if queued > self.network.queue_bytes_max:
            return
        self._queued_bytes[link] = queued
        self._sent += 1
        due = trio.current_time() + seconds
        heapq.heappush(self._arriving, _Arrival(due, self._sent, link, data))
        self._news.set()

    async def run(self) -> None:
        """Hand over what arrives when it is due, and look again for peers that were refused."""
        while True:
            now = trio.current_time()
            while self._arriving and self._arriving[0].due <= now:
                self._hand_over(heapq.heappop(self._arriving))
            if now >= self._retry_at:
                self._retry_at = math.inf
                self.connect(self._peers)
            due = self._arriving[0].due if self._arriving else math.inf
            with trio.move_on_at(min(due, self._retry_at)):
                await self._news.wait()
            self._news = trio.Event()

    def retry_soon(self) -> None:
        """Look for peers without a link after a while."""
        self._retry_at = min(self._retry_at, trio.current_time() + _RETRY_SECONDS)
        self._news.set()

    def _hand_over(self, arrival: _Arrival) -> None:
        link = arrival.link
        self._queued_bytes[link] -= len(arrival.data)
        if not self._queued_bytes[link]:
            del self._queued_bytes[link]
        if not link.open:
            return
        try:
            self._decoder.receive_data(arrival.data)
            frame = self._decoder.next_frame()
        except RemoteProtocolError as error:
            self._decoder = FrameDecoder(scope=self.scope)
            link.close(str(error))
            return
        assert frame is not NEED_DATA  # whole frames travel
        self.sink.received(frame)
