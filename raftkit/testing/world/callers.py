"""What callers of a simulated world asked and were told, and whether it was true (S26, S28).

Laws: what was refused never happens; what was proposed happens at most once; a read sees everything that
was committed, anywhere, when it was asked.
"""

from __future__ import annotations

import attrs

from raftkit.messages import Proposed
from raftkit.model import Index, NodeId
from raftkit.testing.world.shadows import TermChain, fail

__all__ = ["Callers"]

Call = tuple[NodeId, int]


@attrs.define
class Callers:
    """All calls of one world: asked server and ticket, and what became of them."""

    reads_confirmed: int = 0
    "How many reads were answered with an index."
    _proposed: dict[Call, tuple[bytes, ...]] = attrs.field(factory=dict[Call, tuple[bytes, ...]])
    _reads: dict[Call, Index] = attrs.field(factory=dict[Call, Index])
    _refused: set[bytes] = attrs.field(factory=set[bytes])
    _committed: set[bytes] = attrs.field(factory=set[bytes])

    def proposes(self, call: Call, payloads: tuple[bytes, ...]) -> None:
        """Somebody asks for these commands, no two of which are ever the same."""
        self._proposed[call] = payloads

    def reads(self, call: Call, committed: Index) -> None:
        """Somebody asks to read, when that much is committed in this world."""
        self._reads[call] = committed

    def proposed(self, call: Call, answer: Proposed, chain: TermChain | None) -> None:
        """The commands are in a leader's log; `chain` are the entries of that term."""
        payloads = self._proposed.pop(call)
        if chain is None:
            return  # appended and cut again within one step: no trace is left
        place = answer.first - chain.first
        known = chain.payloads[place : place + len(payloads)]
        if known != list(payloads[: len(known)]):
            fail("S28 Proposed", f"{call}: not at {answer.first} of {answer.term}: {payloads!r}")

    def refused(self, call: Call) -> None:
        """Told that it did not happen."""
        self._reads.pop(call, None)
        self._refused.update(self._proposed.pop(call, ()))

    def confirmed(self, call: Call, index: Index, committed: Index) -> None:
        """Told to read at `index`; `committed` is how much is, by now."""
        self.reads_confirmed += 1
        asked_at = self._reads.pop(call)
        if not asked_at <= index <= committed:
            fail("S26 ReadSafety", f"{call}: read at {index}, asked at {asked_at} of {committed}")

    def committed(self, payload: bytes) -> None:
        """A command is committed."""
        if payload in self._refused:
            fail("S28 DidNotHappen", f"{payload!r} was refused and is committed")
        if payload in self._committed:
            fail("S28 Once", f"{payload!r} is committed twice")
        self._committed.add(payload)
