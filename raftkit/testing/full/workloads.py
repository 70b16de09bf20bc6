"""What clients of a full-stack world ask of a machine, and whether what they were told can be true.

`AppendLists` is checked completely and in no time, whatever its length; `Registers` asks what lists can't
(compare and swap, whose answer depends on all before), by a search that wants short histories. A
workload for a machine of your own has the same few methods.

Law: no two writes of one history are equal, so that what is read says who wrote it.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Collection, Iterable, Sequence
from enum import Enum
from typing import Any, Protocol, final

import attrs

from raftkit.model import NodeId
from raftkit.statemachine import (
    Command,
    Query,
    StateMachine,
    command,
    query,
    since,
    upgrade,
)
from raftkit.testing import append_lists
from raftkit.testing.append_lists import Outcome, check_append_lists
from raftkit.testing.linearizability import UNKNOWN, Call, NotLinearizable, check_linearizable
from raftkit.testing.world.shadows import fail

__all__ = [
    "AppendLists",
    "Asked",
    "CountingMachine",
    "How",
    "ListsMachine",
    "Registers",
    "RegistersMachine",
    "Workload",
    "slipping",
]


class How(Enum):
    """How something was asked."""

    WRITE = "a command"
    READ = "a linearizable read"
    PEEK = "a local read, which may be old"


@attrs.define(kw_only=True)
class Asked:
    """One call of a history, as its client saw it."""

    client: str
    "Who asked. What one client asks does not overlap, but where the outcome is unknown."
    how: How
    asked: Any
    "Whatever the workload drew."
    invoked_at: float
    "In seconds of trio's clock."
    returned_at: float = math.inf
    "When its outcome was known. Of no meaning if that is UNKNOWN."
    outcome: Outcome = Outcome.UNKNOWN
    "What became of it."
    answer: Any = None
    "If it is OK, and the client got to know."
    answered: bool = False
    "Whether `answer` says anything: an OK may be known from elsewhere."
    place: tuple[NodeId, int] = ("", 0)
    "For a local read: which node, in which of its lives."


class Workload(Protocol):
    """A machine, what is asked of it, and what must hold of the answers."""

    @property
    def factory(self) -> Callable[[], StateMachine]:
        """Makes the machine at index 0."""
        ...

    @property
    def newer(self) -> Callable[[], StateMachine] | None:
        """Makes the same by code of the next version, for a world in which nodes are upgraded; or None."""
        ...

    def draw_write(self, rng: random.Random) -> Any:
        """Something to write, unlike all before."""
        ...

    def draw_read(self, rng: random.Random) -> Any:
        """Something to read."""
        ...

    def all_reads(self) -> Iterable[Any]:
        """What to read at the end."""
        ...

    def command(self, asked: Any) -> Command[Any, Any]:
        """What to execute for a drawn write."""
        ...

    def query(self, asked: Any) -> Query[Any, Any]:
        """What to ask for a drawn read."""
        ...

    def check(self, history: Sequence[Asked]) -> None:
        """Raises InvariantViolated if the answers contradict what was promised."""
        ...


KEYS = ("k", "l", "m")
"What writes are about; few, so that they meet."


@attrs.define
class ListsMachine(StateMachine):
    """Lists that only grow."""

    lists: dict[str, tuple[int, ...]] = attrs.field(factory=dict[str, tuple[int, ...]])

    @command
    def append(self, key: str, value: int) -> int:
        """How long the list is then."""
        self.lists[key] = (*self.lists.get(key, ()), value)
        return len(self.lists[key])

    @query
    def read(self, key: str) -> tuple[int, ...]:
        """All of one list."""
        return self.lists.get(key, ())


@attrs.define
class CountingMachine(ListsMachine):
    """The same by newer code: from version 2 on it counts, and reads nothing that it has not counted."""

    counting: bool = attrs.field(default=False, metadata=since(2))
    counts: dict[str, int] = attrs.field(factory=dict[str, int], metadata=since(2))

    @upgrade(to=2)
    def begin_to_count(self) -> None:
        """Count what is there."""
        self.counting = True
        self.counts = {key: len(values) for key, values in self.lists.items()}

    @command
    def append(self, key: str, value: int) -> int:
        """How long the list is then."""
        if self.counting:
            self.counts[key] = self.counts.get(key, 0) + 1
        self.lists[key] = (*self.lists.get(key, ()), value)
        return len(self.lists[key])

    @query
    def read(self, key: str) -> tuple[int, ...]:
        """All of one list."""
        values = self.lists.get(key, ())
        if self.counting and self.counts.get(key, 0) != len(values):
            fail("U3 CountedOnce", f"{self.counts} of {self.lists}")
        return values


@final
@attrs.define
class AppendLists:
    """Appends of values that nobody else appends, and reads of whole lists."""

    factory: Callable[[], StateMachine] = ListsMachine
    newer: Callable[[], StateMachine] | None = None
    _next: int = attrs.field(init=False, default=0)

    def draw_write(self, rng: random.Random) -> tuple[str, int]:
        """A key and a new value."""
        self._next += 1
        return rng.choice(KEYS), self._next

    def draw_read(self, rng: random.Random) -> str:
        """A key."""
        return rng.choice(KEYS)

    def all_reads(self) -> Iterable[str]:
        """Every key."""
        return KEYS

    def command(self, asked: tuple[str, int]) -> Command[Any, Any]:
        """An append."""
        key, value = asked
        return ListsMachine.append(key=key, value=value)

    def query(self, asked: str) -> Query[Any, Any]:
        """A whole list."""
        return ListsMachine.read(key=asked)

    def check(self, history: Sequence[Asked]) -> None:
        """Linearizable, exactly once, definite errors definite; local reads old at worst."""
        violations = check_append_lists(_operation(it) for it in history if it.how is not How.PEEK)
        if violations:
            fail(f"C1 {violations[0].kind.name}", f"{violations[0]}")
        longest: dict[str, tuple[int, ...]] = dict.fromkeys(KEYS, ())
        for it in history:
            if it.how is How.READ:
                longest[it.asked] = max(longest[it.asked], it.answer, key=len)
        _check_peeks(history, longest)
        _check_places(history, longest)


def _operation(it: Asked) -> append_lists.Operation:
    if it.how is How.READ:
        return append_lists.Read(
            client=it.client,
            key=it.asked,
            values=it.answer,
            invoked_at=it.invoked_at,
            returned_at=it.returned_at,
        )
    key, value = it.asked
    return append_lists.Append(
        client=it.client,
        key=key,
        value=value,
        invoked_at=it.invoked_at,
        returned_at=it.returned_at,
        outcome=it.outcome,
    )


def _check_peeks(history: Iterable[Asked], longest: dict[str, tuple[int, ...]]) -> None:
    """Local reads are beginnings of the lists, and one life of a node never goes back."""
    seen: dict[tuple[str, NodeId, int], int] = {}
    for it in sorted((it for it in history if it.how is How.PEEK), key=lambda it: it.returned_at):
        if longest[it.asked][: len(it.answer)] != it.answer:
            fail(
                "C2 LocalPrefix",
                f"{it.place} had {it.answer} for {it.asked}, of {longest[it.asked]}",
            )
        before = seen.get((it.asked, *it.place), 0)
        if len(it.answer) < before:
            fail(
                "C3 LocalMonotone",
                f"{it.place} had {before} values for {it.asked}, then {it.answer}",
            )
        seen[it.asked, *it.place] = len(it.answer)


def _check_places(history: Iterable[Asked], longest: dict[str, tuple[int, ...]]) -> None:
    """An append was answered with its own place, however often it was sent."""
    for it in history:
        if it.how is How.WRITE and it.answered:
            key, value = it.asked
            if longest[key][it.answer - 1 : it.answer] != (value,):
                fail("C4 AnswerIsItsOwn", f"{it.client} was told {it.answer} for {value} in {key}")


def slipping(values: Collection[int]) -> Callable[[], StateMachine]:
    """Makes lists like `ListsMachine`, but of each of `values` the first replica to append it miscounts once.

    What it counts is in the state and nobody reads it: histories stay right, and digests tell.
    """
    waiting = set(values)

    @attrs.define
    class SlippingMachine(ListsMachine):
        count: int = 0

        @command
        def append(self, key: str, value: int) -> int:
            """How long the list is then."""
            self.count += 1 + (value in waiting)
            waiting.discard(value)
            self.lists[key] = (*self.lists.get(key, ()), value)
            return len(self.lists[key])

    return SlippingMachine


@attrs.define
class RegistersMachine(StateMachine):
    """One number for each key, 0 at first."""

    registers: dict[str, int] = attrs.field(factory=dict[str, int])

    @command
    def write(self, key: str, value: int) -> int:
        """What was there before."""
        before = self.registers.get(key, 0)
        self.registers[key] = value
        return before

    @command
    def swap(self, key: str, expected: int, value: int) -> bool:
        """Write `value` if `expected` is there; whether it was."""
        if self.registers.get(key, 0) != expected:
            return False
        self.registers[key] = value
        return True

    @query
    def read(self, key: str) -> int:
        """What is there."""
        return self.registers.get(key, 0)


@final
@attrs.define
class Registers:
    """Writes, compare-and-swaps and reads of a few numbers. Wants worlds of few calls."""

    factory: Callable[[], StateMachine] = RegistersMachine
    newer: Callable[[], StateMachine] | None = None
    _next: int = attrs.field(init=False, default=0)

    def draw_write(self, rng: random.Random) -> tuple[str, int | None, int]:
        """A key, what is expected (None: anything), and a new value."""
        self._next += 1
        expected = rng.randrange(max(0, self._next - 4), self._next) if rng.random() < 0.5 else None
        return rng.choice(KEYS), expected, self._next

    def draw_read(self, rng: random.Random) -> str:
        """A key."""
        return rng.choice(KEYS)

    def all_reads(self) -> Iterable[str]:
        """Every key."""
        return KEYS

    def command(self, asked: tuple[str, int | None, int]) -> Command[Any, Any]:
        """A write or a swap."""
        key, expected, value = asked
        if expected is None:
            return RegistersMachine.write(key=key, value=value)
        return RegistersMachine.swap(key=key, expected=expected, value=value)

    def query(self, asked: str) -> Query[Any, Any]:
        """One number."""
        return RegistersMachine.read(key=asked)

    def check(self, history: Sequence[Asked]) -> None:
        """Linearizable, by search. Of local reads nothing is asked."""
        calls = [
            Call(
                client=it.client,
                asked=it.asked,
                answer=it.answer if it.answered else UNKNOWN,
                invoked_at=it.invoked_at,
                returned_at=it.returned_at,
            )
            for it in history
            if it.how is not How.PEEK and it.outcome is not Outcome.DID_NOT_HAPPEN
        ]
        try:
            check_linearizable(
                calls, initial=0, apply=_registers_model, part_of=_key_of, steps_max=2_000_000
            )
        except NotLinearizable as error:
            fail("C1 NotLinearizable", str(error))


def _key_of(asked: str | tuple[str, int | None, int]) -> str:
    return asked if isinstance(asked, str) else asked[0]


def _registers_model(state: int, asked: str | tuple[str, int | None, int]) -> tuple[Any, int]:
    """The machine once more, as simple as can be: the answer and the state after."""
    match asked:
        case str():
            return state, state
        case (_, None, value):
            return state, value
        case (_, expected, value):
            return state == expected, value if state == expected else state
