"""Strangers end with their test, and a clock that can jump while sockets go on."""

from __future__ import annotations

from collections.abc import Generator

import pytest
from trio.testing import MockClock

from tests.transports.parts import OPENED


@pytest.fixture(autouse=True)
def _close_strangers() -> Generator[None]:
    yield
    for sock in OPENED:
        sock.close()
    OPENED.clear()


@pytest.fixture
def ticking_clock() -> MockClock:
    """Real time, with jumps."""
    return MockClock(rate=1.0)
