"""How a member is, and whom it does not hear ⇄ bytes (`docs/wire-format.md`).

Rare beside all that a group lives by, so it is plain positional CBOR.
"""

from __future__ import annotations

import attrs

from raftkit import encoding
from raftkit.config import PRIORITY_MIN
from raftkit.driver_messages import Presence
from raftkit.encoding import MalformedError, array, unsigned
from raftkit.membership import MEMBERS_MAX, node_id
from raftkit.model import Index, NodeId
from raftkit.wire.limits import Limits, control_part
from raftkit.wire.packed import checked_place, checked_term

__all__ = ["decode_presence", "decode_ranked_presence", "encode_presence"]

_POSITIONS = 9
"Without the priority."


def encode_presence(it: Presence) -> bytes:
    """`[term, leader or null, last index, last term, first index, commit index, applied index,
    configuration index, [missing, …]]`, and then by how much the priority is below 0, if it is.
    """
    positions: list[object] = [
        it.term,
        it.leader,
        it.last_index,
        it.last_term,
        it.first_index,
        it.commit_index,
        it.applied_index,
        it.configuration_index,
        list(it.missing),
    ]
    return encoding.dumps([*positions, -it.priority] if it.priority else positions)


def decode_presence(data: bytes | memoryview, limits: Limits, newer: bool) -> Presence:
    """The presence in `data`. `newer`: further positions are ignored.

    Raises `MalformedError`, also for what no log can be like.
    """
    positions = array(encoding.loads(control_part(data, limits)))
    return _presence(array(positions[:_POSITIONS] if newer else positions, _POSITIONS))


def decode_ranked_presence(data: bytes | memoryview, limits: Limits, newer: bool) -> Presence:
    """The presence in `data`, of a node with a priority below 0. As `decode_presence`."""
    positions = array(encoding.loads(control_part(data, limits)))
    count = _POSITIONS + 1
    *others, steps = array(positions[:count] if newer else positions, count)
    priority = -unsigned(steps, lowest=1, highest=-PRIORITY_MIN)
    return attrs.evolve(_presence(others), priority=priority)


def _presence(positions: list[object]) -> Presence:
    number, leader, index, last_term, first, commit, applied, configuration, missing = positions
    term = checked_term(unsigned(number))
    last_index, newest = checked_place(unsigned(index), unsigned(last_term), term_max=term)
    commit_index = unsigned(commit, highest=last_index)
    return Presence(
        term=term,
        leader=None if leader is None else node_id(leader),
        last_index=last_index,
        last_term=newest,
        first_index=Index(unsigned(first, lowest=1, highest=last_index + 1)),
        commit_index=Index(commit_index),
        applied_index=Index(unsigned(applied, highest=commit_index)),
        configuration_index=Index(unsigned(configuration, highest=last_index)),
        missing=_missing(missing),
    )


def _missing(value: object) -> tuple[NodeId, ...]:
    found = tuple(node_id(it) for it in array(value))
    if len(found) > MEMBERS_MAX or list(found) != sorted(set(found)):
        raise MalformedError(f"not a list of members: {found!r:.80}")
    return found
