"""Where snapshots are cut: by the log alone, however it was batched."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
from hypothesis import given, strategies as st

from raftkit.driver.cutting import Cuts
from raftkit.membership import Settings
from raftkit.model import Index, Kind, Run, Term

OFF = Settings(snapshot_entries=0, snapshot_bytes=0, snapshot_elapsed_ms=0)
MS = 1_000_000


def run(first: int, *sizes: int, elapsed_ms: int = 0, configuration: int | None = None) -> Run:
    """Entries of these sizes; the one at `configuration` is one."""
    kinds = tuple(
        Kind.CONFIGURATION if index == configuration else Kind.COMMAND
        for index in range(first, first + len(sizes))
    )
    return Run(
        first=Index(first),
        term=Term(1),
        time_ns=0,
        elapsed_ns=elapsed_ms * MS,
        kinds=kinds if configuration is not None else None,
        payloads=tuple(map(bytes, sizes)),
    )


def cuts_of(
    settings: Settings, *runs: Run, begin: int = 0, lowered: Settings | None = None
) -> list[int]:
    """Where snapshots are due; after a configuration, by the settings `lowered`."""
    cuts, found = Cuts(), list[int]()
    cuts.begin(Index(begin), 0)
    for each in runs:
        first = each.first
        while first <= each.last:
            part, due = cuts.take(each.cut(first, each.last), settings)
            assert part.first == first
            cuts.count(part, cut=due)
            if due:
                found.append(part.last)
            if part.kind(part.last) is Kind.CONFIGURATION and lowered is not None:
                settings = lowered
            first = Index(part.last + 1)
    return found


def test_entries_since_the_last_cut_are_counted() -> None:
    settings = attrs.evolve(OFF, snapshot_entries=3)

    assert cuts_of(settings, run(1, *[1] * 5), run(6, *[1] * 5)) == [3, 6, 9]
    assert cuts_of(settings, run(12, *[1] * 7), begin=11) == [14, 17]


def test_payload_bytes_since_the_last_cut_are_counted() -> None:
    settings = attrs.evolve(OFF, snapshot_bytes=10)

    assert cuts_of(settings, run(1, 4, 5, 1, 9, 0), run(6, 1, 100, 9)) == [3, 6, 7]


def test_replicated_time_since_the_last_cut_is_counted() -> None:
    settings = attrs.evolve(OFF, snapshot_elapsed_ms=10)
    runs = [run(n, 1, 1, elapsed_ms=ms) for n, ms in ((1, 0), (3, 9), (5, 10), (7, 19), (9, 40))]

    assert cuts_of(settings, *runs) == [5, 9]


def test_whichever_is_first_begins_all_counts_anew() -> None:
    settings = attrs.evolve(OFF, snapshot_entries=4, snapshot_bytes=10)

    assert cuts_of(settings, run(1, 1, 9, 1, 1, 1, 1, 9, 1, 1)) == [2, 6, 8]


def test_nothing_is_cut_where_all_limits_are_off() -> None:
    assert cuts_of(OFF, run(1, *[1000] * 1000), run(1001, 1, elapsed_ms=10**9)) == []


@pytest.mark.parametrize(
    "change, expected",
    [
        ({"snapshot_entries": 2}, [5, 7]),
        ({"snapshot_bytes": 3}, [5, 8]),
        ({"snapshot_elapsed_ms": 1}, [5]),
    ],
)
def test_settings_are_in_force_behind_their_entry(
    change: dict[str, Any], expected: list[int]
) -> None:
    entries = run(1, *[1] * 8, elapsed_ms=5, configuration=4)

    assert cuts_of(OFF, entries, lowered=attrs.evolve(OFF, **change)) == expected


@given(
    sizes=st.lists(st.integers(0, 30), min_size=1, max_size=40),
    marks=st.sets(st.integers(1, 40)),
    configuration=st.integers(1, 40) | st.none(),
    before=st.tuples(st.integers(0, 7), st.integers(0, 60)),
    after=st.tuples(st.integers(0, 7), st.integers(0, 60)),
)
def test_cuts_do_not_depend_on_batches(
    sizes: list[int],
    marks: set[int],
    configuration: int | None,
    before: tuple[int, int],
    after: tuple[int, int],
) -> None:
    whole = run(1, *sizes, configuration=configuration)
    ends = sorted({it for it in marks if it < len(sizes)} | {len(sizes)})
    starts = [1, *(it + 1 for it in ends[:-1])]
    parts = [whole.cut(Index(a), Index(b)) for a, b in zip(starts, ends, strict=True)]
    first, then = (
        attrs.evolve(OFF, snapshot_entries=entries, snapshot_bytes=size)
        for entries, size in (before, after)
    )

    # One entry at a time is what the rule says.
    singles = [whole.cut(Index(at), Index(at)) for at in range(1, len(sizes) + 1)]
    expected = cuts_of(first, *singles, lowered=then)
    assert cuts_of(first, whole, lowered=then) == expected
    assert cuts_of(first, *parts, lowered=then) == expected
