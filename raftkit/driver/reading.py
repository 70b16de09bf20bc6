"""Linearizable reads: ask the core for an index, wait until it is applied here (§6.4).

Laws: a read changes nothing, so it is asked again as often as it is refused, until its caller gives up.
All reads that come while one question is being asked share the next one; those that may go by a lease have
one of their own, since its answer expires.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import attrs
import outcome
import trio

from raftkit.core import Raft
from raftkit.driver.freshness import Freshness
from raftkit.messages import Read, ReadConfirmed, Refused

__all__ = ["Reading"]

PAUSE_SECONDS = 0.02
"After a refusal, before the next question."


@attrs.define(eq=False)
class _Reader:
    task: trio.lowlevel.Task | None
    "None when it was cancelled or answered."
    lease: bool
    "Whether it may go by a lease."


@attrs.frozen
class _Question:
    readers: list[_Reader]
    asked_ns: int
    "Monotonic clock, before it was asked."


@attrs.define(eq=False)
class Reading:
    """Reads that wait for an index."""

    new_ticket: Callable[[], int]
    wake: Callable[[], None]
    monotonic_ns: Callable[[], int]
    freshness: Freshness = attrs.field(init=False, factory=Freshness)
    "What the answers say of this node's copy."
    _fresh: list[_Reader] = attrs.field(init=False, factory=list[_Reader])
    "Not asked yet."
    _asked: dict[int, _Question] = attrs.field(init=False, factory=dict[int, _Question])
    "By ticket."
    _paused_until: float = attrs.field(init=False, default=-math.inf)

    def __len__(self) -> int:
        return len(self._fresh) + sum(len(it.readers) for it in self._asked.values())

    async def wait_confirmed(self, *, lease: bool = False) -> ReadConfirmed:
        """From which index on a read that begins now is linearizable. Waits as long as it takes.

        With `lease`, the answer may expire.
        """
        reader = _Reader(trio.lowlevel.current_task(), lease)
        self._fresh.append(reader)
        self.wake()

        def abort(_: object) -> trio.lowlevel.Abort:
            reader.task = None
            return trio.lowlevel.Abort.SUCCEEDED

        confirmed: ReadConfirmed = await trio.lowlevel.wait_task_rescheduled(abort)
        return confirmed

    def is_ready(self, raft: Raft, now: float) -> bool:
        """Whether `collect` would ask something."""
        return bool(self._fresh) and raft.leader is not None and now >= self._paused_until

    def deadline(self, now: float) -> float:
        """When `collect` should be called again at the latest, in trio's time."""
        return self._paused_until if self._fresh and self._paused_until > now else math.inf

    def collect(self, raft: Raft, now: float) -> list[Read]:
        """One question for all reads of a kind that came since the last one."""
        self._fresh = [reader for reader in self._fresh if reader.task is not None]
        if not self.is_ready(raft, now):
            return []
        questions: list[Read] = []
        for lease in (False, True):
            readers = [reader for reader in self._fresh if reader.lease is lease]
            if readers:
                question = Read(ticket=self.new_ticket(), lease=lease)
                self._asked[question.ticket] = _Question(readers, self.monotonic_ns())
                questions.append(question)
        self._fresh = []
        return questions

    def on_answer(self, answer: ReadConfirmed | Refused) -> bool:
        """The core answered: whether it was a question of reads."""
        question = self._asked.pop(answer.ticket, None)
        if question is None:
            return False
        match answer:
            case ReadConfirmed():
                self.freshness.confirmed(answer.index, question.asked_ns)
                for reader in question.readers:
                    _answer(reader, outcome.Value(answer))
            case Refused():
                self._fresh += question.readers
                self._paused_until = trio.current_time() + PAUSE_SECONDS
        return True

    def fail_all(self, error: Callable[[], Exception]) -> None:
        """End every read: this node serves none any more."""
        asked = (it for question in self._asked.values() for it in question.readers)
        for reader in [*self._fresh, *asked]:
            _answer(reader, outcome.Error(error()))
        self._fresh.clear()
        self._asked.clear()


def _answer(reader: _Reader, result: outcome.Outcome[ReadConfirmed]) -> None:
    task, reader.task = reader.task, None
    if task is not None:
        trio.lowlevel.reschedule(task, result)
