"""A run of entries ⇄ bytes: made once, then the same bytes for the disk and for every follower.

The form is one CBOR array, `[first, term, time_ns, elapsed_ns, kinds, [payload, …]]`
(`docs/wire-format.md`).

Laws: one run has one form, and `decode_run` refuses every other but for payloads whose length takes
more bytes than it needs. Everything before the payloads is read by hand, so that their number is
bounded before CBOR makes an object of any of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, cast

from raftkit import encoding
from raftkit.encoding import U63_MAX, U64_MAX, MalformedError, array
from raftkit.model import Index, Kind, Run, Term

__all__ = ["ENTRIES_MAX", "decode_proposal", "decode_run", "encode_proposal", "encode_run"]

ENTRIES_MAX: Final = 1 << 20
"A run of more entries is refused wherever it comes from."

_UNSIGNED, _BYTES, _ARRAY = 0, 2, 4  # CBOR's major types (RFC 8949, 3.1)
_NULL = b"\xf6"
_SHORTEST = {24: 24, 25: 1 << 8, 26: 1 << 16, 27: 1 << 32}
"The lowest number that needs this form of it; a lower one has a shorter form."


def encode_run(run: Run) -> bytes:
    """The one form of `run` on disk and wire. About 10 µs for a hundred entries of 100 bytes."""
    assert run.first >= 1
    assert run.last <= U63_MAX
    assert 1 <= run.term <= U63_MAX
    assert 0 <= run.time_ns <= U64_MAX
    assert 0 <= run.elapsed_ns <= U64_MAX
    kinds = _kinds_out(run.kinds, run.payloads)
    return encoding.dumps([run.first, run.term, run.time_ns, run.elapsed_ns, kinds, run.payloads])


def decode_run(data: bytes | memoryview, *, entries_max: int = ENTRIES_MAX) -> Run:
    """The run that `encode_run` wrote as `data`. Raises `MalformedError` for any other bytes.

    Checks form and bounds: of terms, indexes and stamps, at most `entries_max` payloads, known
    kinds. Not what payloads hold. Allocates in proportion to `data`.
    """
    at = _array(data, 6)
    first, at = _unsigned(data, at)
    term, at = _unsigned(data, at)
    time_ns, at = _unsigned(data, at)
    elapsed_ns, at = _unsigned(data, at)
    kinds, payloads = _entries(data, at, entries_max)
    if not 1 <= first <= U63_MAX - (len(payloads) - 1):
        raise MalformedError(f"{len(payloads)} entries from index {first}")
    if not 1 <= term <= U63_MAX:
        raise MalformedError(f"entries of term {term}")
    return Run(
        first=Index(first),
        term=Term(term),
        time_ns=time_ns,
        elapsed_ns=elapsed_ns,
        kinds=kinds,
        payloads=payloads,
    )


def encode_proposal(kinds: tuple[Kind, ...] | None, payloads: tuple[bytes, ...]) -> bytes:
    """Entries that are nowhere in the log yet: `[kinds, [payload, …]]`."""
    return encoding.dumps([_kinds_out(kinds, payloads), payloads])


def decode_proposal(
    data: bytes | memoryview, *, entries_max: int
) -> tuple[tuple[Kind, ...] | None, tuple[bytes, ...]]:
    """What `encode_proposal` wrote as `data`. Raises `MalformedError` for any other bytes."""
    return _entries(data, _array(data, 2), entries_max)


# ── kinds and payloads, with which both forms end ────────────────────────────────────────────────


def _kinds_out(kinds: tuple[Kind, ...] | None, payloads: Sequence[bytes]) -> bytes | None:
    """One byte a payload; None where all are commands, also where the caller spelled that out."""
    assert payloads
    assert kinds is None or len(kinds) == len(payloads)
    return bytes(kinds) if kinds is not None and any(kinds) else None


def _entries(
    data: bytes | memoryview, at: int, entries_max: int
) -> tuple[tuple[Kind, ...] | None, tuple[bytes, ...]]:
    """Kinds and payloads, which begin at `at` and end with `data`."""
    marks, at = _marks(data, at)
    count = _head(data, at, _ARRAY)[0]
    if not 1 <= count <= entries_max:
        raise MalformedError(f"{count} entries, from 1 to {entries_max} are allowed")
    # Nothing may be nested here: what CBOR allocates is bounded by `count` and the size of `data`.
    payloads = array(encoding.loads(data[at:], depth_max=1))
    if set(map(type, payloads)) != {bytes}:
        raise MalformedError("a payload that is not bytes")
    return _kinds_in(marks, count), tuple(cast("list[bytes]", payloads))


def _marks(data: bytes | memoryview, at: int) -> tuple[bytes | None, int]:
    """One byte a payload, or None; and the place after."""
    if data[at : at + 1] == _NULL:
        return None, at + 1
    size, at = _head(data, at, _BYTES)
    return bytes(data[at : at + size]), at + size


def _kinds_in(marks: bytes | None, count: int) -> tuple[Kind, ...] | None:
    if marks is None:
        return None
    if len(marks) != count:
        raise MalformedError(f"{len(marks)} kinds of {count} entries")
    if not any(marks):
        raise MalformedError("kinds where all are commands")
    try:
        return tuple(map(Kind, marks))
    except ValueError as error:
        raise MalformedError(str(error)) from error


# ── heads of CBOR items ──────────────────────────────────────────────────────────────────────────


def _array(data: bytes | memoryview, length: int) -> int:
    """The place after the head of an array of `length` positions, with which `data` begins."""
    found, at = _head(data, 0, _ARRAY)
    if found != length:
        raise MalformedError(f"{found} positions where {length} belong")
    return at


def _unsigned(data: bytes | memoryview, at: int) -> tuple[int, int]:
    """The unsigned number at `at`, below 2^64 by its form, and the place after it."""
    return _head(data, at, _UNSIGNED)


def _head(data: bytes | memoryview, at: int, major: int) -> tuple[int, int]:
    """Argument of the item at `at`, which must be of type `major`, and the place after its head."""
    if at >= len(data) or data[at] >> 5 != major:
        raise MalformedError(f"no CBOR of type {major} at byte {at}")
    argument = data[at] & 31
    if argument < 24:
        return argument, at + 1
    lowest = _SHORTEST.get(argument)
    if lowest is None:
        raise MalformedError(f"no plain CBOR at byte {at}")
    after = at + 1 + (1 << (argument - 24))
    value = int.from_bytes(data[at + 1 : after], "big")
    if after > len(data) or value < lowest:
        raise MalformedError(f"a number cut off, or not in its shortest form, at byte {at}")
    return value, after
