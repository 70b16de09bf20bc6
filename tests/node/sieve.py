"""A memory network that knows what it carries, and loses what a test says."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from raftkit.driver_messages import DriverMessage
from raftkit.messages import Message
from raftkit.model import NodeId
from raftkit.transports import MemoryNetwork
from raftkit.transports.memory import Link, MemoryEndpoint
from raftkit.wire import Limits, decode_message

Seen = Callable[[NodeId, NodeId, Message | DriverMessage], bool]
"Sender, receiver, and what is said."


@attrs.define(eq=False)
class Sieve(MemoryNetwork):
    """A network that loses what `loses` says."""

    loses: Seen = lambda _sender, _receiver, _message: False

    def carry(self, link: Link, sender: MemoryEndpoint, data: bytes) -> None:
        """See `MemoryNetwork`."""
        body = data[55 + int.from_bytes(data[53:55], "big") :]
        message = decode_message(body, limits=Limits())
        if not self.loses(sender.identity.id, link.other(sender).identity.id, message):
            super().carry(link, sender, data)

    def lose(self, name: NodeId, *kinds: type) -> None:
        """From now on, to and from that node."""
        self.loses = lambda a, b, message: name in (a, b) and isinstance(message, kinds)

    def mend(self) -> None:
        """Lose nothing more."""
        self.loses = lambda _sender, _receiver, _message: False
