"""`raftkit log show` and `raftkit log verify`: a data directory looked at, and not touched.

Laws: entries and findings go to stdout, whatever else there is to say to stderr. An entry is shown while the
next one is read, so a log of any length takes the memory of a few runs.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from json import dumps
from pathlib import Path, PurePath
from typing import Annotated, Any

from cyclopts import App, Parameter
from cyclopts.validators import Number
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from raftkit import ConfigError, LogCorrupt, StorageError, WrongCluster
from raftkit.cli.factory import CannotLoad, load_factory
from raftkit.cli.log_rows import HEADING, Row, hexadecimal, rows_of, words_of
from raftkit.cli.starting import CannotLook
from raftkit.model import Index
from raftkit.storage.inspecting import Checked, Inspection, NoDataDirectory, open_inspection

__all__ = ["app"]

_LONG_BYTES = 64 * 1024 * 1024
"A directory of so many bytes takes so long to read that progress is shown."
_STEP = 0.005
"The part of the whole between two changes of the bar."

app = App(name="log")


@app.command
def show(
    directory: Path,
    /,
    *,
    first: Annotated[int, Parameter(validator=Number(gte=1))] = 1,
    last: Annotated[int | None, Parameter(validator=Number(gte=1))] = None,
    machine: str | None = None,
    json: Annotated[bool, Parameter(negative=())] = False,
) -> int:
    """Show the entries of a log, one a line.

    Parameters
    ----------
    directory
        The data directory of a node.
    first
        The first entry to show.
    last
        The last entry to show. Default: the last of the log.
    machine
        Show commands as they were written, add(amount=5): MODULE:NAME or FILE.py:NAME of the machine, whose
        module is run. Default: their first bytes.
    json
        One JSON object an entry.
    """
    if last is not None and last < first:
        raise CannotLook(f"--first {first} is after --last {last}")
    try:
        words = hexadecimal if machine is None else words_of(load_factory(machine))
    except (CannotLoad, ConfigError) as error:
        raise CannotLook(f"--machine: {error}") from error
    show_row = _json_line if json else _columns()
    with _inspection(directory) as found:
        end = found.last if last is None else Index(last)
        for placed in found.runs(Index(first), end):
            for row in rows_of(placed, words):
                show_row(row)
        sys.stdout.flush()
        _tell_what_is_not_shown(found, Index(first), end)
    return 0


@app.command
def verify(directory: Path, /, *, json: Annotated[bool, Parameter(negative=())] = False) -> int:
    """Read everything in a data directory, and say whether a node can start from it.

    Exit code 1 if it can't.

    Parameters
    ----------
    directory
        The data directory of a node.
    json
        One JSON object.
    """
    try:
        with _progress(directory) as tell, _inspection(directory) as found:
            checked = found.verify(tell)
            said = _findings(found, checked)
            print(dumps(said) if json else "\n".join(_words(found, checked)), flush=True)
    except (StorageError, WrongCluster) as error:
        if json:
            print(dumps(_refusal(directory, error)), flush=True)
        raise
    return 0


@contextmanager
def _inspection(directory: Path) -> Generator[Inspection]:
    """The directory, open. Ends quietly when nobody reads the output any more. Raises CannotLook, too."""
    try:
        with open_inspection(directory) as found:
            yield found
    except NoDataDirectory as error:
        raise CannotLook(str(error)) from error
    except BrokenPipeError:
        # Python flushes stdout once more at exit, and would complain then.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        raise StorageError(f"{directory}: {error}") from error


# ── show ─────────────────────────────────────────────────────────────────────────────────────────────


def _json_line(row: Row) -> None:
    print(row.as_json())


def _columns() -> Callable[[Row], None]:
    """Prints rows as columns: whole lines into a pipe, lines that fit on a terminal, below a heading."""
    if not sys.stdout.isatty():
        return lambda row: print(row.as_columns())
    console = Console()

    def line(words: str, style: str) -> None:
        console.print(Text(words, style=style), no_wrap=True, overflow="ellipsis", crop=True)

    line(HEADING, "bold")
    return lambda row: line(row.as_columns(), "" if row.entry.kind == 0 else "cyan")


def _tell_what_is_not_shown(found: Inspection, first: Index, last: Index) -> None:
    notes: list[str] = []
    if found.log is None:
        notes.append(f"node {found.identity.identity.id} was never founded: it has no log")
    elif first > found.last or last < found.first:
        notes.append(f"the log holds entries {found.first} to {found.last}")
    if first < found.first and found.log is not None:
        notes.append(
            f"entries up to {found.first - 1} are in a snapshot, and not in the log any more"
        )
    removed = found.removed(max(first, found.first), last)
    if removed:
        notes.append(f"not shown: {removed} entries that a later leader replaced or removed")
    for note in notes:
        print(note, file=sys.stderr)


# ── verify ───────────────────────────────────────────────────────────────────────────────────────────


@contextmanager
def _progress(directory: Path) -> Generator[Callable[[float], None]]:
    """Shows on a terminal how far a long reading has come; what is yielded is told that part."""
    console = Console(stderr=True)
    if not console.is_terminal or _size(directory) < _LONG_BYTES:
        yield lambda _: None
        return
    columns = (TextColumn("reading"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("", total=None)
        shown = 0.0

        def tell(part: float) -> None:
            nonlocal shown
            if part - shown >= _STEP:
                shown = part
                progress.update(task, total=1.0, completed=part)

        yield tell


def _size(directory: Path) -> int:
    """Bytes of the files in it; 0 if it can't be listed: whoever opens it will say why."""
    try:
        return sum(each.stat().st_size for each in directory.iterdir())
    except OSError:
        return 0


def _findings(found: Inspection, checked: Checked) -> dict[str, Any]:
    """What `verify` says to programs."""
    record = found.identity
    founding = record.founding
    term, voted_for = found.hard_state
    terms = _terms(found)
    return {
        "directory": found.path,
        "ok": True,
        "id": record.identity.id,
        "incarnation": f"{record.identity.incarnation:016x}",
        "boot": record.boot,
        "cluster": None if founding is None else founding.scope.cluster.hex(),
        "epoch": None if founding is None else founding.scope.epoch.number,
        "term": term,
        "voted_for": None if voted_for is None else str(voted_for),
        "segments": checked.segments,
        "records": checked.records,
        "bytes": checked.bytes,
        "first": found.first if terms else None,
        "last": found.last if terms else None,
        "first_term": terms[0] if terms else None,
        "last_term": terms[1] if terms else None,
        "snapshots": [
            {"index": it.index, "term": it.term, "bytes": it.size} for it in found.snapshots
        ],
        "torn_bytes": found.torn,
        "remarks": _remarks(found, checked),
    }


def _words(found: Inspection, checked: Checked) -> list[str]:
    """What `verify` says to people."""
    said = _findings(found, checked)
    lines = [f"{found.path}: node {found.identity.identity}, boot {said['boot']}"]
    if said["cluster"] is None:
        return [*lines, "never founded: it has no log", *said["remarks"], "fine"]
    vote = f", voted for {said['voted_for']}" if said["voted_for"] else ""
    entries = "no entries"
    if said["last"] is not None:
        entries = (
            f"entries {said['first']:,} to {said['last']:,}, "
            f"terms {said['first_term']} to {said['last_term']}"
        )
    return [
        *lines,
        f"cluster {said['cluster']}, epoch {said['epoch']}, term {said['term']}{vote}",
        f"log: segments {said['segments']}, records {said['records']:,}, bytes {said['bytes']:,}",
        f"log: {entries}",
        *(f"snapshot at {it.index:,}: term {it.term}, {it.size:,} bytes" for it in found.snapshots),
        f"torn tail: {found.torn:,} bytes" if found.torn else "torn tail: none",
        *said["remarks"],
        "fine: a node can start from it",
    ]


def _refusal(directory: Path, error: StorageError | WrongCluster) -> dict[str, Any]:
    """What `verify` says to programs about a directory from which no node can start."""
    said: dict[str, Any] = {"directory": str(directory), "ok": False, "error": str(error)}
    if isinstance(error, LogCorrupt):
        said |= {"file": PurePath(error.path).name, "offset": error.offset, "index": error.index}
    return said


def _terms(found: Inspection) -> tuple[int, int] | None:
    """Terms of the first and the last live entry; None if there is none."""
    if found.log is None or found.last < found.first:
        return None
    first, last = found.log.term_at(found.first), found.log.term_at(found.last)
    assert first is not None
    assert last is not None
    return first, last


def _remarks(found: Inspection, checked: Checked) -> list[str]:
    harmless = [
        f"{it.path}: bytes {it.offset} to {it.end} are damaged, and hold nothing that is needed any more"
        for it in checked.gaps
    ]
    return [*found.remarks, *harmless]
