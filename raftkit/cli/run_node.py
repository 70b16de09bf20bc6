"""`raftkit run`: the node of a data directory, until Ctrl-C, with a line for whatever matters.

Laws: the lines are never in the way of the node. An end that was asked for is a clean one; a node that must
not go on ends with one line that says why.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any, assert_never

import attrs
import trio

from raftkit import ConfigError, Node, RaftError, open_node
from raftkit.cli.config_yaml import config_path, read_config
from raftkit.cli.factory import CannotLoad, Factory, load_factory
from raftkit.cli.lines import Line, Lines, open_lines
from raftkit.cli.node_file import NODE_FILE, NodeFile, read_node_file
from raftkit.cli.starting import CannotStart, cancel_on_signal
from raftkit.driver import (
    DiskRecovered,
    DiskStalled,
    MachineDiffers,
    NameTaken,
    NodeEvent,
    RecordingStopped,
    SettingsDiffer,
    SlowCommand,
    SnapshotFailed,
    StateDiverged,
    StateHealed,
    VersionRaised,
)
from raftkit.driver.guarding import meaningful
from raftkit.messages import (
    ClockStepRefused,
    ConfigurationChanged,
    LeaderElected,
    LeaderLost,
    PeerMisbehaved,
    RoleChanged,
    SnapshotInstalled,
    SnapshotTaken,
)

__all__ = ["Options", "run"]


@attrs.frozen(kw_only=True)
class Options:
    """What the command line asked for."""

    directory: Path
    "Made by `raftkit init`."
    machine: str | None
    "See `factory.py`. None: what the directory's file says."
    config: Path | None
    "QLUSTER's config.yaml, see `config_path`: what it says goes before what the directory's file says."
    json: bool
    "Whether each line is a JSON object."


def run(options: Options) -> int:
    """Run the node. Returns the exit code; raises CannotStart, and what ended a node that must not go on."""
    file, notes = _file(options)
    machine = options.machine or file.machine
    try:
        if machine is None:
            raise CannotStart("no machine is set: give --machine MODULE:NAME")
        factory = load_factory(machine)
        transport = file.transport(options.directory)
    except (ConfigError, CannotLoad) as error:
        raise CannotStart(str(error)) from error
    settings = {**file.settings, "data_dir": options.directory, "transport": transport}
    with open_lines(json=options.json) as lines:
        for note in notes:
            lines.say(Line("config", note))
        try:
            trio.run(_until_signal, settings, file, factory, lines)
        except* (KeyboardInterrupt, RaftError) as failed:
            _conclude(failed)
        lines.say(Line("stopped", f"{file.id}: stopped", {"node": file.id}))
    return 0


def _file(options: Options) -> tuple[NodeFile, tuple[str, ...]]:
    """What the node is run with, and what is to be said of that. Raises CannotStart."""
    try:
        file = read_node_file(options.directory)
        path = config_path(options.config, file)
        if path is None:
            return file, ()
        config = read_config(path)
        found = () if path == options.config else ("what it says goes before node.toml",)
        return config.over(file), tuple(f"{path}: {it}" for it in (*found, *config.notes))
    except FileNotFoundError as error:
        again = f"raftkit init {shlex.quote(str(options.directory))}"
        raise CannotStart(
            f"{options.directory / NODE_FILE} is not there: make it with `{again}`"
        ) from error
    except ConfigError as error:
        raise CannotStart(str(error)) from error
    except OSError as error:
        raise CannotStart(f"{options.directory}: {error.strerror or error}") from error


def _conclude(failed: BaseExceptionGroup[BaseException]) -> None:
    """Raise what the end of the node means to the command line; nothing if it was asked for."""
    error = meaningful(failed)
    if isinstance(error, ConfigError):
        raise CannotStart(str(error)) from error
    if isinstance(error, RaftError):
        raise error


async def _until_signal(
    settings: Mapping[str, Any], file: NodeFile, factory: Factory, lines: Lines
) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(cancel_on_signal, nursery.cancel_scope)
        async with open_node(factory, **settings) as node:
            await _tell(node, file, lines)


async def _tell(node: Node[Any], file: NodeFile, lines: Lines) -> None:
    """Say what happens at the node, for ever."""
    events = node.events()
    now = node.statistics()
    address = file.settings.get("listen") or file.members[node.id]
    lines.say(
        Line(
            "started",
            f"{node.id}: {now.status} at {address}, process {now.process}",
            {"node": node.id, "status": now.status, "address": address, "process": now.process},
        )
    )
    if now.leader is not None:  # elected before anybody listened
        _say(lines, node.id, LeaderElected(leader=now.leader, term=now.term))
    async for event in events:
        if events.dropped:
            missed = {"node": node.id, "count": events.dropped}
            lines.say(Line("missed", f"{node.id}: {events.dropped} events were missed", missed))
            events.dropped = 0
        _say(lines, node.id, event)
    await trio.sleep_forever()  # the stream ended, so the node's scope is about to


def _say(lines: Lines, name: str, event: NodeEvent) -> None:
    """Say what matters of an event, if anything does."""
    match event:
        case LeaderElected(leader=leader, term=term):
            kind, words = "leader_elected", f"{leader} leads in term {term}"
            facts: Mapping[str, object] = {"leader": leader, "term": term}
        case LeaderLost(leader=leader, term=term):
            kind, words = "leader_lost", f"{leader} leads no more"
            facts = {"leader": leader, "term": term}
        case ConfigurationChanged(index=index, configuration=configuration):
            members = [it.id for it in configuration.members]
            kind, words = "configuration_changed", f"the members are {', '.join(members)}"
            facts = {"index": index, "members": members}
        case SnapshotTaken(snapshot=snapshot):
            kind, words = "snapshot_taken", f"wrote a snapshot at index {snapshot.index}"
            facts = {"index": snapshot.index, "bytes": snapshot.size}
        case SnapshotFailed(index=index, where=where, why=why):
            kind, words = "snapshot_failed", f"no snapshot at index {index}: {where}: {why}"
            facts = {"index": index, "where": where, "why": why}
        case SnapshotInstalled(index=index):
            kind, words = "snapshot_installed", f"took over a leader's snapshot at index {index}"
            facts = {"index": index}
        case ClockStepRefused(step_ms=step):
            kind, words = "clock_step_refused", f"refused a step of the wall clock by {step} ms"
            facts = {"step_ms": step}
        case PeerMisbehaved(peer=peer, what=what):
            kind, words = "peer_misbehaved", f"dropped a message of {peer}: {what}"
            facts = {"peer": peer.id, "what": what}
        case VersionRaised(version=version):
            kind, words = "version_raised", f"version {version} of the machine is in force"
            facts = {"version": version}
        case (
            RoleChanged()
            | SlowCommand()
            | RecordingStopped()
            | MachineDiffers()
            | NameTaken()
            | SettingsDiffer()
            | StateDiverged()
            | StateHealed()
            | DiskStalled()
            | DiskRecovered()
        ):
            return  # who leads says the first, a warning in the log the others
        case _:
            assert_never(event)
    lines.say(Line(kind, f"{name}: {words}", {"node": name, **facts}))
