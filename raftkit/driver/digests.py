"""What members said their states were, and who is wrong where they differ (F17, J4).

Laws: a state is right if a majority of all voters has it, of each half while joint, and two nodes at
least, so that whoever is wrong is one of three. Where there is no such majority nobody is called wrong.
Only members are heard, only digests of one format and version are compared, and a learner is judged
without being counted.
"""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from raftkit.core.quorum import won
from raftkit.driver_messages import DIGESTS_MAX, StateDigest
from raftkit.membership import Configuration
from raftkit.model import Identity, Index, NodeId

__all__ = ["RIGHT_MIN", "Digests", "Verdict"]

RIGHT_MIN = 2
"Nodes with an equal state: of two that differ nobody can tell which is wrong, whoever of them has the votes."


@attrs.frozen(kw_only=True)
class Verdict:
    """What follows from the digests at one index, as far as they are known."""

    index: Index
    right: dict[NodeId, StateDigest]
    "Who has what a majority has, by name, and what they said; empty where that can't be told."
    wrong: tuple[NodeId, ...]
    "Those of the others that can be compared with them, sorted."
    differ: tuple[NodeId, ...]
    "Where nobody can be called right: those whose digests differ, sorted."
    final: bool
    "Whether every member has said what its state was."


@attrs.define(eq=False)
class Digests:
    """The newest digests of every member, this node included."""

    _told: dict[Identity, dict[Index, StateDigest]] = attrs.field(
        init=False, factory=dict[Identity, dict[Index, StateDigest]]
    )
    "At most `DIGESTS_MAX` of each: a message replaces what its sender said before."

    def note(self, who: Identity, said: Sequence[StateDigest]) -> None:
        """Somebody said what its newest states were."""
        assert len(said) <= DIGESTS_MAX
        self._told[who] = {it.index: it for it in said}

    def keep(self, configuration: Configuration) -> None:
        """Forget whoever is no member."""
        self._told = {who: said for who, said in self._told.items() if configuration.knows(who)}

    def indexes(self) -> list[Index]:
        """Where somebody said what its state was, sorted."""
        return sorted({index for said in self._told.values() for index in said})

    def holders(self, index: Index, size: int) -> list[NodeId]:
        """Who said that it has a snapshot of so many bytes there, sorted."""
        return sorted(
            who.id for who, said in self._told.items() if index in said and said[index].size == size
        )

    def judge(self, index: Index, configuration: Configuration) -> Verdict:
        """Who is right and who is wrong at `index`."""
        said = {
            member.id: self._told[member.identity][index]
            for member in configuration.members
            if index in self._told.get(member.identity, ())
        }
        right: dict[NodeId, StateDigest] = {}
        wrong: list[NodeId] = []
        differ: list[NodeId] = []
        for alike in _comparable(said):
            states = _equal(alike)
            best = next((it for it in states if won(configuration, it)), None)
            if best is not None and len(best) >= RIGHT_MIN:
                right, wrong = best, [name for name in alike if name not in best]
            elif len(states) > 1:
                differ += alike
        return Verdict(
            index=index,
            right=right,
            wrong=tuple(sorted(wrong)),
            differ=tuple(sorted(differ)),
            final=len(said) == len(configuration.members),
        )


def _comparable(said: dict[NodeId, StateDigest]) -> list[dict[NodeId, StateDigest]]:
    """What was said, by format and version."""
    found: dict[tuple[int, int], dict[NodeId, StateDigest]] = {}
    for name, it in said.items():
        found.setdefault((it.format, it.version), {})[name] = it
    return list(found.values())


def _equal(said: dict[NodeId, StateDigest]) -> list[dict[NodeId, StateDigest]]:
    """What was said, by digest."""
    found: dict[bytes, dict[NodeId, StateDigest]] = {}
    for name, it in said.items():
        found.setdefault(it.digest, {})[name] = it
    return list(found.values())
