"""`raftkit discovered`: which nodes are on the network, by their hellos, and which of them are no members.

Law: this only listens. Nobody is admitted by being seen; that is `raftkit admit`, by somebody's hand.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import attrs
import trio

from raftkit import ConfigError, MulticastTransport
from raftkit.cli.network import multicast_transport
from raftkit.cli.node_file import NODE_FILE, read_node_file
from raftkit.cli.starting import CannotStart
from raftkit.cli.status_look import Down, NoNode, Up, look
from raftkit.transports.multicast.listening import Overheard, overhear

__all__ = ["Options", "run"]


@attrs.frozen(kw_only=True)
class Options:
    """What the command line asked for."""

    directory: Path | None
    "Of a node, whose settings are used and whose group is compared. None: the options say all."
    multicast: Mapping[str, Any]
    "Of `MulticastTransport` by name; they go before what the directory says. None: not said."
    seconds: float
    "To listen."
    json: bool
    "Whether stdout is for a machine."


def run(options: Options) -> int:
    """Listen, and say who is there. 0 if anybody is, 1 if not. Raises CannotStart."""
    try:
        transport = _transport(options)
        heard = trio.run(overhear, transport, options.seconds)
    except ConfigError as error:
        raise CannotStart(str(error)) from error
    members = _members(options.directory)
    if options.json:
        print(json.dumps(_facts(heard, transport, members)))
    else:
        _tell(options, transport, heard, members)
    return 0 if heard.nodes else 1


def _transport(options: Options) -> MulticastTransport:
    given = {name: value for name, value in options.multicast.items() if value is not None}
    if "key" in given:
        given["key"] = str(Path(given["key"]).absolute())
    directory = options.directory
    if directory is None:
        return multicast_transport(given, Path())
    try:
        kept = read_node_file(directory).multicast or {}
    except OSError as error:
        raise ConfigError(f"{directory / NODE_FILE}: {error.strerror or error}") from error
    if not (kept or given):
        raise ConfigError(
            f"the node of {directory} talks over TCP, where nobody says hello to a group"
        )
    return multicast_transport({**kept, **given}, directory)


def _members(directory: Path | None) -> frozenset[str] | None:
    """Names of the members of the group, as far as the node of `directory` knows; None without one."""
    if directory is None:
        return None
    match trio.run(look, directory):
        case Up(statistics=now):
            return frozenset(it.id for it in now.members)
        case Down(members=founders):
            return frozenset(founders)
        case NoNode():
            return None


def _facts(
    heard: Overheard, transport: MulticastTransport, members: frozenset[str] | None
) -> dict[str, object]:
    nodes = [
        {
            "id": it.identity.id,
            "incarnation": it.identity.incarnation,
            "address": it.address,
            "source": cast("tuple[object, ...]", it.source)[0],
            "seconds_ago": round(it.seconds_ago, 3),
            "member": None if members is None else it.identity.id in members,
            "settings_differ": it.settings != transport.settings_hash(),
        }
        for it in heard.nodes
    ]
    return {"nodes": nodes, "refused": {it.value: n for it, n in heard.refused.items()}}


def _tell(
    options: Options,
    transport: MulticastTransport,
    heard: Overheard,
    members: frozenset[str] | None,
) -> None:
    for it in heard.nodes:
        words = f"{it.identity.id}  {it.address}, {it.seconds_ago:.1f} s ago"
        if members is not None and it.identity.id in members:
            words += ", member"
        elif members is not None:
            admit = (
                f"raftkit admit {shlex.quote(str(options.directory))} {it.identity.id} {it.address}"
            )
            words += f", no member: {admit}"
        if it.settings != transport.settings_hash():
            words += "; settings differ: only interface, loopback and where keys are may"
        print(words)
    for why, count in heard.refused.items():
        print(f"{count} datagrams were refused: {why.value}")
    if not heard.nodes:
        print(
            f"nobody said hello to {transport.group} on {transport.interface} for {options.seconds:g} s: do "
            f"nodes run, of cluster {transport.cluster}, on this network? Nodes of this machine are heard on "
            "lo, or with loopback"
        )
