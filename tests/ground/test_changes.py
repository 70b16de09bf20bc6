"""What changes lead to, and which are refused with what words (§4.1, §4.3)."""

from __future__ import annotations

import attrs
import pytest
from hypothesis import given, strategies as st

from raftkit.changes import (
    AddLearner,
    Change,
    ChangeRefused,
    ChangeSettings,
    Demote,
    Promote,
    Readdress,
    Remove,
    change_form,
    first_step,
    next_configuration,
    only_lowers_factor,
    read_change,
    second_step,
)
from raftkit.encoding import MalformedError, dumps, loads
from raftkit.membership import MEMBERS_MAX, Configuration, Epoch, Member, Role, Settings


def group(**roles: Role | str) -> Configuration:
    """Members by name: `group(a="voter", d="learner")`."""
    return Configuration(
        members=tuple(
            Member(
                id=name,
                incarnation=1,
                address=f"{name}:1",
                role=role if isinstance(role, Role) else Role[role.upper()],
            )
            for name, role in roles.items()
        )
    )


def roles(configuration: Configuration) -> dict[str, str]:
    """Names and roles."""
    return {member.id: member.role.name.lower() for member in configuration.members}


ABCD = group(a="voter", b="voter", c="voter", d="learner")


def add(name: str, *, incarnation: int = 1, promote: bool = False) -> AddLearner:
    """A server of that name, at an address of its own."""
    return AddLearner(
        id=name, incarnation=incarnation, address=f"{name}:{incarnation}", promote=promote
    )


def settings(**values: object) -> ChangeSettings:
    """Default settings but these."""
    return ChangeSettings(settings=attrs.evolve(Settings(), **values))  # type: ignore[arg-type]


# ── what they lead to ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "changes, expected",
    [
        ([add("e")], {"e": "learner"}),
        ([add("e", promote=True)], {"e": "joining"}),
        ([Promote(id="d")], {"d": "voter"}),
        ([Demote(id="c")], {"c": "learner"}),
        ([Remove(id="c")], {"c": None}),
        ([Remove(id="d")], {"d": None}),
        ([Promote(id="d"), Remove(id="a"), add("e")], {"a": None, "d": "voter", "e": "learner"}),
    ],
)
def test_members_become_what_is_asked(
    changes: list[Change], expected: dict[str, str | None]
) -> None:
    target = next_configuration(ABCD, changes)

    wanted = {**roles(ABCD), **expected}
    assert roles(target) == {name: role for name, role in wanted.items() if role is not None}


def test_joining_learner_is_told_to_stay_one() -> None:
    assert (
        roles(next_configuration(group(a="voter", d="joining"), [Demote(id="d")]))["d"] == "learner"
    )


def test_member_without_its_disk_is_replaced_by_a_learner() -> None:
    """E13: c of another incarnation is another server; the old one's vote is gone in the same entry."""
    target = next_configuration(ABCD, [add("c", incarnation=2)])

    member = target.member("c")
    assert member == Member(id="c", incarnation=2, address="c:2", role=Role.LEARNER)
    assert target.voters == ("a", "b")


def test_member_moves_to_another_address() -> None:
    member = next_configuration(ABCD, [Readdress(id="b", address="b:9")]).member("b")

    assert member is not None
    assert (member.address, member.role) == ("b:9", Role.VOTER)


def test_settings_are_replaced() -> None:
    target = next_configuration(ABCD, [settings(snapshot_entries=7)])

    assert (target.settings.snapshot_entries, target.members) == (7, ABCD.members)


@pytest.mark.parametrize("change", [Remove(id="c"), Demote(id="c")])
def test_removal_asks_for_no_more_copies_than_there_are_voters(change: Change) -> None:
    current = attrs.evolve(ABCD, settings=attrs.evolve(Settings(), replication_factor=3))

    assert next_configuration(current, [change]).settings.replication_factor == 2


@pytest.mark.parametrize(
    "changes, why",
    [
        ([], "nothing would change"),
        ([Demote(id="d")], "nothing would change"),
        ([Readdress(id="b", address="b:1")], "nothing would change"),
        ([settings()], "nothing would change"),
        ([Remove(id="z")], "'z' is no member; there are: a, b, c, d"),
        ([Promote(id="z")], "'z' is no member"),
        ([Remove(id="c"), Demote(id="c")], "c changed twice"),
        ([settings(version=2), settings(version=3)], "the settings changed twice"),
        ([add("a")], "a@0000000000000001 is a member already, as a voter"),
        ([add("d")], "is a member already, as a learner"),
        ([add("e", incarnation=0)], "e needs the incarnation"),
        ([add("e", incarnation=1 << 64)], "e needs the incarnation"),
        ([Promote(id="a")], "a is a voter: only learners are promoted"),
        ([Remove(id=name) for name in "abc"], "no voter would be left"),
        ([Demote(id=name) for name in "abc"], "no voter would be left"),
        ([AddLearner(id="e", incarnation=1, address="a:1")], "a:1 is the address of a: e needs"),
        ([Readdress(id="a", address="b:1")], "b:1 is the address of b: a needs"),
        ([settings(epoch=Epoch(number=2))], "the epoch is changed by forced recovery only"),
        ([settings(replication_factor=4)], "replication_factor 4 needs as many voters, .* be 3"),
        ([settings(replication_factor=3), Remove(id="a")], "replication_factor 3 needs"),
        ([settings(replication_factor=0)], "not a configuration: not a number from 1"),
        ([settings(election_timeout_ms=(300, 200))], "not bounds of an election timeout"),
        ([AddLearner(id="", incarnation=1, address="e:1")], "a node without a name"),
        ([AddLearner(id="e", incarnation=1, address="e\n1")], "not a configuration"),
        ([add(f"n{n}") for n in range(MEMBERS_MAX)], f"68 members, more than {MEMBERS_MAX}"),
    ],
)
def test_what_can_not_be_is_refused(changes: list[Change], why: str) -> None:
    with pytest.raises(ChangeRefused, match=why):
        next_configuration(ABCD, changes)


def test_addresses_that_are_not_known_may_be_the_same() -> None:
    unknown = Configuration(members=(Member(id="a", incarnation=1, address=""),))

    target = next_configuration(unknown, [AddLearner(id="b", incarnation=1, address="")])

    assert roles(target) == {"a": "voter", "b": "learner"}


def test_two_members_may_exchange_their_addresses() -> None:
    changes = [Readdress(id="a", address="b:1"), Readdress(id="b", address="a:1")]

    target = next_configuration(ABCD, changes)

    assert [member.address for member in target.members[:2]] == ["b:1", "a:1"]


# ── the way there ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "changes",
    [[add("e"), add("f")], [Promote(id="d")], [Remove(id="a"), add("e")], [settings(version=2)]],
)
def test_one_voter_more_or_less_takes_one_entry(changes: list[Change]) -> None:
    """§4.1."""
    target = next_configuration(ABCD, changes)

    assert first_step(ABCD, target) == target


def test_more_voters_at_once_take_a_joint_configuration() -> None:
    """§4.3: a leaves, b becomes a learner, d a voter: the old voters are all there until it is committed."""
    target = next_configuration(ABCD, [Remove(id="a"), Demote(id="b"), Promote(id="d"), add("e")])

    joint = first_step(ABCD, target)

    expected = {"a": "leaving", "b": "learner", "c": "voter", "d": "voter", "e": "learner"}
    assert (roles(joint), joint.outgoing) == (expected, ("a", "b", "c"))
    assert joint.halves == (("c", "d"), ("a", "b", "c"))
    assert Configuration.decode(joint.encode()) == joint
    assert second_step(joint) == target


def test_server_without_its_disk_is_admitted_by_itself() -> None:
    """E13: in a joint configuration it would stand for the one that it was, in the old half."""
    target = next_configuration(ABCD, [add("c", incarnation=2), Promote(id="d")])

    with pytest.raises(ChangeRefused, match="c comes back without its disk"):
        first_step(ABCD, target)


def test_joint_configuration_of_too_many_is_refused() -> None:
    many = group(
        **{f"n{n:02}": "voter" for n in range(60)}, **{f"z{n}": "learner" for n in range(4)}
    )
    gone: list[Change] = [Remove(id="n00"), Remove(id="n01")]
    target = next_configuration(many, [*gone, *(add(f"x{n}") for n in range(2))])

    with pytest.raises(ChangeRefused, match=f"are 66, more than {MEMBERS_MAX}"):
        first_step(many, target)


@pytest.mark.parametrize(
    "changes, lowers",
    [
        ([settings(replication_factor=2)], True),
        ([settings(replication_factor=1)], True),
        ([settings(replication_factor=3)], False),
        ([settings(replication_factor=1, version=2)], False),
        ([settings(replication_factor=1), Remove(id="a")], False),
        ([Remove(id="a")], False),
        ([], False),
    ],
)
def test_only_a_lower_factor_moves_nothing(changes: list[Change], *, lowers: bool) -> None:
    current = attrs.evolve(ABCD, settings=attrs.evolve(Settings(), replication_factor=3))

    assert only_lowers_factor(current, changes) is lowers


NAMES = st.sampled_from("abcdef")


def _changes() -> st.SearchStrategy[Change]:
    return st.one_of(
        st.builds(
            AddLearner,
            id=NAMES,
            incarnation=st.integers(1, 3),
            address=st.just(""),
            promote=st.booleans(),
        ),
        st.builds(Promote, id=NAMES),
        st.builds(Demote, id=NAMES),
        st.builds(Remove, id=NAMES),
        st.builds(Readdress, id=NAMES, address=st.sampled_from(["x:1", "y:1"])),
        st.integers(1, 4).map(lambda factor: settings(replication_factor=factor)),
    )


@given(st.lists(_changes(), max_size=4))
def test_whatever_is_asked_is_a_group_or_is_refused_in_words(changes: list[Change]) -> None:
    """Each step is a configuration that can be written, and leaves the old one where quorums meet."""
    try:
        target = next_configuration(ABCD, changes)
        step = first_step(ABCD, target)
    except ChangeRefused:
        return

    assert Configuration.decode(step.encode()) == step
    assert step.outgoing in ((), ABCD.voters)
    assert len(set(step.halves[-1]) ^ set(ABCD.voters)) <= 1
    assert (second_step(step) if step.outgoing else step) == target


# ── as plain values ──────────────────────────────────────────────────────────────────────────────────


@given(_changes())
def test_change_survives_being_written(change: Change) -> None:
    assert read_change(loads(dumps(change_form(change)))) == change


@pytest.mark.parametrize(
    "form",
    [
        [],
        [7, "a"],
        [2],
        [2, ""],
        [2, "a", 1],
        [1, "a", 1, "x", 1],
        [1, "a", -1, "x", True],
        [6, []],
        "a",
    ],
)
def test_what_is_no_change_is_refused(form: object) -> None:
    with pytest.raises(MalformedError):
        read_change(form)
