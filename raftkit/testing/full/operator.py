"""Whoever runs the group of a full-stack world: asks nodes for what people ask of them, and hears answers.

Laws: an order is answered within its time, if its node lives so long. As for clients, what is concluded from
an error is what its class says, and an error that nobody should meet is a violation.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import attrs
import trio

from raftkit.errors import DidNotHappen, OutcomeUnknown, RaftError
from raftkit.model import NodeId
from raftkit.node import Node
from raftkit.testing.append_lists import Outcome
from raftkit.testing.full.server import FullServer
from raftkit.testing.full.stage import Story
from raftkit.testing.simulated_disk import PowerCut
from raftkit.testing.world.shadows import fail

__all__ = ["Operator"]

Order = Callable[[Node[Any], float], Awaitable[object]]
"Something to ask of a node, which has so many seconds for it."

PATIENCE_SECONDS = 3.0
"Mean time for which an order may last."
GRACE_SECONDS = 1.0
"Beyond its time, until an order counts as stranded."


@attrs.define(eq=False, kw_only=True)
class Operator:
    """Gives orders, any number at a time."""

    rng: random.Random
    story: Story
    done: Counter[str] = attrs.field(init=False, factory=Counter[str])
    "What was asked and came about, how often."
    open: int = attrs.field(init=False, default=0)
    "Orders that are not answered yet."

    async def snapshot(self, server: FullServer) -> None:
        """Have a snapshot taken, however long that lasts."""
        await self.ask(server, "snapshot", lambda node, _: node.snapshot(), patience=math.inf)

    async def transfer(self, server: FullServer, to: NodeId | None) -> None:
        """Have another lead in its place."""
        await self._make_room(
            server, "transfer", lambda node, left: node.transfer_leadership(to, timeout=left)
        )

    async def step_down(self, server: FullServer, *, hand_over: bool) -> None:
        """Have it lead no more."""
        await self._make_room(
            server,
            "step_down",
            lambda node, left: node.step_down(hand_over=hand_over, timeout=left),
        )

    async def _make_room(self, server: FullServer, what: str, order: Order) -> None:
        """T1: whoever was asked, and said that it is done, does not lead the term in which that was."""
        term = None if server.raft is None else server.raft.term
        outcome, raft = await self.ask(server, what, order), server.raft
        if (
            outcome is Outcome.OK
            and raft is not None
            and (raft.role, raft.term) == ("leader", term)
        ):
            fail("T1 MadeRoom", f"{server.id} leads term {term} after {what}")

    async def ask(
        self,
        server: FullServer,
        what: str,
        order: Order,
        *,
        patience: float = PATIENCE_SECONDS,
    ) -> Outcome:
        """Give `order` to the node of `server`, with the seconds that it may last; what became of it."""
        node, life, outcome = server.node, server.life, Outcome.UNKNOWN
        assert node is not None
        timeout = self.rng.expovariate(1 / patience) + 0.001 if patience < math.inf else math.inf
        self.open += 1
        with trio.move_on_after(timeout + GRACE_SECONDS) as scope:
            try:
                answer = await order(node, timeout)
                outcome = Outcome.OK
                self.done[what] += 1
                self.story.tell(f"{server.id}: {what} is done: {answer}")
            except DidNotHappen as error:
                outcome = Outcome.DID_NOT_HAPPEN
                self.story.tell(f"{server.id}: no {what}: {type(error).__name__}: {error}")
            except OutcomeUnknown as error:
                self.story.tell(f"{server.id}: maybe {what}: {error}")
            except PowerCut:
                pass
            except RaftError as error:
                if not (server.faulty or server.disk.is_off or server.life != life):
                    fail("N2 UnforeseenError", f"{server.id}: no {what}: {error!r}")
        self.open -= 1
        if scope.cancelled_caught:
            fail("L4 Stranded", f"{what} of {server.id} goes on beyond its {timeout:.3f} s")
        return outcome
