"""Where snapshots are cut: by the log alone, however it was batched."""

from __future__ import annotations

from itertools import accumulate
from typing import Any

import attrs
import pytest
from hypothesis import given, strategies as st

from raftkit.driver.cutting import Cuts
from raftkit.driver.replica import Replica, UnknownCommand
from raftkit.driver.sessions import NONCE_BIT, pack_header
from raftkit.encoding import dumps
from raftkit.membership import Configuration, Member, Settings
from raftkit.model import Index, Kind, NodeId, Run, Term
from raftkit.statemachine import Batch, BytesStateMachine
from tests.node.machines import Counter

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
    cuts, found = Cuts(index=Index(begin)), list[int]()
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


class Nothing(BytesStateMachine):
    """Keeps nothing: what its snapshots hold is the replica's own."""

    def apply(self, batch: Batch) -> list[bytes]:
        return [b""] * len(batch.commands)

    def snapshot(self) -> list[bytes]:
        return []

    def restore(self, chunks: object) -> None:
        pass


def log_of(settings: Settings, entries: list[tuple[int, int]]) -> list[Run]:
    """A configuration with these settings, then commands: (size, ms since the one before)."""
    members = (Member(id=NodeId("a"), incarnation=1, address="a:1"),)
    payloads = [Configuration(members=members, settings=settings).encode()]
    payloads += [pack_header(NONCE_BIT, 1, 0) + bytes(size) for size, _ in entries]
    stamps = [0, *accumulate(ms for _, ms in entries)]
    return [
        Run(
            first=Index(place),
            term=Term(1),
            time_ns=0,
            elapsed_ns=ms * MS,
            kinds=(Kind.CONFIGURATION,) if place == 1 else None,
            payloads=(payload,),
        )
        for place, (payload, ms) in enumerate(zip(payloads, stamps, strict=True), 1)
    ]


def snapshots_at_cuts(replica: Replica[Nothing], log: list[Run]) -> dict[int, bytes]:
    """The bytes of the snapshot at each cut."""
    found: dict[int, bytes] = {}
    for each in log:
        replica.apply([each])
        if replica.at_cut:
            found[each.last] = b"".join(replica.snapshot())
    return found


@given(
    settings=st.builds(
        attrs.evolve,
        st.just(OFF),
        snapshot_entries=st.integers(0, 7),
        snapshot_bytes=st.integers(0, 200),
        snapshot_elapsed_ms=st.integers(0, 30),
    ),
    entries=st.lists(st.tuples(st.integers(0, 30), st.integers(0, 9)), min_size=1, max_size=40),
    at=st.integers(1, 41),
)
def test_who_restores_a_snapshot_from_anywhere_cuts_where_the_others_do(
    settings: Settings, entries: list[tuple[int, int]], at: int
) -> None:
    """Whichever limit it is: what counts towards the next cut is in the snapshot."""
    log = log_of(settings, entries)
    at = min(at, len(log))
    first, restored = Replica(Nothing), Replica(Nothing)
    before = snapshots_at_cuts(first, log[:at])
    restored.restore(list(first.snapshot()))

    expected = snapshots_at_cuts(first, log[at:])

    assert snapshots_at_cuts(restored, log[at:]) == expected
    assert restored.digest() == first.digest()
    assert {**before, **expected} == snapshots_at_cuts(Replica(Nothing), log)


def test_what_was_not_applied_is_not_counted() -> None:
    """An entry that this code does not know is no part of the count, in a snapshot taken there neither."""
    configuration, *_ = log_of(attrs.evolve(OFF, snapshot_entries=3), [])
    bodies = [Replica(Counter).encode(Counter.add()), dumps(["multiply"])]
    both = attrs.evolve(
        run(2, 0, 0), payloads=tuple(pack_header(NONCE_BIT, 1, 0) + body for body in bodies)
    )
    stopped, known = Replica(Counter), Replica(Counter)
    known.apply([configuration, both.cut(Index(2), Index(2))])

    with pytest.raises(UnknownCommand, match="index 3"):
        stopped.apply([configuration, both])

    assert stopped.digest() == known.digest()
    assert not stopped.at_cut
