"""The clients of a full-stack world: each asks one thing after another, of any node, and keeps the answers.

Laws: what is concluded from an error is what its class says, and nothing more (`errors.py`). A call that
is cancelled, or whose node dies, may have happened. An error that no client should meet is a violation.
"""

from __future__ import annotations

import math
import random
from collections.abc import Awaitable, Callable
from typing import Any

import attrs
import trio

from raftkit.driver import Consistency, Session, Token
from raftkit.errors import DidNotHappen, OutcomeUnknown, RaftError
from raftkit.node import Node
from raftkit.testing.append_lists import Outcome
from raftkit.testing.full.server import FullServer
from raftkit.testing.full.stage import Story
from raftkit.testing.full.swarm import FullSwarm
from raftkit.testing.full.workloads import Asked, How, Workload
from raftkit.testing.world.shadows import fail

__all__ = ["Client"]

SENDINGS_MAX = 30
"Of one command by its token, until its client gives up."
MANY_MAX = 6
"Commands of one `execute_many`."
AGE_SECONDS = 0.5
"Mean age that a read of an age may have."
GRACE_SECONDS = 1.0
"Beyond its timeout, until a call counts as stranded."


@attrs.define(eq=False, kw_only=True)
class Client:
    """One caller."""

    name: str
    workload: Workload
    swarm: FullSwarm
    servers: list[FullServer]
    story: Story
    rng: random.Random
    history: list[Asked]
    "Of all clients."
    over: bool = attrs.field(init=False, default=False)
    "Nothing new is asked; what was begun is finished or given up."
    open: list[tuple[Asked, Token]] = attrs.field(init=False, factory=list[tuple[Asked, Token]])
    "What it gave up and could still ask for."
    _stored: list[Token] = attrs.field(init=False, factory=list[Token])
    "Every token it ever had: letting go of one would close its number."
    _session: Session | None = attrs.field(init=False, default=None)
    _groups: int = attrs.field(init=False, default=0)
    "Calls so far that count as other clients'."

    async def run(self) -> None:
        """Ask until it is over."""
        names, weights = list(self.swarm.calls), list(self.swarm.calls.values())
        while not self.over:
            (name,) = self.rng.choices(names, weights)
            await _CALLS[name](self)
            await trio.sleep(self.rng.expovariate(1 / self.swarm.pause))

    async def settle(self, node: Node[Any], *, timeout: float) -> None:  # noqa: ASYNC109 - the node's
        """Ask `node` what became of everything that was given up."""
        for asked, token in self.open:
            try:
                await node.outcome(token, timeout=timeout)
                self._known(asked, Outcome.OK)
            except DidNotHappen:
                self._known(asked, Outcome.DID_NOT_HAPPEN)
            except OutcomeUnknown as error:
                self.story.tell(f"{self.name}: {asked.asked}: {error}")

    # ── what it does ─────────────────────────────────────────────────────────────────────────────────

    async def by_token(self) -> None:
        """One command until it is decided, at one node after another: exactly once for all that."""
        session = await self._own_session()
        if session is None:
            return
        asked, token = self._begin(), session.token()
        # A token may be stored and made again, without its ledger. Who did so has no other any more: a
        # ledger knows nothing of what is sent behind its back. Here it lives on, or a void would be sent.
        used = token if self.rng.random() < 0.7 else attrs.evolve(token, ledger=None)
        for _ in range(SENDINGS_MAX):
            if self.over or await self._send(asked, used):
                break
            await trio.sleep(self.rng.random() * 0.2)
        self._stored.append(token)
        if asked.outcome is Outcome.UNKNOWN:
            self.open.append((asked, used))
            self._session = None if self.rng.random() < 0.2 else self._session

    async def _send(self, asked: Asked, token: Token) -> bool:
        """Send it once more, or ask for its outcome; whether that was enough."""
        node = self._some_node()
        if node is None:
            return False
        # It is sent again, so nothing is certain any more.
        asked.outcome = Outcome.UNKNOWN
        if self.rng.random() < 0.1:
            told = await self._wait([asked], lambda left: node.outcome(token, timeout=left))
            return told is not Outcome.UNKNOWN
        command = self.workload.command(asked.asked)
        told = await self._wait(
            [asked], lambda left: node.execute(command, token=token, timeout=left)
        )
        return told is Outcome.OK or (told is not Outcome.UNKNOWN and self.rng.random() < 0.3)

    async def plainly(self) -> None:
        """One command in the node's own session."""
        if node := self._some_node():
            await self.write_at(node)

    async def write_at(self, node: Node[Any]) -> None:
        """One command in the own session of `node`."""
        asked = self._begin()
        command = self.workload.command(asked.asked)
        await self._wait([asked], lambda left: node.execute(command, timeout=left))

    async def once(self) -> None:
        """One command without any session."""
        if node := self._some_node():
            asked = self._begin()
            command = self.workload.command(asked.asked)
            await self._wait(
                [asked], lambda left: node.execute(command, timeout=left, session=None)
            )

    async def many(self) -> None:
        """Several commands at once."""
        if node := self._some_node():
            self._groups += 1
            group = [
                self._begin(client=f"{self.name}/{self._groups}.{place}")
                for place in range(self.rng.randint(2, MANY_MAX))
            ]
            commands = [self.workload.command(it.asked) for it in group]
            await self._wait(group, lambda left: node.execute_many(commands, timeout=left))

    async def read(self) -> None:
        """A linearizable read, by a majority's word or by a lease."""
        if server := self._some_server():
            by_lease = self.swarm.leases and self.rng.random() < 0.5
            way: Consistency = "lease" if by_lease else "linearizable"
            await self.ask(server, self.workload.draw_read(self.rng), How.READ, consistency=way)

    async def read_of_an_age(self) -> None:
        """A read that may be so old: linearizable, if it began so much earlier."""
        if server := self._some_server():
            age = self.rng.expovariate(1 / AGE_SECONDS)
            self._groups += 1
            await self.ask(
                server,
                self.workload.draw_read(self.rng),
                How.READ,
                # Nodes' clocks drift against that of the world.
                began=trio.current_time() - 1.1 * age,
                client=f"{self.name}/{self._groups}",
                staleness_max=age,
            )

    async def peek(self) -> None:
        """A local read."""
        if server := self._some_server():
            way: Consistency = "local"
            await self.ask(server, self.workload.draw_read(self.rng), How.PEEK, consistency=way)

    async def ask(
        self,
        server: FullServer,
        question: Any,
        how: How,
        *,
        began: float | None = None,
        client: str | None = None,
        **wanted: Any,
    ) -> bool:
        """Read at `server`, as `wanted`; whether it answered. What fails is no part of the history.

        `began` is from when on its answer may be, if not from now; a `client` does one thing at a time.
        """
        node = server.node
        assert node is not None
        asked = Asked(
            client=client or self.name,
            how=how,
            asked=question,
            invoked_at=trio.current_time() if began is None else began,
            place=(server.id, server.life),
        )
        query = self.workload.query(question)
        await self._wait([asked], lambda left: node.read(query, timeout=left, **wanted))
        if asked.outcome is Outcome.OK:
            self.history.append(asked)
        return asked.outcome is Outcome.OK

    # ── how ──────────────────────────────────────────────────────────────────────────────────────────

    def _begin(self, client: str | None = None) -> Asked:
        """A new write, in the history from now on."""
        asked = Asked(
            client=client or self.name,
            how=How.WRITE,
            asked=self.workload.draw_write(self.rng),
            invoked_at=trio.current_time(),
        )
        self.history.append(asked)
        self.story.tell(f"{asked.client} asks {asked.asked}")
        return asked

    async def _wait(self, group: list[Asked], call: Callable[[float], Awaitable[Any]]) -> Outcome:
        """Make a call that may last so many seconds, and note what it says of `group`: of all the same."""
        timeout = self._patience()
        leaves = self._patience() if self.rng.random() < 0.2 else math.inf
        with trio.move_on_after(min(leaves, timeout + GRACE_SECONDS)) as scope:
            try:
                answer = await call(timeout)
                answers: list[Any] = answer if len(group) != 1 else [answer]
                for asked, own in zip(group, answers, strict=True):
                    self._known(asked, Outcome.OK, own)
            except DidNotHappen as error:
                for asked in group:
                    self._known(asked, Outcome.DID_NOT_HAPPEN)
                self.story.tell(f"{self.name}: {type(error).__name__}: {error}")
            except OutcomeUnknown as error:
                self.story.tell(f"{self.name}: {type(error).__name__}: {error}")
            except RaftError as error:
                fail("N2 UnforeseenError", f"{self.name}: {type(error).__name__}: {error}")
        if scope.cancelled_caught and leaves > timeout + GRACE_SECONDS:
            fail("L4 Stranded", f"{self.name} waits for {group} beyond its {timeout:.3f} s")
        return group[0].outcome

    def _known(self, asked: Asked, outcome: Outcome, *answer: Any) -> None:
        asked.outcome, asked.returned_at = outcome, trio.current_time()
        if answer:
            (asked.answer,), asked.answered = answer, True
        self.story.tell(f"{asked.client}: {asked.asked} is {outcome.name} {answer}")

    async def _own_session(self) -> Session | None:
        """The session of this client; None if there is none to be had now."""
        node = self._some_node()
        if self._session is None and node is not None:
            try:
                self._session = await node.session(timeout=self._patience())
            except DidNotHappen as error:
                self.story.tell(f"{self.name} has no session: {error}")
        if self._session is not None and self._session.full:
            self._session = None
        return self._session

    def _some_server(self) -> FullServer | None:
        alive = [it for it in self.servers if it.node is not None]
        return self.rng.choice(alive) if alive else None

    def _some_node(self) -> Node[Any] | None:
        server = self._some_server()
        return None if server is None else server.node

    def _patience(self) -> float:
        return self.rng.expovariate(1 / self.swarm.patience) + 0.001


_CALLS: dict[str, Callable[[Client], Awaitable[None]]] = {
    "by_token": Client.by_token,
    "plainly": Client.plainly,
    "once": Client.once,
    "many": Client.many,
    "read": Client.read,
    "read_of_an_age": Client.read_of_an_age,
    "peek": Client.peek,
}
