"""The checker of linearizability, against histories known to be good or bad and against brute force."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from raftkit.testing.linearizability import (
    UNKNOWN,
    Call,
    NotLinearizable,
    Undecided,
    check_linearizable,
)

Asked = tuple[str, int | None]


def register(state: int, asked: Asked) -> tuple[int | None, int]:
    """A register: ("read", None), ("write", value), and ("add", amount), which answers the sum."""
    verb, value = asked
    match verb:
        case "read":
            return state, state
        case "write":
            assert value is not None
            return None, value
        case _:
            assert value is not None
            return state + value, state + value


def call(asked: Asked, answer: Any, start: float, end: float = 0.0, client: str = "x") -> Call:
    return Call(client=client, asked=asked, answer=answer, invoked_at=start, returned_at=end)


def check(*history: Call) -> None:
    check_linearizable(history, initial=0, apply=register)


def test_one_call_after_another_is_explained() -> None:
    check(call(("write", 1), None, 0, 1), call(("read", None), 1, 2, 3))


def test_a_stale_read_is_found() -> None:
    with pytest.raises(NotLinearizable, match="no order explains") as caught:
        check(call(("write", 1), None, 0, 1), call(("read", None), 0, 2, 3))

    assert [it.asked for it in caught.value.explained] == [("write", 1)]
    assert caught.value.stuck.answer == 0
    assert str(caught.value).endswith("x: ('read', None) → 0 (2 – 3)")


def test_a_read_during_a_write_may_see_either() -> None:
    write = call(("write", 1), None, 0, 10)
    check(write, call(("read", None), 0, 2, 3))
    check(write, call(("read", None), 1, 2, 3))
    check(write, call(("read", None), 0, 2, 3), call(("read", None), 1, 4, 5))


def test_what_was_read_once_is_not_unread() -> None:
    with pytest.raises(NotLinearizable):
        check(
            call(("write", 1), None, 0, 10),
            call(("read", None), 1, 2, 3),
            call(("read", None), 0, 4, 5),
        )


def test_calls_that_touch_in_time_overlap() -> None:
    check(call(("write", 1), None, 0, 1), call(("read", None), 0, 1, 2))


def test_an_unknown_call_may_have_happened_late_or_never() -> None:
    unknown = call(("write", 7), UNKNOWN, 0)
    check(unknown)
    check(unknown, call(("read", None), 0, 5, 6))
    check(unknown, call(("read", None), 0, 5, 6), call(("read", None), 7, 8, 9))


def test_an_unknown_call_happens_at_most_once() -> None:
    with pytest.raises(NotLinearizable):
        check(call(("add", 7), UNKNOWN, 0), call(("read", None), 14, 5, 6))


def test_an_unknown_call_does_not_happen_before_it_is_made() -> None:
    with pytest.raises(NotLinearizable):
        check(call(("read", None), 7, 0, 1), call(("write", 7), UNKNOWN, 2))


def test_a_lost_update_is_found() -> None:
    with pytest.raises(NotLinearizable):
        check(call(("add", 1), 1, 0, 5), call(("add", 1), 1, 0, 5))


def test_parts_are_judged_each_by_itself() -> None:
    def registers(state: int, asked: tuple[str, Asked]) -> tuple[int | None, int]:
        return register(state, asked[1])

    def both(answer: int) -> list[Call]:
        return [
            Call(client="x", asked=("k", ("write", 1)), answer=None, invoked_at=0, returned_at=1),
            Call(
                client="x", asked=("l", ("read", None)), answer=answer, invoked_at=2, returned_at=3
            ),
        ]

    check_linearizable(both(0), initial=0, apply=registers, part_of=lambda it: it[0])
    with pytest.raises(NotLinearizable, match="of 'l'"):
        check_linearizable(both(1), initial=0, apply=registers, part_of=lambda it: it[0])


def test_a_search_without_an_end_is_not_a_yes() -> None:
    wide = [call(("add", n + 1), UNKNOWN, 0) for n in range(30)]
    with pytest.raises(Undecided, match="part_of"):
        check_linearizable(
            [*wide, call(("read", None), -1, 1, 2)], initial=0, apply=register, steps_max=10_000
        )


def test_a_call_that_returned_before_it_was_made_is_refused() -> None:
    with pytest.raises(ValueError, match="before it was invoked"):
        check(call(("read", None), 0, 5, 4))


ASKED = st.one_of(
    st.just(("read", None)),
    st.tuples(st.sampled_from(["write", "add"]), st.integers(1, 2)),
)
CALLS = st.builds(
    lambda asked, answer, start, length: call(asked, answer, start, start + length),
    ASKED,
    st.one_of(st.just(UNKNOWN), st.none(), st.integers(0, 4)),
    st.integers(0, 6),
    st.integers(0, 6),
)


def by_brute_force(history: list[Call]) -> bool:
    """Whether any order of any choice of the unknown calls explains the rest."""
    known = [it for it in history if it.answer is not UNKNOWN]
    unknown = [it for it in history if it.answer is UNKNOWN]
    choices = itertools.chain.from_iterable(
        itertools.combinations(unknown, size) for size in range(len(unknown) + 1)
    )
    return any(
        _explains(order) for some in choices for order in itertools.permutations([*known, *some])
    )


def _explains(order: tuple[Call, ...]) -> bool:
    state = 0
    for place, it in enumerate(order):
        if any(
            later.answer is not UNKNOWN and later.returned_at < it.invoked_at
            for later in order[place + 1 :]
        ):
            return False
        answer, state = register(state, it.asked)
        if it.answer is not UNKNOWN and answer != it.answer:
            return False
    return True


@settings(max_examples=400, deadline=None)
@given(st.lists(CALLS, max_size=5))
def test_it_agrees_with_brute_force(history: list[Call]) -> None:
    expected = by_brute_force(history)

    try:
        check(*history)
    except NotLinearizable:
        found = False
    else:
        found = True
    assert found == expected


def test_orders_that_lead_to_the_same_place_are_tried_once() -> None:
    """Ten calls at once have 3.6 million orders, but no more than 1,024 sets of them are behind one."""
    at_once = [call(("add", 1), UNKNOWN, 0) for _ in range(10)]

    with pytest.raises(NotLinearizable):
        check_linearizable(
            [*at_once, call(("read", None), -1, 1, 2)],
            initial=0,
            apply=register,
            steps_max=20_000,
        )
