"""Linearizable reads: ask the core for an index, wait until it is applied here (§6.4).

Laws: a read changes nothing, so it is asked again as often as it is refused, until its caller gives up.
All reads that come while one question is being asked share the next one.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import attrs
import outcome
import trio

from raftkit.core import Raft
from raftkit.messages import Read, ReadConfirmed, Refused
from raftkit.model import Index

__all__ = ["Reading"]

PAUSE_SECONDS = 0.02
"After a refusal, before the next question."


@attrs.define(eq=False)
class _Reader:
    task: trio.lowlevel.Task | None
    "None when it was cancelled or answered."


@attrs.define(eq=False)
class Reading:
    """Reads that wait for an index."""

    new_ticket: Callable[[], int]
    wake: Callable[[], None]
    _fresh: list[_Reader] = attrs.field(init=False, factory=list[_Reader])
    "Not asked yet."
    _asked: dict[int, list[_Reader]] = attrs.field(init=False, factory=dict[int, list[_Reader]])
    "By ticket."
    _paused_until: float = attrs.field(init=False, default=-math.inf)

    def __len__(self) -> int:
        return len(self._fresh) + sum(map(len, self._asked.values()))

    async def wait_index(self) -> Index:
        """An index from which on a read that begins now is linearizable. Waits as long as it takes."""
        reader = _Reader(trio.lowlevel.current_task())
        self._fresh.append(reader)
        self.wake()

        def abort(_: object) -> trio.lowlevel.Abort:
            reader.task = None
            return trio.lowlevel.Abort.SUCCEEDED

        index: Index = await trio.lowlevel.wait_task_rescheduled(abort)
        return index

    def is_ready(self, raft: Raft, now: float) -> bool:
        """Whether `collect` would ask something."""
        return bool(self._fresh) and raft.leader is not None and now >= self._paused_until

    def deadline(self, now: float) -> float:
        """When `collect` should be called again at the latest, in trio's time."""
        return self._paused_until if self._fresh and self._paused_until > now else math.inf

    def collect(self, raft: Raft, now: float) -> list[Read]:
        """One question for all reads that came since the last one."""
        self._fresh = [reader for reader in self._fresh if reader.task is not None]
        if not self.is_ready(raft, now):
            return []
        ticket = self.new_ticket()
        self._asked[ticket] = self._fresh
        self._fresh = []
        return [Read(ticket=ticket)]

    def on_answer(self, answer: ReadConfirmed | Refused) -> bool:
        """The core answered: whether it was a question of reads."""
        readers = self._asked.pop(answer.ticket, None)
        if readers is None:
            return False
        match answer:
            case ReadConfirmed(index=index):
                for reader in readers:
                    _answer(reader, outcome.Value(index))
            case Refused():
                self._fresh += readers
                self._paused_until = trio.current_time() + PAUSE_SECONDS
        return True

    def fail_all(self, error: Callable[[], Exception]) -> None:
        """End every read: this node serves none any more."""
        for reader in [*self._fresh, *(it for readers in self._asked.values() for it in readers)]:
            _answer(reader, outcome.Error(error()))
        self._fresh.clear()
        self._asked.clear()


def _answer(reader: _Reader, result: outcome.Outcome[Index]) -> None:
    task, reader.task = reader.task, None
    if task is not None:
        trio.lowlevel.reschedule(task, result)
