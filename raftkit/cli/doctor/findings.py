"""What was found, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Final

import attrs

__all__ = ["BRANCHES", "Finding", "Mark", "in_order", "next_step"]

BRANCHES: Final = ("quorum", "membership", "network", "disk", "clock", "host")
"Of the tree, from what people notice to what may cause it."


class Mark(StrEnum):
    """How a check went."""

    OK = "ok"
    WARNING = "warning"
    "It works, worse than it could."
    WRONG = "wrong"
    "It does not do what it is set up to do."
    UNKNOWN = "unknown"
    "It could not be looked at."


@attrs.frozen(kw_only=True)
class Finding:
    """What one check found."""

    check: str
    "Its branch and its name, with a dot between: these names stay."
    mark: Mark
    "How it went."
    words: str
    "What was found, in one line."
    advice: str = ""
    "What to do next. Empty if there is nothing to be done."
    peer: str | None = None
    "With whom, by its name, or by its address where that is not known. None: it is about this node."
    facts: Mapping[str, object] = attrs.field(factory=dict[str, object])
    "What was measured, for programs: the units are in the names."


def in_order(findings: Iterable[Finding]) -> list[Finding]:
    """The findings as the tree is walked; those of one branch as they were found."""
    return sorted(findings, key=lambda it: BRANCHES.index(it.check.partition(".")[0]))


def next_step(findings: Sequence[Finding]) -> Finding | None:
    """What is to be mended first, of findings in order.

    What is wrong goes before what is only worse than it could be. Of the first two branches mostly the
    consequences are seen, so a cause further down goes before them.
    """
    for mark in (Mark.WRONG, Mark.WARNING):
        found = [it for it in findings if it.mark is mark and it.advice]
        causes = [it for it in found if it.check.partition(".")[0] not in BRANCHES[:2]]
        if found:
            return (causes or found)[0]
    return None
