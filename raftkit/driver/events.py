"""What happens at a node, as a stream for whoever listens. Never in the way of the loop.

Laws: publishing never waits. Each listener has a bounded queue; when it is full, an older event of the
same kind gives way to the new one, else the oldest does, and the listener is told how many are missing.
"""

from __future__ import annotations

from collections import deque

import attrs
import trio

from raftkit.messages import Event, SnapshotTaken
from raftkit.model import Identity, Index, NodeId

__all__ = [
    "QUEUE_MAX",
    "DiskRecovered",
    "DiskStalled",
    "EventStream",
    "Events",
    "MachineDiffers",
    "NameTaken",
    "NodeEvent",
    "RecordingStopped",
    "SettingsDiffer",
    "SlowCommand",
    "SnapshotFailed",
    "StateDiverged",
    "StateHealed",
    "VersionRaised",
]

QUEUE_MAX = 256
"Events that one listener may leave unread before they are coalesced."


@attrs.frozen(kw_only=True)
class SlowCommand:
    """Applying one command took longer than a heartbeat interval; this node did nothing else meanwhile."""

    index: Index
    "Where it stands in the log."
    command: str
    "What it calls, such as `Counter.add`; for a bytes machine, its `apply`, of a batch from `index` on."
    seconds: float
    "How long it took, by this machine's clock."


@attrs.frozen(kw_only=True)
class SnapshotFailed:
    """A snapshot was due and the state can't be written. The node goes on, and keeps its log meanwhile."""

    index: Index
    "Where it was due."
    where: str
    "What can't be written, such as `Bank.accounts['ann'].balance`; of a bytes machine, its `snapshot`."
    why: str
    "What it holds, and what it should."


@attrs.frozen(kw_only=True)
class MachineDiffers:
    """A member runs other code of the version that this node has, or another Python."""

    peer: NodeId
    "Which."
    why: str
    "What differs, and what to do, in words that follow its name."


@attrs.frozen(kw_only=True)
class NameTaken:
    """A node was refused, for another one of its name is alive: give it a name of its own."""

    newcomer: Identity
    "Who was refused: the name, and the incarnation of its directory."
    address: str
    "Where the one that keeps the name is reached."


@attrs.frozen(kw_only=True)
class SettingsDiffer:
    """A node has other settings of its transport where all must agree, heard again each minute: mend them."""

    peer: NodeId
    "Which."


@attrs.frozen(kw_only=True)
class VersionRaised:
    """Another version of the machine is in force at this node, by an entry or a snapshot."""

    version: int
    "Which."


@attrs.frozen(kw_only=True)
class StateDiverged:
    """Nodes that applied the same log had different states. A machine is not deterministic, or memory bad."""

    index: Index
    "Behind which the states were compared. They may differ since any entry after the cut before."
    members: tuple[NodeId, ...]
    "Who is wrong, sorted; those who differ, where that can't be told."
    decided: bool
    "Whether a majority of all voters has the right state: then the others fetch it. Else nothing is done."


@attrs.frozen(kw_only=True)
class StateHealed:
    """This node's state was wrong, and is a majority's now."""

    index: Index
    "Of the snapshot from which it goes on."


@attrs.frozen(kw_only=True)
class DiskStalled:
    """This node's disk stands still, see `storage_stall_timeout` of `open_node`: a leader may hand over."""

    seconds: float
    "How long a write has been under way."


@attrs.frozen(kw_only=True)
class DiskRecovered:
    """This node's disk, which stood still, finishes writes again."""

    seconds: float
    "How long the oldest write was under way that it was late with."


@attrs.frozen(kw_only=True)
class RecordingStopped:
    """What enters the core is recorded no more: the file is full, or the disk refuses. The node goes on."""

    why: str
    "In words."


NodeEvent = (
    Event
    | DiskRecovered
    | DiskStalled
    | MachineDiffers
    | NameTaken
    | RecordingStopped
    | SettingsDiffer
    | SlowCommand
    | SnapshotFailed
    | SnapshotTaken
    | StateDiverged
    | StateHealed
    | VersionRaised
)
"What a node's listeners hear: the core's events, and the driver's own."


@attrs.define(eq=False)
class EventStream(trio.abc.ReceiveChannel[NodeEvent]):
    """Events since the stream was asked for. Iterate over it; close it, or let the node's end close it."""

    owner: Events
    _queue: deque[NodeEvent] = attrs.field(init=False, factory=deque[NodeEvent])
    _lot: trio.lowlevel.ParkingLot = attrs.field(init=False, factory=trio.lowlevel.ParkingLot)
    _ended: bool = attrs.field(init=False, default=False)
    _closed: bool = attrs.field(init=False, default=False)
    dropped: int = attrs.field(init=False, default=0)
    "How many events are missing from what was received so far. Set it to 0 when you have noticed."

    async def receive(self) -> NodeEvent:
        """The next event. Raises trio.EndOfChannel when the node has ended."""
        await trio.lowlevel.checkpoint_if_cancelled()
        while not self._queue:
            if self._closed:
                raise trio.ClosedResourceError
            if self._ended:
                raise trio.EndOfChannel
            await self._lot.park()
        await trio.lowlevel.cancel_shielded_checkpoint()
        return self._queue.popleft()

    async def aclose(self) -> None:
        """Stop listening."""
        self._closed = True
        self._queue.clear()
        self.owner.streams.pop(self, None)
        self._lot.unpark_all()
        await trio.lowlevel.checkpoint()

    def put(self, event: NodeEvent) -> None:
        """Add an event, or let it take the place of another."""
        if len(self._queue) >= QUEUE_MAX:
            same = next((it for it in self._queue if type(it) is type(event)), self._queue[0])
            self._queue.remove(same)
            self.dropped += 1
        self._queue.append(event)
        self._lot.unpark()

    def end(self) -> None:
        """No event will follow."""
        self._ended = True
        self._lot.unpark_all()


@attrs.define(eq=False)
class Events:
    """All listeners of a node."""

    streams: dict[EventStream, None] = attrs.field(init=False, factory=dict[EventStream, None])
    "In the order in which they were opened."
    _ended: bool = attrs.field(init=False, default=False)

    def subscribe(self) -> EventStream:
        """A stream of the events from now on."""
        stream = EventStream(self)
        if self._ended:
            stream.end()
        else:
            self.streams[stream] = None
        return stream

    def publish(self, event: NodeEvent) -> None:
        """Give `event` to every listener."""
        for stream in self.streams:
            stream.put(event)

    def end(self) -> None:
        """The node ends: so do all streams, once they are read to the end."""
        self._ended = True
        for stream in self.streams:
            stream.end()
        self.streams.clear()
