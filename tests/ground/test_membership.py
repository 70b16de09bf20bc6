"""A configuration answers who counts, and is read only in the bytes in which it is written."""

from __future__ import annotations

import attrs
import pytest
from hypothesis import given, strategies as st

from raftkit import encoding
from raftkit.encoding import U64_MAX, MalformedError
from raftkit.membership import (
    ADDRESS_MAX,
    MEMBERS_MAX,
    Configuration,
    Epoch,
    Member,
    Role,
    Settings,
    node_id,
)
from raftkit.model import Identity
from raftkit.testing.strategies import configurations


def _member(name: str, incarnation: int = 1, role: Role = Role.VOTER) -> Member:
    return Member(id=name, incarnation=incarnation, address=f"{name}:1", role=role)


GROUP = Configuration(members=(_member("b"), _member("a"), _member("l", role=Role.LEARNER)))
JOINT = attrs.evolve(GROUP, outgoing=("a", "z"))


def test_numbers_in_the_formats_are_fixed() -> None:
    assert {role.name: role.value for role in Role} == {
        "VOTER": 0,
        "LEARNER": 1,
        "WITNESS": 2,
        "JOINING": 3,
        "LEAVING": 4,
    }


def test_members_are_in_the_order_of_their_names() -> None:
    assert [member.id for member in GROUP.members] == ["a", "b", "l"]


def test_learner_is_no_voter() -> None:
    assert GROUP.voters == ("a", "b")
    assert GROUP.votes("a")
    assert not GROUP.votes("l")
    assert not GROUP.votes("z")


def test_witness_is_a_voter() -> None:
    assert Configuration(members=(_member("w", role=Role.WITNESS),)).voters == ("w",)


def test_joint_configuration_has_two_halves() -> None:
    assert GROUP.halves == (("a", "b"),)
    assert JOINT.halves == (("a", "b"), ("a", "z"))
    assert JOINT.votes("z")


def test_member_is_known_by_name_and_incarnation() -> None:
    assert GROUP.member("a") == _member("a")
    assert GROUP.member("x") is None
    assert GROUP.knows(_member("a").identity)
    assert not GROUP.knows(Identity(id="a", incarnation=2))
    assert not GROUP.knows(Identity(id="x", incarnation=1))


# ── bytes ────────────────────────────────────────────────────────────────────────────────────────


@given(configurations(), st.data())
def test_spoiled_configuration_is_refused_or_in_its_one_form(
    configuration: Configuration, data: st.DataObject
) -> None:
    spoiled = bytearray(configuration.encode())
    at = data.draw(st.integers(0, len(spoiled) - 1))
    spoiled[at] = data.draw(st.integers(0, 255))
    try:
        found = Configuration.decode(bytes(spoiled))
    except MalformedError:
        return
    assert found.encode() == spoiled


def test_configuration_of_every_extreme_is_read() -> None:
    settings = Settings(
        election_timeout_ms=(U64_MAX - 1, U64_MAX), entry_bytes_max=0, epoch=Epoch(nonce=U64_MAX)
    )
    members = tuple(
        Member(id=f"{n:064}", incarnation=U64_MAX, address="x" * ADDRESS_MAX)
        for n in range(MEMBERS_MAX)
    )
    largest = Configuration(
        members=members, outgoing=tuple(m.id for m in members), settings=settings
    )

    assert Configuration.decode(largest.encode()) == largest


VOTER = ["a", 1, "a:1", 0]
SETTINGS = [[250, 500], False, 1, 1, 1, 1, 1, 1, 1, 1, [1, 0], 1]


def _bytes(
    version: object = 1,
    members: object = (VOTER,),
    outgoing: object = (),
    settings: object = SETTINGS,
) -> bytes:
    return encoding.dumps([version, members, outgoing, settings])


def _set(position: int, value: object) -> bytes:
    return _bytes(settings=[*SETTINGS[:position], value, *SETTINGS[position + 1 :]])


def test_configuration_in_these_tests_is_read() -> None:
    assert Configuration.decode(_bytes()).voters == ("a",)


@pytest.mark.parametrize(
    "data, why",
    [
        (b"", "premature end"),
        (encoding.dumps({}), "not an array"),
        (encoding.dumps([1, [], []]), "3 positions where 4 belong"),
        (_bytes() + b"\0", "1 bytes too many"),
        (_bytes(version=2), "configuration of format 2, this is 1"),
        (_bytes(version=0), "configuration of format 0, this is 1"),
        (_bytes(version=True), "not a number"),
        (b"\x84\x18\x01" + _bytes()[2:], "not in the form of `encode`"),
        # members
        (_bytes(members={}), "not an array"),
        (_bytes(members=[]), "not a group"),
        (_bytes(members=[VOTER, VOTER]), "not a group"),
        (_bytes(members=[["a", 1, "a", 1]]), "not a group"),  # nobody votes
        (
            _bytes(members=[[f"{n:02}", 1, "", 0] for n in range(MEMBERS_MAX + 1)]),
            "not a group",
        ),
        (_bytes(members=[["b", 1, "", 0], VOTER]), "not in the form of `encode`"),
        (_bytes(members=[["a", 1, "a"]]), "3 positions where 4 belong"),
        (_bytes(members=["abcd"]), "not an array"),
        (_bytes(members=[["", 1, "a", 0]]), "a node without a name"),
        (_bytes(members=[["x" * 65, 1, "a", 0]]), "not a printable text of up to 64"),
        (_bytes(members=[["a\n", 1, "a", 0]]), "not a printable text of up to 64"),
        (_bytes(members=[[b"a", 1, "a", 0]]), "not a printable text of up to 64"),
        (_bytes(members=[["a", -1, "a", 0]]), "not a number"),
        (_bytes(members=[["a", True, "a", 0]]), "not a number"),
        (_bytes(members=[["a", 1, "x" * 256, 0]]), "not a printable text of up to 255"),
        (_bytes(members=[["a", 1, "\0", 0]]), "not a printable text of up to 255"),
        (_bytes(members=[["a", 1, None, 0]]), "not a printable text of up to 255"),
        (_bytes(members=[["a", 1, "a", 3]]), "not a group"),  # who joins has no vote yet
        (_bytes(members=[["a", 1, "a", 4]], outgoing=["a"]), "not a group"),
        (_bytes(members=[["a", 1, "a", 5]]), "not a number from 0 to 4"),
        (_bytes(members=[["a", 1, "a", False]]), "not a number from 0 to 4"),
        # outgoing
        (_bytes(outgoing="a"), "not an array"),
        (_bytes(outgoing=["b", "a"]), "not the voters of a configuration"),
        (_bytes(outgoing=["a", "a"]), "not the voters of a configuration"),
        (_bytes(outgoing=[""]), "a node without a name"),
        (
            _bytes(outgoing=[f"{n:02}" for n in range(MEMBERS_MAX + 1)]),
            "not the voters of a configuration",
        ),
        (_bytes(outgoing=["a", "z"]), "voters that are no members"),
        (_bytes(members=[VOTER, ["b", 1, "", 4]], outgoing=["a"]), "members that neither stay nor"),
        (_bytes(members=[VOTER, ["b", 1, "", 4]]), "members that neither stay nor leave"),
        # settings
        (_bytes(settings=None), "not an array"),
        (_bytes(settings=SETTINGS[:-1]), "11 positions where 12 belong"),
        (_bytes(settings=[*SETTINGS, 0]), "13 positions where 12 belong"),
        (_set(0, [250]), "1 positions where 2 belong"),
        (_set(0, [0, 1]), "not bounds of an election timeout"),
        (_set(0, [5, 5]), "not bounds of an election timeout"),
        (_set(0, [1.0, 2]), "not a number"),
        (_set(0, [1, "2"]), "not a number"),
        (_set(1, 0), "leases are on or off, not 0"),
        (_set(1, None), "leases are on or off, not None"),
        (_set(2, 0), "not a number from 1"),
        *((_set(position, -1), "not a number from 0") for position in range(3, 10)),
        *((_set(position, True), "not a number from 0") for position in range(3, 10)),
        (_set(10, [0, 0]), "not a number from 1"),
        (_set(10, [1, None]), "not a number from 0"),
        (_set(10, [1]), "1 positions where 2 belong"),
        (_set(11, 0), "not a number from 1"),
        (_set(11, 1 << 64), "tag"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_not_a_configuration_is_refused(data: bytes, why: str) -> None:
    with pytest.raises(MalformedError, match=why):
        Configuration.decode(data)


def test_name_is_1_to_64_printable_characters() -> None:
    assert node_id("a") == "a"
    assert node_id("ä b" + "x" * 61) == "ä b" + "x" * 61
    for wrong in ("", "x" * 65, "\t", 1, None, b"a"):
        with pytest.raises(MalformedError):
            node_id(wrong)
