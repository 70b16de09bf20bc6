"""The program of a node that can be put under load while it takes one snapshot after another.

    python -m benchmarks.growth.member NAME DIRECTORY typed LOSS NETWORK NAME=HOST:PORT …

The arguments are those of `raftkit.cli.bench.node`; LOSS is not looked at. Over the pipe it says
`[0, "open"]` once, and answers

    leader                          → name of the leader, once one is known here
    load outstanding warm-up seconds snapshots
                                    → measured seconds, writes, their p50 and p99 in µs, the longest gap
                                      between two in µs, elections, snapshots, seconds of each (the median),
                                      bytes of the last, [error, count] …

Laws: it lives as long as its stdin. The measured time lies within snapshots: one begins with it, and the next
when the one before is durable; the last may outlast it.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from time import perf_counter, perf_counter_ns

import attrs
import trio

from raftkit import RaftError
from raftkit.cli.bench.load import Load
from raftkit.cli.bench.subject import Subject, open_subject
from raftkit.cli.bench.workload import VALUE_BYTES
from raftkit.cli.network import transport_in
from raftkit.cli.percentile import percentile
from raftkit.cli.pipe import NEWS, Pipe, stdio_pipe
from raftkit.cli.starting import first_of
from raftkit.encoding import MalformedError

__all__ = ["main"]


def main() -> None:
    """Run the node that the arguments name."""
    name, directory, machine, _, network, *places = sys.argv[1:]
    settings = {
        "id": name,
        "members": dict(place.split("=", 1) for place in places),
        "data_dir": Path(directory),
        "transport": transport_in(network),
    }
    words = None
    try:
        trio.run(_run, machine, settings)
    except* RaftError as failed:
        words = str(first_of(failed))
    sys.exit(words)


async def _run(machine: str, settings: dict[str, object]) -> None:
    """The node, until the pipe ends."""
    pipe = stdio_pipe()
    async with open_subject(machine, settings) as subject, trio.open_nursery() as nursery:
        await pipe.send([NEWS, "open"])
        while (request := await pipe.receive()) is not None:
            nursery.start_soon(_answer, subject, pipe, request)
        nursery.cancel_scope.cancel()


async def _answer(subject: Subject, pipe: Pipe, request: list[object]) -> None:
    number, *question = request
    try:
        answer = ["done", *await _done(subject, question)]
    except RaftError as error:
        answer = ["failed", f"{type(error).__name__}: {error}"]
    with suppress(trio.BrokenResourceError):  # the pipe ends, and with it this node
        await pipe.send([number, *answer])


async def _done(subject: Subject, question: list[object]) -> list[object]:
    match question:
        case ["leader"]:
            return [await subject.node.wait_leader()]
        case ["load", int(outstanding), float(warm_up), float(seconds), bool(snapshots)]:
            return await _load(subject, outstanding, warm_up, seconds, snapshots=snapshots)
        case _:
            raise MalformedError(f"no such request: {question!r:.80}")


async def _load(
    subject: Subject, outstanding: int, warm_up: float, seconds: float, *, snapshots: bool
) -> list[object]:
    """Put this node under load; what was measured."""
    node, gaps, taken = subject.node, Gaps(subject.write), Snapshots(subject)
    load = Load(outstanding=outstanding, write=gaps.write)
    terms: list[int] = []

    async def at_edge() -> None:
        terms.append(node.statistics().term)
        if len(terms) == 1:
            gaps.begin()
            if snapshots:
                nursery.start_soon(taken.run)
        else:
            gaps.end()
            taken.over = True

    async with trio.open_nursery() as nursery:
        await load.run(warm_up, seconds, at_edge)
    latencies = sorted(load.latencies_us)
    return [
        load.measured_seconds,
        len(latencies),
        percentile(latencies, 0.5),
        percentile(latencies, 0.99),
        gaps.longest_ns // 1000,
        node.statistics().term - terms[0],
        len(taken.seconds),
        statistics.median(taken.seconds) if taken.seconds else 0.0,
        taken.size,
        [list(it) for it in sorted(load.errors.items())],
    ]


@attrs.define(eq=False)
class Gaps:
    """Writes, and the longest time without one that was acknowledged."""

    _write: Callable[[int, int], Awaitable[object]]
    longest_ns: int = attrs.field(init=False, default=0)
    "In the measured time."
    _last_ns: int | None = attrs.field(init=False, default=None)
    "None outside of the measured time."

    async def write(self, number: int) -> None:
        """One write."""
        await self._write(number, VALUE_BYTES)
        if self._last_ns is not None:
            self._note()

    def begin(self) -> None:
        """The measured time begins."""
        self._last_ns = perf_counter_ns()

    def end(self) -> None:
        """It is over; what had not been acknowledged by then counts until now."""
        self._note()
        self._last_ns = None

    def _note(self) -> None:
        now = perf_counter_ns()
        assert self._last_ns is not None
        self.longest_ns = max(self.longest_ns, now - self._last_ns)
        self._last_ns = now


@attrs.define(eq=False)
class Snapshots:
    """Taken one after the other."""

    _subject: Subject
    over: bool = attrs.field(init=False, default=False)
    "No more are to begin."
    seconds: list[float] = attrs.field(init=False, factory=list[float])
    "How long each took."
    size: int = attrs.field(init=False, default=0)
    "Bytes of the last."

    async def run(self) -> None:
        """At least one."""
        while not self.over:
            began = perf_counter()
            self.size = (await self._subject.node.snapshot()).size
            self.seconds.append(perf_counter() - began)


if __name__ == "__main__":
    main()
