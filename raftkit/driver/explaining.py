"""A node in numbers and in words: why there is no leader, why nothing commits, who lags.

Laws: nothing here changes or waits. Words name what to look at: a member, an address, an index.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from raftkit.core import PeerStatus, Raft
from raftkit.model import Index, NodeId, Term

if TYPE_CHECKING:
    from raftkit.driver.server import Server

__all__ = ["Statistics", "explain", "statistics", "status"]

LAG_ENTRIES = 1000
"A follower further behind than this is said to lag."


@attrs.frozen(kw_only=True)
class Statistics:
    """A node at one moment."""

    id: NodeId
    "Its name."
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
    snapshot_index: Index
    "Last index of its newest snapshot, its own or a leader's; 0 without one."
    open_calls: int
    "Commands whose outcome is not known here, whether or not somebody waits."
    open_reads: int
    "Linearizable reads that wait for an index."
    pending_bytes: int
    "Payloads of commands that wait to be sent to a leader."
    peers: tuple[PeerStatus, ...]
    "What a leader knows of the others; empty at any other node."


def status(server: Server) -> str:
    """One word, or two: closed, barred, stopped applying, unborn, or the role."""
    if server.closed is not None:
        return "closed"
    if server.barred is not None:
        return "barred"
    if server.applying.stopped is not None:
        return "stopped applying"
    return "unborn" if server.raft is None else server.raft.role


def statistics(server: Server) -> Statistics:
    """The numbers of this moment."""
    raft = server.raft
    return Statistics(
        id=server.plan.id,
        status=status(server),
        term=raft.term if raft else Term(0),
        leader=raft.leader if raft else None,
        commit_index=raft.commit_index if raft else Index(0),
        applied_index=server.applying.applied,
        last_index=raft.last_index if raft else Index(0),
        durable_index=raft.durable_index if raft else Index(0),
        snapshot_index=server.snapshotting.index,
        open_calls=len(server.waiters),
        open_reads=len(server.reading),
        pending_bytes=server.forwarding.pending_bytes,
        peers=raft.peers() if raft else (),
    )


def explain(server: Server) -> str:
    """What stands in the way, or that nothing does."""
    raft = server.raft
    if server.closed is not None:
        return f"closed: {server.closed}"
    if raft is None:
        return _founding(server)
    words: list[str] = []
    if server.barred is not None:
        words.append(f"neither votes nor acknowledges: {server.barred}")
    if server.applying.stopped is not None:
        words.append(server.applying.stopped)
    if raft.leader is None:
        words.append(f"no leader in term {raft.term}: {_reach(server, raft)}")
    words += _log(server, raft)
    return "; ".join(words) or f"all is well: {raft.role} in term {raft.term}, leader {raft.leader}"


def _founding(server: Server) -> str:
    """Why an unborn node waits."""
    missing = server.founding.missing(server.links.greeting)
    count = len(server.plan.members)
    if not missing:
        return f"all {count} are here: waiting for {min(server.plan.members)} to found"
    return f"waiting to found: {count - len(missing)} of {count} here; {'; '.join(missing)}"


def _reach(server: Server, raft: Raft) -> str:
    """Which voters can be reached, and whether that suffices."""
    voters = raft.configuration.voters
    away = [
        f"{peer.id} {peer.address} {peer.why}"
        for peer in server.links.greeting.peers.values()
        if peer.id in voters and peer.why
    ]
    here, most = len(voters) - len(away), len(voters) // 2 + 1
    if here < most:
        return f"{here} of {len(voters)} voters here, {most} needed; {'; '.join(away)}"
    return f"an election is under way among {here} of {len(voters)} voters"


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
