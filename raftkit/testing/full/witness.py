"""What is seen of all servers of a full-stack world together: leaders, and snapshots at equal indexes.

Law: it only listens.
"""

from __future__ import annotations

import attrs

from raftkit.driver import StateDiverged, VersionRaised
from raftkit.messages import LeaderElected
from raftkit.model import Index, NodeId, Term
from raftkit.snapshot import SnapshotMeta
from raftkit.testing.full.stage import Story
from raftkit.testing.world.shadows import fail

__all__ = ["Witness"]


@attrs.define(eq=False)
class Witness:
    """Hears the events of every server."""

    story: Story
    planted: bool = False
    "Whether a machine is wrong on purpose: then states may differ, and it must be found."
    stays: bool = True
    "Whether the group is never changed."
    leaders: dict[Term, NodeId] = attrs.field(init=False, factory=dict[Term, NodeId])
    "Who led each term that had a leader."
    snapshots: dict[Index, tuple[SnapshotMeta, NodeId]] = attrs.field(
        init=False, factory=dict[Index, tuple[SnapshotMeta, NodeId]]
    )
    "The first snapshot that anyone took at an index, and who."
    taken: int = attrs.field(init=False, default=0)
    "Snapshots of nodes' own machines."
    compared: int = attrs.field(init=False, default=0)
    "Of these, such as another node had taken at the same index."
    found: int = attrs.field(init=False, default=0)
    "How often a node said that another, or itself, is wrong."
    healed: int = attrs.field(init=False, default=0)
    "Wrong states that were replaced."
    version: int = attrs.field(init=False, default=1)
    "Of the machine: the newest that was in force anywhere."
    codes: dict[NodeId, int] = attrs.field(init=False, factory=dict[NodeId, int])
    "The newest version that each server's code has, in this life or the last."
    went_back: bool = attrs.field(init=False, default=False)
    "Whether some server got older code again."
    installed: int = attrs.field(init=False, default=0)
    "Snapshots that a leader sent."

    def diverged(self, who: NodeId, event: StateDiverged) -> None:
        """S23: nobody's state is found to differ, unless a machine is wrong on purpose."""
        self.found += event.decided
        self.story.tell(f"{who} finds that {event.members} differ at {event.index}")
        if not self.planted:
            fail("S23 StatesEqual", f"{who} says {event}")

    def began(self, who: NodeId, newest: int) -> None:
        """A life begins, with code that has so new a version of the machine."""
        self.went_back |= newest < self.codes.get(who, 1)
        self.codes[who] = newest

    def raised(self, who: NodeId, event: VersionRaised) -> None:
        """U1: a version comes in force once all voters' code has it; some may go back or come meanwhile."""
        self.story.tell(f"{who} has version {event.version} of the machine in force")
        self.version = max(self.version, event.version)
        behind = [name for name, newest in self.codes.items() if newest < event.version]
        if behind and self.stays and not self.went_back:
            fail(
                "U1 AllHaveIt", f"version {event.version} is in force, and {behind} can't apply it"
            )

    def elected(self, who: NodeId, event: LeaderElected) -> None:
        """S1: a term has one leader, whoever says so."""
        known = self.leaders.setdefault(event.term, event.leader)
        if known == event.leader == who:
            self.story.tell(f"{who} leads term {event.term}")
        if known != event.leader:
            fail(
                "S1 OneLeader",
                f"{who} takes {event.leader} for the leader of {event.term}, not {known}",
            )

    def took(self, who: NodeId, snapshot: SnapshotMeta) -> None:
        """S23: snapshots at one index are the same, byte for byte, but for a collision of checksums."""
        self.taken += 1
        known, other = self.snapshots.setdefault(snapshot.index, (snapshot, who))
        self.story.tell(f"{who} takes a snapshot at {snapshot.index}, {snapshot.size} bytes")
        self.compared += other != who
        if known != snapshot and not self.planted:
            fail("S23 SnapshotsEqual", f"{who} took {snapshot}, but {other} {known}")
