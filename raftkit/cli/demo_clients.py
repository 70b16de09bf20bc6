"""The submission: many clients, a session for each, every line under one token until it is answered.

Laws: a line gets its token once. Whatever happens to the node that was asked, the same token goes to
another, so that the group can tell a repetition from a new line. A line is done when it is acknowledged
or refused for good; a client has one line open.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator

import attrs
import trio

from raftkit import (
    CommandFailed,
    DidNotHappen,
    EntryTooLarge,
    Node,
    OutcomeUnknown,
    Rejected,
    Session,
    SessionExpired,
)
from raftkit.cli.demo_cluster import PATIENCE_SECONDS, PAUSE_SECONDS, Cluster, Kill
from raftkit.cli.demo_input import Line
from raftkit.cli.demo_machine import Transcript
from raftkit.cli.demo_report import DemoFailed

__all__ = ["Submission"]


@attrs.define(eq=False, kw_only=True)
class Submission:
    """All lines of a text on their way into the cluster."""

    cluster: Cluster
    "Where they go."
    lines: Iterator[Line]
    "What was not handed out to a client yet."
    count: int
    "How many lines there are."
    seconds: float
    "The submission is spread over so long; 0: as fast as it goes."
    tell: Callable[[str], None]
    "Who shows what happens."
    acknowledged: int = attrs.field(init=False, default=0)
    "Lines whose write was confirmed."
    refused: dict[int, str] = attrs.field(init=False, factory=dict[int, str])
    "Line → why it was refused."
    sent_again: int = attrs.field(init=False, default=0)
    "Lines that were given to a node more than once, under one token."
    kills: list[Kill] = attrs.field(init=False, factory=list[Kill])
    "Leaders that were killed."
    gap_seconds: float | None = attrs.field(init=False, default=None)
    "From the kill to the first write acknowledged under the next leader."
    latencies: array[float] = attrs.field(init=False, factory=lambda: array("d"))
    "Seconds from the first sending of each acknowledged line to its answer."
    began: float = attrs.field(init=False, factory=trio.current_time)
    "In trio's time."
    ended: float = attrs.field(init=False, factory=trio.current_time)
    "When the last line was done."

    @property
    def done(self) -> int:
        """Lines that are acknowledged or refused."""
        return self.acknowledged + len(self.refused)

    async def run(self, clients: int) -> None:
        """Submit every line by so many clients, spread over the nodes."""
        self.began = self.ended = trio.current_time()
        names = self.cluster.names
        async with trio.open_nursery() as nursery:
            for number in range(min(clients, self.count)):
                nursery.start_soon(self._client, names[number % len(names)])

    async def _client(self, home: str) -> None:
        session = await self._session(home)
        for line in self.lines:
            await self._pace(line.number)
            if line.number == self.count // 2 + 1:
                self.kills.append(await self.cluster.kill_leader())
            await self._submit(home, session, line)
            self.ended = trio.current_time()

    async def _session(self, home: str) -> Session:
        """A session of the group, through whichever node is up."""
        with trio.move_on_after(PATIENCE_SECONDS):
            while True:
                node = await self.cluster.near(home)
                try:
                    return await node.session()
                except DidNotHappen:
                    await trio.sleep(PAUSE_SECONDS)
        raise DemoFailed(f"no session could be registered for {PATIENCE_SECONDS:g} s")

    async def _pace(self, number: int) -> None:
        """Wait until it is this line's turn."""
        await trio.sleep_until(self.began + self.seconds * (number - 1) / self.count)

    async def _submit(self, home: str, session: Session, line: Line) -> None:
        """Send one line until it is acknowledged, or refused for good."""
        command = Transcript.write(number=line.number, content=line.content)
        token = session.token()
        began = trio.current_time()
        sendings = 0
        while trio.current_time() < began + PATIENCE_SECONDS:
            node = await self.cluster.near(home)
            sendings += 1
            try:
                await node.execute(command, token=token)
            except EntryTooLarge as error:
                self.refused[line.number] = f"line {line.number}, {line.size:,} bytes: {error}"
                return
            except (SessionExpired, CommandFailed, Rejected) as error:
                raise DemoFailed(f"line {line.number}: {error}") from error
            except (DidNotHappen, OutcomeUnknown):
                # Whether it happened or not: the token tells the group that it is the same line.
                await trio.sleep(PAUSE_SECONDS)
                continue
            self._acknowledge(node, trio.current_time() - began)
            self.sent_again += sendings > 1
            return
        raise DemoFailed(f"line {line.number} was not answered for {PATIENCE_SECONDS:g} s")

    def _acknowledge(self, node: Node[Transcript], seconds: float) -> None:
        """A line was confirmed through `node`, so many seconds after it was first sent."""
        self.acknowledged += 1
        self.latencies.append(seconds)
        if self.kills and self.gap_seconds is None:
            self._note_failover(node)

    def _note_failover(self, node: Node[Transcript]) -> None:
        """Whether this confirmation is the first one under another leader than the killed one.

        What the old leader had committed may be confirmed by others after it is gone; that is no proof
        that the group takes writes again.
        """
        kill, now = self.kills[0], node.statistics()
        if now.term > kill.term and now.leader is not None:
            self.gap_seconds = trio.current_time() - kill.at
            gap_ms = self.gap_seconds * 1000
            self.tell(
                f"first write acknowledged under {now.leader}, {gap_ms:.0f} ms after the kill"
            )
