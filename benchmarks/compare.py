"""raftkit beside other implementations of Raft, in one run: `python -m benchmarks.compare`.

    rounds ─▶ a group of each system, one after the other ─▶ every workload ─▶ medians and ratios

Laws: what is compared is measured by turns, in every round anew and in alternating order, so that another
program's work falls on all. A ratio is of figures of one round; what is told is the median of them. Every
wait has an end, and what was started is ended.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path

import trio

from benchmarks.comparison import Comparison, Key
from benchmarks.peers.etcd import open_etcd, require_etcd
from benchmarks.peers.own import open_own
from benchmarks.peers.prepare import Missing
from benchmarks.peers.subject import Failed, Finding, Load, NotOffered, Open, Subject
from benchmarks.peers.syncobj import DEFAULT, TUNED, open_syncobj, require_syncobj
from benchmarks.plot import as_svg
from raftkit.cli.bench.environment import environment_of
from raftkit.cli.bench.gap import FAULTS, Fault
from raftkit.cli.starting import cancel_on_signal, first_of

__all__ = ["OWN", "PEERS", "WORKLOADS", "compare", "main"]

OWN = "raftkit"
PEERS: dict[str, tuple[Callable[[], None], Open]] = {
    "etcd": (require_etcd, open_etcd),
    "pysyncobj": (require_syncobj, partial(open_syncobj, TUNED)),
    "pysyncobj-default": (require_syncobj, partial(open_syncobj, DEFAULT)),
}
"By name: what raises Missing, and what starts a group."
WORKLOADS: dict[str, Load | Fault | str] = {
    "idle": "idle",
    "writes": Load(),
    "writes-1": Load(outstanding=1),
    "typed": Load(machine="typed"),
    "reads": Load(workload="reads"),
    "reads-follower": Load(workload="reads", at="follower"),
    "mixed": Load(workload="mixed"),
    "large": Load(workload="large", outstanding=16),
    "restart": "restart",
    **{fault: fault for fault in FAULTS},
}
"In the order in which one group can do them: the log grows first, and the leader dies last."
GAP_SECONDS = 8.0
"Of writing around a fault, whatever --seconds is: longer than anybody's election."
PATIENCE_SECONDS = 60.0
"For one measurement, beyond what it takes."


async def compare(
    comparison: Comparison,
    systems: dict[str, Open],
    *,
    workloads: Sequence[str],
    rounds: int,
    say: Callable[[str], None],
) -> None:
    """Fill `comparison`. What can't be measured is a fault there, and the rest goes on."""
    for number in range(rounds):
        order = list(systems) if number % 2 == 0 else [*reversed(systems)]
        for system in order:
            say(f"round {number + 1} of {rounds}: {system}")
            with tempfile.TemporaryDirectory(prefix="raftkit-bench-", dir=comparison.data) as place:
                try:
                    async with systems[system](Path(place)) as subject:
                        for name in workloads:
                            await _measure(subject, comparison, Key(name, system), say)
                except* (Failed, OSError) as failed:
                    comparison.note_fault(f"{system}, round {number + 1}: {first_of(failed)}")
                    say(comparison.faults[-1])


async def _measure(
    subject: Subject, comparison: Comparison, key: Key, say: Callable[[str], None]
) -> None:
    """One workload of one system."""
    try:
        with trio.fail_after(comparison.seconds + GAP_SECONDS + PATIENCE_SECONDS):
            found = await _done(subject, WORKLOADS[key.workload], comparison.seconds)
    except NotOffered as why:
        comparison.note_not_offered(key)
        say(f"  {key.workload}: {key.system} does not offer {why}")
    except trio.TooSlowError as error:
        raise Failed(f"{key.workload} did not end") from error
    else:
        comparison.note(key, found)
        say(f"  {key.workload}: {', '.join(f'{v:,.4g} {k}' for k, v in found.figures.items())}")


async def _done(subject: Subject, workload: Load | Fault | str, seconds: float) -> Finding:
    match workload:
        case Load():
            return await subject.load(workload, seconds)
        case "idle":
            return await subject.idle(seconds)
        case "restart":
            return await subject.restart()
        case "transfer" | "silence" | "kill":
            return await subject.gap(workload, GAP_SECONDS)
        case _:
            raise AssertionError(workload)


async def _to_the_end(run: Callable[[], Awaitable[None]]) -> bool:
    """Whether it came to its end: at Ctrl-C it is left, and everything is closed."""
    ended = False
    async with trio.open_nursery() as nursery:
        nursery.start_soon(cancel_on_signal, nursery.cancel_scope)
        await run()
        ended = True
        nursery.cancel_scope.cancel()
    return ended


def _those_here(names: Sequence[str]) -> dict[str, Open]:
    """raftkit, and the peers that can be had; one line on stderr for each that can't."""
    systems: dict[str, Open] = {OWN: open_own}
    for name in names:
        require, start = PEERS[name]
        try:
            require()
        except Missing as why:
            print(f"{name} is left out: {why}", file=sys.stderr)
        else:
            systems[name] = start
    return systems


def _names(known: Sequence[str]) -> Callable[[str], list[str]]:
    """What reads "a,b" from the command line."""

    def names(words: str) -> list[str]:
        chosen = [it for it in words.split(",") if it]
        for it in chosen:
            if it not in known:
                raise argparse.ArgumentTypeError(f"{it!r} is none of {', '.join(known)}")
        return [it for it in known if it in chosen]

    return names


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compare", description=__doc__)
    parser.add_argument(
        "--peers", type=_names([*PEERS]), default="etcd,pysyncobj", help="of " + ", ".join(PEERS)
    )
    parser.add_argument(
        "--workload", type=_names([*WORKLOADS]), default=",".join(WORKLOADS), help="default: all"
    )
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each figure (3)")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each measurement (5)")
    parser.add_argument("--data", type=Path, help="a directory on the disk to be measured")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything there, too")
    parser.add_argument("--plot", type=Path, metavar="FILE.svg", help="draw the medians there")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status: 1 if anything could not be measured."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.rounds < 1 or not 0 < options.seconds <= 600:
        parser.error("--rounds must be at least 1, --seconds above 0 and at most 600")
    systems = _those_here(options.peers)
    with tempfile.TemporaryDirectory(prefix="raftkit-bench-", dir=options.data) as place:
        comparison = Comparison(
            environment_of(Path(place)), [*systems], options.seconds, options.data
        )
    run = partial(
        compare,
        comparison,
        systems,
        workloads=options.workload,
        rounds=options.rounds,
        say=lambda words: print(words, file=sys.stderr, flush=True),
    )
    if not trio.run(_to_the_end, run):
        comparison.note_fault("interrupted")
    for words in comparison.as_words():
        print(words)
    if options.json:
        options.json.write_text(comparison.as_json() + "\n")
    if options.plot:
        options.plot.write_text(as_svg(comparison))
    return 1 if comparison.faults else 0


if __name__ == "__main__":
    sys.exit(main())
