"""How a scenario asks for another group, and says what a group is.

Law: members are written `a`, learners `d-learner`, in the order of their names; while joint, the old voters
follow: `c,d,a-leaving/a,b`.
"""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from raftkit.changes import (
    AddLearner,
    Change,
    ChangeMembership,
    ChangeSettings,
    Demote,
    Promote,
    Readdress,
    Remove,
)
from raftkit.membership import Configuration, Role
from raftkit.model import Index, NodeId
from raftkit.testing.scenario.group import Group
from raftkit.testing.scenario.play import NotUnderstoodError, number
from raftkit.testing.scenario.server import Server

__all__ = ["asked", "group_words"]


def asked(group: Group, server: Server, ticket: int, words: Sequence[str]) -> ChangeMembership:
    """What `words` ask `server` for: `join=d remove=a based=4`. Raises NotUnderstoodError."""
    changes: list[Change] = []
    based_on: Index | None = None
    for word in words:
        key, _, value = word.partition("=")
        if key == "based":
            based_on = Index(number(value))
        elif key == "factor":
            settings = attrs.evolve(
                server.running.configuration.settings, replication_factor=number(value)
            )
            changes.append(ChangeSettings(settings=settings))
        else:
            changes += [_change(group, key, name) for name in value.split(",")]
    return ChangeMembership(ticket=ticket, changes=tuple(changes), based_on=based_on)


def _change(group: Group, key: str, name: NodeId) -> Change:
    match key:
        case "learn" | "join":
            incarnation = group.incarnation_of(name)
            return AddLearner(id=name, incarnation=incarnation, address="", promote=key == "join")
        case "promote":
            return Promote(id=name)
        case "demote":
            return Demote(id=name)
        case "remove":
            return Remove(id=name)
        case "move":
            return Readdress(id=name, address=f"{name}:2")
        case _:
            raise NotUnderstoodError(f"{key!r} is no change")


def group_words(configuration: Configuration) -> str:
    """A whole group."""
    members = (
        it.id if it.role is Role.VOTER else f"{it.id}-{it.role.name.lower()}"
        for it in configuration.members
    )
    old = f"/{','.join(configuration.outgoing)}" if configuration.outgoing else ""
    return ",".join(members) + old
