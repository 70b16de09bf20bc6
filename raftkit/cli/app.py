"""What `raftkit …` understands: commands, options, and one line for whatever it does not.

Law: an option that can't work is refused before anything is made or started, with exit code 2.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, CycloptsError, Parameter
from cyclopts.validators import Number

from raftkit import __version__
from raftkit.cli import demo as demonstration

__all__ = ["app", "run"]

_USAGE = 2


app = App(
    name="raftkit",
    help="Raft you embed, from the command line.",
    version=f"raftkit {__version__}",
)


def _finite(_: object, value: float) -> None:
    """A validator: seconds that can be waited for."""
    if not (math.isfinite(value) and value >= 0):
        raise ValueError("Must be a number of seconds, 0 or more.")


@app.command
def demo(
    *,
    in_process: Annotated[bool, Parameter(negative=())] = False,
    input: Path | None = None,  # noqa: A002 - the option is called --input
    nodes: Annotated[int, Parameter(validator=Number(gte=1, lte=9))] = 3,
    clients: Annotated[int, Parameter(validator=Number(gte=1, lte=1024))] = 16,
    kill: Literal["leader", "follower", "none"] = "leader",
    seconds: Annotated[float, Parameter(validator=_finite)] = 14.0,
    data: Path | None = None,
    json: Annotated[bool, Parameter(negative=())] = False,
) -> int:
    """Replicate every line of a text, kill the leader half-way, and compare every node with the text.

    Each node is a process with a directory of its own, and they talk over TCP at free loopback ports.

    Parameters
    ----------
    in_process
        All nodes in this process instead, over a memory network; their logs are on disk too.
    input
        The file whose lines are replicated. Default: the text of Python's own pydoc_data.topics.
    nodes
        How many nodes.
    clients
        How many clients submit lines at the same time, spread over the nodes, one session each.
    kill
        Whom to kill half-way, a process with SIGKILL, and to start again on its directory a second later.
        failover_gap_ms of --json is for leader: from the kill to the first write acknowledged under
        the next one; for follower: the longest time without an acknowledgement after the kill.
    seconds
        Spread the submission over so long; 0: as fast as the nodes take it.
    data
        Keep the nodes' directories here: new or empty. Default: temporary, removed at the end.
    json
        Progress goes to stderr; the last line on stdout is one JSON object.
    """
    options = demonstration.Options(
        in_process=in_process,
        input=input,
        nodes=nodes,
        clients=clients,
        kill=kill,
        seconds=seconds,
        data=data,
        json=json,
    )
    try:
        return demonstration.run(options)
    except demonstration.CannotStart as error:
        complain(f"demo: {error}")
        return _USAGE


def complain(words: str) -> None:
    """Say on stderr, in one line, what is wrong and what to do."""
    print(f"raftkit: {words}", file=sys.stderr)


def run() -> None:
    """Do what the arguments of this process say, and exit."""
    try:
        code = app(sys.argv[1:], exit_on_error=False, print_error=False)
    except CycloptsError as error:
        # Cyclopts would draw a box, as wide as the terminal; scripts want one line.
        complain(f"{' '.join(str(error).split())} (see raftkit --help)")
        code = _USAGE
    sys.exit(code)
