"""What `raftkit …` understands: commands, options, and one line for whatever it does not.

Laws: an option that can't work is refused before anything is made or started, with exit code 2. Commands let
CannotStart and NotDone pass; `run` says them in one line, behind the command's name. What takes long to
import is imported by the command that needs it.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, CycloptsError, Parameter
from cyclopts.validators import Number

from raftkit import NodeFailed, RaftInternalError, __version__
from raftkit.cli import leadership, links, membership, replay, upgrade
from raftkit.cli.bench.workload import Place, Workload
from raftkit.cli.network import Kind
from raftkit.cli.order import NotDone
from raftkit.cli.starting import CannotLook, CannotStart

__all__ = ["app", "run"]

_FAILED = 1
_USAGE = 2


app = App(
    name="raftkit",
    help="Raft you embed, from the command line.",
    version=f"raftkit {__version__}",
)
for command in (
    replay.replay,
    membership.members,
    links.links,
    membership.admit,
    membership.remove,
    membership.promote,
    membership.demote,
    membership.readdress,
    leadership.transfer_leadership,
    leadership.step_down,
    upgrade.upgrade,
):
    app.command(command)
app.command(
    "raftkit.cli.log:app",
    name="log",
    help="Look at the log of a node, running or not. Nothing is changed by it.",
)


def _finite(_: object, value: float) -> None:
    """A validator: seconds that can be waited for."""
    if not (math.isfinite(value) and value >= 0):
        raise ValueError("Must be a number of seconds, 0 or more.")


@app.command
def demo(
    *,
    in_process: Annotated[bool, Parameter(negative=())] = False,
    transport: Kind = "tcp",
    input: Path | None = None,  # noqa: A002 - the option is called --input
    nodes: Annotated[int, Parameter(validator=Number(gte=1, lte=9))] = 3,
    clients: Annotated[int, Parameter(validator=Number(gte=1, lte=1024))] = 16,
    kill: Literal["leader", "follower", "none"] = "leader",
    seconds: Annotated[float, Parameter(validator=_finite)] = 14.0,
    data: Path | None = None,
    json: Annotated[bool, Parameter(negative=())] = False,
) -> int:
    """Replicate every line of a text, kill the leader half-way, and compare every node with the text.

    Each node is a process with a directory of its own, and they talk over loopback, at free ports.

    Parameters
    ----------
    in_process
        All nodes in this process instead, over a memory network; their logs are on disk too.
    transport
        How the processes talk: by TCP, or by UDP multicast, sealed with a key of their own.
    input
        The file whose lines are replicated. Default: the text of Python's own pydoc_data.topics.
    nodes
        How many nodes.
    clients
        How many clients submit lines at the same time, spread over the nodes, one session each.
    kill
        Whom to kill half-way, a process with SIGKILL, and to start again on its directory a second later.
        failover_gap_ms of --json is for leader: from the kill to the first write acknowledged under
        the next one; for follower: the longest time without an acknowledgement after the kill.
    seconds
        Spread the submission over so long; 0: as fast as the nodes take it.
    data
        Keep the nodes' directories here: new or empty. Default: temporary, removed at the end.
    json
        Progress goes to stderr; the last line on stdout is one JSON object.
    """
    from raftkit.cli.demo import command as demonstration

    options = demonstration.Options(
        in_process=in_process,
        transport=transport,
        input=input,
        nodes=nodes,
        clients=clients,
        kill=kill,
        seconds=seconds,
        data=data,
        json=json,
    )
    return demonstration.run(options)


def _above_zero(_: object, value: float) -> None:
    """A validator: seconds in which something can be measured."""
    if not (math.isfinite(value) and value > 0):
        raise ValueError("Must be a number of seconds above 0.")


def _part(_: object, value: float) -> None:
    """A validator: a part of all, but not all."""
    if not 0 <= value < 1:
        raise ValueError("Must be a part from 0 to below 1, such as 0.05.")


@app.command
def bench(
    *,
    workload: Workload = "writes",
    at: Place = "leader",
    outstanding: str = "1,16,64,256",
    seconds: Annotated[float, Parameter(validator=_above_zero)] = 5.0,
    machine: Literal["bytes", "typed", "both"] = "both",
    nodes: Annotated[int, Parameter(validator=Number(gte=1, lte=9))] = 3,
    transport: Kind = "tcp",
    loss: Annotated[float, Parameter(validator=_part)] = 0.0,
    data: Path | None = None,
    json: Annotated[bool, Parameter(negative=())] = False,
) -> int:
    """Measure writes per second and how long they take, durable on a majority of nodes; or reads, or gaps.

    Each node is a process with a directory of its own, and they talk over loopback, at free ports. The
    load runs in a node's process: so many tasks, each with one write of 32 bytes under way.

    Parameters
    ----------
    workload
        writes; large: of 64 KiB each; reads: linearizable; mixed: nine reads to a write; failover: for how
        long nobody can write when the leader hands over, falls silent, is killed; idle: what a group costs
        that has nothing to do.
    at
        Whose process the load runs in.
    outstanding
        How many writes or reads are under way at a time: one measurement for each of these numbers.
    seconds
        How long each measurement takes, after a warm-up of at most a second.
    machine
        bytes: a BytesStateMachine without sessions, at most once. typed: a StateMachine, exactly once.
    nodes
        How many nodes.
    transport
        How they talk: by TCP, or by UDP multicast, sealed with a key of their own.
    loss
        Part of the datagrams that each node loses on purpose, such as 0.05; only with multicast.
    data
        Keep the nodes' directories here: new or empty, on the disk to be measured. Default: a temporary
        directory, removed at the end.
    json
        Progress and table go to stderr; the last line on stdout is one JSON object.
    """
    from raftkit.cli.bench import command as benchmark

    options = benchmark.Options(
        workload=workload,
        at=at,
        outstanding=outstanding,
        seconds=seconds,
        machine=machine,
        nodes=nodes,
        transport=transport,
        loss=loss,
        data=data,
        json=json,
    )
    return benchmark.run(options)


@app.command
def init(
    directory: Path,
    /,
    *,
    id: str,  # noqa: A002 - the option is called --id
    members: str,
    machine: str | None = None,
    join: Annotated[bool | None, Parameter(negative=())] = None,
    listen: str | None = None,
    insecure: Annotated[bool | None, Parameter(negative=())] = None,
    election_timeout: tuple[float, float] | None = None,
    heartbeat_interval: float | None = None,
    vote_timeout: tuple[float, float] | None = None,
    retry_interval: float | None = None,
    leases: Annotated[bool | None, Parameter(negative=())] = None,
    entry_bytes_max: int | None = None,
    sessions_max: int | None = None,
    session_idle: float | None = None,
    snapshot_entries: int | None = None,
    snapshot_bytes: int | None = None,
    snapshot_elapsed: float | None = None,
    snapshot_bytes_per_second: int | None = None,
    group: str | None = None,
    interface: str | None = None,
    cluster: str | None = None,
    key: Path | None = None,
    config: Path | None = None,
    json: Annotated[bool, Parameter(negative=())] = False,
) -> int:
    """Make the data directory of a new node, and in it node.toml, by which `raftkit run` runs it.

    A list of one founds its group now. A longer list founds when all its nodes run; until then their lists
    and settings must be the same. Afterwards node.toml still says how this node is run, but who belongs to
    the group, and its settings, are in its log.

    Parameters
    ----------
    directory
        New or empty.
    id
        This node's name, one of --members.
    members
        The founders: a=HOST:PORT,b=HOST:PORT,…
    machine
        Its state machine: MODULE:NAME or FILE.py:NAME. A list of one needs it now.
    join
        It comes to a group that is there: --members are where it knocks, and itself. Any member is then
        told to admit it, see raftkit admit.
    listen
        HOST:PORT to listen at, if that is not the address in --members.
    insecure
        Talk in the clear beyond this machine, on a network where everyone is trusted. Over multicast: without
        a key.
    election_timeout
        Two numbers of seconds, between which each election timeout is drawn. The group's, like all that
        follow but the next three and the last.
    heartbeat_interval
        Seconds, at most half of the lower election timeout.
    vote_timeout
        Two numbers of seconds, between which each round of votes may take before it is repeated. Default: as
        election timeouts.
    retry_interval
        Seconds after which a follower is asked for what it has not acknowledged; later ever less often.
    leases
        Let leaders answer reads by lease, which trusts clocks: see docs/reads.md.
    entry_bytes_max
        The largest command.
    sessions_max
        How many sessions are kept.
    session_idle
        Seconds that a session is kept without use.
    snapshot_entries
        Write a snapshot after so many entries; 0: no limit.
    snapshot_bytes
        Or after so many bytes of them; 0: no limit.
    snapshot_elapsed
        Or after so many seconds of the leaders' clocks; 0: no limit.
    snapshot_bytes_per_second
        That this node, when it leads, sends of snapshots to all members together; 0: no limit.
    group
        Talk over UDP multicast, to this group: HOST:PORT, the same at every node. Other settings of it, such
        as pacing_rate, are for the table [multicast] of node.toml.
    interface
        The network's interface on this machine, by name.
    cluster
        A name, the same at every node and another in each cluster.
    key
        The file of the cluster's key, the same at every node: umask 077; openssl rand -hex 32 > FILE
    config
        A config.yaml of QLUSTER, which says --group, --interface and timings.
    json
        What was made, as one JSON object.
    """
    from raftkit.cli import init as initialisation

    options = initialisation.Options(
        directory=directory,
        members=members,
        machine=machine,
        settings={
            "id": id,
            "join": join,
            "listen": listen,
            "insecure": insecure,
            "election_timeout": election_timeout,
            "heartbeat_interval": heartbeat_interval,
            "vote_timeout": vote_timeout,
            "retry_interval": retry_interval,
            "leases": leases,
            "entry_bytes_max": entry_bytes_max,
            "sessions_max": sessions_max,
            "session_idle": session_idle,
            "snapshot_entries": snapshot_entries,
            "snapshot_bytes": snapshot_bytes,
            "snapshot_elapsed": snapshot_elapsed,
            "snapshot_bytes_per_second": snapshot_bytes_per_second,
        },
        config=config,
        multicast={"group": group, "interface": interface, "cluster": cluster, "key": key},
        json=json,
    )
    return initialisation.run(options)


@app.command(name="run")
def run_one(
    directory: Path,
    /,
    *,
    machine: str | None = None,
    config: Path | None = None,
    json: Annotated[bool, Parameter(negative=())] = False,
) -> int:
    """Run the node of a data directory that `raftkit init` made, until Ctrl-C or SIGTERM.

    It votes, keeps the log and the machine's state; commands come from programs of other members. One line
    says each thing that matters: who leads, what is waited for, snapshots.

    Parameters
    ----------
    directory
        Where its log, its identity and node.toml are.
    machine
        Its state machine: MODULE:NAME or FILE.py:NAME. Default: what node.toml says.
    config
        A config.yaml of QLUSTER: what it says goes before what node.toml says. Default: what $RAFTKIT_CONFIG
        names; for a node over multicast also ./config.yaml, or else /etc/raftkit/config.yaml.
    json
        Each line is a JSON object.
    """
    from raftkit.cli import run_node

    options = run_node.Options(directory=directory, machine=machine, config=config, json=json)
    return run_node.run(options)


@app.command
def status(
    *directories: Path,
    watch: Annotated[bool, Parameter(negative=())] = False,
    json: Annotated[bool, Parameter(negative=())] = False,
) -> int:
    """Ask nodes of this machine how they are, with or without a leader.

    Exits with 0 when each of them runs and a majority of its group is here, with 1 when not, and with 2
    for what is no data directory.

    Parameters
    ----------
    directories
        The nodes' data directories. Default: the current one.
    watch
        Ask again every second, until Ctrl-C; the last answer makes the exit code.
    json
        One JSON object, or a list of several.
    """
    from raftkit.cli import status as condition

    options = condition.Options(directories=directories or (Path(),), watch=watch, json=json)
    return condition.run(options)


@app.command(name="discovered")
def discovered_nodes(
    directory: Path | None = None,
    /,
    *,
    group: str | None = None,
    interface: str | None = None,
    cluster: str | None = None,
    key: Path | None = None,
    insecure: Annotated[bool | None, Parameter(negative=())] = None,
    seconds: Annotated[float, Parameter(validator=_above_zero)] = 3.0,
    json: Annotated[bool, Parameter(negative=())] = False,
) -> int:
    """Listen which nodes are on a multicast network, and say which of them are no members.

    Nothing is sent, and nobody is admitted by being seen. Exits with 1 if nobody was heard.

    Parameters
    ----------
    directory
        The data directory of a node over multicast: its settings are used, and its group is compared.
    group
        HOST:PORT. Like all that follow, in place of what the directory says.
    interface
        The network's interface on this machine, by name.
    cluster
        The cluster's name.
    key
        The file of the cluster's key.
    insecure
        The cluster has no key.
    seconds
        How long to listen; nodes say hello every second.
    json
        One JSON object.
    """
    from raftkit.cli import discovered

    over = {"group": group, "interface": interface, "cluster": cluster}
    options = discovered.Options(
        directory=directory,
        multicast={**over, "key": key, "insecure": insecure},
        seconds=seconds,
        json=json,
    )
    return discovered.run(options)


@app.command
def doctor(
    place: Path | None = None,
    /,
    *,
    peer: tuple[str, ...] = (),
    listen: Annotated[bool, Parameter(negative=())] = False,
    address: str | None = None,
    group: str | None = None,
    interface: str | None = None,
    cluster: str | None = None,
    key: Path | None = None,
    insecure: Annotated[bool | None, Parameter(negative=())] = None,
    config: Path | None = None,
    seconds: Annotated[float, Parameter(validator=_above_zero)] = 4.0,
    json: Annotated[bool, Parameter(negative=())] = False,
) -> int:
    """Say what is wrong with a node, its disk and its network, and what to do next.

    Looks at quorum, membership, network, disk and clock, in this order, for ten seconds at most, and changes
    nothing. Peers answer by their running nodes, or by raftkit doctor --listen on their hosts; run it at both
    ends. Exits with 0 if nothing is wrong, with 1 if something is, and with 2 for what is not understood.

    Parameters
    ----------
    place
        A node's data directory, or a config.yaml of QLUSTER. Default: the current directory, if it is one.
    peer
        NAME=HOST:PORT, or HOST:PORT, in place of the members; may be given again.
    listen
        Answer doctors on other hosts, and say how they are heard, until Ctrl-C. The node must not run.
    address
        HOST:PORT where this host is reached. Default: what the directory says.
    group
        HOST:PORT. Like the next four, in place of what the directory says.
    interface
        The network's interface on this machine, by name.
    cluster
        The cluster's name.
    key
        The file of the cluster's key.
    insecure
        The cluster has no key.
    config
        A config.yaml of QLUSTER. Default: as for raftkit run.
    seconds
        For the network at most.
    json
        One JSON object; with --listen, one each line.
    """
    from raftkit.cli.doctor import command as examination

    over = {"group": group, "interface": interface, "cluster": cluster}
    options = examination.Options(
        place=place,
        config=config,
        peers=peer,
        address=address,
        multicast={**over, "key": key, "insecure": insecure},
        listen=listen,
        seconds=seconds,
        json=json,
    )
    return examination.run(options)


def complain(words: str) -> None:
    """Say on stderr, in one line, what is wrong and what to do."""
    print(f"raftkit: {words}", file=sys.stderr)


def run() -> None:
    """Do what the arguments of this process say, and exit."""
    try:
        code = app(sys.argv[1:], exit_on_error=False, print_error=False)
    except CycloptsError as error:
        # Cyclopts would draw a box, as wide as the terminal; scripts want one line.
        complain(f"{' '.join(str(error).split())} (see raftkit --help)")
        code = _USAGE
    except CannotStart as error:
        complain(f"{sys.argv[1]}: {error}")
        code = _USAGE
    except NotDone as error:
        complain(f"{sys.argv[1]}: {error}")
        code = _FAILED
    except CannotLook as error:
        complain(str(error))
        code = _USAGE
    except (NodeFailed, RaftInternalError) as error:
        complain(str(error))
        code = _FAILED
    sys.exit(code)
