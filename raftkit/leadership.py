"""What a leader is asked about its leadership (§3.10), and what it answers: a part of `raftkit.messages`.

Law: every request is answered once, unless the server stops before.
"""

from __future__ import annotations

from enum import Enum

import attrs

from raftkit.model import NodeId, Term

__all__ = [
    "HandOverRefusal",
    "NotHandedOver",
    "StepDown",
    "SteppedDown",
    "TransferLeadership",
]


@attrs.frozen(kw_only=True)
class TransferLeadership:
    """Make another server lead (§3.10), or go on. Answered by SteppedDown or NotHandedOver."""

    ticket: int
    "Chosen by the driver, echoed in the answer."
    target: NodeId | None = None
    "Who shall lead. None: whoever holds the whole log first."


@attrs.frozen(kw_only=True)
class StepDown:
    """Lead no more. Answered by SteppedDown, or by NotHandedOver."""

    ticket: int
    "Chosen by the driver, echoed in the answer."
    hand_over: bool = True
    "Whether another shall lead before; without that it is soon elected, after a silence."


class HandOverRefusal(Enum):
    """Why a leader goes on leading that was asked not to, or why a server can't be asked."""

    NOT_LEADER = "this server does not lead"
    UNDER_WAY = "leadership is being handed over already"
    ITSELF = "this server leads already"
    UNKNOWN = "the group has no such member"
    LEARNER = "a learner can't lead"
    SILENT = "it has not been heard for an election timeout"
    NOBODY = "no other voter has been heard for an election timeout"
    ABANDONED = "nobody took over within an election timeout"


@attrs.frozen(kw_only=True)
class SteppedDown:
    """This server, which was asked to, leads no more. Who does is not known yet."""

    ticket: int
    "Of the TransferLeadership or StepDown."
    term: Term
    "This server's current term: whoever leads next does so in this term or a later one."


@attrs.frozen(kw_only=True)
class NotHandedOver:
    """A TransferLeadership or a StepDown has come to nothing: this server goes on as before."""

    ticket: int
    "Of the input."
    reason: HandOverRefusal
    "Why. After ABANDONED the target may still win, if it heard of it late."
    leader: NodeId | None
    "Who leads, as far as known."
