"""What a node of this machine is told to do, over the socket in its data directory.

Law: the node decides whether it may and can; nothing here can force it.
"""

from __future__ import annotations

import json as encoding
from pathlib import Path
from typing import Annotated

import trio
from cyclopts import Parameter

from raftkit.cli.starting import CannotStart
from raftkit.driver import ask_node
from raftkit.driver.local_socket import ORDER_SECONDS
from raftkit.errors import RemoteProtocolError

__all__ = ["Json", "NotDone", "give", "say"]

Json = Annotated[bool, Parameter(negative=())]
"The option --json."


class NotDone(Exception):
    """The node did not do it, or may not have. Says why."""


def give(directory: Path, order: str, argument: str | None = None) -> object:
    """Have it done; what the node answers. Raises CannotStart where no node runs, and NotDone."""
    try:
        return trio.run(_ask, directory, order, argument)
    except (FileNotFoundError, NotADirectoryError, ConnectionRefusedError) as error:
        raise CannotStart(
            f"{directory}: no node runs there: give the data directory of one"
        ) from error
    except (TimeoutError, RemoteProtocolError) as error:
        raise NotDone(str(error)) from error
    except OSError as error:
        raise CannotStart(f"{directory}: {error.strerror or error}") from error


def say(directory: Path, fact: str, answer: object, words: str, *, json: bool) -> int:
    """Say what came of it, as `words` or as the fact of that name. The exit code."""
    print(encoding.dumps({"directory": str(directory), fact: answer}) if json else words)
    return 0


async def _ask(directory: Path, order: str, argument: str | None) -> object:
    return await ask_node(directory, order, argument, within=ORDER_SECONDS + 1.0)
