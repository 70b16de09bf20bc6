"""The program of one node process of the benchmark: a node, and the load, if it is asked for one.

    python -m raftkit.cli.bench.node NAME DIRECTORY bytes|typed LOSS NETWORK NAME=HOST:PORT …

LOSS is the part of arriving datagrams that it loses, see `traffic`. NETWORK and what follows are
`raftkit.cli.network.Network.arguments`.

Over the pipe it says `[0, "open"]` once and `[0, "edge"]` at both ends of the measured time, and answers

    leader                          → name of the leader, once one is known here
    load workload outstanding warm-up seconds
                                    → measured seconds, measured operations, acknowledged writes,
                                      [error, count] …, elections, then `Traffic`: from there on
                                      of the measured time
    probe seconds                   → longest gap in seconds, acknowledged, failed; see `Probe`
    transfer                        → name of the new leader, to whom this one handed over
    latencies first count           → so many of the last load's, four bytes each, in µs
    written                         → applications counted by the machine, linearizable

Laws: it lives as long as its stdin. What ends it is the last line on stderr, with exit code 1.
"""

from __future__ import annotations

import sys
from array import array
from contextlib import suppress
from pathlib import Path

import attrs
import trio

from raftkit import RaftError
from raftkit.cli.bench.gap import Probe
from raftkit.cli.bench.load import Load
from raftkit.cli.bench.subject import Subject, open_subject
from raftkit.cli.bench.traffic import Observed, Traffic
from raftkit.cli.bench.workload import LOADS, VALUE_BYTES, Mix
from raftkit.cli.network import transport_in
from raftkit.cli.pipe import NEWS, Pipe, stdio_pipe
from raftkit.cli.starting import first_of
from raftkit.encoding import MalformedError, unsigned

__all__ = ["main"]


def main() -> None:
    """Run the node that the arguments name."""
    name, directory, machine, loss, network, *places = sys.argv[1:]
    addresses = dict(place.split("=", 1) for place in places)
    observed = Observed(transport_in(network), float(loss))
    words = None
    try:
        trio.run(_run, name, Path(directory), machine, addresses, observed)
    except* RaftError as failed:
        words = str(first_of(failed))
    sys.exit(words)


async def _run(
    name: str,
    directory: Path,
    machine: str,
    addresses: dict[str, str],
    observed: Observed,
) -> None:
    """The node, until the benchmark closes the pipe."""
    pipe = stdio_pipe()
    settings = {
        "id": name,
        "members": addresses,
        "data_dir": directory,
        "transport": observed,
        "found": len(addresses) == 1,
    }
    async with open_subject(machine, settings) as subject:
        await pipe.send([NEWS, "open"])
        await _Service(subject, observed, pipe).run()


@attrs.define(eq=False)
class _Service:
    """What a node does for the benchmark."""

    _subject: Subject
    _observed: Observed
    _pipe: Pipe
    _latencies_us: array[int] = attrs.field(init=False, factory=lambda: array("I"))
    "Of the last load."

    async def run(self) -> None:
        """Serve until the pipe ends."""
        async with trio.open_nursery() as nursery:
            while (request := await self._pipe.receive()) is not None:
                nursery.start_soon(self._answer, request)
            nursery.cancel_scope.cancel()

    async def _answer(self, request: list[object]) -> None:
        number, *question = request
        try:
            answer = await self._done(question)
        except RaftError as error:
            answer = ["failed", f"{type(error).__name__}: {error}"]
        await self._say([number, *answer])

    async def _done(self, question: list[object]) -> list[object]:
        match question:
            case ["leader"]:
                return ["done", await self._subject.node.wait_leader()]
            case ["load", str(name), int(outstanding), float(warm_up), float(seconds)]:
                return ["done", *await self._load(LOADS[name], outstanding, warm_up, seconds)]
            case ["probe", float(seconds)]:
                return ["done", *await self._probe(seconds)]
            case ["transfer"]:
                return ["done", await self._subject.node.transfer_leadership()]
            case ["latencies", first, count]:
                start = unsigned(first)
                return ["done", self._latencies_us[start : start + unsigned(count)].tobytes()]
            case ["written"]:
                return ["done", await self._subject.written()]
            case _:
                raise MalformedError(f"no such request: {question!r:.80}")

    async def _probe(self, seconds: float) -> list[object]:
        """Write one after another from this node; what was longest without."""
        probe = Probe(lambda number: self._subject.write(number, VALUE_BYTES))
        await probe.run(seconds)
        return [probe.gap_seconds, probe.acknowledged, probe.failed]

    async def _load(
        self, mix: Mix, outstanding: int, warm_up: float, seconds: float
    ) -> list[object]:
        """Put this node under load; what was measured."""
        edges: list[tuple[int, Traffic]] = []

        async def at_edge() -> None:
            edges.append((self._subject.node.statistics().term, self._observed.traffic()))
            await self._say([NEWS, "edge"])

        subject = self._subject
        load = Load(
            outstanding=outstanding,
            write=lambda number: subject.write(number, mix.value_bytes),
            read=subject.read,
            writes_in_ten=mix.writes_in_ten,
        )
        await load.run(warm_up, seconds, at_edge)
        self._latencies_us = load.latencies_us
        (_, before), (_, after) = edges
        return [
            load.measured_seconds,
            len(load.latencies_us),
            load.acknowledged,
            [list(it) for it in sorted(load.errors.items())],
            # A term that nobody won was an election, too; so was one while the last writes were answered.
            self._subject.node.statistics().term - edges[0][0],
            *attrs.astuple(after.since(before)),
        ]

    async def _say(self, message: list[object]) -> None:
        with suppress(trio.BrokenResourceError):  # the pipe ends, and with it this node
            await self._pipe.send(message)


if __name__ == "__main__":
    main()
