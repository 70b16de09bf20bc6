"""Exactly once: the replicated table of who asked what, and what was answered (§6.3).

Laws: the table changes only as the log says, so it is the same on every replica; its clock is
`elapsed_ns`. A number is applied at most once, because it is in the table before it is applied and leaves
it only when its session says that it will never ask again. Nothing depends on how applying was batched.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import zip_longest
from struct import Struct
from typing import cast

import attrs

from raftkit.driver.replies import EXPIRED, FORGOTTEN, VOID
from raftkit.encoding import MalformedError
from raftkit.membership import Settings

__all__ = [
    "HEADER_BYTES",
    "NONCE_BIT",
    "OUTSTANDING_MAX",
    "PENDING",
    "VERSION_BYTES",
    "Sessions",
    "pack_header",
    "unpack_header",
    "unpack_version",
]

_HEADER = Struct(">QQQ")
HEADER_BYTES = _HEADER.size
"A payload of kind COMMAND, SESSION, VOID or VERSION begins with so many."
VERSION_BYTES = 8
"Behind the header of kind VERSION: the version that it brings in force, big-endian."
NONCE_BIT = 1 << 63
"Session ids from here on are drawn by a node at its start: asked at most once, kept in no table."
OUTSTANDING_MAX = 4096
"A session's numbers must lie this close to the lowest that it may still ask for."
PENDING = b""
"In place of a reply: admitted, and being applied in the batch at hand."


def pack_header(session: int, seq: int, ack_below: int) -> bytes:
    """24 bytes: who asks, under which number, and below which number it will never ask again."""
    return _HEADER.pack(session, seq, ack_below)


def unpack_header(payload: bytes) -> tuple[int, int, int]:
    """(session, seq, ack_below) at the beginning of `payload`. Raises MalformedError if it is shorter."""
    if len(payload) < HEADER_BYTES:
        raise MalformedError(f"{len(payload)} bytes are no session header")
    return _HEADER.unpack_from(payload)


def unpack_version(payload: bytes) -> tuple[int, int, int]:
    """(session, seq, version) in the `payload` of a version entry. Raises MalformedError."""
    session, seq, _ = unpack_header(payload)
    if len(payload) != HEADER_BYTES + VERSION_BYTES:
        raise MalformedError(f"{len(payload)} bytes are no version entry")
    return session, seq, int.from_bytes(payload[HEADER_BYTES:], "big")


@attrs.define(kw_only=True)
class _Session:
    """What the group knows of one session."""

    heard_ns: int
    "`elapsed_ns` of the last entry that named it."
    floor: int = 0
    "It will never ask again for a number below."
    replies: dict[int, bytes] = attrs.field(factory=dict[int, bytes])
    "By number, in the order of the log; a number in it is never applied again."
    size: int = 0
    "Bytes of `replies`."

    trimmed: int = 0
    "No number below is in `replies`. Only saves looking; not in snapshots."

    def trim(self, floor: int) -> None:
        """Drop what will not be asked for again."""
        if floor <= self.trimmed:
            return
        few = floor - self.trimmed <= len(self.replies)
        gone = range(self.trimmed, floor) if few else [it for it in self.replies if it < floor]
        for seq in gone:
            self.size -= len(self.replies.pop(seq, b""))
        self.trimmed = floor


class Sessions:
    """The table. All methods take what the log says and nothing else."""

    def __init__(self) -> None:
        self._sessions: dict[int, _Session] = {}

    def __len__(self) -> int:
        return len(self._sessions)

    def __contains__(self, session: int) -> bool:
        return session in self._sessions

    def register(self, session: int, elapsed_ns: int, settings: Settings) -> None:
        """Begin the session whose id is the index of the entry at hand.

        Sessions idle beyond `session_idle_ms` end here; if there are still `sessions_max`, so do those
        idle longest (of equals the oldest).
        """
        by_idleness = sorted(self._sessions, key=lambda it: (self._sessions[it].heard_ns, it))
        surplus = len(by_idleness) - max(settings.sessions_max, 1) + 1
        expired_ns = elapsed_ns - settings.session_idle_ms * 1_000_000
        for place, it in enumerate(by_idleness):
            if place < surplus or self._sessions[it].heard_ns < expired_ns:
                del self._sessions[it]
        self._sessions[session] = _Session(heard_ns=elapsed_ns)

    def admit(self, session: int, seq: int, ack_below: int, elapsed_ns: int) -> int | bytes:
        """Whether the command with this header is to be applied now.

        An int is a yes: apply it and pass the int on to `record`. Bytes are a no: the reply it had, EXPIRED,
        or PENDING if it is earlier in the batch at hand.
        """
        found = self._hear(session, seq, ack_below, elapsed_ns)
        if found is None:
            return EXPIRED
        stored = found.replies.get(seq)
        if stored is not None:
            return stored
        found.replies[seq] = PENDING
        return found.floor

    def record(self, session: int, seq: int, floor: int, reply: bytes, bytes_max: int) -> None:
        """Store the reply of an admitted command, in the order of the log.

        `floor` is what `admit` said then. What the session no longer asks for is dropped first, here rather
        than there, so that the count of bytes doesn't depend on how many were admitted ahead. A
        reply beyond `bytes_max` is FORGOTTEN: the number stays used.
        """
        found = self._sessions[session]
        found.trim(floor)
        assert found.replies[seq] == PENDING
        if found.size + len(reply) > bytes_max:
            reply = FORGOTTEN
        found.replies[seq] = reply
        found.size += len(reply)

    def void(self, session: int, seq: int, ack_below: int, elapsed_ns: int) -> bytes:
        """Close a number: the reply it had, or VOID, and no late copy of it will be applied."""
        found = self._hear(session, seq, ack_below, elapsed_ns)
        if found is None:
            return EXPIRED
        if seq not in found.replies:
            found.replies[seq] = VOID
            found.size += len(VOID)
        return found.replies[seq]

    def reply(self, session: int, seq: int) -> bytes | None:
        """What is known of a number: its reply, EXPIRED, or None while it is open. Changes nothing.

        Always None for a nonce's, of which nothing is kept.
        """
        if session >= NONCE_BIT:
            return None
        found = self._sessions.get(session)
        if found is None or seq < found.floor:
            return EXPIRED
        return found.replies.get(seq)

    def _hear(self, session: int, seq: int, ack_below: int, elapsed_ns: int) -> _Session | None:
        found = self._sessions.get(session)
        if found is None:
            return None
        found.heard_ns = elapsed_ns
        found.floor = max(found.floor, ack_below)
        # A window instead of a count: the same, as numbers are given out in a row, and cheaper.
        if not 0 <= seq - found.floor < OUTSTANDING_MAX:
            return None
        return found

    # ── snapshots ────────────────────────────────────────────────────────────────────────────────────

    def capture(self) -> list[list[object]]:
        """The table as it is now, one item a session, in the order of their ids."""
        return [
            [id_, it.floor, it.heard_ns, [part for reply in it.replies.items() for part in reply]]
            for id_, it in self._sessions.items()
        ]

    @classmethod
    def restored(cls, items: Iterator[object]) -> Sessions:
        """The table that `capture` wrote. Raises MalformedError."""
        table = cls()
        for item in items:
            match cast("list[object]", item if isinstance(item, list) else []):
                case [int() as id_, int() as floor, int() as heard_ns, flat]:
                    found = _Session(heard_ns=heard_ns, floor=floor)
                    found.replies = _replies(flat)
                    found.size = sum(map(len, found.replies.values()))
                    table._sessions[id_] = found
                case _:
                    raise MalformedError(f"not a session: {item!r:.80}")
        return table


def _replies(plain: object) -> dict[int, bytes]:
    if not isinstance(plain, list):
        raise MalformedError(f"not the replies of a session: {plain!r:.80}")
    flat, found = cast("list[object]", plain), dict[int, bytes]()
    for seq, reply in zip_longest(flat[::2], flat[1::2]):
        if type(seq) is not int or type(reply) is not bytes:
            raise MalformedError(f"not a number and its reply: {seq!r:.40}, {reply!r:.40}")
        found[seq] = reply
    return found
