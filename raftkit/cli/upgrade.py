"""`raftkit upgrade`: a newer version of the machine comes in force now, asked of any node of this machine.

Law: the node decides whether it may, by what all voters' code has; nothing here can force it.
"""

from __future__ import annotations

import json
from pathlib import Path

import attrs

from raftkit.cli.order import give

__all__ = ["Options", "run"]


@attrs.frozen(kw_only=True)
class Options:
    """What the command line asked for."""

    directory: Path
    "Of a node that runs."
    json: bool
    "Whether stdout is for a machine."


def run(options: Options) -> int:
    """Have it done, and say which version is in force. Raises CannotStart where no node runs, and NotDone."""
    version = give(options.directory, "upgrade")
    if options.json:
        print(json.dumps({"directory": str(options.directory), "version": version}))
    else:
        print(f"version {version} of the machine is in force")
    return 0
