"""The machine of the storm: lists that grow by one value at a time.

Law: what is applied twice shows twice, and nothing that was ever applied is forgotten by `chain`.
"""

from __future__ import annotations

import zlib

import attrs

from raftkit import StateMachine, command, query

__all__ = ["Lists"]


@attrs.define
class Lists(StateMachine):
    """A list of values for each key."""

    lists: dict[str, tuple[int, ...]] = attrs.field(factory=dict[str, tuple[int, ...]])
    "By key. An empty list has no key."
    count: int = 0
    "How many commands were applied."
    chain: int = 0
    "CRC-32 over all of them in order, so that states of different pasts are told apart."

    @command
    def append(self, key: str, value: int) -> None:
        """Add a value to a list."""
        self._note(f"append {key} {value}")
        self.lists[key] = (*self.lists.get(key, ()), value)

    @command
    def retire(self, key: str) -> tuple[int, ...]:
        """Give a list up; what it held."""
        self._note(f"retire {key}")
        return self.lists.pop(key, ())

    @query
    def values(self, key: str) -> tuple[int, ...]:
        """What a list holds."""
        return self.lists.get(key, ())

    def _note(self, words: str) -> None:
        self.count += 1
        self.chain = zlib.crc32(words.encode(), self.chain)
