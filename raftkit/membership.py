"""The configuration entry: who is in the group, and the settings that agreement depends on (§4).

Laws: a server uses the newest configuration in its log, committed or not (§4.1). Members are kept
in the order of their ids; whoever has a vote, in either half, is a member. Nothing here decides;
`core/quorum.py` counts, `changes.py` says what leads from one configuration to another.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum
from functools import cached_property

import attrs

from raftkit import encoding
from raftkit.encoding import MalformedError, array, printable, unsigned
from raftkit.model import Identity, NodeId

__all__ = [
    "ADDRESS_MAX",
    "MEMBERS_MAX",
    "Configuration",
    "Epoch",
    "Member",
    "Role",
    "Settings",
    "node_id",
    "read_settings",
    "settings_form",
]

_FORMAT = 1
_NAME_MAX = 64
MEMBERS_MAX = 64
"More members than this are refused."
ADDRESS_MAX = 255
"An address of more characters is refused."


class Role(IntEnum):
    """What a member may do. The numbers are in the formats."""

    VOTER = 0
    "Votes, is counted, may lead."
    LEARNER = 1
    "Receives the log; has no vote and is never counted (§4.2.1)."
    WITNESS = 2
    "Reserved: votes on entry headers, without payloads."
    JOINING = 3
    "A learner that becomes a voter by itself once it has caught up, whoever leads then (§4.2.1)."
    LEAVING = 4
    "A voter of the old half only (§4.3): fed and counted there while joint, and then no member."

    @property
    def learns(self) -> bool:
        """Whether it receives the log without a vote of its own."""
        return self in _LEARNING


_LEARNING = (Role.LEARNER, Role.JOINING)
_VOTING = (Role.VOTER, Role.WITNESS)


@attrs.frozen(kw_only=True, order=True)
class Epoch:
    """Which life of the cluster this is. Equal or refused; forced recovery writes a new one."""

    number: int = 1
    "u64, from 1."
    nonce: int = 0
    "u64, random."


@attrs.frozen(kw_only=True)
class Settings:
    """The replicated settings. Defaults are those of a small group on a local network."""

    election_timeout_ms: tuple[int, int] = (250, 500)
    "Bounds of the election timeout: servers draw anew between them (§3.4). In force when appended."
    leases: bool = False
    "Whether leaders may answer reads by lease (§6.4.1). In force when appended."
    replication_factor: int = 1
    "Commit needs this many full voters where it is more than a majority. In force when appended."
    entry_bytes_max: int = 512 * 1024
    "Largest payload of an entry, header included. In force when appended."
    snapshot_entries: int = 100_000
    "Entries between snapshots; 0 is no limit. In force when applied."
    snapshot_bytes: int = 64 * 1024 * 1024
    "Log bytes between snapshots; 0 is no limit. In force when applied."
    snapshot_elapsed_ms: int = 0
    "Replicated time between snapshots; 0 is no limit. In force when applied."
    sessions_max: int = 4096
    "Sessions kept; beyond it the longest idle one is evicted. In force when applied."
    session_idle_ms: int = 3_600_000
    "A session idle for this long by `elapsed_ns` may be evicted. In force when applied."
    session_reply_bytes_max: int = 1024 * 1024
    "Stored replies of one session, in bytes. In force when applied."
    epoch: Epoch = Epoch()
    "See `Epoch`."
    version: int = 1
    "Version of the state machine that a new group begins with; entries raise it. In force when applied."


@attrs.frozen(kw_only=True)
class Member:
    """One member of the group."""

    id: NodeId
    "Its name."
    incarnation: int
    "u64; with the name it is the identity that is counted. 0: not known yet (before founding)."
    address: str
    "Where peers reach it, as its transport understands it."
    role: Role = Role.VOTER
    "See `Role`."

    @property
    def identity(self) -> Identity:
        """Name and incarnation."""
        return Identity(id=self.id, incarnation=self.incarnation)


def _by_id(members: Iterable[Member]) -> tuple[Member, ...]:
    return tuple(sorted(members, key=lambda member: member.id))


@attrs.frozen(kw_only=True)
class Configuration:
    """Members and settings, as one log entry holds them."""

    members: tuple[Member, ...] = attrs.field(converter=_by_id)
    "In the order of their ids; each id once."
    outgoing: tuple[NodeId, ...] = ()
    "While joint (§4.3): the voters of the old configuration, sorted. Empty otherwise."
    settings: Settings = Settings()
    "See `Settings`."

    @cached_property
    def voters(self) -> tuple[NodeId, ...]:
        """Ids of the voters of this (while joint: of the new) configuration, sorted."""
        return tuple(m.id for m in self.members if m.role in _VOTING)

    @cached_property
    def learners(self) -> tuple[NodeId, ...]:
        """Ids of those who learn, sorted, whether they are to become voters or not."""
        return tuple(m.id for m in self.members if m.role.learns)

    @cached_property
    def halves(self) -> tuple[tuple[NodeId, ...], ...]:
        """The sets of voters of which each must agree: one, or two while joint."""
        return (self.voters, self.outgoing) if self.outgoing else (self.voters,)

    def member(self, id: NodeId) -> Member | None:  # noqa: A002 - the field's name
        """The member named `id`, if there is one."""
        return next((m for m in self.members if m.id == id), None)

    def knows(self, identity: Identity) -> bool:
        """Whether `identity`, incarnation included, is a member."""
        member = self.member(identity.id)
        return member is not None and member.incarnation == identity.incarnation

    def votes(self, id: NodeId) -> bool:  # noqa: A002
        """Whether `id` is a voter of either half."""
        return id in self.voters or id in self.outgoing

    def encode(self) -> bytes:
        """Its bytes in logs, snapshots and messages (`docs/wire-format.md`)."""
        return encoding.dumps(
            [
                _FORMAT,
                [[m.id, m.incarnation, m.address, int(m.role)] for m in self.members],
                list(self.outgoing),
                settings_form(self.settings),
            ]
        )

    @classmethod
    def decode(cls, data: bytes) -> Configuration:
        """The configuration that `encode` wrote. Raises `MalformedError` for anything else."""
        version, members, outgoing, settings = array(encoding.loads(data), 4)
        if unsigned(version) != _FORMAT:
            raise MalformedError(f"configuration of format {version}, this is {_FORMAT}")
        found = cls(
            members=tuple(_member(it) for it in array(members)),
            outgoing=tuple(node_id(it) for it in array(outgoing)),
            settings=read_settings(settings),
        )
        _check_group(found)
        # The one form of it: members and outgoing voters in order, each once.
        if found.encode() != data:
            raise MalformedError(f"not in the form of `encode`: {found!r:.80}")
        return found


def node_id(value: object) -> NodeId:
    """The name of a node that `value` is: 1 to 64 printable characters. Raises `MalformedError`."""
    if value == "":
        raise MalformedError("a node without a name")
    return printable(value, length_max=_NAME_MAX)


def _check_group(found: Configuration) -> None:
    ids = [m.id for m in found.members]
    if not 1 <= len(ids) <= MEMBERS_MAX or len(set(ids)) != len(ids) or not found.voters:
        raise MalformedError(f"not a group: {ids!r:.80}")
    old = found.outgoing
    if len(old) > MEMBERS_MAX or list(old) != sorted(set(old)):
        raise MalformedError(f"not the voters of a configuration: {old!r:.80}")
    leaving = {m.id for m in found.members if m.role is Role.LEAVING}
    if not leaving <= set(old) <= set(ids):
        raise MalformedError(
            f"voters that are no members, or members that neither stay nor leave: {old!r:.80}"
        )


def _member(value: object) -> Member:
    id, incarnation, address, role = array(value, 4)  # noqa: A001 - the field's name
    return Member(
        id=node_id(id),
        incarnation=unsigned(incarnation),
        address=printable(address, length_max=ADDRESS_MAX),
        role=Role(unsigned(role, highest=max(Role))),
    )


def settings_form(s: Settings) -> list[object]:
    """The settings as an array, the last part of a configuration's bytes."""
    return [
        list(s.election_timeout_ms),
        s.leases,
        s.replication_factor,
        s.entry_bytes_max,
        s.snapshot_entries,
        s.snapshot_bytes,
        s.snapshot_elapsed_ms,
        s.sessions_max,
        s.session_idle_ms,
        s.session_reply_bytes_max,
        [s.epoch.number, s.epoch.nonce],
        s.version,
    ]


def read_settings(value: object) -> Settings:
    """The settings of which `value` is the array. Raises `MalformedError`."""
    (
        timeout,
        leases,
        factor,
        entry,
        entries,
        size,
        elapsed,
        sessions,
        idle,
        replies,
        epoch,
        version,
    ) = array(value, 12)
    low, high = array(timeout, 2)
    number, nonce = array(epoch, 2)
    if not 0 < unsigned(low) < unsigned(high):
        raise MalformedError(f"not bounds of an election timeout: {timeout!r:.80}")
    if type(leases) is not bool:
        raise MalformedError(f"leases are on or off, not {leases!r:.80}")
    return Settings(
        election_timeout_ms=(unsigned(low), unsigned(high)),
        leases=leases,
        replication_factor=unsigned(factor, lowest=1),
        entry_bytes_max=unsigned(entry),
        snapshot_entries=unsigned(entries),
        snapshot_bytes=unsigned(size),
        snapshot_elapsed_ms=unsigned(elapsed),
        sessions_max=unsigned(sessions),
        session_idle_ms=unsigned(idle),
        session_reply_bytes_max=unsigned(replies),
        epoch=Epoch(number=unsigned(number, lowest=1), nonce=unsigned(nonce)),
        version=unsigned(version, lowest=1),
    )
