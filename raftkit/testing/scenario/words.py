"""How a scenario says what happens: one short line for each message, write, event and answer.

Laws: a place in a log is written index/T-term ("3/T2"). Wall clocks and stamps are never said, so that a
line changes only when the protocol does. What is said is what left the core, never what was meant to.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby
from typing import assert_never

from raftkit.changes import MembershipChanged, MembershipUnknown
from raftkit.core import Raft
from raftkit.core.progress import Snapshotting, Streaming
from raftkit.core.state import Leader
from raftkit.leadership import NotHandedOver, SteppedDown
from raftkit.messages import (
    Answer,
    AppendAccepted,
    AppendEntries,
    AppendRejected,
    Event,
    Heartbeat,
    HeartbeatReply,
    LeaderElected,
    LeaderLost,
    Message,
    PeerMisbehaved,
    PreVoteReply,
    PreVoteRequest,
    Proposed,
    ReadConfirmed,
    ReadReply,
    ReadRequest,
    Refused,
    RoleChanged,
    SnapshotChunk,
    SnapshotReply,
    TimeoutNow,
    VoteReply,
    VoteRequest,
    Write,
)
from raftkit.model import Entry, Identity, Index, Kind, NodeId, Run, Term
from raftkit.testing.world.disk import LogImage, WorldDisk

__all__ = [
    "KINDS",
    "answer_words",
    "disk_words",
    "entries",
    "event_words",
    "log_words",
    "message_words",
    "place",
    "state_words",
    "status_words",
    "terms",
    "write_words",
]

KINDS: dict[str, type[Message]] = {
    "pre-vote": PreVoteRequest,
    "pre-vote-reply": PreVoteReply,
    "vote": VoteRequest,
    "vote-reply": VoteReply,
    "append": AppendEntries,
    "accepted": AppendAccepted,
    "rejected": AppendRejected,
    "heartbeat": Heartbeat,
    "heartbeat-reply": HeartbeatReply,
    "read": ReadRequest,
    "read-reply": ReadReply,
    "chunk": SnapshotChunk,
    "chunk-reply": SnapshotReply,
    "timeout-now": TimeoutNow,
}
"How commands name the kinds of messages."

_TERMS_MAX = 9
"More entries of one term are counted, not written one by one."
_KIND_WORDS = {Kind.CONFIGURATION: "configuration", Kind.NOOP: "no-op"}


# ── logs ─────────────────────────────────────────────────────────────────────────────────────────────


def place(index: Index, term: Term) -> str:
    """A place in a log."""
    return f"{index}/T{term}"


def terms(log: LogImage) -> str:
    """A log as the terms of its entries, "1.1.2", long ones "1.2x60"; what is compacted is "(3/T1)"."""
    base = f"({place(log.base_index, log.base_term)})" if log.base_index else ""
    counts = ((str(term), len(list(group))) for term, group in groupby(log.terms))
    parts = (f"{term}x{n}" if n > _TERMS_MAX else ".".join([term] * n) for term, n in counts)
    return base + ".".join(parts) or "empty"


def entries(runs: Iterable[Run]) -> str:
    """Entries one by one: where each stands, and what it is."""
    return ", ".join(_entry(entry) for run in runs for entry in run)


def _entry(entry: Entry) -> str:
    where = place(entry.index, entry.term)
    if entry.kind is not Kind.COMMAND:
        return f"{where} {_KIND_WORDS.get(entry.kind, entry.kind.name.lower())}"
    name = entry.payload.rstrip(b".").decode(errors="backslashreplace")
    if len(name) < len(entry.payload):
        return f"{where} {name} ({len(entry.payload)} bytes)"
    return where if name == where else f"{where} {name}"


def log_words(log: LogImage) -> str:
    """A whole log."""
    base = [f"up to {place(log.base_index, log.base_term)} compacted"] if log.base_index else []
    return ", ".join([*base, *([entries(log.runs)] if log.runs else [])])


# ── what leaves a core ───────────────────────────────────────────────────────────────────────────────


def message_words(message: Message) -> str:
    """One message."""
    term = f"T{message.term}"
    match message:
        case PreVoteRequest():
            return f"pre-vote {term}, last {place(message.last_index, message.last_term)}"
        case VoteRequest():
            transfer = ", transfer" if message.transfer else ""
            return f"vote {term}, last {place(message.last_index, message.last_term)}{transfer}"
        case PreVoteReply():
            return f"pre-vote-reply {term} {_granted(message.granted)}"
        case VoteReply():
            return f"vote-reply {term} {_granted(message.granted)}"
        case AppendEntries():
            after = place(message.prev_index, message.prev_term)
            return f"append {term} after {after} [{entries(message.runs)}] commit {message.commit_index}"
        case AppendAccepted():
            return f"accepted {term} up to {message.index}"
        case AppendRejected():
            hint = place(message.hint_index, message.hint_term)
            return f"rejected {term} after {message.prev_index}, hint {hint}"
        case Heartbeat():
            return f"heartbeat {term} round {message.round} commit {message.commit_index}"
        case HeartbeatReply():
            return f"heartbeat-reply {term} round {message.round} up to {message.index}"
        case ReadRequest():
            return f"read {term} #{message.ticket}"
        case ReadReply():
            return f"read-reply {term} #{message.ticket} at {message.index}"
        case SnapshotChunk():
            snapshot, end = message.snapshot, message.offset + len(message.data)
            which = place(snapshot.index, snapshot.term)
            return (
                f"chunk {term} of snapshot {which}, bytes {message.offset}-{end} of {snapshot.size}"
            )
        case SnapshotReply(installed=True):
            return f"chunk-reply {term} snapshot {message.index} is here"
        case SnapshotReply():
            gets = ", gets more elsewhere" if message.elsewhere else ""
            return f"chunk-reply {term} snapshot {message.index}, has {message.offset} bytes{gets}"
        case TimeoutNow():
            return f"timeout-now {term}"
        case _:
            assert_never(message)


def _granted(granted: bool) -> str:
    return "granted" if granted else "refused"


def write_words(write: Write) -> str:
    """One write, in the order in which it is done."""
    parts: list[str] = []
    if write.hard_state is not None:
        parts.append(_hard_state(*write.hard_state))
    if write.chunk is not None:
        end = write.chunk.offset + len(write.chunk.data)
        meta = write.chunk.snapshot
        which = place(meta.index, meta.term)
        parts.append(f"snapshot {which} bytes {write.chunk.offset}-{end} of {meta.size}")
    if write.truncate_from is not None:
        parts.append(f"removal from {write.truncate_from} on")
    if write.runs:
        parts.append(entries(write.runs))
    if write.compact_to is not None:
        parts.append(f"compaction up to {write.compact_to}")
    return "; ".join(parts)


def _hard_state(term: Term, vote: Identity | None) -> str:
    return f"T{term}, vote {'-' if vote is None else vote.id}"


def event_words(event: Event, me: NodeId) -> str:
    """One event of server `me`. Empty for what another line says already."""
    match event:
        case LeaderElected(leader=leader) if leader == me:
            return ""
        case RoleChanged():
            return f"becomes {event.role}, T{event.term}"
        case LeaderElected():
            return f"follows {event.leader}, T{event.term}"
        case LeaderLost(leader=leader) if leader == me:
            return "leads no more"
        case LeaderLost():
            return f"loses its leader {event.leader}"
        case PeerMisbehaved(peer=peer, what=what):
            return f"says that {peer.id} misbehaves: {what}"
        case _:
            return ""


def answer_words(answer: Answer) -> str:
    """How a call was answered."""
    match answer:
        case Proposed():
            return f"answers: proposed at {place(answer.first, answer.term)}"
        case ReadConfirmed(expires_ns=expires_ns):
            by = "" if expires_ns is None else f", by lease until {expires_ns // 1_000_000} ms"
            return f"answers: read #{answer.ticket} at {answer.index}{by}"
        case Refused():
            ask = "" if answer.leader is None else f"; ask {answer.leader}"
            why = f": {answer.detail}" if answer.detail else ""
            return f"answers: refused, {answer.reason.value}{why}{ask}"
        case SteppedDown():
            return f"answers: stepped down, T{answer.term}"
        case NotHandedOver():
            ask = "" if answer.leader is None else f"; {answer.leader} leads"
            return f"answers: not handed over, {answer.reason.value}{ask}"
        case MembershipChanged():
            return f"answers: change #{answer.ticket} is done, at {answer.index}"
        case MembershipUnknown():
            return f"answers: change #{answer.ticket} may be lost"
        case _:
            assert_never(answer)


# ── what a server is ─────────────────────────────────────────────────────────────────────────────────


def state_words(raft: Raft, log: LogImage) -> str:
    """What a server knows, without its clocks."""
    state = raft.state
    vote = "-" if state.voted_for is None else state.voted_for.id
    leader = "" if raft.leader in (None, state.identity.id) else f" of {raft.leader}"
    barred = "" if state.barred is None else f", barred: {state.barred}"
    part = state.reception
    has = "" if part is None else f", {part.offset} bytes of snapshot {part.snapshot.index}"
    return (
        f"{raft.role}{leader} T{raft.term} vote {vote}, log {terms(log)}, durable {raft.durable_index}, "
        f"verified {state.verified_index}, commit {raft.commit_index}, applied {state.applied_index}"
        f"{has}{barred}"
    )


def status_words(raft: Raft) -> list[str]:
    """A leader's followers, one a line."""
    role = raft.state.role
    if not isinstance(role, Leader):
        return [f"{raft.role}, leads nobody"]
    lines: list[str] = []
    for peer, it in role.progress.items():
        match it.mode:
            case Streaming(in_flight=in_flight):
                mode = f"streaming, {len(in_flight)} in flight"
            case Snapshotting(snapshot=snapshot, offset=offset):
                mode = f"snapshotting {snapshot.index}, {offset} of {snapshot.size} bytes"
            case _:
                mode = "probing"
        lines.append(f"{peer}: match {it.match_index}, next {it.next_index}, {mode}")
    return lines


def disk_words(disk: WorldDisk) -> list[str]:
    """What a crash now would leave, and what it would lose."""
    snapshot = "" if disk.snapshot is None else f", snapshot {disk.snapshot.index}"
    durable = f"{_hard_state(disk.term, disk.voted_for)}, log {terms(disk.log)}{snapshot}"
    return [durable, *(f"not yet: {write_words(write)}" for write in disk.queue)]
