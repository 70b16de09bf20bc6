"""Which message a body holds, and in which version of its form: two bytes, fixed for ever."""

from __future__ import annotations

from enum import IntEnum
from typing import Final

__all__ = ["FORMAT", "Tag"]

FORMAT: Final = 1
"The version of every form in this package, the first byte of a message."


class Tag(IntEnum):
    """Which message it is: its second byte. A number that is given up is not used again."""

    PRE_VOTE_REQUEST = 1
    PRE_VOTE_REPLY = 2
    VOTE_REQUEST = 3
    VOTE_REPLY = 4
    APPEND_ENTRIES = 5
    APPEND_ACCEPTED = 6
    APPEND_REJECTED = 7
    HEARTBEAT = 8
    HEARTBEAT_REPLY = 9
    READ_REQUEST = 10
    READ_REPLY = 11
    SNAPSHOT_CHUNK = 12
    SNAPSHOT_REPLY = 13
    TIMEOUT_NOW = 14
    HELLO = 32
    FORWARD = 33
    FORWARD_ACCEPTED = 34
    FORWARD_REFUSED = 35
    STATE_DIGESTS = 36
    SNAPSHOT_WANTED = 37
    SNAPSHOT_PART = 38
    MEMBERSHIP = 39
    CHANGE_REFERRAL = 40
    TRANSFER_REFERRAL = 41
    CHANGE_MADE = 42
    LEADERSHIP_MOVED = 43
    REFERRAL_FAILED = 44
    VERY_SNAPSHOT_WANTED = 45
    PRESENCE = 46
    GOODBYE = 47
    RANKED_PRESENCE = 48
