"""Who is right and who is wrong where digests differ."""

from __future__ import annotations

import pytest

from raftkit.driver.digests import Digests, Verdict
from raftkit.driver_messages import DIGESTS_MAX, StateDigest
from raftkit.membership import Configuration, Member, Role
from raftkit.model import Identity, Index


def configuration(voters: str, learners: str = "", outgoing: str = "") -> Configuration:
    members = [
        Member(id=name, incarnation=1, address="", role=role)
        for names, role in ((voters, Role.VOTER), (learners, Role.LEARNER))
        for name in names
    ]
    return Configuration(members=tuple(members), outgoing=tuple(outgoing))


def said(state: str, index: int = 10, *, version: int = 1, form: int = 2) -> StateDigest:
    return StateDigest(
        index=Index(index), format=form, version=version, size=3, digest=state.encode() * 32
    )


def told(**states: str | StateDigest) -> Digests:
    """What members said at index 10, by name."""
    digests = Digests()
    for name, state in states.items():
        it = state if isinstance(state, StateDigest) else said(state)
        digests.note(Identity(id=name, incarnation=1), [it])
    return digests


def verdict(digests: Digests, group: Configuration) -> tuple[str, str, str, bool]:
    """Right, wrong, differ and final, in short."""
    found = digests.judge(Index(10), group)
    return "".join(found.right), "".join(found.wrong), "".join(found.differ), found.final


ABC = configuration("abc")


def test_who_differs_from_a_majority_is_wrong() -> None:
    assert verdict(told(a="x", b="y", c="x"), ABC) == ("ac", "b", "", True)


def test_a_majority_is_of_all_voters_not_of_those_who_spoke() -> None:
    group = configuration("abcde")

    assert verdict(told(a="x", b="y", c="x"), group) == ("", "", "abc", False)
    assert verdict(told(a="x", b="y", c="x", d="x"), group) == ("acd", "b", "", False)


def test_all_wrong_ones_are_named() -> None:
    group = configuration("abcde")

    assert verdict(told(e="z", b="y", a="x", c="x", d="x"), group) == ("acd", "be", "", True)


def test_where_all_agree_nobody_is_wrong() -> None:
    assert verdict(told(a="x", b="x", c="x"), ABC) == ("abc", "", "", True)


def test_what_a_majority_has_is_right_before_the_rest_has_spoken() -> None:
    assert verdict(told(a="x", c="x"), ABC) == ("ac", "", "", False)


def test_of_two_nobody_is_right() -> None:
    assert verdict(told(a="x", b="y"), configuration("ab")) == ("", "", "ab", True)


def test_one_voter_alone_makes_nobody_wrong() -> None:
    """It has a majority of the votes, but against one or two learners it is one of two opinions."""
    assert verdict(told(a="x", b="y"), configuration("a", "b")) == ("", "", "ab", True)
    assert verdict(told(a="x", b="y", c="y"), configuration("a", "bc")) == ("", "", "abc", True)


def test_a_learner_is_judged_and_not_counted() -> None:
    group = configuration("abc", "de")

    assert verdict(told(a="x", b="x", d="y"), group) == ("ab", "d", "", False)
    assert verdict(told(a="x", d="x", e="x", b="y"), group) == ("", "", "abde", False)


def test_both_halves_of_a_joint_configuration_must_agree() -> None:
    group = configuration("abcde", outgoing="cde")

    assert verdict(told(a="x", b="x", c="x", d="y", e="y"), group) == ("", "", "abcde", True)
    assert verdict(told(a="x", b="y", c="x", d="x", e="y"), group) == ("acd", "be", "", True)


@pytest.mark.parametrize("other", [said("y", version=2), said("y", form=3)])
def test_other_versions_and_formats_are_not_compared(other: StateDigest) -> None:
    assert verdict(told(a="x", b=other, c="x"), ABC) == ("ac", "", "", True)


def test_a_stranger_and_a_former_incarnation_are_not_heard() -> None:
    digests = told(a="x", b="y")
    for identity in (Identity(id="c", incarnation=2), Identity(id="x", incarnation=1)):
        digests.note(identity, [said("y")])

    assert verdict(digests, ABC) == ("", "", "ab", False)
    digests.keep(ABC)
    digests.keep(configuration("bcx"))
    assert digests.judge(Index(10), ABC).differ == ()


def test_what_is_said_last_counts() -> None:
    digests = told(a="x", b="y", c="x")
    digests.note(Identity(id="b", incarnation=1), [said("x"), said("z", 20)])

    assert verdict(digests, ABC) == ("abc", "", "", True)
    assert digests.indexes() == [10, 20]


def test_of_an_index_nobody_spoke_of_nothing_follows() -> None:
    expected = Verdict(index=Index(9), right={}, wrong=(), differ=(), final=False)

    assert told(a="x").judge(Index(9), ABC) == expected


def test_more_than_a_message_holds_is_never_kept() -> None:
    with pytest.raises(AssertionError):
        Digests().note(
            Identity(id="a", incarnation=1), [said("x", at) for at in range(1, DIGESTS_MAX + 2)]
        )
