"""Changes of membership and settings (§4), and the configuration that they lead to.

Laws: pure, and judged by one configuration alone: who leads, what is committed and who has caught up is for
`core/reconfiguration.py`. What can't be done is ChangeRefused, in one line that says what to do instead.
Where the voters of two configurations differ by one at most, majorities of both share a server (§4.1), so
one entry leads from one to the other; anything else goes through a joint one (§4.3).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import assert_never

import attrs

from raftkit.encoding import U64_MAX, MalformedError, array, printable, unsigned
from raftkit.errors import DidNotHappen
from raftkit.membership import (
    ADDRESS_MAX,
    MEMBERS_MAX,
    Configuration,
    Member,
    Role,
    Settings,
    node_id,
    read_settings,
    settings_form,
)
from raftkit.model import Identity, Index, NodeId

__all__ = [
    "CHANGES_MAX",
    "AddLearner",
    "Change",
    "ChangeMembership",
    "ChangeRefused",
    "ChangeSettings",
    "Demote",
    "MembershipChanged",
    "MembershipUnknown",
    "Promote",
    "Readdress",
    "Remove",
    "change_form",
    "first_step",
    "next_configuration",
    "only_lowers_factor",
    "read_change",
    "second_step",
]


class ChangeRefused(DidNotHappen):
    """The group can't be changed so; the message says why, and what to do."""


# ── changes ──────────────────────────────────────────────────────────────────────────────────────────


@attrs.frozen(kw_only=True)
class AddLearner:
    """A new member without a vote; or a known one that has lost its disk, in its new incarnation."""

    id: NodeId
    "Its name. If a member has it, that one, of another incarnation, is removed by the same entry."
    incarnation: int = 0
    "u64 from 1, drawn when its data directory was made. 0: of the node that says hello by that name."
    address: str
    "Where peers reach it."
    promote: bool = False
    "Let it become a voter by itself as soon as it has caught up."

    @property
    def identity(self) -> Identity:
        """Name and incarnation."""
        return Identity(id=self.id, incarnation=self.incarnation)


@attrs.frozen(kw_only=True)
class Promote:
    """A learner that has caught up becomes a voter."""

    id: NodeId
    "Which."


@attrs.frozen(kw_only=True)
class Demote:
    """A voter becomes a learner; or a learner that would become a voter by itself stays one."""

    id: NodeId
    "Which."


@attrs.frozen(kw_only=True)
class Remove:
    """A member leaves, for good: its name may come back, in another incarnation only."""

    id: NodeId
    "Which."


@attrs.frozen(kw_only=True)
class Readdress:
    """A member is reached elsewhere."""

    id: NodeId
    "Which."
    address: str
    "Where."


@attrs.frozen(kw_only=True)
class ChangeSettings:
    """Other replicated settings; the epoch stays."""

    settings: Settings
    "All of them."


CHANGES_MAX = 2 * MEMBERS_MAX + 1
"Changes at once: every member leaves, as many come, and the settings are others."

Change = AddLearner | Promote | Demote | Remove | Readdress | ChangeSettings
"What may be asked of a group; several at once are one change, done together or not at all."


# ── asking a leader: a part of `raftkit.messages` ────────────────────────────────────────────────────


@attrs.frozen(kw_only=True)
class ChangeMembership:
    """Change members or settings (§4). Answered by MembershipChanged, MembershipUnknown or Refused."""

    ticket: int
    "Chosen by the driver, echoed in the answer."
    changes: tuple[Change, ...]
    "All of them, or none."
    based_on: Index | None = None
    "Only if the configuration in force stands at this index. None: whatever is in force."


@attrs.frozen(kw_only=True)
class MembershipChanged:
    """A ChangeMembership is done: the configuration it leads to is committed."""

    ticket: int
    "Of the ChangeMembership."
    index: Index
    "Where that configuration stands in the log; what a next change may be based on."


@attrs.frozen(kw_only=True)
class MembershipUnknown:
    """The leadership ended with a ChangeMembership in the log: it may happen, or be lost."""

    ticket: int
    "Of the ChangeMembership."


# ── what they lead to ────────────────────────────────────────────────────────────────────────────────


def next_configuration(current: Configuration, changes: Sequence[Change]) -> Configuration:
    """What `current` becomes by these changes, all of them. Raises ChangeRefused."""
    _check_once(changes)
    members = {member.id: member for member in current.members}
    settings = current.settings
    for change in changes:
        match change:
            case AddLearner():
                members[change.id] = _added(members.get(change.id), change)
            case Promote() | Demote() | Readdress():
                members[change.id] = _changed(_member(members, change.id), change)
            case Remove():
                del members[_member(members, change.id).id]
            case ChangeSettings():
                settings = change.settings
            case _:
                assert_never(change)
    target = attrs.evolve(current, members=tuple(members.values()), settings=settings)
    if not any(isinstance(it, ChangeSettings) for it in changes):
        target = _with_possible_factor(target)
    _check(current, target)
    return target


def first_step(current: Configuration, target: Configuration) -> Configuration:
    """The first entry on the way from `current`, which is not joint, to `target`: it, or a joint one (§4.3).

    Raises ChangeRefused where the way would lead through a joint configuration that can't be.
    """
    if len(set(current.voters) ^ set(target.voters)) <= 1:
        return target
    staying = {member.id: member for member in target.members}
    for member in map(current.member, current.voters):
        assert member is not None
        if (
            staying.setdefault(member.id, attrs.evolve(member, role=Role.LEAVING)).identity
            != member.identity
        ):
            # Its vote in the old half would be that of a server that has forgotten what it voted.
            raise ChangeRefused(
                f"{member.id} comes back without its disk: admit it in a change of its own"
            )
    if len(staying) > MEMBERS_MAX:
        raise ChangeRefused(
            f"the old voters and the new members are {len(staying)}, more than {MEMBERS_MAX}: "
            "change fewer at a time"
        )
    return attrs.evolve(target, members=tuple(staying.values()), outgoing=current.voters)


def second_step(joint: Configuration) -> Configuration:
    """What a joint configuration is for: the new half alone (§4.3)."""
    members = tuple(member for member in joint.members if member.role is not Role.LEAVING)
    return attrs.evolve(joint, members=members, outgoing=())


def only_lowers_factor(current: Configuration, changes: Sequence[Change]) -> bool:
    """Whether nothing is changed but `replication_factor`, downwards: no quorum of voters moves by it."""
    match changes:
        case [ChangeSettings(settings=settings)]:
            factor = settings.replication_factor
            same = attrs.evolve(current.settings, replication_factor=factor)
            return settings == same and factor < current.settings.replication_factor
        case _:
            return False


def _added(known: Member | None, change: AddLearner) -> Member:
    if known is not None and known.identity == change.identity:
        raise ChangeRefused(
            f"{change.identity} is a member already, as a {known.role.name.lower()}"
        )
    if not 1 <= change.incarnation <= U64_MAX:
        raise ChangeRefused(f"{change.id} needs the incarnation of its data directory, from 1")
    return Member(
        id=change.id,
        incarnation=change.incarnation,
        address=change.address,
        role=Role.JOINING if change.promote else Role.LEARNER,
    )


def _changed(member: Member, change: Promote | Demote | Readdress) -> Member:
    match change:
        case Readdress(address=address):
            return attrs.evolve(member, address=address)
        case Promote() if member.role.learns:
            return attrs.evolve(member, role=Role.VOTER)
        case Promote():
            raise ChangeRefused(
                f"{member.id} is a {member.role.name.lower()}: only learners are promoted"
            )
        case Demote():
            return attrs.evolve(member, role=Role.LEARNER)
        case _:
            assert_never(change)


def _with_possible_factor(target: Configuration) -> Configuration:
    """`target`, with no more copies asked for than there are voters to hold them."""
    voters = max(1, len(target.voters))
    factor = min(target.settings.replication_factor, voters)
    return attrs.evolve(target, settings=attrs.evolve(target.settings, replication_factor=factor))


# ── what can't be done ───────────────────────────────────────────────────────────────────────────────


def _member(members: dict[NodeId, Member], id: NodeId) -> Member:  # noqa: A002 - the field's name
    if id not in members:
        raise ChangeRefused(f"{id!r} is no member; there are: {', '.join(sorted(members))}")
    return members[id]


def _check_once(changes: Iterable[Change]) -> None:
    """Each member, and the settings, may be named once: the order of changes then means nothing."""
    named = [None if isinstance(it, ChangeSettings) else it.id for it in changes]
    for name in named:
        if named.count(name) > 1:
            raise ChangeRefused(
                f"{name or 'the settings'} changed twice at once: say only what shall be"
            )


def _check(current: Configuration, target: Configuration) -> None:
    if target == current:
        raise ChangeRefused("nothing would change: the group is so already")
    if not target.voters:
        raise ChangeRefused("no voter would be left, and so nobody to change that")
    if len(target.members) > MEMBERS_MAX:
        raise ChangeRefused(
            f"there would be {len(target.members)} members, more than {MEMBERS_MAX}"
        )
    if target.settings.epoch != current.settings.epoch:
        raise ChangeRefused("the epoch is changed by forced recovery only")
    if target.settings.replication_factor > len(target.voters):
        raise ChangeRefused(
            f"replication_factor {target.settings.replication_factor} needs as many voters, "
            f"and there would be {len(target.voters)}"
        )
    _check_addresses(current, target)
    try:
        Configuration.decode(target.encode())
    except MalformedError as error:
        raise ChangeRefused(f"not a configuration: {error}") from error


def _check_addresses(current: Configuration, target: Configuration) -> None:
    """Two members don't share an address, unless they did before, or it is not known."""
    before = {member.id: member.address for member in current.members}
    owners: dict[str, NodeId] = {}
    for member in sorted(target.members, key=lambda it: before.get(it.id) != it.address):
        owner = owners.setdefault(member.address, member.id)
        if member.address and owner != member.id and before.get(member.id) != member.address:
            raise ChangeRefused(
                f"{member.address} is the address of {owner}: {member.id} needs another"
            )


# ── as plain values ──────────────────────────────────────────────────────────────────────────────────


def change_form(change: Change) -> list[object]:
    """One change as an array that CBOR can hold; its first position says which one it is, for ever."""
    match change:
        case AddLearner(id=id, incarnation=incarnation, address=address, promote=promote):
            return [1, id, incarnation, address, promote]
        case Promote(id=id):
            return [2, id]
        case Demote(id=id):
            return [3, id]
        case Remove(id=id):
            return [4, id]
        case Readdress(id=id, address=address):
            return [5, id, address]
        case ChangeSettings(settings=settings):
            return [6, settings_form(settings)]
        case _:
            assert_never(change)


def read_change(form: object) -> Change:
    """The change of which `form` is the array. Raises `MalformedError`."""
    match array(form):
        case [1, name, incarnation, address, bool(promote)]:
            return AddLearner(
                id=node_id(name),
                incarnation=unsigned(incarnation),
                address=printable(address, length_max=ADDRESS_MAX),
                promote=promote,
            )
        case [2, name]:
            return Promote(id=node_id(name))
        case [3, name]:
            return Demote(id=node_id(name))
        case [4, name]:
            return Remove(id=node_id(name))
        case [5, name, address]:
            return Readdress(id=node_id(name), address=printable(address, length_max=ADDRESS_MAX))
        case [6, settings]:
            return ChangeSettings(settings=read_settings(settings))
        case unknown:
            raise MalformedError(f"not a change: {unknown!r:.80}")
