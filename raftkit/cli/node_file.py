"""`node.toml` in a data directory: what its node is opened with, by the names of `open_node`'s settings.

Laws: the settings are those of `open_node`, no others, and checked by the same code; those in the table
`[multicast]` are of `MulticastTransport`. A file is durable before anybody hears of it, and never replaces
another.
"""

from __future__ import annotations

import inspect
import json
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import attrs

from raftkit import ConfigError, open_node
from raftkit.cli.network import check_multicast, multicast_transport
from raftkit.driver import make_plan, refuse_unknown
from raftkit.transports import LossyTransport
from raftkit.transports.tcp.sockets import host_and_port, resolve

__all__ = ["NODE_FILE", "NodeFile", "check_addresses", "read_node_file", "write_node_file"]

NODE_FILE = "node.toml"
"In the data directory."

_DEFAULTS = {
    name: parameter.default
    for name, parameter in inspect.signature(open_node).parameters.items()
    if name not in {"factory", "data_dir", "transport", "found", "record", "unknown"}
}
"What may be set, with the defaults of `open_node`; `id` and `members` have none."


def _checked(_: object, __: object, settings: Mapping[str, Any]) -> None:
    """Raises ConfigError for settings that `open_node` would refuse."""
    refuse_unknown(
        {it: 0 for it in settings if it not in _DEFAULTS}, ["machine", "multicast", *_DEFAULTS]
    )
    for name in ("id", "members"):
        if name not in settings:
            raise ConfigError(f"{name} is missing")
    given: dict[str, Any] = {**_DEFAULTS, **settings}
    listen, insecure = given.pop("listen"), given.pop("insecure")
    make_plan(**given, found=False, threads=True)
    if not (listen is None or isinstance(listen, str)):
        raise ConfigError(f"listen must be an address, got {listen!r:.80}")
    if not isinstance(insecure, bool):
        raise ConfigError(f"insecure must be true or false, got {insecure!r:.80}")


def _named(_: object, __: object, machine: Any) -> None:
    if not (machine is None or (isinstance(machine, str) and machine.isprintable())):
        raise ConfigError(f"machine must be MODULE:NAME or FILE.py:NAME, got {machine!r:.80}")


def _over_multicast(file: NodeFile, _: object, settings: Any) -> None:
    """Raises ConfigError for settings that no multicast has."""
    if settings is None:
        return
    if not isinstance(settings, Mapping):
        raise ConfigError(f"multicast must be a table of settings, got {settings!r:.80}")
    try:
        check_multicast(cast("Mapping[str, object]", settings))
    except ConfigError as error:
        raise ConfigError(f"multicast: {error}") from error
    for name in ("listen", "insecure"):
        if name in file.settings:
            raise ConfigError(
                f"{name} is a setting of TCP, and this node talks over multicast: leave it out"
            )


@attrs.frozen(kw_only=True)
class NodeFile:
    """What the file says. Raises ConfigError when it is made of what can't work."""

    machine: str | None = attrs.field(validator=_named)
    "The machine's name, see `factory.py`. None: `raftkit run` is told."
    settings: Mapping[str, Any] = attrs.field(validator=_checked)
    "Of `open_node`, by their names there; the others have their defaults."
    multicast: Mapping[str, object] | None = attrs.field(default=None, validator=_over_multicast)
    "Of `MulticastTransport`, by their names there. None: nodes talk over TCP."

    @property
    def id(self) -> str:
        """The node's name."""
        return str(self.settings["id"])

    @property
    def joins(self) -> bool:
        """Whether it waits to be admitted to a group."""
        return bool(self.settings.get("join", False))

    @property
    def members(self) -> dict[str, str]:
        """The founders' addresses."""
        return dict(self.settings["members"])

    @property
    def election_seconds(self) -> float:
        """At most, until a node campaigns that hears of no leader."""
        (_, high) = self.settings.get("election_timeout", _DEFAULTS["election_timeout"])
        return float(high)

    @property
    def election_low(self) -> float:
        """Seconds, at least, until a node campaigns that hears of no leader."""
        (low, _) = self.settings.get("election_timeout", _DEFAULTS["election_timeout"])
        return float(low)

    def transport(self, directory: Path) -> LossyTransport | None:
        """What joins the node to its peers; None: TCP. Keys are looked for in `directory`.

        Raises ConfigError.
        """
        try:
            return (
                None if self.multicast is None else multicast_transport(self.multicast, directory)
            )
        except ConfigError as error:
            raise ConfigError(f"multicast: {error}") from error


async def check_addresses(file: NodeFile) -> None:
    """Raises ConfigError for addresses that this node can't listen at, or none can.

    On a network that is trusted, others may have names that are not known before they run.
    """
    # Over multicast it is the key that says who is trusted, and not the network.
    insecure = file.settings.get("insecure", False) or file.multicast is not None
    own = file.settings.get("listen") or file.members[file.id]
    await resolve(own, insecure=insecure)
    for address in file.members.values():
        host_and_port(address)
        if not insecure:
            await resolve(address, insecure=False)


def read_node_file(directory: Path) -> NodeFile:
    """What the file in `directory` says. Raises FileNotFoundError, and ConfigError naming the file."""
    path = directory / NODE_FILE
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
        machine, over = found.pop("machine", None), found.pop("multicast", None)
        return NodeFile(machine=machine, settings=found, multicast=over)
    except (ConfigError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path}: {error}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: it is not text") from error


def write_node_file(directory: Path, file: NodeFile) -> None:
    """Write the file into `directory`, durably. Raises OSError, FileExistsError for one that is there."""
    path = directory / NODE_FILE
    with path.open("x", encoding="utf-8") as stream:
        stream.write(_as_toml(file))
        stream.flush()
        os.fsync(stream.fileno())
    for place in (directory, directory.absolute().parent):
        descriptor = os.open(place, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _as_toml(file: NodeFile) -> str:
    """What `read_node_file` reads."""
    lines = [
        "# A node of a raftkit group: `raftkit run` opens it. The names are those of open_node."
    ]
    settings = {"machine": file.machine, **file.settings}
    lines += _pairs({it: value for it, value in settings.items() if it != "members"})
    if file.multicast is not None:
        lines += ["", "[multicast]  # the names are those of MulticastTransport"]
        lines += _pairs(file.multicast)
    lines += ["", "[members]  # who founds the group; afterwards its log decides"]
    lines += [f"{_value(name)} = {_value(address)}" for name, address in file.members.items()]
    return "\n".join(lines) + "\n"


def _pairs(settings: Mapping[str, object]) -> list[str]:
    return [f"{it} = {_value(value)}" for it, value in settings.items() if value is not None]


def _value(value: object) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case int() | float():
            return repr(value)
        case tuple() | list():
            return f"[{', '.join(map(_value, cast('list[object]', value)))}]"
        case _:
            return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")
