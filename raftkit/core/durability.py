"""What is on this server's own disk, told by write sequences (§10.2.1; `docs/decisions/0002`).

Laws: completions come in the order of the writes. A completion counts only for what no later write has
overwritten: an index that was truncated and written again is durable when the *second* write is, even
if index and term look the same (the ABA race of asynchronous logs).
"""

from __future__ import annotations

from collections import deque

import attrs

from raftkit.model import Identity, Index, Term

__all__ = ["Durability", "HardState"]

HardState = tuple[Term, Identity | None]
"current_term and voted_for."


@attrs.define(kw_only=True)
class PendingWrite:
    """A write that was issued and has not completed."""

    sequence: int
    "Of the `Write`."
    last: Index
    "Completing it makes the log durable up to here. Lowered by later truncations."
    hard_state: HardState | None
    "Completing it makes this durable."


@attrs.define(kw_only=True)
class Durability:
    """What was issued, and what has become durable of it."""

    hard_state: HardState
    "Durable current_term and voted_for."
    issued_hard_state: HardState
    "The one in the last write that held one."
    index: Index
    "durable_index: the log is on disk up to here. Below the base while a received snapshot is written."
    issued_index: Index
    "The log is issued up to here; what lies above goes into the next write."
    sequence: int
    "Of the last issued write."
    truncated_from: Index | None = None
    "The next write must begin by removing this issued entry and all after it."
    pending: deque[PendingWrite] = attrs.field(factory=deque[PendingWrite])
    "In the order of their sequences."
    stalled_write: int | None = None
    "Sequence of a pending write that takes far too long; None: the disk is at work."

    @property
    def stalled(self) -> bool:
        """Whether the disk stands still: nothing that is promised now will be durable soon."""
        return self.stalled_write is not None

    def truncate(self, first: Index) -> None:
        """The log was cut: nothing issued so far speaks for `first` or anything after it."""
        if first <= self.issued_index:
            self.issued_index = Index(first - 1)
            self.truncated_from = (
                first if self.truncated_from is None else min(self.truncated_from, first)
            )
            self.disclaim(first)

    def disclaim(self, first: Index) -> None:
        """No completion of a write issued so far, nor anything durable, counts from `first` on."""
        self.index = min(self.index, Index(first - 1))
        for write in self.pending:
            write.last = min(write.last, Index(first - 1))

    def issue(self, last: Index, hard_state: HardState | None) -> int:
        """A write that makes the log durable up to `last` leaves now. Returns its sequence."""
        self.sequence += 1
        if hard_state is not None:
            self.issued_hard_state = hard_state
        self.issued_index = last
        self.truncated_from = None
        self.pending.append(PendingWrite(sequence=self.sequence, last=last, hard_state=hard_state))
        return self.sequence

    @property
    def completed(self) -> int:
        """Sequence of the last write known to be on disk."""
        return self.pending[0].sequence - 1 if self.pending else self.sequence

    def stall(self, sequence: int) -> None:
        """The write of that sequence takes far too long; if it has completed meanwhile, it does not."""
        assert sequence <= self.sequence, "what stalls was issued"
        if sequence > self.completed:
            self.stalled_write = sequence

    def complete(self, sequence: int) -> None:
        """All writes up to `sequence` are on disk."""
        if self.stalled_write is not None and self.stalled_write <= sequence:
            self.stalled_write = None
        while self.pending and self.pending[0].sequence <= sequence:
            write = self.pending.popleft()
            assert write.last >= self.index, "completions come in order"
            self.index = write.last
            if write.hard_state is not None:
                self.hard_state = write.hard_state
