"""A network of datagrams in virtual time: multicast and unicast, with all that a bad network does to them.

Whoever joins hands in what to call when a datagram arrives, and when the network says that nobody listens
at an address. Time goes on only in `deliver`.

Laws: nothing is ever changed on its way. All chance comes from one generator, and receivers are served in
the order of their addresses, so a run can be repeated.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Hashable
from enum import Enum
from typing import Final, Protocol

import attrs

__all__ = ["EVERYBODY", "DatagramFaults", "DatagramNetwork", "Everybody", "Joined", "Place", "Sent"]

Place = Hashable
"An address. Those of one network can be sorted."


class Everybody(Enum):
    """Type of `EVERYBODY`."""

    EVERYBODY = "the group"


EVERYBODY: Final = Everybody.EVERYBODY
"Instead of an address: all who joined, the sender too."


Sent = tuple[Place, Place | Everybody, bytes]
"A datagram, and between whom."


class Joined(Protocol):
    """Somebody on the network."""

    def receive(self, data: bytes, source: Place, now: float) -> None:
        """A datagram arrives."""
        ...

    def refused(self, place: Place, now: float) -> None:
        """Nobody listens at `place`, to which this one sent something."""
        ...


@attrs.frozen(kw_only=True)
class DatagramFaults:
    """What happens to datagrams on their way: to each receiver by itself, but for `loss_at_source`."""

    loss: float = 0.0
    "Part that never arrives, 0 to 1."
    loss_at_source: float = 0.0
    "Part that never leaves its sender: what is multicast is lost for all at once."
    bursts: float = 0.0
    "Part with which a time begins when nothing at all arrives …"
    burst_seconds: float = 0.01
    "… and how long that is."
    duplication: float = 0.0
    "Part that arrives twice."
    delay: tuple[float, float] = (0.000_1, 0.000_1)
    "Seconds on the way, drawn between these; unequal bounds reorder."
    straggle: float = 0.0
    "Part that takes a hundred times as long."


@attrs.frozen
class _Flight:
    """A datagram on its way to one receiver, or what the network says instead (`data` is None)."""

    receiver: Joined
    source: Place
    data: bytes | None


@attrs.define(eq=False)
class DatagramNetwork:
    """Where all meet."""

    rng: random.Random
    "Of all faults."
    faults: DatagramFaults = DatagramFaults()
    "May be set at any time; holds for what is sent from then on."
    mtu: int = 65_507
    "Bytes of the largest datagram that gets through. (Black holes eat larger ones silently.)"
    cut: set[tuple[Place, Place]] = attrs.field(init=False, factory=set[tuple[Place, Place]])
    "Directions in which nothing arrives."
    deaf: set[tuple[Place, Place]] = attrs.field(init=False, factory=set[tuple[Place, Place]])
    "Directions in which no multicast arrives."
    clogged: dict[tuple[Place, Place], float] = attrs.field(
        init=False, factory=dict[tuple[Place, Place], float]
    )
    "Directions that hold everything until that time."
    silent: set[Place] = attrs.field(init=False, factory=set[Place])
    "Places whose hosts are down: nobody says that nobody listens."
    is_lost: Callable[[Place, Place | Everybody, bytes], bool] | None = None
    "Asked about each datagram and receiver, for faults of one's own."
    sent: int = attrs.field(init=False, default=0)
    "Datagrams, each multicast once."
    bytes_sent: int = attrs.field(init=False, default=0)
    "Of them."
    _record: list[Sent] | None = attrs.field(init=False, default=None)
    _joined: dict[Place, Joined] = attrs.field(init=False, factory=dict[Place, Joined])
    _flights: list[tuple[float, int, _Flight]] = attrs.field(
        init=False, factory=list[tuple[float, int, _Flight]]
    )
    "A heap: by when they arrive, then by a number that breaks ties."
    _number: int = attrs.field(init=False, default=0)
    _burst_until: dict[Place, float] = attrs.field(init=False, factory=dict[Place, float])

    def join(self, place: Place, joined: Joined) -> None:
        """Receive at `place`, and what is sent to all."""
        assert place not in self._joined
        self._joined[place] = joined

    def leave(self, place: Place) -> None:
        """Receive nothing any more: also not what is on its way."""
        del self._joined[place]

    def listen(self) -> list[Sent]:
        """Everything that is sent from now on: a list that grows until this is called again."""
        self._record = []
        return self._record

    def send(self, source: Place, to: Place | Everybody, data: bytes, now: float) -> None:
        """Put a datagram on its way."""
        self.sent += 1
        self.bytes_sent += len(data)
        if self._record is not None:
            self._record.append((source, to, data))
        if self.faults.loss_at_source and self.rng.random() < self.faults.loss_at_source:
            return
        if to is EVERYBODY:
            for place in sorted(self._joined, key=repr):
                if (source, place) not in self.deaf:
                    self._carry(source, place, data, now)
        elif to in self._joined:
            self._carry(source, to, data, now)
        elif self._refuses(source, to):
            self._fly(now + self.faults.delay[1], self._joined[source], to, None)

    def deliver(self, now: float) -> None:
        """Hand over all that has arrived by `now`."""
        while self._flights and self._flights[0][0] <= now:
            due, _, flight = heapq.heappop(self._flights)
            if flight.receiver not in self._joined.values():
                continue
            if flight.data is None:
                flight.receiver.refused(flight.source, due)
            else:
                flight.receiver.receive(flight.data, flight.source, due)

    @property
    def next_at(self) -> float:
        """When the next arrives; infinity if nothing is on its way."""
        return self._flights[0][0] if self._flights else float("inf")

    def _refuses(self, source: Place, to: Place) -> bool:
        """Whether `source` is told that nobody listens at `to`."""
        cut = {(source, to), (to, source)} & self.cut
        return source in self._joined and to not in self.silent and not cut

    def _carry(self, source: Place, place: Place, data: bytes, now: float) -> None:
        """To one receiver, or not."""
        if (source, place) in self.cut or len(data) > self.mtu or self._is_lost(place, now):
            return
        if self.is_lost is not None and self.is_lost(source, place, data):
            return
        copies = 1 + (self.rng.random() < self.faults.duplication)
        for _ in range(copies):
            delay = self.rng.uniform(*self.faults.delay)
            if self.faults.straggle and self.rng.random() < self.faults.straggle:
                delay *= 100
            due = max(now + delay, self.clogged.get((source, place), now))
            self._fly(due, self._joined[place], source, data)

    def _is_lost(self, place: Place, now: float) -> bool:
        faults = self.faults
        if faults.bursts and self.rng.random() < faults.bursts:
            self._burst_until[place] = now + faults.burst_seconds
        if now < self._burst_until.get(place, 0.0):
            return True
        return bool(faults.loss) and self.rng.random() < faults.loss

    def _fly(self, due: float, receiver: Joined, source: Place, data: bytes | None) -> None:
        self._number += 1
        heapq.heappush(self._flights, (due, self._number, _Flight(receiver, source, data)))
