"""What a group does to a machine, without the group: one agreed log, and members that follow it unevenly.

A member applies entries later than others and several at once, crashes and begins again from its own snapshot
and the log, or is sent the snapshot of another. Elections, disks and networks are not played: how the log
comes about is raftkit's own affair, and tested by it.

Law: members that applied the same entries have the same digest, however they came there.
"""

from __future__ import annotations

from typing import Any

import attrs

from raftkit.driver.replica import Outcome, Replica
from raftkit.driver.sessions import NONCE_BIT, VERSION_BYTES, pack_header
from raftkit.errors import StateMachineFailed, StateUnwritable
from raftkit.model import Index, Kind, NodeId, Run, Term
from raftkit.testing.machines.copy import EPOCH_NS, Factory, overheard
from raftkit.testing.machines.story import DefectFound

__all__ = ["Group", "Member"]

_CHECK = "Group"


@attrs.define(eq=False)
class Member:
    """One member's machine, and what a crash leaves."""

    replica: Replica[Any]
    snapshot: bytes | None = None
    "The newest one that it took, or was sent."


class Group:
    """Members a, b, c, … of which one leads: it applies each entry at once, and answers.

    The newest version of the machine is in force.
    """

    def __init__(self, factory: Factory, size: int = 3) -> None:
        self.members = {
            chr(ord("a") + place): Member(Replica(factory, paranoid=True)) for place in range(size)
        }
        self.leader: NodeId = "a"
        self.term = Term(1)
        self.elapsed_ns = 0
        self.log: list[Run] = []
        "One entry each."
        self._factory = factory
        self._digests: dict[int, bytes] = {}
        "By index; of whoever applied the entry first."
        newest = self.members["a"].replica.newest_version
        if newest > 1:
            header = pack_header(NONCE_BIT, 1, 0)
            self._append(Kind.VERSION, header + newest.to_bytes(VERSION_BYTES, "big"))
            self.follow("a")

    def execute(self, command: Any) -> bytes:
        """The leader's reply, as `raftkit.driver.replies` has it. Raises DefectFound, LocalProtocolError."""
        body = self.members[self.leader].replica.encode(command)
        self._append(Kind.COMMAND, pack_header(NONCE_BIT, len(self.log) + 1, 0) + body)
        _, _, reply = self.follow(self.leader)[-1]
        return reply

    def follow(self, name: NodeId, count: int | None = None) -> list[Outcome]:
        """The member applies `count` more entries, by default all. Raises DefectFound."""
        replica = self.members[name].replica
        ahead = self.log[replica.applied :][:count]
        try:
            with overheard():
                outcomes = replica.apply(ahead)
            digest = replica.digest()
        except (StateMachineFailed, StateUnwritable) as error:
            raise DefectFound(_CHECK, f"member {name} can't go on: {error}") from error
        if self._digests.setdefault(replica.applied, digest) != digest:
            fact = (
                f"member {name} has another state at index {replica.applied} than the first to apply it: "
                f"{replica.machine!r:.300}"
            )
            raise DefectFound(_CHECK, fact)
        return outcomes

    def pass_time(self, elapsed_ns: int) -> bool:
        """Time passes; whether the machine wanted a clock entry by then, which the leader has applied."""
        self.elapsed_ns += elapsed_ns
        deadline_ns = self.members[self.leader].replica.next_deadline()
        if deadline_ns is None or deadline_ns > self.elapsed_ns:
            return False
        self._append(Kind.CLOCK, b"")
        self.follow(self.leader)
        return True

    def elect(self, name: NodeId) -> None:
        """Another term: the member catches up and leads, beginning with a no-op."""
        self.term = Term(self.term + 1)
        self.leader = name
        self._append(Kind.NOOP, b"")
        self.follow(name)

    def take_snapshot(self, name: NodeId) -> None:
        """The member keeps its state as of now."""
        member = self.members[name]
        member.snapshot = b"".join(member.replica.snapshot())

    def send_snapshot(self, sender: NodeId, name: NodeId) -> None:
        """A member that lags behind becomes what the newest snapshot of another holds, if there is one."""
        content, member = self.members[sender].snapshot, self.members[name]
        if content is None:
            return
        fresh = self._restored(content)
        if fresh.applied > member.replica.applied:
            self.members[name] = Member(fresh, content)
            self.follow(name, 0)

    def restart(self, name: NodeId) -> None:
        """The member crashes and is back with its newest snapshot; a leader applies the log again."""
        content = self.members[name].snapshot
        fresh = (
            Replica(self._factory, paranoid=True) if content is None else self._restored(content)
        )
        self.members[name] = Member(fresh, content)
        self.follow(name, None if name == self.leader else 0)

    def _restored(self, content: bytes) -> Replica[Any]:
        fresh: Replica[Any] = Replica(self._factory, paranoid=True)
        try:
            fresh.restore([content])
        except StateMachineFailed as error:
            raise DefectFound(_CHECK, f"a snapshot can't be restored: {error}") from error
        return fresh

    def _append(self, kind: Kind, payload: bytes) -> None:
        self.log.append(
            Run(
                first=Index(len(self.log) + 1),
                term=self.term,
                time_ns=EPOCH_NS + self.elapsed_ns,
                elapsed_ns=self.elapsed_ns,
                kinds=None if kind is Kind.COMMAND else (kind,),
                payloads=(payload,),
            )
        )
