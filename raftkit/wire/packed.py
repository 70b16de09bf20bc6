"""Messages that are one packed struct ⇄ bytes: what is small and frequent (`docs/wire-format.md`).

A struct costs a tenth of what CBOR does, and acknowledgements and heartbeats are most of the
traffic. `encode_packed` shows the positions of each message; a function per message says what they
may hold.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Final, TypeAlias, assert_never

from raftkit.driver_messages import ForwardAccepted
from raftkit.encoding import U63_MAX, MalformedError
from raftkit.messages import (
    AppendAccepted,
    AppendRejected,
    Heartbeat,
    HeartbeatReply,
    PreVoteReply,
    PreVoteRequest,
    ReadReply,
    ReadRequest,
    SnapshotReply,
    TimeoutNow,
    VoteReply,
    VoteRequest,
)
from raftkit.model import Index, Term
from raftkit.wire.tags import FORMAT, Tag

__all__ = [
    "PackedMessage",
    "checked_index",
    "checked_place",
    "checked_term",
    "decode_packed",
    "encode_packed",
]

PackedMessage: TypeAlias = (
    AppendAccepted
    | Heartbeat
    | HeartbeatReply
    | ReadRequest
    | ReadReply
    | ForwardAccepted
    | AppendRejected
    | SnapshotReply
    | PreVoteRequest
    | PreVoteReply
    | VoteRequest
    | VoteReply
    | TimeoutNow
)
"In the order of their frequency."

# Big-endian, without padding: version, tag, then B for a flag and Q for a u64.
_INSTALLED, _ELSEWHERE = 1, 2
"What a SnapshotReply says; 0 that the next chunk is awaited."
_ONE = struct.Struct(">BBQ")
_ONE_AND_FLAG = struct.Struct(">BBQB")
_TWO = struct.Struct(">BBQQ")
_THREE = struct.Struct(">BBQQQ")
_THREE_AND_FLAG = struct.Struct(">BBQQQB")
_FOUR = struct.Struct(">BBQQQQ")


def encode_packed(message: PackedMessage) -> bytes:
    """The one form of `message`."""
    match message:
        case AppendAccepted(term=term, index=index):
            return _TWO.pack(FORMAT, Tag.APPEND_ACCEPTED, term, index)
        case Heartbeat(term=term, round=round_, commit_index=index):
            return _THREE.pack(FORMAT, Tag.HEARTBEAT, term, round_, index)
        case HeartbeatReply(term=term, round=round_, index=index, wall_ns=wall_ns):
            return _FOUR.pack(FORMAT, Tag.HEARTBEAT_REPLY, term, round_, index, wall_ns)
        case ReadRequest(term=term, ticket=ticket):
            return _TWO.pack(FORMAT, Tag.READ_REQUEST, term, ticket)
        case ReadReply(term=term, ticket=ticket, index=index):
            return _THREE.pack(FORMAT, Tag.READ_REPLY, term, ticket, index)
        case ForwardAccepted(request=request, first=index, term=term):
            return _THREE.pack(FORMAT, Tag.FORWARD_ACCEPTED, request, index, term)
        case AppendRejected(term=term, prev_index=prev, hint_index=index, hint_term=hint_term):
            return _FOUR.pack(FORMAT, Tag.APPEND_REJECTED, term, prev, index, hint_term)
        case SnapshotReply(term=term, index=index, offset=offset):
            what = _ELSEWHERE if message.elsewhere else int(message.installed)
            return _THREE_AND_FLAG.pack(FORMAT, Tag.SNAPSHOT_REPLY, term, index, offset, what)
        case PreVoteRequest(term=term, last_index=index, last_term=last_term):
            return _THREE.pack(FORMAT, Tag.PRE_VOTE_REQUEST, term, index, last_term)
        case PreVoteReply(term=term, granted=flag):
            return _ONE_AND_FLAG.pack(FORMAT, Tag.PRE_VOTE_REPLY, term, flag)
        case VoteRequest(term=term, last_index=index, last_term=last_term, transfer=flag):
            return _THREE_AND_FLAG.pack(FORMAT, Tag.VOTE_REQUEST, term, index, last_term, flag)
        case VoteReply(term=term, granted=flag):
            return _ONE_AND_FLAG.pack(FORMAT, Tag.VOTE_REPLY, term, flag)
        case TimeoutNow(term=term):
            return _ONE.pack(FORMAT, Tag.TIMEOUT_NOW, term)
        case _:
            assert_never(message)


def decode_packed(data: bytes | memoryview, *, newer: bool = False) -> PackedMessage | None:
    """The message in `data`, or None if its tag is that of no packed message.

    Raises `MalformedError` unless every position holds what it may. `newer`: further ones are
    ignored.
    """
    found = _READERS.get(data[1])
    if found is None:
        return None
    layout, read = found
    if len(data) != layout.size and not (newer and len(data) > layout.size):
        raise MalformedError(f"{len(data)} bytes where {layout.size} belong")
    return read(layout.unpack_from(data)[2:])


def _pre_vote_request(positions: tuple[int, ...]) -> PreVoteRequest:
    term, index, last_term = positions
    # A candidate's log ends before the term it asks for begins.
    last, newest = checked_place(index, last_term, term_max=checked_term(term) - 1)
    return PreVoteRequest(term=Term(term), last_index=last, last_term=newest)


def _vote_request(positions: tuple[int, ...]) -> VoteRequest:
    term, index, last_term, transfer = positions
    last, newest = checked_place(index, last_term, term_max=checked_term(term) - 1)
    return VoteRequest(term=Term(term), last_index=last, last_term=newest, transfer=_flag(transfer))


def _vote(term: int, granted: int) -> tuple[Term, bool]:
    # Only who refuses may still be in term 0.
    return checked_term(term, lowest=1 if _flag(granted) else 0), _flag(granted)


def _pre_vote_reply(positions: tuple[int, ...]) -> PreVoteReply:
    term, granted = _vote(*positions)
    return PreVoteReply(term=term, granted=granted)


def _vote_reply(positions: tuple[int, ...]) -> VoteReply:
    term, granted = _vote(*positions)
    return VoteReply(term=term, granted=granted)


def _append_accepted(positions: tuple[int, ...]) -> AppendAccepted:
    term, index = positions
    return AppendAccepted(term=checked_term(term), index=checked_index(index))


def _append_rejected(positions: tuple[int, ...]) -> AppendRejected:
    term, prev, index, hint_term = positions
    hint, newest = checked_place(index, hint_term, term_max=checked_term(term))
    # Index 0 is never rejected, and nothing after a rejected entry can be agreed upon.
    rejected = checked_index(prev, lowest=max(1, hint))
    return AppendRejected(term=Term(term), prev_index=rejected, hint_index=hint, hint_term=newest)


def _heartbeat(positions: tuple[int, ...]) -> Heartbeat:
    term, round_, index = positions
    return Heartbeat(term=checked_term(term), round=round_, commit_index=checked_index(index))


def _heartbeat_reply(positions: tuple[int, ...]) -> HeartbeatReply:
    term, round_, index, wall_ns = positions
    return HeartbeatReply(
        term=checked_term(term), round=round_, index=checked_index(index), wall_ns=wall_ns
    )


def _read_request(positions: tuple[int, ...]) -> ReadRequest:
    term, ticket = positions
    return ReadRequest(term=checked_term(term), ticket=ticket)


def _read_reply(positions: tuple[int, ...]) -> ReadReply:
    term, ticket, index = positions
    return ReadReply(term=checked_term(term), ticket=ticket, index=checked_index(index))


def _snapshot_reply(positions: tuple[int, ...]) -> SnapshotReply:
    term, index, offset, what = positions
    if what > _ELSEWHERE:
        raise MalformedError(f"an answer of kind {what} to a snapshot")
    return SnapshotReply(
        term=checked_term(term),
        index=checked_index(index, lowest=1),
        offset=checked_index(offset),
        installed=what == _INSTALLED,
        elsewhere=what == _ELSEWHERE,
    )


def _forward_accepted(positions: tuple[int, ...]) -> ForwardAccepted:
    request, first, term = positions
    return ForwardAccepted(
        request=request, first=checked_index(first, lowest=1), term=checked_term(term)
    )


def _timeout_now(positions: tuple[int, ...]) -> TimeoutNow:
    (term,) = positions
    return TimeoutNow(term=checked_term(term))


_READERS: Final[dict[int, tuple[struct.Struct, Callable[[tuple[int, ...]], PackedMessage]]]] = {
    Tag.PRE_VOTE_REQUEST: (_THREE, _pre_vote_request),
    Tag.PRE_VOTE_REPLY: (_ONE_AND_FLAG, _pre_vote_reply),
    Tag.VOTE_REQUEST: (_THREE_AND_FLAG, _vote_request),
    Tag.VOTE_REPLY: (_ONE_AND_FLAG, _vote_reply),
    Tag.APPEND_ACCEPTED: (_TWO, _append_accepted),
    Tag.APPEND_REJECTED: (_FOUR, _append_rejected),
    Tag.HEARTBEAT: (_THREE, _heartbeat),
    Tag.HEARTBEAT_REPLY: (_FOUR, _heartbeat_reply),
    Tag.READ_REQUEST: (_TWO, _read_request),
    Tag.READ_REPLY: (_THREE, _read_reply),
    Tag.SNAPSHOT_REPLY: (_THREE_AND_FLAG, _snapshot_reply),
    Tag.FORWARD_ACCEPTED: (_THREE, _forward_accepted),
    Tag.TIMEOUT_NOW: (_ONE, _timeout_now),
}


# ── what a position may hold ─────────────────────────────────────────────────────────────────────


def checked_term(value: int, *, lowest: int = 1) -> Term:
    """The term `value`; one in which something is said is at least 1."""
    if not lowest <= value <= U63_MAX:
        raise MalformedError(f"term {value}")
    return Term(value)


def checked_index(value: int, *, lowest: int = 0) -> Index:
    """The index `value`."""
    if not lowest <= value <= U63_MAX:
        raise MalformedError(f"index {value}")
    return Index(value)


def checked_place(index: int, term: int, *, term_max: int) -> tuple[Index, Term]:
    """Index and term of an entry, or of the place before the first: 0 and 0."""
    if term > term_max or (index == 0) != (term == 0):
        raise MalformedError(f"index {index} of term {term}, where terms go up to {term_max}")
    return checked_index(index), Term(term)


def _flag(value: int) -> bool:
    if value > 1:
        raise MalformedError(f"{value} for yes or no")
    return value == 1
