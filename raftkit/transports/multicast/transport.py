"""UDP multicast between nodes: what several followers are to hear is sent once, whatever their number.

    Node ─ send ─▶ MulticastEndpoint ─▶ Pacer ─▶ Engine ─▶ MulticastSockets ─▶ group or address
                          ▲    frames waiting    links, streams,      │
    Sink ◀─ events ───────┴──  for their turn    repair, seals  ◀─────┘ datagrams

Here are the settings, and how an endpoint is opened. To read on: `endpoint.py`, the glue;
`pacing.py`; `engine.py`, the protocol, without clock or sockets; `sockets.py`.

Law: how datagrams are sealed is said and never found out: nodes that differ in it don't hear each other.
"""

from __future__ import annotations

import hashlib
import random
import secrets
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Literal

import attrs

from raftkit.errors import ConfigError
from raftkit.model import Identity
from raftkit.transports.base import Sink
from raftkit.transports.multicast.endpoint import MulticastEndpoint
from raftkit.transports.multicast.engine import Engine, EngineSettings
from raftkit.transports.multicast.group import IP_BYTES, find_interface, parse_group, place_of
from raftkit.transports.multicast.keys import read_keys
from raftkit.transports.multicast.sockets import DATAGRAM_BYTES_MAX, open_sockets
from raftkit.transports.multicast.window import window_of
from raftkit.wire import cluster_tag

__all__ = ["MulticastTransport"]


@attrs.frozen(kw_only=True)
class MulticastTransport:
    """Connects nodes on one network by UDP, each at its "host:port" or "[IPv6 host]:port".

    See `LossyTransport`. All that follows must be the same at every node, but for `interface`, `loopback` and
    where keys are. Nodes whose settings differ say so in the log.
    """

    group: str
    'The group and port that all hear: "239.192.7.1:7400" or "[ff15::7:1]:7400".'
    interface: str
    "The network's interface on this machine, by name."
    cluster: str
    "The cluster's name: datagrams of others on the same group are not looked at."
    key: str | Path | None = None
    "The file of the key that seals datagrams: 32 bytes, as they are or in hexadecimal, for its owner alone."
    other_key: str | Path | None = None
    "A second one that is believed, too, while the cluster goes from one to another."
    encrypt: bool = False
    "Hide what is sent, by AES-256-GCM. Needs the extra `tls`."
    insecure: bool = False
    "Do without a key: whoever reaches the network can speak for any node."
    ttl: int = 1
    "Networks that a multicast may cross. 1: this one only."
    loopback: bool = True
    "Whether other nodes on this machine hear this one's multicasts."
    fragmentation: Literal["app", "ip"] = "app"
    "Who cuts messages into pieces that fit the network: raftkit, which repairs each, or IP, which loses all."
    datagram_size: int | None = None
    "Bytes of the largest datagram. None: 1200, or less if the interface has less; by IP, 65 507."
    pacing_rate: int = 64 * 1024 * 1024
    "Bytes a second that one node sends at most, headers included."
    send_buffer_size: int = 1024 * 1024
    "Bytes that the kernel holds until they are on the wire."
    recv_buffer_size: int = 1024 * 1024
    "Bytes that the kernel holds until a node gets round to them. Bursts are at most half as long."
    send_buffer_capacity: int = 256
    "Messages that wait in each lane, and that are kept for repair on each stream."
    recv_buffer_capacity: int = 256
    "Messages that may wait behind a missing one, on each stream."
    hello_retry_interval: float = 1.0
    "Seconds between the hellos by which nodes find each other."

    def __attrs_post_init__(self) -> None:
        for name in ("pacing_rate", "send_buffer_size", "recv_buffer_size"):
            _at_least(name, getattr(self, name), 4096)
        for name in ("send_buffer_capacity", "recv_buffer_capacity"):
            _at_least(name, getattr(self, name), 1)
        if self.hello_retry_interval <= 0:
            raise ConfigError(
                f"hello_retry_interval must be above 0, got {self.hello_retry_interval}"
            )
        if not self.cluster:
            raise ConfigError("cluster needs a name, the same at every node")
        if self.fragmentation not in {"app", "ip"}:
            raise ConfigError(f'fragmentation must be "app" or "ip", got {self.fragmentation!r}')

    @asynccontextmanager
    async def open_endpoint(
        self, identity: Identity, address: str, sink: Sink
    ) -> AsyncGenerator[MulticastEndpoint]:
        """See `LossyTransport.open_endpoint`. Port 0 is a free one, see `MulticastEndpoint.address`.

        Raises ConfigError, in one line, if the group can't be joined or the address not be had as it should.
        """
        keys = read_keys(self.key, self.other_key, encrypt=self.encrypt, insecure=self.insecure)
        group = parse_group(self.group)
        own = await place_of(address, group.family)
        settings = self._engine_settings(group.family)
        sockets = open_sockets(
            group=group,
            interface=self.interface,
            own=own,
            ttl=self.ttl,
            loopback=self.loopback,
            send_buffer_size=self.send_buffer_size,
            recv_buffer_size=self.recv_buffer_size,
            fragment=self.fragmentation == "ip",
        )
        try:
            engine = Engine(
                identity=identity,
                address=str(sockets.own),
                cluster=cluster_tag(self.cluster),
                keys=keys,
                start=secrets.randbits(64),
                rng=random.SystemRandom(),
                settings=attrs.evolve(
                    settings, window=window_of(sockets.recv_buffer_size, settings.datagram_bytes)
                ),
                objection=sink.objection,
            )
            endpoint = MulticastEndpoint(
                identity=identity,
                sink=sink,
                sockets=sockets,
                engine=engine,
                pacing_rate=self.pacing_rate,
                queue_capacity=self.send_buffer_capacity,
            )
            async with endpoint.taking_part():
                yield endpoint
        finally:
            sockets.close()

    def _engine_settings(self, family: int) -> EngineSettings:
        return EngineSettings(
            datagram_bytes=self._datagram_bytes(family),
            hello_interval=self.hello_retry_interval,
            send_buffer_capacity=self.send_buffer_capacity,
            recv_buffer_capacity=self.recv_buffer_capacity,
            settings_hash=self.settings_hash(),
        )

    def _datagram_bytes(self, family: int) -> int:
        mtu = find_interface(self.interface, family).mtu
        if self.fragmentation == "ip":
            return self.datagram_size or DATAGRAM_BYTES_MAX[socket.AF_INET]
        room = mtu - IP_BYTES[family]
        if self.datagram_size is not None and self.datagram_size > room:
            raise ConfigError(
                f"datagram_size {self.datagram_size} does not fit the MTU {mtu} of {self.interface}: "
                f'at most {room}, or fragmentation="ip"'
            )
        return self.datagram_size or min(1200, room)

    def settings_hash(self) -> bytes:
        """Eight bytes over all that must be the same at every node.

        Who has another group or cluster isn't heard anyway.
        """
        local = {"interface", "key", "other_key", "group", "cluster", "loopback"}
        shared = attrs.asdict(self, filter=lambda it, _: it.name not in local)
        return hashlib.sha256(repr(sorted(shared.items())).encode()).digest()[:8]


def _at_least(name: str, value: int, least: int) -> None:
    if value < least:
        raise ConfigError(f"{name} must be at least {least}, got {value}")
