"""What endpoints of the multicast transport tell each other on stream 0 ⇄ bytes (`docs/wire-format.md`).

    HELLO    to the group: who is here
    OPEN     are you there? Carries a number drawn by chance
    ACCEPT   here I am: carries that number back, and one of its own
    CONFIRM  carries that one back: now both know that the other lives now
    STATUS   on a link, regularly: I live, this is what I sent, this is how I hear you
    PING     a STATUS, please
    HEAD     so much of a stream of mine was sent
    NACK     these datagrams of a stream of yours are missing
    GONE     these of mine can't be sent again, or were not for you
    BYE      this link is closed
    TAKEN    so much of a stream of yours was read here

Laws: every form has a fixed order and no optional part; what is too short, too long or out of bounds is
MalformedError, before anything is made of it. Whoever receives it has checked the seal already.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from typing import Final, assert_never

import attrs

from raftkit.encoding import MalformedError, printable
from raftkit.membership import ADDRESS_MAX, node_id
from raftkit.model import Identity
from raftkit.wire.datagram import DatagramKind, Range

__all__ = [
    "NEVER",
    "NONCE_BYTES",
    "NOT_INVITED",
    "RANGES_MAX",
    "Accept",
    "Bye",
    "Card",
    "Confirm",
    "Control",
    "Ends",
    "Gone",
    "Head",
    "Hello",
    "Nack",
    "Open",
    "Ping",
    "Positions",
    "Status",
    "Taken",
    "decode_control",
    "encode_control",
    "packed",
]

NONCE_BYTES: Final = 16
"Of the numbers drawn by chance in a handshake."
SETTINGS_BYTES: Final = 8
"Of the hash of the settings that must agree."
RANGES_MAX: Final = 100
"In one NACK or GONE: what fits into a datagram."
RANGE_LONGEST: Final = 0xFFFF
"Datagrams in one range."
NEVER: Final = 0xFFFFFFFF
"For `Status.silence_ms`: nothing came by multicast on this link yet."
NOT_INVITED: Final = 0
"For `Status.invitation` and `Status.accepted`: there is none."
WHY_MAX: Final = 100
"Characters of the reason in a BYE."
TARGETS_MAX: Final = 64
"Bits of a chunk's targets."
LINK_LOWEST: Final = 3
"A link is called by the number of its first stream; 1 and 2 are the multicast streams."
_PADDING: Final = 32
"Added to an OPEN, so that no ACCEPT is longer: a recorded OPEN must not multiply at our expense."


@attrs.frozen(kw_only=True)
class Card:
    """Who somebody is."""

    identity: Identity
    "The name and incarnation of the node."
    settings: bytes
    "The beginning of a hash of the settings that all must share."


@attrs.frozen(kw_only=True)
class Ends:
    """One link, as its sender names it: both starts and both numbers, so nothing fits another link."""

    to: int
    "The start of whom it is for."
    mine: int
    "The number of the link at the sender."
    yours: int
    "The number of the link at the receiver."


@attrs.frozen(kw_only=True)
class Hello:
    """Somebody is here."""

    card: Card
    "Who."
    address: str
    "Where it says that it is found. For people: datagrams go to where its own came from."


@attrs.frozen(kw_only=True)
class Open:
    """The first step of a link. It names nobody's start, since it is not known yet."""

    card: Card
    "Whose endpoint sends it."
    wanted: str
    "The name of the node that it is for."
    link: int
    "The number that the link has at the sender."
    nonce: bytes
    "To be echoed."


@attrs.frozen(kw_only=True)
class Accept:
    """The second step."""

    ends: Ends
    "The link to be."
    card: Card
    "Whose endpoint sends it."
    echo: bytes
    "The nonce of the OPEN that it answers."
    nonce: bytes
    "To be echoed."


@attrs.frozen(kw_only=True)
class Confirm:
    """The third step: after it the link stands at both ends."""

    ends: Ends
    "The link."
    echo: bytes
    "The nonce of the ACCEPT that it answers."


@attrs.frozen(kw_only=True)
class Positions:
    """How many datagrams were sent on two streams."""

    control: int
    "On the stream of the control lane."
    data: int
    "On the stream of the other lanes."


@attrs.frozen(kw_only=True)
class Status:
    """How a link is, as its sender sees it."""

    ends: Ends
    "The link."
    stamp: int
    "When it was sent: µs of the sender's own clock, never 0."
    echo: int
    "The latest stamp heard from the receiver on this link; 0 before the first."
    held_us: int
    "How long ago that was heard, when this was sent."
    silence_ms: int
    "Since the receiver's own datagrams last came by multicast; `NEVER` if they did not."
    overruns: int
    "Datagrams that the sender's sockets lost for want of room, since it started."
    invitation: int
    "Number of the sender's invitation to its multicasts; `NOT_INVITED` if the receiver gets none."
    bit: int
    "Which bit of `targets` is the receiver's. Means nothing without an invitation."
    since: Positions
    "From these numbers on, multicasts may be for the receiver; without an invitation, none is any more."
    accepted: int
    "The receiver's invitation that the sender has last heard of."
    group: Positions
    "What the sender has sent by multicast."
    link: Positions
    "What the sender has sent on this link."


@attrs.frozen(kw_only=True)
class Ping:
    """A STATUS, please."""

    ends: Ends
    "The link."


@attrs.frozen(kw_only=True)
class Head:
    """So much was sent on a stream of the sender."""

    stream: int
    "Which."
    head: int
    "How many datagrams."


@attrs.frozen(kw_only=True)
class Nack:
    """Datagrams that are missing."""

    to: int
    "The start of whom it is for."
    stream: int
    "One of the receiver's."
    ranges: tuple[Range, ...]
    "Ascending; at least one, at most `RANGES_MAX`, none longer than `RANGE_LONGEST`."


@attrs.frozen(kw_only=True)
class Gone:
    """Datagrams for which nobody is to wait any more."""

    to: int
    "The start of whom it is for."
    stream: int
    "One of the sender's."
    ranges: tuple[Range, ...]
    "As in `Nack`."


@attrs.frozen(kw_only=True)
class Bye:
    """The sender has closed this link, and forgets it now."""

    ends: Ends
    "The link."
    why: str
    "For people."


@attrs.frozen(kw_only=True)
class Taken:
    """So far the sender has read a stream of the receiver, told now and then: no need to ask or answer."""

    to: int
    "The start of whom it is for."
    stream: int
    "One of the receiver's."
    head: int
    "The number after the highest that was read."


Control = Hello | Open | Accept | Confirm | Status | Ping | Head | Nack | Gone | Bye | Taken
"Everything that is said on stream 0."

_LENGTH = struct.Struct(">H")
"Of a text that follows, in bytes of UTF-8."
_CARD = struct.Struct(f">Q{SETTINGS_BYTES}s")
_ENDS = struct.Struct(">QII")
_OPEN = struct.Struct(f">I{NONCE_BYTES}s")
_ACCEPT = struct.Struct(f">{NONCE_BYTES}s{NONCE_BYTES}s")
_CONFIRM = struct.Struct(f">{NONCE_BYTES}s")
_STATUS = struct.Struct(">QQIIIIBQQIQQQQ")
_HEAD = struct.Struct(">IQ")
_TAKEN = struct.Struct(">QIQ")
_RANGES = struct.Struct(">QIB")
_RANGE = struct.Struct(">QH")


def encode_control(body: Control) -> tuple[DatagramKind, bytes]:
    """The kind and the bytes of `body`."""
    match body:
        case Hello():
            return DatagramKind.HELLO, _card_out(body.card) + _text_out(body.address)
        case Open():
            fixed = _OPEN.pack(body.link, body.nonce) + _text_out(body.wanted)
            return DatagramKind.OPEN, fixed + _card_out(body.card) + bytes(_PADDING)
        case Accept():
            fixed = _ends_out(body.ends) + _ACCEPT.pack(body.echo, body.nonce)
            return DatagramKind.ACCEPT, fixed + _card_out(body.card)
        case Confirm():
            return DatagramKind.CONFIRM, _ends_out(body.ends) + _CONFIRM.pack(body.echo)
        case Status():
            return DatagramKind.STATUS, _ends_out(body.ends) + _status_out(body)
        case Ping():
            return DatagramKind.PING, _ends_out(body.ends)
        case Head():
            return DatagramKind.HEAD, _HEAD.pack(body.stream, body.head)
        case Nack():
            return DatagramKind.NACK, _ranges_out(body)
        case Gone():
            return DatagramKind.GONE, _ranges_out(body)
        case Bye():
            return DatagramKind.BYE, _ends_out(body.ends) + _text_out(body.why[:WHY_MAX])
        case Taken():
            return DatagramKind.TAKEN, _TAKEN.pack(body.to, body.stream, body.head)
        case _:
            assert_never(body)


def decode_control(kind: DatagramKind, data: bytes) -> Control:
    """The body of `kind` in `data`. Raises `MalformedError` for what `encode_control` doesn't write."""
    reader = _Reader(data)
    match kind:
        case DatagramKind.HELLO:
            card = _card_in(reader)
            address = printable(reader.text(), length_max=ADDRESS_MAX)
            body: Control = Hello(card=card, address=address)
        case DatagramKind.OPEN:
            link, nonce = _OPEN.unpack_from(reader.data, reader.skip(_OPEN.size))
            wanted = node_id(reader.text())
            body = Open(
                card=_card_in(reader),
                wanted=wanted,
                link=_number(link, lowest=LINK_LOWEST),
                nonce=nonce,
            )
            reader.skip(_PADDING)
        case DatagramKind.ACCEPT:
            ends = _ends_in(reader)
            echo, nonce = _ACCEPT.unpack_from(reader.data, reader.skip(_ACCEPT.size))
            body = Accept(ends=ends, card=_card_in(reader), echo=echo, nonce=nonce)
        case DatagramKind.CONFIRM:
            ends = _ends_in(reader)
            (echo,) = _CONFIRM.unpack_from(reader.data, reader.skip(_CONFIRM.size))
            body = Confirm(ends=ends, echo=echo)
        case DatagramKind.STATUS:
            body = _status_in(reader)
        case DatagramKind.PING:
            body = Ping(ends=_ends_in(reader))
        case DatagramKind.HEAD:
            stream, head = _HEAD.unpack_from(reader.data, reader.skip(_HEAD.size))
            body = Head(stream=_number(stream), head=head)
        case DatagramKind.NACK:
            to, stream, ranges = _ranges_in(reader)
            body = Nack(to=to, stream=stream, ranges=ranges)
        case DatagramKind.GONE:
            to, stream, ranges = _ranges_in(reader)
            body = Gone(to=to, stream=stream, ranges=ranges)
        case DatagramKind.BYE:
            ends = _ends_in(reader)
            body = Bye(ends=ends, why=printable(reader.text(), length_max=WHY_MAX))
        case DatagramKind.TAKEN:
            to, stream, head = _TAKEN.unpack_from(reader.data, reader.skip(_TAKEN.size))
            body = Taken(to=to, stream=_number(stream), head=head)
        case DatagramKind.CHUNK:
            raise MalformedError("a part of a message where control belongs")
        case _:
            assert_never(kind)
    reader.end()
    return body


def packed(ranges: Iterable[Range]) -> Iterator[tuple[Range, ...]]:
    """`ranges`, which ascend, joined where they touch, as many at a time as one body has room for."""
    joined: list[Range] = []
    for first, end in ranges:
        before = joined[-1] if joined else (-1, -1)
        if first == before[1] and end - before[0] <= RANGE_LONGEST:
            joined[-1] = before[0], end
        else:
            joined.append((first, end))
    for at in range(0, len(joined), RANGES_MAX):
        yield tuple(joined[at : at + RANGES_MAX])


# ── out ──────────────────────────────────────────────────────────────────────────────────────────────


def _text_out(text: str) -> bytes:
    data = text.encode()
    return _LENGTH.pack(len(data)) + data


def _card_out(card: Card) -> bytes:
    return _CARD.pack(card.identity.incarnation, card.settings) + _text_out(card.identity.id)


def _ends_out(ends: Ends) -> bytes:
    return _ENDS.pack(ends.to, ends.mine, ends.yours)


def _status_out(status: Status) -> bytes:
    return _STATUS.pack(
        status.stamp,
        status.echo,
        status.held_us,
        status.silence_ms,
        status.overruns,
        status.invitation,
        status.bit,
        status.since.control,
        status.since.data,
        status.accepted,
        status.group.control,
        status.group.data,
        status.link.control,
        status.link.data,
    )


def _ranges_out(body: Nack | Gone) -> bytes:
    assert 0 < len(body.ranges) <= RANGES_MAX
    head = _RANGES.pack(body.to, body.stream, len(body.ranges))
    return head + b"".join(_RANGE.pack(first, end - first) for first, end in body.ranges)


# ── in ───────────────────────────────────────────────────────────────────────────────────────────────


@attrs.define
class _Reader:
    """What is left of a body."""

    data: bytes
    at: int = 0

    def skip(self, size: int) -> int:
        """Go past so many bytes, which must be there. Where they begin."""
        start = self.at
        self.at += size
        if self.at > len(self.data):
            raise MalformedError(f"{len(self.data)} bytes, at least {self.at} belong here")
        return start

    def text(self) -> str:
        """The next text, after its length in bytes."""
        (size,) = _LENGTH.unpack_from(self.data, self.skip(_LENGTH.size))
        start = self.skip(size)
        try:
            return self.data[start : self.at].decode()
        except UnicodeDecodeError as error:
            raise MalformedError(f"not UTF-8: {self.data[start : self.at]!r:.80}") from error

    def end(self) -> None:
        """Nothing may be left."""
        if self.at != len(self.data):
            raise MalformedError(f"{len(self.data) - self.at} bytes too many")


def _number(value: int, *, lowest: int = 1) -> int:
    if value < lowest:
        raise MalformedError(f"number {value} where one from {lowest} belongs")
    return value


def _card_in(reader: _Reader) -> Card:
    incarnation, settings = _CARD.unpack_from(reader.data, reader.skip(_CARD.size))
    name = node_id(reader.text())
    return Card(identity=Identity(id=name, incarnation=incarnation), settings=settings)


def _ends_in(reader: _Reader) -> Ends:
    to, mine, yours = _ENDS.unpack_from(reader.data, reader.skip(_ENDS.size))
    return Ends(
        to=to, mine=_number(mine, lowest=LINK_LOWEST), yours=_number(yours, lowest=LINK_LOWEST)
    )


def _status_in(reader: _Reader) -> Status:
    ends = _ends_in(reader)
    stamp, echo, held, silence, overruns, invitation, bit, *positions = _STATUS.unpack_from(
        reader.data, reader.skip(_STATUS.size)
    )
    if bit >= TARGETS_MAX:
        raise MalformedError(f"bit {bit} of {TARGETS_MAX}")
    since_control, since_data, accepted, group_control, group_data, control, data = positions
    return Status(
        ends=ends,
        stamp=_number(stamp),
        echo=echo,
        held_us=held,
        silence_ms=silence,
        overruns=overruns,
        invitation=invitation,
        bit=bit,
        since=Positions(control=since_control, data=since_data),
        accepted=accepted,
        group=Positions(control=group_control, data=group_data),
        link=Positions(control=control, data=data),
    )


def _ranges_in(reader: _Reader) -> tuple[int, int, tuple[Range, ...]]:
    to, stream, count = _RANGES.unpack_from(reader.data, reader.skip(_RANGES.size))
    if not 0 < count <= RANGES_MAX:
        raise MalformedError(f"{count} ranges, from 1 to {RANGES_MAX} are allowed")
    ranges: list[Range] = []
    end = 0
    for _ in range(count):
        first, length = _RANGE.unpack_from(reader.data, reader.skip(_RANGE.size))
        if first < end or not length:
            raise MalformedError(f"ranges that do not ascend: {length} from {first} after {end}")
        end = first + length
        ranges.append((first, end))
    return to, _number(stream), tuple(ranges)
