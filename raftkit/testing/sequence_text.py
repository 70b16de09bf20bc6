"""A sequence diagram as text, for terminals: a line for each message that arrives or is lost, or mark.

Law: a message stands where it arrives, with the step that sent it; a lost one where it was sent.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from raftkit.model import NodeId
from raftkit.testing.sequence import Arrow, Fate, Sequence

__all__ = ["text_of"]

WIDTH = 9
"From one server to the next, in characters."
_LINES = {"leader": "┃", "candidate": "╎", "pre-candidate": "╎", "down": " "}
"How a server looks in a role; all others are a thin line."
_SHAFTS: dict[Fate, tuple[str, str]] = {
    "arrives": ("─", ""),
    "again": ("╌", " again"),
    "lost": ("─", " LOST"),
    "under way": ("┄", " under way"),
    "unseen": ("─", ""),
}
"What each fate is drawn with, and said to be."


def text_of(sequence: Sequence) -> str:
    """The diagram, in lines."""
    names = "".join(f"{name[: WIDTH - 1]:^{WIDTH}}" for name in sequence.lanes)
    lines = [f"{'step':>7} {'seconds':>9} {names}".rstrip(), *_lines(sequence)]
    return "".join(f"{line}\n" for line in lines)


def _lines(sequence: Sequence) -> Iterator[str]:
    arriving, leaving = _by_row(sequence)
    begins = {(span.first, span.server): span.role for span in sequence.spans}
    roles = dict.fromkeys(sequence.lanes, "down") | {
        span.server: span.role for span in sequence.spans if span.first < 0
    }
    for number, row in enumerate(sequence.rows):
        head = f"{row.step:>7} {row.time_ns / 1e9:>9.3f}"
        for arrow in arriving[number]:
            sent = "" if arrow.departs is None else _sent(sequence, arrow.departs)
            yield _drawn(head, sequence, roles, arrow, sent)
        for name in sequence.lanes:
            roles[name] = begins.get((number, name), roles[name])
        if row.marks:
            who = "" if row.server is None else f"{row.server} "
            point = {} if row.server is None else {_place(sequence, row.server): "●"}
            words = "; ".join(mark.words for mark in row.marks)
            yield f"{head} {_canvas(sequence, roles, point)}  {who}{words}"
        for arrow in leaving[number]:
            yield _drawn(head, sequence, roles, arrow, "")


def _by_row(sequence: Sequence) -> tuple[dict[int, list[Arrow]], dict[int, list[Arrow]]]:
    """Messages by the row in which they arrive; those that don't by the row in which they were sent."""
    arriving: dict[int, list[Arrow]] = defaultdict(list)
    leaving: dict[int, list[Arrow]] = defaultdict(list)
    for arrow in sequence.arrows:
        if arrow.arrives is not None:
            arriving[arrow.arrives].append(arrow)
        elif arrow.departs is not None:
            leaving[arrow.departs].append(arrow)
    return arriving, leaving


def _sent(sequence: Sequence, row: int) -> str:
    return f" (sent in {sequence.rows[row].step})" if row >= 0 else " (sent before)"


def _drawn(head: str, sequence: Sequence, roles: dict[NodeId, str], arrow: Arrow, sent: str) -> str:
    shaft, said = _SHAFTS[arrow.fate]
    begin, end = _place(sequence, arrow.sender), _place(sequence, arrow.target)
    step = 1 if end > begin else -1
    points = dict.fromkeys(range(begin + step, end, step), shaft)
    points[begin] = "├" if step > 0 else "┤"
    points[end - step] = "▶" if step > 0 else "◀"
    if arrow.fate in ("lost", "under way"):
        # It ends half-way.
        half = (begin + end) // 2
        points = {at: it for at, it in points.items() if (at - half) * step <= 0}
        points[half] = "✕" if arrow.fate == "lost" else shaft
    return f"{head} {_canvas(sequence, roles, points)}  {arrow.words}{said}{sent}"


def _canvas(sequence: Sequence, roles: dict[NodeId, str], points: dict[int, str]) -> str:
    """The servers in their roles, with `points` over them."""
    canvas = [" "] * (WIDTH * len(sequence.lanes))
    for name in sequence.lanes:
        canvas[_place(sequence, name)] = _LINES.get(roles[name], "│")
    for at, point in points.items():
        canvas[at] = point
    return "".join(canvas)


def _place(sequence: Sequence, name: NodeId) -> int:
    return sequence.lanes.index(name) * WIDTH + WIDTH // 2
