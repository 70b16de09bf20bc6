"""Break raftkit in each of the ways of the tables beside this and see who notices.

`python -m tests.mutants [--only NAME …] [--package core] [--by paper …] [--worlds N] [--first] [--jobs N]`;
exit status 1 if a mistake was not noticed by those who should. The tree is never touched: each mistake is
made in a copy.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import attrs

from tests.mutants.datagram_mutants import DATAGRAM_MUTANTS
from tests.mutants.driver_mutants import DRIVER_MUTANTS
from tests.mutants.lease_mutants import LEASE_MUTANTS
from tests.mutants.literature_mutants import LITERATURE_MUTANTS
from tests.mutants.machine_mutants import MACHINE_MUTANTS
from tests.mutants.membership_mutants import MEMBERSHIP_MUTANTS
from tests.mutants.multicast_flow_mutants import MULTICAST_FLOW_MUTANTS
from tests.mutants.multicast_mutants import MULTICAST_MUTANTS
from tests.mutants.mutants import MUTANTS, Mutant
from tests.mutants.referral_mutants import REFERRAL_MUTANTS
from tests.mutants.snapshot_mutants import SNAPSHOT_MUTANTS
from tests.mutants.stall_mutants import STALL_MUTANTS
from tests.mutants.storage_mutants import STORAGE_MUTANTS
from tests.mutants.transfer_mutants import TRANSFER_MUTANTS

ALL = (
    *MUTANTS,
    *SNAPSHOT_MUTANTS,
    *LITERATURE_MUTANTS,
    *LEASE_MUTANTS,
    *MEMBERSHIP_MUTANTS,
    *MACHINE_MUTANTS,
    *TRANSFER_MUTANTS,
    *STALL_MUTANTS,
    *STORAGE_MUTANTS,
    *DRIVER_MUTANTS,
    *DATAGRAM_MUTANTS,
    *REFERRAL_MUTANTS,
    *MULTICAST_MUTANTS,
    *MULTICAST_FLOW_MUTANTS,
)
ROOT = Path(__file__).parents[2]
PAPER = ("tests/paper", "tests/core")
SCENARIOS = ("tests/scenarios/test_scenarios.py",)
SECONDS_MAX = 900
"Tests or worlds that take longer have noticed nothing: each world and each test has bounds of its own."

_WORLDS = """
import sys
from raftkit.testing.soak import Failure, soak
storm, transport = float(sys.argv[2]) or None, sys.argv[3] or None
for seed in range(int(sys.argv[1])):
    # Mostly five servers; in groups of one, two and four other mistakes show. Whole nodes are three.
    nodes = 3 if storm else (5, 5, 3, 1, 5, 4, 5, 2)[seed % 8]
    options = dict(deliveries=2000, jobs=1, storm=storm, transport=transport)
    for outcome in soak([seed], nodes=nodes, **options):
        if isinstance(outcome, Failure):
            sys.exit(f"{seed} of {nodes}: {outcome.name}: {outcome.detail[:150]}")
"""
STORM_SECONDS = 10
"Virtual, of a world of whole nodes. Those cost ten times as much, so a tenth of them are tried."

LAYERS: Mapping[str, Callable[[Mutant, Path, int], str | None]] = {
    "paper": lambda _, copy, worlds: _tests(copy, PAPER),
    "scenarios": lambda _, copy, worlds: _tests(copy, SCENARIOS),
    "worlds": lambda _, copy, worlds: _worlds(copy, worlds, 0),
    "tests": lambda mutant, copy, worlds: _tests(copy, mutant.tests),
    "full": lambda mutant, copy, worlds: _worlds(
        copy, worlds // 10, STORM_SECONDS, "multicast" if mutant.package == "transports" else ""
    ),
}
"Who may notice a mistake in a copy of the tree (so many worlds are tried): the first that failed, or None."


def layers_of(mutant: Mutant) -> tuple[str, ...]:
    """Who looks at it."""
    if mutant.package == "core":
        return "paper", "scenarios", "worlds"
    return ("tests", "full") if mutant.tests else ("full",)


@attrs.frozen
class Verdict:
    """Who noticed a mistake, and how."""

    mutant: Mutant
    "Which."
    found: Mapping[str, str | None]
    "The first test, scenario or world that failed, by who looked."
    seconds: float
    "How long that took."

    @property
    def killers(self) -> frozenset[str]:
        """Those of whom something failed."""
        return frozenset(layer for layer, what in self.found.items() if what is not None)

    @property
    def expected(self) -> bool:
        """Whether those who should notice did, of those who looked."""
        return self.mutant.killed_by & self.found.keys() <= self.killers


def judge(mutant: Mutant, by: Iterable[str], worlds: int, *, first: bool = False) -> Verdict:
    """Make the mistake in a copy of the package; let `by` look at it, or only until the `first` notices."""
    begin = time.monotonic()
    found: dict[str, str | None] = {}
    with tempfile.TemporaryDirectory(prefix="raftkit-mutant-") as name:
        copy = Path(name)
        make_copy(copy, mutant)
        for layer in by:
            found[layer] = LAYERS[layer](mutant, copy, worlds)
            if first and found[layer] is not None:
                break
    return Verdict(mutant, found, time.monotonic() - begin)


def make_copy(copy: Path, mutant: Mutant | None) -> None:
    """Copy what tests need to `copy`, with the mistake in it."""
    for part in ("raftkit", "tests"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / part, copy / part, ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", copy)
    if mutant is not None:
        (copy / mutant.path).write_text(mistaken(mutant), encoding="utf-8")


def mistaken(mutant: Mutant) -> str:
    """The file's text with the wrong part in the place of the right one."""
    text = (ROOT / mutant.path).read_text(encoding="utf-8")
    if text.count(mutant.old) != 1:
        sys.exit(f"{mutant.name}: {text.count(mutant.old)} times in {mutant.path}: {mutant.old!r}")
    return text.replace(mutant.old, mutant.new)


def _tests(copy: Path, paths: Sequence[str]) -> str | None:
    output = run(copy, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *paths)
    if output is None:
        return None
    found = re.search(r"^(?:FAILED|ERROR) tests/(\S+)", output, re.MULTILINE)
    return found.group(1) if found else output[-200:].strip()


def _worlds(copy: Path, worlds: int, storm: int, transport: str = "") -> str | None:
    output = run(copy, "-c", _WORLDS, str(worlds), str(storm), transport)
    return None if output is None else output.strip().splitlines()[-1]


def run(copy: Path, *arguments: str) -> str | None:
    """What a failing run says; None if it succeeds."""
    environment = {**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=copy,
            env=environment,
            capture_output=True,
            text=True,
            timeout=SECONDS_MAX,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return None
    return None if done.returncode == 0 else done.stdout + done.stderr


def main() -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("--only", nargs="+", help="only the mistakes of these names")
    parser.add_argument(
        "--package",
        choices=("core", "storage", "driver", "transports", "wire"),
        help="only those in it",
    )
    parser.add_argument("--by", nargs="+", choices=LAYERS, default=[*LAYERS], help="who looks")
    parser.add_argument("--first", action="store_true", help="nobody looks after one who noticed")
    parser.add_argument("--worlds", type=int, default=300, help="seeds of worlds to try (300)")
    parser.add_argument("--jobs", type=int, default=2, help="mistakes at a time (2)")
    options = parser.parse_args()
    chosen = [
        it
        for it in ALL
        if it.name in (options.only or (it.name,))
        and it.package in (options.package or it.package)
        and set(layers_of(it)) & set(options.by)
    ]
    if not chosen or len(chosen) < len(options.only or ()):
        parser.error("nothing is named so, there, or noticed by those")
    for mutant in chosen:
        mistaken(mutant)
    _check_sound(chosen, options.by, min(options.worlds, 20))
    unexpected = 0
    with ThreadPoolExecutor(options.jobs) as pool:

        def judged(mutant: Mutant) -> Verdict:
            by = _by(mutant, options.by)
            return judge(mutant, by, options.worlds, first=options.first)

        for verdict in pool.map(judged, chosen):
            _print(verdict)
            unexpected += not verdict.expected
    print(f"{len(chosen)} mistakes, {unexpected} not noticed by those who should")
    return 1 if unexpected else 0


def _by(mutant: Mutant, by: Collection[str]) -> list[str]:
    return [layer for layer in layers_of(mutant) if layer in by]


def _check_sound(chosen: Sequence[Mutant], by: Collection[str], worlds: int) -> None:
    """Exit if anybody notices something where no mistake was made."""
    paths = sorted({path for mutant in chosen for path in mutant.tests})
    needed = [layer for layer in by if any(layer in layers_of(it) for it in chosen)]
    all_of_them = attrs.evolve(chosen[0], tests=tuple(paths))
    with tempfile.TemporaryDirectory(prefix="raftkit-mutant-") as name:
        copy = Path(name)
        make_copy(copy, None)
        for layer in needed:
            found = LAYERS[layer](all_of_them, copy, worlds)
            if found is not None:
                sys.exit(f"without any mistake, {layer}: {found}")


def _print(verdict: Verdict) -> None:
    mark = "killed  " if verdict.expected else "SURVIVED"
    print(f"{mark} {verdict.mutant.name:34} {verdict.mutant.rule} ({verdict.seconds:.0f} s)")
    for layer, what in verdict.found.items():
        print(f"         {layer + ':':10} {what or '-'}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
