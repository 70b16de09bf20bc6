"""What this node and its peers remember of each other: a disk that was rolled back must not vote.

Laws: a node that is barred stays so for the rest of its life, and what showed it is written down before its
next one may forget it. What is remembered of peers is best effort, so it is written rarely.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping

import attrs
import trio

from raftkit.core import Raft
from raftkit.driver.founding import rolled_back, rolled_back_before
from raftkit.driver.greeting import Greeting
from raftkit.driver_messages import Hello, Remembered
from raftkit.messages import Barred
from raftkit.model import Identity
from raftkit.storage import IdentityRecord

__all__ = ["Remembering"]

WRITE_SECONDS = 10.0
"Between writes of what is remembered of peers."

logger = logging.getLogger("raftkit")


@attrs.define(eq=False, kw_only=True)
class Remembering:
    """Compares what peers remember with what this node is, and writes down what it remembers of them."""

    record: Callable[[], IdentityRecord]
    "Who this node is, as its disk says now."
    greeting: Greeting
    "What is known of the peers."
    raft: Callable[[], Raft | None]
    "The core; None while unborn."
    tell_core: Callable[[Barred], None]
    "That this node may not vote."
    write: Callable[[Mapping[Identity, Remembered]], Awaitable[None]]
    "Makes durable what is remembered."
    barred: str | None = attrs.field(init=False, default=None)
    "Why this node may not vote or acknowledge, if so."
    _due: trio.Event = attrs.field(init=False, factory=trio.Event)
    "What is remembered should not wait to be written down."

    def begin(self) -> None:
        """There is a core now: what was heard before may concern it."""
        told = self.greeting.remembered().get(self.greeting.identity)
        if told is not None:
            self._bar(rolled_back_before(told))
        for peer in self.greeting.peers.values():
            if peer.hello is not None:
                self.on_hello(peer.hello)

    def on_hello(self, hello: Hello) -> None:
        """Whether a peer remembers more of this node than its disk does."""
        raft = self.raft()
        if raft is None or self.barred is not None:
            return
        record = self.record()
        why = rolled_back(
            hello,
            boot=record.boot,
            nonce=record.nonce,
            term=raft.term,
            last_index=raft.last_index,
        )
        if why is not None:
            assert hello.remembered is not None
            self.greeting.note_rolled_back(hello.remembered)
            self._due.set()
            self._bar(why)

    async def run(self) -> None:
        """Write down what is remembered, for ever, when it changed."""
        while True:
            with trio.move_on_after(WRITE_SECONDS):
                await self._due.wait()
            self._due = trio.Event()
            now = self.greeting.remembered()
            if now != self.record().remembered:
                await self.write(now)

    def _bar(self, why: str) -> None:
        """Neither vote nor acknowledge, for the rest of this life."""
        self.barred = why
        logger.error("%s: neither votes nor acknowledges: %s", self.greeting.identity.id, why)
        self.tell_core(Barred(reason=why))
