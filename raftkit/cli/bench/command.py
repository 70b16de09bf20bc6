"""`raftkit bench`: how many writes a second a group takes on this machine, how long they take, and why.

Laws: it is a user of the public API like any other, and its load runs in a node's process, as that of a
program would that embeds raftkit. It ends by itself; what it started ends with it. While it measures it
does next to nothing else.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import attrs
import trio
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from raftkit.cli.bench.environment import Environment, environment_of
from raftkit.cli.bench.gap import FAULTS, Gap
from raftkit.cli.bench.group import BenchFailed, Group, open_group
from raftkit.cli.bench.idle import Idle
from raftkit.cli.bench.report import Measurement, Report
from raftkit.cli.bench.workload import Place, Workload
from raftkit.cli.network import Kind
from raftkit.cli.starting import (
    INTERRUPTED,
    CannotStart,
    cancel_on_signal,
    data_directory,
    first_of,
    names_of,
)

__all__ = ["Options", "run"]

OUTSTANDING_MAX = 4096
"A session takes no more."
WARM_UP_SECONDS = 1.0
"At most; a shorter measurement has a warm-up as long as itself."
_REFRESH_SECONDS = 0.5
"Between two movements of the bar: it must not cost what is measured."


@attrs.frozen(kw_only=True)
class Options:
    """What the command line asked for."""

    outstanding: str
    "Numbers of operations under way, with commas between."
    seconds: float
    "Of each measurement, above 0."
    machine: Literal["bytes", "typed", "both"]
    "Which machines."
    workload: Workload
    "What is measured."
    at: Place
    "In whose process a load runs."
    nodes: int
    "From 1."
    transport: Kind
    "How nodes talk."
    loss: float
    "Part of the datagrams that each loses, from 0 to below 1. Above 0 only with multicast."
    data: Path | None
    "Where the nodes' directories stay. None: nowhere."
    json: bool
    "Whether stdout is for a machine."


def run(options: Options) -> int:
    """Run the benchmark and show what it measured. Returns the exit code; raises CannotStart."""
    loads = _loads(options.outstanding)
    if options.loss and options.transport == "tcp":
        raise CannotStart(
            f"--loss {options.loss:g}: TCP mends losses before raftkit sees them; add --transport multicast"
        )
    if options.nodes == 1 and (options.workload == "failover" or options.at == "follower"):
        raise CannotStart("--nodes 1: a group of one has no follower; give at least 3 nodes")
    directory = data_directory(options.data, prefix="raftkit-bench-")
    console = Console(stderr=options.json)
    try:
        bench = _Bench(options, loads, directory, environment_of(directory))
        with _open_view(console, bench.total_seconds) as view:
            report = trio.run(bench.run, view)
    except KeyboardInterrupt:  # before the bench listens to signals, or a second one
        report = None
    finally:
        if options.data is None:
            shutil.rmtree(directory, ignore_errors=True)
    if report is None:
        console.print("interrupted", highlight=False)
        return INTERRUPTED
    if report.measurements:
        console.print(report.as_table())
    for words in report.as_words():
        console.print(words, markup=False, highlight=False, soft_wrap=True)
    if options.data is not None:
        print(f"the nodes' directories are in {directory}", file=sys.stderr)
    if options.json:
        print(report.as_json(), flush=True)
    return report.exit_code


@attrs.define(eq=False)
class _Bench:
    """One run."""

    _options: Options
    _loads: tuple[int, ...]
    _directory: Path
    _environment: Environment
    _measurements: list[Measurement] = attrs.field(init=False, factory=list[Measurement])
    _gaps: list[Gap] = attrs.field(init=False, factory=list[Gap])
    _idle: list[Idle] = attrs.field(init=False, factory=list[Idle])

    @property
    def machines(self) -> tuple[str, ...]:
        """Which are measured, in order."""
        return ("bytes", "typed") if self._options.machine == "both" else (self._options.machine,)

    @property
    def warm_up(self) -> float:
        """Seconds before each measurement."""
        return min(WARM_UP_SECONDS, self._options.seconds)

    @property
    def total_seconds(self) -> float:
        """What all measurements take together, as far as known before."""
        match self._options.workload:
            case "failover":
                each = len(FAULTS) * self._options.seconds
            case "idle":
                each = self._options.seconds
            case _:
                each = len(self._loads) * (self.warm_up + self._options.seconds)
        return len(self.machines) * each

    async def run(self, view: _View) -> Report | None:
        """Measure everything; None if it was interrupted."""
        failure, is_whole = "", False
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(cancel_on_signal, nursery.cancel_scope)
                nursery.start_soon(view.keep_moving)
                for machine in self.machines:
                    await self._measure(machine, view)
                is_whole = True
                nursery.cancel_scope.cancel()
        except* BenchFailed as failed:
            failure = str(first_of(failed))
        except* SystemExit:
            pass  # rich, when nobody reads the other end of the pipe any more: an interruption
        if not is_whole and not failure:
            return None
        return Report(
            environment=self._environment,
            nodes=self._options.nodes,
            transport=self._options.transport,
            loss=self._options.loss,
            measurements=tuple(self._measurements),
            gaps=tuple(self._gaps),
            idle=tuple(self._idle),
            failure=failure,
        )

    async def _measure(self, machine: str, view: _View) -> None:
        """All there is to measure on one machine, by one group."""
        directory = self._directory / machine
        await trio.Path(directory).mkdir()
        names, transport = names_of(self._options.nodes), self._options.transport
        opened = open_group(machine, directory, names, transport, loss=self._options.loss)
        async with opened as group:
            match self._options.workload:
                case "failover":
                    await self._hurt(group, view)
                case "idle":
                    await self._rest(group, view)
                case _:
                    await self._burden(group, view)

    async def _burden(self, group: Group, view: _View) -> None:
        """Every load."""
        options = self._options
        for outstanding in self._loads:
            words = f"{group.machine}, {outstanding} outstanding"
            with view.stage(words, self.warm_up + options.seconds):
                found = await group.measure(
                    outstanding,
                    warm_up=self.warm_up,
                    seconds=options.seconds,
                    workload=options.workload,
                    at=options.at,
                )
            self._measurements.append(found)
            view.note(found.as_words())

    async def _hurt(self, group: Group, view: _View) -> None:
        """Every fault, the last of which is the end of a node."""
        for fault in FAULTS:
            with view.stage(f"{group.machine}, {fault}", self._options.seconds):
                found = await group.gap(fault, self._options.seconds)
            self._gaps.append(found)
            view.note(found.as_words())

    async def _rest(self, group: Group, view: _View) -> None:
        """Nothing to do."""
        with view.stage(f"{group.machine}, idle", self._options.seconds):
            found = await group.idle(self._options.seconds)
        self._idle.append(found)
        view.note(found.as_words())


@attrs.define(eq=False)
class _View:
    """A line for each measurement, and a bar below them on a terminal."""

    _console: Console
    _bar: tuple[Progress, TaskID] | None
    "None where there is no terminal."
    _done: float = attrs.field(init=False, default=0.0)
    "Seconds of the stages that are over."
    _stage: tuple[str, float, float] | None = attrs.field(init=False, default=None)
    "What is going on, since when in trio's time, and how many seconds it takes."

    def note(self, words: str) -> None:
        """This has just happened."""
        self._console.print(words, markup=False, highlight=False, soft_wrap=True)

    @contextmanager
    def stage(self, words: str, seconds: float) -> Generator[None]:
        """While this is open, `words` is going on, which takes so many seconds."""
        self._stage = words, trio.current_time(), seconds
        yield
        self._stage = None
        self._done += seconds

    async def keep_moving(self) -> None:
        """Move the bar, for ever."""
        while self._bar is not None:
            progress, task = self._bar
            words, done = "starting", self._done
            if self._stage is not None:
                words, began, seconds = self._stage
                done += min(trio.current_time() - began, seconds)
            progress.update(task, description=words, completed=done, refresh=True)
            await trio.sleep(_REFRESH_SECONDS)


@contextmanager
def _open_view(console: Console, total_seconds: float) -> Generator[_View]:
    """The view that suits where `console` writes."""
    if not console.is_terminal:
        yield _View(console, None)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=40),
        TimeRemainingColumn(compact=True),
    )
    with Progress(*columns, console=console, auto_refresh=False, transient=True) as progress:
        yield _View(console, (progress, progress.add_task("", total=total_seconds)))


def _loads(words: str) -> tuple[int, ...]:
    """The numbers in "1,16,64". Raises CannotStart."""
    try:
        loads = tuple(map(int, words.split(",")))
    except ValueError:
        loads = ()
    if not loads or not all(1 <= it <= OUTSTANDING_MAX for it in loads):
        raise CannotStart(
            f"--outstanding {words}: give numbers from 1 to {OUTSTANDING_MAX} with commas between, "
            "such as 1,16,64,256"
        )
    return loads
