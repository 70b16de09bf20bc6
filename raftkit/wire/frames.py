"""Frames ⇄ a stream of bytes, without I/O, in h11's manner: `receive_data` in, `next_frame` out.

    length u32 · CRC-32 u32 · header (format, cluster, group, epoch, sender) · message

Laws: a length is checked before anything waits for it, the checksum before the header is believed,
the scope before the message is decoded. A decoder that failed once fails for ever: its stream has
lost step.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from enum import Enum
from typing import Final

import attrs

from raftkit.driver_messages import Frame, Scope
from raftkit.encoding import MalformedError
from raftkit.errors import LocalProtocolError, RemoteProtocolError
from raftkit.membership import Epoch, node_id
from raftkit.model import Identity, Run
from raftkit.wire.codec import decode_message, encode_message
from raftkit.wire.limits import Limits
from raftkit.wire.runs import encode_run
from raftkit.wire.tags import FORMAT, Tag

__all__ = ["FRAME_FORMAT", "NEED_DATA", "FrameDecoder", "NeedData", "encode_frame"]

FRAME_FORMAT: Final = 1
"The form of the header. It outlives versions of messages, since a hello must be readable by all."

_PREFIX = struct.Struct(">II")
"Bytes that follow this prefix; their CRC-32."
_HEADER = struct.Struct(">B16sIQQQH")
"Format, cluster, group, epoch number and nonce, incarnation, bytes of the name that follows."
_SHORTEST: Final = _HEADER.size + 1 + 2
"A header, a name of one character, version and tag of a message."
_LIMITS: Final = Limits()


class NeedData(Enum):
    """Type of `NEED_DATA`."""

    NEED_DATA = "the next frame is not whole yet"


NEED_DATA: Final = NeedData.NEED_DATA
"What `FrameDecoder.next_frame` returns until a whole frame was received."


def encode_frame(
    frame: Frame, *, limits: Limits = _LIMITS, encode_run: Callable[[Run], bytes] = encode_run
) -> bytes:
    """The bytes of `frame`, the same for every receiver. `encode_run` as in `encode_message`.

    Raises LocalProtocolError if a receiver with these `limits` would refuse their number.
    """
    scope, sender = frame.scope, frame.sender
    name = sender.id.encode()
    header = _HEADER.pack(
        FRAME_FORMAT,
        scope.cluster,
        scope.group,
        scope.epoch.number,
        scope.epoch.nonce,
        sender.incarnation,
        len(name),
    )
    content = b"".join((header, name, encode_message(frame.body, encode_run=encode_run)))
    if len(content) > limits.frame_bytes_max:
        raise LocalProtocolError(
            f"{type(frame.body).__name__} takes a frame of {len(content)} bytes, at most "
            f"{limits.frame_bytes_max} are allowed (frame_bytes_max): send it in parts"
        )
    return _PREFIX.pack(len(content), zlib.crc32(content)) + content


@attrs.define(kw_only=True)
class FrameDecoder:
    """Turns what one connection delivers into frames.

    It holds at most one frame and what was received with its end.
    """

    scope: Scope
    "What all frames but hellos and goodbyes must be of. Set anew when an unborn node is founded or admitted."
    limits: Limits = attrs.field(factory=Limits)
    "Bounds on what is accepted."
    sender_format: int = FORMAT
    "Highest version of messages that the other end announced: what it adds to ours is ignored."
    _buffer: bytearray = attrs.field(factory=bytearray, init=False)
    _failure: str | None = attrs.field(default=None, init=False)

    def receive_data(self, data: bytes) -> None:
        """Take what was read. Its bound is the caller's: read again only after NEED_DATA."""
        if self._failure is None:
            self._buffer += data

    def receive_eof(self) -> None:
        """The connection ended. Raises RemoteProtocolError if it did so inside a frame."""
        if self._failure is None and self._buffer:
            self._fail(f"the connection ended {len(self._buffer)} bytes into a frame")
        self._check_not_failed()

    def next_frame(self) -> Frame | NeedData:
        """The next frame, or NEED_DATA.

        Raises RemoteProtocolError for anything but a frame of this scope with a well-formed
        message, and from then on always: drop the connection.
        """
        self._check_not_failed()
        try:
            content = self._next_content()
            return NEED_DATA if content is None else self._decode(content)
        except RemoteProtocolError as error:
            self._fail(str(error))
            raise

    def _check_not_failed(self) -> None:
        if self._failure is not None:
            raise RemoteProtocolError(self._failure)

    def _fail(self, why: str) -> None:
        self._failure = why
        self._buffer.clear()

    def _next_content(self) -> bytes | None:
        """Header and message of the next frame, off the buffer; None if it is not whole yet."""
        buffer = self._buffer
        if len(buffer) < _PREFIX.size:
            return None
        length, checksum = _PREFIX.unpack_from(buffer)
        if not _SHORTEST <= length <= self.limits.frame_bytes_max:
            raise RemoteProtocolError(
                f"a frame of {length} bytes, from {_SHORTEST} to {self.limits.frame_bytes_max} "
                "are allowed"
            )
        end = _PREFIX.size + length
        if len(buffer) < end:
            return None
        with memoryview(buffer) as view:
            content = bytes(view[_PREFIX.size : end])
        del buffer[:end]  # a bytearray gives up its front without moving the rest
        if zlib.crc32(content) != checksum:
            raise RemoteProtocolError(f"a frame of {length} bytes fails its checksum")
        return content

    def _decode(self, content: bytes) -> Frame:
        version, cluster, group, number, nonce, incarnation, size = _HEADER.unpack_from(content)
        if version != FRAME_FORMAT:
            raise RemoteProtocolError(
                f"a frame of format {version}, this is {FRAME_FORMAT}: run a raftkit there that knows it"
            )
        start = _HEADER.size + size
        body = memoryview(content)[start:]
        scope = Scope(cluster=cluster, epoch=Epoch(number=number, nonce=nonce), group=group)
        if scope != self.scope and bytes(body[1:2]) not in _OF_ANY_SCOPE:
            raise RemoteProtocolError(f"a frame of {_other(scope, self.scope)}")
        return Frame(
            scope=scope,
            sender=Identity(id=_name(content[_HEADER.size : start]), incarnation=incarnation),
            body=decode_message(body, limits=self.limits, sender_format=self.sender_format),
        )


_OF_ANY_SCOPE: Final = (bytes([Tag.HELLO]), bytes([Tag.GOODBYE]))
"Who is of no scope yet, or of another, is to read them."


def _name(data: bytes) -> str:
    try:
        return node_id(data.decode())
    except (UnicodeDecodeError, MalformedError) as error:
        raise RemoteProtocolError(f"a sender without a proper name: {data!r:.80}") from error


def _other(found: Scope, own: Scope) -> str:
    """What differs first, from the widest to the narrowest."""
    if found.cluster != own.cluster:
        return f"cluster {found.cluster.hex()}, this node is of {own.cluster.hex()}"
    if found.epoch != own.epoch:
        return f"{found.epoch}, this node is of {own.epoch}"
    return f"group {found.group}, this node is of {own.group}"
