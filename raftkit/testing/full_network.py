"""The network of a full-stack world: a `MemoryNetwork` whose every frame is part of the story.

Law: what a frame holds goes into the hash of the story, what it says only to who reads along.
"""

from __future__ import annotations

import attrs
import trio

from raftkit.model import NodeId
from raftkit.testing.full_stage import Story
from raftkit.transports import MemoryEndpoint, MemoryNetwork
from raftkit.transports.memory import Link
from raftkit.wire import NEED_DATA, FrameDecoder

__all__ = ["FullNetwork"]

_SHOWN = 160
"Characters of a message that readers see."


@attrs.define(eq=False)
class FullNetwork(MemoryNetwork):
    """Carries frames late where a direction is clogged."""

    story: Story = attrs.field(kw_only=True)
    frames: int = attrs.field(init=False, default=0)
    "Sent so far."
    clogged: dict[tuple[NodeId, NodeId], float] = attrs.field(
        init=False, factory=dict[tuple[NodeId, NodeId], float]
    )
    "Directions (from, to) that hold every frame until that time."

    def carry(self, link: Link, sender: MemoryEndpoint, data: bytes) -> None:
        """Put `data` on its way, or lose it, or keep it until the clog is gone."""
        a, b = sender.identity.id, link.other(sender).identity.id
        self.frames += 1
        self.story.note(b"%.6f %b%b " % (trio.current_time(), a.encode(), b.encode()) + data)
        if self.story.show is not None:
            self._show(sender, f"{a} → {b}", data)
        left = self.clogged.get((a, b), 0.0) - trio.current_time()
        if left > 0:
            link.other(sender).arrive(link, data, left)
        else:
            MemoryNetwork.carry(self, link, sender, data)

    def _show(self, sender: MemoryEndpoint, way: str, data: bytes) -> None:
        decoder = FrameDecoder(scope=sender.scope)
        decoder.receive_data(data)
        frame = decoder.next_frame()
        assert frame is not NEED_DATA  # whole frames travel
        assert self.story.show is not None
        said = f"{frame.body!r:.{_SHOWN}}".replace("\n", " ")
        self.story.show(f"{trio.current_time():10.5f}   {way} {said}")
