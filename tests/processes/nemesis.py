"""What befalls the processes of a storm, at random from a seed, and how long the group was silent then.

Law: every node is started again within seconds, so a storm always leaves a group that can go on.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from typing import Literal, assert_never

import attrs
import trio

from tests.processes.group import Group, Refused, Unanswered

__all__ = ["BLOWS", "Blow", "Gap", "Nemesis"]

Blow = Literal["kill", "stop", "kill two", "kill all", "kill starting"]
"One thing that may happen on a bad day."
BLOWS: Mapping[Blow, int] = {
    "kill": 8,
    "stop": 6,
    "kill two": 3,
    "kill starting": 3,
    "kill all": 1,
}
"How often each happens, compared with the others."
CALM_SECONDS = (0.3, 4.0)
"Between two blows."
DOWN_SECONDS = 2.0
"A killed process is started again after at most so long."
STOP_SECONDS = (0.05, 3.0)
"How long a process is stopped."
PATIENCE_SECONDS = 5.0
"How long to wait for a process to start."


@attrs.frozen(kw_only=True)
class Gap:
    """How long nothing new succeeded after the leader's process ended or stopped."""

    blow: Blow
    "What happened to it."
    seconds: float
    "Until the first acknowledgement of a command that was sent to some node after that."
    disturbed: bool
    "Whether something else happened meanwhile."


@attrs.define(eq=False)
class Nemesis:
    """Hits the group."""

    group: Group
    rng: random.Random
    blows: Mapping[Blow, int] = BLOWS
    "What it chooses from."
    counts: Counter[str] = attrs.field(init=False, factory=Counter[str])
    "How often what was done."
    gaps: list[Gap] = attrs.field(init=False, factory=list[Gap])
    _measuring: bool = attrs.field(init=False, default=False)
    "Whether the group is silent since the leader was hit; one gap at a time."

    async def run(self, seconds: float) -> None:
        """Hit for so long."""
        ends = trio.current_time() + seconds
        async with trio.open_nursery() as nursery:
            while trio.current_time() < ends:
                await trio.sleep(self.rng.uniform(*CALM_SECONDS))
                (blow,) = self.rng.choices(list(self.blows), list(self.blows.values()))
                await self._hit(blow, nursery)

    async def _hit(self, blow: Blow, nursery: trio.Nursery) -> None:
        match blow:
            case "kill":
                self._kill(self._victim(), blow, nursery)
            case "stop":
                nursery.start_soon(self._stop, self._victim(), nursery)
            case "kill two" | "kill all":
                names = self.group.names
                many = len(names) if blow == "kill all" else min(2, len(names))
                for name in self.rng.sample(names, many):
                    self._kill(name, blow, nursery)
            case "kill starting":
                self._kill(self._victim(), blow, nursery)
                for _ in range(self.rng.randint(1, 4)):
                    with trio.move_on_after(PATIENCE_SECONDS):
                        await self.kill_next_start(self._victim())
            case _:
                assert_never(blow)

    def _victim(self) -> str:
        """The leader half of the time."""
        leader = self.group.leader
        if leader is not None and self.rng.random() < 0.5:
            return leader
        return self.rng.choice(self.group.names)

    def _kill(self, name: str, blow: Blow, nursery: trio.Nursery) -> None:
        leads = self._leads(name)
        if self.group.kill(name, down=self.rng.random() * DOWN_SECONDS):
            self._note(blow, leads, nursery)

    async def _stop(self, name: str, nursery: trio.Nursery) -> None:
        leads = self._leads(name)
        if name in self.group.members:
            self._note("stop", leads, nursery)
            await self.group.stop(name, seconds=self.rng.uniform(*STOP_SECONDS))

    async def kill_next_start(self, name: str) -> None:
        """Kill the next process of this node within the first tenth of a second of its opening."""
        await self.group.opening_member(name)
        await trio.sleep(self.rng.random() * 0.1)
        if self.group.kill(name, down=self.rng.random() * 0.2):
            self.counts["kill starting"] += 1

    # ── the silence that follows ─────────────────────────────────────────────────────────────────

    def _leads(self, name: str) -> bool:
        """Whether it is the leader, as far as known, and calls itself so."""
        member = self.group.members.get(name)
        return name == self.group.leader and member is not None and member.status == "leader"

    def _note(self, blow: Blow, leads: bool, nursery: trio.Nursery) -> None:
        self.counts[blow] += 1
        if leads:
            self.counts[f"{blow}, leader"] += 1
            if not self._measuring:
                self._measuring = True
                nursery.start_soon(self.measure, blow)

    async def measure(self, blow: Blow) -> None:
        """The leader has just been hit: wait for the first acknowledgement, and note how long that took."""
        since, counted = time.monotonic(), self.counts.total()
        async with trio.open_nursery() as nursery:
            for name in self.group.names:
                nursery.start_soon(self._probe, name, nursery.cancel_scope)
        disturbed = self.counts.total() > counted
        self.gaps.append(Gap(blow=blow, seconds=time.monotonic() - since, disturbed=disturbed))
        self._measuring = False

    async def _probe(self, name: str, done: trio.CancelScope) -> None:
        """Have a session registered, a command like any other; by one that was there before or comes."""
        while True:
            member = await self.group.open_member(name)
            with suppress(Refused, Unanswered):
                await member.ask("session", 30.0, patience=30)
                done.cancel()
                return
            await trio.sleep(0.01)
