"""Which configuration counts, when: the ghosts' view of membership changes (S18 to S21).

Laws: what is committed is counted by the configuration that its leader had in force, both halves while
joint; the configurations of one log share quorums, each with the one before it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from itertools import product

import attrs

from raftkit.core import Raft
from raftkit.membership import Configuration
from raftkit.model import Identity, Index, Kind
from raftkit.snapshot import SnapshotMeta
from raftkit.testing.world.disk import LogImage
from raftkit.testing.world.shadows import Shadow, fail

__all__ = ["Configurations", "agree", "halves_of", "newest_in"]


def halves_of(configuration: Configuration) -> list[list[Identity]]:
    """The voters of each half."""
    members = {member.id: member.identity for member in configuration.members}
    return [[members[voter] for voter in half] for half in configuration.halves]


def agree(configuration: Configuration, said: Callable[[Identity], bool], least: int = 0) -> bool:
    """Whether a majority of each half, and `least` of it where that is more, said so."""
    return all(
        sum(map(said, half)) >= max(len(half) // 2 + 1, min(least, len(half)))
        for half in halves_of(configuration)
    )


def newest_in(log: LogImage, snapshot: SnapshotMeta | None) -> tuple[Index, Configuration]:
    """The configuration of a server with this log and snapshot, and where it stands."""
    for run in reversed(log.runs):
        if run.kinds is not None and Kind.CONFIGURATION in run.kinds:
            place = len(run.kinds) - 1 - run.kinds[::-1].index(Kind.CONFIGURATION)
            found = Index(run.first + place)
            if snapshot is not None and found < snapshot.configuration_index:
                break
            return found, Configuration.decode(run.payloads[place])
    assert snapshot is not None, "there is a configuration in every log"
    return snapshot.configuration_index, snapshot.configuration


@attrs.define
class Configurations:
    """Those that are committed, in the order of the log, and laws for those that are not."""

    indexes: list[Index]
    "Where they stand."
    committed: list[Configuration]
    "What they are."

    @property
    def newest(self) -> Configuration:
        """The last one committed anywhere."""
        return self.committed[-1]

    def grow(self, index: Index, payload: bytes) -> None:
        """A configuration entry is committed."""
        self.indexes.append(index)
        self.committed.append(Configuration.decode(payload))

    def at(self, index: Index) -> tuple[Index, Configuration]:
        """The one that was in force for who held no more than the committed log up to `index`."""
        place = bisect_right(self.indexes, index) - 1
        return self.indexes[place], self.committed[place]

    def in_force(self, shadow: Shadow, raft: Raft) -> None:
        """S19: the newest in the log, or of the snapshot before it."""
        expected = newest_in(shadow.issued, raft.state.snapshot)
        if (raft.configuration_index, raft.configuration) != expected:
            fail(
                "S19 ConfigInForce",
                f"{shadow.identity} uses that at {raft.configuration_index}, not {expected}",
            )

    def made(self, shadow: Shadow, raft: Raft, index: Index, payload: bytes, first: Index) -> None:
        """A leader, whose term began at `first`, makes a configuration entry (S18, S20)."""
        _, before = newest_in(shadow.issued, raft.state.snapshot)
        after = Configuration.decode(payload)
        if before.halves == after.halves and before.members == after.members:
            return  # settings move no quorum
        if raft.commit_index < first:
            fail("S20 ConfigBarrier", f"{shadow.identity} changes {index}, committed nothing yet")
        above = [it for it, _ in raft.state.configurations if raft.commit_index < it < index]
        if above:
            fail("S18 ConfigOneAtATime", f"{shadow.identity} changes {index}, {above} uncommitted")
        if not _share(before, after):
            fail("S18 ConfigOverlap", f"{shadow.identity}: {before.halves} → {after.halves}")

    def campaigns(self, shadow: Shadow, raft: Raft) -> None:
        """S21: who seeks election is a voter, as far as it can know."""
        _, known = self.at(shadow.commit_index)
        after = [it for index, it in raft.state.configurations if index > shadow.commit_index]
        me = shadow.identity
        if not any(me in half for it in (known, *after) for half in halves_of(it)):
            fail("S21 NonVoterPassive", f"{me} campaigns, but has no vote in {known}")


def _share(before: Configuration, after: Configuration) -> bool:
    """Whether any quorum of the one has a server of any quorum of the other."""
    return any(
        len(a) // 2 + 1 + len(b) // 2 + 1 > len({*a, *b})
        for a, b in product(halves_of(before), halves_of(after))
    )
