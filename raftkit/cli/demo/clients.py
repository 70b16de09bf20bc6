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

from raftkit import Session
from raftkit.cli.demo.cluster import PATIENCE_SECONDS, PAUSE_SECONDS, Cluster, Kill, Victim
from raftkit.cli.demo.member import Refused, Reign, Unanswered
from raftkit.cli.demo.report import DemoFailed
from raftkit.cli.demo.text import Line

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
    victim: Victim | None
    "Who is killed half-way."
    tell: Callable[[str], None]
    "Who shows what happens."
    acknowledged: int = attrs.field(init=False, default=0)
    "Lines whose write was confirmed."
    refused: dict[int, str] = attrs.field(init=False, factory=dict[int, str])
    "Line → why it was refused."
    sent_again: int = attrs.field(init=False, default=0)
    "Lines that were given to a node more than once, under one token."
    kills: list[Kill] = attrs.field(init=False, factory=list[Kill])
    "Nodes that were killed."
    gap_seconds: float | None = attrs.field(init=False, default=None)
    """After a leader was killed: until the first write acknowledged under the next one.
    After a follower was killed: the longest time without an acknowledgement since then."""
    latencies: array[float] = attrs.field(init=False, factory=lambda: array("d"))
    "Seconds from the first sending of each acknowledged line to its answer."
    _began: float | None = attrs.field(init=False, default=None)
    "When the first client had its session, in trio's time."
    _ended: float = attrs.field(init=False, default=0.0)
    "When the last line was done."
    _acknowledged_at: float = attrs.field(init=False, default=0.0)
    "When the last line was acknowledged."

    @property
    def done(self) -> int:
        """Lines that are acknowledged or refused."""
        return self.acknowledged + len(self.refused)

    @property
    def took_seconds(self) -> float:
        """From the first sending to the last answer so far."""
        return 0.0 if self._began is None else max(self._ended - self._began, 0.0)

    async def run(self, clients: int) -> None:
        """Submit every line by so many clients, spread over the nodes."""
        names = self.cluster.names
        async with trio.open_nursery() as nursery:
            for number in range(min(clients, self.count)):
                nursery.start_soon(self._client, names[number % len(names)])

    async def _client(self, home: str) -> None:
        session = await self._session(home)
        if self._began is None:
            self._began = trio.current_time()
        for line in self.lines:
            # Wait until it is this line's turn.
            await trio.sleep_until(self._began + self.seconds * (line.number - 1) / self.count)
            if self.victim is not None and line.number == self.count // 2 + 1:
                self.kills.append(await self.cluster.kill(self.victim))
            await self._submit(home, session, line)
            self._ended = trio.current_time()

    async def _session(self, home: str) -> Session:
        """A session of the group, through whichever node is up."""
        with trio.move_on_after(PATIENCE_SECONDS):
            while True:
                member = await self.cluster.near(home)
                try:
                    return await member.session()
                except Unanswered:
                    await trio.sleep(PAUSE_SECONDS)
        raise DemoFailed(f"no session could be registered for {PATIENCE_SECONDS:g} s")

    async def _submit(self, home: str, session: Session, line: Line) -> None:
        """Send one line until it is acknowledged, or refused for good."""
        token = session.token()
        began = trio.current_time()
        sendings = 0
        while trio.current_time() < began + PATIENCE_SECONDS:
            member = await self.cluster.near(home)
            sendings += 1
            try:
                reign = await member.write(line.number, line.content, token)
            except Refused as error:
                self.refused[line.number] = f"line {line.number}, {line.size:,} bytes: {error}"
                return
            except Unanswered:
                await trio.sleep(PAUSE_SECONDS)
                continue
            self._acknowledge(reign, trio.current_time() - began)
            self.sent_again += sendings > 1
            return
        raise DemoFailed(f"line {line.number} was not answered for {PATIENCE_SECONDS:g} s")

    def _acknowledge(self, reign: Reign, seconds: float) -> None:
        """A line was confirmed in `reign`, so many seconds after it was first sent."""
        self.acknowledged += 1
        self.latencies.append(seconds)
        if self.kills:
            self._measure_gap(self.kills[0], reign)
        self._acknowledged_at = trio.current_time()

    def _measure_gap(self, kill: Kill, reign: Reign) -> None:
        """What this confirmation tells of the time in which the group took no writes.

        What the old leader had committed may be confirmed by others after it is gone; that is no proof
        that the group takes writes again.
        """
        now = trio.current_time()
        if kill.victim == "follower":
            gap = now - max(kill.at, self._acknowledged_at)
            self.gap_seconds = max(gap, self.gap_seconds or 0.0)
        elif self.gap_seconds is None and reign.term > kill.term and reign.leader is not None:
            self.gap_seconds = now - kill.at
            gap_ms = self.gap_seconds * 1000
            self.tell(
                f"first write acknowledged under {reign.leader}, {gap_ms:.0f} ms after the kill"
            )
