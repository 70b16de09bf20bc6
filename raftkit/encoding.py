"""CBOR with nothing left to chance: what raftkit writes to disks and wires, and what it believes.

Laws: no tag is ever decoded, no trailing byte ignored, no depth beyond 16, no indefinite length, no
duplicate key. Integers beyond 64 bits would need a tag, so `loads` refuses them: write them as
bytes.
"""

from __future__ import annotations

import io
from collections import defaultdict
from collections.abc import Callable
from typing import Final, NoReturn, cast

import cbor2

__all__ = [
    "DEPTH_MAX",
    "U63_MAX",
    "U64_MAX",
    "MalformedError",
    "array",
    "dumps",
    "loads",
    "octets",
    "printable",
    "unsigned",
]

DEPTH_MAX = 16
"More containers within each other than this are refused; an empty innermost one is not counted."
U63_MAX: Final = (1 << 63) - 1
"The highest term and index."
U64_MAX: Final = (1 << 64) - 1
"The highest number of all."


class MalformedError(ValueError):
    """These bytes are not what raftkit writes."""


def _refuse(*_: object) -> NoReturn:
    raise MalformedError("tagged value")


# Every tag for which cbor2 has a decoder of its own; `tag_hook` sees all others.
_TAGS = (0, 1, 2, 3, 4, 5, 25, 28, 29, 30, 35, 36, 37, 100, 256, 258, 260, 261, 1004, 43000, 55799)
_SEMANTIC_DECODERS: dict[int, Callable[..., NoReturn]] = dict.fromkeys(_TAGS, _refuse)

_spare: defaultdict[int, list[tuple[cbor2.CBORDecoder, io.BytesIO]]] = defaultdict(list)
"""Decoders that nobody uses, by their depth, each with the stream that it reads for ever: to make one, or to
give it another stream, costs as much as to decode a command with it."""


dumps: Final[Callable[[object], bytes]] = cbor2.dumps
"A value (lists, dicts, bytes, str, ints of 64 bits, floats, bool, None) as CBOR."


def loads(data: bytes | memoryview, *, depth_max: int = DEPTH_MAX) -> object:
    """The one value in `data`, of at most `depth_max` containers within each other.

    Raises `MalformedError` for anything but one whole, plain, bounded value. Allocates up to 80
    times the size of `data`, which the caller has bounded. What CBOR can say and `dumps` never does
    (NaN, undefined, simple values, keys that are no text) is for the caller's own check of types.
    (RFC 8949)
    """
    spare = _spare[depth_max]
    try:
        pair = spare.pop()
    except IndexError:
        pair = _decoder(depth_max)
    decoder, stream = pair
    stream.write(data)
    stream.seek(0)
    try:
        value: object = decoder.decode()
    except (cbor2.CBORDecodeError, ValueError, EOFError, TypeError, RecursionError) as error:
        raise MalformedError(f"not plain CBOR: {error}") from error
    if stream.tell() != len(data):
        raise MalformedError(f"{len(data) - stream.tell()} bytes too many")
    stream.seek(0)
    stream.truncate()  # or what comes next would be read on into what came last, and a frame be held
    spare.append(pair)
    return value


def _decoder(depth_max: int) -> tuple[cbor2.CBORDecoder, io.BytesIO]:
    stream = io.BytesIO()
    decoder = cbor2.CBORDecoder(
        stream,
        max_depth=depth_max,
        allow_indefinite=False,
        allow_duplicate_keys=False,
        tag_hook=_refuse,
        semantic_decoders=_SEMANTIC_DECODERS,
    )
    return decoder, stream


# ── what a position must hold: exact types, since in Python True is 1, and bounds ────────────────


def array(value: object, length: int | None = None) -> list[object]:
    """The positions of `value`, which must be an array, of exactly `length` where that is given."""
    if type(value) is not list:
        raise MalformedError(f"not an array: {value!r:.80}")
    positions = cast("list[object]", value)
    if length is not None and len(positions) != length:
        raise MalformedError(f"{len(positions)} positions where {length} belong: {positions!r:.80}")
    return positions


def unsigned(value: object, *, lowest: int = 0, highest: int = U64_MAX) -> int:
    """The number `value`, from `lowest` to `highest`."""
    if type(value) is not int or not lowest <= value <= highest:
        raise MalformedError(f"not a number from {lowest} to {highest}: {value!r:.80}")
    return value


def octets(value: object, length: int | None = None) -> bytes:
    """The bytes `value`, exactly `length` where that is given."""
    if type(value) is not bytes or (length is not None and len(value) != length):
        raise MalformedError(f"not {'' if length is None else length} bytes: {value!r:.80}")
    return value


def printable(value: object, *, length_max: int) -> str:
    """The text `value`, of at most `length_max` characters that can all be shown as they are."""
    if type(value) is not str or len(value) > length_max or not value.isprintable():
        raise MalformedError(f"not a printable text of up to {length_max}: {value!r:.80}")
    return value
