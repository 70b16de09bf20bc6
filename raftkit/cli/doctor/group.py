"""Quorum and membership, as the node of the directory says itself.

Law: nobody else is asked, and what the node does not know is not made up.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from raftkit import Statistics
from raftkit.cli.doctor.findings import Finding, Mark
from raftkit.cli.status_look import Seen, Up

__all__ = ["judge_group", "judge_voters"]

_HINDERED: Final = frozenset({"closed", "barred", "stopped applying", "divergent", "removed"})
"Words of `Statistics.status` that say that the node does not do its part."


def judge_group(seen: Seen, directory: Path) -> list[Finding]:
    """What the node of `directory` says, or that it says nothing."""
    if isinstance(seen, Up):
        return [_quorum(seen.statistics), *_membership(seen.statistics)]
    return [
        Finding(
            check="quorum.leader",
            mark=Mark.UNKNOWN,
            words=f"the node of {directory} does not say how its group is: {seen.why}",
            advice=f"raftkit run {shlex.quote(str(directory))}",
        )
    ]


def judge_voters(voters: int) -> Finding:
    """How many failures a group of so many voters survives, and whether one fewer would do the same.

    A majority of n is n // 2 + 1. With an even number there is no split brain either: half is no majority.
    """
    needed = voters // 2 + 1
    spare = voters - needed
    words = f"{voters} voters: {needed} decide, {spare} may fail"
    facts = {"voters": voters, "needed": needed, "may_fail": spare}
    if voters % 2:
        return Finding(check="quorum.voters", mark=Mark.OK, words=words, facts=facts)
    return Finding(
        check="quorum.voters",
        mark=Mark.WARNING,
        words=f"{words}, no more than of {voters - 1}",
        advice="have an odd number: admit one more, or demote one to a learner",
        facts=facts,
    )


def _quorum(now: Statistics) -> Finding:
    votes = now.votes
    words = f"{votes.here} of {votes.expected} votes are here, {votes.needed} are needed"
    facts = {"leader": now.leader, "term": now.term, "here": votes.here, "needed": votes.needed}
    if votes.quorate and now.leader is not None:
        words += f"; {now.leader} leads in term {now.term}"
        return Finding(check="quorum.leader", mark=Mark.OK, words=words, facts=facts)
    advice = "start the members that are not here, or mend their network: see below"
    if votes.quorate:
        words += "; nobody leads"
        advice = (
            "an election takes a second; if none succeeds, see the round trips and the disk below"
        )
    return Finding(
        check="quorum.leader",
        mark=Mark.WRONG,
        words=f"{words}: {now.explanation}",
        advice=advice,
        facts=facts,
    )


def _membership(now: Statistics) -> Iterator[Finding]:
    mark = Mark.WRONG if now.status in _HINDERED else Mark.OK
    words = f"{now.id} is {now.status}" + (f": {now.explanation}" if mark is Mark.WRONG else "")
    advice = f"see raftkit status: {now.explanation}" if mark is Mark.WRONG else ""
    yield Finding(check="membership.own", mark=mark, words=words, advice=advice)
    for it in now.members:
        if it.id == now.id:
            continue
        facts = {"address": it.address, "role": it.role}
        if it.here:
            words = f"{it.id}, {it.role} at {it.address}, is here"
            yield Finding(
                check="membership.member", mark=Mark.OK, words=words, peer=it.id, facts=facts
            )
            continue
        yield Finding(
            check="membership.member",
            mark=Mark.WRONG,
            words=f"{it.id}, {it.role} at {it.address}, is not here: {it.why}",
            advice=f"look at {it.id} on its host: raftkit status, raftkit doctor",
            peer=it.id,
            facts=facts,
        )
