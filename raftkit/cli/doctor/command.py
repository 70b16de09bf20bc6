"""`raftkit doctor`: asks, measures, judges and says what it found, in bounded time.

Law: asking the node and writing to its disk are done before the network is probed, so that neither is taken
for a slow network.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import attrs
import trio
from rich.console import Console

from raftkit import ConfigError
from raftkit.cli.doctor.answering import listen
from raftkit.cli.doctor.case import Case, case_of, peers_of, voters_of
from raftkit.cli.doctor.clock import judge_clock, read_clocks
from raftkit.cli.doctor.connections import Connection, connect
from raftkit.cli.doctor.datagrams import Exchanges, exchange
from raftkit.cli.doctor.disk import Disk, judge_disk, measure_disk
from raftkit.cli.doctor.findings import Finding, Mark, in_order
from raftkit.cli.doctor.group import judge_group, judge_voters
from raftkit.cli.doctor.host import versions
from raftkit.cli.doctor.paths import judge_connection, judge_exchange, judge_interface
from raftkit.cli.doctor.timing import judge_round_trips, round_trips
from raftkit.cli.doctor.view import as_json, show
from raftkit.cli.lines import open_lines
from raftkit.cli.starting import INTERRUPTED, CannotStart, first_of
from raftkit.cli.status_look import Seen, Up, look

__all__ = ["Options", "run"]

DISK_SECONDS: Final = 3.0
"For the disk: its writes end before that unless one of them hangs."


@attrs.frozen(kw_only=True)
class Options:
    """What the command line asked for."""

    place: Path | None
    "A data directory, or a config.yaml. None: the current directory, if it is one, or options say all."
    config: Path | None
    "See `config_path`."
    peers: tuple[str, ...]
    "NAME=HOST:PORT or HOST:PORT. Empty: the members."
    address: str | None
    "Where this host is reached. None: what the directory says."
    multicast: Mapping[str, Any]
    "Of `MulticastTransport` by name; they go before what the directory says. None: not said."
    listen: bool
    "Whether to answer others instead."
    seconds: float
    "For the network at most."
    json: bool
    "Whether stdout is for a machine."


def run(options: Options) -> int:
    """Look, and say what is wrong. 0 if nothing is, 1 if something is. Raises CannotStart."""
    try:
        case = case_of(
            options.place,
            config=options.config,
            peers=options.peers,
            address=options.address,
            multicast=options.multicast,
        )
    except ConfigError as error:
        raise CannotStart(str(error)) from error
    except OSError as error:
        raise CannotStart(f"{error.filename}: {error.strerror or error}") from error
    if options.listen:
        return _listen(case, json=options.json)
    # What the transport warns of is a finding here.
    silence = logging.NullHandler()
    logging.getLogger("raftkit").addHandler(silence)
    try:
        with Console(stderr=True).status("looking") as status:
            findings = in_order(trio.run(_examine, case, options.seconds, status.update))
    except KeyboardInterrupt:
        return INTERRUPTED
    finally:
        logging.getLogger("raftkit").removeHandler(silence)
    if options.json:
        print(as_json(findings))
    else:
        show(findings)
    return 1 if any(it.mark is Mark.WRONG for it in findings) else 0


def _listen(case: Case, *, json: bool) -> int:
    if case.own is None:
        raise CannotStart("--listen needs --address HOST:PORT, where this host is reached")
    with open_lines(json=json) as lines:
        try:
            trio.run(listen, case, lines.say)
        except ExceptionGroup as failed:
            error = first_of(failed)
        except ConfigError as failed:
            error = failed
        else:
            return 0
    if isinstance(error, ConfigError):
        raise CannotStart(f"{error}; a node that runs there answers doctors by itself") from error
    raise error


async def _examine(case: Case, seconds: float, progress: Callable[[str], None]) -> list[Finding]:
    """Everything that there is to be found, in no order."""
    before, seen, findings = read_clocks(), None, [versions()]
    if case.directory is not None:
        progress(f"asking the node of {case.directory}")
        seen = await look(case.directory)
        findings += judge_group(seen, case.directory)
        progress(f"writing to the disk of {case.directory}")
        findings += judge_disk(case.directory, await _disk(case.directory))
    voters = voters_of(case, seen)
    if voters is not None:
        findings.append(judge_voters(voters))
    peers = peers_of(case, seen)
    progress(f"probing {', '.join(peers)}")
    findings += await _network(case, seen, peers, seconds)
    findings.append(judge_clock(before, read_clocks()))
    return findings


async def _disk(directory: Path) -> Disk | None:
    """What was measured; None if a write hangs, which nothing can end."""
    with trio.move_on_after(DISK_SECONDS):
        return await trio.to_thread.run_sync(measure_disk, directory, abandon_on_cancel=True)
    return None


async def _network(
    case: Case, seen: Seen | None, peers: Mapping[str, str], seconds: float
) -> list[Finding]:
    connections: dict[str, Connection] = {}
    exchanges: Exchanges | str = ""

    async def connect_to(peer: str) -> None:
        connections[peer] = Connection(failure=f"no answer in {seconds:g} s")
        with trio.move_on_after(seconds):
            connections[peer] = await connect(peers[peer], insecure=case.insecure)

    async with trio.open_nursery() as nursery:
        for peer in peers:
            nursery.start_soon(connect_to, peer)
        if case.multicast is not None:
            try:
                exchanges = await exchange(case.multicast, case.own, peers, seconds)
            except ConfigError as error:
                exchanges = str(error)
    findings = list(_datagrams(case, peers, exchanges, connections))
    cluster = seen.statistics.cluster if isinstance(seen, Up) else None
    for peer, address in peers.items():
        findings += _connection(case, peer, address, connections[peer], cluster)
    return findings


def _datagrams(
    case: Case,
    peers: Mapping[str, str],
    exchanges: Exchanges | str,
    connections: Mapping[str, Connection],
) -> Iterator[Finding]:
    """What is to be said of UDP."""
    if case.multicast is None:
        return
    yield from judge_interface(case.multicast, exchanges)
    if isinstance(exchanges, str):
        return
    for peer, why in exchanges.unknown.items():
        yield Finding(
            check="network.unicast",
            mark=Mark.WRONG,
            words=why,
            advice=f"mend the address: {why}",
            peer=peer,
        )
    for peer, it in exchanges.with_peers.items():
        reached = bool(connections[peer].connects) or connections[peer].failure == "refused"
        yield from judge_exchange(
            peer, peers[peer], it, transport=case.multicast, host_answers=reached
        )
        trips = round_trips(it.round_trips)
        if trips is not None:
            loss = 1 - len(it.round_trips) / it.sent["unicast"]
            yield judge_round_trips(peer, trips, loss=loss, election_low=case.election_low)


def _connection(
    case: Case, peer: str, address: str, it: Connection, cluster: str | None
) -> Iterator[Finding]:
    """What is to be said of TCP."""
    needed = case.multicast is None
    yield judge_connection(peer, address, it, needed=needed, cluster=cluster)
    trips = round_trips(it.connects)
    if needed and trips is not None:
        yield judge_round_trips(peer, trips, loss=None, election_low=case.election_low)
