"""What can be known of a node from its data directory: what it says itself, or what it left there.

Laws: nothing is changed and no lock is taken. Whether a node runs is known by its socket: whoever listens
there holds the directory. What was left is the identity file, and what the node was to be run with.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import attrs
import cattrs
import trio

from raftkit import ConfigError, RaftError, RemoteProtocolError, Statistics
from raftkit.cli.node_file import NODE_FILE, NodeFile, read_node_file
from raftkit.driver import ask_node
from raftkit.errors import LogCorrupt
from raftkit.membership import Configuration
from raftkit.storage import IdentityRecord, OsDisk
from raftkit.storage.identity import IdentityFile

__all__ = ["Down", "NoNode", "Seen", "Up", "look", "look_all"]

_converter = cattrs.Converter(detailed_validation=False)


@attrs.frozen(kw_only=True)
class Up:
    """A node that answers."""

    directory: str
    "As it was given."
    statistics: Statistics
    "What it says of itself."


@attrs.frozen(kw_only=True)
class Down:
    """A data directory whose node gives no answer."""

    directory: str
    "As it was given."
    why: str
    "Not running, mostly; otherwise what is wrong."
    id: str | None
    "The node's name, like all that follows by what lies there. None: that can't be read."
    incarnation: int | None
    "u64. None: the directory was never opened."
    cluster: str | None
    "32 hexadecimal digits. None: the node belongs to no group yet."
    members: Mapping[str, str]
    "The founders' addresses by name."


@attrs.frozen(kw_only=True)
class NoNode:
    """What is no data directory."""

    directory: str
    "As it was given."
    why: str
    "In one line."


Seen = Up | Down | NoNode


async def look_all(directories: Sequence[Path]) -> list[Seen]:
    """What is seen at each, all looked at together."""
    seen: dict[int, Seen] = {}

    async def look_at(place: int) -> None:
        seen[place] = await look(directories[place])

    async with trio.open_nursery() as nursery:
        for place in range(len(directories)):
            nursery.start_soon(look_at, place)
    return [seen[place] for place in range(len(directories))]


async def look(directory: Path) -> Seen:
    """What is seen at one data directory."""
    try:
        answer = await ask_node(directory, "status")
        said = _converter.structure(answer, Statistics)
    except (FileNotFoundError, NotADirectoryError, ConnectionRefusedError):
        return _left(directory, "not running")
    except (TimeoutError, RemoteProtocolError) as error:
        return _left(directory, f"does not answer: {error}")
    except OSError as error:
        return _left(directory, f"can't be asked: {error.strerror or error}")
    except (KeyError, TypeError, ValueError, AttributeError):
        return _left(
            directory, "answers as another version of raftkit would: use that one's command"
        )
    return Up(directory=str(directory), statistics=said)


def _left(directory: Path, why: str) -> Down | NoNode:
    """What a node that gives no answer left in its directory."""
    try:
        record, file = _record(directory), _file(directory)
    except LogCorrupt as error:
        return Down(
            directory=str(directory),
            why=f"{why}; {error}",
            id=None,
            incarnation=None,
            cluster=None,
            members={},
        )
    except (RaftError, OSError) as error:
        words = error.strerror if isinstance(error, OSError) else None
        return NoNode(directory=str(directory), why=f"{directory}: {words or error}")
    if record is None and file is None:
        return NoNode(
            directory=str(directory),
            why=f"{directory} is no data directory: it has neither an identity file nor {NODE_FILE}",
        )
    identity = record.identity if record is not None else None
    founding = record.founding if record is not None else None
    name = identity.id if identity is not None else file.id if file is not None else None
    return Down(
        directory=str(directory),
        why=why,
        id=name,
        incarnation=identity.incarnation if identity is not None else None,
        cluster=founding.scope.cluster.hex() if founding is not None else None,
        members=_founders(record, file),
    )


def _record(directory: Path) -> IdentityRecord | None:
    """What the identity file says; None if there is none. Raises LogCorrupt, StorageError, OSError."""
    disk = OsDisk(directory, read_only=True)
    try:
        identity = IdentityFile.read(disk)
    finally:
        disk.close()
    return identity.record if identity is not None else None


def _file(directory: Path) -> NodeFile | None:
    """What the node was to be run with; None if nothing says that."""
    try:
        return read_node_file(directory)
    except (FileNotFoundError, ConfigError):
        return None


def _founders(record: IdentityRecord | None, file: NodeFile | None) -> dict[str, str]:
    if record is not None and record.founding is not None:
        configuration = Configuration.decode(record.founding.entry.payloads[0])
        return {it.id: it.address for it in configuration.members}
    return file.members if file is not None else {}
