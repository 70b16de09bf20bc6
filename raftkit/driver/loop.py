"""The one task that owns the core: drain the inbox, step once, do what the effects say, sleep.

Laws: nothing else steps the core, and nothing else interprets its effects, top to bottom. Nothing here
waits but `sleep`, and `persist` for a disk that is quick: a turn is short. What is sent after a
write waits in one queue for this write and all earlier ones.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable

import attrs
import trio

from raftkit.core import Raft
from raftkit.driver.recording import Life
from raftkit.messages import (
    Answer,
    Applied,
    Effects,
    Event,
    Fetch,
    Input,
    Persisted,
    ReadSnapshot,
    Receive,
    Send,
    Tick,
    Write,
)
from raftkit.model import Run
from raftkit.snapshot import SeekSnapshot, SnapshotMeta

__all__ = ["Clock", "Duties", "Loop"]

NOTES_MAX = 64
"News that may wait, so that whoever sends much of it fills no memory."


def _trio_ns() -> int:
    return int(trio.current_time() * 1e9)


@attrs.frozen(kw_only=True)
class Clock:
    """Where stamps come from. How long to sleep is trio's clock, so that it can be a MockClock."""

    wall_ns: Callable[[], int] = time.time_ns
    "Nanoseconds since 1970."
    monotonic_ns: Callable[[], int] = _trio_ns
    "Nanoseconds from an arbitrary start, never going back: trio's, so that sleeping agrees with stamps."
    work: Callable[[], float] = time.monotonic
    "Seconds that this machine works: its own clock, because work stops trio's under a MockClock."


@attrs.frozen(kw_only=True)
class Duties:
    """Who does what the effects say. None waits, but `persist` for a moment where a disk is quick."""

    collect: Callable[[float], list[Input]]
    "What the rest of the driver wants of the core now, given trio's time. Called before each step."
    deadline: Callable[[], float]
    "When `collect` must be called again at the latest, in trio's time."
    send: Callable[[Iterable[Send]], None]
    "Give these to the transport."
    persist: Callable[[Write], bool]
    "Make this durable: True, if it is so already; else `Loop.on_persisted` follows."
    fetch: Callable[[Fetch | ReadSnapshot | SeekSnapshot], None]
    "Begin to read this back, or to ask others for it; `Loop.put` of the answer follows."
    apply: Callable[[Iterable[Run | SnapshotMeta]], None]
    "Apply these, or queue them for the apply task; `Loop.note` of Applied follows."
    answer: Callable[[Answer], None]
    "Tell who asked."
    publish: Callable[[Event], None]
    "Tell who listens."


@attrs.define(eq=False)
class Loop:
    """Owns a core and its inbox."""

    raft: Raft
    "Read it anywhere; only this loop steps it."
    duties: Duties
    tick_seconds: float
    clock: Clock = Clock()
    life: Life | None = None
    "Where the core's steps are recorded, if they are."
    _inbox: list[Input] = attrs.field(init=False, factory=list[Input])
    "Bounded by those who fill it: links read one buffer a turn, everything else answers the core."
    _held: deque[tuple[int, tuple[Send, ...]]] = attrs.field(
        init=False, factory=deque[tuple[int, tuple[Send, ...]]]
    )
    "Sends that wait for the write of this sequence."
    _written: int = attrs.field(init=False, default=0)
    "Sequence of the newest write submitted."
    _durable: int = attrs.field(init=False, default=0)
    "Sequence of the newest write on disk."
    _started: float = attrs.field(init=False, factory=trio.current_time)
    _ticks: int = attrs.field(init=False, default=0)
    "Reported to the core since `_started`."
    _news: trio.Event = attrs.field(init=False, factory=trio.Event)

    def put(self, item: Input) -> None:
        """Give `item` to the core with the next batch."""
        self._inbox.append(item)
        self._news.set()

    def note(self, news: Applied | Persisted | Receive) -> None:
        """Give `news` to the core with the next batch, which comes at once only if the core can't wait."""
        self._inbox.append(news)
        if len(self._inbox) > NOTES_MAX or not self.raft.can_wait(news):
            self._news.set()

    def wake(self) -> None:
        """Have `collect` called soon."""
        self._news.set()

    def on_persisted(self, sequence: int) -> None:
        """Every write up to `sequence` is on disk."""
        self.note(self._persisted(sequence))

    def _persisted(self, sequence: int) -> Persisted:
        self._durable = sequence
        while self._held and self._held[0][0] <= sequence:
            self.duties.send(self._held.popleft()[1])
        return Persisted(sequence=sequence)

    async def run(self) -> None:
        """Take turns for ever."""
        while True:
            with trio.CancelScope() as alarm:
                while True:
                    await self._sleep(alarm)
                    self._turn()
            self._turn()  # a time has come

    def _turn(self) -> None:
        self._news = trio.Event()
        wanted = self.duties.collect(trio.current_time())
        # The tick is read last: what is wanted because its time has come is not stamped before that time.
        inputs = [self._tick(), *wanted, *self._inbox]
        self._inbox.clear()
        persisted = self._step(inputs)
        while persisted is not None and not self.raft.can_wait(persisted):
            persisted = self._step([persisted])
        if persisted is not None:
            self._inbox.append(persisted)

    def _step(self, inputs: list[Input]) -> Persisted | None:
        life = self.life
        return self._perform(
            self.raft.step(inputs) if life is None else life.step(self.raft, inputs)
        )

    def _tick(self) -> Tick:
        """How many ticks went by. A late turn reports them all at once: the core fires each timer once."""
        due = int((trio.current_time() - self._started) / self.tick_seconds)
        count = max(due - self._ticks, 0)
        self._ticks += count
        return Tick(
            count=count, wall_ns=self.clock.wall_ns(), monotonic_ns=self.clock.monotonic_ns()
        )

    def _perform(self, effects: Effects) -> Persisted | None:
        """Do what a step obliges us to, in the order of the fields. What is durable already."""
        duties, persisted = self.duties, None
        duties.send(effects.send_now)
        if effects.persist is not None:
            self._written = effects.persist.sequence
            if duties.persist(effects.persist):
                persisted = self._persisted(self._written)
        if effects.send_after_persist:
            if self._durable >= self._written:
                duties.send(effects.send_after_persist)
            else:
                self._held.append((self._written, effects.send_after_persist))
        for wanted in effects.fetch:
            duties.fetch(wanted)
        for part in effects.read_snapshot:
            duties.fetch(part)
        if effects.seek_snapshot is not None:
            duties.fetch(effects.seek_snapshot)
        if effects.install is not None:
            duties.apply((effects.install,))
        if effects.apply:
            duties.apply(effects.apply)
        for answer in effects.answer:
            duties.answer(answer)
        for event in effects.events:
            duties.publish(event)
        return persisted

    async def _sleep(self, alarm: trio.CancelScope) -> None:
        """Until something arrives, or `alarm` goes off when something is due. A checkpoint in any case.

        An alarm is set anew as long as it has not gone off: a scope for each turn costs more than the rest.
        """
        ticks = self.raft.ticks_until_next_deadline
        due = self.duties.deadline()
        if ticks is not None:
            # A hair later than the tick, or rounding would wake us just before it.
            at = self._started + (self._ticks + max(ticks, 1)) * self.tick_seconds
            due = min(due, at + 1e-6)
        if self._news.is_set() or due <= trio.current_time():
            await trio.lowlevel.checkpoint()
            return
        alarm.deadline = due
        await self._news.wait()
