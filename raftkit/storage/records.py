"""Records: how each step of the log lies in a segment, byte for byte (`docs/disk-format.md`).

    magic · length · type · durable · sequence · previous · header checksum | body · padding · checksum

Laws: both checksums take in where the record lies (`seed` names the segment, the offset the place), so a
record found anywhere else is not valid. `previous` chains each record to the one before. `durable` says how
much of the segment was synced when the record was written: an intact record proves all that lies below it.
The length is believed only after the header's own checksum.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from enum import IntEnum

import attrs

from raftkit.encoding import MalformedError
from raftkit.model import Identity, Index, Run, Term
from raftkit.wire.codec import decode_run, encode_run
from raftkit.wire.runs import ENTRIES_MAX

__all__ = [
    "ALIGNMENT",
    "HEADER_SIZE",
    "MAGIC",
    "Record",
    "RecordType",
    "decode",
    "decode_base",
    "decode_footer",
    "decode_hard_state",
    "decode_run_body",
    "decode_truncation",
    "encode",
    "encode_base",
    "encode_footer",
    "encode_hard_state",
    "encode_run_body",
    "encode_truncation",
    "peek_size",
    "record_size",
    "run_span",
    "search",
]

MAGIC = b"\xa7log"
"Starts every record, so that records after a broken one are found."
ALIGNMENT = 8
"Records start at multiples of this, and their size is one."
_HEAD = struct.Struct("<4sIIIQI")  # magic, length, type, durable, sequence, previous
_CHECKSUM = struct.Struct("<I")
_PLACE = struct.Struct("<Q")
HEADER_SIZE = _HEAD.size + _CHECKSUM.size
"Bytes before the body. The last 8 of them hold two checksums, never zero in practice."
_PADDING = (b"", *(bytes(n) for n in range(1, ALIGNMENT)))


class RecordType(IntEnum):
    """What a record does. The numbers are in the format and are never reused."""

    HARD_STATE = 1
    "Term and vote, together."
    RUN = 2
    "Appends entries."
    TRUNCATION = 3
    "Removes an entry and all after it."
    BASE = 4
    "Entries up to here are in a snapshot and not needed any more; those after it stay."
    RESET = 5
    "A received snapshot has replaced the whole log, which is empty after it."
    PROOF = 6
    "Does nothing but prove what lies before it."
    FOOTER = 7
    "Ends a segment: where its live entries lie."


_TYPES = {int(kind): kind for kind in RecordType}


@attrs.frozen(kw_only=True)
class Record:
    """One intact record."""

    type: RecordType
    "What it does."
    durable: int
    "Offset in this segment below which all was synced when this was written."
    sequence: int
    "Of the `Write` that it is part of, or of the last one before it."
    previous: int
    "Checksum of the record before, or of the segment's header."
    checksum: int
    "Its own."
    body: memoryview
    "See the `decode_…` of its type."
    offset: int
    "Where in the segment it starts."
    end: int
    "Where the next one starts."


def record_size(length: int) -> int:
    """Bytes of a record whose body has `length` bytes."""
    return (HEADER_SIZE + length + _CHECKSUM.size + ALIGNMENT - 1) & -ALIGNMENT


def encode(
    type: RecordType,  # noqa: A002 - the field's name
    body: tuple[bytes, ...],
    *,
    seed: int,
    offset: int,
    durable: int,
    sequence: int,
    previous: int,
) -> tuple[tuple[bytes, ...], int, int]:
    """The parts of a record to be joined, its size and its checksum. Copies nothing of `body`."""
    assert offset % ALIGNMENT == 0
    assert durable <= offset
    length = sum(map(len, body))
    head = _HEAD.pack(MAGIC, length, type, durable, sequence, previous)
    checksum = zlib.crc32(head, zlib.crc32(_PLACE.pack(offset), seed))
    header = head + _CHECKSUM.pack(checksum)
    size = record_size(length)
    padding = _PADDING[size - HEADER_SIZE - length - _CHECKSUM.size]
    for part in (*body, padding):
        checksum = zlib.crc32(part, checksum)
    return (header, *body, padding + _CHECKSUM.pack(checksum)), size, checksum


def peek_size(data: bytes | memoryview, at: int, *, seed: int, offset: int) -> int | None:
    """Bytes of the record whose header is at `at` of `data` and `offset` of its segment.

    None if there is no intact header; the record's body may be missing or bad.
    """
    if at + HEADER_SIZE > len(data):
        return None
    head = data[at : at + _HEAD.size]
    if head[:4] != MAGIC:
        return None
    (checksum,) = _CHECKSUM.unpack_from(data, at + _HEAD.size)
    if zlib.crc32(head, zlib.crc32(_PLACE.pack(offset), seed)) != checksum:
        return None
    return record_size(_HEAD.unpack(head)[1])


def decode(data: bytes | memoryview, at: int, *, seed: int, offset: int) -> Record | None:
    """The record at `at` of `data` and `offset` of its segment. None if it is not there, or not intact."""
    size = peek_size(data, at, seed=seed, offset=offset)
    if size is None or at + size > len(data):
        return None
    _, length, type, durable, sequence, previous = _HEAD.unpack_from(data, at)  # noqa: A001
    view = memoryview(data)
    (seen,) = _CHECKSUM.unpack_from(data, at + _HEAD.size)
    (checksum,) = _CHECKSUM.unpack_from(data, at + size - _CHECKSUM.size)
    if zlib.crc32(view[at + HEADER_SIZE : at + size - _CHECKSUM.size], seen) != checksum:
        return None
    if type not in _TYPES:
        return None
    return Record(
        type=_TYPES[type],
        durable=durable,
        sequence=sequence,
        previous=previous,
        checksum=checksum,
        body=view[at + HEADER_SIZE : at + HEADER_SIZE + length],
        offset=offset,
        end=offset + size,
    )


def search(data: bytes, start: int, *, seed: int, offset: int) -> Iterator[Record]:
    """Intact records wherever they are from `start` on in `data`, which begins at `offset` of its segment."""
    at = data.find(MAGIC, start)
    while at >= 0:
        if (offset + at) % ALIGNMENT == 0:
            record = decode(data, at, seed=seed, offset=offset + at)
            if record is not None:
                yield record
        at = data.find(MAGIC, at + 1)


# ── bodies ───────────────────────────────────────────────────────────────────────────────────────────
# A body that does not decode raises MalformedError: its checksum was right, so a bug or an enemy wrote it.

_HARD_STATE = struct.Struct("<QQI")  # term, incarnation, bytes of the name (0: no vote)
_SPAN = struct.Struct("<QQQ")  # first, last, term
_INDEX = struct.Struct("<Q")
_BASE = struct.Struct("<QQQ")  # index, term, first segment still needed
_FOOTER = struct.Struct("<QQI")  # last index, cut, number of stretches


def encode_hard_state(term: Term, voted_for: Identity | None) -> tuple[bytes, ...]:
    """Body of HARD_STATE."""
    if voted_for is None:
        return (_HARD_STATE.pack(term, 0, 0),)
    name = voted_for.id.encode()
    assert name
    return (_HARD_STATE.pack(term, voted_for.incarnation, len(name)) + name,)


def decode_hard_state(body: memoryview) -> tuple[Term, Identity | None]:
    """What `encode_hard_state` was given."""
    term, incarnation, length = _unpack(_HARD_STATE, body)
    name = bytes(body[_HARD_STATE.size :])
    if len(name) != length:
        raise MalformedError(f"a name of {len(name)} bytes, {length} announced")
    try:
        voted_for = Identity(id=name.decode(), incarnation=incarnation) if name else None
    except UnicodeDecodeError as error:
        raise MalformedError(str(error)) from error
    return Term(term), voted_for


def encode_run_body(run: Run) -> tuple[bytes, ...]:
    """Body of RUN: what finds entries without decoding them, then the run as it goes over the wire."""
    assert len(run) <= ENTRIES_MAX, "no run is written that would not be read"
    return _SPAN.pack(run.first, run.last, run.term), encode_run(run)


def run_span(body: memoryview) -> tuple[Index, Index, Term]:
    """First index, last index and term of a RUN, without its entries."""
    first, last, term = _unpack(_SPAN, body)
    if not 1 <= first <= last:
        raise MalformedError(f"a run from {first} to {last}")
    return Index(first), Index(last), Term(term)


def decode_run_body(body: memoryview) -> Run:
    """What `encode_run_body` was given."""
    run = decode_run(body[_SPAN.size :])
    if (run.first, run.last, run.term) != run_span(body):
        raise MalformedError("a run that contradicts itself")
    return run


def encode_truncation(first: Index) -> tuple[bytes, ...]:
    """Body of TRUNCATION."""
    return (_INDEX.pack(first),)


def decode_truncation(body: memoryview) -> Index:
    """What `encode_truncation` was given."""
    return Index(_unpack(_INDEX, body)[0])


def encode_base(index: Index, term: Term, first_segment: int) -> tuple[bytes, ...]:
    """Body of BASE and of RESET: the new base, and the oldest segment that is still needed."""
    return (_BASE.pack(index, term, first_segment),)


def decode_base(body: memoryview) -> tuple[Index, Term, int]:
    """What `encode_base` was given."""
    index, term, first_segment = _unpack(_BASE, body)
    return Index(index), Term(term), first_segment


def encode_footer(last: Index, cut: int, stretches: bytes, start: int) -> tuple[bytes, ...]:
    """Body of FOOTER, whose record starts at `start`. Its size leaves no padding: `start` ends it."""
    count, rest = divmod(len(stretches), _SPAN.size)
    assert rest == 0
    body = _FOOTER.pack(last, cut, count) + stretches + _INDEX.pack(start)
    assert (len(body) + _CHECKSUM.size) % ALIGNMENT == 0
    return (body,)


def decode_footer(body: memoryview) -> tuple[Index, int, memoryview]:
    """Last index, cut, and stretches as `encode_footer` was given them."""
    if len(body) < _FOOTER.size + _INDEX.size:
        raise MalformedError(f"a footer of {len(body)} bytes")
    last, cut, count = _FOOTER.unpack_from(body)
    stretches = body[_FOOTER.size : -_INDEX.size]
    if len(stretches) != count * _SPAN.size:
        raise MalformedError(f"{len(stretches)} bytes for {count} stretches")
    return Index(last), cut, stretches


def _unpack(form: struct.Struct, body: memoryview) -> tuple[int, ...]:
    """The fields at the start of `body`."""
    if len(body) < form.size:
        raise MalformedError(f"a body of {len(body)} bytes where {form.size} belong")
    return form.unpack_from(body)
