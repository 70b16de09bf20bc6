"""What was found, as a table for people and as JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Final

import attrs
from rich.console import Console
from rich.table import Table
from rich.text import Text

from raftkit.cli.doctor.findings import Finding, Mark, next_step

__all__ = ["as_json", "show"]

_PIPE_COLUMNS: Final = 2000
"Where there is no terminal: nothing is to be cut off."
_STYLES: Final[Mapping[Mark, str]] = {
    Mark.OK: "green",
    Mark.WARNING: "yellow",
    Mark.WRONG: "bold red",
    Mark.UNKNOWN: "yellow",
}


def show(findings: Sequence[Finding]) -> None:
    """A row for each check, what to do about each that needs something, and where to begin."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=_PIPE_COLUMNS)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in ("check", "with", "mark", "finding"):
        table.add_column(name, overflow="fold")
    for it in findings:
        words = Text(it.words)
        if it.advice and it.mark is not Mark.OK:
            words.append(f"\n→ {it.advice}", "bold" if it.mark is Mark.WRONG else "")
        table.add_row(Text(it.check), Text(it.peer or ""), Text(it.mark, _STYLES[it.mark]), words)
    console.print(table)
    step = next_step(findings)
    if step is None:
        console.print("nothing is wrong", markup=False, highlight=False)
    else:
        at = f" ({step.peer})" if step.peer else ""
        line = f"next: {step.check}{at}: {step.advice}"
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def as_json(findings: Sequence[Finding]) -> str:
    """The same, as one JSON object on one line."""
    step = next_step(findings)
    counts = {mark.value: sum(it.mark is mark for it in findings) for mark in Mark}
    said = {
        "counts": counts,
        "next": step.advice if step is not None else None,
        "checks": [attrs.asdict(it, recurse=False) for it in findings],
    }
    return json.dumps(said)
