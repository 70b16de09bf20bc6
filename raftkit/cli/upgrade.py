"""`raftkit upgrade`: a newer version of the machine comes in force now, asked of any node of this machine.

Law: the node decides whether it may, by what all voters' code has; nothing here can force it.
"""

from __future__ import annotations

import json
from pathlib import Path

import attrs
import trio

from raftkit.cli.starting import CannotStart
from raftkit.driver import ask_node
from raftkit.driver.local_socket import ORDER_SECONDS
from raftkit.errors import RemoteProtocolError

__all__ = ["NotDone", "Options", "run"]


class NotDone(Exception):
    """The node did not do it, or may not have. Says why."""


@attrs.frozen(kw_only=True)
class Options:
    """What the command line asked for."""

    directory: Path
    "Of a node that runs."
    json: bool
    "Whether stdout is for a machine."


def run(options: Options) -> int:
    """Have it done, and say which version is in force. Raises CannotStart where no node runs, and NotDone."""
    directory = options.directory
    try:
        version = trio.run(_ask, directory)
    except (FileNotFoundError, NotADirectoryError, ConnectionRefusedError) as error:
        raise CannotStart(
            f"{directory}: no node runs there: give the data directory of one"
        ) from error
    except (TimeoutError, RemoteProtocolError) as error:
        raise NotDone(str(error)) from error
    except OSError as error:
        raise CannotStart(f"{directory}: {error.strerror or error}") from error
    if options.json:
        print(json.dumps({"directory": str(directory), "version": version}))
    else:
        print(f"version {version} of the machine is in force")
    return 0


async def _ask(directory: Path) -> object:
    return await ask_node(directory, "upgrade", within=ORDER_SECONDS + 1.0)
