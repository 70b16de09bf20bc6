"""The sockets of one node in a full-stack world: what its multicast endpoint sends and hears there.

Laws: a host without power says nothing more. What is not fetched in time overruns a bounded buffer, as in
a kernel. Every datagram goes into the hash of the story.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import cast

import attrs
import trio

from raftkit.testing import datagrams
from raftkit.testing.datagrams import EVERYBODY, DatagramNetwork
from raftkit.testing.full.stage import Story
from raftkit.testing.world.shadows import fail
from raftkit.transports.multicast.sockets import Address, Traffic
from raftkit.transports.tcp.sockets import Place

__all__ = ["FullSockets"]

READS_MAX = 64
"Datagrams taken in one turn, as from a real socket."
LOOKS_MAX = 2000
"At one moment, in which nothing came: who looks more often would do so for ever, time standing still."


@attrs.define(eq=False, kw_only=True)
class FullSockets:
    """A place on a simulated network. Implements `Datagrams` and `Joined`."""

    network: DatagramNetwork
    "Where it is."
    own: Place
    "Where peers reach it."
    group: Place
    "Whom all members hear."
    recv_buffer_size: int
    "Bytes of what waits here."
    send_buffer_size: int = attrs.field(init=False, default=1 << 20)
    "Never full: what is sent is under way at once."
    story: Story
    powered: Callable[[], bool]
    "Whether its host is up."
    sent: Callable[[], None]
    "Called after something was put on its way."
    overruns: int = attrs.field(init=False, default=0)
    "Datagrams that found no room."
    unsent: Mapping[str, int] = MappingProxyType({})
    to_group: Traffic = attrs.field(init=False, factory=Traffic)
    to_one: Traffic = attrs.field(init=False, factory=Traffic)
    from_group: Traffic = attrs.field(init=False, factory=Traffic)
    "Nothing: a simulated datagram does not tell which way it came."
    from_one: Traffic = attrs.field(init=False, factory=Traffic)
    "All that came."
    _inbox: deque[tuple[bytes, Address]] = attrs.field(
        init=False, factory=deque[tuple[bytes, Address]]
    )
    _inbox_bytes: int = attrs.field(init=False, default=0)
    _refused: dict[Address, None] = attrs.field(init=False, factory=dict[Address, None])
    "Where nobody listens, in order."
    _looked_at: float = attrs.field(init=False, default=-1.0)
    _looks: int = attrs.field(init=False, default=0)
    "At that moment, in a row, that found nothing."
    _news: trio.Event = attrs.field(init=False, factory=trio.Event)

    # ── what the endpoint asks: see `Datagrams` ──────────────────────────────────────────────────

    def send(self, target: Address | None, datagrams: Sequence[bytes]) -> None:
        """Put them on their way."""
        if not self.powered():
            return
        now, to = trio.current_time(), EVERYBODY if target is None else target
        traffic = self.to_group if target is None else self.to_one
        for datagram in datagrams:
            traffic.count(1, len(datagram))
            self.story.note(f"{now:.6f} {self.own} {target} ".encode() + datagram)
            self.network.send(self.own.where, to, datagram, now)
        self.sent()

    async def wait_arrivals(self) -> None:
        """Wait until there is something to fetch."""
        await trio.lowlevel.checkpoint_if_cancelled()
        while not (self._inbox or self._refused):
            self._news = trio.Event()
            await self._news.wait()

    def arrivals(self) -> Iterator[tuple[bytes, Address]]:
        """Datagrams and their sources, at most `READS_MAX`. Raises InvariantViolated for who spins."""
        self._look()
        for _ in range(min(READS_MAX, len(self._inbox))):
            data, source = self._inbox.popleft()
            self._inbox_bytes -= len(data)
            self.from_one.count(1, len(data))
            yield data, source

    def _look(self) -> None:
        now = trio.current_time()
        idle = now == self._looked_at and not self._inbox
        self._looked_at, self._looks = now, self._looks + 1 if idle else 0
        if self._looks > LOOKS_MAX:
            fail("N2 Spins", f"the endpoint at {self.own} wakes again and again for nothing")

    def take_refused(self) -> tuple[Address, ...]:
        """Addresses that answered, since the last call, that nobody listens there."""
        refused = tuple(self._refused)
        self._refused.clear()
        return refused

    def pace(self, rate: int) -> None:
        """The endpoint keeps to its own rate."""

    def interface_changed(self) -> bool:
        """It never does."""
        return False

    def join(self) -> None:
        """It has, and nothing makes it leave."""

    # ── what the network tells: see `Joined` ─────────────────────────────────────────────────────

    def receive(self, data: bytes, source: datagrams.Place, now: float) -> None:  # noqa: ARG002
        """Keep a datagram until it is fetched."""
        # As Linux does: what finds room left is taken, however long it is.
        if self._inbox_bytes >= self.recv_buffer_size:
            self.overruns += 1
            return
        self._inbox.append((data, cast("Address", source)))
        self._inbox_bytes += len(data)
        self._news.set()

    def refused(self, place: datagrams.Place, now: float) -> None:  # noqa: ARG002
        """Keep what a host says."""
        self._refused[cast("Address", place)] = None
        self._news.set()
