"""Worlds by the thousand: `python -m raftkit.testing.soak` runs seeds until one fails or all are done.

Prints what was run and how fast; a failure with its seed and the one command that replays it. Exit status 1
if any world failed.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial

import attrs

from raftkit.testing.world import InvariantViolated, Report, World

__all__ = ["Failure", "main", "soak"]

BATCH = 10
"Worlds given to a process at a time."
FAILURES_MAX = 10
"So many failures are enough to work on."


@attrs.frozen(kw_only=True)
class Failure:
    """A world that went wrong."""

    seed: int
    "Which world."
    name: str
    "The invariant that was violated, or `raised`."
    detail: str
    "How."
    replay: str
    "The command that shows it again, all that happens included."


def soak(
    seeds: Sequence[int], *, nodes: int, deliveries: int, jobs: int
) -> Iterator[Report | Failure]:
    """Run a world for each of `seeds`, in `jobs` processes."""
    batches = [seeds[at : at + BATCH] for at in range(0, len(seeds), BATCH)]
    run = partial(_run_batch, nodes=nodes, deliveries=deliveries)
    if jobs == 1:
        for batch in batches:
            yield from run(batch)
        return
    with ProcessPoolExecutor(jobs) as pool:
        try:
            for outcomes in pool.map(run, batches):
                yield from outcomes
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _run_batch(seeds: Sequence[int], *, nodes: int, deliveries: int) -> list[Report | Failure]:
    # A world is a knot of references, many short-lived; collecting it once at its end is enough.
    gc.disable()
    outcomes: list[Report | Failure] = []
    for seed in seeds:
        try:
            outcomes.append(World(seed, nodes=nodes, deliveries=deliveries).run())
        except InvariantViolated as violation:
            outcomes.append(_failure(violation, seed, nodes, deliveries))
        gc.collect()
    return outcomes


def _failure(violation: InvariantViolated, seed: int, nodes: int, deliveries: int) -> Failure:
    return Failure(
        seed=seed,
        name=violation.name,
        detail=f"{violation.detail} (step {violation.step})",
        replay=(
            f"python -m raftkit.testing.soak --seed {seed} --nodes {nodes} "
            f"--deliveries {deliveries} --trace"
        ),
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m raftkit.testing.soak", description=__doc__)
    parser.add_argument("--worlds", type=int, default=10_000, help="how many seeds (10000)")
    parser.add_argument("--first-seed", type=int, default=0, help="the first of them (0)")
    parser.add_argument("--seed", type=int, help="only this one")
    parser.add_argument("--nodes", type=int, default=5, choices=range(1, 8), help="servers (5)")
    parser.add_argument("--deliveries", type=int, default=2000, help="messages of a storm (2000)")
    parser.add_argument("--jobs", type=int, default=2, help="processes (2)")
    parser.add_argument("--json", action="store_true", help="print the result as one JSON object")
    parser.add_argument("--trace", action="store_true", help="with --seed: print all that happens")
    options = parser.parse_args(arguments)
    if options.trace:
        return _trace(options.first_seed if options.seed is None else options.seed, options)
    seeds = (
        range(options.first_seed, options.first_seed + options.worlds)
        if options.seed is None
        else [options.seed]
    )
    return _soak(seeds, options)


def _trace(seed: int, options: argparse.Namespace) -> int:
    try:
        report = World(seed, nodes=options.nodes, deliveries=options.deliveries, trace=print).run()
    except InvariantViolated:
        sys.stdout.flush()
        traceback.print_exc()
        return 1
    print(report)
    return 0


def _soak(seeds: Sequence[int], options: argparse.Namespace) -> int:
    failures: list[Failure] = []
    totals: Counter[str] = Counter()
    begin = told = time.monotonic()
    # On a terminal one line that changes, in a log a line a minute.
    told_every = 1.0 if sys.stderr.isatty() else 60.0
    for outcome in soak(
        seeds, nodes=options.nodes, deliveries=options.deliveries, jobs=options.jobs
    ):
        totals["worlds"] += 1
        match outcome:
            case Report():
                _add(totals, outcome)
            case Failure():
                failures.append(outcome)
                print(f"seed {outcome.seed}: {outcome.name}: {outcome.detail}", file=sys.stderr)
                print(f"  {outcome.replay}", file=sys.stderr)
                if len(failures) == FAILURES_MAX:
                    break
        now = time.monotonic()
        if now - told > told_every:
            told = now
            _progress(totals, len(seeds), len(failures), now - begin)
    seconds = time.monotonic() - begin
    if sys.stderr.isatty():
        print(file=sys.stderr)
    result = {
        "first_seed": seeds[0],
        "last_seed": seeds[0] + totals["worlds"] - 1,
        "seconds": round(seconds, 1),
        "worlds_per_second": round(totals["worlds"] / seconds, 2),
        "messages_per_second": round(totals["deliveries"] / seconds),
        "steps_per_second": round(totals["steps"] / seconds),
        # A tick is 10 ms; each world is one group.
        "times_real_time": round(totals["ticks"] / 100 / seconds),
        **totals,
        "failures": [attrs.asdict(failure) for failure in failures],
    }
    if options.json:
        print(json.dumps(result, indent=2))
    else:
        _print(result, failures)
    return 1 if failures else 0


def _add(totals: Counter[str], report: Report) -> None:
    for name, value in attrs.asdict(report).items():
        if name == "faults":
            totals.update({f"fault {fault}": count for fault, count in value.items()})
        elif name not in ("seed", "nodes"):
            totals[name] += value


def _progress(totals: Counter[str], worlds: int, failures: int, seconds: float) -> None:
    line = (
        f"{totals['worlds']:6} of {worlds} worlds  {totals['worlds'] / seconds:6.1f}/s  "
        f"{totals['deliveries'] / seconds:8.0f} messages/s  {failures} failed"
    )
    if sys.stderr.isatty():
        print(f"\r{line}", end="", file=sys.stderr, flush=True)
    else:
        print(line, file=sys.stderr, flush=True)


def _print(result: Mapping[str, object], failures: Sequence[Failure]) -> None:
    for name, value in result.items():
        print(f"{name:24} {len(failures) if name == 'failures' else value}")


if __name__ == "__main__":
    sys.exit(main())
