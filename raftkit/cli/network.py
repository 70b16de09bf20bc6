"""What joins the nodes that a command runs: TCP, or multicast with settings by the transport's names.

Laws: settings are checked here by name and kind, and by `MulticastTransport` for what they mean, so that
whatever is wrong is one line before anything runs. A key is a file's name here; it is in no argument.
"""

from __future__ import annotations

import json
import secrets
import socket
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal, cast

import attrs

from raftkit import ConfigError
from raftkit.cli.child import free_addresses
from raftkit.driver import refuse_unknown
from raftkit.transports import LossyTransport, MulticastTransport, TcpTransport
from raftkit.transports.multicast.group import parse_group

__all__ = [
    "Kind",
    "Network",
    "check_multicast",
    "multicast_transport",
    "network_on_loopback",
    "transport_in",
]

Kind = Literal["tcp", "multicast"]
"How nodes talk."

KEY_FILE: Final = "cluster.key"
"Of a group that a command runs by itself, in its directory."
_KINDS: Final[Mapping[str, Any]] = typing.get_type_hints(MulticastTransport)
"What may be set, and of which types it may be."
_WORDS: Final = {str: "text", bool: "true or false", int: "a whole number", float: "a number"}


@attrs.frozen(kw_only=True)
class Network:
    """How the nodes of a group on this machine reach each other."""

    addresses: Mapping[str, str]
    "Where each node listens."
    multicast: Mapping[str, object] | None
    "Of `MulticastTransport`, by name. None: TCP."

    def arguments(self) -> tuple[str, ...]:
        """For the command line of a node's process: what `transport_in` reads, and the addresses."""
        places = (f"{name}={address}" for name, address in self.addresses.items())
        return json.dumps(self.multicast), *places


def network_on_loopback(kind: Kind, names: tuple[str, ...], directory: Path) -> Network:
    """Free ports for each node; for multicast also a group's, and a new key in `directory`.

    Raises OSError, FileExistsError for a key that is there.
    """
    if kind == "tcp":
        return Network(addresses=free_addresses(names), multicast=None)
    key = directory / KEY_FILE
    key.touch(mode=0o600, exist_ok=False)
    key.write_text(secrets.token_hex(32))
    *addresses, (_, place) = free_addresses((*names, ""), socket.SOCK_DGRAM).items()
    settings = {
        "group": f"239.192.7.1:{place.rpartition(':')[2]}",
        "interface": "lo",
        "cluster": secrets.token_hex(4),  # commands that run at the same time share nothing
        "key": str(key.absolute()),
    }
    return Network(addresses=dict(addresses), multicast=settings)


def transport_in(argument: str) -> LossyTransport:
    """The transport that the first of `Network.arguments` says. Raises ConfigError."""
    settings = json.loads(argument)
    return TcpTransport() if settings is None else multicast_transport(settings, Path())


def multicast_transport(settings: Mapping[str, object], directory: Path) -> MulticastTransport:
    """The transport with these settings; keys are looked for in `directory`. Raises ConfigError."""
    check_multicast(settings)
    missing = [
        it.name
        for it in attrs.fields(MulticastTransport)
        if it.default is attrs.NOTHING and it.name not in settings
    ]
    if missing:
        raise ConfigError(f"multicast needs {' and '.join(missing)}")
    parse_group(str(settings["group"]))
    keys = {it: str(directory / str(settings[it])) for it in ("key", "other_key") if it in settings}
    return MulticastTransport(**cast("dict[str, Any]", {**settings, **keys}))


def check_multicast(settings: Mapping[str, object]) -> None:
    """Raises ConfigError for a setting that the transport does not have, or that is of another kind."""
    refuse_unknown({it: 0 for it in settings if it not in _KINDS}, list(_KINDS))
    for name, value in settings.items():
        kinds = _kinds(_KINDS[name])
        if type(value) not in kinds and not (type(value) is int and float in kinds):
            words = " or ".join(_WORDS[it] for it in kinds if it in _WORDS)
            raise ConfigError(f"{name} must be {words}, got {value!r:.80}")


def _kinds(hint: Any) -> tuple[type, ...]:
    """Of values that a field of that type takes."""
    if typing.get_origin(hint) is Literal:
        return (str,)
    return typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
