"""Where to get a snapshot that is being received, beside its leader (§5.3).

Laws: only members that told a digest of a state at that index, of as many bytes, are asked, and only for
the very same file by its checksum. The first is the one behind this node in the order of names, so that
several receivers spread; who gives nothing is asked no more for that snapshot. The core knows what to do
without.
"""

from __future__ import annotations

import attrs

from raftkit.driver.comparing import Comparing
from raftkit.driver_messages import SnapshotWanted
from raftkit.model import NodeId
from raftkit.snapshot import SeekSnapshot, SnapshotFound, SnapshotMeta

__all__ = ["Seeking"]


@attrs.define(eq=False)
class Seeking:
    """Answers the core's effect `seek_snapshot`."""

    id: NodeId
    "Of this node."
    comparing: Comparing
    "Knows who has which snapshot, and asks for its parts."
    _snapshot: SnapshotMeta | None = attrs.field(init=False, default=None)
    "What was sought last."
    _useless: set[NodeId] = attrs.field(init=False, factory=set[NodeId])
    "Who gave nothing of it."

    async def find(self, request: SeekSnapshot) -> SnapshotFound:
        """The part that is sought, of whoever gives it first. Ends, though everybody be silent."""
        snapshot = request.snapshot
        if self._snapshot != snapshot:
            self._snapshot, self._useless = snapshot, set()
        wanted = SnapshotWanted(
            index=snapshot.index, offset=request.offset, checksum=snapshot.checksum
        )
        room = snapshot.size - request.offset
        for holder in self._in_turn(request):
            answer = await self.comparing.parts.ask(holder, wanted)
            if answer is not None and 0 < len(answer[1]) <= room:
                return SnapshotFound(request=request, holder=answer[0], data=answer[1])
            if self._snapshot == snapshot:
                self._useless.add(holder)
        return SnapshotFound(request=request)

    def _in_turn(self, request: SeekSnapshot) -> list[NodeId]:
        """Whom to ask, one after the other."""
        snapshot = request.snapshot
        known = self.comparing.digests.holders(snapshot.index, snapshot.size)
        left = [it for it in known if it not in {self.id, request.leader, *self._useless}]
        return sorted(left, key=lambda it: (it < self.id, it))
