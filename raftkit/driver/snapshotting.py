"""Snapshots of this node's own state: captured at one index, encoded and written beside applying.

Laws: one at a time. What is captured is held in memory until it is written, so a cut that falls due while
one is being written is skipped; the next one is at the same index at every node all the same. A state
that can't be written is a bug in some command, the same on every node, so it stops none: the cut is skipped
and the log kept. A failing write ends the node.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from hashlib import sha256
from typing import Any

import attrs
import trio

from raftkit.driver.events import SnapshotFailed
from raftkit.driver.replica import SNAPSHOT_FORMAT, Capture, Replica
from raftkit.driver.storing import Storing
from raftkit.driver_messages import StateDigest
from raftkit.errors import StateUnwritable
from raftkit.messages import SnapshotTaken
from raftkit.model import Index
from raftkit.snapshot import SnapshotMeta

__all__ = ["Snapshotting", "digest_of"]

logger = logging.getLogger("raftkit")


@attrs.define(eq=False, kw_only=True)
class Snapshotting:
    """Takes a node's snapshots, at cuts and when its user asks."""

    id: str
    "Of the node, for messages."
    replica: Replica[Any]
    storing: Storing
    report: Callable[[SnapshotTaken], None]
    "How the core hears that the log before one may go."
    publish: Callable[[SnapshotFailed], None]
    "How others hear that a cut was skipped."
    compare: Callable[[SnapshotMeta, StateDigest], None]
    "Called with those that the log says are due, where their digest means something to other nodes."
    index: Index = attrs.field(init=False, default=Index(0))
    "Of the newest snapshot in storage, own or a leader's; 0 before any."
    failure: StateUnwritable | None = attrs.field(init=False, default=None)
    "Why the last one that was due or asked for could not be written; None if it was."
    _turn: trio.Semaphore = attrs.field(init=False, factory=lambda: trio.Semaphore(1))
    "Held from before a state is captured until it is written."
    _captured: tuple[trio.MemorySendChannel[Capture], trio.MemoryReceiveChannel[Capture]] = (
        attrs.field(init=False, factory=lambda: trio.open_memory_channel[Capture](1))
    )
    "From `cut` to `run`. Never full: who sends holds the turn."

    def cut(self) -> None:
        """Capture the state as it is now for `run` to write; nothing while another is being written."""
        try:
            self._turn.acquire_nowait()
        except trio.WouldBlock:
            return
        try:
            capture = self.replica.capture()
        except StateUnwritable as error:
            self._turn.release()
            self._skip(error)
        else:
            self._captured[0].send_nowait(capture)

    async def run(self) -> None:
        """Write what is captured at cuts, for ever. Raises StorageError, finally."""
        async for capture in self._captured[1]:
            try:
                await self._write(capture, compare=True)
            except StateUnwritable as error:
                self._skip(error)
            finally:
                self._turn.release()

    async def take(self) -> SnapshotMeta:
        """Write the state as it is when the snapshots before are written.

        Raises NoQuorum while nothing is applied; StateUnwritable; StorageError, finally.
        """
        async with self._turn:
            try:
                return await self._write(self.replica.capture(), compare=False)
            except StateUnwritable as error:
                self.failure = error
                raise

    async def put_in_place(self, index: Index, restore: Callable[[], object]) -> bool:
        """Have `restore` replace the replica's state by the one at `index`, and keep that in a durable file.

        False, and nothing is done, if there is a snapshot of a later state: the log may not reach back.
        """
        async with self._turn:
            if index < self.index:
                return False
            restore()
            await self._write(self.replica.capture(), compare=True)
            return True

    def note(self, index: Index) -> None:
        """There is a snapshot at `index`: taken here, found on opening, or a leader's."""
        self.index = max(self.index, index)
        if self.failure is not None and self.failure.index <= index:
            self.failure = None

    def _skip(self, error: StateUnwritable) -> None:
        self.failure = error
        logger.error(
            "%s: no snapshot, the log grows from index %s on: %s", self.id, self.index, error
        )
        self.publish(SnapshotFailed(index=Index(error.index), where=error.where, why=error.why))

    async def _write(self, capture: Capture, *, compare: bool) -> SnapshotMeta:
        hasher = sha256()
        taken = await self.storing.take_snapshot(capture, capture.digesting(hasher))
        self.note(taken.index)
        self.report(SnapshotTaken(snapshot=taken))
        if compare and capture.comparable:
            self.compare(taken, digest_of(taken, capture.version, hasher.digest()))
        return taken

    def restored(self, snapshot: SnapshotMeta, digest: bytes) -> None:
        """This node has become what a received snapshot says: others may compare theirs, or fetch it."""
        self.compare(snapshot, digest_of(snapshot, self.replica.version, digest))


def digest_of(snapshot: SnapshotMeta, version: int, digest: bytes) -> StateDigest:
    """What this node tells of its state at a snapshot."""
    return StateDigest(
        index=snapshot.index,
        format=SNAPSHOT_FORMAT,
        version=version,
        size=snapshot.size,
        digest=digest,
    )
