"""Messages ⇄ bytes, position by position (`docs/wire-format.md`).

Every message begins with the version of its form and its tag. What is small and frequent is one
packed struct; what carries entries or a snapshot is a packed header and length-prefixed blobs, so
that a run encoded once serves the disk and every follower; what is rare is positional CBOR
(`hello.py`, `referrals.py`).

Laws: a message that `decode_message` returns is well formed, and anything else is
RemoteProtocolError. Positions after the last known one are ignored only from a sender of a higher
version than this one, once that was announced.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from typing import Final, TypeAlias

from raftkit import encoding
from raftkit.driver_messages import (
    ChangeMade,
    ChangeReferral,
    DriverMessage,
    Forward,
    ForwardRefused,
    Goodbye,
    Hello,
    LeadershipMoved,
    Membership,
    Presence,
    ReferralFailed,
    SnapshotPart,
    SnapshotWanted,
    StateDigests,
    TransferReferral,
)
from raftkit.encoding import MalformedError, array, unsigned
from raftkit.errors import RemoteProtocolError
from raftkit.membership import Configuration, node_id
from raftkit.messages import (
    AppendEntries,
    Message,
    Refusal,
    SnapshotChunk,
)
from raftkit.model import Index, Kind, Run, Term
from raftkit.snapshot import SnapshotMeta
from raftkit.wire.digests import (
    decode_digests,
    decode_part,
    decode_very_one,
    decode_wanted,
    encode_digest_message,
)
from raftkit.wire.hello import decode_goodbye, decode_hello, encode_goodbye, encode_hello
from raftkit.wire.limits import Limits, control_part
from raftkit.wire.packed import (
    checked_index,
    checked_place,
    checked_term,
    decode_packed,
    encode_packed,
)
from raftkit.wire.presence import decode_presence, decode_ranked_presence, encode_presence
from raftkit.wire.referrals import (
    decode_change_made,
    decode_change_referral,
    decode_leadership_moved,
    decode_referral_failed,
    decode_transfer_referral,
    encode_referral,
)
from raftkit.wire.runs import decode_proposal, decode_run, encode_proposal, encode_run
from raftkit.wire.tags import FORMAT, Tag

__all__ = ["FORMAT", "Tag", "decode_message", "decode_run", "encode_message", "encode_run"]

_REFUSALS: Final = {
    Refusal.NOT_LEADER: 1,
    Refusal.OVERLOADED: 2,
    Refusal.TOO_LARGE: 3,
    Refusal.LEADER_LOST: 4,
    Refusal.TRANSFERRING: 5,
    Refusal.UNDER_WAY: 6,
    Refusal.TOO_EARLY: 7,
    Refusal.OVERTAKEN: 8,
    Refusal.BEHIND: 9,
    Refusal.INVALID: 10,
}
"Fixed for ever, as the tags are."
_REFUSAL_OF: Final = {number: refusal for refusal, number in _REFUSALS.items()}

_LEADERS_OWN: Final = frozenset({Kind.NOOP, Kind.CONFIGURATION})
"Kinds that no node proposes through another."

_Octets: TypeAlias = bytes | memoryview

# Big-endian, without padding: version, tag, then Q for a u64 and I for a u32.
_TAGGED = struct.Struct(">BB")
_APPEND = struct.Struct(">BBQQQQI")
_SNAPSHOT = struct.Struct(">BBQQQQQQQIQII")
_FORWARD = struct.Struct(">BBQI")
_MEMBERSHIP = struct.Struct(">BBQI")
_LENGTH = struct.Struct(">I")


def encode_message(
    message: Message | DriverMessage, *, encode_run: Callable[[Run], bytes] = encode_run
) -> bytes:
    """The one form of `message`.

    `encode_run` may be a cache of what `encode_run` has said before: the driver writes those bytes
    to disk too, and sends them to every follower.
    """
    match message:
        case AppendEntries():
            return _append_out(message, encode_run)
        case SnapshotChunk():
            return _snapshot_out(message)
        case Forward(request=request, kinds=kinds, payloads=payloads):
            blob = encode_proposal(kinds, payloads)
            return _FORWARD.pack(FORMAT, Tag.FORWARD, request, len(blob)) + blob
        case ForwardRefused(request=request, reason=reason, leader=leader):
            body = encoding.dumps([request, _REFUSALS[reason], leader])
            return _TAGGED.pack(FORMAT, Tag.FORWARD_REFUSED) + body
        case StateDigests() | SnapshotWanted() | SnapshotPart():
            return encode_digest_message(message)
        case Membership(index=index, configuration=configuration):
            blob = configuration.encode()
            return _MEMBERSHIP.pack(FORMAT, Tag.MEMBERSHIP, index, len(blob)) + blob
        case Presence():
            tag = Tag.RANKED_PRESENCE if message.priority else Tag.PRESENCE
            return _TAGGED.pack(FORMAT, tag) + encode_presence(message)
        case Hello():
            return _TAGGED.pack(FORMAT, Tag.HELLO) + encode_hello(message)
        case Goodbye():
            return _TAGGED.pack(FORMAT, Tag.GOODBYE) + encode_goodbye(message)
        case (
            ChangeReferral()
            | TransferReferral()
            | ChangeMade()
            | LeadershipMoved()
            | ReferralFailed()
        ):
            return encode_referral(message)
        case _:
            return encode_packed(message)


def _append_out(message: AppendEntries, encode: Callable[[Run], bytes]) -> bytes:
    parts = [
        _APPEND.pack(
            FORMAT,
            Tag.APPEND_ENTRIES,
            message.term,
            message.prev_index,
            message.prev_term,
            message.commit_index,
            len(message.runs),
        )
    ]
    for run in message.runs:
        blob = encode(run)
        parts += _LENGTH.pack(len(blob)), blob
    return b"".join(parts)


def _snapshot_out(message: SnapshotChunk) -> bytes:
    snapshot = message.snapshot
    configuration = snapshot.configuration.encode()
    header = _SNAPSHOT.pack(
        FORMAT,
        Tag.SNAPSHOT_CHUNK,
        message.term,
        snapshot.index,
        snapshot.term,
        snapshot.configuration_index,
        snapshot.time_ns,
        snapshot.elapsed_ns,
        snapshot.size,
        snapshot.checksum,
        message.offset,
        len(configuration),
        len(message.data),
    )
    return b"".join((header, configuration, message.data))


# ── reading ──────────────────────────────────────────────────────────────────────────────────────


def decode_message(
    data: bytes | memoryview, *, limits: Limits, sender_format: int = FORMAT
) -> Message | DriverMessage:
    """The message that `encode_message` wrote as `data`.

    `sender_format` is the version that its sender announced. Raises RemoteProtocolError for
    anything that is not well formed or exceeds `limits`. Allocates in proportion to `data`.
    """
    if len(data) < _TAGGED.size:
        raise RemoteProtocolError(f"a message of {len(data)} bytes")
    version, tag = data[0], data[1]
    if tag == Tag.HELLO and version > sender_format:
        # What every version can read: a sender that does not write it knows no version that we do.
        raise RemoteProtocolError(
            f"it speaks raftkit's wire format from version {version} on, this node up to {FORMAT}: "
            "run a raftkit there, or here, that knows both"
        )
    if not FORMAT <= version <= sender_format:
        raise RemoteProtocolError(
            f"a message of version {version}, from {FORMAT} to {sender_format} was agreed"
        )
    newer = version > FORMAT
    try:
        packed = decode_packed(data, newer=newer)
        if packed is not None:
            return packed
        read = _READERS.get(tag)
        if read is None:
            raise MalformedError("none that this node knows")
        return read(data, limits, newer)
    except MalformedError as error:
        raise RemoteProtocolError(f"a message of tag {tag}: {error}") from error


def _append_entries(data: _Octets, limits: Limits, newer: bool) -> AppendEntries:
    term, prev_index, prev_term, commit_index, count = _unpack_header(_APPEND, data)
    runs: list[Run] = []
    entries, at = 0, _APPEND.size
    for _ in range(count):  # ends with `data`, whatever was announced
        size, at = _cut(data, at, _LENGTH.size)
        blob, at = _cut(data, at, int.from_bytes(size, "big"))
        runs.append(decode_run(blob, entries_max=limits.entries_max - entries))
        entries += len(runs[-1])
    _check_end(data, at, newer=newer)
    prev, newest = checked_place(prev_index, prev_term, term_max=checked_term(term))
    _check_order(runs, after=(prev, newest), term_max=term)
    for run in runs:
        _check_payloads(run.kinds, run.payloads, limits)
    return AppendEntries(
        term=Term(term),
        prev_index=prev,
        prev_term=newest,
        commit_index=checked_index(commit_index),
        runs=tuple(runs),
    )


def _check_order(runs: Iterable[Run], *, after: tuple[Index, Term], term_max: int) -> None:
    """Whether `runs` are contiguous and their terms never regress (§3.5)."""
    index, term = after
    for run in runs:
        if run.first != index + 1 or not term <= run.term <= term_max:
            raise MalformedError(
                f"index {run.first} of term {run.term} after {index} of term {term}, "
                f"said in term {term_max}"
            )
        index, term = run.last, run.term


def _check_payloads(
    kinds: tuple[Kind, ...] | None, payloads: tuple[bytes, ...], limits: Limits
) -> None:
    largest = max(map(len, payloads))
    if largest > limits.entry_bytes_max:
        raise MalformedError(f"an entry of {largest} bytes, at most {limits.entry_bytes_max}")
    for kind, payload in zip(kinds or (), payloads, strict=False):
        if kind is Kind.NOOP and payload:
            raise MalformedError(f"a no-op of {len(payload)} bytes")
        if kind is Kind.CONFIGURATION:
            _configuration(payload, limits)


def _configuration(data: _Octets, limits: Limits) -> Configuration:
    if len(data) > limits.control_bytes_max:
        raise MalformedError(f"a configuration of {len(data)} bytes")
    return Configuration.decode(bytes(data))


def _snapshot_chunk(data: _Octets, limits: Limits, newer: bool) -> SnapshotChunk:
    (
        term,
        index,
        last_term,
        configuration_index,
        time_ns,
        elapsed_ns,
        size,
        checksum,
        offset,
        configuration_size,
        chunk_size,
    ) = _unpack_header(_SNAPSHOT, data)
    configuration, at = _cut(data, _SNAPSHOT.size, configuration_size)
    chunk, at = _cut(data, at, chunk_size)
    _check_end(data, at, newer=newer)
    last, newest = checked_place(index, last_term, term_max=checked_term(term))
    if not configuration_index <= last or last == 0:
        raise MalformedError(f"a snapshot of {last} with a configuration of {configuration_index}")
    if size > limits.snapshot_bytes_max or offset + len(chunk) > size or (size and not chunk):
        raise MalformedError(f"{len(chunk)} bytes at {offset} of a snapshot of {size}")
    snapshot = SnapshotMeta(
        index=last,
        term=newest,
        configuration=_configuration(configuration, limits),
        configuration_index=Index(configuration_index),
        time_ns=time_ns,
        elapsed_ns=elapsed_ns,
        size=size,
        checksum=checksum,
    )
    return SnapshotChunk(term=Term(term), snapshot=snapshot, offset=offset, data=bytes(chunk))


def _forward(data: _Octets, limits: Limits, newer: bool) -> Forward:
    request, size = _unpack_header(_FORWARD, data)
    blob, at = _cut(data, _FORWARD.size, size)
    _check_end(data, at, newer=newer)
    kinds, payloads = decode_proposal(blob, entries_max=limits.entries_max)
    _check_payloads(kinds, payloads, limits)
    if kinds is not None and not _LEADERS_OWN.isdisjoint(kinds):
        raise MalformedError("a no-op or configuration that is proposed for another node")
    return Forward(request=request, payloads=payloads, kinds=kinds)


def _forward_refused(data: _Octets, limits: Limits, newer: bool) -> ForwardRefused:
    positions = array(encoding.loads(control_part(data, limits)))
    request, number, leader = array(positions[:3] if newer else positions, 3)
    reason = _REFUSAL_OF.get(unsigned(number))
    if reason is None:
        raise MalformedError(f"refused for reason {number}")
    return ForwardRefused(
        request=unsigned(request),
        reason=reason,
        leader=None if leader is None else node_id(leader),
    )


def _hello(data: _Octets, limits: Limits, newer: bool) -> Hello:
    return decode_hello(control_part(data, limits), newer=newer)


def _goodbye(data: _Octets, limits: Limits, newer: bool) -> Goodbye:
    return decode_goodbye(control_part(data, limits), newer=newer)


def _membership(data: _Octets, limits: Limits, newer: bool) -> Membership:
    index, size = _unpack_header(_MEMBERSHIP, data)
    blob, at = _cut(data, _MEMBERSHIP.size, size)
    _check_end(data, at, newer=newer)
    return Membership(
        index=checked_index(index, lowest=1), configuration=_configuration(blob, limits)
    )


_READERS: Final[dict[int, Callable[[_Octets, Limits, bool], Message | DriverMessage]]] = {
    Tag.APPEND_ENTRIES: _append_entries,
    Tag.SNAPSHOT_CHUNK: _snapshot_chunk,
    Tag.HELLO: _hello,
    Tag.FORWARD: _forward,
    Tag.FORWARD_REFUSED: _forward_refused,
    Tag.STATE_DIGESTS: decode_digests,
    Tag.SNAPSHOT_WANTED: decode_wanted,
    Tag.VERY_SNAPSHOT_WANTED: decode_very_one,
    Tag.SNAPSHOT_PART: decode_part,
    Tag.MEMBERSHIP: _membership,
    Tag.CHANGE_REFERRAL: decode_change_referral,
    Tag.TRANSFER_REFERRAL: decode_transfer_referral,
    Tag.CHANGE_MADE: decode_change_made,
    Tag.LEADERSHIP_MOVED: decode_leadership_moved,
    Tag.REFERRAL_FAILED: decode_referral_failed,
    Tag.PRESENCE: decode_presence,
    Tag.RANKED_PRESENCE: decode_ranked_presence,
    Tag.GOODBYE: _goodbye,
}


# ── parts of composed messages ───────────────────────────────────────────────────────────────────


def _unpack_header(layout: struct.Struct, data: _Octets) -> tuple[int, ...]:
    """The positions with which `data` begins, after version and tag."""
    if len(data) < layout.size:
        raise MalformedError(f"{len(data)} bytes where at least {layout.size} belong")
    return layout.unpack_from(data)[2:]


def _cut(data: _Octets, at: int, size: int) -> tuple[_Octets, int]:
    """The `size` bytes at `at`, and the place after them."""
    end = at + size
    if end > len(data):
        raise MalformedError(f"{size} bytes announced, {len(data) - at} there")
    return data[at:end], end


def _check_end(data: _Octets, at: int, *, newer: bool) -> None:
    if at != len(data) and not newer:
        raise MalformedError(f"{len(data) - at} bytes too many")
