"""One TCP connection: frames out by lane, frames in as they come, until either end has had enough.

Laws: nothing here waits but the two tasks of `run`. A lane's queue is bounded in bytes; what does not
fit is dropped and counted. Within a lane the order is kept; an earlier lane goes first, so that a
heartbeat waits for one write under way (at most `BATCH_BYTES` or one frame), never for a backlog.
Once closed, nothing is delivered, even if it had arrived: frames never outlive their link.

Bulk has a lane, not a connection of its own: one connection is one link, with one hello and one end, so
"what is on its way is lost with the link" needs no bookkeeping. A leader has one chunk on its way to a
peer, and TCP_NOTSENT_LOWAT keeps the kernel from hoarding, so a second connection would win nothing.
"""

from __future__ import annotations

import socket
from collections import Counter, deque
from collections.abc import Callable
from enum import Enum
from typing import Final

import attrs
import trio

from raftkit.driver_messages import Frame
from raftkit.errors import RemoteProtocolError
from raftkit.model import Identity, NodeId
from raftkit.transports.tcp.sockets import reason_of
from raftkit.wire import NEED_DATA, FrameDecoder, Lane

__all__ = ["Counts", "Refusal", "TcpLink"]

HELLO_SECONDS = 5.0
"From the connection to the peer's hello, whole."
FRAME_SECONDS = 30.0
"Without a whole frame while bytes trickle in."
READ_BYTES = 64 * 1024
"Taken from the socket, and delivered, in one turn."
BATCH_BYTES = 64 * 1024
"Small frames that waited are written together, up to this."


QUEUE_BYTES_MAX: Final = {
    Lane.CONTROL: 1024 * 1024,
    Lane.ENTRIES: 12 * 1024 * 1024,
    Lane.BULK: 12 * 1024 * 1024,
}
"Bytes that may wait in a lane, the write under way not counted. More than its largest frame."


class Refusal(Enum):
    """Why this side closed a connection."""

    SILENT = "no hello in time"
    NOT_A_HELLO = "something before the hello"
    IMPOSTOR = "not who it should be"
    MALFORMED = "malformed, oversized or of another scope"
    SLOW = "a frame that does not end"
    TWICE = "both sides dialled"
    NAMESAKE = "of the name of a node that lives"
    CROWDED = "too many connections"


@attrs.define(eq=False)
class Counts:
    """What all links of an endpoint did so far."""

    bytes_in: int = 0
    bytes_out: int = 0
    "Taken by the kernel."
    frames_in: int = 0
    frames_out: int = 0
    "Queued."
    dropped: Counter[Lane] = attrs.field(factory=Counter[Lane])
    "Frames for which a queue was too full."
    refused: Counter[Refusal] = attrs.field(factory=Counter[Refusal])
    "Connections."


@attrs.define(eq=False, kw_only=True)
class TcpLink:
    """A connection and what waits to be written to it. `run` it; the rest is for the endpoint."""

    sock: socket.socket
    "A stream, see `as_stream`. Owned: closed when the link is."
    peer: NodeId | None
    "Who was dialled, or said hello. None for an accepted connection before its hello."
    decoder: FrameDecoder
    counts: Counts
    deliver: Callable[[TcpLink, Frame], None]
    "Takes a frame. It may close this link."
    dialled: bool
    "Whether this side began it."
    begun_at: float = attrs.field(factory=trio.current_time)
    "In trio's time."
    identity: Identity | None = None
    "Who said hello on it."
    greeted_at: float = attrs.field(init=False, default=float("inf"))
    "When, in trio's time."
    why: str | None = attrs.field(init=False, default=None)
    "Why it was closed; None while it stands."
    refusal: Refusal | None = attrs.field(init=False, default=None)
    "If this side closed it for what the peer did."
    ended: trio.Event = attrs.field(init=False, factory=trio.Event)
    "Set by the endpoint when it has forgotten the link."
    _queues: tuple[deque[bytes], ...] = attrs.field(
        init=False, factory=lambda: tuple(deque[bytes]() for _ in Lane)
    )
    "Frames that wait, by lane."
    _queued_bytes: list[int] = attrs.field(init=False, factory=lambda: [0 for _ in Lane])
    "Of `_queues`."
    _rest: memoryview = attrs.field(init=False, default=memoryview(b""))
    "What is left of the write under way."
    _blocked: trio.Event = attrs.field(init=False, factory=trio.Event)
    "Set while the socket takes no more. Otherwise nothing waits: neither in a queue nor in `_rest`."
    _patience: trio.CancelScope = attrs.field(init=False, factory=trio.CancelScope)
    "Its deadline is when the peer must have said what is expected of it."

    async def run(self) -> None:
        """Deliver what arrives and write what waits, until the link is closed; `why` says the reason.

        Cancelled, it closes the connection at once.
        """
        self._patience.deadline = self.begun_at + HELLO_SECONDS
        try:
            with self._patience:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._write)
                    await self._read()
                    nursery.cancel_scope.cancel()
            if self._patience.cancelled_caught:
                self._lose_patience()
        finally:
            self.close("closed here")

    def greet(self, identity: Identity) -> None:
        """The peer has said who it is: from now on it may be silent between frames."""
        self.peer, self.identity = identity.id, identity
        self.greeted_at = trio.current_time()

    def refuse(self, refusal: Refusal, why: str) -> None:
        """Close the link for what the peer did. Counted once."""
        if self.why is None:
            self.refusal = refusal
            self.counts.refused[refusal] += 1
            self.close(why)

    def close(self, why: str) -> None:
        """Close the connection at once: what waits is lost, and nothing is delivered any more. Idempotent."""
        if self.why is None:
            self.why = why
            trio.lowlevel.notify_closing(self.sock)
            self.sock.close()

    # ── out ──────────────────────────────────────────────────────────────────────────────────────

    def send(self, lane: Lane, data: bytes) -> None:
        """Write a frame now if the socket takes it, else queue it, else drop it."""
        if self.why is not None:
            return
        if not self._blocked.is_set():
            assert not self._rest
            self._rest = memoryview(data)
            self._flush()
        elif self._queued_bytes[lane] + len(data) <= QUEUE_BYTES_MAX[lane]:
            self._queues[lane].append(data)
            self._queued_bytes[lane] += len(data)
        else:
            self.counts.dropped[lane] += 1
            return
        self.counts.frames_out += 1

    def _flush(self) -> None:
        """Write what is left of the write under way, as far as the socket takes it."""
        try:
            while self._rest:
                sent = self.sock.send(self._rest)
                self.counts.bytes_out += sent
                self._rest = self._rest[sent:]
        except OSError:
            # Mostly there is no room. If the connection is gone, the reader learns it in its own
            # turn: whoever sends is not to be told about links in the middle of it.
            self._blocked.set()

    def _take(self) -> bool:
        """Choose what is written next: frames of the first lane that has any. False if none has."""
        for lane, queue in enumerate(self._queues):
            if queue:
                batch = [queue.popleft()]
                size = len(batch[0])
                while queue and size + len(queue[0]) <= BATCH_BYTES:
                    size += len(queue[0])
                    batch.append(queue.popleft())
                self._queued_bytes[lane] -= size
                self._rest = memoryview(b"".join(batch) if len(batch) > 1 else batch[0])
                return True
        return False

    async def _write(self) -> None:
        """Go on writing whenever the socket takes more."""
        while True:
            await self._blocked.wait()
            if self.why is not None:
                return
            try:
                await trio.lowlevel.wait_writable(self.sock)
            except trio.ClosedResourceError:
                return
            self._blocked = trio.Event()
            self._flush()
            while not self._blocked.is_set() and self._take():
                self._flush()

    # ── in ───────────────────────────────────────────────────────────────────────────────────────

    async def _read(self) -> None:
        """Receive until the link is closed, here or there."""
        while self.why is None:
            try:
                await trio.lowlevel.wait_readable(self.sock)
                data = self.sock.recv(READ_BYTES)
            except BlockingIOError:
                continue
            except trio.ClosedResourceError:
                return
            except OSError as error:
                self.close(reason_of(error))
                return
            if data:
                self._receive(data)
            else:
                self._receive_eof()

    def _receive(self, data: bytes) -> None:
        """Deliver every frame that is whole now."""
        self.counts.bytes_in += len(data)
        self.decoder.receive_data(data)
        whole = False
        while self.why is None:
            try:
                frame = self.decoder.next_frame()
            except RemoteProtocolError as error:
                self.refuse(Refusal.MALFORMED, str(error))
                return
            if frame is NEED_DATA:
                break
            whole = True
            self.counts.frames_in += 1
            self.deliver(self, frame)
        if self.identity is not None:
            self._be_patient(whole=whole)

    def _be_patient(self, *, whole: bool) -> None:
        """A large frame may take many reads, but not for ever: a byte a second is an attack."""
        scope = self._patience
        if whole and scope.deadline != float("inf"):
            scope.deadline = float("inf")
        elif not whole and scope.deadline == float("inf"):
            scope.deadline = trio.current_time() + FRAME_SECONDS

    def _lose_patience(self) -> None:
        if self.identity is None:
            self.refuse(Refusal.SILENT, f"said no hello in {HELLO_SECONDS:g} s")
        else:
            self.refuse(Refusal.SLOW, f"took more than {FRAME_SECONDS:g} s for a frame")

    def _receive_eof(self) -> None:
        try:
            self.decoder.receive_eof()
        except RemoteProtocolError as error:
            self.close(str(error))
        else:
            self.close("closed the connection")
