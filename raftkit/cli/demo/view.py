"""How the demo is watched: a picture that is redrawn on a terminal, a line a second anywhere else.

Law: a view only shows. It is given scenes and notes, and nothing it does changes the demo.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Generator
from contextlib import contextmanager
from typing import Protocol

import attrs
from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from raftkit.cli.demo.member import NodeRow

__all__ = ["REFRESH_SECONDS", "Scene", "View", "open_view", "sparkline"]

REFRESH_SECONDS = 0.25
"Between two scenes."
_LINE_SECONDS = 1.0
"Between two lines where there is no terminal."
_BARS = "▁▂▃▄▅▆▇█"
_HISTORY = 48
"Scenes in the sparkline."
_COLOURS = {"leader": "bold green", "follower": "default", "down": "bold red"}


@attrs.frozen(kw_only=True)
class Scene:
    """What there is to see at one moment."""

    phase: str
    "What is going on, as a verb."
    done: int
    "Lines done in this phase."
    lines: int
    "Lines there are."
    nodes: tuple[NodeRow, ...]
    "Every node's own words."


class View(Protocol):
    """Who shows the demo."""

    def show(self, scene: Scene) -> None:
        """This is how things are now."""

    def note(self, words: str) -> None:
        """This has just happened."""


@contextmanager
def open_view(console: Console) -> Generator[View]:
    """The view that suits where `console` writes."""
    if not console.is_terminal:
        yield PlainView(console, time.monotonic())
        return
    with Live(console=console, auto_refresh=False) as live:
        yield LiveView(live, time.monotonic())


def sparkline(values: list[float]) -> str:
    """One bar for each value, the highest of them full."""
    top = max(values, default=0.0)
    if top <= 0:
        return _BARS[0] * len(values)
    return "".join(_BARS[round(value / top * (len(_BARS) - 1))] for value in values)


@attrs.define(eq=False)
class PlainView:
    """Lines, for pipes and files."""

    _console: Console
    _began: float
    _next: float = attrs.field(init=False, default=0.0)
    "When the next scene is worth a line, in the time of `_began`."

    def show(self, scene: Scene) -> None:
        """See `View`."""
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + _LINE_SECONDS
        nodes = ", ".join(_words(row) for row in scene.nodes)
        self.note(f"{scene.phase}: {scene.done:,} of {scene.lines:,} lines; {nodes}")

    def note(self, words: str) -> None:
        """See `View`."""
        _print(self._console, self._began, words)


@attrs.define(eq=False)
class LiveView:
    """A table, a bar and a sparkline, redrawn in place; notes scroll away above them."""

    _live: Live
    _began: float
    _rates: deque[float] = attrs.field(init=False, factory=lambda: deque[float](maxlen=_HISTORY))
    "Lines a second between scenes."
    _last: tuple[float, Scene] | None = attrs.field(init=False, default=None)
    "The scene that is shown, and when it was."
    _progress: Progress = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=40),
            TextColumn("{task.completed:,.0f} of {task.total:,.0f}"),
            TimeRemainingColumn(compact=True),
            auto_refresh=False,
        )
        self._progress.add_task("", total=0)

    def show(self, scene: Scene) -> None:
        """See `View`."""
        self._measure(scene)
        bar = self._progress.tasks[0].id
        self._progress.update(bar, description=scene.phase, total=scene.lines, completed=scene.done)
        rate = self._rates[-1] if self._rates else 0
        picture = Group(
            _table(scene.nodes),
            self._progress.get_renderable(),
            Text.assemble(f"{rate:,.0f} lines/s  ", (sparkline(list(self._rates)), "cyan")),
        )
        self._live.update(picture, refresh=True)

    def note(self, words: str) -> None:
        """See `View`."""
        _print(self._live.console, self._began, words)

    def _measure(self, scene: Scene) -> None:
        """Note the rate since the last scene, unless another phase began with this one."""
        now, last = time.monotonic(), self._last
        self._last = now, scene
        if last is not None and last[1].phase == scene.phase and now > last[0]:
            self._rates.append((scene.done - last[1].done) / (now - last[0]))


def _print(console: Console, began: float, words: str) -> None:
    seconds = time.monotonic() - began
    console.print(f"{seconds:6.1f} s  {words}", markup=False, highlight=False, soft_wrap=True)


def _words(row: NodeRow) -> str:
    if not row.term:
        return f"{row.id} {row.role}"
    return f"{row.id} {row.role} of term {row.term} at {row.applied:,}"


def _table(rows: tuple[NodeRow, ...]) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in ("node", "role", "leader"):
        table.add_column(name)
    for name in ("term", "commit", "applied"):
        table.add_column(name, justify="right", min_width=9)
    for row in rows:
        role = Text(row.role, style=_COLOURS.get(row.role, "yellow"))
        if not row.term:
            table.add_row(row.id, role)
            continue
        table.add_row(
            row.id, role, row.leader or "none", str(row.term), f"{row.commit:,}", f"{row.applied:,}"
        )
    return table
