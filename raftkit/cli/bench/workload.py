"""What the tasks of the load do: which part of it writes, and how large a value is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import attrs

__all__ = ["LOADS", "Mix", "Place", "Workload"]

Workload = Literal["writes", "reads", "mixed", "large", "failover", "idle"]
"What is measured. The last two are no loads: see `gap` and `idle`."
Place = Literal["leader", "follower"]
"In whose process the load runs."

VALUE_BYTES = 32
LARGE_BYTES = 64 * 1024


@attrs.frozen(kw_only=True)
class Mix:
    """What a load consists of."""

    writes_in_ten: int = 10
    "Of every ten operations, so many write; the others read, linearizably."
    value_bytes: int = VALUE_BYTES
    "Of a value that is written."


LOADS: Mapping[str, Mix] = {
    "writes": Mix(),
    "reads": Mix(writes_in_ten=0),
    "mixed": Mix(writes_in_ten=1),
    "large": Mix(value_bytes=LARGE_BYTES),
}
"By workload."
