"""Datagrams ⇄ bytes: a head in the clear, then what only members can have written.

    "RK" · format and scheme u8 · key id u8 · cluster tag 8 B · start u64 · stream u32 · number u64
    kind u8 · body · seal

Laws: nothing of a stranger is kept: its key is derived, tried and forgotten. What is cheap to check is
checked first: size, then the head, then the seal, and only then is the content looked at. A sender
numbers each of its streams by itself, so no number is given twice under one key.
"""

from __future__ import annotations

import hashlib
import struct
from collections import OrderedDict
from enum import Enum, IntEnum
from typing import Final, TypeAlias

import attrs

from raftkit.encoding import U64_MAX
from raftkit.errors import LocalProtocolError
from raftkit.wire.sealing import HEAD_BYTES, ClusterKeys, Seal

__all__ = [
    "CONTROL_STREAM",
    "DATAGRAM_BYTES_MAX",
    "DATAGRAM_FORMAT",
    "NUMBERS_END",
    "Datagram",
    "DatagramKind",
    "NumberedStream",
    "Opener",
    "Range",
    "Refused",
    "Sealer",
    "cluster_tag",
]

DATAGRAM_FORMAT: Final = 1
"The form of head and content."
DATAGRAM_BYTES_MAX: Final = 65_507
"What fits into one UDP datagram over IPv4."
CONTROL_STREAM: Final = 0
"The stream of all datagrams but chunks: unordered, never repaired."
NUMBERS_END: Final = U64_MAX
"No datagram has this number, so that the one after the last can be told."
Range: TypeAlias = tuple[int, int]
"Numbers of a stream: the first, and the one after the last."
_STREAMS_END: Final = 1 << 32
_MAGIC: Final = b"RK"
_HEAD = struct.Struct(">2sBB8sQIQ")
assert _HEAD.size == HEAD_BYTES


class DatagramKind(IntEnum):
    """What a datagram is. A number that is given up is not used again."""

    HELLO = 1
    OPEN = 2
    ACCEPT = 3
    CONFIRM = 4
    STATUS = 5
    HEAD = 6
    NACK = 7
    GONE = 8
    PING = 9
    BYE = 10
    TAKEN = 11
    CHUNK = 32
    "The only kind on streams other than `CONTROL_STREAM`."


_KINDS: Final = {int(kind): kind for kind in DatagramKind}


class Refused(Enum):
    """Why a datagram was not believed. In the order in which it is checked."""

    SHORT = "too short for a datagram of ours"
    LONG = "too long for a datagram"
    MAGIC = "not a datagram of ours"
    FORMAT = "of another format"
    SCHEME = "sealed in another way"
    CLUSTER = "of another cluster"
    OWN = "our own, come back"
    NUMBER = "of a number that none has"
    KEY = "sealed with a key that is not in use here"
    SEAL = "not sealed by a member, or changed on its way"
    KIND = "of a kind that its stream does not carry"
    MALFORMED = "sealed, but not well formed"


@attrs.frozen(kw_only=True)
class Datagram:
    """One that was sealed by a member."""

    start: int
    "Who sent it: 64 bits drawn when its endpoint was opened."
    stream: int
    "On which of its streams."
    number: int
    "Which one of the stream, from 0; less than `NUMBERS_END`."
    kind: DatagramKind
    "What it is: a chunk on every stream but `CONTROL_STREAM`, and only there."
    body: bytes
    "The rest, not looked at."


def cluster_tag(name: str) -> bytes:
    """Eight bytes that tell the cluster called `name` from others on the same group and port."""
    return hashlib.sha256(b"raftkit multicast" + name.encode()).digest()[:8]


@attrs.define(kw_only=True)
class NumberedStream:
    """A stream of the datagrams of one sender. Made by `Sealer.open_stream`."""

    number: int
    "Of the stream."
    head: int = 0
    "The number of the next datagram: as many were sealed."
    _prefix: bytes = attrs.field(repr=False, alias="prefix")
    "The head but for the number."
    _seal: Seal = attrs.field(repr=False, alias="seal_with")

    def seal(self, kind: DatagramKind, body: bytes) -> bytes:
        """The next datagram of the stream.

        Raises LocalProtocolError when its 2^64 - 1 numbers are used up: open another endpoint.
        """
        number = self.head
        if number >= NUMBERS_END:
            raise LocalProtocolError(
                f"stream {self.number} has used up its numbers: open another endpoint"
            )
        self.head = number + 1
        return self._seal.seal(self._prefix + number.to_bytes(8, "big"), bytes((kind,)) + body)


@attrs.define(kw_only=True)
class Sealer:
    """Makes the datagrams of one endpoint: of one start, under one key."""

    cluster: bytes
    "The `cluster_tag`."
    keys: ClusterKeys
    start: int
    "64 bits drawn anew for each endpoint: with those of another life, nonces would repeat."
    control: NumberedStream = attrs.field(init=False)
    "The `CONTROL_STREAM`."
    _seal: Seal = attrs.field(init=False, repr=False)
    _next_stream: int = attrs.field(init=False, default=CONTROL_STREAM)

    def __attrs_post_init__(self) -> None:
        self._seal = self.keys.seal_of(self.keys.sealing, self.start)
        self.control = self.open_stream()

    def open_stream(self) -> NumberedStream:
        """A stream with the next number, and all its own still to give: 1, 2, … after the control stream.

        Raises LocalProtocolError after 2^32 of them: open another endpoint.
        """
        number = self._next_stream
        if number >= _STREAMS_END:
            raise LocalProtocolError("2^32 streams were opened: open another endpoint")
        self._next_stream = number + 1
        form = DATAGRAM_FORMAT << 4 | self.keys.scheme.code
        prefix = _HEAD.pack(_MAGIC, form, self.keys.sealing, self.cluster, self.start, number, 0)
        return NumberedStream(number=number, prefix=prefix[:-8], seal_with=self._seal)


@attrs.define(kw_only=True)
class Opener:
    """Decides what is believed of what arrives at one endpoint."""

    cluster: bytes
    "The `cluster_tag`."
    keys: ClusterKeys
    own: int
    "The start of this endpoint, whose multicasts may come back."
    starts_max: int = 256
    "Derived keys that are kept: of those that sealed something last."
    _seals: OrderedDict[tuple[int, int], Seal] = attrs.field(
        init=False, repr=False, factory=OrderedDict[tuple[int, int], Seal]
    )
    "By key id and start, the last used at the end. Only what sealed a datagram comes in."

    def open(self, data: bytes) -> Datagram | Refused:
        """The datagram in `data`, or why it is none: it is to be counted and forgotten."""
        scheme = self.keys.scheme
        if len(data) <= HEAD_BYTES + scheme.seal_bytes:
            return Refused.SHORT
        if len(data) > DATAGRAM_BYTES_MAX:
            return Refused.LONG
        magic, form, key_id, cluster, start, stream, number = _HEAD.unpack_from(data)
        if magic != _MAGIC:
            return Refused.MAGIC
        if form >> 4 != DATAGRAM_FORMAT:
            return Refused.FORMAT
        if form & 15 != scheme.code:
            return Refused.SCHEME
        if cluster != self.cluster:
            return Refused.CLUSTER
        if start == self.own:
            return Refused.OWN
        if number >= NUMBERS_END:
            return Refused.NUMBER
        if key_id not in self.keys.ring:
            return Refused.KEY
        content = self._content(key_id, start, data)
        if content is None:
            return Refused.SEAL
        kind = _KINDS.get(content[0])
        if kind is None or (kind is DatagramKind.CHUNK) == (stream == CONTROL_STREAM):
            return Refused.KIND
        return Datagram(start=start, stream=stream, number=number, kind=kind, body=content[1:])

    def _content(self, key_id: int, start: int, data: bytes) -> bytes | None:
        """What is under the seal, if it is of this start. Its key is kept only then."""
        known = self._seals.get((key_id, start))
        seal = self.keys.seal_of(key_id, start) if known is None else known
        content = seal.open(data)
        if content is not None:
            self._seals[key_id, start] = seal
            self._seals.move_to_end((key_id, start))
            if len(self._seals) > self.starts_max:
                self._seals.popitem(last=False)
        return content
