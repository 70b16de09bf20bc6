"""The status of nodes for people: a few lines and a table each, once or again and again."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import assert_never

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from raftkit import Statistics
from raftkit.cli.status_look import Down, NoNode, Seen, Up
from raftkit.driver import MemberStatus

__all__ = ["Show", "open_status_view"]

_PIPE_COLUMNS = 200
"Where there is no terminal: nothing is to be cut off."

Show = Callable[[Sequence[Seen]], None]


@contextmanager
def open_status_view(*, again: bool) -> Generator[Show]:
    """What shows nodes on stdout; `again`: in place of what was shown before, on a terminal."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=_PIPE_COLUMNS)
    if again and console.is_terminal:
        with Live(console=console, auto_refresh=False, screen=False) as live:
            yield lambda seen: live.update(_picture(seen), refresh=True)
    else:
        yield lambda seen: console.print(_picture(seen))


def _picture(seen: Sequence[Seen]) -> RenderableType:
    parts: list[RenderableType] = []
    for it in seen:
        match it:
            case Up():
                parts += [Text(), *_up(it)] if parts else _up(it)
            case Down():
                parts += [Text(), *_down(it)] if parts else _down(it)
            case NoNode():
                parts.append(Text(it.why, "red"))
            case _:
                assert_never(it)
    return Group(*parts)


def _up(seen: Up) -> list[RenderableType]:
    now = seen.statistics
    votes = now.votes
    quorate = Text("yes", "green") if votes.quorate else Text("no", "bold red")
    rows: dict[str, str | Text] = {
        "Node": f"{now.id}@{now.incarnation:016x}, process {now.process}, in {seen.directory}",
        "Cluster": now.cluster or "none yet",
        "Status": now.status,
        "Leader": f"{now.leader or 'none'}, term {now.term}",
        "Quorate": quorate,
        "Votes": f"{votes.expected} expected, {votes.here} here, {votes.needed} needed",
        "Configuration": f"{len(now.members)} members, index {now.configuration_index}",
        "Log": (
            f"committed {now.commit_index:,}, applied {now.applied_index:,}, last {now.last_index:,}, "
            f"on disk {now.durable_index:,}, snapshot {now.snapshot_index:,}"
        ),
        "Disk": "at work" if now.stalled_seconds is None else _stalled(now.stalled_seconds),
        "Machine": f"version {now.version}" + _newer(now),
        "Local reads": (
            "may be of any age"
            if now.staleness is None
            else f"may lack the last {now.staleness:.3f} s"
        ),
        "Explanation": now.explanation,
    }
    return [_rows(rows), _members(now)]


def _newer(now: Statistics) -> str:
    newest = now.newest_version
    return "" if newest == now.version else f" in force, this code has {newest}"


def _stalled(seconds: float) -> Text:
    return Text(f"stands still, at one write for {seconds:.1f} s", "bold red")


def _down(seen: Down) -> list[RenderableType]:
    name = seen.id or "unknown"
    if seen.incarnation is not None:
        name += f"@{seen.incarnation:016x}"
    rows: dict[str, str | Text] = {
        "Node": f"{name}, in {seen.directory}",
        "Cluster": seen.cluster or "none yet",
        "Status": Text(seen.why, "bold red"),
        "Founders": ", ".join(f"{it} {address}" for it, address in seen.members.items())
        or "unknown",
    }
    return [_rows(rows)]


def _rows(rows: dict[str, str | Text]) -> Table:
    table = Table.grid(padding=(0, 2))
    for name, value in rows.items():
        # Text, for square brackets in a value are no markup.
        table.add_row(Text(name, "bold"), Text(value) if isinstance(value, str) else value)
    return table


def _members(now: Statistics) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in ("member", "address", "role", "votes", "here"):
        table.add_column(name)
    leads = any(it.progress is not None for it in now.members)
    if leads:
        table.add_column("matches", justify="right")
        table.add_column("mode")
    for it in now.members:
        row = [it.id, it.address, it.role, str(it.votes), _here(now, it)]
        if leads:
            row += [f"{it.progress.match_index:,}", it.progress.mode] if it.progress else ["", ""]
        table.add_row(*map(Text, row))
    return table


def _here(now: Statistics, member: MemberStatus) -> str:
    if member.id == now.id:
        return "this node"
    return "yes" if member.here else f"no: {member.why}"
