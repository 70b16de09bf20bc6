"""Each number is heard once, late ones too; what is too old to tell counts as heard."""

from __future__ import annotations

import sys

from hypothesis import given, strategies as st

from raftkit.encoding import U64_MAX
from raftkit.wire import ReplayWindow
from raftkit.wire.replay import REPLAY_BITS

near = st.integers(0, 3 * REPLAY_BITS)
numbers = st.lists(
    near | st.integers(U64_MAX - 3 * REPLAY_BITS, U64_MAX) | st.sampled_from([0, 1, REPLAY_BITS]),
    max_size=30,
)


@given(numbers)
def test_a_number_is_heard_once_and_only_while_the_window_reaches_it(heard: list[int]) -> None:
    window, before, highest = ReplayWindow(), set[int](), -1

    for number in [*heard, *heard]:
        expected = number > highest - REPLAY_BITS and number not in before

        assert window.hear(number) == expected
        before.add(number)
        highest = max(highest, number)


def test_a_late_number_is_heard_at_the_edge_of_the_window_and_not_beyond() -> None:
    window = ReplayWindow()
    window.hear(10_000)

    assert not window.hear(10_000 - REPLAY_BITS)
    assert window.hear(10_000 - REPLAY_BITS + 1)
    assert not window.hear(10_000 - REPLAY_BITS + 1)


def test_what_came_before_a_handshake_counts_as_heard() -> None:
    window = ReplayWindow.above(5)

    assert [window.hear(number) for number in (0, 5, 6, 4, 6)] == [False, False, True, False, False]


def test_a_window_takes_little_memory_whatever_it_hears() -> None:
    window = ReplayWindow()
    for number in (*range(0, 5000, 3), U64_MAX - 1, 7):
        window.hear(number)

    assert sys.getsizeof(window._heard) <= 600  # bytes
