"""The benchmark of random worlds runs, and its figures are those of the worlds that it names."""

from __future__ import annotations

import json

import pytest

from benchmarks import worlds
from raftkit.testing.world import World


@pytest.mark.slow
def test_its_figures_are_of_the_worlds_it_names(capsys: pytest.CaptureFixture[str]) -> None:
    """Repeats make a figure steadier, not larger."""
    report = World(7, nodes=3).run()

    status = worlds.main(
        ["--first-seed", "7", "--worlds", "1", "--nodes", "3", "--repeats", "2", "--json"]
    )

    told = json.loads(capsys.readouterr().out)
    assert status == 0
    assert (told["deliveries"], told["steps"]) == (report.deliveries, report.steps)
    seconds = told["cpu_seconds"]
    assert told["messages_per_second"] == pytest.approx(report.deliveries / seconds, rel=0.05)
    assert told["times_real_time"] == pytest.approx(report.ticks / 100 / seconds, rel=0.05)


def test_a_benchmark_of_no_worlds_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        worlds.main(["--worlds", "0"])

    assert "must be at least 1" in capsys.readouterr().err
