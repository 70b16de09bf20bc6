"""What callers ask of the core that it answers once: who waits for which answer.

Law: each request ends once: by the answer, by the caller's giving up, or by the end of the node.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

import attrs
import trio

from raftkit.changes import ChangeMembership
from raftkit.leadership import StepDown, TransferLeadership

__all__ = ["Asking"]


class _Ticketed(Protocol):
    @property
    def ticket(self) -> int: ...


Request = ChangeMembership | StepDown | TransferLeadership
A = TypeVar("A", bound=_Ticketed)


@attrs.define(eq=False)
class _Asked(Generic[A]):
    """A request that the core has not answered."""

    settled: trio.Event = attrs.field(factory=trio.Event)
    answer: A | None = None
    "None: not yet, or the node ended before."


@attrs.define(eq=False)
class Asking(Generic[A]):
    """Requests on their way to their answers."""

    put: Callable[[Request], None]
    "Give this to the core, which is there."
    _asked: dict[int, _Asked[A]] = attrs.field(init=False, factory=dict[int, _Asked[A]])
    "By ticket."

    async def ask(self, request: Request) -> A | None:
        """What the core answers to `request`; None where the node ended before."""
        asked = self._asked[request.ticket] = _Asked[A]()
        try:
            self.put(request)
            await asked.settled.wait()
        finally:
            del self._asked[request.ticket]
        return asked.answer

    def on_answer(self, answer: A) -> bool:
        """The core answered: whether it was to a request of here whose caller still waits."""
        asked = self._asked.get(answer.ticket)
        if asked is not None:
            asked.answer = answer
            asked.settled.set()
        return asked is not None

    def close(self) -> None:
        """The node ends: so do all requests."""
        for asked in self._asked.values():
            asked.settled.set()
