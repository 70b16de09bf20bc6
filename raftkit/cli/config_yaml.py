"""QLUSTER's `config.yaml`, read as settings of a node that talks over multicast.

Laws: each parameter has an effect here, or one line that says why it has none, or is refused because what it
asks for would be unsafe or is not there; none is passed over in silence, nor is a name that is not known.
Sizes are bytes, `pacing-rate` is bytes a second, and durations have units: 500ms, 30s, 1m, 1h, 1m30s.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Callable, Hashable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, cast

import attrs
import yaml

from raftkit import ConfigError
from raftkit.cli.node_file import NodeFile
from raftkit.transports.tcp.sockets import host_and_port

__all__ = ["ConfigFile", "config_path", "read_config"]

CLUSTER: Final = "qluster"
"The cluster's name where nothing says another: the file has none."

VARIABLE: Final = "RAFTKIT_CONFIG"
"Of the environment: names the file where no option does."
PLACES: Final = (Path("config.yaml"), Path("/etc/raftkit/config.yaml"))
"Where the file is looked for, in this order, if nothing names it."

_DURATION: Final = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|s|m|h))+")
_PART: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)")
_SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


@attrs.frozen(kw_only=True)
class ConfigFile:
    """What the file says, by the names that raftkit has for it."""

    ip: str | None
    "Where others reach the node, without a port."
    settings: Mapping[str, Any]
    "Of `open_node`."
    multicast: Mapping[str, object]
    "Of `MulticastTransport`, all but who the cluster is and its key."
    notes: tuple[str, ...]
    "Parameters without effect, and why: one line each."

    def over(self, file: NodeFile) -> NodeFile:
        """The node of `file` as this file has it run. Raises ConfigError if they contradict each other."""
        host, _ = host_and_port(file.members[file.id])
        if self.ip is not None and self.ip != host:
            raise ConfigError(f"ip is {self.ip}, but as a member {file.id} is at {host}")
        multicast = {"cluster": CLUSTER, **(file.multicast or {}), **self.multicast}
        return attrs.evolve(file, settings={**file.settings, **self.settings}, multicast=multicast)


def config_path(given: Path | None, file: NodeFile) -> Path | None:
    """The configuration file of the node of `file`: what the option says, else the variable, else a place.

    Places are for nodes over multicast only: a `config.yaml` that happens to be in the current directory may
    be another program's, and must not turn a node that talks over TCP into one that does not.
    """
    if given is not None:
        return given
    if named := os.environ.get(VARIABLE):
        return Path(named)
    if file.multicast is None:
        return None
    return next((it for it in PLACES if it.is_file()), None)


def read_config(path: Path) -> ConfigFile:
    """What the file at `path` says. Raises ConfigError that names the file, and the parameter."""
    try:
        found = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)  # noqa: S506 - it is a safe one
        return _translated(dict(_parameters(found, "")))
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not YAML: {' '.join(str(error).split())}") from error
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: it is not text") from error


def _translated(given: Mapping[str, Any]) -> ConfigFile:
    """What these parameters mean. Raises ConfigError for what can't be had."""
    if not given.get("cluster.quorum-replication", True):
        raise ConfigError(
            "cluster.quorum-replication: false would confirm what a crash can lose: a majority "
            "always has an entry before it is confirmed; say true"
        )
    if given.get("cluster.replication-factor"):
        raise ConfigError(
            "cluster.replication-factor: groups are founded with 0, a majority; raise it afterwards, by "
            "ChangeSettings(replication_factor=…)"
        )
    if given.get("cluster.autoremove-enabled"):
        raise ConfigError(
            "cluster.autoremove-enabled: members are removed by `raftkit remove` only; say false"
        )
    names = {it: given[path] for path, it in _MULTICAST.items() if path in given}
    notes = tuple(f"{it}: {why}" for it, why in _WITHOUT_EFFECT.items() if it in given)
    return ConfigFile(
        ip=given.get("ip"), settings=dict(_settings(given)), multicast=names, notes=notes
    )


def _settings(given: Mapping[str, Any]) -> Iterator[tuple[str, object]]:
    """Of `open_node`."""
    # Who waits alike asks alike, and then nobody wins: so the time that is said is one bound of two.
    if "cluster.node-timeout" in given:
        silence = given["cluster.node-timeout"]
        yield "election_timeout", (silence, round(silence * 4 / 3, 3))
    rounds = [given[it] for it in _ROUNDS if it in given]
    if rounds:
        yield "vote_timeout", (max(rounds) / 2, max(rounds))
    for path, name in _NODE.items():
        if path in given:
            yield name, given[path]


# ── reading ──────────────────────────────────────────────────────────────────────────────────────


def _parameters(found: object, above: str) -> Iterator[tuple[str, object]]:
    """Path → value of all parameters, checked one by one. Raises ConfigError."""
    if not isinstance(found, Mapping):
        where = above.rstrip(".") or "the file"
        raise ConfigError(f"{where} must hold parameters, got {found!r:.80}")
    for key, value in cast("Mapping[object, object]", found).items():
        path = f"{above}{key}"
        if path in _SECTIONS:
            yield from _parameters(value, f"{path}.")
        elif path in _PARAMETERS:
            yield path, _PARAMETERS[path](path, value)
        else:
            raise _unknown(path)


def _unknown(path: str) -> ConfigError:
    near = difflib.get_close_matches(path, _PARAMETERS, n=1, cutoff=0.5)
    same = [it for it in _PARAMETERS if it.rpartition(".")[2] == path.rpartition(".")[2]]
    best = (same or near)[:1]
    hint = f": did you mean {best[0]}?" if best else f"; there are {', '.join(_PARAMETERS)}"
    return ConfigError(f"unknown parameter {path}{hint}")


class _Loader(yaml.SafeLoader):
    """Plain data only, and nothing said twice: which of the two counts would be anybody's guess."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """See yaml.SafeLoader."""
        seen: set[str] = set()
        for key, _ in node.value:
            if str(key.value) in seen:
                line = key.start_mark.line + 1
                raise ConfigError(f"line {line}: {key.value} is there twice")
            seen.add(str(key.value))
        return super().construct_mapping(node, deep=deep)


def _text(path: str, value: object) -> str:
    if not isinstance(value, str) or not value:
        raise ConfigError(f"{path} must be text, got {value!r:.80}")
    return value


def _flag(path: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise ConfigError(f"{path} must be true or false, got {value!r:.80}")
    return value


def _whole(path: str, value: object) -> int:
    if type(value) is not int or value < 0:
        raise ConfigError(f"{path} must be a whole number, 0 or more, got {value!r:.80}")
    return value


def _port(path: str, value: object) -> int:
    if not 1 <= _whole(path, value) <= 65535:
        raise ConfigError(f"{path} must be a port from 1 to 65535, got {value!r:.80}")
    return cast("int", value)


def _seconds(path: str, value: object) -> float:
    if not isinstance(value, str) or not _DURATION.fullmatch(value):
        raise ConfigError(f"{path} must be a duration such as 30s, 500ms or 1m, got {value!r:.80}")
    return sum(float(number) * _SECONDS[unit] for number, unit in _PART.findall(value))


_PARAMETERS: Final[Mapping[str, Callable[[str, object], object]]] = {
    "ip": _text,
    "api-port": _port,
    "udp.socket.group": _text,
    "udp.socket.interface": _text,
    "udp.socket.pacing-rate": _whole,
    "udp.socket.loopback": _flag,
    "udp.socket.send-buffer-size": _whole,
    "udp.socket.recv-buffer-size": _whole,
    "udp.max-log-size": _whole,
    "udp.send-buffer-capacity": _whole,
    "udp.recv-buffer-capacity": _whole,
    "cluster.node-timeout": _seconds,
    "cluster.heartbeat-interval": _seconds,
    "cluster.pre-voting-timeout": _seconds,
    "cluster.leader-voting-timeout": _seconds,
    "cluster.quorum-replication": _flag,
    "cluster.replication-factor": _whole,
    "cluster.replication-retry-interval": _seconds,
    "cluster.autoremove-enabled": _flag,
    "cluster.autoremove-minimum": _whole,
    "cluster.remove-interval": _seconds,
    "hello-retry-interval": _seconds,
}
"All there are, and what reads each."
_SECTIONS: Final = {"udp", "udp.socket", "cluster"}
_MULTICAST: Final = {
    path: path.rpartition(".")[2].replace("-", "_")
    for path in _PARAMETERS
    if path == "hello-retry-interval" or (path.startswith("udp.") and path != "udp.max-log-size")
}
"Path → the name that `MulticastTransport` has for it."
_NODE: Final = {
    "cluster.heartbeat-interval": "heartbeat_interval",
    "cluster.replication-retry-interval": "retry_interval",
    "udp.max-log-size": "entry_bytes_max",
}
"Path → the name that `open_node` has for it."
_ROUNDS: Final = ("cluster.pre-voting-timeout", "cluster.leader-voting-timeout")
"How long a round of votes may last, before the election and in it: here the same for both."
_WITHOUT_EFFECT: Final = {
    "api-port": "raftkit serves no HTTP and opens no port for it; `raftkit status` asks a node",
}
"And why."
