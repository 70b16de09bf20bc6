"""A full-stack world's network of whole frames: a `MemoryNetwork` whose every frame is part of the story.

Law: what a frame holds goes into the hash of the story, what it says only to who reads along.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType

import attrs
import trio

from raftkit.model import NodeId
from raftkit.testing.full.network import Way
from raftkit.testing.full.stage import Story
from raftkit.transports import Faults, MemoryEndpoint, MemoryNetwork
from raftkit.transports.memory import Link
from raftkit.wire import NEED_DATA, FrameDecoder

__all__ = ["FullMemory"]


@attrs.define(eq=False)
class FullMemory(MemoryNetwork):
    """Carries frames late where a direction is clogged. See `FullNetwork`."""

    story: Story = attrs.field(kw_only=True)
    name: str = attrs.field(init=False, default="memory")
    carried: int = attrs.field(init=False, default=0)
    "Frames sent so far."
    figures: Mapping[str, int] = MappingProxyType({})
    _clogged: dict[Way, float] = attrs.field(init=False, factory=dict[Way, float])
    "Directions that hold every frame until that time."

    def address_of(self, id: NodeId) -> str:  # noqa: A002 - the field's name
        """See `FullNetwork`."""
        return f"memory:{id}"

    def transport(self, powered: Callable[[], bool]) -> MemoryNetwork:  # noqa: ARG002
        """See `FullNetwork`. Links close with the process, whatever ends it."""
        return self

    def begin(self, nursery: trio.Nursery) -> None:
        """See `FullNetwork`. Endpoints have tasks of their own."""

    def weather(self, faults: Faults) -> None:
        """See `FullNetwork`."""
        self.faults = faults

    def calm(self) -> None:
        """See `FullNetwork`."""
        self.heal()
        self.faults = Faults()
        self._clogged.clear()

    def clog(self, sender: NodeId, receiver: NodeId, until: float) -> None:
        """See `FullNetwork`."""
        self._clogged[sender, receiver] = until

    def deafen(self, ways: Iterable[Way]) -> None:
        """See `FullNetwork`. Nothing is multicast here."""

    def carry(self, link: Link, sender: MemoryEndpoint, data: bytes) -> None:
        """Put `data` on its way, or lose it, or keep it until the clog is gone."""
        a, b = sender.identity.id, link.other(sender).identity.id
        self.carried += 1
        self.story.note(b"%.6f %b%b " % (trio.current_time(), a.encode(), b.encode()) + data)
        if self.story.show is not None:
            self._show(sender, b, data)
        left = self._clogged.get((a, b), 0.0) - trio.current_time()
        if left > 0:
            link.other(sender).arrive(link, data, left)
        else:
            MemoryNetwork.carry(self, link, sender, data)

    def _show(self, sender: MemoryEndpoint, receiver: NodeId, data: bytes) -> None:
        decoder = FrameDecoder(scope=sender.scope)
        decoder.receive_data(data)
        frame = decoder.next_frame()
        assert frame is not NEED_DATA  # whole frames travel
        self.story.overhear(sender.identity.id, receiver, frame.body)
