"""One node's end of a multicast network: sockets, pacing and engine at work for a driver.

Laws: the protocol is in the engine and its wire, which have no clock and no sockets; here is the glue. The
sink is told from a task of the endpoint and never out of `send`, and of each change before the next datagram
is looked at, so that nothing is sent over a link of which it has not heard. A frame that waited for its turn
goes over the link for which it was meant, or not at all.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from types import MappingProxyType
from typing import Final, assert_never, cast

import attrs
import trio

from raftkit.driver_messages import UNBORN, DriverMessage, Frame, Hello, Scope
from raftkit.errors import ConfigError, RemoteProtocolError
from raftkit.messages import Message
from raftkit.model import Identity, NodeId
from raftkit.transports.base import Sink
from raftkit.transports.multicast.datagrams import Datagrams
from raftkit.transports.multicast.discovery import Discovered
from raftkit.transports.multicast.engine import Engine
from raftkit.transports.multicast.group import IP_BYTES, place_of
from raftkit.transports.multicast.link import Link
from raftkit.transports.multicast.outlet import (
    GROUP,
    Event,
    FellBack,
    Linked,
    Output,
    Received,
    Returned,
    SettingsDiffer,
    Unreachable,
)
from raftkit.transports.multicast.pacing import Pacer, Turn
from raftkit.transports.multicast.sockets import Address
from raftkit.transports.multicast.statistics import MulticastStatistics
from raftkit.wire import (
    FORMAT,
    NEED_DATA,
    FrameDecoder,
    Lane,
    Limits,
    encode_frame,
    lane_of,
)

__all__ = ["MulticastEndpoint"]

RESOLVE_SECONDS: Final = (1.0, 60.0)
"Until names are looked up again: if one is not known, and if all are."
HEAR_TURNS_MAX: Final = 16
"Turns of reading before it is decided that something did not come: as much as a socket holds by default."
LOOKUP_SECONDS: Final = 3.0
"For one name."
INTERFACE_SECONDS: Final = 5.0
"Between two looks at whether the interface was made anew."
REJOIN_SECONDS: Final = 60.0
"After which the group is joined again: switches that nobody queries forget who listens."
BURST_SECONDS: Final = 0.01
"In which the kernel may send a burst, however low the rate: heartbeats stand in the same queue of it."
QUEUE_BYTES_MAX: Final = 12 * 1024 * 1024
"Of frames that wait in one lane. More than the largest."

_LIMITS: Final = Limits()
_TURNS: Final = {Lane.ENTRIES: Turn.ENTRIES, Lane.BULK: Turn.BULK}

logger = logging.getLogger("raftkit")


@attrs.frozen
class _Waiting:
    """A frame that waits for its turn."""

    lane: Lane
    frame: bytes
    links: tuple[Link, ...]
    "Over which it is to go."


@attrs.define(eq=False, kw_only=True)
class MulticastEndpoint:
    """One node's sockets and links. Made by `MulticastTransport.open_endpoint`; see `LossyEndpoint`."""

    identity: Identity
    "Whose endpoint this is."
    sink: Sink
    "Who is told."
    sockets: Datagrams
    engine: Engine
    "Who knows what to do."
    pacing_rate: int
    "Bytes a second that are sent at most."
    queue_capacity: int
    "Frames that wait in each lane."
    address: str = attrs.field(init=False)
    "Where peers reach it."
    _headers: int = attrs.field(init=False)
    "Bytes of IP and UDP in front of each datagram."
    _pacer: Pacer[_Waiting | Output] = attrs.field(init=False)
    _scope: Scope = attrs.field(init=False, default=UNBORN)
    _decoders: dict[NodeId, FrameDecoder] = attrs.field(
        init=False, factory=dict[NodeId, FrameDecoder]
    )
    "Of the links of which the sink was told."
    _identities: dict[NodeId, Identity] = attrs.field(init=False, factory=dict[NodeId, Identity])
    "Who is at their other ends."
    _wanted: Mapping[NodeId, str] = attrs.field(init=False, factory=dict[NodeId, str])
    _unknown: dict[NodeId, str] = attrs.field(init=False, factory=dict[NodeId, str])
    "Those of them without a place, and why, as the sink was told."
    _wants_anew: trio.Event = attrs.field(init=False, factory=trio.Event)
    _repairing: set[tuple[object, tuple[bytes, ...]]] = attrs.field(
        init=False, factory=set[tuple[object, tuple[bytes, ...]]]
    )
    "Where to, and what: the repairs that wait."
    _dropped: Counter[Lane] = attrs.field(init=False, factory=Counter[Lane])
    _now: float = attrs.field(init=False, default=float("-inf"))
    "When a task of the endpoint had its last turn: what is sent without a pause is not to outrun receivers."
    _wake_at: float = attrs.field(init=False, default=float("-inf"))
    "When the engine or the pacer is looked after next."
    _alarm: trio.Event = attrs.field(init=False, factory=trio.Event)
    "Set when that is too late."

    def __attrs_post_init__(self) -> None:
        self.address = str(self.sockets.own)
        self._headers = IP_BYTES[self.sockets.group.family]
        self._pacer = Pacer(
            rate_max=self.pacing_rate,
            burst=max(1, self.sockets.recv_buffer_size // 2),
            capacity=self.queue_capacity,
            bytes_max=QUEUE_BYTES_MAX,
        )
        self.sockets.pace(max(self.pacing_rate, int(self._pacer.burst / BURST_SECONDS)))

    # ── what the driver asks ─────────────────────────────────────────────────────────────────────

    def adopt(self, scope: Scope) -> None:
        """See `LossyEndpoint`."""
        self._scope = scope
        for decoder in self._decoders.values():
            decoder.scope = scope

    def connect(self, peers: Mapping[NodeId, str]) -> None:
        """See `LossyEndpoint`. Names are looked up now and then."""
        self._wanted = dict(peers)
        self._wants_anew.set()

    def send(self, targets: Sequence[NodeId], body: Message | DriverMessage) -> None:
        """See `LossyEndpoint`. Frames of the control lane go at once, others as `pacing_rate` allows.

        Raises LocalProtocolError for a frame that receivers would refuse for its size.
        """
        links = [link for it in targets if (link := self.engine.links.get(it)) is not None]
        if not links:
            return
        now, lane = trio.current_time(), lane_of(body)
        frame = encode_frame(
            Frame(scope=self._scope, sender=self.identity, body=body), limits=_LIMITS
        )
        if lane is Lane.CONTROL:
            self.engine.send([link.peer for link in links], lane, frame, now)
        elif not self._pacer.push(_TURNS[lane], len(frame), _Waiting(lane, frame, tuple(links))):
            self._dropped[lane] += 1
            return
        self._write(now)
        self._set_alarm()

    def discovered(self) -> tuple[Discovered, ...]:
        """Nodes of this cluster that are on the network, linked or not. None is admitted by being here."""
        return self.engine.discovered(trio.current_time())

    def statistics(self) -> MulticastStatistics:
        """Figures, now."""
        counts, sockets = self.engine.counts, self.sockets
        links = self.engine.links.values()
        refused = {it.value: n for it, n in (*counts.refused.items(), *counts.ignored.items())}
        return MulticastStatistics(
            links=len(links),
            links_by_multicast=sum(link.reach.by_multicast for link in links),
            fallbacks=counts.fallbacks,
            discovered=len(self.discovered()),
            datagrams_in=_by_way(sockets.from_group.datagrams, sockets.from_one.datagrams),
            datagrams_out=_by_way(sockets.to_group.datagrams, sockets.to_one.datagrams),
            bytes_in=_by_way(sockets.from_group.bytes, sockets.from_one.bytes),
            bytes_out=_by_way(sockets.to_group.bytes, sockets.to_one.bytes),
            frames_in=counts.messages_in,
            frames_out=counts.messages_out,
            dropped=MappingProxyType({it.name.lower(): n for it, n in self._dropped.items()}),
            unsent=MappingProxyType(dict(sockets.unsent)),
            refused=MappingProxyType(refused),
            asked=counts.nacked,
            repaired=counts.repaired,
            repaired_by_multicast=counts.repaired_to_group,
            missed=self.engine.in_counts.missed,
            given_up=self.engine.in_counts.lost,
            crowded=self.engine.in_counts.crowded,
            holds=counts.holds,
            overruns=sockets.overruns,
            overruns_of_peers=counts.overruns_reported,
            settings_mismatches=counts.mismatches,
            rate=self._pacer.rate,
            send_buffer_size=sockets.send_buffer_size,
            recv_buffer_size=sockets.recv_buffer_size,
        )

    # ── what runs ────────────────────────────────────────────────────────────────────────────────

    @asynccontextmanager
    async def taking_part(self) -> AsyncGenerator[None]:
        """Take part while the body runs. Then close all links, and say so to peers but not to the sink."""
        async with trio.open_nursery() as nursery:
            for task in (self._keep_time, self._receive, self._look_up, self._stay_joined):
                nursery.start_soon(task)
            try:
                yield
            finally:
                nursery.cancel_scope.cancel()
                self._say_goodbye()

    def _say_goodbye(self) -> None:
        now = trio.current_time()
        self.engine.close(now)
        self._write(now)

    async def _receive(self) -> None:
        """Hand over what arrives."""
        while True:
            await self.sockets.wait_arrivals()
            self._hear()
            self._set_alarm()

    def _hear(self) -> int:
        """Hand over what has arrived, to a bound. How many datagrams it was."""
        count = 0
        for data, source in self.sockets.arrivals():
            count += 1
            self._now = now = trio.current_time()
            self.engine.receive(data, source, now)
            self._settle(now)
        now = trio.current_time()
        for address in self.sockets.take_refused():
            self.engine.refused(address, now)
        self._settle(now)
        return count

    async def _keep_time(self) -> None:
        """Do what is due when it is."""
        while True:
            # What has been waited for may be here already, if this process was held up.
            for _ in range(HEAR_TURNS_MAX):
                if not self._hear():
                    break
            self._now = now = trio.current_time()
            self.engine.overran(self.sockets.overruns)
            self.engine.wake(now)
            self._adapt(now)
            self._settle(now)
            self._alarm = trio.Event()
            self._wake_at = self._deadline()
            with trio.move_on_at(self._wake_at):
                await self._alarm.wait()

    def _deadline(self) -> float:
        return min(self.engine.deadline, self._pacer.deadline())

    def _set_alarm(self) -> None:
        """After a call that may have brought a deadline forward."""
        if self._deadline() < self._wake_at:
            self._alarm.set()

    def _adapt(self, now: float) -> None:
        """Send slower if peers lose much. What one of many loses is not all of the network's fault."""
        counts = self.engine.counts
        lost = counts.nacked + counts.overruns_reported
        self._pacer.adapt(counts.datagrams_out, lost // max(1, len(self.engine.links)), now)

    # ── where peers are ──────────────────────────────────────────────────────────────────────────

    async def _look_up(self) -> None:
        """Keep links to the peers that are wanted, wherever their names lead."""
        while True:
            wanted, self._wants_anew = self._wanted, trio.Event()
            places: dict[NodeId, Address] = {}
            unknown: dict[NodeId, str] = {}
            async with trio.open_nursery() as nursery:
                for peer, address in wanted.items():
                    nursery.start_soon(self._look_up_one, peer, address, places, unknown)
            if wanted is self._wanted:
                self._connect(places, unknown)
            with trio.move_on_after(RESOLVE_SECONDS[0 if unknown else 1]):
                await self._wants_anew.wait()

    async def _look_up_one(
        self, peer: NodeId, address: str, places: dict[NodeId, Address], unknown: dict[NodeId, str]
    ) -> None:
        why = f"address {address}: no answer in {LOOKUP_SECONDS:g} s"
        with trio.move_on_after(LOOKUP_SECONDS):
            try:
                place = await place_of(address, self.sockets.group.family)
            except ConfigError as error:
                why = str(error)
            else:
                places[peer] = place.where
                return
        unknown[peer] = why

    def _connect(self, places: Mapping[NodeId, Address], unknown: dict[NodeId, str]) -> None:
        now = trio.current_time()
        self.engine.connect(places, now)
        self._settle(now)
        self._set_alarm()
        before, self._unknown = self._unknown, unknown
        for peer, why in unknown.items():
            if before.get(peer) != why and peer not in self._decoders:
                self.sink.unreachable(peer, why)

    async def _stay_joined(self) -> None:
        """Join the group again now and then, and when the interface has become another."""
        joined_at, complained = trio.current_time(), ""
        while True:
            await trio.sleep(INTERFACE_SECONDS)
            try:
                anew = self.sockets.interface_changed()
                if anew or trio.current_time() >= joined_at + REJOIN_SECONDS:
                    self.sockets.join()
                    joined_at, complained = trio.current_time(), ""
            except ConfigError as error:
                if str(error) != complained:
                    complained = str(error)
                    logger.warning("%s: no multicast for now: %s", self.identity.id, error)

    # ── out ──────────────────────────────────────────────────────────────────────────────────────

    def _settle(self, now: float) -> None:
        """After each call of the engine: write what it put out, and tell what it found."""
        self._write(now)
        while events := self.engine.take_events():
            for event in events:
                self._tell(event, now)
            self._write(now)

    def _write(self, now: float) -> None:
        """Write what may go now, and have the rest wait.

        Tokens trickle in from turn to turn of our own tasks only: receivers may wait for this very thread.
        """
        while True:
            for output in self.engine.take_outputs():
                self._put(output, now)
            if not self._pacer.is_waiting:
                return
            self._pacer.held_until = self.engine.held_until(now)
            popped = self._pacer.pop(self._now)
            if popped is None:
                return
            _, what = popped
            if isinstance(what, Output):
                self._write_output(what, now)
            else:
                links = self.engine.links
                targets = [it.peer for it in what.links if links.get(it.peer) is it]
                self.engine.send(targets, what.lane, what.frame, now)

    def _put(self, output: Output, now: float) -> None:
        if output.repair:
            self._put_repair(output)
        elif output.lane is Lane.CONTROL:
            self._pacer.charge(self._size(output), self._now)
            self._write_output(output, now)
        else:
            for part in self._parts(output):
                self._pacer.push(Turn.UNDER_WAY, self._size(part), part)

    def _put_repair(self, output: Output) -> None:
        """Have it wait, unless the same waits already: who is impatient asks twice."""
        key = output.to, output.datagrams
        if key not in self._repairing and self._pacer.push(Turn.REPAIR, self._size(output), output):
            self._repairing.add(key)

    def _parts(self, output: Output) -> Iterator[Output]:
        """The same in parts, none of them longer than a burst, or one datagram."""
        datagrams, each = output.datagrams, len(output.datagrams[0]) + self._headers
        count = max(1, self._pacer.burst // each)
        for start in range(0, len(datagrams), count):
            part = datagrams[start : start + count]
            head = output.head - len(datagrams) + start + len(part)
            yield attrs.evolve(output, datagrams=part, head=head)

    def _size(self, output: Output) -> int:
        """On the wire."""
        return self._headers * len(output.datagrams) + sum(map(len, output.datagrams))

    def _write_output(self, output: Output, now: float) -> None:
        if output.repair:
            self._repairing.discard((output.to, output.datagrams))
        self.sockets.send(None if output.to is GROUP else _as_address(output.to), output.datagrams)
        if output.stream:
            self.engine.sent(output, now)

    # ── in ───────────────────────────────────────────────────────────────────────────────────────

    def _tell(self, event: Event, now: float) -> None:
        match event:
            case Received(peer=peer, frame=frame):
                self._on_frame(peer, frame, now)
            case Linked(peer=peer, identity=identity):
                self._decoders[peer] = FrameDecoder(scope=self._scope, limits=_LIMITS)
                self._identities[peer] = identity
                self.sink.linked(peer)
            case Unreachable(peer=peer, why=why):
                self._decoders.pop(peer, None)
                self.sink.unreachable(peer, why)
            case SettingsDiffer(peer=peer, source=source):
                logger.warning(
                    "%s: %s at %s has other settings of its multicast transport: make them the same",
                    *(self.identity.id, peer, source),
                )
                self.sink.settings_differ(peer)
            case FellBack(peer=peer):
                logger.warning(
                    "%s: %s does not hear our multicasts, and gets everything by unicast: does a switch "
                    "snoop on IGMP without a querier?",
                    *(self.identity.id, peer),
                )
            case Returned(peer=peer):
                logger.info("%s: %s hears our multicasts again", self.identity.id, peer)
            case _:
                assert_never(event)

    def _on_frame(self, peer: NodeId, data: bytes, now: float) -> None:
        """Hear a frame if it is one, and of whom it should be."""
        decoder = self._decoders.get(peer)
        if decoder is None:
            return  # it came before the link was closed for what came before it
        try:
            decoder.receive_data(data)
            frame = decoder.next_frame()
            decoder.receive_eof()  # one frame and no more
            if frame is NEED_DATA or frame.sender != self._identities[peer]:
                raise RemoteProtocolError(f"a frame that is not of {self._identities[peer]}")
        except RemoteProtocolError as error:
            del self._decoders[peer]
            self.engine.drop(peer, str(error), now)
            return
        if isinstance(frame.body, Hello):
            decoder.sender_format = max(FORMAT, frame.body.wire_format)
        self.sink.received(frame)


def _as_address(to: object) -> Address:
    assert isinstance(to, tuple)
    return cast("Address", to)


def _by_way(multicast: int, unicast: int) -> Mapping[str, int]:
    return MappingProxyType({"multicast": multicast, "unicast": unicast})
