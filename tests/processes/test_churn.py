"""A process comes and goes under load, and no write fails."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.processes.churn import measure


@pytest.mark.slow
@pytest.mark.accept("C-40", "Q-23")
async def test_no_write_fails_while_a_node_comes_and_goes(tmp_path: Path) -> None:
    """Every acknowledged value is there once, in order."""
    figures = await measure(tmp_path, seconds=0, writers=6, writes_before=600)

    assert figures.failed == ()
    assert figures.admitted == 1
