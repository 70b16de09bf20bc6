"""Clients of a group of processes, each with one call under way, and what they were told.

Laws: a command gets its token once, and is sent again only by it. What was not answered is asked again
elsewhere, by the same token, until the group says what became of it; some are left unknown on purpose. "Did
not happen" is believed: the checker finds out who lied.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from functools import partial
from typing import Any

import attrs
import trio

from raftkit.testing.append_lists import Append, Outcome, Read
from tests.processes.group import Group, Refused, StormFailed, Unanswered
from tests.processes.keys import Key, Keys

__all__ = ["Client", "Load"]

SESSION_COMMANDS = 200
"After so many a client takes a new session."
THINK_SECONDS = 0.02
"At most so long between two calls."
SETTLE_SECONDS = 60.0
"After that an outcome is left unknown: longer than any storm keeps the group from answering."
LEFT_UNKNOWN = 0.05
"Of the outcomes that are unknown at first, so many are not asked for."
READS = 0.4
"Of all calls."


@attrs.define(eq=False)
class Load:
    """All clients."""

    group: Group
    seed: int
    keys: Keys = attrs.field(init=False, factory=Keys)
    counts: Counter[str] = attrs.field(init=False, factory=Counter[str])
    "What became of calls."
    over: bool = attrs.field(init=False, default=False)
    "Begin no more calls."

    async def run(self, clients: int) -> None:
        """Until `over`, and everything that can be settled is."""
        async with trio.open_nursery() as nursery:
            for number in range(clients):
                rng = random.Random(f"{self.seed} client {number}")
                nursery.start_soon(Client(f"client {number}", rng, self).run)

    def count(self, what: str) -> None:
        """Count what became of a call."""
        self.counts[what] += 1


@attrs.define(eq=False)
class Client:
    """One client."""

    name: str
    rng: random.Random
    load: Load
    session: int = attrs.field(init=False, default=0)
    number: int = attrs.field(init=False, default=SESSION_COMMANDS)
    "The last that was given to a command of this session."

    async def run(self) -> None:
        """Call until the storm is over."""
        while not self.load.over:
            await trio.sleep(self.rng.random() * THINK_SECONDS)
            key = self.load.keys.any(self.rng)
            if self.rng.random() < READS:
                with key.call():
                    await self._read(key)
            else:
                await self._append_to(key)

    async def _append_to(self, key: Key) -> None:
        value = next(key.values)
        with key.call():
            await self._append(key, value)
        if self.load.keys.take_full(key, value):
            await key.idle.wait()
            await self.retire(key)
            self.load.keys.check(key)
            if self.load.keys.violations:
                raise StormFailed("it was ended at the first violation, before the traces are gone")

    # ── calls ────────────────────────────────────────────────────────────────────────────────────

    async def _read(self, key: Key) -> None:
        began = time.monotonic()
        timeout, patience = self._times()
        member = await self.load.group.any_member(self.rng)
        try:
            (values,) = await member.ask("read", key.name, timeout, patience=patience)
        except (Refused, Unanswered):
            self.load.count("reads without answer")
            return
        self._note_read(key, values, began)

    async def _append(self, key: Key, value: int) -> None:
        began = time.monotonic()
        outcome, _ = await self._decide(["append", key.name, value], LEFT_UNKNOWN)
        if outcome is Outcome.OK:
            self.load.count("appends acknowledged")
        append = Append(
            client=self.name,
            key=key.name,
            value=value,
            invoked_at=began,
            returned_at=time.monotonic(),
            outcome=outcome,
        )
        key.history.append(append)

    async def retire(self, key: Key) -> None:
        """Read a list for the last time, and give it up. Tries until that is done."""
        while True:
            began = time.monotonic()
            match await self._decide(["retire", key.name], 0.0):
                case Outcome.OK, values:
                    self._note_read(key, values, began)
                    return
                case Outcome.UNKNOWN, _:
                    raise StormFailed(f"the group gave no answer for {SETTLE_SECONDS:g} s")
                case _:
                    pass

    def _note_read(self, key: Key, values: list[int], began: float) -> None:
        self.load.count("reads answered")
        read = Read(
            client=self.name,
            key=key.name,
            values=tuple(values),
            invoked_at=began,
            returned_at=time.monotonic(),
        )
        key.history.append(read)

    # ── commands ─────────────────────────────────────────────────────────────────────────────────

    async def _decide(self, command: list[object], left_unknown: float) -> tuple[Outcome, Any]:
        """What became of a command, and what it returned."""
        if self.number == SESSION_COMMANDS:
            await self._new_session()
        self.number += 1
        timeout, patience = self._times()
        arguments = (command, self.name, self.session, self.number, timeout)
        member = await self.load.group.any_member(self.rng)
        try:
            (result,) = await member.ask("decide", *arguments, patience=patience)
        except Refused:
            self.load.count("appends that did not happen")
            return Outcome.DID_NOT_HAPPEN, None
        except Unanswered:
            self.load.count("unknown at first")
            if self.rng.random() < left_unknown:
                self.load.count("left unknown")
                return Outcome.UNKNOWN, None
            return await self._settle(command)
        return Outcome.OK, result

    async def _settle(self, command: list[object]) -> tuple[Outcome, Any]:
        """Find out what became of a command that some node may have been given."""
        ends = time.monotonic() + SETTLE_SECONDS
        while time.monotonic() < ends:
            member = await self.load.group.any_member(self.rng)
            timeout, patience = self._times()
            if self.rng.random() < 0.5:
                ask = partial(member.ask, "again", command, self.session, self.number)
            else:
                ask = partial(member.ask, "outcome", self.session, self.number)
            try:
                (result,) = await ask(timeout, patience=patience)
            except Refused:
                self.load.count("settled: did not happen")
                return Outcome.DID_NOT_HAPPEN, None
            except Unanswered:
                await trio.sleep(0.02)
                continue
            self.load.count("settled: happened")
            return Outcome.OK, result
        self.load.count("left unknown")
        return Outcome.UNKNOWN, None

    async def _new_session(self) -> None:
        while True:
            member = await self.load.group.any_member(self.rng)
            timeout, patience = self._times()
            try:
                (self.session,) = await member.ask("session", timeout, patience=patience)
            except (Refused, Unanswered):
                await trio.sleep(0.02)
                continue
            self.number = 0
            return

    def _times(self) -> tuple[float, float]:
        """How long a node is to try, and how long this client waits for the node: either may be shorter."""
        return self.rng.choice([0.1, 1.0, 5.0]), self.rng.choice([0.3, 2.0, 8.0])
