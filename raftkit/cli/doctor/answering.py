"""`raftkit doctor --listen`: answers doctors on other hosts, and says by which ways it hears them.

Laws: only probes are answered, each by one datagram to where it came from and one to the group, neither
longer than the probe, and at most `ANSWERS_MAX` probes in a second. Nodes are not answered, so none takes
this for a member.
"""

from __future__ import annotations

import secrets
from collections import OrderedDict
from collections.abc import Callable
from typing import Final, Literal

import attrs
import trio

from raftkit import MulticastTransport, TcpTransport
from raftkit.cli.doctor.case import Case
from raftkit.cli.doctor.connections import a_hello
from raftkit.cli.doctor.datagrams import LISTENER, PROBER, Way, body_of, card_of, open_sealed
from raftkit.cli.lines import Line
from raftkit.cli.starting import cancel_on_signal
from raftkit.driver_messages import Frame, Hello
from raftkit.model import Identity, NodeId
from raftkit.transports.multicast.group import parse_group, place_of
from raftkit.transports.multicast.sockets import Address, MulticastSockets
from raftkit.transports.tcp import TcpEndpoint
from raftkit.wire import CONTROL_STREAM, Datagram, Opener, Refused, Sealer
from raftkit.wire.control import NONCE_BYTES, Accept, Card, Ends, Open, encode_control

__all__ = ["listen"]

ANSWERS_MAX: Final = 2000
"Probes answered in a second. One doctor of a group of 64 sends a third of that to the group."
SAID_MAX: Final = 256
"What is remembered as said."
_LINK: Final = 3
"The number that no link will have."


async def listen(case: Case, say: Callable[[Line], None]) -> None:
    """Answer until Ctrl-C, at `case.own`, which is known. Raises ConfigError if that can't be had."""
    assert case.own is not None
    said = _Said(say)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(cancel_on_signal, nursery.cancel_scope)
        if case.multicast is not None:
            await nursery.start(_answer_datagrams, case.multicast, case.own, said)
        sink = _Greeter(said)
        where = case.file.settings.get("listen") if case.file is not None else None
        transport = TcpTransport(insecure=case.insecure, listen=where)
        identity = Identity(id=LISTENER, incarnation=secrets.randbits(64))
        async with transport.open_endpoint(identity, case.own, sink) as sink.endpoint:
            ways = "TCP and UDP" if case.multicast is not None else "TCP"
            say(Line("listening", f"doctors are answered at {case.own}, by {ways}"))
            await trio.sleep_forever()


@attrs.define(eq=False)
class _Said:
    """Says each thing once, as long as it is remembered."""

    _say: Callable[[Line], None]
    _before: OrderedDict[str, None] = attrs.field(init=False, factory=OrderedDict[str, None])

    def heard(self, host: str, way: Way | Literal["TCP"]) -> None:
        """A doctor at `host` was heard that way."""
        facts = {"host": host, "way": way.lower()}
        self._once(Line("heard", f"a doctor at {host} is heard by {way}", facts))

    def refused(self, host: str, why: Refused) -> None:
        """Something of `host` was not believed."""
        words = f"datagrams of {host} are refused: {why.value}"
        self._once(Line("refused", words, {"host": host, "why": why.value}))

    def _once(self, line: Line) -> None:
        if line.words not in self._before:
            self._say(line)
            self._before[line.words] = None
            if len(self._before) > SAID_MAX:
                self._before.popitem(last=False)


# ── datagrams ────────────────────────────────────────────────────────────────────────────────────


@attrs.define(eq=False, kw_only=True)
class _Answerer:
    """Turns probes into answers."""

    sockets: MulticastSockets
    sealer: Sealer
    opener: Opener
    card: Card
    said: _Said
    clock: Callable[[], float] = trio.current_time
    _second: float = attrs.field(init=False, default=float("-inf"))
    "When the count below began."
    _count: int = attrs.field(init=False, default=0)
    "Probes answered since then."

    async def run(self) -> None:
        """Answer, for ever."""
        while True:
            await self.sockets.wait_arrivals()
            before = self.sockets.from_group.datagrams
            for data, source in self.sockets.arrivals():
                after = self.sockets.from_group.datagrams
                self.take(data, source, "unicast" if after == before else "multicast")
                before = after
            self.sockets.take_refused()

    def take(self, data: bytes, source: Address, way: Way) -> None:
        """Answer one datagram if it is a doctor's probe."""
        datagram = self.opener.open(data)
        if isinstance(datagram, Refused):
            if datagram is not Refused.OWN:
                self.said.refused(str(source[0]), datagram)
            return
        body = body_of(datagram) if datagram.stream == CONTROL_STREAM else None
        if isinstance(body, Open) and body.card.identity.id == PROBER and self._has_room():
            self.said.heard(str(source[0]), way)
            answer = self._answer(datagram, body)
            for to in (source, None):
                self.sockets.send(to, [self.sealer.control.seal(*encode_control(answer))])

    def _answer(self, datagram: Datagram, body: Open) -> Accept:
        ends = Ends(to=datagram.start, mine=_LINK, yours=body.link)
        nonce = secrets.token_bytes(NONCE_BYTES)
        return Accept(ends=ends, card=self.card, echo=body.nonce, nonce=nonce)

    def _has_room(self) -> bool:
        now = self.clock()
        if now >= self._second + 1.0:
            self._second, self._count = now, 0
        self._count += 1
        return self._count <= ANSWERS_MAX


async def _answer_datagrams(
    transport: MulticastTransport,
    own: str,
    said: _Said,
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    place = await place_of(own, parse_group(transport.group).family)
    sockets, sealer, opener = await open_sealed(transport, place)
    answerer = _Answerer(
        sockets=sockets,
        sealer=sealer,
        opener=opener,
        card=card_of(LISTENER, transport),
        said=said,
    )
    try:
        task_status.started()
        await answerer.run()
    finally:
        sockets.close()


# ── connections ──────────────────────────────────────────────────────────────────────────────────


@attrs.define(eq=False)
class _Greeter:
    """A sink that says hello, and nothing else."""

    _said: _Said
    endpoint: TcpEndpoint | None = attrs.field(init=False, default=None)

    def linked(self, peer: NodeId) -> None:
        """See `Sink`."""
        if self.endpoint is not None:
            self.endpoint.send((peer,), a_hello(self.endpoint.address))

    def received(self, frame: Frame) -> None:
        """See `Sink`."""
        if frame.sender.id.startswith(PROBER) and isinstance(frame.body, Hello):
            host = frame.body.address.rpartition(":")[0].strip("[]")  # as it says itself
            self._said.heard(host, "TCP")

    def unreachable(self, peer: NodeId, why: str) -> None:
        """See `Sink`."""

    def objection(self, newcomer: Identity) -> str:
        """See `Sink`."""
        del newcomer
        return ""

    def settings_differ(self, peer: NodeId) -> None:
        """See `Sink`."""
