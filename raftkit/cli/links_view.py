"""Who hears whom, for people: a table with a row and a column for each member."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from raftkit import MemberLinks

__all__ = ["show"]

_PIPE_COLUMNS = 2000
"Where there is no terminal: nothing is to be cut off, and 64 members take so much."


def show(own: str, rows: Sequence[MemberLinks]) -> None:
    """Print it; `own` is the node that was asked."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=_PIPE_COLUMNS)
    console.print(_matrix(own, rows) if rows else f"{own} belongs to no group yet")


def _matrix(own: str, rows: Sequence[MemberLinks]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("hears")
    for row in rows:
        table.add_column(Text(row.id))
    for name in ("said so", "leader", "term", "last index", "applied"):
        table.add_column(name)
    ages = {it.id: it.heard_age for it in rows}
    for row in rows:
        cells = [_cell(row, it.id, ages[it.id] if row.id == own else None) for it in rows]
        table.add_row(Text(row.id, "bold"), *cells, *map(Text, _said(row)))
    return table


def _cell(row: MemberLinks, other: str, age: float | None) -> Text:
    """Whether the member of `row` hears `other`; `age`: since when not, if that is known."""
    since = "" if age is None else f"{age:.1f} s"
    if other == row.id:
        return Text("·")
    if row.missing is None:
        return Text("?", "yellow")
    if other in row.missing:
        return Text(f"no, {since}" if since else "no", "bold red")
    return Text(since or "yes", "green")


def _said(row: MemberLinks) -> tuple[str, ...]:
    """What a member said of itself, and when."""
    said = row.said
    if said is None or row.said_age is None:
        return ("never", "", "", "", "")
    when = f"{row.said_age:.1f} s ago" if row.said_age else "now"
    return (
        when,
        said.leader or "none",
        f"{said.term:,}",
        f"{said.last_index:,}",
        f"{said.applied_index:,}",
    )
