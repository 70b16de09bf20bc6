"""Everything that can happen within bounds: `python -m raftkit.testing.explore --terms 3 --crashes 0`.

Prints how far it came; at a violation the shortest way to it. Exit status 1 if there was one, 130 if it was
stopped with Ctrl-C. `docs/exploration.md` says what each bound means.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from collections.abc import Sequence

import attrs

from raftkit.testing.explore.group import Bounds, Explorer, Found, NoSuchStep, Violation

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    options = _parser().parse_args(arguments)
    fields = attrs.fields_dict(Bounds)
    bounds = Bounds(**{name: getattr(options, name) for name in fields})
    progress, status, result = _Progress(), 0, attrs.asdict(bounds)
    way: tuple[str, ...] = ()
    try:
        explorer = Explorer(bounds, symmetric=options.symmetry, opening=options.opening)
        found = explorer.run(seconds=options.seconds, tell=progress.tell)
    except NoSuchStep as error:
        sys.exit(str(error))
    except Violation as violation:
        status, way = 1, violation.way
        result |= _figures(violation.found)
        result |= {"closed": False, "law": violation.law, "detail": violation.detail}
    except KeyboardInterrupt:
        status = 130
        result |= _figures(progress.last)
    else:
        result |= _figures(found)
    progress.end()
    if options.json:
        print(json.dumps({**result, "way": way}, indent=2))
        return status
    for name, value in result.items():
        print(f"{name:24} {value}")
    for number, step in enumerate(way, 1):
        print(f"{number:3}. {step}")
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m raftkit.testing.explore",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--servers", type=int, default=3, choices=range(1, 6), help="voters (3)")
    parser.add_argument("--terms", type=_count, default=2, help="the highest term (2, the first)")
    parser.add_argument("--entries", type=_count, default=1, help="proposals (1)")
    parser.add_argument("--crashes", type=_count, default=1, help="of any servers (1)")
    parser.add_argument("--lapses", type=_count, default=0, help="leaders that hear nobody (0)")
    parser.add_argument("--beats", type=_count, default=0, help="rounds that are not lost (0)")
    parser.add_argument("--pre-votes", action="store_true", help="ask for pre-votes")
    parser.add_argument("--disk", action="store_true", help="writes take time")
    parser.add_argument(
        "--opening", action="append", default=[], help="begin with this step (again and again)"
    )
    parser.add_argument("--seconds", type=float, default=float("inf"), help="stop after so long")
    parser.add_argument("--json", action="store_true", help="print the result as one JSON object")
    parser.add_argument(
        "--no-symmetry", dest="symmetry", action="store_false", help="names make a difference"
    )
    return parser


def _count(text: str) -> int:
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"at least 0, got {text}")
    return number


class _Progress:
    """Tells how far it is: on a terminal one line that changes, in a log a line a minute."""

    def __init__(self) -> None:
        self.last: Found | None = None
        "What was heard last."
        self._terminal = sys.stderr.isatty()
        self._told = time.monotonic()

    def tell(self, found: Found) -> None:
        """Called about once a second."""
        self.last, now = found, time.monotonic()
        if not self._terminal and now - self._told < 60.0:
            return
        self._told = now
        line = (
            f"{found.states:10,} states  {found.frontier:9,} to look at  depth {found.depth:3}  "
            f"{found.states / found.seconds:7,.0f}/s  {_mebibytes():6,} MiB"
        )
        print(
            f"\r{line}" if self._terminal else line,
            end="" if self._terminal else "\n",
            file=sys.stderr,
            flush=True,
        )

    def end(self) -> None:
        """What is printed next stands on a line of its own."""
        if self._terminal and self.last is not None:
            print(file=sys.stderr)


def _figures(found: Found | None) -> dict[str, object]:
    if found is None:
        return {"closed": False}  # stopped at once
    return {**attrs.asdict(found), "closed": not found.frontier, "mebibytes": _mebibytes()}


def _mebibytes() -> int:
    """The most memory that this process has held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
