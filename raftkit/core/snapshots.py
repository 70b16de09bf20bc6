"""Snapshots sent and received in chunks (§5.1, §5.3), and compaction of the log behind one's own.

Laws: one chunk is under way to a follower at a time. A chunk is acknowledged when it is written; the
last one when the whole file is durable under its name. A snapshot is taken over only if every byte is
there, and only if it is ahead of what is committed here: then nothing of the old log is worth keeping.
What was received of a snapshot outlives its leader: the next one goes on there if it offers the very same,
by index, term, size and checksum. Should two files agree in all that and differ, their mixture would not.
"""

from __future__ import annotations

import zlib

from raftkit.core.progress import Progress, Snapshotting
from raftkit.core.state import Follower, Leader, Reception, Role, State
from raftkit.messages import (
    ReadSnapshot,
    SnapshotChunk,
    SnapshotInstalled,
    SnapshotRead,
    SnapshotReply,
    SnapshotTaken,
    SnapshotWrite,
)
from raftkit.model import Identity, Index, NodeId

__all__ = [
    "acknowledge",
    "next_chunk_due",
    "on_snapshot_chunk",
    "on_snapshot_read",
    "on_snapshot_reply",
    "on_snapshot_taken",
    "read_next_chunks",
]

# ── one's own ────────────────────────────────────────────────────────────────────────────────────────


def on_snapshot_taken(state: State, taken: SnapshotTaken) -> None:
    """The machine's state is in a durable file: compact the log, but for a tail for those behind.

    Compaction waits for followers that catch up after a snapshot. Else they would need the next one when
    they have this one, and so for ever where snapshots are cut faster than they are sent (§5.3).
    """
    snapshot = taken.snapshot
    if state.snapshot is not None and snapshot.index < state.snapshot.index:
        return  # a leader's snapshot, installed meanwhile, reaches further
    # One at the same index has taken the other's place on disk: that one's state was wrong (F17).
    assert snapshot.index <= state.applied_index
    state.snapshot = snapshot
    state.configurations = [
        (snapshot.configuration_index, snapshot.configuration),
        *((index, it) for index, it in state.configurations if index > snapshot.index),
    ]
    tail = Index(snapshot.index - state.config.compaction_tail_entries)
    compact_to = min([tail, *(progress.needs_after for progress, _ in state.waited_for())])
    if compact_to > state.log.base_index:
        state.log.compact(compact_to)
        state.out.compact_to = compact_to


# ── at the leader ────────────────────────────────────────────────────────────────────────────────────


def read_next_chunks(state: State, leader: Leader) -> bool:
    """Have the next chunk read for each follower that is ready for it, as far as the rate allows.

    Who has waited longest is first, so that all get their share.
    """
    ready = sorted(_ready(leader), key=lambda it: (it[1].moved_at, it[0]))
    for number, (peer, mode) in enumerate(ready):
        size = min(state.config.snapshot_chunk_bytes, mode.snapshot.size - mode.offset)
        if not _within_rate(state, leader, size):
            return number > 0
        mode.asked = True
        state.out.snapshot_reads.append(
            ReadSnapshot(
                target=peer,
                snapshot=mode.snapshot,
                offset=mode.offset,
                bytes_max=state.config.snapshot_chunk_bytes,
            )
        )
    return bool(ready)


_NEVER = 1 << 62
"A tick that nobody sees."


def next_chunk_due(state: State, leader: Leader) -> int:
    """The tick at which the rate allows a chunk that waits for it; never, if none does."""
    if not state.config.snapshot_bytes_per_second or not _ready(leader):
        return _NEVER
    return leader.chunk_due_us // (state.config.tick_ms * 1000)


def _ready(leader: Leader) -> list[tuple[NodeId, Snapshotting]]:
    """Followers that may be sent a chunk, in the order of their ids."""
    return [
        (peer, progress.mode)
        for peer, progress in leader.progress.items()
        if isinstance(progress.mode, Snapshotting) and not progress.mode.asked
    ]


def _within_rate(state: State, leader: Leader, size: int) -> bool:
    """Whether `size` bytes may be sent in this tick, to whomever; if so, they are counted."""
    rate = state.config.snapshot_bytes_per_second
    if rate:
        tick_us = state.config.tick_ms * 1000
        now_us = state.now * tick_us
        if leader.chunk_due_us >= now_us + tick_us:
            return False
        leader.chunk_due_us = max(leader.chunk_due_us, now_us) + size * 1_000_000 // rate
    return True


def on_snapshot_read(state: State, read: SnapshotRead) -> None:
    """A chunk was read: send it, if it is still the one the follower is waiting for."""
    request = read.request
    if not isinstance(state.role, Leader) or request.target not in state.role.progress:
        return
    progress = state.role.progress[request.target]
    mode = progress.mode
    if not isinstance(mode, Snapshotting) or mode.snapshot != request.snapshot:
        return
    if read.data is None:
        # A newer one has taken its place on disk.
        state.send_snapshot(progress, gone=request.snapshot)
    elif mode.offset == request.offset:
        progress.moved_at = state.now
        state.out.send(
            SnapshotChunk(
                term=state.current_term,
                snapshot=request.snapshot,
                offset=request.offset,
                data=read.data,
            ),
            request.target,
        )


def on_snapshot_reply(state: State, sender: Identity, message: SnapshotReply) -> None:
    """A follower has that much of the snapshot, or all of it."""
    progress = state.progress_of(sender)
    if progress is None:
        return
    if message.index > state.log.last_index:
        state.misbehaved(sender, f"has a snapshot at {message.index} of {state.log.last_index}")
        return
    progress.heard_at = state.now
    if message.installed:
        progress.acknowledge(message.index, state.now)
    else:
        _continue(state, progress, message)


def _continue(state: State, progress: Progress, message: SnapshotReply) -> None:
    mode = progress.mode
    if (
        isinstance(mode, Snapshotting)
        and mode.snapshot.index == message.index
        and mode.offset != message.offset <= mode.snapshot.size
    ):
        # Not an answer heard before: so duplicated answers don't multiply chunks.
        mode.advance(message.offset, state.now)
        progress.moved_at = state.now


# ── at the follower ──────────────────────────────────────────────────────────────────────────────────


def on_snapshot_chunk(state: State, sender: Identity, message: SnapshotChunk) -> None:
    """Take the next part of a leader's snapshot, or say which part is the next."""
    if not state.follow(sender):
        return
    snapshot = message.snapshot
    if state.log.term(snapshot.index) == snapshot.term:
        # This log has the snapshot's last entry, so it equals the leader's up to there (§5.3).
        state.verified_index = max(state.verified_index, snapshot.index)
        state.advance_commit_to(snapshot.index)
    if snapshot.index <= state.commit_index:
        if snapshot.index <= state.durability.index:
            _reply(state, sender, snapshot.index, snapshot.size, installed=True)
        return
    if state.out.chunk is not None:
        return  # one a step; the leader asks again
    reception = _reception(state, message)
    if reception.write:
        return  # the part before is being written; that answers when it is done
    if message.offset != reception.offset:
        _reply(state, sender, snapshot.index, reception.offset, installed=False)
        return
    _take(state, sender, reception, message)


def _reception(state: State, message: SnapshotChunk) -> Reception:
    """What has been received of this very snapshot, whoever sent it; anew if it is another."""
    current = state.reception
    if current is None or current.snapshot != message.snapshot:
        current = state.reception = Reception(snapshot=message.snapshot)
    return current


def _take(state: State, sender: Identity, reception: Reception, message: SnapshotChunk) -> None:
    """Have the chunk written; with the last one the snapshot takes the place of the log."""
    snapshot = reception.snapshot
    reception.checksum = zlib.crc32(message.data, reception.checksum)
    write = SnapshotWrite(snapshot=snapshot, offset=message.offset, data=message.data)
    if write.last and reception.checksum != snapshot.checksum:
        state.misbehaved(sender, f"snapshot {snapshot.index} has another checksum")
        state.reception = None
        _reply(state, sender, snapshot.index, 0, installed=False)
        return
    reception.offset += len(message.data)
    reception.write = state.durability.sequence + 1  # the write of this step
    state.out.chunk = write
    if write.last:
        state.reset_log(snapshot)
        state.installing = (reception.write, snapshot)
        state.reception = None


def acknowledge(state: State, role: Role) -> bool:
    """After writes completed: tell the leader what is written, install what has become durable."""
    completed = state.durability.completed
    leader = role.leader if isinstance(role, Follower) else None
    changed = False
    if state.installing is not None and state.installing[0] <= completed:
        changed = True
        _, snapshot = state.installing
        state.installing = None
        state.out.install = snapshot
        state.out.events.append(SnapshotInstalled(index=snapshot.index))
        if leader is not None:
            _reply(state, leader, snapshot.index, snapshot.size, installed=True)
    reception = state.reception
    if reception is not None and 0 < reception.write <= completed:
        changed = True
        reception.write = 0
        if leader is not None:
            _reply(state, leader, reception.snapshot.index, reception.offset, installed=False)
    return changed


def _reply(state: State, leader: Identity, index: Index, offset: int, *, installed: bool) -> None:
    if state.barred is None:
        state.out.send(
            SnapshotReply(term=state.current_term, index=index, offset=offset, installed=installed),
            leader.id,
        )
