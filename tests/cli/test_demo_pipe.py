"""What the demo and its nodes say to each other comes back as it was."""

from __future__ import annotations

import pytest

from raftkit.cli.demo.member import NodeRow, Reign
from raftkit.cli.demo.pipe import reign_in, row_in, row_out
from raftkit.encoding import MalformedError


def test_rows_and_reigns_come_back_as_they_were() -> None:
    row = NodeRow(id="a", role="follower", term=3, leader="b", commit=5, applied=4)

    assert row_in("a", row_out(row)) == row
    assert reign_in([3, "b"]) == Reign(3, "b")
    assert reign_in([3, None]) == Reign(3, None)
    wrongs: list[list[object]] = [[3], [-1, "b"], ["3", "b"], [3, b"b"]]
    for wrong in wrongs:
        with pytest.raises(MalformedError):
            reign_in(wrong)
