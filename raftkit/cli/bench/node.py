"""The program of one node process of the benchmark: a node, and the load, if it is asked for one.

    python -m raftkit.cli.bench.node NAME DIRECTORY bytes|typed LOSS NETWORK NAME=HOST:PORT …

LOSS is the part of arriving datagrams that it loses, see `traffic`. NETWORK and what follows are
`raftkit.cli.network.Network.arguments`.

Over the pipe it says `[0, "open"]` once and `[0, "edge"]` at both ends of the measured time, and answers

    leader                          → name of the leader, once one is known here
    load outstanding warm-up seconds → measured seconds, measured writes, acknowledged, [error, count] …,
                                      elections, then `Traffic`: from there on of the measured time
    latencies first count           → so many of the last load's, four bytes each, in µs
    written                         → applications counted by the machine, linearizable

Laws: it lives as long as its stdin. What ends it is the last line on stderr, with exit code 1.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import attrs
import trio

from raftkit import Node, RaftError, open_node
from raftkit.cli.bench.load import Load
from raftkit.cli.bench.machine import KEYS, VALUE_BYTES, Register, Table
from raftkit.cli.bench.traffic import Observed, Traffic
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
    async with _open_subject(machine, settings) as subject:
        await pipe.send([NEWS, "open"])
        await _Service(subject, observed, pipe).run()


@attrs.frozen(kw_only=True)
class _Subject:
    """A node under test, with the two things that are done to its machine."""

    node: Node[Any]
    write: Callable[[int], Awaitable[object]]
    "Writes a value made of the number."
    written: Callable[[], Awaitable[int]]
    "How many the machine has applied."


@asynccontextmanager
async def _open_subject(machine: str, settings: dict[str, Any]) -> AsyncGenerator[_Subject]:
    match machine:
        case "bytes":
            async with open_node(Register, **settings) as register:
                yield _Subject(
                    node=register,
                    write=lambda number: register.execute(_value(number), session=None),
                    written=lambda: register.read(lambda it: it.count),
                )
        case "typed":
            async with open_node(Table, **settings) as table:
                yield _Subject(
                    node=table,
                    write=lambda number: table.execute(
                        Table.put(key=number % KEYS, value=_value(number))
                    ),
                    written=lambda: table.read(Table.written()),
                )
        case _:
            raise AssertionError(machine)


def _value(number: int) -> bytes:
    return number.to_bytes(VALUE_BYTES, "big")


@attrs.define(eq=False)
class _Service:
    """What a node does for the benchmark."""

    _subject: _Subject
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
            case ["load", int(outstanding), float(warm_up), float(seconds)]:
                return ["done", *await self._load(outstanding, warm_up, seconds)]
            case ["latencies", first, count]:
                start = unsigned(first)
                return ["done", self._latencies_us[start : start + unsigned(count)].tobytes()]
            case ["written"]:
                return ["done", await self._subject.written()]
            case _:
                raise MalformedError(f"no such request: {question!r:.80}")

    async def _load(self, outstanding: int, warm_up: float, seconds: float) -> list[object]:
        """Put this node under load; what was measured."""
        edges: list[tuple[int, Traffic]] = []

        async def at_edge() -> None:
            edges.append((self._subject.node.statistics().term, self._observed.traffic()))
            await self._say([NEWS, "edge"])

        load = Load(outstanding=outstanding, write=self._subject.write)
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
