"""Parts of snapshots, asked of other members and given to them: how a node gets one without its leader.

    a wrong state is mended (`comparing.py`) ──┐
    a snapshot is received (`seeking.py`) ─────┴──▶ ask ──▶ SnapshotWanted ──▶ serve ──▶ SnapshotPart

Laws: a part is asked for again until it comes, a few times; who does not answer then is left to whoever
asked. A node serves one part after the other, the newest question of each member, at the rate at which it
may send snapshots as a leader, and only what it has told a digest of. What comes is believed by nobody
here: the whole has a digest or a checksum.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import attrs
import trio

from raftkit.core import Raft
from raftkit.driver.storing import Storing
from raftkit.driver_messages import DriverMessage, SnapshotPart, SnapshotWanted
from raftkit.model import Identity, Index, NodeId
from raftkit.snapshot import SnapshotMeta

__all__ = ["ANSWER_SECONDS", "TRIES", "Parts"]

ANSWER_SECONDS = 1.0
"For one part of a snapshot to come, beside the time that the rate takes."
TRIES = 3
"Before a holder counts as silent."


@attrs.define(eq=False)
class _Question:
    """A part that was asked for."""

    came: trio.Event = attrs.field(factory=trio.Event)
    answer: tuple[Identity, bytes] | None = None


@attrs.define(eq=False, kw_only=True)
class Parts:
    """Both sides: what this node wants of others, and what others want of it."""

    storing: Storing
    send: Callable[[Sequence[NodeId], DriverMessage], None]
    raft: Callable[[], Raft]
    "For the configuration in force: only members are served."
    held: Callable[[Index], SnapshotMeta | None]
    "The snapshot of this node at that index."
    part_bytes: int = attrs.field(init=False, default=256 * 1024)
    "Of a snapshot, sent at once."
    bytes_per_second: int = attrs.field(init=False, default=0)
    "That is sent of snapshots; 0: as fast as they are asked for."
    _asked: dict[tuple[NodeId, SnapshotWanted], _Question] = attrs.field(
        init=False, factory=dict[tuple[NodeId, SnapshotWanted], _Question]
    )
    "What this node waits for, and of whom."
    _wanted: dict[NodeId, SnapshotWanted] = attrs.field(
        init=False, factory=dict[NodeId, SnapshotWanted]
    )
    "What each member waits for, by who has waited longest."
    _news: trio.Event = attrs.field(init=False, factory=trio.Event)
    "Somebody wants a part."

    # ── asking ───────────────────────────────────────────────────────────────────────────────────

    async def ask(self, holder: NodeId, wanted: SnapshotWanted) -> tuple[Identity, bytes] | None:
        """One part, and who gave it: no bytes if that holder has no such snapshot. None: it is silent."""
        asked = (holder, wanted)
        question = self._asked.setdefault(asked, _Question())
        patience = ANSWER_SECONDS
        if self.bytes_per_second:
            patience += 2 * self.part_bytes / self.bytes_per_second
        try:
            for _ in range(TRIES):
                self.send((holder,), wanted)
                with trio.move_on_after(patience):
                    await question.came.wait()
                    break
        finally:
            self._asked.pop(asked, None)
        return question.answer

    def on_part(self, sender: Identity, part: SnapshotPart) -> None:
        """An answer came, or something that nobody asked for."""
        for (holder, wanted), question in self._asked.items():
            if (holder, wanted.index, wanted.offset) == (sender.id, part.index, part.offset):
                question.answer = sender, part.data
                question.came.set()

    # ── serving ──────────────────────────────────────────────────────────────────────────────────

    def on_wanted(self, sender: Identity, wanted: SnapshotWanted) -> None:
        """A member asks for a part of this node's snapshot; what it asked for before is void."""
        if self.raft().configuration.knows(sender):
            self._wanted[sender.id] = wanted
            self._news.set()

    async def serve(self) -> None:
        """Send what is asked for, for ever."""
        while True:
            self._news = trio.Event()
            if not self._wanted:
                await self._news.wait()
            peer = next(iter(self._wanted))
            await self._give(peer, self._wanted.pop(peer))

    async def _give(self, peer: NodeId, wanted: SnapshotWanted) -> None:
        snapshot, data = self.held(wanted.index), None
        if snapshot is not None and wanted.checksum in (None, snapshot.checksum):
            data = await self.storing.read_part(snapshot, wanted.offset, self.part_bytes)
        part = SnapshotPart(index=wanted.index, offset=wanted.offset, data=data or b"")
        self.send((peer,), part)
        if self.bytes_per_second:
            await trio.sleep(len(part.data) / self.bytes_per_second)
