"""Cases by turns: each once a round, every other round in reverse, so that others' work falls on all."""

from __future__ import annotations

import statistics
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol, TypeVar

import attrs
import trio

__all__ = ["Named", "Say", "by_turns", "median_of"]

Say = Callable[[str], None]
"Where a line of progress goes."


class Named(Protocol):
    """What is measured."""

    def as_words(self) -> str:
        """For people."""
        ...


C = TypeVar("C", bound=Named)
F = TypeVar("F", bound=attrs.AttrsInstance)


def by_turns(
    cases: Sequence[C], measure: Callable[[C], Awaitable[F]], *, rounds: int, say: Say
) -> Mapping[C, list[F]]:
    """What `measure` finds of each case, round by round. Each is measured in a trio run of its own."""
    found: dict[C, list[F]] = {case: [] for case in cases}
    for number in range(rounds):
        for case in cases if number % 2 == 0 else reversed(cases):
            figures = trio.run(measure, case)
            found[case].append(figures)
            say(f"round {number + 1} of {rounds}: {case.as_words()}: {figures}")
    return found


def median_of(rounds: Sequence[F]) -> F:
    """Of each figure by itself; elections are summed, for none may hide."""
    kind = type(rounds[0])
    names = [it.name for it in attrs.fields(kind)]
    middle = {name: statistics.median(getattr(it, name) for it in rounds) for name in names}
    if "elections" in middle:
        middle["elections"] = sum(getattr(it, "elections") for it in rounds)  # noqa: B009
    return kind(**middle)
