"""`raftkit transfer-leadership`, asked of any node of this machine, and `raftkit step-down` of the leader."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from raftkit.cli.order import Json, give, say

__all__ = ["step_down", "transfer_leadership"]


def transfer_leadership(
    directory: Path = Path(), /, *, to: str | None = None, json: Json = False
) -> int:
    """Have another node lead, without a failed command: before planned work on the one that leads.

    Exits with 1 if it can't be done, and says why: what is wrong with the target, say. Whoever leads then
    goes on leading.

    Parameters
    ----------
    directory
        The data directory of any member that runs on this machine. Default: the current one.
    to
        The member that shall lead. Default: whoever is ready first.
    json
        Who leads then, as one JSON object.
    """
    leader = give(directory, "transfer-leadership", to)
    return say(directory, "leader", leader, f"{leader} leads", json=json)


def step_down(
    directory: Path = Path(),
    /,
    *,
    transfer: Annotated[bool, Parameter(negative="--no-transfer")] = True,
    json: Json = False,
) -> int:
    """Have the node that leads make room, in any case; it goes on as a follower.

    It hands over, and leads no more after an election timeout even if nobody took over. Exits with 1 if it
    does not lead, or if nobody is there to hand over to.

    Parameters
    ----------
    directory
        The data directory of the node that leads. Default: the current one.
    transfer
        Hand over first; with --no-transfer it stops at once, and the others elect after a silence.
    json
        Who leads then, as one JSON object.
    """
    leader = give(directory, "step-down", None if transfer else "without transfer")
    return say(directory, "leader", leader, f"{leader} leads", json=json)
