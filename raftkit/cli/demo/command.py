"""`raftkit demo`: a real text through real logs, a node killed half-way, every line compared.

Laws: the demo is a user of the public API like any other. It ends in one of four ways: a report, a
refusal to start (`CannotStart`, nothing was made), an interruption, or a bug's traceback.
"""

from __future__ import annotations

import logging
import shutil
import sys
from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, TypeVar

import attrs
import trio
from rich.console import Console

from raftkit.cli.demo.audit import Audit, Findings, pages
from raftkit.cli.demo.clients import Submission
from raftkit.cli.demo.cluster import Cluster, InProcess
from raftkit.cli.demo.member import Home, Member
from raftkit.cli.demo.processes import Processes
from raftkit.cli.demo.report import DemoFailed, Report
from raftkit.cli.demo.text import Line, Survey, Text, default_text, text_of
from raftkit.cli.demo.view import REFRESH_SECONDS, Scene, View, open_view
from raftkit.cli.network import Kind
from raftkit.cli.percentile import percentile
from raftkit.cli.starting import (
    INTERRUPTED,
    CannotStart,
    cancel_on_signal,
    data_directory,
    first_of,
    names_of,
)

__all__ = ["CannotStart", "Options", "run"]

R = TypeVar("R")


@attrs.frozen(kw_only=True)
class Options:
    """What the command line asked for."""

    in_process: bool
    "Whether the nodes are in this process."
    transport: Kind
    "How nodes in processes talk."
    input: Path | None
    "None: the default text."
    nodes: int
    "From 1."
    clients: int
    "From 1."
    seconds: float
    "The submission is spread over so long; 0: as fast as it goes."
    kill: Literal["leader", "follower", "none"]
    "Who is killed half-way."
    data: Path | None
    "Where the nodes' directories stay. None: nowhere."
    json: bool
    "Whether stdout is for a machine."


def run(options: Options) -> int:
    """Run the demo and show how it ended. Returns the exit code; raises CannotStart."""
    if options.kill == "follower" and options.nodes == 1:
        raise CannotStart("--kill follower: a single node has none; use --nodes 2 or more")
    if options.in_process and options.transport != "tcp":
        raise CannotStart(
            "--in-process: nodes of one process talk through its memory; leave out --transport"
        )
    text = _text(options.input)
    directory = data_directory(options.data, prefix="raftkit-demo-")
    console = Console(stderr=options.json)
    try:
        with open_view(console) as view, _warnings_shown(view):
            names = names_of(options.nodes)
            cluster = Cluster(names, _home(options, directory, names), view.note)
            report = trio.run(_Demo(options, text, view, cluster).run)
    except KeyboardInterrupt:  # a second Ctrl-C, while the first was being obeyed
        report = None
    keep = options.data is not None or (report is not None and not report.verified)
    if not keep:
        shutil.rmtree(directory, ignore_errors=True)
    if report is None:
        console.print("interrupted: nothing was verified", highlight=False)
        return INTERRUPTED
    for words in report.as_words():
        console.print(words, markup=False, highlight=False, soft_wrap=True)
    if keep:
        print(f"the nodes' directories are in {directory}", file=sys.stderr)
    if options.json:
        print(report.as_json(), flush=True)
    return report.exit_code


@attrs.define(eq=False)
class _Demo:
    """One run."""

    _options: Options
    _text: Text
    _view: View
    _cluster: Cluster
    _compared: int | None = attrs.field(init=False, default=None)
    "Lines compared; None while lines are replicated."

    async def run(self) -> Report | None:
        """Everything from the first node to the report; None if it was interrupted."""
        began = trio.current_time()
        survey = await trio.to_thread.run_sync(self._text.survey)
        submission = Submission(
            cluster=self._cluster,
            lines=self._text.lines(),
            count=survey.lines,
            seconds=self._options.seconds,
            victim=None if self._options.kill == "none" else self._options.kill,
            tell=self._view.note,
        )
        findings: Findings | None = None
        failure = ""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(cancel_on_signal, nursery.cancel_scope)
                nursery.start_soon(self._watch, submission)
                for name in self._cluster.names:
                    nursery.start_soon(self._cluster.keep, name)
                await submission.run(self._options.clients)
                findings = await self._compare(survey, submission)
                self._show(submission)
                nursery.cancel_scope.cancel()
        except* (DemoFailed, OSError) as failed:
            failure = str(first_of(failed))
        except* SystemExit:
            pass  # rich, when nobody reads the other end of the pipe any more: an interruption
        if findings is None and not failure:
            return None
        seconds = trio.current_time() - began
        return self._report(submission, seconds, findings, failure)

    async def _compare(self, survey: Survey, submission: Submission) -> Findings:
        """Ask every node for everything it holds, and lay it beside the text."""
        self._compared = 0
        if await trio.to_thread.run_sync(self._text.survey) != survey:
            raise DemoFailed(f"{self._text.name} was changed while it was replicated")
        held = await self._ask_all(lambda member: member.holdings())
        audit = Audit(
            refused=submission.refused,
            repeats={name: it.repeats for name, it in held.items()},
            counts={name: it.count for name, it in held.items()},
        )
        for page in pages(self._text.lines()):
            audit.take(page, await self._held(page))
            self._compared += len(page)
        return audit.conclude()

    async def _held(self, page: Sequence[Line]) -> Mapping[str, Sequence[bytes | None]]:
        """What every node holds of one page."""
        return await self._ask_all(lambda member: member.page(page[0].number, len(page)))

    async def _ask_all(self, question: Callable[[Member], Awaitable[R]]) -> dict[str, R]:
        """Every node's own answer, by its name."""
        return {name: await self._cluster.ask(name, question) for name in self._cluster.names}

    async def _watch(self, submission: Submission) -> None:
        """Show how things are, for ever."""
        while True:
            self._show(submission)
            await trio.sleep(REFRESH_SECONDS)

    def _show(self, submission: Submission) -> None:
        scene = Scene(
            phase="replicating" if self._compared is None else "comparing",
            done=submission.done if self._compared is None else self._compared,
            lines=submission.count,
            nodes=self._cluster.rows(),
        )
        self._view.show(scene)

    def _report(
        self, submission: Submission, seconds: float, findings: Findings | None, failure: str
    ) -> Report:
        gap, latencies = submission.gap_seconds, sorted(submission.latencies)
        took = submission.took_seconds
        led = sorted(self._cluster.leaders.items())
        return Report(
            input=self._text.name,
            nodes=self._options.nodes,
            clients=self._options.clients,
            lines=submission.count,
            seconds=seconds,
            refused=tuple(why for _, why in sorted(submission.refused.items())),
            findings=findings,
            failure=failure,
            kills=len(submission.kills),
            victim=self._options.kill,
            failover_gap_ms=None if gap is None else gap * 1000,
            sent_again=submission.sent_again,
            writes_per_s=len(latencies) / took if took else None,
            p50_ms=_in_ms(percentile(latencies, 0.50)),
            p99_ms=_in_ms(percentile(latencies, 0.99)),
            leaders=tuple(leader for _, leader in led),
            terms=tuple(term for term, _ in led),
        )


def _home(options: Options, directory: Path, names: tuple[str, ...]) -> Home:
    if options.in_process:
        return InProcess(directory=directory, names=names)
    return Processes(directory=directory, names=names, transport=options.transport)


def _in_ms(seconds: float | None) -> float | None:
    return None if seconds is None else seconds * 1000


def _text(path: Path | None) -> Text:
    """The text to replicate. Raises CannotStart if it can't be read."""
    if path is None:
        return default_text()
    try:
        return text_of(path)
    except OSError as error:
        raise CannotStart(f"--input {path}: {error.strerror or error}") from error


@contextmanager
def _warnings_shown(view: View) -> Generator[None]:
    """While this is open, what raftkit warns of is told by the view, which owns the screen."""
    handler = _Handler(view)
    logger = logging.getLogger("raftkit")
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


class _Handler(logging.Handler):
    """Hands log records to a view."""

    def __init__(self, view: View) -> None:
        super().__init__(logging.WARNING)
        self._view = view

    def emit(self, record: logging.LogRecord) -> None:
        self._view.note(self.format(record))
