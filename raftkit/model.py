"""The ground: terms, indexes, identities and runs of log entries.

Laws: a log index starts at 1; index 0 with term 0 is the place before the first entry. Entries travel
as runs, because one object an entry costs more than all the work done on it (`docs/decisions/0001`).
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import IntEnum
from typing import NewType

import attrs

__all__ = ["Entry", "Identity", "Index", "Kind", "NodeId", "Run", "Term"]

Term = NewType("Term", int)
"Logical time of elections (§3.3). 0 before the first; a u63 on disk and wire."

Index = NewType("Index", int)
"A place in the log. 0 is before the first entry; a u63 on disk and wire."

NodeId = str
"A node's name: 1 to 64 printable characters, unique in its group."


class Kind(IntEnum):
    """What an entry is for. The numbers are in the disk and wire formats and are never reused."""

    COMMAND = 0
    "A state machine's command, behind a session header."
    NOOP = 1
    "The first entry of a leader's term (§3.6.2, §6.4). Empty."
    CONFIGURATION = 2
    "Members and the settings that agreement depends on (§4.1)."
    SESSION = 3
    "Registers a session whose id is this entry's index (§6.3)."
    CLOCK = 4
    "Carries only its stamps, so that replicated time goes on in an idle group."
    VOID = 5
    "Closes one number of a session: answers its stored reply, or refuses late copies."
    VERSION = 6
    "Raises the version in force."
    OUTBOX = 7
    "Records that effects emitted by commands were performed."


@attrs.frozen(kw_only=True, order=True)
class Identity:
    """Who a node is: its name and the incarnation drawn when its directory was made. Never reused."""

    id: NodeId
    "Its name."
    incarnation: int
    "u64, random, drawn when the data directory is made."

    def __str__(self) -> str:
        return f"{self.id}@{self.incarnation:016x}"


@attrs.frozen(kw_only=True)
class Run:
    """Consecutive entries of one term and one stamp: `first`, `first + 1`, …, `last`."""

    first: Index
    "Index of the first payload."
    term: Term
    "The term in which a leader made these entries."
    time_ns: int
    "Wall clock of that leader, made monotone, in ns since 1970. For people and schedules."
    elapsed_ns: int
    "Leaders' monotonic clocks added up, in ns. For expiry. Never decreases along the log."
    kinds: tuple[Kind, ...] | None = None
    "One a payload; None where all are commands."
    payloads: tuple[bytes, ...]
    "One an entry, at least one; opaque to the core but for configurations."

    def __len__(self) -> int:
        return len(self.payloads)

    @property
    def last(self) -> Index:
        """Index of the last payload."""
        return Index(self.first + len(self.payloads) - 1)

    @property
    def size(self) -> int:
        """Bytes of all payloads."""
        return sum(map(len, self.payloads))

    def kind(self, index: Index) -> Kind:
        """What the entry at `index`, which must lie in this run, is for."""
        return Kind.COMMAND if self.kinds is None else self.kinds[index - self.first]

    def cut(self, first: Index, last: Index) -> Run:
        """The part from `first` to `last`, both inside this run."""
        end = self.last
        assert self.first <= first <= last <= end
        if first == self.first and last == end:
            return self
        here = slice(first - self.first, last - self.first + 1)
        kinds = None if self.kinds is None else self.kinds[here]
        if kinds is not None and not any(kinds):
            kinds = None
        return Run(
            first=first,
            term=self.term,
            time_ns=self.time_ns,
            elapsed_ns=self.elapsed_ns,
            kinds=kinds,
            payloads=self.payloads[here],
        )

    def __iter__(self) -> Iterator[Entry]:
        """The entries one by one, for people and tests."""
        for offset, payload in enumerate(self.payloads):
            index = Index(self.first + offset)
            yield Entry(
                index=index,
                term=self.term,
                time_ns=self.time_ns,
                elapsed_ns=self.elapsed_ns,
                kind=self.kind(index),
                payload=payload,
            )


@attrs.frozen(kw_only=True)
class Entry:
    """One log entry, as people and tests see it. The hot path handles runs."""

    index: Index
    "Its place in the log."
    term: Term
    "The term of the leader that made it."
    time_ns: int
    "See `Run`."
    elapsed_ns: int
    "See `Run`."
    kind: Kind
    "What it is for."
    payload: bytes
    "Opaque to the core but for configurations."
