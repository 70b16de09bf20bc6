"""`raftkit transfer-leadership` and `raftkit step-down`: asked of the node that leads, on this machine."""

from __future__ import annotations

import json
from pathlib import Path

import attrs

from raftkit.cli.order import give

__all__ = ["Options", "step_down", "transfer"]


@attrs.frozen(kw_only=True)
class Options:
    """What the command line asked for."""

    directory: Path
    "Of the node that leads."
    json: bool
    "Whether stdout is for a machine."


def transfer(options: Options, to: str | None) -> int:
    """Have another member lead, and say which. Raises CannotStart where no node runs, and NotDone."""
    return _tell(options, give(options.directory, "transfer-leadership", to))


def step_down(options: Options, *, hand_over: bool) -> int:
    """Have the node lead no more, and say who does. Raises CannotStart where no node runs, and NotDone."""
    return _tell(
        options, give(options.directory, "step-down", None if hand_over else "without transfer")
    )


def _tell(options: Options, leader: object) -> int:
    if options.json:
        print(json.dumps({"directory": str(options.directory), "leader": leader}))
    else:
        print(f"{leader} leads")
    return 0
