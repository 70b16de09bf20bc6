"""Calls that are open at this node, and what may be said of each when it ends (J1, J2).

Laws: a call is matched by (session, number), never by index. Every waiting task is resolved: by its
answer, a refusal, its deadline, cancellation, or the end of the node. *Did not happen* is said only
while no sending of that number may still take effect.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from heapq import heappop, heappush
from itertools import count

import attrs
import outcome
import trio

from raftkit.driver.tokens import Session, Token
from raftkit.errors import DidNotHappen, NoQuorum, OutcomeUnknown
from raftkit.model import Index, Kind, Term

__all__ = ["Call", "Waiters", "token_of"]


@attrs.define(eq=False, kw_only=True)
class Call:
    """One command, registration or void that this node wants decided."""

    session: int
    "In the payload's header."
    number: int
    "In the payload's header."
    payload: bytes
    "Header and body."
    kind: Kind = Kind.COMMAND
    "COMMAND, SESSION, VOID or VERSION."
    ledger: Session | None = None
    "Where the number is closed, if this process knows."
    once: bool = False
    "At most once, without a session: never sent again."
    sendings: int = 0
    "Sendings of this call that may still take effect."
    elsewhere: bool = False
    "Whether sendings that nobody here has counted may take effect."
    index: Index = Index(0)
    "Where the last sending stands in the log of `term`'s leader; 0 while not known."
    term: Term = Term(0)
    "See `index`."
    over: bool = False
    "Whether nothing more is to be done for this call."
    queued: bool = False
    "Whether it waits to be sent."
    wake: Callable[[outcome.Outcome[bytes]], None] | None = None
    "Gives the result to who waits; None when nobody does, or not any more."
    twin: Call | None = None
    "Another call of the same number."

    def count_sending(self, change: int) -> None:
        """One more (1), or one less (-1): that one certainly did not happen."""
        self.sendings += change
        if self.ledger is not None:
            self.ledger.count_sending(self.number, change)

    def answer(self, result: outcome.Outcome[bytes]) -> bool:
        """Give `result` to who waits; whether anybody did."""
        wake, self.wake = self.wake, None
        if wake is not None:
            wake(result)
        return wake is not None


@attrs.define(eq=False)
class Waiters:
    """All open calls of a node."""

    _open: dict[tuple[int, int], Call] = attrs.field(
        init=False, factory=dict[tuple[int, int], Call]
    )
    "The newest call of each (session, number); older ones are its twins."
    _due: list[tuple[float, int, float, Call]] = attrs.field(
        init=False, factory=list[tuple[float, int, float, "Call"]]
    )
    "A heap of deadlines, told apart by a number, with the timeout that each came of: no timer for each."
    _numbers: Iterator[int] = attrs.field(init=False, factory=count)
    dropped: int = attrs.field(init=False, default=0)
    "Calls forgotten so far, which may still stand in a queue."

    def __len__(self) -> int:
        return len(self._open)

    def __iter__(self) -> Iterator[Call]:
        """All open calls, twins included."""
        for call in list(self._open.values()):
            yield from _chain(call)

    def add(self, call: Call, timeout: float) -> None:
        """Open `call`; `wait` must follow, or it is a call that nobody waits for."""
        key = (call.session, call.number)
        call.twin = self._open.get(key)
        self._open[key] = call
        if timeout != math.inf:
            ends = trio.current_time() + timeout
            heappush(self._due, (ends, next(self._numbers), timeout, call))

    async def wait(self, call: Call) -> bytes:
        """The encoded reply, when this node has applied the entry. Raises what `fail` was given.

        Cancellation leaves the call behind: one that was never sent is gone at once.
        """
        call.wake = partial(trio.lowlevel.reschedule, trio.lowlevel.current_task())

        def abort(_: object) -> trio.lowlevel.Abort:
            call.wake = None
            self._leave(call)
            return trio.lowlevel.Abort.SUCCEEDED

        reply: bytes = await trio.lowlevel.wait_task_rescheduled(abort)
        return reply

    async def wait_all(self, calls: Sequence[Call]) -> list[outcome.Outcome[bytes]]:
        """What `wait` returns or raises for each of `calls`, at least one, when the last is over."""
        assert calls
        task, results = trio.lowlevel.current_task(), dict[int, outcome.Outcome[bytes]]()

        def hear(place: int, result: outcome.Outcome[bytes]) -> None:
            results[place] = result
            if len(results) == len(calls):
                trio.lowlevel.reschedule(task)

        def abort(_: object) -> trio.lowlevel.Abort:
            for call in calls:
                if call.wake is not None:
                    call.wake = None
                    self._leave(call)
            return trio.lowlevel.Abort.SUCCEEDED

        for place, call in enumerate(calls):
            call.wake = partial(hear, place)
        await trio.lowlevel.wait_task_rescheduled(abort)
        return [results[place] for place in range(len(calls))]

    def is_open(self, session: int, number: int) -> bool:
        """Whether there is a call of this number."""
        return (session, number) in self._open

    def resolve(self, session: int, number: int, reply: bytes) -> None:
        """The entry of this number was applied here: answer all who wait, and close the number."""
        call = self._open.pop((session, number), None)
        ledger, answered = None, False
        while call is not None:
            call.over = True
            ledger = ledger or call.ledger
            answered = call.answer(outcome.Value(reply)) or answered
            call = call.twin
        # The answer of a held token stays in the group's table until somebody has seen it.
        if ledger is not None and (answered or not ledger.is_held(number)):
            ledger.close(number)

    def is_definite(self, call: Call) -> bool:
        """Whether no sending of this call's number may still take effect."""
        if call.elsewhere:
            return False
        if call.ledger is not None:
            return not call.ledger.sendings(call.number)
        head = self._open.get((call.session, call.number), call)
        return not call.sendings and not any(it.sendings for it in _chain(head))

    def fail(self, call: Call, error: DidNotHappen, why: str) -> None:
        """End `call` with `error`, or with OutcomeUnknown where that would be a lie."""
        if self.is_definite(call):
            call.answer(outcome.Error(error))
        elif call.wake is not None:
            call.answer(outcome.Error(OutcomeUnknown(token_of(call), why)))
        self._leave(call)

    def give_up(self, call: Call, why: str) -> None:
        """End `call`: whether a sending of it took effect will never be known here."""
        if call.wake is not None:
            call.answer(outcome.Error(OutcomeUnknown(token_of(call), why)))
        self._leave(call)

    def deadline(self) -> float:
        """When `expire` should be called, in trio's time."""
        while self._due and self._due[0][-1].wake is None:
            heappop(self._due)
        return self._due[0][0] if self._due else math.inf

    def expire(self, now: float) -> None:
        """End calls whose deadline has come."""
        while self.deadline() <= now:
            _, _, timeout, call = heappop(self._due)
            error = NoQuorum(f"no leader could be asked within {timeout:g} s")
            self.fail(call, error, f"no answer within {timeout:g} s")

    def fail_all(self, error: DidNotHappen, why: str) -> None:
        """End every call: this node will not see their entries applied."""
        for call in self:
            self.fail(call, error, why)
            call.over = True
        self._open.clear()
        self._due.clear()

    def take_lost(self, applied: Index, term: Term) -> list[Call]:
        """Calls whose entry can't be committed any more, now that the one at `applied` is of `term`.

        What was to stand at or before `applied` and is still open was replaced there; what was to stand
        later in an earlier term has lost its log. Their last sending counts no more.
        """
        lost = [it for it in self if it.index and (it.index <= applied or it.term < term)]
        for call in lost:
            call.index = Index(0)
            call.count_sending(-1)
            if call.wake is None:
                self._leave(call)
        return lost

    def drop(self, call: Call) -> None:
        """Forget `call`, for which nobody waits and nothing more is sent."""
        call.over = True
        self.dropped += 1
        key = (call.session, call.number)
        head = self._open[key]
        if head is not call:
            before = next(it for it in _chain(head) if it.twin is call)
            before.twin = call.twin
        elif call.twin is not None:
            self._open[key] = call.twin
        else:
            del self._open[key]

    def _leave(self, call: Call) -> None:
        """Nobody waits for `call` now. Keep it for as long as a sending of it may take effect.

        What is sent at most once, registers, or raises a version has no number to close, and may never be
        heard of again.
        """
        unnumbered = call.once or call.kind in (Kind.SESSION, Kind.VERSION)
        if call.over or not (unnumbered or self.is_definite(call)):
            return
        self.drop(call)
        ledger, key = call.ledger, (call.session, call.number)
        if ledger is not None and key not in self._open and not ledger.is_held(call.number):
            ledger.close(call.number)


def _chain(call: Call) -> Iterator[Call]:
    it: Call | None = call
    while it is not None:
        yield it
        it = it.twin


def token_of(call: Call) -> Token:
    """What names this call to its user."""
    if call.ledger is not None:
        return call.ledger.hold(call.number)
    return Token(session=call.session, number=call.number)
