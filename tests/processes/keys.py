"""Which lists the storm writes to, and what was told of each until its list is given up and checked.

Laws: a list is short and lives for seconds, so that an hour takes no more memory than a minute. It is given
up when no call for it is under way; giving it up reads it a last time, so its part of the history is whole,
is checked, and is forgotten.
"""

from __future__ import annotations

import random
from collections.abc import Generator
from contextlib import contextmanager
from itertools import count

import attrs
import trio

from raftkit.testing.append_lists import Append, Operation, Outcome, Violation, check_append_lists

__all__ = ["KEYS", "VALUES_MAX", "Key", "Keys"]

KEYS = 12
"Lists in use at a time: each is contended."
VALUES_MAX = 60
"Appends to a list before it is given up."


@attrs.define(eq=False)
class Key:
    """One list, and all that was told of it."""

    name: str
    values: count[int] = attrs.field(init=False, factory=lambda: count(1))
    "The next to append."
    history: list[Operation] = attrs.field(init=False, factory=list[Operation])
    "In the order in which calls ended."
    calls: int = attrs.field(init=False, default=0)
    "Under way."
    idle: trio.Event = attrs.field(init=False, factory=trio.Event)
    "Set when no call is under way and none begins any more."
    retired: bool = attrs.field(init=False, default=False)
    "No call begins any more."

    @contextmanager
    def call(self) -> Generator[None]:
        """A call is under way."""
        self.calls += 1
        try:
            yield
        finally:
            self.calls -= 1
            self._note_idle()

    def retire(self) -> None:
        """Begin no more calls."""
        self.retired = True
        self._note_idle()

    def _note_idle(self) -> None:
        if self.retired and not self.calls:
            self.idle.set()


@attrs.define(eq=False)
class Keys:
    """All lists."""

    active: list[Key] = attrs.field(init=False)
    "Those in use."
    violations: list[Violation] = attrs.field(init=False, factory=list[Violation])
    "Found so far."
    checked: int = attrs.field(init=False, default=0)
    "Operations that were checked and forgotten."
    open_ended: dict[str, set[int]] = attrs.field(init=False, factory=dict[str, set[int]])
    "Values of retired lists of which nobody knows whether they were, or will be, appended."
    _numbers: count[int] = attrs.field(init=False, factory=lambda: count(1))

    def __attrs_post_init__(self) -> None:
        self.active = [self._new() for _ in range(KEYS)]

    def _new(self) -> Key:
        return Key(f"k{next(self._numbers)}")

    def any(self, rng: random.Random) -> Key:
        """One to call."""
        return rng.choice(self.active)

    def take_full(self, key: Key, value: int) -> bool:
        """Whether the caller, who has appended `value`, must give the list up; another takes its place."""
        if value < VALUES_MAX or key.retired:
            return False
        self.active[self.active.index(key)] = self._new()
        key.retire()
        return True

    def check(self, key: Key) -> None:
        """Check what was told of a list, and forget it."""
        self.violations += check_append_lists(key.history)
        self.checked += len(key.history)
        seen = {value for it in key.history if not isinstance(it, Append) for value in it.values}
        unknown = {
            it.value
            for it in key.history
            if isinstance(it, Append) and it.outcome is Outcome.UNKNOWN and it.value not in seen
        }
        if unknown:
            self.open_ended[key.name] = unknown
        key.history.clear()
