"""How long answers take, and which timeouts that asks for.

A leader must be heard several times before anybody misses it: the broadcast time is to be an order of
magnitude below the election timeout (§3.9). `raftkit.PRESETS["lan"]` keeps that up to a round trip of 10 ms.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from statistics import fmean, median
from typing import Final

import attrs

from raftkit import PRESETS
from raftkit.cli.doctor.findings import Finding, Mark

__all__ = ["RoundTrips", "Waits", "advised", "judge_round_trips", "round_trips"]

LAN_SECONDS: Final = 0.010
"The longest round trip that the timeouts of a local network are made for."
TRIPS_MIN: Final = 2
"Round trips for which a leader must be able to be silent, or it is deposed while nothing is wrong."
LOSS_HIGH: Final = 0.01
"From here on repairs slow everything down."


@attrs.frozen(kw_only=True)
class RoundTrips:
    """How long it took until probes were answered, in seconds."""

    least: float
    median: float
    most: float
    jitter: float
    "Mean difference between one and the next."


@attrs.frozen(kw_only=True)
class Waits:
    """Timeouts, in seconds, by the names of `open_node`."""

    election_timeout: tuple[float, float]
    heartbeat_interval: float

    def __str__(self) -> str:
        low, high = self.election_timeout
        return f"election_timeout = [{low:g}, {high:g}], heartbeat_interval = {self.heartbeat_interval:g}"


def round_trips(seconds: Sequence[float]) -> RoundTrips | None:
    """Figures of what was measured, in the order in which it was; None of nothing."""
    if not seconds:
        return None
    steps = [abs(after - before) for before, after in pairwise(seconds)]
    return RoundTrips(
        least=min(seconds),
        median=median(seconds),
        most=max(seconds),
        jitter=fmean(steps) if steps else 0.0,
    )


def advised(trip: float) -> Waits:
    """Timeouts for a group whose longest usual round trip is so many seconds: those of a LAN, stretched."""
    stretch = max(1.0, trip / LAN_SECONDS)
    low, high = (_two_digits(it * stretch) for it in PRESETS["lan"]["election_timeout"])
    beat = _two_digits(PRESETS["lan"]["heartbeat_interval"] * stretch)
    return Waits(election_timeout=(low, high), heartbeat_interval=min(beat, low / 2))


def _two_digits(value: float) -> float:
    return float(f"{value:.2g}")


def judge_round_trips(
    peer: str, trips: RoundTrips, *, loss: float | None, election_low: float
) -> Finding:
    """Whether answers come soon enough for a leader to be missed after `election_low` seconds.

    `loss`: the part of the probes that got no answer; None where nothing can be lost, as over TCP.
    """
    waits = advised(trips.median)
    words = (
        f"round trip {_ms(trips.median)}, from {_ms(trips.least)} to {_ms(trips.most)}, jitter "
        f"{_ms(trips.jitter)}" + ("" if loss is None else f", {loss:.0%} lost")
    )
    mark, advice = Mark.OK, ""
    if election_low < TRIPS_MIN * trips.median:
        mark = Mark.WRONG
        advice = (
            f"a leader is missed after {election_low:g} s, before it can be heard {TRIPS_MIN} times: set "
            f"{waits}, or more, as raftkit.PRESETS['wan'] has"
        )
    elif trips.median > LAN_SECONDS:
        mark = Mark.WARNING
        advice = (
            f"each write waits for a round trip; for more than {_ms(LAN_SECONDS)} have at least {waits}, or "
            "raftkit.PRESETS['wan']"
        )
    elif loss is not None and loss >= LOSS_HIGH:
        mark = Mark.WARNING
        advice = "a network that loses 1 % slows everything down: look at cables, duplex, queues, wireless"
    facts: dict[str, object] = {
        f"{it}_ms": round(s * 1000, 3) for it, s in attrs.asdict(trips).items()
    }
    facts |= {
        "loss": loss,
        "advised_election_timeout": waits.election_timeout,
        "advised_heartbeat_interval": waits.heartbeat_interval,
    }
    return Finding(
        check="network.round_trip", mark=mark, words=words, advice=advice, peer=peer, facts=facts
    )


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.2g} ms" if seconds < 0.0995 else f"{seconds * 1000:.0f} ms"
