"""What is referred to a leader: nothing is read of it that no node writes."""

from __future__ import annotations

import pytest

from raftkit import encoding
from raftkit.changes import CHANGES_MAX
from raftkit.driver_messages import WHY_MAX
from raftkit.encoding import U63_MAX, U64_MAX
from raftkit.errors import RemoteProtocolError
from raftkit.wire import FORMAT, Limits, Tag, decode_message, encode_message
from tests.wire.examples import reason_of

LIMITS = Limits(control_bytes_max=10_000)
REMOVE = [4, "b"]


def _cbor(tag: Tag, *positions: object) -> bytes:
    return bytes([FORMAT, tag]) + encoding.dumps(list(positions))


def _change(*changes: object, within: object = 30_000, based_on: object = None) -> bytes:
    return _cbor(Tag.CHANGE_REFERRAL, 7, within, list(changes), based_on)


def _failed(*, outcome: object = 2, why: object = "why", leader: object = None) -> bytes:
    return _cbor(Tag.REFERRAL_FAILED, 7, outcome, why, leader)


@pytest.mark.parametrize(
    "data",
    [
        _change(REMOVE, within=0),
        _change(REMOVE, within=U64_MAX, based_on=1),
        _change(*[REMOVE] * CHANGES_MAX, based_on=U63_MAX),
        _change([1, "d", 0, "", False]),
        _change([5, "d", "x" * 255]),
        _cbor(Tag.TRANSFER_REFERRAL, U64_MAX, 0, None),
        _cbor(Tag.TRANSFER_REFERRAL, 0, U64_MAX, "x" * 64),
        _cbor(Tag.CHANGE_MADE, 7, 1),
        _cbor(Tag.CHANGE_MADE, 7, U63_MAX),
        *(_failed(outcome=outcome) for outcome in (1, 2, 3)),
        _failed(why="", leader="b"),
        _failed(why="x" * WHY_MAX),
    ],
    ids=lambda _: "",
)
def test_referral_on_the_bound_is_read(data: bytes) -> None:
    assert encode_message(decode_message(data, limits=LIMITS)) == data


@pytest.mark.parametrize(
    "data, why",
    [
        (_change(), f"0 changes, from 1 to {CHANGES_MAX} are allowed"),
        (_change(*[REMOVE] * (CHANGES_MAX + 1)), f"{CHANGES_MAX + 1} changes, from 1"),
        (_change(REMOVE, within=-1), "not a number from 0"),
        (_change(REMOVE, within=1.0), "not a number from 0"),
        (_change(REMOVE, based_on=0), "index 0"),
        (_change(REMOVE, based_on=U63_MAX + 1), f"index {U63_MAX + 1}"),
        (_change(REMOVE, based_on=True), "not a number from 0"),
        (_change([7, "b"]), "not a change"),
        (_change([4, ""]), "a node without a name"),
        (_change([5, "b", "x" * 256]), "not a printable text of up to 255"),
        (_change("b"), "not an array"),
        (_cbor(Tag.CHANGE_REFERRAL, 7, 1, "b", None), "not an array"),
        (_cbor(Tag.CHANGE_REFERRAL, 7, 1, [REMOVE]), "3 positions where 4 belong"),
        (_cbor(Tag.CHANGE_REFERRAL, -7, 1, [REMOVE], None), "not a number from 0"),
        (_cbor(Tag.TRANSFER_REFERRAL, 7, 1, ""), "a node without a name"),
        (_cbor(Tag.TRANSFER_REFERRAL, 7, 1, b"b"), "not a printable text of up to 64"),
        (_cbor(Tag.TRANSFER_REFERRAL, 7, 1), "2 positions where 3 belong"),
        (_cbor(Tag.CHANGE_MADE, 7, 0), "index 0"),
        (_cbor(Tag.CHANGE_MADE, 7, U63_MAX + 1), f"index {U63_MAX + 1}"),
        (_cbor(Tag.CHANGE_MADE, 7), "1 positions where 2 belong"),
        (_cbor(Tag.LEADERSHIP_MOVED, 7, None), "not a printable text of up to 64"),
        (_cbor(Tag.LEADERSHIP_MOVED, 7, "b", 1), "3 positions where 2 belong"),
        (_failed(outcome=0), "a referral that failed with outcome 0"),
        (_failed(outcome=4), "a referral that failed with outcome 4"),
        (_failed(why="two\nlines"), f"not a printable text of up to {WHY_MAX}"),
        (_failed(why="x" * (WHY_MAX + 1)), f"not a printable text of up to {WHY_MAX}"),
        (_failed(leader=""), "a node without a name"),
        (bytes([FORMAT, Tag.REFERRAL_FAILED]) + bytes(9999), "10001 bytes, at most 10000"),
    ],
    ids=reason_of,
)
def test_malformed_referral_is_refused(data: bytes, why: str) -> None:
    with pytest.raises(RemoteProtocolError, match=why):
        decode_message(data, limits=LIMITS)
