"""A sequence diagram as SVG, legible on light and dark pages, without anything from elsewhere.

Law: what is drawn is said as well: each arrow has a title, and colour is never the only difference.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from html import escape

from raftkit.messages import (
    AppendAccepted,
    AppendEntries,
    AppendRejected,
    Heartbeat,
    HeartbeatReply,
    Message,
    PreVoteReply,
    PreVoteRequest,
    ReadReply,
    ReadRequest,
    SnapshotChunk,
    SnapshotReply,
    TimeoutNow,
    VoteReply,
    VoteRequest,
)
from raftkit.testing.sequence import Arrow, Fate, Row, Sequence, Span

__all__ = ["svg_of"]

LEFT, TOP, RIGHT = 130, 56, 400
"Room for step and time, for names, and for what happens. In pixels."
LANE, ROW, LINE = 220, 32, 12
"From one server, row and line of text to the next. In pixels."
_FAMILIES: dict[type[Message], str] = {
    PreVoteRequest: "vote",
    PreVoteReply: "vote",
    VoteRequest: "vote",
    VoteReply: "vote",
    AppendEntries: "entries",
    AppendAccepted: "entries",
    AppendRejected: "entries",
    Heartbeat: "beat",
    HeartbeatReply: "beat",
    ReadRequest: "read",
    ReadReply: "read",
    SnapshotChunk: "snapshot",
    SnapshotReply: "snapshot",
    TimeoutNow: "vote",
}
"Messages of a family have one colour."
_STYLE = """
text { font: 11px ui-sans-serif, system-ui, sans-serif; fill: #24292f }
.page { fill: #ffffff }
.name { font-weight: 600; font-size: 14px; text-anchor: middle }
.at { fill: #6e7781; font-size: 10px; text-anchor: end }
.rule { stroke: #d0d7de; stroke-width: 0.5 }
.halo { stroke: #ffffff; stroke-width: 4; stroke-linejoin: round; paint-order: stroke }
.small { font-size: 10px; text-anchor: middle }
.bold { font-weight: 600 }
.follower { stroke: #8c959f; stroke-width: 2 }
.campaign { stroke: #8250df; stroke-width: 3; stroke-dasharray: 2 3 }
.leader { stroke: #bf8700; stroke-width: 7 }
.down { stroke: #cf222e; stroke-width: 1; stroke-dasharray: 1 6 }
.arrow { fill: none; stroke-width: 1.3 }
.again { stroke-dasharray: 5 3 }
.way { stroke-dasharray: 1 4 }
.vote { stroke: #8250df } .head.vote { fill: #8250df }
.entries { stroke: #0969da } .head.entries { fill: #0969da }
.beat { stroke: #8c959f } .head.beat { fill: #8c959f }
.read { stroke: #1a7f37 } .head.read { fill: #1a7f37 }
.snapshot { stroke: #bc4c00 } .head.snapshot { fill: #bc4c00 }
.head { stroke: none !important }
.cross { stroke: #cf222e; stroke-width: 2.5 }
.dot { fill: #24292f }
.mark-crash { fill: #cf222e } .mark-fault { fill: #cf222e; font-style: italic }
.mark-leader { fill: #9a6700 } .mark-commit { fill: #1a7f37 }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3 }
.page { fill: #0d1117 }
.at { fill: #8d96a0 }
.rule { stroke: #30363d }
.halo { stroke: #0d1117 }
.leader { stroke: #d29922 }
.campaign, .vote { stroke: #a371f7 } .head.vote { fill: #a371f7 }
.entries { stroke: #58a6ff } .head.entries { fill: #58a6ff }
.read { stroke: #3fb950 } .head.read { fill: #3fb950 }
.snapshot { stroke: #f0883e } .head.snapshot { fill: #f0883e }
.cross, .down { stroke: #ff7b72 }
.dot { fill: #e6edf3 }
.mark-crash, .mark-fault { fill: #ff7b72 }
.mark-leader { fill: #e3b341 } .mark-commit { fill: #56d364 }
}
"""


def svg_of(sequence: Sequence) -> str:
    """The diagram, as a whole SVG document."""
    width = LEFT + LANE * len(sequence.lanes) + RIGHT
    height = TOP + ROW * (len(sequence.rows) + 1)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img">',
        "<title>Messages between servers of a Raft group, time downwards</title>",
        f"<style>{_STYLE}</style>",
        f'<rect class="page" width="{width}" height="{height}"/>',
        *_names(sequence),
        *(_rule(number, row, width) for number, row in enumerate(sequence.rows)),
        *(_span(sequence, span) for span in sequence.spans),
        *(part for arrow, above in _beside(sequence) for part in _arrow(sequence, arrow, above)),
        *(
            part
            for number, row in enumerate(sequence.rows)
            for part in _marks(sequence, number, row)
        ),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _names(sequence: Sequence) -> Iterator[str]:
    for name in sequence.lanes:
        x = _x(sequence, name)
        yield f'<text class="name" x="{x}" y="30">{escape(name)}</text>'
    recorded = {span.server for span in sequence.spans}
    for name in set(sequence.lanes) - recorded:
        x, bottom = _x(sequence, name), _y(sequence, len(sequence.rows))
        yield f'<line class="rule" x1="{x}" x2="{x}" y1="{TOP - 14}" y2="{bottom}"/>'


def _rule(number: int, row: Row, width: int) -> str:
    y = TOP + ROW * number
    return (
        f'<line class="rule" x1="{LEFT}" x2="{width - RIGHT}" y1="{y}" y2="{y}"/>'
        f'<text class="at" x="{LEFT - 20}" y="{y + 4}">{row.step} · {row.time_ns / 1e9:.3f} s</text>'
    )


def _span(sequence: Sequence, span: Span) -> str:
    x, last = _x(sequence, span.server), len(sequence.rows)
    y1, y2 = _y(sequence, span.first), _y(sequence, last if span.last is None else span.last)
    look = {
        "leader": "leader",
        "down": "down",
        "candidate": "campaign",
        "pre-candidate": "campaign",
    }
    return (
        f'<line class="{look.get(span.role, "follower")}" x1="{x}" x2="{x}" y1="{y1}" y2="{y2}">'
        f"<title>{escape(span.server)}: {span.role}</title></line>"
    )


def _beside(sequence: Sequence) -> Iterator[tuple[Arrow, int]]:
    """Each arrow, and how many of the others end in its place, so that their words stand above each other."""
    ends: Counter[tuple[int | None, str, bool]] = Counter()
    for arrow in sequence.arrows:
        to_right = sequence.lanes.index(arrow.sender) < sequence.lanes.index(arrow.target)
        arrived = arrow.arrives is not None
        row = arrow.arrives if arrived else arrow.departs
        place = row, arrow.target if arrived else arrow.sender, to_right
        yield arrow, ends[place]
        ends[place] += 1


def _arrow(sequence: Sequence, arrow: Arrow, above: int) -> Iterator[str]:
    family = _FAMILIES[arrow.kind]
    x1, x2 = _x(sequence, arrow.sender), _x(sequence, arrow.target)
    y1, y2 = _ends(sequence, arrow)
    side = 1 if x2 > x1 else -1
    if arrow.fate in ("lost", "under way"):
        # It ends half-way to the next server, each a little further.
        x2, y2 = x1 + side * LANE * 0.5, y1 + LINE * above
    dash = {"again": " again", "under way": " way"}.get(arrow.fate, "")
    about = f"{arrow.sender} → {arrow.target}: {arrow.words} ({arrow.fate})"
    yield (
        f'<g><title>{escape(about)}</title><line class="arrow {family}{dash}"'
        f' x1="{x1}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'
    )
    yield _end(arrow.fate, family, complex(x1, y1), complex(x2, y2))
    # Beside the receiver: fewer messages arrive in a step than leave.
    x = x1 + side * LANE * 0.5 if arrow.arrives is None else x2 - side * LANE * 0.5
    y = y1 if x2 == x1 else y1 + (y2 - y1) * (x - x1) / (x2 - x1)
    lift = 0 if arrow.arrives is None else LINE * above
    words = f"to {arrow.target}: " if arrow.fate in ("lost", "under way") else ""
    words += "again: " if arrow.fate == "again" else ""
    yield (
        f'<text class="small halo" x="{x:.1f}" y="{y - 5 - lift:.1f}">'
        f"{escape(words + arrow.words)}</text></g>"
    )


def _ends(sequence: Sequence, arrow: Arrow) -> tuple[float, float]:
    """Where an arrow begins and ends; what is not known is drawn level."""
    known = arrow.arrives if arrow.departs is None else arrow.departs
    assert known is not None
    begin = _y(sequence, known if arrow.departs is None else arrow.departs)
    end = begin + ROW * 0.4 if arrow.arrives is None else _y(sequence, arrow.arrives)
    return (end, end) if arrow.departs is None else (begin, end)


def _end(fate: Fate, family: str, begin: complex, end: complex) -> str:
    """A cross, a head, or nothing where nothing is known. Points are x + y·i."""
    if fate == "under way":
        return ""
    if fate == "lost":
        return (
            f'<path class="cross" d="M{end.real - 5:.1f} {end.imag - 5:.1f}l10 10m0 -10l-10 10"/>'
        )
    along = (end - begin) / max(abs(end - begin), 1.0)
    corners = (end, end - along * (9 + 4j), end - along * (9 - 4j))
    points = " ".join(f"{at.real:.1f} {at.imag:.1f}" for at in corners)
    return f'<polygon class="head {family}" points="{points}"/>'


def _marks(sequence: Sequence, number: int, row: Row) -> Iterator[str]:
    if not row.marks:
        return
    y, look = TOP + ROW * number, row.marks[-1].kind
    words = "; ".join(mark.words for mark in row.marks)
    if row.server is not None:
        words = f"{row.server} {words}"
        yield f'<circle class="dot" cx="{_x(sequence, row.server)}" cy="{y}" r="4.5"/>'
    x = LEFT + LANE * len(sequence.lanes)
    yield f'<text class="halo bold mark-{look}" x="{x}" y="{y + 4}">{escape(words)}</text>'


def _x(sequence: Sequence, name: str) -> float:
    return LEFT + LANE * (sequence.lanes.index(name) + 0.5)


def _y(sequence: Sequence, row: int) -> float:
    """Rows outside of the picture are drawn at its edge."""
    return TOP + ROW * min(max(row, -0.6), len(sequence.rows) - 0.2)
