"""Counting: what a majority has done, in one configuration or in both halves of a joint one (§4.3).

Laws: one voter, one vote; a learner is never counted; each half must agree by itself; a replication
factor raises what commit needs and never lowers it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from raftkit.membership import Configuration
from raftkit.model import Index, NodeId

__all__ = ["committed", "confirmed", "majority", "won"]


def majority(voters: int) -> int:
    """How many of `voters` servers any two majorities share one of."""
    assert voters > 0
    return voters // 2 + 1


def won(configuration: Configuration, granted: Collection[NodeId]) -> bool:
    """Whether those who granted are a quorum (§3.4, §4.3)."""
    return all(
        sum(voter in granted for voter in half) >= majority(len(half))
        for half in configuration.halves
    )


def committed(configuration: Configuration, match: Callable[[NodeId], Index]) -> Index:
    """The highest index that enough voters hold durably: a majority, or `replication_factor` if more."""
    factor = configuration.settings.replication_factor
    return Index(
        min(
            [
                _nth(half, match, max(majority(len(half)), min(factor, len(half))))
                for half in configuration.halves
            ]
        )
    )


def confirmed(configuration: Configuration, answered: Callable[[NodeId], int]) -> int:
    """The highest number that a quorum has answered, or gone beyond: of rounds (§6.4), of ticks."""
    return min([_nth(half, answered, majority(len(half))) for half in configuration.halves])


def _nth(half: tuple[NodeId, ...], value: Callable[[NodeId], int], count: int) -> int:
    """The highest number that `count` of these voters have reached."""
    return sorted(map(value, half))[-count]
