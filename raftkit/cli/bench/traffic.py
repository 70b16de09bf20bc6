"""What a node sends, as its transport counts it, and what it is made to lose.

Laws: what is lost is lost in the process that would have received it, each datagram by itself, after the
kernel has handed it over; chance is seeded with the node's name, so that each run draws the same. TCP mends
losses below us, where none can be made.
"""

from __future__ import annotations

import random
import socket
import struct
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import attrs

from raftkit.model import Identity
from raftkit.transports import (
    LossyEndpoint,
    LossyTransport,
    MulticastEndpoint,
    Sink,
    TcpEndpoint,
)
from raftkit.transports.multicast.sockets import MulticastSockets

__all__ = ["Observed", "Traffic"]

_TCP_SEGMENTS_OUT = 136
"Where the kernel's `tcp_info` has them, as 32 bits."


@attrs.frozen(kw_only=True)
class Traffic:
    """What one node sent to all others together. What is multicast is sent once."""

    bytes_sent: int = 0
    "Given to the kernel, without its headers."
    packets_sent: int = 0
    "Datagrams, or segments of connections that stand, bare acknowledgements of TCP among them."
    asked: int = 0
    "Datagrams that others asked for again."
    repaired: int = 0
    "Datagrams sent again."
    fallbacks: int = 0
    "Times that another was found not to hear our multicasts."
    overruns: int = 0
    "Datagrams that others lost for want of room, as they told."

    @classmethod
    def of(cls, endpoint: LossyEndpoint | None) -> Traffic:
        """So far."""
        match endpoint:
            case TcpEndpoint():
                return cls(
                    bytes_sent=endpoint.statistics().bytes_out,
                    packets_sent=sum(_segments(it.sock) for it in endpoint.links.values()),
                )
            case MulticastEndpoint():
                told = endpoint.statistics()
                return cls(
                    bytes_sent=sum(told.bytes_out.values()),
                    packets_sent=sum(told.datagrams_out.values()),
                    asked=told.asked,
                    repaired=told.repaired,
                    fallbacks=told.fallbacks,
                    overruns=told.overruns_of_peers,
                )
            case _:
                return cls()

    def since(self, before: Traffic) -> Traffic:
        """What came to it since then."""
        now, then = attrs.asdict(self), attrs.asdict(before)
        return Traffic(**{name: max(0, now[name] - then[name]) for name in now})


def _segments(sock: socket.socket) -> int:
    """Sent on this connection, as the kernel counts."""
    info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_SEGMENTS_OUT + 4)
    (count,) = struct.unpack_from("@I", info, _TCP_SEGMENTS_OUT)
    return int(count)


@attrs.define(eq=False)
class Observed:
    """A transport with its endpoint in reach, which may have to lose what arrives."""

    _transport: LossyTransport
    _loss: float
    "Part of the datagrams that never arrive, from 0 to below 1; not for TCP."
    endpoint: LossyEndpoint | None = attrs.field(init=False, default=None)

    @asynccontextmanager
    async def open_endpoint(
        self, identity: Identity, address: str, sink: Sink
    ) -> AsyncGenerator[LossyEndpoint]:
        """See `LossyTransport`."""
        async with self._transport.open_endpoint(identity, address, sink) as self.endpoint:
            if self._loss:
                assert isinstance(self.endpoint, MulticastEndpoint)
                sockets = self.endpoint.sockets
                assert isinstance(sockets, MulticastSockets)
                rng = random.Random(f"raftkit bench {identity.id}")
                sockets.is_lost = lambda: rng.random() < self._loss
            yield self.endpoint

    def traffic(self) -> Traffic:
        """So far."""
        return Traffic.of(self.endpoint)
