"""One link of a multicast endpoint: what arrives on it, how its peer is, what the peer is told.

Laws: a link is a pair of starts and a pair of numbers, and whatever names another pair is not heard. It
lives while its peer proves that it lives (`pulse.py`). Once closed it delivers nothing.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Final

import attrs

from raftkit.model import NodeId
from raftkit.transports.multicast.handshake import Proven
from raftkit.transports.multicast.outlet import FellBack, Ignored, Outlet, Received, Returned
from raftkit.transports.multicast.pulse import Pulse
from raftkit.transports.multicast.reach import Reach, Recent
from raftkit.transports.multicast.ways import Way
from raftkit.transports.multicast.window import TOLD_PART
from raftkit.wire import Chunk, InCounts, InStream, Range, ReplayWindow
from raftkit.wire.control import (
    NEVER,
    NOT_INVITED,
    Bye,
    Ends,
    Gone,
    Nack,
    Ping,
    Status,
    Taken,
    packed,
)

__all__ = ["GROUP_STREAMS", "Link"]

GROUP_STREAMS: Final = (1, 2)
"Of every sender: multicasts of the control lane, and of the rest."
FIRST_STATUS_SECONDS: Final = 0.02
"After the first STATUS of a link, until the next; then twice as long, until the peer's has come."
RTT_SECONDS_MIN: Final = 0.002
"A repair is not repeated sooner."
_U32_MAX: Final = 0xFFFFFFFF


@attrs.define(eq=False, kw_only=True)
class Link:
    """A link that stands."""

    start: int
    "Of this endpoint."
    proven: Proven
    "Who is at the other end."
    way: Way
    "To the peer alone."
    group: Way
    "To all."
    recent: Recent
    "When something went to all."
    reach: Reach
    "Whether the peer hears that."
    outlet: Outlet
    "Takes what is to be written and told."
    in_counts: InCounts
    "Of all links."
    rng: random.Random
    "Spreads what should not happen at all nodes at once."
    status_seconds: float
    "Between two STATUS."
    overruns: Callable[[], int]
    "Datagrams that our own sockets lost."
    window: int
    "Datagrams by which we may be behind the peer: it is told before."
    messages_max: int
    "That may wait behind a gap, a stream …"
    bytes_max: int
    "… and their bytes."
    began_at: float
    "When it was proven."
    pulse: Pulse
    "Whether the peer lives."
    _window: ReplayWindow = attrs.field(init=False)
    "Of the peer's control datagrams."
    _streams: dict[int, InStream] = attrs.field(init=False, factory=dict[int, InStream])
    "What the peer sends, by number."
    _told: dict[int, int] = attrs.field(init=False, factory=dict[int, int])
    "How far the peer knows that we have read its streams of entries and bulk."
    _accepted: int = attrs.field(init=False, default=NOT_INVITED)
    "The peer's invitation that holds."
    _echo: int = attrs.field(init=False, default=0)
    "The last stamp of the peer."
    _echo_at: float = attrs.field(init=False, default=0.0)
    "When it came."
    _group_at: float | None = attrs.field(init=False, default=None)
    "When the peer's last multicast came."
    _overruns: int = attrs.field(init=False, default=0)
    "Datagrams that the peer lost, as it said last."
    _status_at: float = attrs.field(init=False)
    "When to send the next STATUS."
    _status_pause: float = attrs.field(init=False, default=FIRST_STATUS_SECONDS)

    def __attrs_post_init__(self) -> None:
        self._window = ReplayWindow.above(self.proven.floor)
        for number in (self.proven.theirs, self.proven.theirs + 1):
            self._streams[number] = self._stream(head=0, bit=0)
        self._told[self.proven.theirs + 1] = 0
        self.way.window.take(self.peer, 0)
        self._status_at = self.began_at

    @property
    def peer(self) -> NodeId:
        """Its name."""
        return self.proven.identity.id

    @property
    def ends(self) -> Ends:
        """As we name it."""
        return Ends(to=self.proven.start, mine=self.way.number, yours=self.proven.theirs)

    # ── in: parts of messages ────────────────────────────────────────────────────────────────────

    def on_chunk(self, number: int, place: int, chunk: Chunk, now: float) -> None:
        """The datagram `place` of the peer's stream `number`."""
        stream = self._streams.get(number)
        if stream is None or not (self._is_meant(number) or place < stream.head):
            self.outlet.counts.ignored[Ignored.OTHER_LINK] += 1
            return
        self._take(number, place)
        before, head = stream.counts.repeated, stream.head
        self._deliver(stream.receive(place, chunk, now))
        if stream.counts.repeated == before:
            self.pulse.hear_message(now)
            if number in GROUP_STREAMS and place >= head:
                self._group_at = now  # what nobody asked for came by multicast

    def _take(self, number: int, place: int) -> None:
        """Tell the peer now and then how far we have read: it waits for us."""
        told = self._told.get(number)
        if told is not None and place >= told + self.window // TOLD_PART:
            self._told[number] = place + 1
            self._say(Taken(to=self.proven.start, stream=number, head=place + 1))

    def on_head(self, number: int, head: int, now: float) -> None:
        """The peer has sent so much on its stream `number`."""
        if number in GROUP_STREAMS:
            self.hear_group(now)
        self._on_head(number, head, now)

    def _on_head(self, number: int, head: int, now: float) -> None:
        stream = self._streams.get(number)
        if stream is not None and self._is_meant(number):
            self._deliver(stream.announce(head, now))

    def on_gone(self, number: int, ranges: tuple[Range, ...]) -> None:
        """The peer won't send these again."""
        stream = self._streams.get(number)
        if stream is not None:
            self._deliver(stream.gone(ranges))

    def _is_meant(self, number: int) -> bool:
        """Whether what is new on the stream `number` may be for us."""
        return number not in GROUP_STREAMS or self._accepted != NOT_INVITED

    def _ask(self, number: int, stream: InStream, now: float) -> None:
        """Give up what was asked for in vain, and ask for what is due.

        Never while something is read: what is missing may be behind it, or in the other socket.
        """
        if now < stream.deadline:
            return
        self._deliver(stream.give_up(now))
        missing = stream.nack(now)
        for ranges in packed(missing):
            self.outlet.counts.nacks_out += 1
            self._say(Nack(to=self.proven.start, stream=number, ranges=ranges))

    def _deliver(self, messages: list[bytes]) -> None:
        for message in messages:
            self.outlet.counts.messages_in += 1
            self.outlet.tell(Received(self.peer, message))

    def _stream(self, *, head: int, bit: int) -> InStream:
        return InStream(
            head=head,
            bit=bit,
            rng=self.rng,
            messages_max=self.messages_max,
            bytes_max=self.bytes_max,
            counts=self.in_counts,
        )

    # ── in: control ──────────────────────────────────────────────────────────────────────────────

    def is_new(self, number: int, now: float) -> bool:
        """Whether the peer's control datagram `number` is heard for the first time."""
        if not self._window.hear(number):
            self.outlet.counts.ignored[Ignored.REPLAYED] += 1
            return False
        self.pulse.hear(now)
        return True

    def is_of(self, ends: Ends) -> bool:
        """Whether the peer means this link."""
        mine, theirs = self.way.number, self.proven.theirs
        return (ends.to, ends.mine, ends.yours) == (self.start, theirs, mine)

    def hear_group(self, now: float) -> None:
        """Something of the peer came by multicast."""
        if self._group_at is None or now - self._group_at > self.status_seconds:
            self._status_at = now  # it may be waiting for this
        self._group_at = now

    def on_status(self, status: Status, now: float) -> None:
        """The peer says how it is."""
        self.pulse.prove(status.echo, status.held_us, now)
        if status.stamp <= self._echo:
            return  # it was overtaken: what it says is not so any more
        if not self._echo:
            self._status_at, self._status_pause = now, self.status_seconds
        self._echo, self._echo_at = status.stamp, now
        self._note_overruns(status.overruns)
        self._follow(status, now)
        self._update_reach(status, now)
        self._on_head(self.proven.theirs, status.link.control, now)
        self._on_head(self.proven.theirs + 1, status.link.data, now)
        self._on_head(GROUP_STREAMS[0], status.group.control, now)
        self._on_head(GROUP_STREAMS[1], status.group.data, now)

    def on_nack(self, nack: Nack, now: float) -> None:
        """The peer misses something of ours."""
        way, bit = self.way, 0
        if nack.stream in GROUP_STREAMS:
            way, bit = self.group, self.reach.bit or 0
        gone = way.repair(
            nack.stream,
            nack.ranges,
            asker=bit,
            to=self.proven.address,
            now=now,
            rtt=max(self.pulse.rtt, RTT_SECONDS_MIN),
        )
        for ranges in packed(gone):
            self._say(Gone(to=self.proven.start, stream=nack.stream, ranges=ranges))

    def on_taken(self, taken: Taken) -> None:
        """The peer has read so much of ours."""
        way = self.group if taken.stream in GROUP_STREAMS else self.way
        way.take(taken.stream, self.peer, taken.head)

    def _note_overruns(self, overruns: int) -> None:
        if overruns > self._overruns:
            self.outlet.counts.overruns_reported += overruns - self._overruns
            self._overruns = overruns

    def _follow(self, status: Status, now: float) -> None:
        """Hear the peer's multicasts from where it says on, or to where it says."""
        if status.invitation == self._accepted:
            return
        since = zip(GROUP_STREAMS, (status.since.control, status.since.data), strict=True)
        if status.invitation == NOT_INVITED:
            for number, end in since:  # what it said before may still be mended
                self._on_head(number, end, now)
        else:
            for number, head in since:
                self._streams[number] = self._stream(head=head, bit=status.bit)
            self._told[GROUP_STREAMS[1]] = status.since.data
        self._accepted = status.invitation
        self._status_at = float("-inf")  # the peer waits for it

    def _update_reach(self, status: Status, now: float) -> None:
        before, invitation = self.reach.by_multicast, self.reach.invitation
        sent_at = now - self.pulse.rtt
        self.reach.on_status(status, sent_at, self.group.positions, self.recent, now)
        if self.reach.invitation != invitation:
            self._status_at = float("-inf")
        if self.reach.by_multicast and not before:
            self.group.window.take(self.peer, self.reach.since.data)
        if before and not self.reach.by_multicast:
            self.group.window.forget(self.peer)
            self.outlet.counts.fallbacks += 1
            self.outlet.tell(FellBack(self.peer))
        elif self.reach.by_multicast and not before and self.reach.fell_at is not None:
            self.outlet.tell(Returned(self.peer))

    # ── what time brings ─────────────────────────────────────────────────────────────────────────

    def wake(self, now: float) -> str:
        """Send what is due. Why the link is to be closed, if it is."""
        for number, stream in self._streams.items():
            self._ask(number, stream, now)
        self.way.announce(now)
        if self.pulse.wants_ping(now):
            self._say(Ping(ends=self.ends))
        if now >= self._status_at:
            self.say_status(now)
        return self.pulse.verdict(now)

    @property
    def deadline(self) -> float:
        """When to wake."""
        asking = min(stream.deadline for stream in self._streams.values())
        return min(asking, self.way.deadline, self.pulse.deadline, self._status_at)

    def say_status(self, now: float) -> None:
        """Tell the peer how we are."""
        silence = NEVER
        if self._group_at is not None:
            silence = min(NEVER - 1, int((now - self._group_at) * 1e3))
        status = Status(
            ends=self.ends,
            stamp=max(1, int(now * 1e6)),
            echo=self._echo,
            held_us=_bounded((now - self._echo_at) * 1e6),
            silence_ms=silence,
            overruns=_bounded(self.overruns()),
            invitation=self.reach.invitation,
            bit=self.reach.bit or 0,
            since=self.reach.since,
            accepted=self._accepted,
            group=self.group.positions,
            link=self.way.positions,
        )
        self._say(status)
        self.way.forget(now)
        self._status_at = now + self._status_pause * self.rng.uniform(0.8, 1.2)
        self._status_pause = min(2 * self._status_pause, self.status_seconds)

    def say_bye(self, why: str) -> None:
        """Tell the peer that the link is closed."""
        self._say(Bye(ends=self.ends, why=why if why.isprintable() else ascii(why)))

    def _say(self, body: Bye | Gone | Nack | Ping | Status | Taken) -> None:
        self.outlet.say(self.proven.address, body)


def _bounded(number: float) -> int:
    return min(int(number), _U32_MAX)
