"""Percentiles of what was measured: values that occurred, never between two."""

from __future__ import annotations

import math
from collections.abc import Sequence

__all__ = ["percentile"]


def percentile(ordered: Sequence[float], part: float) -> float | None:
    """The lowest of `ordered`, ascending, that at least `part` of them do not exceed; None of nothing."""
    if not ordered:
        return None
    return ordered[max(math.ceil(part * len(ordered)), 1) - 1]
