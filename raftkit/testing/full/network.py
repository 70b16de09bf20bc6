"""What a full-stack world asks of its network, whatever travels on it.

Law: nodes are named; where they are is the network's own affair.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

import trio

from raftkit.model import NodeId
from raftkit.transports import Faults, LossyTransport

__all__ = ["FullNetwork", "Way"]

Way = tuple[NodeId, NodeId]
"A direction: from, to."


class FullNetwork(Protocol):
    """All that lies between the nodes of a world, and what can happen to it."""

    @property
    def name(self) -> str:
        """Of what nodes ship with to use it: memory, multicast."""
        ...

    @property
    def carried(self) -> int:
        """Frames or datagrams given to it so far."""
        ...

    @property
    def figures(self) -> Mapping[str, int]:
        """What else the endpoints did that are closed by now."""
        ...

    def address_of(self, id: NodeId) -> str:  # noqa: A002 - the field's name
        """Where that node is to be found."""
        ...

    def transport(self, powered: Callable[[], bool]) -> LossyTransport:
        """What a node opens, whose host says nothing any more once it is not `powered`."""
        ...

    def begin(self, nursery: trio.Nursery) -> None:
        """Carry, for as long as `nursery` lasts."""
        ...

    def weather(self, faults: Faults) -> None:
        """Let this happen to what is sent from now on."""
        ...

    def calm(self) -> None:
        """Let nothing happen to it any more, and mend all ways."""
        ...

    def cut(self, sender: NodeId, receiver: NodeId) -> None:
        """Silently lose everything that goes this way."""
        ...

    def heal(self) -> None:
        """Undo every `cut`."""
        ...

    def clog(self, sender: NodeId, receiver: NodeId, until: float) -> None:
        """Hold what goes this way until then, in trio's time."""
        ...

    def deafen(self, ways: Iterable[Way]) -> None:
        """Lose multicasts, and nothing else, on these ways, in the place of those before."""
        ...

    def close_links(self, id: NodeId) -> None:  # noqa: A002 - the field's name
        """Break every link of a node; both ends are told, and try again."""
        ...
