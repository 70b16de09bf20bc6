"""Sessions as their users hold them: numbers given out, and which of them are closed (§6.3).

Laws: a number is given out once. It is open until its answer is known to whoever wants it; `ack_below`
is the lowest open one, and travels with each command so that the group forgets the replies below it.
"""

from __future__ import annotations

import weakref
from collections import deque

import attrs

from raftkit.driver.sessions import OUTSTANDING_MAX
from raftkit.errors import Overloaded

__all__ = ["Session", "Token"]


@attrs.frozen(kw_only=True, weakref_slot=True)
class Token:
    """Names one command of one session, for ever. Plain data: it may be stored, and used at any node.

    While the object lives, the group keeps the answer for it.
    """

    session: int
    "Id of the session: the index of the entry that registered it."
    number: int
    "Of the command in its session."
    ledger: Session | None = attrs.field(default=None, eq=False, repr=False)
    "Who is told when the answer is known. None for a token that was stored and made again."


@attrs.define(eq=False)
class Session:
    """What makes sending again safe. It belongs to the group: any node may serve its tokens."""

    id: int
    "Index of the entry that registered it."
    _next: int = attrs.field(init=False, default=1)
    "The next number to give out."
    _floor: int = attrs.field(init=False, default=1)
    "The lowest open number, or `_next`."
    _closed: set[int] = attrs.field(init=False, factory=set[int])
    "Closed numbers above `_floor`."
    _held: dict[int, weakref.ref[Token]] = attrs.field(
        init=False, factory=dict[int, "weakref.ref[Token]"]
    )
    "Tokens of open numbers that somebody may hold."
    _sendings: dict[int, int] = attrs.field(init=False, factory=dict[int, int])
    "How many sendings of an open number, by whatever node, may still take effect."
    _dropped: deque[int] = attrs.field(init=False, factory=deque[int])
    "Numbers whose token died since `take_dropped` was called. Appended to by the garbage collector."

    @property
    def ack_below(self) -> int:
        """Replies to numbers below this one are not wanted any more."""
        return self._floor

    @property
    def room(self) -> int:
        """How many more numbers may be outstanding."""
        return OUTSTANDING_MAX - (self._next - self._floor)

    @property
    def full(self) -> bool:
        """Whether all the numbers that may be outstanding are."""
        return self._next - self._floor >= OUTSTANDING_MAX

    def take(self) -> int:
        """A new number. Raises Overloaded when the session is full."""
        if self.full:
            raise Overloaded(
                f"session {self.id} has {OUTSTANDING_MAX} commands outstanding: wait for some"
            )
        self._next += 1
        return self._next - 1

    def token(self) -> Token:
        """A token for a command that is not sent yet, to be given to `Node.execute`."""
        return self.hold(self.take())

    def hold(self, number: int) -> Token:
        """The token of an open number: the same object while somebody holds it."""
        known = self._held.get(number)
        token = known() if known is not None else None
        if token is None:
            token = Token(session=self.id, number=number, ledger=self)
            if not self._is_closed(number):
                dropped = self._dropped
                # The callback may run anywhere, so it only notes; `deque.append` is atomic.
                self._held[number] = weakref.ref(token, lambda _: dropped.append(number))
        return token

    def is_held(self, number: int) -> bool:
        """Whether somebody holds the token of this number."""
        known = self._held.get(number)
        return known is not None and known() is not None

    def sendings(self, number: int) -> int:
        """How many sendings of this number may still take effect, by whatever node of this process.

        A closed number may have been decided, which counts as one.
        """
        return 1 if self._is_closed(number) else self._sendings.get(number, 0)

    def count_sending(self, number: int, change: int) -> None:
        """One more (1), or one less (-1): that one certainly did not happen."""
        if not self._is_closed(number):
            self._sendings[number] = self._sendings.get(number, 0) + change

    def close(self, number: int) -> None:
        """The answer to this number is known, or will never be asked for. Idempotent."""
        self._held.pop(number, None)
        self._sendings.pop(number, None)
        if number < self._floor:
            return
        self._closed.add(number)
        while self._floor in self._closed:
            self._closed.remove(self._floor)
            self._floor += 1

    def take_dropped(self) -> list[int]:
        """Open numbers whose token nobody holds any more, once each."""
        found: list[int] = []
        while self._dropped:
            number = self._dropped.popleft()
            if not self._is_closed(number) and not self.is_held(number):
                found.append(number)
        return found

    def _is_closed(self, number: int) -> bool:
        return number < self._floor or number in self._closed
