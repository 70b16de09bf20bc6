"""Worlds by the thousand: `python -m raftkit.testing.soak` runs seeds until all are done, or time is up.

Prints what was run and how fast, also when Ctrl-C stops it; a failure with its seed and the commands that
show it again and draw it.
Exit status 1 if any world failed.
"""

from __future__ import annotations

import argparse
import gc
import json
import signal
import sys
import time
import traceback
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import suppress
from functools import partial
from itertools import count, islice
from pathlib import Path
from typing import TypeVar

import attrs

from raftkit.driver import open_recorder
from raftkit.testing.full import FullReport, FullWorld, Transport
from raftkit.testing.world import InvariantViolated, Report, World

__all__ = ["Failure", "main", "soak"]

T = TypeVar("T")
BATCH = 4
"Worlds given to a process at a time: a second or two of work."
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
    draw: str
    "The command that records it, and draws the steps before the failure; empty for a full-stack world."


def soak(
    seeds: Iterable[int],
    *,
    nodes: int,
    deliveries: int,
    jobs: int,
    seconds: float | None = None,
    storm: float | None = None,
    transport: Transport | None = None,
) -> Iterator[Report | FullReport | Failure]:
    """Run a world for each of `seeds`, in `jobs` processes; after `seconds` begin no more of them.

    With `storm`, in virtual seconds, they are full-stack worlds, and `deliveries` means nothing; `transport`
    is what their nodes talk over, and without it each seed says.
    """
    batches = _batches(seeds, seconds)
    run = partial(_run_batch, nodes=nodes, deliveries=deliveries, storm=storm, transport=transport)
    if jobs == 1:
        for batch in batches:
            yield from run(batch)
        return
    running: deque[Future[list[Report | FullReport | Failure]]] = deque()
    with ProcessPoolExecutor(jobs, initializer=_ignore_interrupts) as pool:
        try:
            for batch in batches:
                running.append(pool.submit(run, batch))
                if len(running) > jobs:  # one waits, so that nobody does
                    yield from running.popleft().result()
            for future in running:
                yield from future.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _ignore_interrupts() -> None:
    """Ctrl-C reaches all processes of a terminal; what is to be done about it is this one's."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _batches(seeds: Iterable[int], seconds: float | None) -> Iterator[list[int]]:
    """A few at a time, until there are none, or time is up."""
    left, begin = iter(seeds), time.monotonic()
    while seconds is None or time.monotonic() - begin < seconds:
        batch = list(islice(left, BATCH))
        if not batch:
            return
        yield batch


def _run_batch(
    seeds: Sequence[int],
    *,
    nodes: int,
    deliveries: int,
    storm: float | None,
    transport: Transport | None,
) -> list[Report | FullReport | Failure]:
    # A world is a knot of references, many short-lived; collecting it once at its end is enough, and what
    # was there before the first need not be looked through: modules are most of what would be.
    gc.disable()
    if not gc.get_freeze_count():
        gc.freeze()
    outcomes: list[Report | FullReport | Failure] = []
    for seed in seeds:
        try:
            if storm is None:
                outcomes.append(World(seed, nodes=nodes, deliveries=deliveries).run())
            else:
                world = FullWorld(seed, nodes=nodes, seconds=storm, transport=transport)
                outcomes.append(world.run())
        except InvariantViolated as violation:
            kind = f"--deliveries {deliveries}" if storm is None else f"--full --storm {storm:g}"
            if transport is not None:
                kind = f"{kind} --transport {transport}"
            outcomes.append(_failure(violation, seed, f"--nodes {nodes} {kind}"))
        gc.collect()
    return outcomes


def _failure(violation: InvariantViolated, seed: int, options: str) -> Failure:
    again = f"python -m raftkit.testing.soak --seed {seed} {options}"
    draw = (
        f"{again} --record world-{seed}.rec; "
        f"raftkit replay world-{seed}.rec --diagram world-{seed}.svg"
    )
    return Failure(
        seed=seed,
        name=violation.name,
        detail=f"{violation.detail} (step {violation.step})",
        replay=f"{again} --trace",
        draw="" if "--full" in options else draw,
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m raftkit.testing.soak", description=__doc__)
    parser.add_argument(
        "--worlds", type=int, help="how many seeds (10000; with --seconds as many as there is time)"
    )
    parser.add_argument("--seconds", type=float, help="begin no world after so many seconds")
    parser.add_argument("--first-seed", type=int, default=0, help="the first of them (0)")
    parser.add_argument("--seed", type=int, help="only this one")
    parser.add_argument("--nodes", type=int, default=5, choices=range(1, 8), help="servers (5)")
    parser.add_argument("--deliveries", type=int, default=2000, help="messages of a storm (2000)")
    parser.add_argument(
        "--full", action="store_true", help="whole nodes, with their logs, machines and clients"
    )
    parser.add_argument(
        "--storm", type=float, default=10.0, help="with --full: virtual seconds of a storm (10)"
    )
    parser.add_argument(
        "--transport",
        choices=("memory", "multicast", "any"),
        default="any",
        help="with --full: what nodes talk over; in a world of each third seed it is multicast (any)",
    )
    parser.add_argument("--jobs", type=int, default=2, help="processes (2)")
    parser.add_argument("--json", action="store_true", help="print the result as one JSON object")
    parser.add_argument("--trace", action="store_true", help="with --seed: print all that happens")
    parser.add_argument(
        "--record",
        type=Path,
        help="with --seed: record all cores in this new file, for raftkit replay",
    )
    options = parser.parse_args(arguments)
    if options.trace or options.record:
        if options.seed is None:
            parser.error("--trace and --record show one world: say which by --seed")
        if options.record and options.full:
            parser.error("--record is for cores, without --full: --trace tells all of a full world")
        if options.record and options.record.exists():
            parser.error(f"--record {options.record}: there is such a file already")
        return _watch(options)
    return _soak(_seeds(options), options)


def _seeds(options: argparse.Namespace) -> Iterable[int]:
    if options.seed is not None:
        return [options.seed]
    if options.worlds is None and options.seconds is not None:
        return count(options.first_seed)
    worlds = 10_000 if options.worlds is None else options.worlds
    return range(options.first_seed, options.first_seed + worlds)


def _transport(options: argparse.Namespace) -> Transport | None:
    return None if options.transport == "any" else options.transport


def _watch(options: argparse.Namespace) -> int:
    """Run one world, and show or record all that happens in it."""
    if options.full:
        return _show(
            FullWorld(
                options.seed,
                nodes=options.nodes,
                seconds=options.storm,
                transport=_transport(options),
                trace=print,
            )
        )
    recorder = None if options.record is None else open_recorder(options.record)
    world = World(
        options.seed,
        nodes=options.nodes,
        deliveries=options.deliveries,
        trace=print if options.trace else None,
        hashed=options.trace,
        recorder=recorder,
    )
    try:
        return _show(world)
    finally:
        if recorder is not None:
            recorder.close()


def _show(world: World | FullWorld) -> int:
    try:
        report = world.run()
    except InvariantViolated:
        sys.stdout.flush()
        traceback.print_exc()
        return 1
    print(report)
    return 0


def _soak(seeds: Iterable[int], options: argparse.Namespace) -> int:
    failures: list[Failure] = []
    totals: Counter[str] = Counter()
    begin = told = time.monotonic()
    # On a terminal one line that changes, in a log a line a minute.
    told_every = 1.0 if sys.stderr.isatty() else 60.0
    first, last = None, None
    outcomes = soak(
        seeds,
        nodes=options.nodes,
        deliveries=options.deliveries,
        jobs=options.jobs,
        seconds=options.seconds,
        storm=options.storm if options.full else None,
        transport=_transport(options),
    )
    for outcome in _until_interrupted(outcomes):
        totals["worlds"] += 1
        first, last = outcome.seed if first is None else first, outcome.seed
        match outcome:
            case Report() | FullReport():
                _add(totals, outcome)
            case Failure():
                failures.append(outcome)
                print(f"seed {outcome.seed}: {outcome.name}: {outcome.detail}", file=sys.stderr)
                print(f"  {outcome.replay}", file=sys.stderr)
                if outcome.draw:
                    print(f"  {outcome.draw}", file=sys.stderr)
                if len(failures) == FAILURES_MAX:
                    break
        now = time.monotonic()
        if now - told > told_every:
            told = now
            _progress(totals, last, len(failures), now - begin)
    seconds = time.monotonic() - begin
    if sys.stderr.isatty():
        print(file=sys.stderr)
    result = {
        "first_seed": first,
        "last_seed": last,
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


def _until_interrupted(outcomes: Iterator[T]) -> Iterator[T]:
    """The same, until Ctrl-C: what was found by then is told."""
    with suppress(KeyboardInterrupt):
        yield from outcomes


def _add(totals: Counter[str], report: Report | FullReport) -> None:
    for name, value in attrs.asdict(report).items():
        if name in ("faults", "orders", "network"):
            totals.update({f"{name.removesuffix('s')} {kind}": n for kind, n in value.items()})
        elif name == "transport":
            totals[f"worlds over {value}"] += 1
        elif name not in ("seed", "nodes", "trace_hash", "version"):
            totals[name] += value


def _progress(totals: Counter[str], seed: int, failures: int, seconds: float) -> None:
    line = (
        f"{seconds:6.0f} s  {totals['worlds']:6} worlds, up to seed {seed}  "
        f"{totals['worlds'] / seconds:6.1f}/s  "
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
