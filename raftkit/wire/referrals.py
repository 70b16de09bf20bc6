"""What is referred to a leader, and its answers ⇄ bytes (`docs/wire-format.md`): rare, so positional CBOR.

Every function raises `MalformedError` for bytes that its counterpart does not write.
"""

from __future__ import annotations

from typing import Final, TypeAlias, assert_never

from raftkit import encoding
from raftkit.changes import CHANGES_MAX, change_form, read_change
from raftkit.driver_messages import (
    WHY_MAX,
    ChangeMade,
    ChangeReferral,
    LeadershipMoved,
    Referral,
    ReferralAnswer,
    ReferralFailed,
    ReferralOutcome,
    TransferReferral,
)
from raftkit.encoding import MalformedError, array, printable, unsigned
from raftkit.membership import node_id
from raftkit.model import Index, NodeId
from raftkit.wire.limits import Limits, control_part
from raftkit.wire.packed import checked_index
from raftkit.wire.tags import FORMAT, Tag

__all__ = [
    "decode_change_made",
    "decode_change_referral",
    "decode_leadership_moved",
    "decode_referral_failed",
    "decode_transfer_referral",
    "encode_referral",
]

_OUTCOMES: Final = {
    ReferralOutcome.NOT_LEADER: 1,
    ReferralOutcome.REFUSED: 2,
    ReferralOutcome.UNKNOWN: 3,
}
"Fixed for ever, as the tags are."
_OUTCOME_OF: Final = {number: outcome for outcome, number in _OUTCOMES.items()}

_Octets: TypeAlias = bytes | memoryview


def encode_referral(message: Referral | ReferralAnswer) -> bytes:
    """The one form of `message`."""
    tag, positions = _form(message)
    return bytes((FORMAT, tag)) + encoding.dumps([message.request, *positions])


def _form(message: Referral | ReferralAnswer) -> tuple[Tag, list[object]]:
    """The tag, and the positions after the number of the request."""
    match message:
        case ChangeReferral(within_ms=within, changes=changes, based_on=index):
            forms = [change_form(it) for it in changes]
            return Tag.CHANGE_REFERRAL, [within, forms, index]
        case TransferReferral(within_ms=within, target=target):
            return Tag.TRANSFER_REFERRAL, [within, target]
        case ChangeMade(index=index):
            return Tag.CHANGE_MADE, [index]
        case LeadershipMoved(leader=leader):
            return Tag.LEADERSHIP_MOVED, [leader]
        case ReferralFailed(outcome=outcome, why=why, leader=leader):
            return Tag.REFERRAL_FAILED, [_OUTCOMES[outcome], why, leader]
        case _:
            assert_never(message)


def decode_change_referral(data: _Octets, limits: Limits, newer: bool) -> ChangeReferral:
    """The referral in `data`. `newer`: further positions are ignored, here and below."""
    request, within, forms, based_on = _positions(data, limits, newer, 4)
    changes = array(forms)
    if not 1 <= len(changes) <= CHANGES_MAX:
        raise MalformedError(f"{len(changes)} changes, from 1 to {CHANGES_MAX} are allowed")
    return ChangeReferral(
        request=unsigned(request),
        within_ms=unsigned(within),
        changes=tuple(read_change(it) for it in changes),
        based_on=None if based_on is None else _index(based_on),
    )


def decode_transfer_referral(data: _Octets, limits: Limits, newer: bool) -> TransferReferral:
    """The referral in `data`."""
    request, within, target = _positions(data, limits, newer, 3)
    return TransferReferral(
        request=unsigned(request), within_ms=unsigned(within), target=_name_if_any(target)
    )


def decode_change_made(data: _Octets, limits: Limits, newer: bool) -> ChangeMade:
    """The answer in `data`."""
    request, index = _positions(data, limits, newer, 2)
    return ChangeMade(request=unsigned(request), index=_index(index))


def decode_leadership_moved(data: _Octets, limits: Limits, newer: bool) -> LeadershipMoved:
    """The answer in `data`."""
    request, leader = _positions(data, limits, newer, 2)
    return LeadershipMoved(request=unsigned(request), leader=node_id(leader))


def decode_referral_failed(data: _Octets, limits: Limits, newer: bool) -> ReferralFailed:
    """The answer in `data`."""
    request, number, why, leader = _positions(data, limits, newer, 4)
    outcome = _OUTCOME_OF.get(unsigned(number))
    if outcome is None:
        raise MalformedError(f"a referral that failed with outcome {number}")
    return ReferralFailed(
        request=unsigned(request),
        outcome=outcome,
        why=printable(why, length_max=WHY_MAX),
        leader=_name_if_any(leader),
    )


def _positions(data: _Octets, limits: Limits, newer: bool, count: int) -> list[object]:
    positions = array(encoding.loads(control_part(data, limits)))
    return array(positions[:count] if newer else positions, count)


def _index(value: object) -> Index:
    return checked_index(unsigned(value), lowest=1)


def _name_if_any(value: object) -> NodeId | None:
    return None if value is None else node_id(value)
