"""What the demo and its node processes say to each other, over the pipe of `raftkit.cli.pipe`.

A question is answered by `[number, "done", …]` or `[number, why-not, words]`. What the node says unasked is
`[0, "row", role, term, leader, commit, applied]` and `[0, "elected", term, leader]`.
"""

from __future__ import annotations

from raftkit.cli.demo.member import NodeRow, Reign
from raftkit.encoding import array, printable, unsigned

__all__ = ["reign_in", "row_in", "row_out"]

_WORDS_MAX = 80
"Characters of a name or a role."


def row_out(row: NodeRow) -> list[object]:
    """A row, as the positions of a message."""
    return [row.role, row.term, row.leader, row.commit, row.applied]


def row_in(name: str, positions: list[object]) -> NodeRow:
    """The row of the node `name` that `row_out` made positions of. Raises MalformedError."""
    role, term, leader, commit, applied = array(positions, 5)
    return NodeRow(
        id=name,
        role=printable(role, length_max=_WORDS_MAX),
        term=unsigned(term),
        leader=None if leader is None else printable(leader, length_max=_WORDS_MAX),
        commit=unsigned(commit),
        applied=unsigned(applied),
    )


def reign_in(positions: list[object]) -> Reign:
    """The reign that was sent as its two fields. Raises MalformedError."""
    term, leader = array(positions, 2)
    return Reign(
        unsigned(term), None if leader is None else printable(leader, length_max=_WORDS_MAX)
    )
