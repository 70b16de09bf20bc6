"""What became of a command, as bytes: what the session table stores and a waiter is given.

Law: a reply is part of the replicated state, so it is the same on every replica; the first byte says which
of six it is. Format: `docs/command-format.md`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import attrs

from raftkit import encoding
from raftkit.encoding import MalformedError

__all__ = [
    "EXPIRED",
    "FORGOTTEN",
    "VALUE",
    "VOID",
    "Expired",
    "Failed",
    "Forgotten",
    "RejectedReply",
    "Reply",
    "Value",
    "Void",
    "decode_reply",
    "failed",
    "rejected",
]

VALUE = b"\x00"
"It was applied; the encoded result follows."
_REJECTED = b"\x01"
_FAILED = b"\x02"
EXPIRED = b"\x03"
"It was not applied: its session is unknown, or its number is outside the window of its session."
VOID = b"\x04"
"It was not applied and never will be: its number was closed by a VOID entry."
FORGOTTEN = b"\x05"
"It was applied; its reply was too much for `session_reply_bytes_max`, and only the first waiter got it."


@attrs.frozen(kw_only=True)
class Value:
    """Applied, with this result."""

    data: bytes
    "Of a typed machine `[name of the command, result]`; of a bytes machine its own bytes."


@attrs.frozen(kw_only=True)
class RejectedReply:
    """Applied, and the machine refused."""

    plain: tuple[object, ...]
    "Names of the command and of the error, and what the error holds."


@attrs.frozen(kw_only=True)
class Failed:
    """Applied, and the command's own code raised."""

    type: str
    "Name of the exception's class."
    index: int
    "Of the entry."


@attrs.frozen
class Expired:
    """See `EXPIRED`."""


@attrs.frozen
class Void:
    """See `VOID`."""


@attrs.frozen
class Forgotten:
    """See `FORGOTTEN`."""


Reply = Value | RejectedReply | Failed | Expired | Void | Forgotten


def rejected(plain: Sequence[object]) -> bytes:
    """The reply of a command that raised `Rejected`."""
    return _REJECTED + encoding.dumps(list(plain))


def failed(type_: str, index: int) -> bytes:
    """The reply of a command whose code raised."""
    return _FAILED + encoding.dumps([type_, index])


def decode_reply(reply: bytes) -> Reply:
    """The reply in these bytes. Raises MalformedError for what no replica writes."""
    match reply[:1]:
        case b"\x00":
            return Value(data=reply[1:])
        case b"\x01":
            plain: Any = encoding.loads(reply[1:])
            if type(plain) is list and plain:
                return RejectedReply(plain=tuple(cast("list[object]", plain)))
        case b"\x02":
            match encoding.loads(reply[1:]):
                case [str() as type_, int() as index]:
                    return Failed(type=type_, index=index)
                case _:
                    pass
        case _:
            for constant, found in ((EXPIRED, Expired()), (VOID, Void()), (FORGOTTEN, Forgotten())):
                if reply == constant:
                    return found
    raise MalformedError(f"not a reply: {reply!r:.80}")
