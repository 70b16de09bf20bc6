"""What the engine of a multicast endpoint puts out: datagrams to write, events to report, figures.

Law: nothing here decides anything; whoever drives the engine takes both lists after each call and is
quick about it, since neither has a bound of its own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable
from enum import Enum
from typing import Final

import attrs

from raftkit.model import Identity, NodeId
from raftkit.wire import Lane, Refused, Sealer
from raftkit.wire.control import Control, encode_control

__all__ = [
    "GROUP",
    "OUTPUT_BYTES_MAX",
    "Address",
    "Counts",
    "Event",
    "FellBack",
    "Group",
    "Ignored",
    "Linked",
    "Outlet",
    "Output",
    "Received",
    "Returned",
    "SettingsDiffer",
    "Unreachable",
]

Address = Hashable
"Where a datagram came from or goes to: compared and handed back, never looked into."


class Group(Enum):
    """Type of `GROUP`."""

    GROUP = "everybody who has joined"


GROUP: Final = Group.GROUP
"Instead of an address: multicast."


OUTPUT_BYTES_MAX: Final = 64_000
"In one output: what one call may hand to the kernel."


@attrs.frozen(kw_only=True)
class Output:
    """Datagrams to be written, in order."""

    to: Address | Group
    "Where to."
    lane: Lane
    "CONTROL is to be written at once."
    datagrams: tuple[bytes, ...]
    "Of equal length but for the last, which may be shorter; so few that one call can send them."
    repair: bool = False
    "Whether they were sent before."
    stream: int = 0
    "On which they are; tell `Engine.sent` if it is not 0."
    head: int = 0
    "As many datagrams of that stream are sent when these are."


# ── events ───────────────────────────────────────────────────────────────────────────────────────────


@attrs.frozen
class Linked:
    """A link stands, or stands anew. What was known of an older one is void."""

    peer: NodeId
    identity: Identity
    "Whose frames come over it."


@attrs.frozen
class Received:
    """A frame arrived on a link that stands. It is whole, and the engine does not know what it says."""

    peer: NodeId
    frame: bytes


@attrs.frozen
class Unreachable:
    """The link is closed, or there is none to a peer to which one is kept. Each change is told once."""

    peer: NodeId
    why: str
    "For people."


@attrs.frozen
class SettingsDiffer:
    """A node of this cluster has other settings where all must agree. Told once a minute and node."""

    peer: NodeId
    source: Address


@attrs.frozen
class FellBack:
    """Our multicasts do not reach the peer: it gets everything by unicast."""

    peer: NodeId


@attrs.frozen
class Returned:
    """Our multicasts reach the peer."""

    peer: NodeId


Event = Linked | Received | Unreachable | SettingsDiffer | FellBack | Returned
"What an engine reports."


# ── figures ──────────────────────────────────────────────────────────────────────────────────────────


class Ignored(Enum):
    """Why a datagram that a member sealed was left aside."""

    STRANGER = "of a start with which there is no link"
    REPLAYED = "seen before, or sent before the link"
    OTHER_LINK = "of a link that is no more, or not yet"
    NOT_OURS = "for somebody else"
    UNPROVEN = "a handshake that answers nothing of ours"
    IMPOSTOR = "of somebody who is not who it should be"
    CROWDED = "for want of room for one more"
    NAMESAKE = "of the name of a node that lives"


@attrs.define(eq=False)
class Counts:
    """What an endpoint did so far."""

    datagrams_out: int = 0
    "With parts of messages, repairs not counted; a multicast counts once."
    control_out: int = 0
    "Other datagrams."
    nacked: int = 0
    "Datagrams of ours that peers asked for again."
    repaired: int = 0
    "Datagrams sent again."
    repaired_to_group: int = 0
    "Those of them that were multicast, since several peers missed the same."
    nacks_out: int = 0
    "Times that we asked."
    holds: int = 0
    "Times that we waited for a receiver that was behind."
    messages_out: int = 0
    "Given to `send`, one a target that is linked."
    messages_in: int = 0
    "Delivered."
    fallbacks: int = 0
    "Times that a peer was found not to hear our multicasts."
    mismatches: int = 0
    "Datagrams that told of settings that differ from ours."
    overruns_reported: int = 0
    "Datagrams that peers lost for want of room, as they told us."
    refused: Counter[Refused] = attrs.field(factory=Counter[Refused])
    "Datagrams not believed."
    ignored: Counter[Ignored] = attrs.field(factory=Counter[Ignored])
    "Datagrams believed, and of no use."


@attrs.define(eq=False, kw_only=True)
class Outlet:
    """Where all parts of an engine put what they want to be sent and told."""

    sealer: Sealer
    "Of this endpoint."
    counts: Counts = attrs.field(init=False, factory=Counts)
    "What was done so far."
    outputs: list[Output] = attrs.field(init=False, factory=list[Output])
    "To be written."
    events: list[Event] = attrs.field(init=False, factory=list[Event])
    "To be reported."

    def say(self, to: Address | Group, body: Control) -> None:
        """Put out one control datagram."""
        datagram = self.sealer.control.seal(*encode_control(body))
        self.counts.control_out += 1
        self.outputs.append(Output(to=to, lane=Lane.CONTROL, datagrams=(datagram,)))

    def tell(self, event: Event) -> None:
        """Report something."""
        self.events.append(event)
