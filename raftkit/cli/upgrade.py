"""`raftkit upgrade`: a newer version of the machine comes in force now, asked of any node of this machine.

Law: the node decides whether it may, by what all voters' code has; nothing here can force it.
"""

from __future__ import annotations

from pathlib import Path

from raftkit.cli.order import Json, give, say

__all__ = ["upgrade"]


def upgrade(directory: Path = Path(), /, *, json: Json = False) -> int:
    """Bring the newest version of the state machine in force that the code of all voters has.

    A leader does so by itself once they have had it for upgrade_hold seconds. There is no way back: from
    then on, a node of older code stops applying. Exits with 1 if it can't be done, and says who holds it
    back.

    Parameters
    ----------
    directory
        The data directory of any node of the group that runs on this machine. Default: the current one.
    json
        The version in force then, as one JSON object.
    """
    version = give(directory, "upgrade")
    words = f"version {version} of the machine is in force"
    return say(directory, "version", version, words, json=json)
