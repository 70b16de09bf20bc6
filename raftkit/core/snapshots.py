"""Snapshots sent and received in chunks (§5.1, §5.3), and compaction of the log behind one's own.

Laws: one chunk is under way to a follower at a time. A chunk is acknowledged when it is written; the
last one when the whole file is durable under its name. A snapshot is taken over only if every byte is
there, and only if it is ahead of what is committed here: then nothing of the old log is worth keeping.
What was received of a snapshot outlives its leader: the next one goes on there if it offers the very same,
by index, term, size and checksum. Should two files agree in all that and differ, their mixture would not.
So its bytes may come from whoever holds it: a leader says which snapshot, and need not send it all. It is
told that others do, for each part anew, and sends what does not come: who is silent or wrong costs time.
"""

from __future__ import annotations

import zlib

from raftkit.core.progress import PAUSE_MAX, Progress, Snapshotting
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
from raftkit.snapshot import SeekSnapshot, SnapshotFound, SnapshotMeta

__all__ = [
    "acknowledge",
    "next_chunk_due",
    "on_snapshot_chunk",
    "on_snapshot_found",
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
        mode.asked, mode.elsewhere = True, 0
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
    if not isinstance(mode, Snapshotting) or mode.snapshot.index != message.index:
        return
    if mode.offset != message.offset <= mode.snapshot.size:
        # Not an answer heard before: so duplicated answers don't multiply chunks.
        elsewhere = _given_elsewhere(state) if message.elsewhere else 0
        mode.advance(message.offset, state.now, elsewhere=elsewhere)
        progress.moved_at = state.now
    elif mode.offset == message.offset and mode.elsewhere and not message.elsewhere:
        mode.asked, mode.elsewhere = False, 0  # whoever had it has it no more


def _given_elsewhere(state: State) -> int:
    """Ticks for a chunk to come from another server, which keeps to the same rate, and may serve two."""
    config = state.config
    rate = config.snapshot_bytes_per_second
    paced_ms = 2 * 1000 * config.snapshot_chunk_bytes // rate if rate else 0
    return config.ticks(PAUSE_MAX * config.retry_ms + paced_ms)


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
        _report(state, sender, reception)
        return
    _take(state, sender, reception, message.data)


def on_snapshot_found(state: State, found: SnapshotFound) -> None:
    """Another server gave the next part, or none has it: then the leader is to send it."""
    reception, request = state.reception, found.request
    if (
        reception is None
        or reception.snapshot != request.snapshot
        or reception.sought != request.offset
    ):
        return
    relied_upon = reception.found
    reception.sought, reception.found = None, found.holder is not None
    leader = state.role.leader if isinstance(state.role, Follower) else None
    if leader is None or reception.offset != request.offset:
        return  # the leader sent it meanwhile, or the next one will
    if found.holder is None:
        if relied_upon:
            _reply(state, leader, request.snapshot.index, reception.offset, installed=False)
    elif _is_ahead(state, request.snapshot):
        reception.others = found.holder
        _take(state, leader, reception, found.data)


def _is_ahead(state: State, snapshot: SnapshotMeta) -> bool:
    """Whether the log has neither what is in `snapshot` nor, maybe uncommitted, its last entry."""
    return snapshot.index > state.commit_index and state.log.term(snapshot.index) != snapshot.term


def _reception(state: State, message: SnapshotChunk) -> Reception:
    """What has been received of this very snapshot, whoever sent it; anew if it is another."""
    current = state.reception
    if current is None or current.snapshot != message.snapshot:
        current = state.reception = Reception(snapshot=message.snapshot)
    return current


def _take(state: State, leader: Identity, reception: Reception, data: bytes) -> None:
    """Have the next part written; with the last one the snapshot takes the place of the log."""
    snapshot = reception.snapshot
    write = SnapshotWrite(snapshot=snapshot, offset=reception.offset, data=data)
    reception.checksum = zlib.crc32(data, reception.checksum)
    if write.last and reception.checksum != snapshot.checksum:
        _start_over(state, leader, reception)
        return
    reception.offset += len(data)
    reception.write = state.durability.sequence + 1  # the write of this step
    state.out.chunk = write
    if write.last:
        state.reset_log(snapshot)
        state.installing = (reception.write, snapshot)
        state.reception = None


def _start_over(state: State, leader: Identity, reception: Reception) -> None:
    """The whole has another checksum: receive all of it again, from the leader alone if others gave some."""
    snapshot, others = reception.snapshot, reception.others
    state.misbehaved(others or leader, f"snapshot {snapshot.index} has another checksum")
    state.reception = Reception(snapshot=snapshot, leader_only=others is not None)
    _reply(state, leader, snapshot.index, 0, installed=False)


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
            _report(state, leader, reception)
    return changed


def _report(state: State, leader: Identity, reception: Reception) -> None:
    """Say how much is here, and have others asked for what comes next.

    The leader need not send that if they had what was asked for before.
    """
    helps = reception.offset > 0 and not reception.leader_only and state.barred is None
    if helps and reception.sought is None:
        reception.sought = reception.offset
        state.out.seek = SeekSnapshot(
            snapshot=reception.snapshot, offset=reception.offset, leader=leader.id
        )
    _reply(
        state,
        leader,
        reception.snapshot.index,
        reception.offset,
        installed=False,
        elsewhere=reception.found and reception.sought == reception.offset,
    )


def _reply(
    state: State,
    leader: Identity,
    index: Index,
    offset: int,
    *,
    installed: bool,
    elsewhere: bool = False,
) -> None:
    if state.barred is None:
        message = SnapshotReply(
            term=state.current_term,
            index=index,
            offset=offset,
            installed=installed,
            elsewhere=elsewhere,
        )
        state.out.send(message, leader.id)
