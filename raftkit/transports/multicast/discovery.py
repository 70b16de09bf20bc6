"""Who is on the network, by their own word: nodes that say hello, whether or not they are linked.

Law: being here admits nobody to anything. The table is bounded: who was silent for longest goes first.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Container
from typing import Final

import attrs

from raftkit.model import Identity, NodeId
from raftkit.transports.multicast.outlet import Address
from raftkit.wire.control import Hello

__all__ = ["Discovered", "Discovery"]

KNOWN_MAX: Final = 256
"Nodes that are remembered."
FORGET_SECONDS: Final = 60.0
"After the last hello."


@attrs.frozen(kw_only=True)
class Discovered:
    """A node that said hello to the group, with a key of this cluster."""

    identity: Identity
    "Its name and incarnation."
    address: str
    "Where it says that it is found."
    source: Address
    "Where its hello came from."
    seconds_ago: float
    "Since its last hello."
    is_linked: bool
    "Whether there is a link to it."
    settings: bytes
    "Its `MulticastTransport.settings_hash`."


@attrs.frozen
class _Heard:
    hello: Hello
    source: Address
    at: float


@attrs.define(eq=False)
class Discovery:
    """Hellos of other nodes, by who said them."""

    _heard: OrderedDict[Identity, _Heard] = attrs.field(
        init=False, factory=OrderedDict[Identity, _Heard]
    )
    "The last heard at the end."

    def on_hello(self, hello: Hello, source: Address, now: float) -> None:
        """Remember a hello."""
        identity = hello.card.identity
        self._heard[identity] = _Heard(hello, source, now)
        self._heard.move_to_end(identity)
        if len(self._heard) > KNOWN_MAX:
            self._heard.popitem(last=False)

    def known(self, now: float, linked: Container[NodeId]) -> tuple[Discovered, ...]:
        """Who said hello within the last `FORGET_SECONDS`, by name."""
        return tuple(
            Discovered(
                identity=identity,
                address=heard.hello.address,
                source=heard.source,
                seconds_ago=max(0.0, now - heard.at),
                is_linked=identity.id in linked,
                settings=heard.hello.card.settings,
            )
            for identity, heard in sorted(self._heard.items(), key=lambda item: item[0])
            if now - heard.at <= FORGET_SECONDS
        )
