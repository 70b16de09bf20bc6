"""What some servers of a full-stack world are, seen together; and waiting until they are so.

Law: it is seen from outside, as who runs them could.
"""

from __future__ import annotations

from collections.abc import Callable

import trio

from raftkit.core import Raft
from raftkit.membership import Role
from raftkit.model import Index
from raftkit.testing.full.server import FullServer
from raftkit.testing.world.shadows import fail

__all__ = [
    "are_all",
    "are_equally_far",
    "have_a_leader",
    "in_words",
    "leader_of",
    "members_of",
    "owe_nothing",
    "states_of",
    "stay_members",
    "wait_until",
]


async def wait_until(
    seconds: float,
    name: str,
    servers: list[FullServer],
    holds: Callable[[list[FullServer]], bool],
) -> None:
    """Wait until `holds` of `servers`; `name` is violated after so many seconds."""
    with trio.move_on_after(seconds):
        while not holds(servers):  # noqa: ASYNC110 - a simulated clock
            await trio.sleep(0.05)
        return
    fail(name, f"not in {seconds} s: {in_words(servers)}")


def states_of(servers: list[FullServer]) -> set[tuple[Index, bytes]]:
    """How far each is, and its state there."""
    replicas = [it.server.replica for it in servers if it.server is not None]
    return {(replica.applied, replica.digest()) for replica in replicas}


def leader_of(servers: list[FullServer]) -> Raft | None:
    """The core of the one that leads; None if there is none, or several."""
    leading = [it.raft for it in servers if it.node is not None and it.node.status == "leader"]
    return leading[0] if len(leading) == 1 else None


def members_of(servers: list[FullServer]) -> list[FullServer]:
    """Those that are members, as their leader has it."""
    leader = leader_of(servers)
    if leader is None:
        return []
    known = {it.identity for it in leader.configuration.members}
    return [it for it in servers if it.identity in known]


def have_a_leader(servers: list[FullServer]) -> bool:
    """Whether one of them leads, and all members among them follow it."""
    leader, members = leader_of(servers), members_of(servers)
    return leader is not None and all(
        it.node is not None and it.node.leader == leader.leader for it in members
    )


def stay_members(servers: list[FullServer]) -> bool:
    """Whether nothing of the group is about to change, by itself or by what was asked."""
    leader = leader_of(servers)
    if leader is None or leader.configuration_index > leader.commit_index:
        return False
    here = {it.identity for it in servers}
    joining = {it.identity for it in leader.configuration.members if it.role is Role.JOINING}
    return not leader.configuration.outgoing and not joining & here


def are_all(members: list[FullServer]) -> bool:
    """Whether these are all members that there are."""
    leader = leader_of(members)
    return leader is not None and len(leader.configuration.members) == len(members)


def are_equally_far(servers: list[FullServer]) -> bool:
    """Whether all have the same log, and have applied all of it."""
    numbers = [it.node.statistics() for it in servers if it.node is not None]
    return len({(it.last_index, it.commit_index, it.applied_index) for it in numbers}) == 1 and all(
        it.applied_index == it.last_index for it in numbers
    )


def owe_nothing(servers: list[FullServer]) -> bool:
    """Whether no call is open at any of them."""
    numbers = [it.node.statistics() for it in servers if it.node is not None]
    return all(it.open_calls == it.open_reads == it.pending_bytes == 0 for it in numbers)


def in_words(servers: list[FullServer]) -> str:
    """What each says of itself."""
    return "; ".join(f"{it.id}: {it.node.explain() if it.node else 'down'}" for it in servers)
