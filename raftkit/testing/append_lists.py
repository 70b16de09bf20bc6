"""Whether what clients were told of lists that only grow could have happened one call at a time.

Each key holds a list; a client appends a value that nobody else appends, or reads the list whole. Such reads
give away the order of the writes, which otherwise has to be searched for: the list read *is* the order (the
observation of Kingsbury and Alvaro's Elle, 2020, for its list-append workload). So this check is complete,
no approximation, and takes O(n log n) where the general search is exponential:

- A list never shrinks, so of two reads of a key one is a prefix of the other, and the longest fixes the place
  of every append that any read saw. What was acknowledged and never seen can only stand behind all of these.
- A read of n values has its place behind the n-th append and before the next. With that every operation
  has a rank, and any order that explains the answers is an order by rank.
- Such an order is linearizable if no operation ended before another of lower rank began. Then to sort by
  rank, equals by their call, explains all answers; and where there is such a pair nothing does.
- Keys are objects of their own, and a history is linearizable if each object's part of it is (Herlihy and
  Wing, 1990), so nothing is lost by looking at one key at a time.

Exactly once comes with it: a value that is there twice, or of an append that was said not to have happened,
or that nobody appended, is a violation of its own.

Laws: a violation is data. What is not known is never held against anyone: an append of unknown outcome may be
there, once, from its call on, or not at all. "Before" is strictly before by the clock, or by one client's own
order: its operations stand in the history as it called them, and none overlaps the next but where the
outcome is unknown.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import Enum
from typing import assert_never

import attrs

__all__ = ["Append", "Kind", "Operation", "Outcome", "Read", "Violation", "check_append_lists"]


class Outcome(Enum):
    """What a client was told of its append."""

    OK = "acknowledged"
    DID_NOT_HAPPEN = "said not to have happened, and never to happen"
    UNKNOWN = "not known"


@attrs.frozen(kw_only=True)
class Append:
    """A call that appends one value."""

    client: str
    "Who called."
    key: str
    "To which list."
    value: int
    "Appended to this list by no other call."
    invoked_at: float
    "When it was called, in seconds by a clock that all clients share."
    returned_at: float = math.inf
    "When its outcome was known. Of no meaning if that is UNKNOWN."
    outcome: Outcome
    "What became of it."

    def __str__(self) -> str:
        return (
            f"{self.client}: append {self.value} to {self.key}, {_when(self)}, {self.outcome.value}"
        )


@attrs.frozen(kw_only=True)
class Read:
    """A call that read a whole list. One that failed says nothing, and is left out of the history."""

    client: str
    "Who called."
    key: str
    "Which list."
    values: tuple[int, ...]
    "What it held; a key that nobody has appended to holds nothing."
    invoked_at: float
    "When it was called, in seconds by a clock that all clients share."
    returned_at: float
    "When it was answered."

    def __str__(self) -> str:
        shown = ", ".join(map(str, self.values[-_SHOWN:]))
        more = "… " if len(self.values) > _SHOWN else ""
        return f"{self.client}: read {self.key}, {_when(self)}, {len(self.values)}: [{more}{shown}]"


Operation = Append | Read
"What a history consists of."

_SHOWN = 8
"Values of a list that words show."


class Kind(Enum):
    """What was promised and not kept."""

    TWICE = "a value is there more than once"
    INVENTED = "a value is there that nobody appended"
    HAPPENED = "an append happened that was said not to"
    DIVERGED = "two reads have no order in common"
    LOST = "an acknowledged append is not there"
    STALE = "a read missed what was settled before it was called"
    MISPLACED = "an append took its place before what was over when it was called"


@attrs.frozen(kw_only=True)
class Violation:
    """One thing that can't be explained."""

    kind: Kind
    "What was promised."
    key: str
    "In which list."
    operations: tuple[Operation, ...]
    "Those that contradict each other, in the order in which they were called."
    words: str
    "What is wrong with them."

    def __str__(self) -> str:
        lines = "".join(f"\n  {it}" for it in self.operations)
        return f"{self.key}: {self.kind.value}: {self.words}{lines}"


def check_append_lists(history: Iterable[Operation]) -> list[Violation]:
    """All that no order of the operations explains; empty if and only if the history is linearizable.

    One violation for each value, and for each operation that something before it contradicts. Raises
    ValueError if two calls append the same value to one list: then no order can be told.
    """
    keys: dict[str, list[Operation]] = {}
    for operation in history:
        keys.setdefault(operation.key, []).append(operation)
    return [violation for key in sorted(keys) for violation in _check_key(key, keys[key])]


def _check_key(key: str, operations: Sequence[Operation]) -> Iterator[Violation]:
    """The violations in one list."""
    appends = _by_value(operations)
    reads = [it for it in operations if isinstance(it, Read)]
    longest = max(reads, key=lambda it: len(it.values), default=None)
    if longest is not None:
        yield from _wrong_values(longest, appends)
        yield from _divergences(longest, reads)
    order = longest.values if longest is not None else ()
    yield from _wrong_times(key, _ranked(operations, order))


def _by_value(operations: Iterable[Operation]) -> Mapping[int, Append]:
    """The append of each value. Raises ValueError if there are two."""
    appends: dict[int, Append] = {}
    for it in operations:
        if isinstance(it, Append):
            other = appends.setdefault(it.value, it)
            if other is not it:
                raise ValueError(f"two calls append {it.value} to {it.key}: {other}; {it}")
    return appends


def _wrong_values(longest: Read, appends: Mapping[int, Append]) -> Iterator[Violation]:
    """What can't be in any list, whatever the order."""
    for value, count in Counter(longest.values).items():
        append = appends.get(value)
        if append is None:
            words = f"no call appends {value}"
            yield Violation(kind=Kind.INVENTED, key=longest.key, operations=(longest,), words=words)
            continue
        if append.outcome is Outcome.DID_NOT_HAPPEN:
            words = f"{value} is in the list"
            yield _violation(Kind.HAPPENED, append, longest, words)
        if count > 1:
            words = f"{value} is there {count} times, and appended by one call"
            yield _violation(Kind.TWICE, append, longest, words)


def _divergences(longest: Read, reads: Iterable[Read]) -> Iterator[Violation]:
    """Reads that the longest does not begin with."""
    for read in reads:
        if not _is_prefix(read, longest.values):
            pairs = enumerate(zip(read.values, longest.values, strict=False))
            place, (one, other) = next((at, pair) for at, pair in pairs if pair[0] != pair[1])
            words = f"at place {place} one has {one}, the other {other}"
            yield _violation(Kind.DIVERGED, read, longest, words)


def _is_prefix(read: Read, order: tuple[int, ...]) -> bool:
    return order[: len(read.values)] == read.values


@attrs.frozen
class _Ranked:
    """An operation and its rank: the k-th append (from 0) has 2k + 1, a read of n values 2n."""

    rank: int
    operation: Operation
    seen: bool
    "Whether it is in the list, or a read."

    @property
    def is_over(self) -> bool:
        """Whether it is known when it was over."""
        return isinstance(self.operation, Read) or self.operation.outcome is Outcome.OK


def _ranked(operations: Iterable[Operation], order: tuple[int, ...]) -> Iterator[_Ranked]:
    """Every operation that has a place, in the order given."""
    places: dict[int, int] = {}
    for place, value in enumerate(order):
        places.setdefault(value, place)
    for it in operations:
        match it:
            case Read():
                if _is_prefix(it, order):
                    yield _Ranked(2 * len(it.values), it, seen=True)
            case Append(outcome=Outcome.DID_NOT_HAPPEN):
                pass
            case Append(value=value):
                # Behind all that was read, if nobody read it. An unknown one is never over: no harm there.
                place = places.get(value, len(order))
                yield _Ranked(2 * place + 1, it, seen=value in places)
            case _:
                assert_never(it)


def _wrong_times(key: str, ranked: Iterable[_Ranked]) -> Iterator[Violation]:
    """Operations that were called after another of higher rank was over.

    Of all that is over when one is called only the highest rank matters, so one walk through time will do.
    """
    by_call = sorted(ranked, key=lambda it: it.operation.invoked_at)
    by_return = sorted(
        (it for it in by_call if it.is_over), key=lambda it: it.operation.returned_at
    )
    over, highest = 0, _NOTHING
    own: dict[str, _Ranked] = {}
    for later in by_call:
        client, now = later.operation.client, later.operation.invoked_at
        while over < len(by_return) and by_return[over].operation.returned_at < now:
            highest = max(highest, by_return[over], key=_rank)
            over += 1
        earlier = max(highest, own.get(client, _NOTHING), key=_rank)
        if earlier.rank > later.rank:
            kind, words = _contradiction(earlier, later)
            yield Violation(
                kind=kind, key=key, operations=(earlier.operation, later.operation), words=words
            )
        if later.is_over:
            own[client] = max(own.get(client, _NOTHING), later, key=_rank)


_NOTHING = _Ranked(-1, Read(client="", key="", values=(), invoked_at=0, returned_at=0), seen=True)
"Before everything."


def _rank(it: _Ranked) -> int:
    return it.rank


def _contradiction(earlier: _Ranked, later: _Ranked) -> tuple[Kind, str]:
    """What it means that `later`, of lower rank, was called when `earlier` was over."""
    match later.operation:
        case Read() if earlier.seen:
            return (
                Kind.STALE,
                "the second was called when the first was over, and knows nothing of it",
            )
        case Append(value=value) if earlier.seen:
            return Kind.MISPLACED, f"{value} has its place before what was over when it was called"
        case Read():
            return Kind.LOST, "it was acknowledged before the read was called, and no read has it"
        case Append(value=value):
            return (
                Kind.LOST,
                f"it was acknowledged before {value} was called, and only that is there",
            )
        case _:
            assert_never(later.operation)


def _violation(kind: Kind, one: Operation, other: Operation, words: str) -> Violation:
    """A violation by two operations."""
    pair = tuple(sorted((one, other), key=lambda it: it.invoked_at))
    return Violation(kind=kind, key=one.key, operations=pair, words=words)


def _when(it: Operation) -> str:
    end = "" if math.isinf(it.returned_at) else f"{it.returned_at:.6f}"
    return f"{it.invoked_at:.6f} – {end}".rstrip()
