"""The wall clock: whether it was stepped while the doctor looked.

Elections and leases live by the monotonic clock, which is never stepped; the wall clock dates the entries by
which time alone changes a machine's state.
"""

from __future__ import annotations

import time
from typing import Final

import attrs

from raftkit.cli.doctor.findings import Finding, Mark

__all__ = ["Clocks", "judge_clock", "read_clocks"]

STEP_SECONDS: Final = 0.05
"Slewing, at most 500 ppm, makes a tenth of this in the time that a doctor takes."


@attrs.frozen(kw_only=True)
class Clocks:
    """Both clocks at one moment, in seconds."""

    monotonic: float
    "Since some moment; it never goes back."
    wall: float
    "Since 1970."


def read_clocks() -> Clocks:
    """What they say now."""
    return Clocks(monotonic=time.monotonic(), wall=time.time())


def judge_clock(before: Clocks, after: Clocks) -> Finding:
    """Whether the wall clock went as the monotonic one did."""
    passed = after.monotonic - before.monotonic
    step = after.wall - before.wall - passed
    facts = {"seconds": round(passed, 3), "step_ms": round(step * 1000, 1)}
    if abs(step) < STEP_SECONDS:
        words = f"the wall clock was not stepped within {passed:.1f} s"
        return Finding(check="clock.wall", mark=Mark.OK, words=words, facts=facts)
    return Finding(
        check="clock.wall",
        mark=Mark.WARNING,
        words=f"the wall clock was stepped by {step:+.3f} s within {passed:.1f} s",
        advice="have one service keep the time (chrony, systemd-timesyncd), and let it slew: see timedatectl",
        facts=facts,
    )
