"""A node in numbers and in words: why there is no leader, why nothing commits, who lags.

Laws: nothing here changes or waits. Words name what to look at: a member, an address, an index.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import attrs

from raftkit.core import Raft
from raftkit.driver.reachability import MemberStatus, Votes, members_of, votes_of
from raftkit.model import Index, NodeId, Term

if TYPE_CHECKING:
    from raftkit.driver.server import Server

__all__ = ["Statistics", "explain", "statistics", "status"]

LAG_ENTRIES = 1000
"A follower further behind than this is said to lag."


@attrs.frozen(kw_only=True)
class Statistics:
    """All that a node says of itself, at one moment."""

    id: NodeId
    "Its name."
    incarnation: int
    "u64: with the name, its identity."
    cluster: str | None
    "The group's id, 32 hexadecimal digits; None while unborn."
    process: int
    "The operating system's number for the process it runs in."
    status: str
    "See `status`."
    term: Term
    "Its current term; 0 while unborn."
    leader: NodeId | None
    "The leader of that term, as far as known."
    commit_index: Index
    "Highest index known committed."
    applied_index: Index
    "Highest index in its state."
    last_index: Index
    "Highest index in its log."
    durable_index: Index
    "Its log is on its disk up to here."
    stalled_seconds: float | None
    "Its disk stands still, and has been at one write for so long; None: it does not."
    snapshot_index: Index
    "Last index of its newest snapshot, its own or a leader's; 0 without one."
    open_calls: int
    "Commands whose outcome is not known here, whether or not somebody waits."
    open_reads: int
    "Linearizable reads that wait for an index."
    staleness: float | None
    "Its state misses nothing that was decided so many seconds ago; None: it can't say."
    pending_bytes: int
    "Payloads of commands that wait to be sent to a leader."
    configuration_index: Index
    "Where the configuration in force stands in the log; 0 while unborn."
    version: int
    "Version of the machine in force here."
    newest_version: int
    "The newest that this node's code has."
    members: tuple[MemberStatus, ...]
    "By that configuration; while unborn, by the list it was started with. This node is one of them."
    votes: Votes
    "Whether a majority is here."
    explanation: str
    "See `explain`."


def status(server: Server) -> str:
    """One word or two: closed, barred, stopped applying, divergent, removed, unborn, starting, or a role."""
    if server.closed is not None:
        return "closed"
    if server.remembering.barred is not None:
        return "barred"
    if server.applying.stopped is not None:
        return "stopped applying"
    if server.applying.divergence is not None:
        return "divergent"
    if server.departing.is_removed:
        return "removed"
    if server.raft is not None:
        return server.raft.role
    return "unborn" if server.storage.record.founding is None else "starting"


def statistics(server: Server) -> Statistics:
    """The numbers of this moment."""
    raft, record = server.raft, server.storage.record
    return Statistics(
        id=server.plan.id,
        incarnation=record.identity.incarnation,
        cluster=record.founding.scope.cluster.hex() if record.founding else None,
        process=os.getpid(),
        status=status(server),
        term=raft.term if raft else Term(0),
        leader=raft.leader if raft else None,
        commit_index=raft.commit_index if raft else Index(0),
        applied_index=server.applying.applied,
        last_index=raft.last_index if raft else Index(0),
        durable_index=raft.durable_index if raft else Index(0),
        stalled_seconds=server.stalling.stalled_seconds,
        snapshot_index=server.snapshotting.index,
        open_calls=len(server.waiters),
        open_reads=len(server.reading),
        staleness=server.staleness,
        pending_bytes=server.forwarding.pending_bytes,
        configuration_index=raft.configuration_index if raft else Index(0),
        version=server.replica.version,
        newest_version=server.replica.newest_version,
        members=members_of(server),
        votes=votes_of(server),
        explanation=explain(server),
    )


def explain(server: Server) -> str:
    """What stands in the way, or that nothing does."""
    raft = server.raft
    if server.closed is not None:
        return f"closed: {server.closed}"
    if raft is None and server.storage.record.founding is not None:
        return "starting: reading its log"
    if raft is None:
        return _founding(server)
    words: list[str] = []
    if server.departing.is_removed:
        words.append(
            "this node was removed from its group: stop it; to have it back, delete its directory, start it "
            "again and admit it as it then says"
        )
    if server.remembering.barred is not None:
        words.append(f"neither votes nor acknowledges: {server.remembering.barred}")
    if server.applying.stopped is not None:
        words.append(server.applying.stopped)
    if server.applying.divergence is not None:
        words.append(server.applying.divergence)
    words += server.comparing.explain()
    if server.snapshotting.failure is not None:
        words.append(
            f"no snapshot since index {server.snapshotting.index}: {server.snapshotting.failure}"
        )
    if raft.leader is None:
        words.append(f"no leader: {_reach(server, raft)}")
        if server.applying.stopped is not None:
            words.append(
                "this node can't lead; a voter whose code is new enough must, or upgrade one"
            )
    words += [
        *server.stalling.explain(),
        *_away(server),
        *server.presences.explain(),
        *_log(server, raft),
        *server.upgrading.explain(),
    ]
    if raft.leader is None:
        words.append(_age(server))
    return "; ".join(words) or f"all is well: {raft.role} in term {raft.term}, leader {raft.leader}"


def _founding(server: Server) -> str:
    """Why an unborn node waits."""
    greeting, founding = server.links.greeting, server.founding
    missing = founding.missing(greeting)
    if founding.joins or founding.is_refused(greeting):
        return "; ".join([f"waiting to be admitted, {_admission(server)}", *missing])
    count = len(server.plan.members)
    if not missing:
        return f"all {count} are here: waiting for {min(server.plan.members)} to found"
    return f"waiting to found: {count - len(missing)} of {count} here; {'; '.join(missing)}"


def _admission(server: Server) -> str:
    """What has a node taken into a group that does not name it."""
    name, address = server.plan.id, server.plan.members[server.plan.id]
    return (
        f"by its leader: `raftkit admit DIRECTORY {name} {address}`, or "
        f"change_membership(AddLearner(id={name!r}, address={address!r}, promote=True))"
    )


def _age(server: Server) -> str:
    """What a local read is worth meanwhile."""
    staleness = server.staleness
    if staleness is None:
        return "local reads may be of any age"
    return f"local reads may lack the last {staleness:.1f} s"


def _reach(server: Server, raft: Raft) -> str:
    """How many voters can be reached, and whether that suffices; then who can't."""
    votes = votes_of(server)
    if votes.quorate:
        return f"election in term {raft.term} among {votes.here} of {votes.expected} voters"
    return f"{votes.here} of {votes.expected} voters reachable, need {votes.needed}"


def _away(server: Server) -> list[str]:
    """Members that are not here."""
    peers = server.links.greeting.peers.values()
    return [f"{peer.id} {peer.address} {peer.why}" for peer in peers if peer.why]


def _log(server: Server, raft: Raft) -> list[str]:
    """What is stuck between the log, the commit index and the state."""
    words: list[str] = []
    peers = raft.peers()
    if raft.durable_index < raft.last_index:
        words.append(
            f"this disk is at index {raft.durable_index} of {raft.last_index}: writes are under way"
        )
    if raft.commit_index < raft.last_index and raft.role == "leader":
        behind = [
            f"{it.id} at {it.match_index}" for it in peers if it.match_index < raft.last_index
        ]
        words.append(
            f"index {raft.commit_index + 1} is not committed: waiting for a majority"
            + (f"; {', '.join(behind)}" if behind else "")
        )
    words += [
        f"{it.id} lags {raft.last_index - it.match_index} entries behind ({it.mode})"
        for it in peers
        if raft.last_index - it.match_index > LAG_ENTRIES
    ]
    if raft.commit_index - server.applying.applied > LAG_ENTRIES:
        words.append(f"applying is at index {server.applying.applied} of {raft.commit_index}")
    return words
