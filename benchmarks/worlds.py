"""How fast the core is in random worlds, with faults and all checks: `python -m benchmarks.worlds`.

Of a fixed list of seeds, in CPU time of one core, since others may use the machine; each world counts with
its fastest run. Two figures are comparable only if taken on one machine, one after the other.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
import time
from collections.abc import Sequence

import attrs

from raftkit.testing.world import Report, World

__all__ = ["Speed", "main", "measure"]

TICKS_PER_SECOND = 100
"Of virtual time."


@attrs.frozen(kw_only=True)
class Speed:
    """How fast some worlds went."""

    first_seed: int
    "The first of them."
    worlds: int
    "How many, with consecutive seeds."
    nodes: int
    "Servers of each."
    deliveries: int
    "Messages that reached a server, in all of them."
    steps: int
    "Steps of all cores."
    cpu_seconds: float
    "Sum of each world's fastest run."
    messages_per_second: int
    "Deliveries in a second of CPU time."
    times_real_time: float
    "Seconds that pass in a world in a second of CPU time."


def measure(*, first_seed: int, worlds: int, nodes: int, repeats: int) -> Speed:
    """Run each world `repeats` times. Raises InvariantViolated if one goes wrong."""
    # As the soak does: a world is collected once, at its end, outside the measured time.
    gc.disable()
    try:
        runs = [_fastest(seed, nodes, repeats) for seed in range(first_seed, first_seed + worlds)]
    finally:
        gc.enable()
    seconds = sum(it for _, it in runs)
    deliveries = sum(report.deliveries for report, _ in runs)
    ticks = sum(report.ticks for report, _ in runs)
    return Speed(
        first_seed=first_seed,
        worlds=worlds,
        nodes=nodes,
        deliveries=deliveries,
        steps=sum(report.steps for report, _ in runs),
        cpu_seconds=round(seconds, 3),
        messages_per_second=round(deliveries / seconds),
        times_real_time=round(ticks / TICKS_PER_SECOND / seconds, 1),
    )


def _fastest(seed: int, nodes: int, repeats: int) -> tuple[Report, float]:
    runs: list[tuple[Report, float]] = []
    for _ in range(repeats):
        world = World(seed, nodes=nodes)
        begin = time.process_time()
        runs.append((world.run(), time.process_time() - begin))
        del world
        gc.collect()
    return min(runs, key=lambda run: run[1])


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.worlds", description=__doc__)
    parser.add_argument("--first-seed", type=int, default=100, help="the first world (100)")
    parser.add_argument("--worlds", type=int, default=12, help="how many (12)")
    parser.add_argument("--nodes", type=int, default=5, choices=range(1, 8), help="servers (5)")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each (3)")
    parser.add_argument("--json", action="store_true", help="print the result as one JSON object")
    options = parser.parse_args(arguments)
    if options.worlds < 1 or options.repeats < 1:
        parser.error("--worlds and --repeats must be at least 1")
    speed = measure(
        first_seed=options.first_seed,
        worlds=options.worlds,
        nodes=options.nodes,
        repeats=options.repeats,
    )
    if options.json:
        print(json.dumps(attrs.asdict(speed), indent=2))
    else:
        print(
            f"{speed.messages_per_second} messages/s of one core, "
            f"{speed.times_real_time:.0f} times real time\n"
            f"seeds {speed.first_seed} to {speed.first_seed + speed.worlds - 1}, "
            f"{speed.nodes} servers each: {speed.deliveries} messages, {speed.steps} steps, "
            f"{speed.cpu_seconds} s of CPU"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
