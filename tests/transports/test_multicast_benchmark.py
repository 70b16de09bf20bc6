"""The benchmark of multicast beside TCP: what it runs, and what it concludes."""

from __future__ import annotations

import json

import attrs
import pytest

from benchmarks.multicast import Case, Figures, Result, cases, compare, main
from raftkit.cli.bench.environment import Environment

ONE = Figures(
    writes_per_s=1000,
    p50_ms=5,
    p99_ms=9,
    bytes_per_write=70,
    packets_per_write=0.1,
    leader_cpu_us=100,
    group_cpu_us=300,
    elections=0,
    repairs_per_s=0,
)
HERE = Environment(
    python="CPython 3.11.7",
    cpus=2,
    cpu_model=None,
    kernel="Linux 6.1",
    file_system="ext4",
    fsync_ms=0.1,
)


def a_result(**nine: float) -> Result:
    """All figures alike but those of nine nodes over multicast."""
    figures = dict.fromkeys(cases(), ONE)
    figures[Case(nodes=9, transport="multicast")] = attrs.evolve(ONE, **nine)
    return Result(
        environment=HERE, outstanding=64, seconds=3.0, rounds=3, load=0.5, figures=figures
    )


def test_every_size_is_measured_over_both_and_losses_over_multicast() -> None:
    chosen = cases()

    assert [it.nodes for it in chosen] == [3, 3, 5, 5, 7, 7, 9, 9, 5, 5, 5]
    assert [it.transport for it in chosen] == ["tcp", "multicast"] * 4 + ["multicast"] * 3
    assert [it.loss for it in chosen] == [0] * 8 + [0.01, 0.05, 0.2]


def test_growth_is_of_the_largest_group_against_the_smallest() -> None:
    result = a_result(bytes_per_write=105, packets_per_write=0.12)
    words = list(result.as_words())

    assert result.growth("multicast") == pytest.approx((1.5, 1.2))
    assert result.growth("tcp") == (1, 1)
    told = (
        "multicast: leader's bytes per entry, 9 nodes against 3: 1.50× (goal ≤ 1.2), packets 1.20×"
    )
    assert told in words
    assert json.loads(result.as_json())["growth"]["multicast"] == pytest.approx([1.5, 1.2])


def test_speed_is_told_beside_that_of_tcp() -> None:
    words = list(a_result(writes_per_s=750).as_words())

    assert "| 9 | multicast | 750 | 0.75 | 5.0 | 70 | 0.100 | 100 | 300 |" in words
    assert "| 5 | 20 % | 1,000 | 5.0 | 9.0 | 0 | 0 |" in words


def test_a_figure_is_the_median_of_its_rounds_and_no_election_is_hidden() -> None:
    rounds = [attrs.evolve(ONE, p50_ms=p50, elections=it) for p50, it in ((5, 0), (50, 1), (7, 0))]

    middle = Figures.median(rounds)

    assert (middle.p50_ms, middle.elections, middle.p99_ms) == (7, 1, 9)


@pytest.mark.slow
def test_it_measures_what_it_names() -> None:
    """Three processes each, for a moment: what the leader sends once costs it less than twice that."""
    said: list[str] = []
    chosen = [Case(nodes=3, transport="tcp"), Case(nodes=3, transport="multicast", loss=0.0)]

    result = compare(chosen, rounds=1, outstanding=16, seconds=0.5, say=said.append)

    over_tcp, over_multicast = (result.figures[it] for it in chosen)
    assert [it.rpartition(":")[0] for it in said] == [
        "round 1 of 1: 3 nodes, tcp",
        "round 1 of 1: 3 nodes, multicast",
    ]
    assert over_multicast.bytes_per_write < over_tcp.bytes_per_write
    assert min(attrs.astuple(over_multicast)[:7]) > 0


def test_a_benchmark_of_no_rounds_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--rounds", "0"])

    assert "must be at least 1" in capsys.readouterr().err
