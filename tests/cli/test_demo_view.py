"""What is shown: a picture on a terminal, a line a second elsewhere."""

from __future__ import annotations

import io
import logging

import pytest
from rich.console import Console

from raftkit.cli.demo import view as demo_view
from raftkit.cli.demo.member import NodeRow
from raftkit.cli.demo.view import PlainView, Scene, open_view, sparkline

NODES = (
    NodeRow(id="a", role="leader", term=7, leader="a", commit=1_234, applied=1_230),
    NodeRow(id="b", role="follower", term=7, leader="a", commit=1_200, applied=1_199),
    NodeRow(id="c", role="down"),
)


def _scene(done: int, phase: str = "replicating") -> Scene:
    return Scene(phase=phase, done=done, lines=2_000, nodes=NODES)


class Watch:
    """A clock that a test winds."""

    now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Watch:
    it = Watch()
    monkeypatch.setattr(demo_view, "time", it)
    return it


def test_without_a_terminal_there_is_a_line_a_second_and_every_note(watch: Watch) -> None:
    console = Console(file=io.StringIO(), width=40)
    with open_view(console) as view:
        for step in range(9):
            view.show(_scene(step * 100))
            watch.now += 0.25
        view.note("a is killed: [no] goodbye")

    assert isinstance(view, PlainView)
    nodes = "a leader of term 7 at 1,230, b follower of term 7 at 1,199, c down"
    assert console.file.getvalue().splitlines() == [  # type: ignore[attr-defined]
        f"   0.0 s  replicating: 0 of 2,000 lines; {nodes}",
        f"   1.0 s  replicating: 400 of 2,000 lines; {nodes}",
        f"   2.0 s  replicating: 800 of 2,000 lines; {nodes}",
        "   2.2 s  a is killed: [no] goodbye",
    ]


def test_on_a_terminal_there_are_nodes_rate_progress_and_notes(watch: Watch) -> None:
    console = Console(file=io.StringIO(), width=100, force_terminal=True, color_system=None)
    with open_view(console) as view:
        view.show(_scene(0))
        watch.now += 0.25
        view.show(_scene(100))
        watch.now += 0.25
        view.show(_scene(150))
        view.note("a is killed: [no] goodbye")

    shown = console.file.getvalue()  # type: ignore[attr-defined]
    for words in (
        "leader",
        "follower",
        "down",
        "1,234",
        "1,199",
        "150 of 2,000",
        "200 lines/s",
        "█▅",
    ):
        assert words in shown
    assert "   0.5 s  a is killed: [no] goodbye" in shown


def test_a_new_phase_is_no_rate(watch: Watch) -> None:
    console = Console(file=io.StringIO(), width=100, force_terminal=True, color_system=None)
    with open_view(console) as view:
        view.show(_scene(2_000))
        watch.now += 0.25
        view.show(_scene(0, "comparing"))

    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert "comparing" in shown
    assert "-" not in shown.rsplit("lines/s", 1)[0].splitlines()[-1]


@pytest.mark.parametrize(
    "values, bars",
    [([], ""), ([0.0, 0.0], "▁▁"), ([0.0, 1.0, 2.0], "▁▅█"), ([5.0], "█"), ([1e9, 1.0], "█▁")],
)
def test_a_sparkline_is_as_high_as_its_highest_value(values: list[float], bars: str) -> None:
    assert sparkline(values) == bars


def test_what_the_library_warns_of_is_shown(watch: Watch) -> None:
    from raftkit.cli.demo.command import _warnings_shown

    console = Console(file=io.StringIO(), width=40)
    with open_view(console) as view, _warnings_shown(view):
        logging.getLogger("raftkit").warning("%s: waiting to found", "a")
    logging.getLogger("raftkit").debug("not for people")

    assert console.file.getvalue() == "   0.0 s  a: waiting to found\n"  # type: ignore[attr-defined]
