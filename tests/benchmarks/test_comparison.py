"""What is told of a comparison: ratios of rounds, what saturates, tables, JSON and a picture."""

from __future__ import annotations

import json
from xml.etree import ElementTree as ET

import pytest

from benchmarks.comparison import Comparison, Key, Spread
from benchmarks.peers.subject import Finding
from benchmarks.plot import BAR, as_svg
from raftkit.cli.bench.environment import Environment

HERE = Environment(
    python="CPython 3.11.7",
    cpus=2,
    cpu_model=None,
    kernel="Linux 6.1",
    file_system="ext4",
    fsync_ms=0.1,
)
OWN, PEER = Key("writes", "raftkit"), Key("writes", "etcd")


def _comparison(own: list[float], peer: list[float]) -> Comparison:
    """Writes a second of each, round by round."""
    comparison = Comparison(HERE, ["raftkit", "etcd"], 5.0, None)
    for key, rates in ((OWN, own), (PEER, peer)):
        for rate in rates:
            comparison.note(key, Finding(figures={"rate": rate}))
    return comparison


def _table(comparison: Comparison) -> list[str]:
    return list(comparison.as_words())


def test_a_ratio_is_the_median_of_the_rounds_not_of_the_medians() -> None:
    """In the second round the machine did something else, too; both felt it."""
    comparison = _comparison([300.0, 20.0, 400.0], [200.0, 10.0, 100.0])

    assert comparison.spread(OWN, "rate") == Spread(300.0, 20.0, 400.0)
    assert comparison.ratio("writes", "rate", "etcd") == 2.0
    assert "| writes | a second | 300 (20–400) | 100 (10–200) | 2 |" in _table(comparison)


def test_what_was_not_measured_has_no_ratio() -> None:
    comparison = _comparison([300.0], [])
    comparison.note_not_offered(Key("writes", "etcd"))

    assert comparison.ratio("writes", "rate", "etcd") is None
    assert "| writes | a second | 300 | none offered | – |" in _table(comparison)


def test_a_figure_of_nought_divides_nothing() -> None:
    assert _comparison([3.0], [0.0]).ratio("writes", "rate", "etcd") is None


@pytest.mark.parametrize(
    "cpu, words",
    [
        ({"leader b": 90.0, "a": 20.0, "c": 30.0, "others": 5.0}, "leader"),
        ({"leader b": 60.0, "a": 50.0, "c": 50.0, "others": 20.0}, "all cores"),
        ({"leader b": 90.0, "a": 50.0, "c": 40.0, "others": 9.0}, "leader, all cores"),
        ({"leader b": 50.0, "a": 20.0, "c": 30.0, "others": 5.0}, "nothing"),
    ],
)
def test_what_has_nothing_more_to_give_is_named(cpu: dict[str, float], words: str) -> None:
    comparison = _comparison([], [])
    comparison.note(OWN, Finding(figures={"rate": 1.0}, cpu=cpu))

    assert comparison.saturated(OWN) == words


def test_processes_are_compared_by_what_they_were() -> None:
    """Another member leads in the next round."""
    comparison = _comparison([], [])
    rounds = [
        {"leader a": 80.0, "b": 20.0, "c": 30.0, "client": 10.0, "others": 1.0},
        {"leader c": 60.0, "a": 40.0, "b": 10.0, "client": 20.0, "others": 3.0},
    ]
    for cpu in rounds:
        comparison.note(PEER, Finding(figures={"rate": 1.0}, cpu=cpu))

    assert comparison.cpu(PEER) == {
        "leader": 70.0,
        "follower 1": 35.0,
        "follower 2": 15.0,
        "client": 15.0,
        "others": 2.0,
    }


def test_json_has_every_round_and_every_median() -> None:
    comparison = _comparison([300.0, 100.0], [100.0, 100.0])
    comparison.note_fault("etcd, round 3: it has ended")
    told = json.loads(comparison.as_json())

    assert [it["rounds"][1]["figures"] for it in told["rounds"]] == [{"rate": 100.0}] * 2
    assert told["medians"] == [
        {
            "workload": "writes",
            "figure": "rate",
            "values": {"raftkit": 200.0, "etcd": 100.0},
            "ratios": {"etcd": 2.0},
        }
    ]
    assert told["faults"] == ["etcd, round 3: it has ended"]
    assert "WRONG: etcd, round 3: it has ended" in _table(comparison)


def test_the_picture_has_a_bar_for_each_system_as_long_as_its_median() -> None:
    drawing = ET.fromstring(as_svg(_comparison([300.0, 300.0], [60.0, 60.0])))
    _background, *bars = drawing.iter("{http://www.w3.org/2000/svg}rect")
    words = [it.text for it in drawing.iter("{http://www.w3.org/2000/svg}text")]

    assert [float(it.attrib["width"]) for it in bars] == [BAR, BAR / 5]
    assert words == ["writes: a second (more is better)", "raftkit", "300", "etcd", "60"]


def test_a_picture_of_nothing_is_a_picture() -> None:
    assert ET.fromstring(as_svg(_comparison([], []))).tag.endswith("svg")
