"""The storm sees what it is there for: each of these members does one thing wrong, and is found out.

A storm that is silent because it is blind would look the same as one that has nothing to say.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from raftkit.testing.append_lists import Kind, check_append_lists
from tests.processes.broken import FAULTS
from tests.processes.storm import Storm
from tests.processes.strikes import kill_all, kill_leaders, stop_followers, stop_leaders

pytestmark = pytest.mark.slow

Strike = Callable[[Storm, int], Awaitable[None]]

NOTICED: dict[str, tuple[Strike, set[Kind]]] = {
    "reads locally": (stop_followers, {Kind.STALE}),
    "leader reads locally": (stop_leaders, {Kind.STALE}),
    "sends again without session": (kill_leaders, {Kind.TWICE}),
    "answers too soon": (kill_leaders, {Kind.STALE, Kind.LOST}),
    "acknowledges before writing": (kill_all, {Kind.STALE, Kind.LOST, Kind.DIVERGED}),
}
"Fault → what befalls the group, and what must be seen then: one of these."
STRIKES_MAX = 8
"One is mostly enough."


def seen(storm: Storm) -> set[Kind]:
    """Kinds of violations in all that was told so far."""
    keys = storm.load.keys
    found = [*keys.violations]
    for key in keys.active:
        # Calls under way are missing, so not all of it is true.
        found += check_append_lists(key.history)
    return {it.kind for it in found}


def test_every_fault_is_tried() -> None:
    assert NOTICED.keys() == FAULTS.keys()


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_member_that_does_it_wrong_is_found_out(tmp_path: Path, fault: str) -> None:
    strike, kinds = NOTICED[fault]
    storm = Storm(directory=tmp_path, seed=1, program=("tests.processes.broken", fault))

    async def strike_until_seen() -> None:
        for _ in range(STRIKES_MAX):
            await strike(storm, 1)
            if kinds & seen(storm):
                return

    report = await storm.run(strike_until_seen)

    assert kinds & {it.kind for it in storm.load.keys.violations}, report.violations
