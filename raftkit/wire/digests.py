"""Digests of replicated states, and parts of a right snapshot ⇄ bytes (`docs/wire-format.md`).

Every function raises `MalformedError` for bytes that its counterpart does not write.
"""

from __future__ import annotations

import struct
from typing import TypeAlias, assert_never

from raftkit.driver_messages import (
    DIGESTS_MAX,
    SnapshotPart,
    SnapshotWanted,
    StateDigest,
    StateDigests,
)
from raftkit.encoding import U63_MAX, MalformedError
from raftkit.wire.limits import Limits
from raftkit.wire.packed import checked_index
from raftkit.wire.tags import FORMAT, Tag

__all__ = [
    "DigestMessage",
    "decode_digests",
    "decode_part",
    "decode_very_one",
    "decode_wanted",
    "encode_digest_message",
]

DigestMessage: TypeAlias = StateDigests | SnapshotWanted | SnapshotPart
_Octets: TypeAlias = bytes | memoryview

# Big-endian, without padding: version, tag, then B for a u8, I for a u32 and Q for a u64.
_COUNT = struct.Struct(">BBB")
_DIGEST = struct.Struct(">QIIQ32s")
_WANTED = struct.Struct(">BBQQ")
_VERY_ONE = struct.Struct(">BBQQI")
_PART = struct.Struct(">BBQQI")


def encode_digest_message(message: DigestMessage) -> bytes:
    """The one form of `message`."""
    match message:
        case StateDigests(digests=digests):
            head = _COUNT.pack(FORMAT, Tag.STATE_DIGESTS, len(digests))
            return head + b"".join(
                _DIGEST.pack(it.index, it.format, it.version, it.size, it.digest) for it in digests
            )
        case SnapshotWanted(index=index, offset=offset, checksum=checksum):
            if checksum is None:
                return _WANTED.pack(FORMAT, Tag.SNAPSHOT_WANTED, index, offset)
            return _VERY_ONE.pack(FORMAT, Tag.VERY_SNAPSHOT_WANTED, index, offset, checksum)
        case SnapshotPart(index=index, offset=offset, data=data):
            return _PART.pack(FORMAT, Tag.SNAPSHOT_PART, index, offset, len(data)) + data
        case _:
            assert_never(message)


def decode_digests(data: _Octets, limits: Limits, newer: bool) -> StateDigests:
    """The digests in `data`. `newer`: what follows them is ignored."""
    _check_size(data, _COUNT.size, newer=True)
    count = data[2]
    if not 1 <= count <= DIGESTS_MAX:
        raise MalformedError(f"{count} digests, from 1 to {DIGESTS_MAX} are allowed")
    end = _COUNT.size + count * _DIGEST.size
    _check_size(data, end, newer=newer)
    found = _DIGEST.iter_unpack(data[_COUNT.size : end])
    digests = tuple(_digest(fields, limits) for fields in found)
    indexes = [it.index for it in digests]
    if indexes != sorted(set(indexes)):
        raise MalformedError(f"digests at the indexes {indexes}, which don't grow")
    return StateDigests(digests=digests)


def _digest(fields: tuple[int, int, int, int, bytes], limits: Limits) -> StateDigest:
    index, form, version, size, digest = fields
    if not form or not version or size > limits.snapshot_bytes_max:
        raise MalformedError(f"a snapshot of format {form}, version {version} and size {size}")
    return StateDigest(
        index=checked_index(index, lowest=1),
        format=form,
        version=version,
        size=size,
        digest=digest,
    )


def decode_wanted(data: _Octets, limits: Limits, newer: bool) -> SnapshotWanted:  # noqa: ARG001
    """The question in `data`. `newer`: what follows is ignored."""
    _check_size(data, _WANTED.size, newer=newer)
    _, _, index, offset = _WANTED.unpack_from(data)
    return SnapshotWanted(index=checked_index(index, lowest=1), offset=_checked_offset(offset))


def decode_very_one(data: _Octets, limits: Limits, newer: bool) -> SnapshotWanted:  # noqa: ARG001
    """The question for a certain snapshot in `data`. `newer`: what follows is ignored."""
    _check_size(data, _VERY_ONE.size, newer=newer)
    _, _, index, offset, checksum = _VERY_ONE.unpack_from(data)
    return SnapshotWanted(
        index=checked_index(index, lowest=1), offset=_checked_offset(offset), checksum=checksum
    )


def decode_part(data: _Octets, limits: Limits, newer: bool) -> SnapshotPart:  # noqa: ARG001
    """The part in `data`, which a frame has bounded. `newer`: what follows is ignored."""
    _check_size(data, _PART.size, newer=True)
    _, _, index, offset, size = _PART.unpack_from(data)
    _check_size(data, _PART.size + size, newer=newer)
    return SnapshotPart(
        index=checked_index(index, lowest=1),
        offset=_checked_offset(offset),
        data=bytes(data[_PART.size : _PART.size + size]),
    )


def _check_size(data: _Octets, size: int, *, newer: bool) -> None:
    if len(data) < size or (len(data) > size and not newer):
        raise MalformedError(f"{len(data)} bytes where {size} belong")


def _checked_offset(value: int) -> int:
    if value > U63_MAX:
        raise MalformedError(f"offset {value} of a snapshot")
    return value
