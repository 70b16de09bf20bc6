"""The apply task: hands committed runs to the replica, answers who waits, and says how far it came.

Laws: only this changes the replica. Runs and snapshots are taken in the order in which the core gave
them. It yields between slices, so that many commands never delay a heartbeat. What is taken while the state
is divergent is not applied: it is read back from the log when a right state is there.
"""

from __future__ import annotations

import heapq
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import Any

import attrs
import outcome
import trio

from raftkit.driver.replica import Replica, Restored, UnknownCommand
from raftkit.driver.waiters import Waiters
from raftkit.driver.watchdog import Watchdog
from raftkit.errors import (
    DidNotHappen,
    Diverged,
    NodeClosed,
    StateMachineFailed,
    StateUnwritable,
)
from raftkit.messages import Applied, Unfit
from raftkit.model import Index, Run
from raftkit.snapshot import SnapshotMeta

__all__ = ["Applying", "Seed"]

SLICE_ENTRIES_MAX = 128
"Entries applied between two looks at what else is to be done."
CATCH_UP_BYTES_MAX = 1024 * 1024
"Of entries that are read back at once, but at least one entry."

logger = logging.getLogger("raftkit")


@attrs.define(eq=False, order=False)
class _Goal:
    """A task that waits for an index."""

    index: Index
    task: trio.lowlevel.Task | None
    "None when it was cancelled."

    def __lt__(self, other: _Goal) -> bool:
        return self.index < other.index


@attrs.define(eq=False, kw_only=True)
class Seed:
    """A snapshot of another node's, to go on from in place of a divergent state."""

    index: Index
    "The last entry in it."
    digest: bytes
    "What a majority's states have there: anything else is refused."
    content: list[bytes]
    "Its bytes, in pieces."
    planted: bool = attrs.field(init=False, default=False)
    "Whether it was believed and is durable."
    done: trio.Event = attrs.field(init=False, factory=trio.Event)


@attrs.define(eq=False, kw_only=True)
class Applying:
    """The replicated state of a node, and the way into it."""

    replica: Replica[Any]
    "Machine, sessions, log time."
    id: str
    waiters: Waiters
    report: Callable[[Applied | Unfit], None]
    "How the loop hears of progress, and that there will be none."
    read_snapshot: Callable[[], Awaitable[Iterable[bytes]]]
    "The newest snapshot's content."
    beside: Callable[[Callable[[], None]], Awaitable[None]]
    "Does what takes long while the loop goes on: in a thread, where storage has threads."
    watchdog: Watchdog
    "Measures the commands."
    cut: Callable[[], None]
    "Called where a snapshot is due, with exactly the entries up to there applied."
    read_log: Callable[[Index, int], Awaitable[tuple[Run, ...]]]
    "Entries from an index on, as many as fit in so many bytes, from this node's own log."
    put_in_place: Callable[[Index, Callable[[], object]], Awaitable[bool]]
    "See `Snapshotting.put_in_place`."
    restored: Callable[[SnapshotMeta, bytes], None]
    "Called when a received snapshot became the state, with the digest of what was read."
    replaced: Callable[[Index, bool], None]
    "Called when a snapshot took the place of the state, and told whether that was divergent."
    stopped: str | None = attrs.field(init=False, default=None)
    "Why nothing more is applied, though the node goes on; None while all is well."
    divergence: str | None = attrs.field(init=False, default=None)
    "Why nothing is applied or answered until a snapshot replaces the state; None while all is well."
    installs: int = attrs.field(init=False, default=0)
    "Snapshots that were installed over what was applied, since the start."
    given: Index = attrs.field(init=False, default=Index(0))
    "The last entry taken from the queue: what lies between `applied` and this is read back from the log."
    _seed: Seed | None = attrs.field(init=False, default=None)
    "The snapshot to go on from."
    _queue: deque[Run | SnapshotMeta] = attrs.field(init=False, factory=deque[Run | SnapshotMeta])
    "Bounded by the core: it gives out at most `apply_bytes_max` that is not reported."
    _goals: list[_Goal] = attrs.field(init=False, factory=list[_Goal])
    "A heap."
    _news: trio.Event = attrs.field(init=False, factory=trio.Event)
    _idle: bool = attrs.field(init=False, default=False)
    "The task waits for news."

    @property
    def applied(self) -> Index:
        """Index of the last entry in the state."""
        return self.replica.applied

    def put(self, *items: Run | SnapshotMeta) -> None:
        """Queue committed runs, or a snapshot that replaces the state.

        A slice of entries is applied here and now if nothing else is to be done before: that is sooner done
        than another task is woken.
        """
        self._queue.extend(items)
        if not self._apply_at_once():
            self._news.set()

    def _apply_at_once(self) -> bool:
        """Apply the queue, if it is a slice, and the task would do that next. Whether that was done."""
        run = self._queue[0]
        if not (
            self._idle
            and not self._news.is_set()
            and len(self._queue) == 1
            and isinstance(run, Run)
            and len(run) <= SLICE_ENTRIES_MAX
            and self.stopped is None
            and self.divergence is None
        ):
            return False
        self._queue.clear()
        self.given = max(self.given, run.last)
        while self.applied < run.last and self._apply_slice(run):
            pass
        return True

    async def run(self) -> None:
        """Apply for ever. Raises StateMachineFailed when this node can't."""
        while self.stopped is None:
            if self._seed is not None:
                await self._plant(self._seed)
            elif self.divergence is None and self.applied < self.given:
                await self._catch_up()
            elif self._queue:
                await self._take(self._queue.popleft())
            else:
                self._news, self._idle = trio.Event(), True
                await self._news.wait()
                self._idle = False

    async def _take(self, item: Run | SnapshotMeta) -> None:
        if isinstance(item, SnapshotMeta):
            await self._install(item)
            return
        self.given = max(self.given, item.last)
        if self.divergence is None:
            await self._apply(item)
        else:
            # It is in the log: to be read back when there is a right state to apply it to.
            self.report(Applied(index=item.last))

    async def restore(self) -> bytes | None:
        """Replace the state by the newest snapshot's, or stop applying if it is of newer code.

        Returns the digest of what was read, if it can be compared.
        """
        try:
            restored = await self._read(await self.read_snapshot())
        except UnknownCommand as error:
            self._stop(str(error))
            return None
        self.replica.adopt(restored)
        self.given = max(self.given, self.applied)
        return restored.digest()

    async def _read(self, content: Iterable[bytes]) -> Restored:
        """What a snapshot holds.

        A million elements take seconds, so they are read beside the loop, into a machine of their own.
        """
        restored = self.replica.begin_restore(content)
        if restored.beside:
            await self.beside(restored.read)
        else:
            restored.read()
        return restored

    def diverge(self, why: str) -> None:
        """The state is wrong: apply nothing and answer nothing from it, until a snapshot takes its place."""
        self.divergence = why
        self._end_goals(Diverged(why))

    async def reseed(self, seed: Seed) -> bool:
        """Go on from `seed`, if its digest is right and there is no later snapshot: whether that was done."""
        assert self._seed is None
        self._seed = seed
        self._news.set()
        await seed.done.wait()
        return seed.planted

    async def wait_applied(self, index: Index) -> None:
        """Wait until the entry at `index` is in the state. Raises Diverged, and NodeClosed at the end."""
        if self.divergence is not None:
            raise Diverged(self.divergence)
        if self.applied >= index:
            await trio.lowlevel.checkpoint()
            return
        goal = _Goal(index, trio.lowlevel.current_task())
        if self.stopped is not None:
            raise NodeClosed(self.stopped)
        heapq.heappush(self._goals, goal)

        def abort(_: object) -> trio.lowlevel.Abort:
            goal.task = None
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(abort)

    def close(self, why: str) -> None:
        """Apply nothing more, and end every wait for an index."""
        self.stopped = self.stopped or why
        self._end_goals(NodeClosed(why))

    def _end_goals(self, error: DidNotHappen) -> None:
        for goal in self._goals:
            if goal.task is not None:
                trio.lowlevel.reschedule(goal.task, outcome.Error(error))
                goal.task = None
        self._goals.clear()

    async def _apply(self, run: Run) -> None:
        """Apply one run slice by slice."""
        if run.last <= self.applied:
            return  # installing read a newer snapshot than the one it was told of, which contains this
        assert run.first == self.applied + 1, "committed entries come in order, each once"
        while self.applied < run.last and self.divergence is None and self._apply_slice(run):
            await trio.lowlevel.checkpoint()

    def _apply_slice(self, run: Run) -> bool:
        """Apply some entries of `run`, and cut a snapshot behind the last if one is due there.

        False if this node can't apply what follows.
        """
        start = Index(self.applied + 1)
        part = run.cut(start, Index(min(start + SLICE_ENTRIES_MAX - 1, run.last)))
        part = self.replica.until_cut(part)
        first_of_term = part.term != self.replica.applied_term
        unknown: UnknownCommand | None = None
        try:
            outcomes = self.replica.apply((part,), each=self.watchdog.watch(part))
        except UnknownCommand as error:
            outcomes, unknown = error.outcomes, error
        # Most nodes were asked nothing: then there is nobody to look for, entry by entry.
        for session, number, reply in outcomes if len(self.waiters) else ():
            self.waiters.resolve(session, number, reply)
        self._advance(first_of_term=first_of_term)
        if unknown is not None:
            self._stop(str(unknown))
            return False
        if self.replica.at_cut:
            self.cut()
        return True

    async def _install(self, snapshot: SnapshotMeta) -> None:
        """Replace the state by the newest snapshot, and answer from its session table."""
        if snapshot.index <= self.applied:
            return  # a newer one was installed meanwhile
        digest = await self.restore()
        if self.stopped is None:
            self._go_on()
            if digest is not None and self.applied == snapshot.index:  # else a newer one was read
                self.restored(snapshot, digest)

    async def _plant(self, seed: Seed) -> None:
        """Replace the state by a majority's, durably, unless it is not what was promised."""
        self._seed = None
        try:
            restored = await self._read(seed.content)
            if restored.digest() != seed.digest:
                raise StateMachineFailed("its digest is not that of a majority's states")
            adopt = partial(self.replica.adopt, restored)
            seed.planted = await self.put_in_place(seed.index, adopt)
        except (UnknownCommand, StateMachineFailed, StateUnwritable) as error:
            logger.warning(
                "%s: a snapshot at index %s to go on from is refused: %s",
                self.id,
                seed.index,
                error,
            )
        if seed.planted:
            self._go_on()
        seed.done.set()

    async def _catch_up(self) -> None:
        """Apply again some of what lies between the state and what was taken from the queue."""
        for run in await self.read_log(Index(self.applied + 1), CATCH_UP_BYTES_MAX):
            if run.first <= self.given and self.divergence is None:
                await self._apply(run.cut(run.first, min(run.last, self.given)))

    def _go_on(self) -> None:
        """From another state: answer from its session table."""
        self.installs += 1
        diverged, self.divergence = self.divergence is not None, None
        self.replaced(self.applied, diverged)
        for call in self.waiters:
            reply = self.replica.stored_reply(call.session, call.number)
            if reply is not None:
                self.waiters.resolve(call.session, call.number, reply)
            elif call.once and call.sendings and call.index <= self.applied:
                # No session remembers it, so the snapshot does not say whether it was applied.
                self.waiters.give_up(
                    call, "a snapshot came in the place of the log that would tell"
                )
        self._advance(first_of_term=True)

    def _advance(self, *, first_of_term: bool) -> None:
        """Tell the core, who waits for an index, and whose entry was replaced by another."""
        applied = self.applied
        self.report(Applied(index=applied))
        while self._goals and self._goals[0].index <= applied:
            task = heapq.heappop(self._goals).task
            if task is not None:
                trio.lowlevel.reschedule(task)
        if first_of_term:
            for call in self.waiters.take_lost(applied, self.replica.applied_term):
                if call.once:
                    self.waiters.fail(
                        call, DidNotHappen("its entry was replaced by a new leader's"), ""
                    )

    def _stop(self, why: str) -> None:
        """Apply nothing more, but stay: this node still holds the log for others, and leads no more."""
        logger.error("%s: stopped applying after index %s: %s", self.id, self.applied, why)
        self.waiters.fail_all(NodeClosed(why), why)
        self.close(why)
        self.report(Unfit(reason=why))
