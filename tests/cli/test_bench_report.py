"""What a measurement says of itself: which figures are worth nothing, and what was saturated."""

from __future__ import annotations

import json
from typing import Any

import attrs
import pytest

from raftkit.cli.bench.environment import Environment
from raftkit.cli.bench.report import Measurement, Report
from raftkit.cli.bench.traffic import Traffic

SOUND = Measurement(
    machine="typed",
    outstanding=16,
    seconds=2.0,
    writes=1000,
    p50_ms=1.0,
    p99_ms=2.0,
    p999_ms=3.0,
    max_ms=4.0,
    leader="b",
    cpu_percent={"a": 30.0, "b": 60.0, "c": 30.0},
    others_cpu_percent=5.0,
    cpus=2,
    traffic=Traffic(bytes_sent=100_000, packets_sent=2000),
    acknowledged=1500,
    applied={"a": 1500, "b": 1500, "c": 1500},
    elections=0,
    errors={},
)
HERE = Environment(
    python="CPython 3.11.7",
    cpus=2,
    cpu_model=None,
    kernel="Linux 6.1",
    file_system="ext4",
    fsync_ms=0.1,
)


def _report(measurement: Measurement, **changes: Any) -> Report:
    return Report(environment=HERE, nodes=3, measurements=(attrs.evolve(measurement, **changes),))


def test_a_sound_measurement_has_no_fault() -> None:
    report = _report(SOUND)

    assert (report.faults, report.exit_code) == ((), 0)
    assert SOUND.writes_per_s == 500


@pytest.mark.parametrize(
    "changes, words",
    [
        (
            {"applied": {"a": 1500, "b": 1500, "c": 1499}},
            "1500 writes were acknowledged, c applied 1499",
        ),
        (
            {"applied": {"a": 1501, "b": 1500, "c": 1500}},
            "1500 writes were acknowledged, a applied 1501",
        ),
        ({"elections": 1}, "1 elections while it was measured"),
        ({"errors": {"Overloaded": 3}}, "3 writes failed: Overloaded"),
    ],
)
def test_what_makes_figures_worthless_is_said(changes: dict[str, Any], words: str) -> None:
    report = _report(SOUND, **changes)

    assert report.faults == (f"typed, 16 outstanding: {words}",)
    assert report.exit_code == 1
    assert f"WRONG: {report.faults[0]}" in report.as_words()
    assert json.loads(report.as_json())["measurements"][0]["faults"] == [words]


@pytest.mark.parametrize("applied, faults", [(1499, 2), (1500, 1), (1502, 1), (1503, 2)])
def test_a_write_of_unknown_outcome_may_have_been_applied_or_not(applied: int, faults: int) -> None:
    found = attrs.evolve(SOUND, errors={"OutcomeUnknown": 2}, applied={"a": applied})

    assert len(list(found.faults())) == faults


def test_what_a_write_costs_each_node_is_told() -> None:
    expected = {
        "a": {"role": "follower", "percent": 30.0, "us_per_write": 600.0},
        "b": {"role": "leader", "percent": 60.0, "us_per_write": 1200.0},
        "c": {"role": "follower", "percent": 30.0, "us_per_write": 600.0},
    }

    assert SOUND.as_data()["cpu"] == expected


def test_a_failure_is_a_fault() -> None:
    report = Report(environment=HERE, nodes=3, measurements=(), failure="node a: got SIGKILL")

    assert (report.faults, report.exit_code) == (("node a: got SIGKILL",), 1)


def test_what_of_the_leader_a_write_costs_the_network_is_told() -> None:
    lossy = attrs.evolve(SOUND, traffic=attrs.evolve(SOUND.traffic, asked=9, repaired=7))

    assert SOUND.as_words().endswith("; 100 bytes and 2.00 packets a write from the leader")
    assert lossy.as_words().endswith("2.00 packets a write from the leader, 7 of them repairs")
    assert (lossy.as_data()["bytes_sent"], lossy.as_data()["repaired"]) == (100_000, 7)


def test_traffic_of_a_time_is_what_came_to_it() -> None:
    """A connection that was closed meanwhile took its segments along: none is no number below."""
    before = Traffic(bytes_sent=100, packets_sent=10, asked=1)
    after = Traffic(bytes_sent=150, packets_sent=8, asked=4)

    assert after.since(before) == Traffic(bytes_sent=50, asked=3)


@pytest.mark.parametrize(
    "nodes, others, saturated",
    [
        ({"a": 30, "b": 60, "c": 30}, 5, ()),
        ({"a": 30, "b": 99, "c": 30}, 5, ("b",)),
        ({"a": 40, "b": 99, "c": 40}, 5, ("b", "cores")),
        ({"a": 10, "b": 20, "c": 10}, 150, ("cores",)),
    ],
)
def test_what_had_nothing_more_to_give_is_named(
    nodes: dict[str, float], others: float, saturated: tuple[str, ...]
) -> None:
    found = attrs.evolve(SOUND, cpu_percent=nodes, others_cpu_percent=others)

    assert found.saturated == saturated


def test_nothing_written_is_no_figure_rather_than_a_zero() -> None:
    nothing = attrs.evolve(SOUND, writes=0, p50_ms=None, p99_ms=None, p999_ms=None, max_ms=None)

    assert nothing.as_data()["p50_ms"] is None
    assert nothing.as_words() == "typed, 16 outstanding: 0 writes/s, p50 –, p99 – ms"


def test_memory_is_not_called_durable() -> None:
    here = attrs.evolve(HERE, file_system="tmpfs")
    report = Report(environment=here, nodes=3, measurements=(SOUND,))

    assert any("nothing here was durable" in words for words in report.as_words())
