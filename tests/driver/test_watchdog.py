"""Commands that take longer than a heartbeat interval are named."""

from __future__ import annotations

import logging

import pytest

from raftkit.driver.events import SlowCommand
from raftkit.driver.watchdog import QUIET_SECONDS, Watchdog
from raftkit.model import Index, Kind, Run, Term


class Bench:
    """A watchdog with a limit of 1 s, and its clock."""

    def __init__(self) -> None:
        self.now = 100.0
        self.told: list[SlowCommand] = []
        self.dog = Watchdog(
            id="a",
            limit_seconds=1.0,
            name=lambda payload: payload.decode(),
            publish=self.told.append,
            clock=lambda: self.now,
        )

    def apply(self, first: int, /, **seconds: float) -> None:
        """Apply commands of these names, each of which takes so long."""
        payloads = tuple(name.encode() for name in seconds)
        run = Run(first=Index(first), term=Term(1), time_ns=0, elapsed_ns=0, payloads=payloads)
        note = self.dog.watch(run)
        for index, each in enumerate(seconds.values(), first):
            self.now += each
            note(Index(index))


def test_each_slow_command_is_an_event() -> None:
    bench = Bench()
    bench.apply(7, quick=0.9, slow=1.5, fair=1.0)
    bench.now += 50  # between two runs
    bench.apply(10, quick=0.1, slower=2.0)

    assert bench.told == [
        SlowCommand(index=Index(8), command="slow", seconds=1.5),
        SlowCommand(index=Index(11), command="slower", seconds=2.0),
    ]


def test_the_log_gets_a_line_now_and_then(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench()
    with caplog.at_level(logging.WARNING, "raftkit"):
        bench.apply(1, first=2.0, second=2.0)
        bench.now += QUIET_SECONDS
        bench.apply(3, third=2.0, fourth=2.0)

    assert [it.levelname for it in caplog.records] == ["WARNING", "WARNING"]
    assert "index 1, first, took 2.000 s" in caplog.messages[0]
    assert "index 3, third" in caplog.messages[1]
    assert len(bench.told) == 4


@pytest.mark.parametrize(
    "kind, name",
    [(Kind.CLOCK, "on_clock"), (Kind.VERSION, "the upgrade")],
    ids=["clock", "version"],
)
def test_what_is_slow_and_no_command_is_named_as_such(kind: Kind, name: str) -> None:
    bench = Bench()
    run = Run(first=Index(4), term=Term(1), time_ns=0, elapsed_ns=0, kinds=(kind,), payloads=(b"",))
    note = bench.dog.watch(run)
    bench.now += 3.0
    note(Index(4))

    assert bench.told == [SlowCommand(index=Index(4), command=name, seconds=3.0)]
