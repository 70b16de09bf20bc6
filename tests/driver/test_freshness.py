"""What confirmed reads say of the age of this node's copy (§6.4)."""

from __future__ import annotations

import pytest

from raftkit.driver.freshness import AHEAD_MAX, Freshness
from raftkit.model import Index


def known(*confirmed: tuple[int, int]) -> Freshness:
    """After these were confirmed: (index, asked_ns)."""
    freshness = Freshness()
    for index, asked_ns in confirmed:
        freshness.confirmed(Index(index), asked_ns)
    return freshness


def test_nothing_is_known_before_anything_was_confirmed() -> None:
    assert known().complete_ns(Index(9)) is None


def test_a_copy_behind_what_was_confirmed_says_nothing() -> None:
    freshness = known((5, 100))

    assert freshness.complete_ns(Index(4)) is None
    assert freshness.complete_ns(Index(5)) == 100


def test_the_newest_question_counts_whose_index_is_applied() -> None:
    freshness = known((5, 100), (7, 200), (9, 300))

    assert freshness.complete_ns(Index(8)) == 200
    assert freshness.complete_ns(Index(9)) == 300


def test_an_idle_group_confirms_the_same_index_anew() -> None:
    freshness = known((5, 100), (5, 200))

    assert freshness.complete_ns(Index(5)) == 200


@pytest.mark.parametrize("late", [(4, 150), (7, 50)])
def test_answers_that_overtake_each_other_take_nothing_back(late: tuple[int, int]) -> None:
    freshness = known((5, 100), late)

    assert freshness.complete_ns(Index(5)) == 100


def test_a_question_about_what_is_applied_already_counts_at_once() -> None:
    freshness = known((5, 100))
    freshness.complete_ns(Index(9))
    freshness.confirmed(Index(8), 200)

    assert freshness.complete_ns(Index(9)) == 200


def test_a_machine_far_behind_still_grows_younger() -> None:
    """Of many confirmed indexes the first ones stay: they are applied first. And the newest does."""
    many = 10 * AHEAD_MAX
    freshness = known(*((it, 100 * it) for it in range(1, many + 1)))

    assert freshness.complete_ns(Index(1)) == 100
    assert freshness.complete_ns(Index(AHEAD_MAX - 1)) == 100 * (AHEAD_MAX - 1)
    assert freshness.complete_ns(Index(many)) == 100 * many
