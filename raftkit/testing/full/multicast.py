"""A full-stack world's network of datagrams: nodes on it run the multicast transport that raftkit ships.

Nothing is replaced but sockets, chance and the key file: engine, seals, pacing and endpoint are the real
ones, in the world's time.

Laws: all chance is of the world. What nodes say to each other is shown to who reads along when it arrives.
"""

from __future__ import annotations

import random
import socket
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import attrs
import trio

from raftkit.driver_messages import Frame
from raftkit.model import Identity, NodeId
from raftkit.testing.datagrams import DatagramFaults, DatagramNetwork
from raftkit.testing.full.datagrams import FullSockets
from raftkit.testing.full.network import Way
from raftkit.testing.full.stage import Story
from raftkit.testing.full.swarm import DatagramSwarm
from raftkit.transports import Faults, MulticastEndpoint, Sink
from raftkit.transports.multicast.engine import Engine, EngineSettings
from raftkit.transports.multicast.group import parse_group, place_of
from raftkit.transports.multicast.window import window_of
from raftkit.transports.tcp.sockets import Place
from raftkit.wire import ClusterKeys, cluster_tag

__all__ = ["FullMulticast"]

FASTEST = 0.000_1
"Seconds that a datagram travels at least."
GROUP = parse_group("239.192.7.1:7400")
CLUSTER = cluster_tag("a full world")
KEYS = ClusterKeys(ring={1: bytes(range(32))}, sealing=1)


@attrs.define(eq=False, kw_only=True)
class FullMulticast:
    """Where the multicast endpoints of a world meet. See `FullNetwork`."""

    rng: random.Random
    "Of all chance here."
    swarm: DatagramSwarm
    "What networks and settings are like in this world."
    story: Story
    name: str = attrs.field(init=False, default="multicast")
    figures: Counter[str] = attrs.field(init=False, factory=Counter[str])
    "What the endpoints did that are closed by now."
    datagrams: DatagramNetwork = attrs.field(init=False)
    _open: dict[NodeId, MulticastEndpoint] = attrs.field(
        init=False, factory=dict[NodeId, MulticastEndpoint]
    )
    _sent: trio.Event = attrs.field(init=False, factory=trio.Event)
    "Set when something arrives before `_wake_at`."
    _wake_at: float = attrs.field(init=False, default=0.0)

    def __attrs_post_init__(self) -> None:
        self.datagrams = DatagramNetwork(random.Random(self.rng.getrandbits(64)))

    # ── where nodes are ──────────────────────────────────────────────────────────────────────────

    @property
    def carried(self) -> int:
        """Datagrams sent so far, each multicast once."""
        return self.datagrams.sent

    def address_of(self, id: NodeId) -> str:  # noqa: A002 - the field's name
        """See `FullNetwork`. Names are of one letter."""
        return str(_place(id))

    def transport(self, powered: Callable[[], bool]) -> _Transport:
        """See `FullNetwork`."""
        return _Transport(self, powered)

    @asynccontextmanager
    async def open(
        self, identity: Identity, address: str, sink: Sink, powered: Callable[[], bool]
    ) -> AsyncGenerator[MulticastEndpoint]:
        """An endpoint at `address`. When it ends for want of power, its host may be away for a while."""
        own = await place_of(address, socket.AF_INET)
        sockets = FullSockets(
            network=self.datagrams,
            own=own,
            group=GROUP,
            recv_buffer_size=self.swarm.recv_buffer_size,
            story=self.story,
            powered=powered,
            sent=self._look_again,
        )
        endpoint = MulticastEndpoint(
            identity=identity,
            sink=_Overheard(sink, self.story, identity.id),
            sockets=sockets,
            engine=self._engine(identity, address, sink.objection),
            pacing_rate=self.swarm.pacing_rate,
            queue_capacity=self.swarm.buffer_capacity,
        )
        self.datagrams.silent.discard(own.where)
        self.datagrams.join(own.where, sockets)
        self._open[identity.id] = endpoint
        try:
            async with endpoint.taking_part():
                yield endpoint
        finally:
            del self._open[identity.id]
            self.datagrams.leave(own.where)
            # Without power for a moment: the host is up again before the node is, and refuses.
            if not powered() and self.rng.random() < 0.5:
                self.datagrams.silent.add(own.where)
            self._count(endpoint)

    def _engine(
        self, identity: Identity, address: str, objection: Callable[[Identity], str]
    ) -> Engine:
        return Engine(
            identity=identity,
            address=address,
            cluster=CLUSTER,
            keys=KEYS,
            start=self.rng.getrandbits(64),
            rng=random.Random(self.rng.getrandbits(64)),
            settings=EngineSettings(
                datagram_bytes=self.swarm.datagram_bytes,
                hello_interval=self.swarm.hello_interval,
                send_buffer_capacity=self.swarm.buffer_capacity,
                recv_buffer_capacity=self.swarm.buffer_capacity,
                window=window_of(self.swarm.recv_buffer_size, self.swarm.datagram_bytes),
            ),
            objection=objection,
        )

    def _count(self, endpoint: MulticastEndpoint) -> None:
        did = endpoint.statistics()
        self.figures["datagrams multicast"] += did.datagrams_out["multicast"]
        self.figures["datagrams repaired"] += did.repaired
        self.figures["datagrams given up"] += did.given_up
        self.figures["datagrams overrun"] += did.overruns
        self.figures["frames dropped"] += sum(did.dropped.values())
        self.figures["fallbacks"] += did.fallbacks

    # ── how datagrams travel ─────────────────────────────────────────────────────────────────────

    def begin(self, nursery: trio.Nursery) -> None:
        """See `FullNetwork`."""
        self.story.tell(f"over multicast: {self.swarm}")
        nursery.start_soon(self._deliver)

    async def _deliver(self) -> None:
        while True:
            self.datagrams.deliver(trio.current_time())
            self._sent = trio.Event()
            self._wake_at = self.datagrams.next_at
            with trio.move_on_at(self._wake_at):
                await self._sent.wait()

    def _look_again(self) -> None:
        if self.datagrams.next_at < self._wake_at:
            self._sent.set()

    # ── what happens to them ─────────────────────────────────────────────────────────────────────

    def weather(self, faults: Faults) -> None:
        """See `FullNetwork`. Bursts, stragglers and losses at the source come with any weather."""
        low, high = faults.delay
        self.datagrams.faults = attrs.evolve(
            self.swarm.faults,
            loss=faults.loss,
            duplication=faults.duplication,
            delay=(FASTEST + low, FASTEST + high),
        )

    def calm(self) -> None:
        """See `FullNetwork`. But who hears no multicasts may hear none for good: there is unicast."""
        self.heal()
        self.datagrams.faults = DatagramFaults(delay=(FASTEST, FASTEST))
        self.datagrams.clogged.clear()
        if self.rng.random() < 0.5:
            self.deafen(())

    def cut(self, sender: NodeId, receiver: NodeId) -> None:
        """See `FullNetwork`."""
        self.datagrams.cut.add((_place(sender).where, _place(receiver).where))

    def heal(self) -> None:
        """See `FullNetwork`."""
        self.datagrams.cut.clear()

    def clog(self, sender: NodeId, receiver: NodeId, until: float) -> None:
        """See `FullNetwork`."""
        self.datagrams.clogged[_place(sender).where, _place(receiver).where] = until

    def deafen(self, ways: Iterable[Way]) -> None:
        """See `FullNetwork`."""
        self.datagrams.deaf = {(_place(a).where, _place(b).where) for a, b in ways}

    def close_links(self, id: NodeId) -> None:  # noqa: A002 - the field's name
        """See `FullNetwork`."""
        endpoint = self._open.get(id)
        if endpoint is not None:
            for peer in sorted(endpoint.engine.links):
                endpoint.engine.drop(peer, "closed the link", trio.current_time())


def _place(id: NodeId) -> Place:  # noqa: A002 - the field's name
    return Place(socket.AF_INET, (f"10.0.0.{ord(id)}", 7400))


@attrs.frozen
class _Transport:
    """What one life of a node opens. A `LossyTransport`."""

    network: FullMulticast
    powered: Callable[[], bool]

    def open_endpoint(
        self, identity: Identity, address: str, sink: Sink
    ) -> AbstractAsyncContextManager[MulticastEndpoint]:
        """See `LossyTransport`."""
        return self.network.open(identity, address, sink, self.powered)


@attrs.frozen
class _Overheard:
    """A `Sink` whose node's links are part of the story, and what it hears is shown to who reads along."""

    sink: Sink
    story: Story
    id: NodeId

    def linked(self, peer: NodeId) -> None:
        """See `Sink`."""
        self.story.tell(f"{self.id} is linked to {peer}")
        self.sink.linked(peer)

    def received(self, frame: Frame) -> None:
        """See `Sink`."""
        self.story.overhear(frame.sender.id, self.id, frame.body)
        self.sink.received(frame)

    def unreachable(self, peer: NodeId, why: str) -> None:
        """See `Sink`."""
        self.story.tell(f"{self.id} has no link to {peer}: {why}")
        self.sink.unreachable(peer, why)

    def objection(self, newcomer: Identity) -> str:
        """See `Sink`."""
        return self.sink.objection(newcomer)

    def settings_differ(self, peer: NodeId) -> None:
        """See `Sink`."""
        self.sink.settings_differ(peer)
