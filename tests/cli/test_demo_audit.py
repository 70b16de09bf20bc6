"""Whatever is wrong in a node's state is found, and nothing but right states is called verified."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import attrs
import pytest

from raftkit.cli.demo import audit as demo_audit
from raftkit.cli.demo.audit import Audit, Findings, pages
from raftkit.cli.demo.machine import Transcript
from raftkit.cli.demo.report import Report
from raftkit.cli.demo.text import Line
from raftkit.testing.applying import applying

LINES = [Line(number, content, len(content)) for number, content in enumerate(
    [b"first", b"", b"\xff\x00", b"first", b"last"], 1
)]  # fmt: skip
NODES = ("a", "b", "c")


def _machines() -> dict[str, Transcript]:
    """Three nodes that hold what they should."""
    machines = {node: Transcript() for node in NODES}
    for machine in machines.values():
        for line in LINES:
            _write(machine, line)
    return machines


def _write(machine: Transcript, line: Line) -> None:
    with applying(machine):
        machine.write(line.number, line.content)


def _audit(
    machines: dict[str, Transcript], refused: frozenset[int] = frozenset(), page: int = 2
) -> Findings:
    audit = Audit(
        refused=refused,
        repeats={node: machine.repeated() for node, machine in machines.items()},
        counts={node: machine.count() for node, machine in machines.items()},
    )
    for start in range(0, len(LINES), page):
        part = LINES[start : start + page]
        audit.take(part, {n: m.page(part[0].number, len(part)) for n, m in machines.items()})
    return audit.conclude()


def _report(
    findings: Findings | None,
    lines: int = len(LINES),
    refused: tuple[str, ...] = (),
    failure: str = "",
) -> Report:
    return Report(
        input="a text",
        nodes=3,
        clients=1,
        lines=lines,
        seconds=1.0,
        findings=findings,
        refused=refused,
        failure=failure,
    )


def test_states_that_hold_every_line_once_are_verified() -> None:
    found = _audit(_machines())
    report = _report(found)

    assert (found.applied, found.lost, found.altered, found.duplicated) == (5, 0, 0, 0)
    assert (report.verified, report.digests_equal, report.exit_code) == (True, True, 0)
    assert list(report.as_words())[-1] == "verified"


def _lose(machine: Transcript) -> None:
    del machine.lines[4]


def _alter(machine: Transcript) -> None:
    machine.lines[1] = b"First"


def _swap(machine: Transcript) -> None:
    machine.lines[2], machine.lines[3] = machine.lines[3], machine.lines[2]


def _apply_twice(machine: Transcript) -> None:
    _write(machine, LINES[2])


def _invent(machine: Transcript) -> None:
    _write(machine, Line(6, b"sixth", 5))


Plant = Callable[[Transcript], None]
PLANTED: list[tuple[Plant, tuple[int, ...], str]] = [
    (_lose, (4, 1, 0, 0), "line 4 is lost"),
    (_alter, (4, 0, 1, 0), "line 1 is altered"),
    (_swap, (3, 0, 2, 0), "line 2 is altered"),
    (_apply_twice, (4, 0, 0, 1), "line 3 is duplicated"),
    (_invent, (5, 0, 1, 0), "not in the input"),
]


@pytest.mark.parametrize("page", [1, 2, 5])
@pytest.mark.parametrize("where", [("b",), NODES], ids=["one node", "every node"])
@pytest.mark.parametrize(
    "plant, counts, words", PLANTED, ids=lambda it: getattr(it, "__name__", "")
)
def test_a_planted_fault_is_found_and_nothing_is_verified(
    plant: Plant, counts: tuple[int, ...], words: str, where: tuple[str, ...], page: int
) -> None:
    machines = _machines()
    for node in where:
        plant(machines[node])

    found = _audit(machines, page=page)
    report = _report(found)

    assert (
        found.applied,
        found.lost,
        found.altered // _times(plant, where),
        found.duplicated,
    ) == counts
    assert words in report.why_not
    assert (report.verified, report.exit_code) == (False, 1)
    assert report.digests_equal == (where == NODES or plant is _invent)
    assert list(report.as_words())[-1].startswith("NOT VERIFIED: ")
    assert json.loads(report.as_json())["verified"] is False


def _times(plant: Plant, where: tuple[str, ...]) -> int:
    """A line beyond the input is counted at each node: nobody knows whether it is the same."""
    return len(where) if plant is _invent else 1


def test_a_node_that_lacks_another_line_than_its_neighbour_costs_two() -> None:
    machines = _machines()
    del machines["a"].lines[1]
    del machines["b"].lines[2]

    found = _audit(machines)

    assert (found.applied, found.lost) == (3, 2)


def test_a_refused_line_belongs_nowhere_and_the_rest_is_verified() -> None:
    machines = _machines()
    for machine in machines.values():
        del machine.lines[5]

    found = _audit(machines, refused=frozenset({5}))
    report = _report(found, refused=("line 5, 2,000,000 bytes: too large",))

    assert (found.applied, found.lost, found.altered) == (4, 0, 0)
    assert (report.verified, report.exit_code) == (True, 1)
    assert list(report.as_words())[-1] == "verified"
    assert "refused: line 5, 2,000,000 bytes: too large" in list(report.as_words())


def test_a_refused_line_that_is_there_all_the_same_is_a_fault() -> None:
    found = _audit(_machines(), refused=frozenset({5}))

    assert (found.applied, found.altered) == (4, 1)
    assert not _report(found, refused=("line 5",)).verified


def test_digests_that_differ_are_a_fault_of_their_own() -> None:
    found = attrs.evolve(_audit(_machines()), digests={"a": "1", "b": "1", "c": "2"})
    report = _report(found)

    assert (report.verified, report.digests_equal) == (False, False)
    assert "digests differ" in report.why_not


def test_lines_that_were_neither_applied_nor_refused_are_missed() -> None:
    report = _report(_audit(_machines()), lines=6)

    assert (report.verified, report.why_not) == (False, "6 lines, but 5 applied and 0 refused")


def test_what_was_not_compared_is_not_verified() -> None:
    said = json.loads(_report(None).as_json())

    assert (said["verified"], said["why"]) == (False, "the states were not compared")
    assert said["applied"] is said["lost"] is said["duplicated"] is said["digest"] is None
    assert said["digests_equal"] is False


def test_a_demo_that_failed_is_not_verified_whatever_was_found() -> None:
    report = _report(_audit(_machines()), failure="node b: the disk is full")

    assert (report.verified, report.exit_code) == (False, 1)
    assert list(report.as_words())[-1] == "NOT VERIFIED: node b: the disk is full"


def test_pages_hold_every_line_in_order_and_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo_audit, "PAGE_LINES_MAX", 3)
    monkeypatch.setattr(demo_audit, "PAGE_BYTES_MAX", 10)

    def lines() -> Iterator[Line]:
        for number, size in enumerate([1, 1, 1, 1, 20, 1, 9, 1], 1):
            yield Line(number, b"x" * size, size)

    assert [[it.number for it in page] for page in pages(lines())] == [
        [1, 2, 3],
        [4, 5],
        [6, 7],
        [8],
    ]
    assert list(pages(())) == []
