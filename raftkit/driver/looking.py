"""When parts of a node look whether there is something to do: together, so that idling wakes it once for all.

To wake a process that has slept costs more than what most looks do, and a node at rest does little else.

Law: who looks each second looks at whole seconds of trio's clock, who looks twice as often at halves, too.
Processes don't look together: trio's clock begins anywhere in each.
"""

from __future__ import annotations

import math

import trio

__all__ = ["next_look"]


def next_look(seconds: float) -> float:
    """When who looks every so many seconds is to look next, in trio's time: at most that long from now."""
    return (math.floor(trio.current_time() / seconds) + 1) * seconds
