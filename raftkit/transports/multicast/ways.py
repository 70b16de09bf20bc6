"""The sending side of one way: to the group, or to one peer on one link.

Laws: a way has two streams, one for the control lane and one for the rest, so that a heartbeat which
overtakes a large message looks like no gap. What was not handed to the network yet is neither announced
nor repaired: `sent` says how far it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import attrs

from raftkit.model import NodeId
from raftkit.transports.multicast.outlet import (
    GROUP,
    OUTPUT_BYTES_MAX,
    Address,
    Group,
    Outlet,
    Output,
)
from raftkit.transports.multicast.window import Window
from raftkit.wire import Lane, OutStream, Range
from raftkit.wire.control import Head, Positions

__all__ = ["OUTPUT_DATAGRAMS_MAX", "Way", "first_stream"]

OUTPUT_DATAGRAMS_MAX: Final = 64
"In one output: what one call may hand to the kernel."


@attrs.define(eq=False, kw_only=True)
class Way:
    """Two streams to the same receivers."""

    to: Address | Group
    "Where they go."
    control: OutStream
    "Frames of the control lane."
    data: OutStream
    "Frames of the other lanes."
    window: Window
    "Of `data`."
    outlet: Outlet
    "Takes what is to be written."
    _unsent: dict[int, int] = attrs.field(init=False, factory=dict[int, int])
    "Datagrams of a stream that were put out and not sent yet."

    @property
    def number(self) -> int:
        """By which the link is known to its other end: the number of its first stream."""
        return self.control.numbered.number

    @property
    def positions(self) -> Positions:
        """How much was sent."""
        return Positions(control=self._sent(self.control), data=self._sent(self.data))

    def send(self, frame: bytes, lane: Lane, targets: int, now: float) -> None:
        """Put out `frame` for the receivers in `targets`.

        Raises LocalProtocolError for a frame of more datagrams than a message may have.
        """
        stream = self.control if lane is Lane.CONTROL else self.data
        datagrams = stream.send(frame, lane, targets, now)
        number, head = stream.numbered.number, stream.head - len(datagrams)
        self._unsent[number] = self._unsent.get(number, 0) + len(datagrams)
        self.outlet.counts.datagrams_out += len(datagrams)
        for batch in _batches(datagrams):
            head += len(batch)
            output = Output(to=self.to, lane=lane, datagrams=batch, stream=number, head=head)
            self.outlet.outputs.append(output)

    def sent(self, number: int, head: int, now: float) -> None:
        """All before `head` in the stream `number` went out."""
        stream = self._stream(number)
        assert stream is not None
        self._unsent[number] = stream.head - head
        stream.resume(now)

    def repair(
        self,
        number: int,
        missing: Iterable[Range],
        *,
        asker: int,
        to: Address,
        now: float,
        rtt: float,
    ) -> tuple[Range, ...]:
        """Send again what the receiver of bit `asker`, at `to`, misses. What it is to wait for no more."""
        stream = self._stream(number)
        if stream is None:
            return ()
        end = self._sent(stream)
        missing = [(first, min(last, end)) for first, last in missing if first < end]
        self.outlet.counts.nacked += sum(last - first for first, last in missing)
        repair = stream.repair(missing, asker, now, rtt=rtt)
        self._put_repair(to, repair.unicast)
        self._put_repair(GROUP, repair.multicast)
        self.outlet.counts.repaired_to_group += len(repair.multicast)
        return repair.gone

    def take(self, number: int, receiver: NodeId, head: int) -> None:
        """The receiver has read the stream `number` so far."""
        if number == self.data.numbered.number:
            self.window.take(receiver, min(head, self._sent(self.data)))

    def held_until(self, now: float) -> float:
        """See `Window`."""
        return self.window.held_until(self._sent(self.data), now)

    def announce(self, now: float) -> None:
        """Tell the heads of streams that have become quiet, so that a lost end is noticed."""
        for stream in (self.control, self.data):
            if stream.tell_head(now) and not self._unsent[stream.numbered.number]:
                head = Head(stream=stream.numbered.number, head=stream.head)
                self.outlet.say(self.to, head)

    def forget(self, now: float) -> None:
        """Let go of what nobody will ask for any more."""
        self.control.forget(now)
        self.data.forget(now)

    @property
    def deadline(self) -> float:
        """When to announce."""
        return min(self.control.deadline, self.data.deadline)

    def _stream(self, number: int) -> OutStream | None:
        match number - self.number:
            case 0:
                return self.control
            case 1:
                return self.data
            case _:
                return None

    def _sent(self, stream: OutStream) -> int:
        return stream.head - self._unsent.get(stream.numbered.number, 0)

    def _put_repair(self, to: Address | Group, datagrams: Sequence[bytes]) -> None:
        self.outlet.counts.repaired += len(datagrams)
        for datagram in datagrams:  # of many messages, so of many sizes
            output = Output(to=to, lane=Lane.ENTRIES, datagrams=(datagram,), repair=True)
            self.outlet.outputs.append(output)


def first_stream(number: int) -> int:
    """The number of the way that the stream `number` is of: ways have two streams each, from 1 on."""
    return number - (number - 1) % 2


def _batches(datagrams: tuple[bytes, ...]) -> Iterable[tuple[bytes, ...]]:
    """`datagrams` in outputs."""
    count = max(1, min(OUTPUT_DATAGRAMS_MAX, OUTPUT_BYTES_MAX // len(datagrams[0])))
    for start in range(0, len(datagrams), count):
        yield datagrams[start : start + count]
