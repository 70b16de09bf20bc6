"""The requests of one other node, by their numbers, so that each is served once however often it arrives.

Laws: a number is unique for its node for ever. What is older than anything remembered is not served.
"""

from __future__ import annotations

from collections import deque
from typing import Generic, TypeVar

import attrs

__all__ = ["REQUESTS_MAX", "Origin"]

REQUESTS_MAX = 4096
"Requests remembered of one node."

A = TypeVar("A")


@attrs.define(eq=False)
class Origin(Generic[A]):
    """What one node asked, and what it was answered."""

    _answers: dict[int, A | None] = attrs.field(init=False, factory=dict[int, "A | None"])
    "By request number; None while not answered."
    _order: deque[int] = attrs.field(init=False, factory=deque[int])
    "The keys of `_answers`, the oldest first."
    _forgotten: int = attrs.field(init=False, default=0)
    "The highest request number that was remembered and is not any more."

    def begin(self, request: int) -> bool:
        """Whether this request is to be served, which is remembered; False for any it has seen before."""
        if request in self._answers or request <= self._forgotten:
            return False
        self._answers[request] = None
        self._order.append(request)
        if len(self._order) > REQUESTS_MAX:
            oldest = self._order.popleft()
            del self._answers[oldest]
            self._forgotten = max(self._forgotten, oldest)
        return True

    def end(self, request: int, answer: A) -> None:
        """It was answered so: worth remembering as long as the request is."""
        if request in self._answers:
            self._answers[request] = answer

    def answer_to(self, request: int) -> A | None:
        """What it was answered; None if it is not known, or not answered yet."""
        return self._answers.get(request)
