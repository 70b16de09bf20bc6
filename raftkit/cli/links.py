"""`raftkit links`: who hears whom in a group, as one of its nodes knows it.

Law: a row is what its member says of itself; where that is not known it is a question mark, never a yes.
"""

from __future__ import annotations

import json as encoding
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import cattrs
from rich.console import Console
from rich.table import Table
from rich.text import Text

from raftkit import MemberLinks
from raftkit.cli.order import Json, NotDone, give

__all__ = ["links"]

_PIPE_COLUMNS = 2000
"Where there is no terminal: nothing is to be cut off, and 64 members take so much."

_converter = cattrs.Converter(detailed_validation=False)


def links(directory: Path = Path(), /, *, json: Json = False) -> int:
    """Say who hears whom in a group: a row for each member, as it says itself.

    The row of the node that is asked says for how long it has heard nothing from each; those of the others
    yes or no, or a question mark where they have not said so lately. Exits with 0 if everybody is known to
    hear everybody, with 1 if not.

    Parameters
    ----------
    directory
        The data directory of any node that runs on this machine. Default: the current one.
    json
        One JSON object, with what each member said of its log too.
    """
    answer = cast("dict[str, Any]", give(directory, "links"))
    try:
        rows = _converter.structure(answer["links"], list[MemberLinks])
        own = str(answer["id"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise NotDone(
            "the node answers as another version of raftkit would: use that one's command"
        ) from error
    if json:
        print(encoding.dumps({"directory": str(directory), **answer}))
    else:
        _show(own, rows)
    return 0 if rows and all(it.missing == () for it in rows) else 1


def _show(own: str, rows: Sequence[MemberLinks]) -> None:
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
