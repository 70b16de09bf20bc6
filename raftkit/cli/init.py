"""`raftkit init`: a new data directory, and in it what its node is run with.

Laws: everything is checked before anything is made. A directory that holds anything is refused, so nothing
is founded twice. A list of one is founded here, durably, before that is said; a longer one founds when all
its nodes run. A node that is to join founds nothing.
"""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
import trio

from raftkit import ConfigError, MemoryNetwork, RaftError, open_node
from raftkit.cli.config_yaml import read_config
from raftkit.cli.factory import CannotLoad, Factory, load_factory
from raftkit.cli.node_file import NODE_FILE, NodeFile, check_addresses, write_node_file
from raftkit.cli.starting import CannotStart

__all__ = ["Options", "run"]

FOUND_SECONDS = 30.0
"Until founding is given up, beyond its election: it takes two writes."


@attrs.frozen(kw_only=True)
class Options:
    """What the command line asked for."""

    directory: Path
    "To be made, or empty."
    members: str
    "NAME=HOST:PORT, separated by commas."
    machine: str | None
    "See `factory.py`; None: `raftkit run` is told."
    settings: Mapping[str, Any]
    "Of `open_node` by name, but for `members`. None: its default."
    config: Path | None
    "QLUSTER's config.yaml, see `config_yaml.py`. None: the settings here are all."
    multicast: Mapping[str, Any]
    "Of `MulticastTransport` by name. None: its default; all are None: over TCP."
    json: bool
    "Whether stdout is for a machine."


def run(options: Options) -> int:
    """Make the directory, and say what is to be typed next. Raises CannotStart."""
    try:
        file, notes = _file(options)
        factory = load_factory(file.machine) if file.machine else None
    except (ConfigError, CannotLoad) as error:
        raise CannotStart(str(error)) from error
    for note in notes:
        print(f"{options.config}: {note}", file=sys.stderr)
    alone = len(file.members) == 1 and not file.joins
    if alone and factory is None:
        raise CannotStart(
            "a list of one founds its group now, for which its machine is needed: give --machine"
        )
    try:
        _make(options.directory)
        if factory is not None and alone:
            trio.run(_found, options.directory, file, factory)
        write_node_file(options.directory, file)
    except OSError as error:
        raise CannotStart(f"{options.directory}: {error.strerror or error}") from error
    except trio.TooSlowError as error:
        raise CannotStart(f"{options.directory}: it was not founded in time") from error
    except RaftError as error:
        raise CannotStart(f"{options.directory}: {error}") from error
    _tell(options, file)
    return 0


def _file(options: Options) -> tuple[NodeFile, tuple[str, ...]]:
    """What the options say together, and what is to be said of them. Raises ConfigError, CannotStart."""
    given = {name: value for name, value in options.settings.items() if value is not None}
    over = {name: value for name, value in options.multicast.items() if value is not None}
    if "key" in over:
        over["key"] = str(Path(over["key"]).absolute())
    if "insecure" in given and (over or options.config is not None):
        over["insecure"] = given.pop("insecure")
    file = NodeFile(
        machine=_lasting(options.machine),
        settings={**given, "members": _members(options.members)},
        multicast=over or None,
    )
    notes: tuple[str, ...] = ()
    if options.config is not None:
        config = read_config(options.config)
        file, notes = config.over(file), config.notes
    file.transport(options.directory)
    trio.run(check_addresses, file)
    return file, notes


def _members(listed: str) -> dict[str, str]:
    """The founders' addresses. Raises CannotStart."""
    members: dict[str, str] = {}
    for part in listed.split(","):
        name, found, address = part.strip().partition("=")
        if not (name and found and address):
            raise CannotStart(f"--members: {part.strip()!r} is not NAME=HOST:PORT")
        if name in members:
            raise CannotStart(f"--members: {name} is listed twice")
        members[name] = address
    return members


def _lasting(machine: str | None) -> str | None:
    """The machine's name as it is understood in any working directory."""
    where, found, name = (machine or "").rpartition(":")
    if found and where.endswith(".py"):
        return f"{Path(where).absolute()}:{name}"
    return machine


def _make(directory: Path) -> None:
    """Make the directory, or take an empty one. Raises CannotStart, OSError."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    held = sorted(it.name for it in directory.iterdir())
    if NODE_FILE in held:
        raise CannotStart(
            f"{directory} is made already, see {directory / NODE_FILE}: run it, or give a new directory"
        )
    if held:
        raise CannotStart(
            f"{directory} is not empty ({held[0]} is there): give a new directory, or delete this one"
        )


async def _found(directory: Path, file: NodeFile, factory: Factory) -> None:
    """Found the group of one, without a port: nobody is to be reached. Raises RaftError, TooSlowError."""
    settings = {
        it: value for it, value in file.settings.items() if it not in {"listen", "insecure"}
    }
    with trio.fail_after(FOUND_SECONDS + file.election_seconds):
        async with open_node(
            factory, **settings, data_dir=directory, transport=MemoryNetwork(), found=True
        ) as node:
            await node.wait_leader()


def _tell(options: Options, file: NodeFile) -> None:
    """What was made, and the next command."""
    alone = len(file.members) == 1 and not file.joins
    then = f"raftkit run {shlex.quote(str(options.directory))}"
    if file.machine is None:
        then += " --machine MODULE:NAME"
    if options.json:
        facts = {"directory": str(options.directory), "id": file.id, "founded": alone, "next": then}
        print(json.dumps(facts))
        return
    print(f"{options.directory}: node {file.id} is ready")
    if file.joins:
        admit = f"raftkit admit DIRECTORY {file.id} {file.members[file.id]}"
        print(f"it waits to be admitted, by the node that leads: {admit}")
    elif alone:
        print("its group is founded, with no other member")
    else:
        print(f"the group is founded when all of {', '.join(sorted(file.members))} run")
    print(f"next: {then}")
