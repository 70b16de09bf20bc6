"""A message in pieces, a datagram each: what is lost is sent again, and nothing else.

    lane u8 · i u16 · n u16 · targets u64 · bytes

Laws: the pieces of a message have consecutive numbers in their stream, and all but the last the same
size. Splitting is ours and not IP's, because IP loses a whole datagram with each of its fragments.
"""

from __future__ import annotations

import struct
from typing import Final

import attrs

from raftkit.encoding import U64_MAX, MalformedError
from raftkit.errors import ConfigError, LocalProtocolError
from raftkit.wire.datagram import DATAGRAM_BYTES_MAX
from raftkit.wire.lanes import Lane
from raftkit.wire.sealing import HEAD_BYTES, Scheme

__all__ = [
    "CHUNKS_MAX",
    "DATAGRAM_BYTES_MIN",
    "Chunk",
    "chunk_bytes_max",
    "decode_chunk",
    "encode_chunk",
    "split",
]

CHUNKS_MAX: Final = (1 << 16) - 1
"Of one message."
DATAGRAM_BYTES_MIN: Final = 512
"What any network carries whole (IPv4 guarantees 576 with its own headers)."
_PLACE = struct.Struct(">BHHQ")
_LANES: Final = tuple(Lane)


@attrs.frozen(kw_only=True)
class Chunk:
    """A piece of a message."""

    lane: Lane
    "Of the message."
    i: int
    "Which piece it is, from 0; its message began `i` numbers earlier in the stream."
    n: int
    "How many pieces the message has: from 1 to `CHUNKS_MAX`."
    targets: int
    "Whom it is for: a bit for each receiver, numbered as its link was told. At least one."
    data: bytes
    "The piece: at least one byte."


def encode_chunk(chunk: Chunk) -> bytes:
    """The body of a datagram of kind `CHUNK`."""
    return _PLACE.pack(chunk.lane, chunk.i, chunk.n, chunk.targets) + chunk.data


def decode_chunk(body: bytes) -> Chunk:
    """The piece in `body`. Raises MalformedError for what `encode_chunk` does not write."""
    if len(body) <= _PLACE.size:
        raise MalformedError(f"a chunk of {len(body)} bytes, more than {_PLACE.size} are needed")
    lane: int
    lane, i, n, targets = _PLACE.unpack_from(body)
    if lane >= len(_LANES):
        raise MalformedError(f"a chunk of lane {lane}, the last is {len(_LANES) - 1}")
    if i >= n:
        raise MalformedError(f"chunk {i} of {n}")
    if not targets:
        raise MalformedError("a chunk for nobody")
    return Chunk(lane=_LANES[lane], i=i, n=n, targets=targets, data=body[_PLACE.size :])


def chunk_bytes_max(datagram_bytes: int, scheme: Scheme) -> int:
    """How much of a message fits into a datagram of `datagram_bytes`, the headers of IP and UDP not counted.

    Raises ConfigError if that is out of bounds.
    """
    if not DATAGRAM_BYTES_MIN <= datagram_bytes <= DATAGRAM_BYTES_MAX:
        raise ConfigError(
            f"datagrams of {datagram_bytes} bytes: choose from {DATAGRAM_BYTES_MIN} to "
            f"{DATAGRAM_BYTES_MAX}, best what your network carries whole (its MTU less 28, IPv6 48)"
        )
    return datagram_bytes - HEAD_BYTES - 1 - _PLACE.size - scheme.seal_bytes


def split(message: bytes, lane: Lane, targets: int, *, chunk_bytes: int) -> tuple[Chunk, ...]:
    """The pieces of `message`, which is not empty: of `chunk_bytes`, the last of what remains.

    Raises LocalProtocolError if there were more than `CHUNKS_MAX`.
    """
    assert message
    assert 0 < targets <= U64_MAX
    n = -(-len(message) // chunk_bytes)
    if n > CHUNKS_MAX:
        raise LocalProtocolError(
            f"a message of {len(message)} bytes takes {n} datagrams, at most {CHUNKS_MAX} are "
            "allowed: send it in parts"
        )
    return tuple(
        Chunk(
            lane=lane,
            i=i,
            n=n,
            targets=targets,
            data=message[i * chunk_bytes : (i + 1) * chunk_bytes],
        )
        for i in range(n)
    )
