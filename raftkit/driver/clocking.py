"""Clock entries: replicated time goes on where nothing else is appended, so that what time ends does end.

Laws: only a leader proposes one, when the deadline that its machine names has come in log time. One is
under way at a time, each deadline gets one in a leadership, and two are `PAUSE_SECONDS` apart, so no
machine can make a storm. What is lost with a leadership, the next leader proposes for itself. Nothing here
polls: the loop sleeps until the deadline, and applying wakes it when the machine may name another.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable

import attrs
import trio

from raftkit.core import Raft
from raftkit.driver.applying import Applying
from raftkit.messages import Propose, Proposed, Refused
from raftkit.model import Index, Kind, Term

__all__ = ["Clocking"]

PAUSE_SECONDS = 0.05
"Between two clock entries: deadlines that come faster share one."
NEVER_NS = 1 << 63
"No log time reaches this."

logger = logging.getLogger("raftkit")


@attrs.define(eq=False, kw_only=True)
class Clocking:
    """What a node that leads does about its machine's deadlines."""

    id: str
    "Of the node, for messages."
    applying: Applying
    new_ticket: Callable[[], int]
    monotonic_ns: Callable[[], int]
    "The clock that stamps entries."
    _term: Term = attrs.field(init=False, default=Term(0))
    "The leadership that the next three are of."
    _served: int | None = attrs.field(init=False, default=None)
    "The deadline for which the last entry was proposed."
    _asked: int | None = attrs.field(init=False, default=None)
    "Ticket of the last proposal, until the core answers in the same turn."
    _entry: Index = attrs.field(init=False, default=Index(0))
    "The last entry proposed; under way until it is applied."
    _quiet_until: float = attrs.field(init=False, default=-math.inf)
    "No entry before this, in trio's time."
    _named: tuple[Index, int | None] = attrs.field(init=False, default=(Index(-1), None))
    "What the machine named when it was asked last, and what was applied then."
    _complained: bool = attrs.field(init=False, default=False)
    "Whether the log has heard that the machine can't be asked."

    def deadline(self, raft: Raft, now: float) -> float:
        """When `collect` should be called at the latest, in trio's time."""
        due = self._due(raft)
        # A hair later, or rounding would wake us just before it.
        return math.inf if due is None else max(now + due[1] + 1e-6, self._quiet_until)

    def collect(self, raft: Raft, now: float) -> list[Propose]:
        """A clock entry, if one is due. Its stamp is read after this, so it reaches the deadline."""
        due = self._due(raft)
        if due is None or due[1] > 0 or now < self._quiet_until:
            return []
        self._served, self._asked = due[0], self.new_ticket()
        self._quiet_until = now + PAUSE_SECONDS
        return [Propose(ticket=self._asked, payloads=(b"",), kinds=(Kind.CLOCK,))]

    def on_answer(self, answer: Proposed | Refused) -> bool:
        """The core answered: whether it was a clock entry."""
        if answer.ticket != self._asked:
            return False
        self._asked = None
        match answer:
            case Proposed():
                self._entry = answer.first
            case Refused():
                self._served = None
                self._quiet_until = trio.current_time() + PAUSE_SECONDS
        return True

    def _due(self, raft: Raft) -> tuple[int, float] | None:
        """The deadline to be served next, and in how many seconds it comes; None if there is none."""
        elapsed_ns = raft.elapsed_at(self.monotonic_ns())
        applying = self.applying
        if elapsed_ns is None or applying.stopped is not None or applying.divergence is not None:
            return None
        if raft.term != self._term:
            self._term, self._served, self._asked, self._entry = raft.term, None, None, Index(0)
        if self.applying.applied < self._entry:
            return None
        deadline_ns = self._ask()
        if deadline_ns is None or deadline_ns == self._served:
            return None
        return deadline_ns, max(0, deadline_ns - elapsed_ns) / 1e9

    def _ask(self) -> int | None:
        """The machine's deadline, asked for once a state. One that can't say has none."""
        applied = self.applying.applied
        if self._named[0] != applied:
            self._named = (applied, self._ask_machine())
        return self._named[1]

    def _ask_machine(self) -> int | None:
        try:
            deadline_ns = self.applying.replica.next_deadline()
        except Exception:
            if not self._complained:
                self._complained = True
                logger.exception(
                    "%s: next_deadline of the machine failed; nothing happens by time alone while it does",
                    self.id,
                )
            return None
        return None if deadline_ns is None else min(deadline_ns, NEVER_NS)
