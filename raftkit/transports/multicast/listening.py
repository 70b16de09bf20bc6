"""Who is on the network, heard by one who takes no part and says nothing.

Laws: nothing is sent, so that listening disturbs no group and shows nobody to it. Hellos are sealed by a
member's key, but are no proof that the member lives now: only a link proves that.
"""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Mapping
from types import MappingProxyType

import attrs
import trio

from raftkit.encoding import MalformedError
from raftkit.transports.multicast.discovery import Discovered, Discovery
from raftkit.transports.multicast.group import nowhere, parse_group
from raftkit.transports.multicast.keys import read_keys
from raftkit.transports.multicast.sockets import Address, open_sockets
from raftkit.transports.multicast.transport import MulticastTransport
from raftkit.wire import CONTROL_STREAM, Opener, Refused, cluster_tag
from raftkit.wire.control import Hello, decode_control

__all__ = ["Overheard", "overhear"]


@attrs.frozen(kw_only=True)
class Overheard:
    """What was heard on a group."""

    nodes: tuple[Discovered, ...]
    "Who said hello with a key of the cluster, by name."
    refused: Mapping[Refused, int]
    "Datagrams that were not believed, by why."


@attrs.define(eq=False)
class _Ear:
    """What makes sense of datagrams."""

    opener: Opener
    discovery: Discovery = attrs.field(init=False, factory=Discovery)
    refused: Counter[Refused] = attrs.field(init=False, factory=Counter[Refused])

    def hear(self, data: bytes, source: Address, now: float) -> None:
        datagram = self.opener.open(data)
        if isinstance(datagram, Refused):
            self.refused[datagram] += 1
        elif datagram.stream == CONTROL_STREAM:
            try:
                body = decode_control(datagram.kind, datagram.body)
            except MalformedError:
                self.refused[Refused.MALFORMED] += 1
                return
            if isinstance(body, Hello):
                self.discovery.on_hello(body, source, now)


async def overhear(transport: MulticastTransport, seconds: float) -> Overheard:
    """Listen for so many seconds with the transport's settings. Raises ConfigError, in one line."""
    group = parse_group(transport.group)
    keys = read_keys(
        transport.key, transport.other_key, encrypt=transport.encrypt, insecure=transport.insecure
    )
    tag = cluster_tag(transport.cluster)
    ear = _Ear(Opener(cluster=tag, keys=keys, own=secrets.randbits(64)))
    sockets = open_sockets(
        group=group,
        interface=transport.interface,
        own=nowhere(group.family),
        send_buffer_size=transport.send_buffer_size,
        recv_buffer_size=transport.recv_buffer_size,
    )
    try:
        with trio.move_on_after(seconds):
            while True:
                await sockets.wait_arrivals()
                for data, source in sockets.arrivals():
                    ear.hear(data, source, trio.current_time())
    finally:
        sockets.close()
    known = ear.discovery.known(trio.current_time(), ())
    return Overheard(nodes=known, refused=MappingProxyType(dict(ear.refused)))
