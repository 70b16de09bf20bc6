"""What may wait, and behind what."""

from __future__ import annotations

import pytest

from raftkit.wire import Lane, lane_of
from tests.wire.examples import MESSAGES

LATER = {
    "append entries": Lane.ENTRIES,
    "append entries without entries": Lane.ENTRIES,
    "forward": Lane.ENTRIES,
    "snapshot chunk": Lane.BULK,
    "snapshot part": Lane.BULK,
}


@pytest.mark.parametrize("name", MESSAGES)
def test_only_entries_and_parts_of_snapshots_wait_behind_others(name: str) -> None:
    assert lane_of(MESSAGES[name]) is LATER.get(name, Lane.CONTROL)
