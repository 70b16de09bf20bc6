"""The command line of `benchmarks.growth`: which parts, how large, and what they told."""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import attrs
from trio import TooSlowError

from benchmarks.growth.part import Part
from benchmarks.growth.restart import may_drop_page_cache, restart
from benchmarks.growth.snapshots import snapshots
from benchmarks.growth.writes import growth
from raftkit.cli.bench.environment import Environment, environment_of
from raftkit.cli.bench.group import BenchFailed
from raftkit.cli.child import ChildFailed, ChildKilled, NoAnswer
from raftkit.cli.starting import first_of

__all__ = ["Result", "main"]

DESCRIPTION = """\
Whether raftkit stays as quick as it began. Three measurements, by turns, medians of their rounds:

growth    writes a second of three durable processes whose directories hold what 10,000,000 entries
          leave, beside a new group, in the same round; and of groups of 1, 3, 5 and 7 processes.
          Goal: a ratio of 0.95.
restart   from the start of a node's process to its first vote, which is on its disk by then: with
          no log, with what compaction leaves of 1 GB, and with all of it there; and bytes read.
          Goal: 2 s with all of it.
snapshot  writes under full load, and the longest time without one, while the leader writes a state
          of 200,000 keys to its disk, one snapshot after another; and the same load without.

The directories are made beside the groups, by raftkit's own storage, and are removed in the end;
there must be room for some 1.5 times --log-mb. The exit status is 1 if a goal is missed, or if
anything could not be measured.
"""


@attrs.frozen(kw_only=True)
class Result:
    """Everything that was measured."""

    environment: Environment
    outstanding: int
    "Writes under way at any time."
    seconds: float
    "Of each load."
    rounds: int
    load: float
    "Processes that wanted to run at the beginning, on average of a minute: others' work."
    parts: Mapping[str, Part]
    "By name."

    def as_json(self) -> str:
        """One object."""
        whole = attrs.asdict(self, filter=lambda it, _: it.name != "parts")
        parts = {name: part.as_data() for name, part in self.parts.items()}
        return json.dumps({**whole, **parts}, indent=2)

    def as_words(self) -> Iterator[str]:
        """Tables in Markdown, and what belongs below them."""
        for part in self.parts.values():
            yield from part.words
            yield ""
        here = self.environment
        yield (
            f"{here.python}, {here.cpus} × {here.cpu_model or 'an unknown processor'}, {here.kernel}, "
            f"{here.file_system or 'an unknown file system'}, fdatasync {here.fsync_ms:.2f} ms; load "
            f"{self.load:.1f}; {self.outstanding} writes of 32 bytes under way, medians of {self.rounds} "
            f"rounds of {self.seconds:g} s"
        )

    @property
    def met(self) -> bool:
        """Whether no goal is missed."""
        return all(it.met for it in self.parts.values())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.growth",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--only", action="append", choices=("growth", "restart", "snapshot"), help="may be repeated"
    )
    parser.add_argument("--rounds", type=int, default=5, help="measurements of each figure (5)")
    parser.add_argument("--seconds", type=float, default=3.0, help="of each load (3)")
    parser.add_argument("--outstanding", type=int, default=64, help="writes under way (64)")
    parser.add_argument(
        "--entries", type=int, default=10_000_000, help="behind the grown group (10000000)"
    )
    parser.add_argument(
        "--nodes", type=int, nargs="*", default=[1, 3, 5, 7], help="sizes of groups (1 3 5 7)"
    )
    parser.add_argument("--log-mb", type=int, default=1024, help="to restart with, in MiB (1024)")
    parser.add_argument("--keys", type=int, default=200_000, help="of the large state (200000)")
    parser.add_argument("--data", type=Path, help="a directory on the disk to be measured")
    parser.add_argument(
        "--cold",
        action="store_true",
        help="drop the whole machine's page cache before each restart, which takes root",
    )
    parser.add_argument("--json", action="store_true", help="print the result as one JSON object")
    return parser


def _check(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """Ends with a line that says what can't be."""
    if min(options.rounds, options.outstanding, options.log_mb, options.keys) < 1:
        parser.error("--rounds, --outstanding, --log-mb and --keys must be at least 1")
    if not 0 < options.seconds <= 600:
        parser.error("--seconds must be above 0 and at most 600")
    if options.entries < 4:
        parser.error("--entries must be at least 4")
    if not all(1 <= it <= 9 for it in options.nodes):
        parser.error("--nodes must be from 1 to 9")
    if options.cold and not may_drop_page_cache():
        parser.error("--cold takes root: leave it out, or start this with sudo")
    if options.data is not None and not options.data.is_dir():
        parser.error(f"--data {options.data} is not a directory")


def _parts(
    options: argparse.Namespace, say: Callable[[str], None]
) -> Mapping[str, Callable[[], Part]]:
    """What is to be measured, by name."""
    common: dict[str, Any] = {"rounds": options.rounds, "data": options.data, "say": say}
    loads: dict[str, Any] = {"outstanding": options.outstanding, "seconds": options.seconds}
    parts: dict[str, Callable[[], Part]] = {
        "growth": partial(growth, options.entries, options.nodes, **common, **loads),
        "restart": partial(restart, options.log_mb, cold=options.cold, **common),
        "snapshot": partial(snapshots, options.keys, **common, **loads),
    }
    return {name: it for name, it in parts.items() if name in (options.only or parts)}


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status: 1 if a goal is missed, or not all could be measured."""
    parser = _parser()
    options = parser.parse_args(arguments)
    _check(parser, options)

    def say(words: str) -> None:
        print(words, file=sys.stderr, flush=True)

    with tempfile.TemporaryDirectory(prefix="raftkit-growth-", dir=options.data) as directory:
        environment = environment_of(Path(directory))
    load, parts, failure = os.getloadavg()[0], dict[str, Part](), ""
    for name, measured in _parts(options, say).items():
        try:
            parts[name] = measured()
        except* (BenchFailed, ChildFailed, ChildKilled, NoAnswer, OSError, TooSlowError) as failed:
            failure = str(first_of(failed))
            say(f"{name} could not be measured: {failure}")
    result = Result(
        environment=environment,
        outstanding=options.outstanding,
        seconds=options.seconds,
        rounds=options.rounds,
        load=load,
        parts=parts,
    )
    for words in [result.as_json()] if options.json else result.as_words():
        print(words)
    return 0 if result.met and not failure else 1


if __name__ == "__main__":
    sys.exit(main())
