"""Which node processes of a command are running."""

from __future__ import annotations

import time
from pathlib import Path


def node_processes(data: Path) -> dict[str, int]:
    """Name → pid of the node processes whose directory is somewhere in `data`."""
    found: dict[str, int] = {}
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue  # it has gone meanwhile
        if len(words) > 4 and words[2] in ("raftkit.cli.demo.node", "raftkit.cli.bench.node"):
            name, directory = words[3:5]
            if Path(directory).is_relative_to(data):
                found[name] = int(path.parent.name)
    return found


def wait_gone(data: Path) -> None:
    """Wait until no node runs there, though not for long."""
    ends = time.monotonic() + 5
    while node_processes(data) and time.monotonic() < ends:
        time.sleep(0.02)

    assert node_processes(data) == {}
