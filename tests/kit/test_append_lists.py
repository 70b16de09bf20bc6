"""The checker of append lists: what is legal passes, what is broken in any one way does not.

Its verdict is also compared with that of the general search, which knows nothing of lists.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import attrs
import pytest
from hypothesis import assume, given, settings, strategies as st

from raftkit.testing.append_lists import (
    Append,
    Kind,
    Operation,
    Outcome,
    Read,
    check_append_lists,
)
from raftkit.testing.linearizability import UNKNOWN, Call, NotLinearizable, check_linearizable

OK, NOT, OPEN = Outcome.OK, Outcome.DID_NOT_HAPPEN, Outcome.UNKNOWN


def append(client: str, value: int, at: float, until: float, outcome: Outcome = OK) -> Append:
    return Append(
        client=client, key="k", value=value, invoked_at=at, returned_at=until, outcome=outcome
    )


def read(client: str, values: list[int], at: float, until: float) -> Read:
    return Read(client=client, key="k", values=tuple(values), invoked_at=at, returned_at=until)


# ── by hand ──────────────────────────────────────────────────────────────────────────────────────

LEGAL: dict[str, list[Operation]] = {
    "nothing": [],
    "an empty list": [read("a", [], 0, 1)],
    "one after the other": [append("a", 1, 0, 1), append("b", 2, 2, 3), read("c", [1, 2], 4, 5)],
    "together, so in any order": [
        append("a", 1, 0, 9),
        append("b", 2, 0, 9),
        read("c", [2], 1, 2),
        read("c", [2, 1], 3, 4),
    ],
    "seen before it is acknowledged": [append("a", 1, 0, 9), read("b", [1], 1, 2)],
    "not seen by a read at the same time": [append("a", 1, 0, 2), read("b", [], 1, 9)],
    "seen by a read that began before": [read("b", [1], 0, 9), append("a", 1, 5, 6)],
    "acknowledged and never read": [read("b", [], 0, 1), append("a", 1, 0, 1)],
    "unknown, and it happened": [append("a", 1, 0, 1, OPEN), read("b", [1], 2, 3)],
    "unknown, and it did not": [append("a", 1, 0, 1, OPEN), read("b", [], 2, 3)],
    "unknown, and it happened late": [
        append("a", 1, 0, 1, OPEN),
        append("a", 2, 2, 3),
        read("b", [2], 4, 5),
        read("b", [2, 1], 6, 7),
    ],
    "said not to have happened, and it did not": [
        append("a", 1, 0, 1, NOT),
        read("b", [], 2, 3),
    ],
    "at the same instant, by others": [append("a", 1, 0, 1), read("b", [], 1, 2)],
}


@pytest.mark.parametrize("history", LEGAL.values(), ids=LEGAL.keys())
def test_what_can_be_explained_is_no_violation(history: list[Operation]) -> None:
    assert check_append_lists(history) == []


BROKEN: dict[str, tuple[Kind, list[Operation]]] = {
    "acknowledged, and missing for ever": (
        Kind.LOST,
        [append("a", 1, 0, 1), read("b", [], 2, 3)],
    ),
    "acknowledged, and only what came later is there": (
        Kind.LOST,
        [append("a", 1, 0, 1), append("b", 2, 2, 3), read("c", [2], 0, 9)],
    ),
    "a read that misses an acknowledged append": (
        Kind.STALE,
        [append("a", 1, 0, 1), read("b", [], 2, 3), read("b", [1], 4, 5)],
    ),
    "a read that knows less than an earlier one": (
        Kind.STALE,
        [append("a", 1, 0, 9), read("b", [1], 1, 2), read("c", [], 3, 4)],
    ),
    "a client that doesn't read what it wrote, at the same instant": (
        Kind.STALE,
        [append("a", 1, 0, 1), read("a", [], 1, 2), read("b", [1], 2, 3)],
    ),
    "an append before one that was acknowledged when it was called": (
        Kind.MISPLACED,
        [append("a", 1, 0, 1), append("b", 2, 2, 3), read("c", [2, 1], 4, 5)],
    ),
    "an append that was read before it was called": (
        Kind.MISPLACED,
        [read("b", [1], 0, 1), append("a", 1, 2, 3)],
    ),
    "one client's appends in the wrong order, at the same instant": (
        Kind.MISPLACED,
        [append("a", 1, 0, 1), append("a", 2, 1, 2), read("b", [2, 1], 4, 5)],
    ),
    "two reads of different pasts": (
        Kind.DIVERGED,
        [
            append("a", 1, 0, 9),
            append("b", 2, 0, 9),
            read("c", [1], 1, 2),
            read("d", [2, 1], 3, 4),
        ],
    ),
    "there twice": (Kind.TWICE, [append("a", 1, 0, 1), read("b", [1, 1], 2, 3)]),
    "unknown, and there twice": (
        Kind.TWICE,
        [append("a", 1, 0, 1, OPEN), read("b", [1, 1], 2, 3)],
    ),
    "said not to have happened, and there": (
        Kind.HAPPENED,
        [append("a", 1, 0, 1, NOT), read("b", [1], 2, 3)],
    ),
    "appended by nobody": (Kind.INVENTED, [read("b", [1], 2, 3)]),
    "appended to another list": (
        Kind.INVENTED,
        [attrs.evolve(append("a", 1, 0, 1), key="j"), read("b", [1], 2, 3)],
    ),
}


@pytest.mark.parametrize("kind, history", BROKEN.values(), ids=BROKEN.keys())
def test_what_cannot_be_explained_is_a_violation(kind: Kind, history: list[Operation]) -> None:
    found = check_append_lists(history)

    assert [it.kind for it in found] == [kind]
    assert set(found[0].operations) <= set(history)
    assert kind.value in str(found[0])


def test_violations_of_every_list_are_told_in_the_order_of_their_keys() -> None:
    wrong = [attrs.evolve(read("a", [1], 0, 1), key=key) for key in ("z", "b")]

    assert [it.key for it in check_append_lists(wrong)] == ["b", "z"]


def test_a_value_that_two_calls_append_is_refused() -> None:
    with pytest.raises(ValueError, match="two calls append 1 to k"):
        check_append_lists([append("a", 1, 0, 1), append("b", 1, 0, 1)])


# ── at random ────────────────────────────────────────────────────────────────────────────────────


@st.composite
def legal_histories(
    draw: st.DrawFn, *, counts: tuple[int, int] = (0, 30), keys: str = "jk"
) -> list[Operation]:
    """Calls of up to four clients, each of which takes effect at some instant between call and return."""
    lists: dict[str, list[int]] = {key: [] for key in keys}
    free = dict.fromkeys("abcd", 0)
    history: list[Operation] = []
    for now in range(draw(st.integers(*counts))):
        at_rest = [client for client, at in free.items() if at <= now]
        client = draw(st.sampled_from(at_rest)) if at_rest else f"extra {now}"
        key = draw(st.sampled_from(keys))
        invoked_at = draw(st.integers(free.get(client, 0), now))
        free[client] = now + draw(st.integers(1, 8))
        times = {"invoked_at": float(invoked_at), "returned_at": free[client] - 0.5}
        if draw(st.booleans()):
            read_ = Read(client=client, key=key, values=tuple(lists[key]), **times)
            history.append(read_)
            continue
        outcome = draw(st.sampled_from([OK, OK, OK, OPEN, NOT]))
        if outcome is OK or (outcome is OPEN and draw(st.booleans())):
            lists[key].append(now)
        history.append(Append(client=client, key=key, value=now, outcome=outcome, **times))
    return history


@pytest.mark.slow
@given(legal_histories())
def test_a_history_that_happened_is_no_violation(history: list[Operation]) -> None:
    assert check_append_lists(history) == []


def _edit_reads(
    history: list[Operation], key: str, edit: Callable[[tuple[int, ...]], tuple[int, ...]]
) -> list[Operation]:
    """The history with the values of every read of this list edited."""
    return [
        attrs.evolve(it, values=edit(it.values)) if isinstance(it, Read) and it.key == key else it
        for it in history
    ]


def _longest(history: list[Operation], data: st.DataObject) -> tuple[int, Read]:
    """The place of a read that nobody reads more than, and it; not empty."""
    reads = [(at, it) for at, it in enumerate(history) if isinstance(it, Read) and it.values]
    assume(reads)
    _, some = data.draw(st.sampled_from(reads))
    return max((it for it in reads if it[1].key == some.key), key=lambda it: len(it[1].values))


def _lose(history: list[Operation], data: st.DataObject) -> list[Operation]:
    """No read has what was acknowledged before some read was called."""
    pairs = [
        one
        for one, other in itertools.product(history, history)
        if isinstance(one, Append) and isinstance(other, Read) and one.outcome is OK
        if one.key == other.key and one.returned_at < other.invoked_at
    ]
    assume(pairs)
    lost = data.draw(st.sampled_from(pairs))
    return _edit_reads(
        history, lost.key, lambda values: tuple(it for it in values if it != lost.value)
    )


def _serve_stale(history: list[Operation], data: st.DataObject) -> list[Operation]:
    """A read misses the last of what was acknowledged before it was called; another read has it."""
    by_value = {it.value: it for it in history if isinstance(it, Append)}
    _, longest = _longest(history, data)
    stale = [
        at
        for at, it in enumerate(history)
        if isinstance(it, Read) and it.key == longest.key and it is not longest and it.values
        if by_value[it.values[-1]].outcome is OK
        and by_value[it.values[-1]].returned_at < it.invoked_at
    ]
    assume(stale)
    at = data.draw(st.sampled_from(stale))
    it = history[at]
    assert isinstance(it, Read)
    history[at] = attrs.evolve(it, values=it.values[:-1])
    return history


def _repeat(history: list[Operation], data: st.DataObject) -> list[Operation]:
    at, longest = _longest(history, data)
    again = data.draw(st.sampled_from(longest.values))
    history[at] = attrs.evolve(longest, values=(*longest.values, again))
    return history


def _invent(history: list[Operation], data: st.DataObject) -> list[Operation]:
    at, longest = _longest(history, data)
    history[at] = attrs.evolve(longest, values=(*longest.values, 999))
    return history


def _deny(history: list[Operation], data: st.DataObject) -> list[Operation]:
    _, longest = _longest(history, data)
    value = data.draw(st.sampled_from(longest.values))
    return [
        attrs.evolve(it, outcome=NOT) if isinstance(it, Append) and it.value == value else it
        for it in history
    ]


def _diverge(history: list[Operation], data: st.DataObject) -> list[Operation]:
    """A read has the first two values the other way round than another one."""
    reads = [
        (at, it) for at, it in enumerate(history) if isinstance(it, Read) and len(it.values) > 1
    ]
    keys = [it.key for _, it in reads]
    assume(any(keys.count(key) > 1 for key in keys))
    at, it = data.draw(st.sampled_from([it for it in reads if keys.count(it[1].key) > 1]))
    history[at] = attrs.evolve(it, values=(it.values[1], it.values[0], *it.values[2:]))
    return history


def _misplace(history: list[Operation], data: st.DataObject) -> list[Operation]:
    """All reads have two neighbours the wrong way round, the first of which was over before the other."""
    by_value = {it.value: it for it in history if isinstance(it, Append)}
    _, longest = _longest(history, data)
    pairs = [
        (one, other)
        for one, other in itertools.pairwise(longest.values)
        if by_value[one].outcome is OK
        and by_value[one].returned_at < by_value[other].invoked_at
        and not any(
            isinstance(it, Read) and it.key == longest.key and it.values[-1:] == (one,)
            for it in history
        )
    ]
    assume(pairs)
    one, other = data.draw(st.sampled_from(pairs))
    swap = {one: other, other: one}
    return _edit_reads(
        history, longest.key, lambda values: tuple(swap.get(it, it) for it in values)
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind, damage",
    [
        (Kind.LOST, _lose),
        (Kind.STALE, _serve_stale),
        (Kind.TWICE, _repeat),
        (Kind.INVENTED, _invent),
        (Kind.HAPPENED, _deny),
        (Kind.DIVERGED, _diverge),
        (Kind.MISPLACED, _misplace),
    ],
)
def test_a_history_that_is_broken_in_one_way_is_a_violation_of_that_kind(
    kind: Kind, damage: Callable[[list[Operation], st.DataObject], list[Operation]]
) -> None:
    @given(legal_histories(counts=(15, 30), keys="k"), st.data())
    def damaged(history: list[Operation], data: st.DataObject) -> None:
        assert kind in {it.kind for it in check_append_lists(damage(history, data))}

    damaged()


# ── against the general search ───────────────────────────────────────────────────────────────────


def _is_linearizable(history: list[Operation]) -> bool:
    """What the general search says of it."""

    def apply(state: tuple[int, ...], asked: tuple[str, int | None]) -> tuple[object, object]:
        _, value = asked
        return (state, state) if value is None else (None, (*state, value))

    calls = [
        Call(
            client=it.client,
            asked=(it.key, it.value if isinstance(it, Append) else None),
            answer=it.values if isinstance(it, Read) else None if it.outcome is OK else UNKNOWN,
            invoked_at=it.invoked_at,
            returned_at=it.returned_at,
        )
        for it in history
        if isinstance(it, Read) or it.outcome is not NOT
    ]
    try:
        check_linearizable(calls, initial=(), apply=apply, part_of=lambda asked: asked[0])
    except NotLinearizable:
        return False
    return True


@st.composite
def doubtful_histories(draw: st.DrawFn) -> list[Operation]:
    """Legal ones, with some answers and times changed: many of them are still legal."""
    history = draw(legal_histories(counts=(4, 9)))
    for _ in range(draw(st.integers(1, 3)) if history else 0):
        at = draw(st.integers(0, len(history) - 1))
        it = history[at]
        match it:
            case Read(values=values) if draw(st.booleans()):
                some = draw(st.permutations([*values, draw(st.integers(0, 9))]))
                kept = tuple(some[: draw(st.integers(0, len(some)))])
                history[at] = attrs.evolve(it, values=kept)
            case Append() if draw(st.booleans()):
                history[at] = attrs.evolve(it, outcome=draw(st.sampled_from([OK, OPEN, NOT])))
            case _:
                # As long as before, so that one client's calls may overlap: take a client of its own.
                by = float(draw(st.integers(-6, 6)))
                history[at] = attrs.evolve(
                    it,
                    client=f"moved {at}",
                    invoked_at=it.invoked_at + by,
                    returned_at=it.returned_at + by,
                )
    return history


@pytest.mark.slow
@settings(max_examples=600)
@given(doubtful_histories())
def test_the_verdict_is_that_of_the_general_search(history: list[Operation]) -> None:
    assert (check_append_lists(history) == []) == _is_linearizable(history)


def test_a_thousand_operations_on_one_list_are_checked_at_once() -> None:
    """No search: also when all calls are open at the same time."""
    appends = [append(f"a{it}", it, 0, 10) for it in range(500)]
    reads = [read(f"b{it}", list(range(it)), 0, math.inf) for it in range(500)]

    assert check_append_lists([*reads, *appends]) == []
