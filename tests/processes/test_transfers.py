"""Real processes hand leadership over under load, and no write fails."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.processes.transfers import measure


@pytest.mark.slow
@pytest.mark.accept("C-31", "O-39")
async def test_no_write_fails_while_leadership_goes_round(tmp_path: Path) -> None:
    """Every acknowledged value is there once, in order; the group is silent for less than a failover."""
    figures = await measure(tmp_path, transfers=3, writers=6, nodes=3)

    assert figures.failed == ()
    assert figures.transfers == 3
    assert figures.writes > 50
