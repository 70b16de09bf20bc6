"""What drivers say to each other beside their cores' messages: who and how they are, founding, forwarding,
digests, referrals.

Laws: a hello is the first thing on every connection and decides whether anything else is heard. A
request number is unique for the asking node for ever, so that a duplicated datagram can't act twice.
"""

from __future__ import annotations

from enum import Enum

import attrs

from raftkit.changes import Change
from raftkit.membership import Configuration, Epoch
from raftkit.messages import Message, Refusal
from raftkit.model import Identity, Index, Kind, NodeId, Run, Term

__all__ = [
    "DIGESTS_MAX",
    "UNBORN",
    "WHY_MAX",
    "ChangeMade",
    "ChangeReferral",
    "DriverMessage",
    "Forward",
    "ForwardAccepted",
    "ForwardRefused",
    "FoundingRecord",
    "Frame",
    "Goodbye",
    "Hello",
    "LeadershipMoved",
    "Membership",
    "Presence",
    "Referral",
    "ReferralAnswer",
    "ReferralFailed",
    "ReferralOutcome",
    "Remembered",
    "Scope",
    "SnapshotPart",
    "SnapshotWanted",
    "StateDigest",
    "StateDigests",
    "TransferReferral",
]


@attrs.frozen(kw_only=True)
class Scope:
    """Which cluster, which of its lives, which of its groups. Equal in every frame, or it is refused."""

    cluster: bytes
    "16 random bytes, drawn at founding. All zero before."
    epoch: Epoch = Epoch()
    "See `Epoch`."
    group: int = 0
    "u32; 0 until one cluster holds several groups."


UNBORN = Scope(cluster=bytes(16), epoch=Epoch(number=0, nonce=0))
"The scope of a node that belongs to no cluster yet."


@attrs.frozen(kw_only=True)
class Remembered:
    """What a peer remembers of the node it greets, so that a rolled-back directory is recognised."""

    boot: int
    "Highest boot number seen, u64."
    nonce: int
    "The nonce seen with it, u64."
    term: Term
    "Term of its highest acknowledgement to the peer …"
    index: Index
    "… and the index acknowledged then; compared as a pair."


@attrs.frozen(kw_only=True)
class FoundingRecord:
    """How a group began: entry 1, kept by every member and offered to members still unborn."""

    scope: Scope
    "With the cluster id that was drawn."
    entry: Run
    "One CONFIGURATION entry of index 1 and term 1 that names every founder's incarnation."


@attrs.frozen(kw_only=True)
class Hello:
    """Who I am and what I can speak. First on each connection, and again when any of it changes."""

    wire_format: int
    "Highest version of the wire format that the sender writes, from 1. Stands first for ever."
    boot: int
    "How often the sender's directory was opened, from 1, u64."
    nonce: int
    "Drawn at this start, u64."
    address: str
    "Where the sender is reached."
    founders: tuple[NodeId, ...]
    "Sorted names of `members=` with which it would found; empty if it waits to be admitted."
    settings_hash: bytes
    "32 bytes over what must agree among founders: names, addresses, settings, the machine at index 0."
    founding: FoundingRecord | None
    "The sender's founding record; None while unborn."
    remembered: Remembered | None
    "What the sender remembers of the receiver."
    machine_version: int
    "Highest version of the state machine that the sender's code has."
    fingerprint: bytes
    "32 bytes over the machine's commands and fields, up to that version; see `Schema.fingerprint`."
    python: tuple[int, int]
    "Major and minor version of the sender's Python."


@attrs.frozen(kw_only=True)
class Forward:
    """Propose this for me. The result is not sent back: the asking node sees it when it applies it."""

    request: int
    "u64, unique for the asking node for ever."
    payloads: tuple[bytes, ...]
    "At least one, each behind its session header."
    kinds: tuple[Kind, ...] | None = None
    "As in `Propose`."


@attrs.frozen(kw_only=True)
class ForwardAccepted:
    """What you forwarded is in my log. It may still be lost."""

    request: int
    "That of the Forward."
    first: Index
    "Index of its first payload."
    term: Term
    "Their term."


@attrs.frozen(kw_only=True)
class ForwardRefused:
    """What you forwarded did not happen, if this was the only time that you sent it."""

    request: int
    "That of the Forward."
    reason: Refusal
    "Why."
    leader: NodeId | None
    "Where to try instead, if known."


@attrs.frozen(kw_only=True)
class Membership:
    """The configuration in force at the sender, which may be older than the receiver's."""

    index: Index
    "Where that stands in the log, from 1."
    configuration: Configuration
    "Whom it names, and whom not."


@attrs.frozen(kw_only=True)
class Presence:
    """How the sender is, and whom it does not hear. No vote, acknowledgement or commit rests on it."""

    term: Term
    "Its current term."
    leader: NodeId | None
    "The leader of that term, as far as known."
    last_index: Index
    "Highest index in its log …"
    last_term: Term
    "… and the term of that entry."
    first_index: Index
    "What came before is in a snapshot only. At most `last_index` + 1."
    commit_index: Index
    "Highest index known committed. At most `last_index`."
    applied_index: Index
    "Highest index in its state. At most `commit_index`."
    configuration_index: Index
    "Where the configuration in force stands in its log."
    missing: tuple[NodeId, ...]
    "Sorted: members by that configuration from which it hears nothing. At most `MEMBERS_MAX`."
    priority: int = 0
    "From `PRIORITY_MIN` to 0: with each step down it would rather have others lead."


@attrs.frozen(kw_only=True)
class StateDigest:
    """What one node's replicated state was at one index."""

    index: Index
    "The last entry in it, from 1. The node has a snapshot of it."
    format: int
    "Of its snapshots, from 1. Only digests of one format …"
    version: int
    "… and of one version of the machine in force, from 1, are compared."
    size: int
    "Bytes of the snapshot, u63."
    digest: bytes
    "32 bytes that are equal where the states are."


@attrs.frozen(kw_only=True)
class StateDigests:
    """The sender's newest digests."""

    digests: tuple[StateDigest, ...]
    "From 1 to `DIGESTS_MAX`, by growing index."


DIGESTS_MAX = 8
"Digests kept, and told, by each node."


@attrs.frozen(kw_only=True)
class SnapshotWanted:
    """Send me a part of your snapshot at that index."""

    index: Index
    "From 1."
    offset: int
    "Where the part begins, u63."
    checksum: int | None = None
    "CRC-32 of the very one that is meant, a u32; None: whichever there is."


@attrs.frozen(kw_only=True)
class SnapshotPart:
    """What was wanted, as much as fits."""

    index: Index
    "From the question."
    offset: int
    "From the question."
    data: bytes
    "Empty: there is no such snapshot (any more), or it ends there."


@attrs.frozen(kw_only=True)
class ChangeReferral:
    """Change the group, since you lead. Answered by ChangeMade or ReferralFailed."""

    request: int
    "u64, unique for the asking node for ever."
    within_ms: int
    "How long that may take, u64."
    changes: tuple[Change, ...]
    "From 1 to `CHANGES_MAX`: all of them, or none."
    based_on: Index | None
    "As in `ChangeMembership`."


@attrs.frozen(kw_only=True)
class TransferReferral:
    """Have another member lead, since you do (§3.10). Answered by LeadershipMoved or ReferralFailed."""

    request: int
    "u64, unique for the asking node for ever."
    within_ms: int
    "How long that may take, u64."
    target: NodeId | None
    "Who shall lead. None: whoever is ready first."


@attrs.frozen(kw_only=True)
class ChangeMade:
    """The group is changed: that is committed."""

    request: int
    "That of the ChangeReferral."
    index: Index
    "Where the new configuration stands, from 1."


@attrs.frozen(kw_only=True)
class LeadershipMoved:
    """I lead no more."""

    request: int
    "That of the TransferReferral."
    leader: NodeId
    "Who leads instead."


class ReferralOutcome(Enum):
    """What may be concluded where a referral was not done."""

    NOT_LEADER = "it was asked of a node that does not lead, and did not happen"
    REFUSED = "it can't be done, and did not happen"
    UNKNOWN = "it may have happened, or may yet"


@attrs.frozen(kw_only=True)
class ReferralFailed:
    """What was referred to me I can't say is done."""

    request: int
    "That of the referral."
    outcome: ReferralOutcome
    "What to conclude."
    why: str
    "In words for the caller: up to `WHY_MAX` printable characters."
    leader: NodeId | None
    "Who leads, as far as known."


@attrs.frozen(kw_only=True)
class Goodbye:
    """I close this connection, and the transport reports to you why. May be of any scope, like a Hello."""

    why: str
    "In words: up to `WHY_MAX` printable characters."


WHY_MAX = 4096
"Characters with which a ReferralFailed or a Goodbye says why."

Referral = ChangeReferral | TransferReferral
ReferralAnswer = ChangeMade | LeadershipMoved | ReferralFailed

DriverMessage = (
    Hello
    | Forward
    | ForwardAccepted
    | ForwardRefused
    | Membership
    | Presence
    | Goodbye
    | StateDigests
    | SnapshotWanted
    | SnapshotPart
    | Referral
    | ReferralAnswer
)


@attrs.frozen(kw_only=True)
class Frame:
    """One thing on a connection: whose world it belongs to, who sent it, and what it says."""

    scope: Scope
    "Checked before the body is decoded; a Hello or a Goodbye may be of any scope."
    sender: Identity
    "Who sent it."
    body: Message | DriverMessage
    "What."
