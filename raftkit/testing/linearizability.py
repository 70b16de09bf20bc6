"""Whether a history of concurrent calls could have been answered one at a time, each between call and return.

The search of Wing and Gong (1993), with the memory of places already tried that Lowe added (2017), on each
part of the state by itself, since a history is linearizable if that of every independent object is
(Herlihy and Wing 1990, locality).

Laws: an answer that nobody knows fits anything, at any time after its call, or never. Nothing is guessed: a
search that does not end within its bound says so, and that is no "yes".
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Sequence
from enum import Enum
from typing import Any, Final, Literal

import attrs

__all__ = ["UNKNOWN", "Call", "NotLinearizable", "Undecided", "Unknown", "check_linearizable"]


class Unknown(Enum):
    """Type of `UNKNOWN`."""

    UNKNOWN = "nobody knows whether it happened, nor what it returned"


UNKNOWN: Final = Unknown.UNKNOWN
"The answer of a call whose outcome is not known. What certainly did not happen is left out of the history."


@attrs.frozen(kw_only=True)
class Call:
    """One call of the history."""

    client: str
    "Who called, for people."
    asked: Any
    "What was asked: whatever `apply` takes."
    answer: Any | Literal[Unknown.UNKNOWN]
    "What was answered, compared with ==, or UNKNOWN."
    invoked_at: float
    "When it was asked, by a clock that all clients share."
    returned_at: float = math.inf
    "When it was answered, not before it was asked. Of no meaning if the answer is UNKNOWN."

    def __str__(self) -> str:
        if self.answer is UNKNOWN:
            return f"{self.client}: {self.asked!r} → ? ({self.invoked_at:g} –)"
        return (
            f"{self.client}: {self.asked!r} → {self.answer!r}"
            f" ({self.invoked_at:g} – {self.returned_at:g})"
        )


class NotLinearizable(AssertionError):
    """No order of the calls explains their answers."""

    def __init__(self, part: Hashable, explained: Sequence[Call], stuck: Call) -> None:
        lines = "\n".join(f"  {call}" for call in explained[-_SHOWN:])
        where = "" if part is None else f" of {part!r}"
        super().__init__(
            f"no order explains the answers{where}. The longest that was found ends with\n"
            f"{lines or '  nothing'}\nand then nothing that fits could come before the return of\n  {stuck}"
        )
        self.part = part
        "Which part of the state, as `part_of` names it."
        self.explained = tuple(explained)
        "The longest order found."
        self.stuck = stuck
        "The call that has no place behind it."


class Undecided(AssertionError):
    """The search was given up: the history is neither proven nor refuted. Take it as a failure."""


_SHOWN: Final = 12
"Calls that a message shows."


def check_linearizable(
    history: Iterable[Call],
    *,
    initial: Hashable,
    apply: Callable[[Any, Any], tuple[Any, Hashable]],
    part_of: Callable[[Any], Hashable] = lambda _: None,
    steps_max: int = 5_000_000,
) -> None:
    """Find an order of the calls in which a machine that starts at `initial` gives the answers they got.

    `apply(state, asked)` returns the answer and the state after it; it is pure, and states are hashable.
    `part_of(asked)` names the independent part of the state that a call is about, each a machine of its own:
    the search is exponential in the calls that are open at the same time, so parts are worth much.

    Raises NotLinearizable if there is none, and Undecided if `steps_max` calls to `apply` don't suffice.
    """
    parts: dict[Hashable, list[Call]] = {}
    for call in history:
        parts.setdefault(part_of(call.asked), []).append(call)
    for part, calls in parts.items():
        _Search(part, calls, apply, steps_max).run(initial)


@attrs.define(eq=False, slots=True)
class _Event:
    """A call or a return, in a list that is linked both ways so that both can be lifted out and put back."""

    call: Call | None
    bit: int
    "Of the call, in the set of those that have their place."
    answered: _Event | None = None
    "A call's own return; None at a return, and where no answer is known."
    is_call: bool = False
    before: _Event = attrs.field(init=False)
    after: _Event | None = None

    def lift(self) -> None:
        """Take it out."""
        self.before.after = self.after
        if self.after is not None:
            self.after.before = self.before

    def put_back(self) -> None:
        """Undo `lift`, in the opposite order of lifting."""
        self.before.after = self
        if self.after is not None:
            self.after.before = self


def _linked(calls: list[Call]) -> _Event:
    """What happened, in order, behind a head. At equal times calls come first: they may overlap."""
    timed: list[tuple[float, bool, int, _Event]] = []
    for place, call in enumerate(calls):
        event = _Event(call, 1 << place, is_call=True)
        timed.append((call.invoked_at, False, place, event))
        if call.answer is not UNKNOWN:
            if call.returned_at < call.invoked_at:
                raise ValueError(f"it returned before it was invoked: {call}")
            event.answered = _Event(call, 1 << place)
            timed.append((call.returned_at, True, place, event.answered))
    head = last = _Event(None, 0)
    for *_, event in sorted(timed, key=lambda it: it[:3]):
        last.after, event.before = event, last
        last = event
    return head


@attrs.define(eq=False)
class _Search:
    """The order of one part's calls, grown call by call and taken back where it leads nowhere."""

    part: Hashable
    calls: list[Call]
    apply: Callable[[Any, Any], tuple[Any, Hashable]]
    steps_left: int
    order: list[tuple[_Event, Hashable]] = attrs.field(
        init=False, factory=list[tuple[_Event, Hashable]]
    )
    "Calls that have their place, each with the state before it."
    longest: tuple[list[Call], Call | None] = attrs.field(init=False, default=([], None))
    "The longest order met so far, and the call that found no place behind it."

    def run(self, state: Hashable) -> None:
        """Raises unless there is an order. Ends when no return is left: every answer is explained."""
        head, done = _linked(self.calls), 0
        tried: set[tuple[int, Hashable]] = set()
        event = head.after
        while event is not None:
            after = self._after(state, event) if event.is_call else None
            if after is not None and (done | event.bit, after[0]) not in tried:
                self.order.append((event, state))
                done, state = done | event.bit, after[0]
                tried.add((done, state))
                event.lift()
                if event.answered is not None:
                    event.answered.lift()
                event = head.after
            elif event.is_call:
                event = event.after
            else:
                # Whoever is open has no place before this return: one of those placed is in the wrong one.
                self._remember(event)
                if not self.order:
                    explained, stuck = self.longest
                    assert stuck is not None
                    raise NotLinearizable(self.part, explained, stuck)
                event, state = self.order.pop()
                done ^= event.bit
                if event.answered is not None:
                    event.answered.put_back()
                event.put_back()
                event = event.after

    def _after(self, state: Hashable, event: _Event) -> tuple[Hashable] | None:
        """The state after a call that may come next; None if its answer would be another."""
        call = event.call
        assert call is not None
        self.steps_left -= 1
        if self.steps_left < 0:
            raise Undecided(
                f"{len(self.calls)} calls are too many to order: give part_of, or steps_max"
            )
        answer, after = self.apply(state, call.asked)
        if call.answer is not UNKNOWN and answer != call.answer:
            return None
        return (after,)

    def _remember(self, stuck: _Event) -> None:
        explained, _ = self.longest
        if len(self.order) >= len(explained):
            calls = [event.call for event, _ in self.order if event.call is not None]
            self.longest = calls, stuck.call
