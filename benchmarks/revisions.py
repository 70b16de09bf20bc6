"""This tree beside another revision of it: `python -m benchmarks.revisions BASE`, or `make bench-compare`.

Laws: the other revision is checked out beside this tree, in a directory that is removed; nothing here is
touched, and what is not committed is measured, too. Both run `raftkit bench` with this environment's Python,
by turns, and the order alternates. A ratio is of one round; what is told is the median of them.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks.comparison import Comparison, Key
from benchmarks.peers.subject import Finding
from raftkit.cli.bench.environment import environment_of

__all__ = ["main", "worktree"]

ROOT = Path(__file__).parents[1]
OWN = "this tree"
PATIENCE_SECONDS = 120.0
"For one run, beyond what it measures."


@contextmanager
def worktree(revision: str) -> Generator[Path]:
    """A directory with that revision. Raises subprocess.CalledProcessError if there is none."""
    with tempfile.TemporaryDirectory(prefix="raftkit-base-") as place:
        path = Path(place) / "tree"
        _git("worktree", "add", "--detach", str(path), revision)
        try:
            yield path
        finally:
            _git("worktree", "remove", "--force", str(path))


def _git(*arguments: str) -> None:
    subprocess.run(["git", "-C", str(ROOT), *arguments], check=True, capture_output=True, text=True)


def _bench(tree: Path, options: Sequence[str], patience: float) -> list[tuple[str, Finding]]:
    """What `raftkit bench` of that tree finds, by machine and load. Raises OSError if it fails."""
    ran = subprocess.run(
        [sys.executable, "-m", "raftkit", "bench", "--json", *options],
        cwd=tree,
        env={**os.environ, "PYTHONPATH": str(tree)},
        capture_output=True,
        text=True,
        timeout=patience,
        check=False,
    )
    if not ran.stdout:
        lines = ran.stderr.strip().splitlines() or [f"exit code {ran.returncode}"]
        raise OSError(lines[-1])
    told = json.loads(ran.stdout)
    if told["faults"]:
        raise OSError("; ".join(told["faults"]))
    return [(f"{it['machine']}-{it['outstanding']}", _finding(it)) for it in told["measurements"]]


def _finding(told: dict[str, float]) -> Finding:
    names = {"rate": "writes_per_s", "p50_ms": "p50_ms", "p99_ms": "p99_ms"}
    return Finding(figures={name: told[its] for name, its in names.items()})


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status: 1 if anything could not be measured."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.revisions", description=__doc__)
    parser.add_argument("base", metavar="BASE", help="what git calls it: main, HEAD~3, …")
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each figure (3)")
    parser.add_argument("--seconds", type=float, default=3.0, help="of each measurement (3)")
    parser.add_argument("--outstanding", default="1,256", help="writes under way (1,256)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything there, too")
    options = parser.parse_args(arguments)
    if options.rounds < 1 or not 0 < options.seconds <= 600:
        parser.error("--rounds must be at least 1, --seconds above 0 and at most 600")
    with tempfile.TemporaryDirectory(prefix="raftkit-bench-") as place:
        environment = environment_of(Path(place))
    comparison = Comparison(environment, [OWN, options.base], options.seconds, None)
    asked = ("--outstanding", options.outstanding, "--seconds", str(options.seconds))
    loads = 2 * len(options.outstanding.split(","))
    try:
        with worktree(options.base) as base:
            for number in range(options.rounds):
                trees = [(OWN, ROOT), (options.base, base)]
                for name, tree in trees if number % 2 == 0 else reversed(trees):
                    print(f"round {number + 1} of {options.rounds}: {name}", file=sys.stderr)
                    patience = PATIENCE_SECONDS + loads * (options.seconds + 1)
                    for load, found in _bench(tree, asked, patience):
                        comparison.note(Key(load, name), found)
    except subprocess.CalledProcessError as failed:
        print(f"{options.base}: {failed.stderr.strip().splitlines()[-1]}", file=sys.stderr)
        return 1
    except (OSError, subprocess.TimeoutExpired) as error:
        comparison.note_fault(str(error))
    for words in comparison.as_words():
        print(words)
    if options.json:
        options.json.write_text(comparison.as_json() + "\n")
    return 1 if comparison.faults else 0


if __name__ == "__main__":
    sys.exit(main())
