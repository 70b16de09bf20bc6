"""What is to be examined: who this node is, who its peers are, and how they talk.

Laws: a directory says it, or a config.yaml of QLUSTER, or nothing but options; options go before both. What
is not understood is refused before anything is measured.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from raftkit import PRESETS, ConfigError, MulticastTransport
from raftkit.cli.config_yaml import CLUSTER, config_path, read_config
from raftkit.cli.network import multicast_transport
from raftkit.cli.node_file import NODE_FILE, NodeFile, read_node_file
from raftkit.cli.status_look import Seen, Up
from raftkit.transports.tcp.sockets import host_and_port

__all__ = ["Case", "case_of", "peers_of", "voters_of", "with_port"]


@attrs.frozen(kw_only=True)
class Case:
    """What is known before anybody is asked."""

    directory: Path | None = None
    "Of the node. None: there is none to be looked at."
    file: NodeFile | None = None
    "What the node is run with. None without a directory."
    own: str | None = None
    "Where peers reach this node. None: nothing says it."
    peers: Mapping[str, str]
    "Address by name, or by itself, of those whom an option names. Empty: all members."
    multicast: MulticastTransport | None = None
    "How members talk. None: over TCP."
    insecure: bool = True
    "Whether TCP may leave this machine."

    @property
    def election_low(self) -> float:
        """Seconds after which a leader may be missed."""
        return (
            self.file.election_low
            if self.file is not None
            else PRESETS["lan"]["election_timeout"][0]
        )


def case_of(
    place: Path | None,
    *,
    config: Path | None,
    peers: Sequence[str],
    address: str | None,
    multicast: Mapping[str, Any],
) -> Case:
    """What these options mean. `place` is a data directory or a config.yaml. Raises ConfigError, OSError."""
    given = {name: value for name, value in multicast.items() if value is not None}
    if "key" in given:
        given["key"] = str(Path(given["key"]).absolute())
    named = dict(map(_peer, peers))
    if address is not None:
        host_and_port(address)
    if place is None and not (named or given or config) and Path(NODE_FILE).is_file():
        place = Path()
    if place is not None and place.is_dir():
        return _of_directory(place, config, named, address, given)
    path = place or config
    if path is not None:
        said = read_config(path)
        given = {"cluster": CLUSTER, **said.multicast, **given}
        if said.ip is not None:
            address = address or with_port(said.ip, 0)
    if not (named or given):
        raise ConfigError("there is nothing to look at: give a data directory, or --peer HOST:PORT")
    transport = multicast_transport(given, Path()) if given else None
    return Case(own=address, peers=named, multicast=transport)


def _of_directory(
    directory: Path,
    config: Path | None,
    named: Mapping[str, str],
    address: str | None,
    given: Mapping[str, Any],
) -> Case:
    file = read_node_file(directory)
    path = config_path(config, file)
    if path is not None:
        file = read_config(path).over(file)
    over = {**(file.multicast or {}), **given}
    return Case(
        directory=directory,
        file=file,
        own=address or file.members[file.id],
        peers=named,
        multicast=multicast_transport(over, directory) if over else None,
        insecure=bool(file.settings.get("insecure", False)) or bool(over),
    )


def with_port(host: str, port: int) -> str:
    """The address of a port at that host, which may be an IPv6 address."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _peer(text: str) -> tuple[str, str]:
    """The name and address in "NAME=HOST:PORT"; an address alone is its own name."""
    name, found, address = text.rpartition("=")
    host_and_port(address)
    if found and not name:
        raise ConfigError(f"--peer {text}: give NAME=HOST:PORT, or HOST:PORT")
    return name or address, address


def peers_of(case: Case, seen: Seen | None) -> dict[str, str]:
    """Address by name of those to be probed: whom options name, else who is a member as far as is known."""
    if case.peers:
        return dict(case.peers)
    if isinstance(seen, Up):
        return {it.id: it.address for it in seen.statistics.members if it.id != seen.statistics.id}
    if case.file is None:
        return {}
    return {name: address for name, address in case.file.members.items() if name != case.file.id}


def voters_of(case: Case, seen: Seen | None) -> int | None:
    """How many vote, as far as is known. None: nothing says it."""
    if isinstance(seen, Up):
        return sum(it.votes for it in seen.statistics.members)
    if case.file is None or case.file.joins:
        return None
    return len(case.file.members)
