"""Bugs of other Rafts, the scenario that tells each, and our mistakes that the scenario notices.

`python -m tests.mutants.literature` proves the table of docs/testing.md: each of its mistakes is made in a
copy, and the scenario beside it must read otherwise there, or come to something else where inputs are
batched otherwise. Exit status 1 if one does not.

A row is `| bug | scenario | mistakes |`; the last two hold names as code, the last one maybe none.
"""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import attrs

from tests.mutants.__main__ import ALL, ROOT, make_copy, run
from tests.mutants.mutants import Mutant

PAGE = ROOT / "docs" / "testing.md"
HEADING = "| bug, and where it was | scenario | mistakes it notices |"
_NAME = re.compile(r"`([^`]+)`")
_TEST = "tests/scenarios/test_scenarios.py::test_scenario"
_BATCHED = f"{_TEST}_comes_to_the_same_however_a_server_batches"


@attrs.frozen
class Row:
    """One bug."""

    scenario: str
    "The file in tests/scenarios, without `.txt`."
    mistakes: tuple[str, ...]
    "Names of those that it notices."


def rows() -> Iterator[Row]:
    """The table."""
    _, _, table = PAGE.read_text(encoding="utf-8").partition(HEADING + "\n")
    for line in table.splitlines()[1:]:
        if not line.startswith("|"):
            return
        _, scenario, mistakes = line.strip("| ").split(" | ")
        yield Row(_NAME.findall(scenario)[0], tuple(_NAME.findall(mistakes)))


def main() -> int:
    """Make each mistake once, and play the scenarios that are said to notice it."""
    status = 0
    for mutant in ALL:
        told = [row.scenario for row in rows() if mutant.name in row.mistakes]
        if not told:
            continue
        silent = sorted({*told} - _noticed(mutant, told))
        status |= bool(silent)
        print(
            f"{mutant.name:34} {len(told) - len(silent)} of {len(told)} {' '.join(silent)}",
            flush=True,
        )
    return status


def _noticed(mutant: Mutant, scenarios: Sequence[str]) -> set[str]:
    """Which of `scenarios` fail, in any batching, where the mistake was made."""
    with tempfile.TemporaryDirectory(prefix="raftkit-mutant-") as name:
        copy = Path(name)
        make_copy(copy, mutant)
        tests = [
            test
            for it in scenarios
            for test in (f"{_TEST}[{it}]", f"{_BATCHED}[{it}-singly]", f"{_BATCHED}[{it}-together]")
        ]
        output = run(copy, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests)
    return set(re.findall(r"^FAILED .*\[(\w+)(?:-\w+)?\]", output or "", re.MULTILINE))


if __name__ == "__main__":
    sys.exit(main())
