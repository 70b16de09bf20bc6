"""`raftkit members`, `admit`, `remove`, `promote`, `demote`, `readdress`: who is in a group, and its changes.

Law: any member on this machine may be asked. A change is said to be made when it is committed.
"""

from __future__ import annotations

import json as encoding
from pathlib import Path
from typing import Annotated, Any, cast

from cyclopts import Parameter

from raftkit import AddLearner, ConfigError, Demote, Promote, Readdress, Remove
from raftkit.changes import Change, change_form
from raftkit.cli.order import Json, give, say
from raftkit.cli.starting import CannotStart
from raftkit.transports.tcp.sockets import host_and_port

__all__ = ["admit", "demote", "members", "promote", "readdress", "remove"]


def members(directory: Path = Path(), /, *, json: Json = False) -> int:
    """Say who is in a group, and with which role, as one of its nodes sees it.

    Parameters
    ----------
    directory
        The data directory of any node that runs on this machine. Default: the current one.
    json
        One JSON object.
    """
    status = cast("dict[str, Any]", give(directory, "status"))
    listed: list[dict[str, Any]] = [
        {name: it[name] for name in ("id", "address", "role", "here")}
        | {"leads": it["id"] == status["leader"]}
        for it in status["members"]
    ]
    if json:
        facts = {"directory": str(directory), "index": status["configuration_index"]}
        print(encoding.dumps({**facts, "members": listed}))
        return 0
    for it in listed:
        words = [f"{it['id']}  {it['address']}  {it['role']}"]
        words += ["leads"] if it["leads"] else []
        words += [] if it["here"] else ["away"]
        print(", ".join(words))
    return 0


def admit(
    directory: Path,
    id: str,  # noqa: A002 - the word in the usage
    address: str,
    /,
    *,
    learner: Annotated[bool, Parameter(negative=())] = False,
    json: Json = False,
) -> int:
    """Take a node into the group: one that was started to join, or a member that lost its directory.

    It is awaited for half a minute if it does not run yet. It gets the log, or a snapshot, and becomes a
    voter by itself when it has caught up. Exits with 1 if it can't be done, and says why.

    Parameters
    ----------
    directory
        The data directory of any member that runs on this machine.
    id
        The newcomer's name.
    address
        HOST:PORT at which the others reach it.
    learner
        Let it stay without a vote.
    json
        The index of the change, as one JSON object.
    """
    wanted = AddLearner(id=id, address=address, promote=not learner)
    role = "a learner" if learner else "a learner, and a voter as soon as it has caught up"
    return _change(directory, wanted, f"{id} is {role}", json=json)


def remove(directory: Path, id: str, /, *, json: Json = False) -> int:  # noqa: A002
    """Take a member out of the group, for good. One that leads hands over first.

    Parameters
    ----------
    directory
        The data directory of any member that runs on this machine.
    id
        Which member.
    json
        The index of the change, as one JSON object.
    """
    return _change(directory, Remove(id=id), f"{id} is no member any more", json=json)


def promote(directory: Path, id: str, /, *, json: Json = False) -> int:  # noqa: A002
    """Give a learner a vote, if it has caught up.

    Parameters
    ----------
    directory
        The data directory of any member that runs on this machine.
    id
        Which learner.
    json
        The index of the change, as one JSON object.
    """
    return _change(directory, Promote(id=id), f"{id} is a voter", json=json)


def demote(directory: Path, id: str, /, *, json: Json = False) -> int:  # noqa: A002
    """Make a voter a learner: it still gets the log, without a vote.

    Parameters
    ----------
    directory
        The data directory of any member that runs on this machine.
    id
        Which voter.
    json
        The index of the change, as one JSON object.
    """
    return _change(directory, Demote(id=id), f"{id} is a learner", json=json)


def readdress(
    directory: Path,
    id: str,  # noqa: A002
    address: str,
    /,
    *,
    json: Json = False,
) -> int:
    """Tell the group that a member is reached at another address.

    The member itself is run with that address among the members of its node.toml, before or after this.

    Parameters
    ----------
    directory
        The data directory of any member that runs on this machine.
    id
        Which member.
    address
        HOST:PORT at which the others reach it from now on.
    json
        The index of the change, as one JSON object.
    """
    try:
        host_and_port(address)
    except ConfigError as error:
        raise CannotStart(str(error)) from error
    wanted = Readdress(id=id, address=address)
    return _change(directory, wanted, f"{id} is reached at {address}", json=json)


def _change(directory: Path, wanted: Change, words: str, *, json: bool) -> int:
    """Have one change made, and say so. Raises CannotStart where no node runs, and NotDone."""
    index = give(directory, "change-membership", encoding.dumps([change_form(wanted)]))
    return say(directory, "index", index, f"{words} (index {index})", json=json)
