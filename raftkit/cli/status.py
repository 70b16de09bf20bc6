"""`raftkit status`: what the nodes of this machine say of themselves, each asked at its data directory.

Laws: a node needs no leader and no peer to answer. Exit code 0: every node runs, and a majority of its group
is here.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, assert_never

import attrs
import trio

from raftkit.cli.starting import CannotStart, cancel_on_signal
from raftkit.cli.status_look import Down, NoNode, Seen, Up, look_all
from raftkit.cli.status_view import Show, open_status_view

__all__ = ["Options", "run"]

WATCH_SECONDS = 1.0
"Between two looks."


@attrs.frozen(kw_only=True)
class Options:
    """What the command line asked for."""

    directories: tuple[Path, ...]
    "Of the nodes, at least one."
    json: bool
    "Whether stdout is for a machine."
    watch: bool
    "Whether to look again and again."


def run(options: Options) -> int:
    """Look, and show what is seen. Returns the exit code; raises CannotStart for no data directory."""
    seen = trio.run(look_all, options.directories)
    strange = [it for it in seen if isinstance(it, NoNode)]
    if options.watch and not strange:
        seen = trio.run(_watch, options, seen)
    elif len(strange) < len(seen):
        _show(options, [it for it in seen if not isinstance(it, NoNode)])
    if strange:
        raise CannotStart("; ".join(it.why for it in strange))
    return 0 if all(isinstance(it, Up) and it.statistics.votes.quorate for it in seen) else 1


def _show(options: Options, seen: Sequence[Seen]) -> None:
    with open_status_view(again=False) as show:
        (_as_json if options.json else show)(seen)


async def _watch(options: Options, seen: list[Seen]) -> list[Seen]:
    """Show what is seen until Ctrl-C. Returns what was shown last."""
    with open_status_view(again=not options.json) as view:
        show: Show = _as_json if options.json else view
        async with trio.open_nursery() as nursery:
            nursery.start_soon(cancel_on_signal, nursery.cancel_scope)
            while not nursery.cancel_scope.cancel_called:
                show(seen)
                await trio.sleep(WATCH_SECONDS)
                seen = await look_all(options.directories)
    return seen


def _as_json(seen: Sequence[Seen]) -> None:
    """One object, or a list of several, on one line."""
    facts = [_facts(it) for it in seen]
    print(json.dumps(facts[0] if len(facts) == 1 else facts), flush=True)


def _facts(seen: Seen) -> dict[str, Any]:
    match seen:
        case Up():
            said = attrs.asdict(seen.statistics)
            return {"directory": seen.directory, "running": True, **said}
        case Down() | NoNode():
            return {"running": False, **attrs.asdict(seen)}
        case _:
            assert_never(seen)
