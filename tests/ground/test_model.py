"""Runs are what they say of themselves, and can be cut without changing it."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from raftkit.model import Entry, Identity, Index, Kind, Run, Term
from raftkit.testing.strategies import runs

COMMANDS = Run(
    first=Index(10), term=Term(2), time_ns=30, elapsed_ns=40, payloads=(b"a", b"bc", b"", b"d")
)
MIXED = Run(
    first=Index(10),
    term=Term(2),
    time_ns=30,
    elapsed_ns=40,
    kinds=(Kind.NOOP, Kind.COMMAND, Kind.COMMAND, Kind.SESSION),
    payloads=(b"", b"bc", b"x", b"d"),
)


def test_numbers_in_the_formats_are_fixed() -> None:
    assert {kind.name: kind.value for kind in Kind} == {
        "COMMAND": 0,
        "NOOP": 1,
        "CONFIGURATION": 2,
        "SESSION": 3,
        "CLOCK": 4,
        "VOID": 5,
        "VERSION": 6,
        "OUTBOX": 7,
    }


def test_run_knows_its_length_last_index_and_size() -> None:
    assert (len(COMMANDS), COMMANDS.last, COMMANDS.size) == (4, 13, 4)


def test_kinds_are_commands_unless_said_otherwise() -> None:
    assert [COMMANDS.kind(Index(i)) for i in range(10, 14)] == [Kind.COMMAND] * 4
    assert tuple(MIXED.kind(Index(i)) for i in range(10, 14)) == MIXED.kinds


def test_entries_of_a_run_are_shown_one_by_one() -> None:
    assert list(MIXED)[3] == Entry(
        index=Index(13), term=Term(2), time_ns=30, elapsed_ns=40, kind=Kind.SESSION, payload=b"d"
    )
    assert [entry.payload for entry in COMMANDS] == list(COMMANDS.payloads)


def test_part_of_commands_has_no_kinds() -> None:
    part = MIXED.cut(Index(11), Index(12))

    assert part.kinds is None
    assert (part.first, part.last, part.payloads) == (11, 12, (b"bc", b"x"))


def test_part_that_is_all_of_it_is_itself() -> None:
    assert MIXED.cut(Index(10), Index(13)) is MIXED


@given(runs(), st.data())
def test_part_holds_the_same_entries(run: Run, data: st.DataObject) -> None:
    first = data.draw(st.integers(run.first, run.last))
    last = data.draw(st.integers(first, run.last))

    part = run.cut(Index(first), Index(last))

    assert list(part) == [entry for entry in run if first <= entry.index <= last]


@pytest.mark.parametrize("first, last", [(9, 11), (12, 14), (12, 11)])
def test_part_must_lie_inside(first: int, last: int) -> None:
    with pytest.raises(AssertionError):
        COMMANDS.cut(Index(first), Index(last))


def test_identity_is_shown_with_its_incarnation() -> None:
    assert str(Identity(id="a", incarnation=0xBEEF)) == "a@000000000000beef"
