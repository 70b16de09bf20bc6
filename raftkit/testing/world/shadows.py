"""What the ghosts remember: of each server, and of each term.

Law: nothing here is ever shown to a server.
"""

from __future__ import annotations

from typing import NoReturn

import attrs

from raftkit.core import Raft
from raftkit.core.progress import Progress
from raftkit.errors import RaftInternalError
from raftkit.model import Identity, Index, Kind, Run, Term
from raftkit.testing.world.disk import LogImage, WorldDisk

__all__ = ["InvariantViolated", "Shadow", "TermChain", "fail"]


class InvariantViolated(RaftInternalError):
    """A world came into a state that Raft rules out. `seed` and `step` say where."""

    def __init__(self, name: str, detail: str, *, seed: int | None = None, step: int = 0) -> None:
        where = "" if seed is None else f"seed {seed}, step {step}: "
        super().__init__(f"{where}{name}: {detail}")
        self.name = name
        self.detail = detail
        self.seed = seed
        self.step = step


@attrs.define(kw_only=True)
class Shadow:
    """What the harness remembers of one server."""

    identity: Identity
    "Whose."
    disk: WorldDisk
    "Its disk."
    forgotten: WorldDisk | None = None
    "Its disk as it was before it was rolled back: what it promised, and can't keep. Barred from then on."
    raft: Raft | None = None
    "Its core while it runs."
    issued: LogImage
    "Its log in memory, as the writes issued so far tell it."
    term: Term = Term(0)
    "Its term after the last step."
    vote: tuple[Term, Identity | None] = (Term(0), None)
    "The last hard state it issued."
    leads: Term | None = None
    "The term it leads, as of its last step."
    matches: dict[Identity, tuple[Progress, Index]] = attrs.field(
        factory=dict[Identity, tuple[Progress, Index]]
    )
    "While it leads: what it keeps of each follower, and the last match index seen there."
    last_index: Index = Index(0)
    "The end of its log after the last step."
    told_at: Index | None = None
    "Its last index when it told another to take over; None while that is not under way."
    commit_index: Index = Index(0)
    "Its commit index after the last step."
    verified_index: Index = Index(0)
    "Its verified index after the last step."
    handed_index: Index = Index(0)
    "The last entry handed to its state machine."

    @property
    def promised(self) -> WorldDisk:
        """The disk by which its word is judged: the old one where it was rolled back."""
        return self.disk if self.forgotten is None else self.forgotten


@attrs.define(kw_only=True)
class TermChain:
    """All entries of one term, as its leader made them."""

    first: Index
    "The first one."
    previous_term: Term
    "Term of the entry before it."
    payloads: list[bytes] = attrs.field(factory=list[bytes])
    "One an entry."
    marks: list[tuple[Kind, int, int]] = attrs.field(factory=list[tuple[Kind, int, int]])
    "Kind and stamps of each."

    @property
    def end(self) -> Index:
        """The index after the last one."""
        return Index(self.first + len(self.payloads))

    def extend(self, run: Run) -> None:
        """Its leader made `run`."""
        assert run.first == self.end
        self.payloads.extend(run.payloads)
        self.marks.extend(_marks(run))

    def agrees(self, run: Run) -> bool:
        """Whether `run` is what its leader made, as far as both reach."""
        here = slice(run.first - self.first, run.last + 1 - self.first)
        payloads, marks = self.payloads[here], self.marks[here]
        return (
            payloads == list(run.payloads[: len(payloads)]) and marks == _marks(run)[: len(marks)]
        )


def _marks(run: Run) -> list[tuple[Kind, int, int]]:
    if run.kinds is None:
        return [(Kind.COMMAND, run.time_ns, run.elapsed_ns)] * len(run)
    return [(kind, run.time_ns, run.elapsed_ns) for kind in run.kinds]


def fail(name: str, detail: str) -> NoReturn:
    """An invariant does not hold."""
    raise InvariantViolated(name, detail)
