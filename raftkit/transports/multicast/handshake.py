"""How a link begins: two endpoints prove to each other that they live now.

    OPEN(nonce a) → ACCEPT(echo a, nonce b) → CONFIRM(echo b)

Laws: only the echo of a nonce that we drew, and that is still fresh, makes a link, so nothing recorded
does. A handshake answers one datagram with one that is no longer, keeps a bounded number of offers, and
changes nothing of a link that stands until the new one is proven. An endpoint numbers its links upwards,
so that of two the newer is known, and both ends agree on the pair of numbers that is their link.
"""

from __future__ import annotations

import random
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

import attrs

from raftkit.model import Identity, NodeId
from raftkit.transports.multicast.outlet import Address, Ignored, Outlet, Unreachable
from raftkit.wire import NumberedStream
from raftkit.wire.control import NONCE_BYTES, Accept, Bye, Card, Confirm, Ends, Open

__all__ = ["Attempt", "Handshakes", "Proven", "Streams"]

Streams = tuple[NumberedStream, NumberedStream]
"Of one link: for the control lane and for the rest. The number of the first is that of the link."

PAUSE_SECONDS: Final = (0.02, 1.0)
"Between two OPENs: the first and the longest; each twice the one before, then cut by chance."
STOOD_SECONDS: Final = 1.0
"A link that stood for less than this is tried again as if it had not come about."
NO_ANSWER_SECONDS: Final = 0.25
"After the first OPEN of an attempt, until the peer is reported."
OFFER_SECONDS: Final = 1.0
"For which an ACCEPT may be confirmed."
OFFERS_MAX: Final = 64
"Offers that wait. One more, and the oldest is forgotten."
_NONCES: Final = 2
"Of the last OPENs to a peer: older ones are not fresh any more."


@attrs.frozen(kw_only=True)
class Proven:
    """An endpoint has shown that it lives now: a link to it stands from here on."""

    start: int
    "Whose."
    identity: Identity
    "Of its node."
    address: Address
    "Where it is."
    mine: Streams
    "What is sent on the link."
    theirs: int
    "The number of the link there."
    begun_here: bool
    "Whether this side asked for it."
    floor: int
    "The number of the control datagram that proved it: older ones are not heard."


@attrs.define(eq=False, kw_only=True)
class Attempt:
    """A peer to which a link is kept."""

    peer: NodeId
    address: Address
    "Where it should be."
    next_at: float
    "When to send an OPEN; infinity while there is a link."
    begun_at: float
    "When this was first tried since there was a link."
    streams: Streams | None = None
    "Of the next link, once they are needed."
    nonces: tuple[bytes, ...] = ()
    "Of the last OPENs."
    opened_at: float = float("-inf")
    "When the last was sent."
    pause: float = PAUSE_SECONDS[0]
    "Until the OPEN after the next."
    rests_until: float = float("-inf")
    "No OPEN before, for links did not last."
    reported: bool = False
    "Whether it was told already that there is no link."

    def rest(self) -> None:
        """There is a link now."""
        self.next_at, self.streams, self.nonces = float("inf"), None, ()
        self.reported = False

    def begin(self, now: float, *, stood: float) -> None:
        """There is none any more; the last stood for so many seconds."""
        if stood >= STOOD_SECONDS:
            self.pause = PAUSE_SECONDS[0]
        self.begun_at, self.reported = now, True
        self.next_at = self.rests_until = now + self.pause


@attrs.define(eq=False, kw_only=True)
class _Offer:
    """An ACCEPT that was not confirmed yet."""

    identity: Identity
    address: Address
    mine: Streams
    theirs: int
    nonce: bytes
    echo: bytes
    until: float

    def fits(self, ends: Ends, now: float) -> bool:
        """Whether somebody may use it as `ends`."""
        return now <= self.until and (ends.mine, ends.yours) == (self.theirs, self.mine[0].number)


@attrs.define(eq=False, kw_only=True)
class Handshakes:
    """All attempts and offers of an endpoint. The caller has checked that nobody uses its own name."""

    start: int
    "Of this endpoint."
    card: Card
    "Of its node."
    outlet: Outlet
    rng: random.Random
    "For nonces: nobody may guess what it draws."
    open_streams: Callable[[], Streams]
    "For another link: their numbers are the next."
    attempts: dict[NodeId, Attempt] = attrs.field(init=False, factory=dict[NodeId, Attempt])
    "By peer."
    _offers: OrderedDict[int, _Offer] = attrs.field(init=False, factory=OrderedDict[int, _Offer])
    "By start, the oldest first."

    # ── who asks ─────────────────────────────────────────────────────────────────────────────────

    def want(self, peer: NodeId, address: Address, now: float, *, linked: bool) -> None:
        """Keep a link to `peer`."""
        next_at = float("inf") if linked else now
        self.attempts[peer] = Attempt(peer=peer, address=address, next_at=next_at, begun_at=now)

    def unwant(self, peer: NodeId) -> None:
        """Begin no link to `peer` any more."""
        del self.attempts[peer]

    def nudge(self, peer: NodeId, now: float) -> None:
        """`peer` was heard: if it is wanted, there is no need to wait for long."""
        attempt = self.attempts.get(peer)
        if attempt is not None and attempt.next_at < float("inf"):
            soonest = max(now, attempt.opened_at + PAUSE_SECONDS[0], attempt.rests_until)
            attempt.next_at = min(attempt.next_at, soonest)

    def _open(self, attempt: Attempt, now: float) -> None:
        streams = self._streams_of(attempt)
        nonce = self._nonce()
        attempt.nonces = (*attempt.nonces, nonce)[-_NONCES:]
        body = Open(card=self.card, wanted=attempt.peer, link=streams[0].number, nonce=nonce)
        self.outlet.say(attempt.address, body)
        attempt.opened_at = now
        attempt.next_at = now + attempt.pause * self.rng.uniform(0.5, 1.0)
        attempt.pause = min(2 * attempt.pause, PAUSE_SECONDS[1])

    def on_accept(self, start: int, accept: Accept, number: int, source: Address) -> Proven | None:
        """Whoever answers our OPEN is proven, and is told so."""
        attempt = self._asked_by(accept.echo)
        identity = accept.card.identity
        if attempt is None or self._streams_of(attempt)[0].number != accept.ends.yours:
            self.outlet.counts.ignored[Ignored.UNPROVEN] += 1
            return None
        if attempt.peer != identity.id:
            self.outlet.counts.ignored[Ignored.IMPOSTOR] += 1
            return None
        self.confirm(start, accept, source)
        return Proven(
            start=start,
            identity=identity,
            address=source,
            mine=self._streams_of(attempt),
            theirs=accept.ends.mine,
            begun_here=True,
            floor=number,
        )

    def confirm(self, start: int, accept: Accept, source: Address) -> None:
        """Tell who answered that the link stands here."""
        ends = Ends(to=start, mine=accept.ends.yours, yours=accept.ends.mine)
        self.outlet.say(source, Confirm(ends=ends, echo=accept.nonce))

    def _asked_by(self, nonce: bytes) -> Attempt | None:
        return next((it for it in self.attempts.values() if nonce in it.nonces), None)

    # ── who is asked ─────────────────────────────────────────────────────────────────────────────

    def on_open(self, start: int, body: Open, source: Address, now: float) -> None:
        """Answer, and keep the offer for a while."""
        identity = body.card.identity
        offer = self._offers.get(start)
        if offer is None or (offer.identity, offer.theirs) != (identity, body.link):
            # Both may ask at once: whichever step proves it, it is to be the same link.
            attempt = self.attempts.get(identity.id)
            mine = self.open_streams() if attempt is None else self._streams_of(attempt)
            offer = _Offer(
                identity=identity,
                address=source,
                mine=mine,
                theirs=body.link,
                nonce=self._nonce(),
                echo=body.nonce,
                until=now,
            )
            self._offers[start] = offer
            if len(self._offers) > OFFERS_MAX:
                self._offers.popitem(last=False)
        offer.address, offer.echo, offer.until = source, body.nonce, now + OFFER_SECONDS
        self._offers.move_to_end(start)
        self._accept(start, offer)

    def accept_standing(self, ends: Ends, body: Open, source: Address) -> None:
        """Answer an OPEN for a link that stands here already; there may be no need to confirm it."""
        accept = Accept(ends=ends, card=self.card, echo=body.nonce, nonce=self._nonce())
        self.outlet.say(source, accept)

    def accept_again(self, start: int, ends: Ends, source: Address, now: float) -> None:
        """Somebody uses a link that does not stand here: offered perhaps, and its CONFIRM was lost."""
        offer = self._offers.get(start)
        if offer is not None and offer.fits(ends, now):
            self._accept(start, offer)
        else:
            self.deny(start, ends, source)

    def deny(self, start: int, ends: Ends, source: Address, why: str = "no such link") -> None:
        """Tell somebody that the link that it uses does not stand here, so that it begins anew."""
        ends = Ends(to=start, mine=ends.yours, yours=ends.mine)
        self.outlet.say(source, Bye(ends=ends, why=why))

    def _accept(self, start: int, offer: _Offer) -> None:
        ends = Ends(to=start, mine=offer.mine[0].number, yours=offer.theirs)
        body = Accept(ends=ends, card=self.card, echo=offer.echo, nonce=offer.nonce)
        self.outlet.say(offer.address, body)

    def on_confirm(
        self, start: int, confirm: Confirm, number: int, source: Address, now: float
    ) -> Proven | None:
        """Whoever echoes the nonce of our offer is proven."""
        offer = self._offers.get(start)
        if offer is None or not offer.fits(confirm.ends, now) or confirm.echo != offer.nonce:
            self.outlet.counts.ignored[Ignored.UNPROVEN] += 1
            self.deny(start, confirm.ends, source)
            return None
        return Proven(
            start=start,
            identity=offer.identity,
            address=source,
            mine=offer.mine,
            theirs=offer.theirs,
            begun_here=False,
            floor=number,
        )

    # ── both ─────────────────────────────────────────────────────────────────────────────────────

    def settle(self, proven: Proven) -> None:
        """A link to that node stands: nothing else that was begun with it counts any more."""
        attempt = self.attempts.get(proven.identity.id)
        if attempt is not None:
            attempt.rest()
        for start, offer in list(self._offers.items()):
            if offer.identity.id == proven.identity.id:
                del self._offers[start]

    def refused(self, address: Address) -> None:
        """Nobody is at `address`."""
        for peer, attempt in sorted(self.attempts.items()):
            tried = attempt.nonces and attempt.address == address
            if tried and not attempt.reported:
                attempt.reported = True
                self.outlet.tell(Unreachable(peer, "refused: nobody is at its address"))

    def unlinked(self, peer: NodeId, now: float, *, stood: float) -> None:
        """The link to `peer` is gone after so many seconds."""
        attempt = self.attempts.get(peer)
        if attempt is not None:
            attempt.begin(now, stood=stood)

    def wake(self, now: float) -> None:
        """Send what OPENs are due, and tell of peers that do not answer."""
        for peer, attempt in sorted(self.attempts.items()):
            if attempt.next_at > now:
                continue
            if (
                attempt.nonces
                and not attempt.reported
                and now - attempt.begun_at >= NO_ANSWER_SECONDS
            ):
                attempt.reported = True
                self.outlet.tell(Unreachable(peer, "does not answer"))
            self._open(attempt, now)

    @property
    def deadline(self) -> float:
        """When to wake."""
        return min((it.next_at for it in self.attempts.values()), default=float("inf"))

    def _streams_of(self, attempt: Attempt) -> Streams:
        if attempt.streams is None:
            attempt.streams = self.open_streams()
        return attempt.streams

    def _nonce(self) -> bytes:
        return self.rng.randbytes(NONCE_BYTES)
