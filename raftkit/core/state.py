"""The state of one server (paper Figure 2), its roles (Figure 3.3), and the moves between them.

Laws: role data exists only while the role does. A role changes only in `become`, along TRANSITIONS. The
term changes only in `adopt_term` and `campaign`. Nothing here decides *when*: handlers and rules do.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterable

import attrs

from raftkit.changes import MembershipUnknown
from raftkit.config import Config
from raftkit.core import quorum
from raftkit.core.durability import Durability
from raftkit.core.log import Log
from raftkit.core.outbox import Outbox
from raftkit.core.progress import CatchingUp, Progress, Snapshotting
from raftkit.leadership import SteppedDown
from raftkit.membership import Configuration
from raftkit.messages import (
    ConfigurationChanged,
    LeaderElected,
    LeaderLost,
    PeerMisbehaved,
    Refusal,
    Refused,
    RoleChanged,
)
from raftkit.model import Identity, Index, Kind, NodeId, Run, Term
from raftkit.snapshot import SnapshotMeta

__all__ = [
    "TRANSITIONS",
    "Candidate",
    "Departure",
    "Follower",
    "Leader",
    "PendingRead",
    "PreCandidate",
    "Reception",
    "Role",
    "Round",
    "State",
    "Transfer",
]

# ── roles ────────────────────────────────────────────────────────────────────────────────────────────


@attrs.define(kw_only=True)
class Follower:
    """Follows the leader of its term, if it knows one; also what learners are."""

    leader: Identity | None = None
    "The leader of `current_term`, once heard."
    acknowledged: Index = Index(0)
    "The last index acknowledged to this leader."
    owes_acknowledgement: bool = False
    "Entries arrived that have not been acknowledged up to `verified_index`."
    owes_round: int | None = None
    "This round of heartbeats was not answered yet."
    reads: dict[int, int] = attrs.field(factory=dict[int, int])
    "Ticket of each read asked of the leader, and the tick when it was asked last."
    told_to_campaign: bool = False
    "This leader wants this server to succeed it (§3.10)."


@attrs.define(kw_only=True)
class PreCandidate:
    """Asks whether it could win, before it disturbs anybody (§9.6)."""

    granted: set[NodeId] = attrs.field(factory=set[NodeId])
    "Who would vote for it in the next term, itself included."


@attrs.define(kw_only=True)
class Candidate:
    """Campaigns in `current_term` (§3.4)."""

    granted: set[NodeId] = attrs.field(factory=set[NodeId])
    "Whose votes arrived. Its own counts when it is durable."


@attrs.define(kw_only=True)
class PendingRead:
    """A read that a leader has not confirmed."""

    round: int
    "The first round sent after the read arrived: a quorum's answer to it, or a later one, confirms."
    index: Index
    "See `Round`."


@attrs.frozen(kw_only=True)
class Round:
    """A round of heartbeats that was sent."""

    number: int
    "Rounds of a leadership are counted from 1."
    sent_ns: int
    "Monotonic clock before it was sent."
    index: Index
    "Everything committed by then, under any leader, lies at or below this (§6.4)."


ROUNDS_MAX = 64
"So many rounds are remembered. One that is forgotten before it was answered is as good as unanswered."


@attrs.define(kw_only=True)
class Transfer:
    """Leadership is being handed over (§3.10): no proposals are taken."""

    ticket: int | None
    "Of who asked for it. None: nobody did, but this server's disk stands still."
    target: NodeId | None
    "To whom. None: whoever holds the whole log first, and of several whoever was heard last."
    insists: bool
    "At the deadline this server leads no more, whoever does. Otherwise it goes on."
    deadline: int
    "The tick at which it is abandoned."
    told_at: int | None = None
    "The tick at which TimeoutNow was last sent; None: not yet."
    tried: dict[NodeId, int] = attrs.field(factory=dict[NodeId, int])
    "Whom this leader chose by itself and told, and the tick at which it did so first."


@attrs.define(kw_only=True)
class Departure:
    """A peer that is no member any more, and is fed until it knows that."""

    index: Index
    "The entry that removes it."
    farewell: int | None = None
    "The first round of heartbeats whose answer shows that it knows of the commit; None: not known yet."


@attrs.define(kw_only=True)
class Leader:
    """Leads `current_term`."""

    first_index: Index
    "Its no-op. Once this commits, its commit index is known to be everyone's (§6.4)."
    progress: dict[NodeId, Progress]
    "One for each other member, and for those that depart, in the order of ids."
    departing: dict[NodeId, Departure] = attrs.field(factory=dict[NodeId, Departure])
    "Peers that are removed and not let go yet."
    changes: list[int] = attrs.field(factory=list[int])
    "Tickets of changes whose entry is in the log, and what they lead to not known committed."
    round: int = 0
    "The last round of heartbeats sent."
    rounds: deque[Round] = attrs.field(factory=lambda: deque[Round](maxlen=ROUNDS_MAX))
    "The newest of those, in order."
    heartbeat_due: int
    "The tick of the next round."
    stamped_at: tuple[int, int]
    "(wall_ns, monotonic_ns) at its last stamp, or when it took office."
    clocks: dict[NodeId, int] = attrs.field(factory=dict[NodeId, int])
    "What each peer's wall clock read when it was heard last, minus the monotonic clock here then."
    correction_ns: int | None = None
    "Added to its wall clock for stamps. None: not judged yet, so time goes on by the monotonic clock."
    reads_waiting: dict[tuple[NodeId, int], None] = attrs.field(
        factory=dict[tuple[NodeId, int], None]
    )
    "Asking node and ticket of reads that wait for the next round, in the order of arrival."
    reads: dict[tuple[NodeId, int], PendingRead] = attrs.field(
        factory=dict[tuple[NodeId, int], PendingRead]
    )
    "Those that wait for an answer to theirs, in the order of rounds."
    reads_by_lease: list[int] = attrs.field(factory=list[int])
    "Tickets of reads of this server that its lease may confirm, until the end of the step."
    uncommitted: deque[tuple[Index, int]] = attrs.field(factory=deque[tuple[Index, int]])
    "Last index and payload bytes of each uncommitted proposal, in order."
    uncommitted_bytes: int = 0
    "Sum of those bytes."
    fetching: set[Index] = attrs.field(factory=set[Index])
    "Storage was asked for entries from these on."
    fetched: dict[Index, tuple[Run, ...]] = attrs.field(factory=dict[Index, tuple[Run, ...]])
    "What it answered, until the end of the step."
    chunk_due_us: int = 0
    "Microseconds since the start, in ticks' time, until which the rate of chunks is used up."
    transfer: Transfer | None = None
    "To whom it is handing over, if it is."
    timeout_now_sent: bool = False
    "In this term somebody may win an election though voters have heard this leader: no lease holds."

    def next_round(self, commit_index: Index, monotonic_ns: int) -> None:
        """A round of heartbeats leaves now; every read that waits joins it."""
        self.round += 1
        # Everything of earlier terms lies below the no-op, everything of this one below the commit index.
        index = max(commit_index, self.first_index)
        self.rounds.append(Round(number=self.round, sent_ns=monotonic_ns, index=index))
        for read in self.reads_waiting:
            self.reads[read] = PendingRead(round=self.round, index=index)
        self.reads_waiting.clear()

    def sent_before(self, number: int, index: Index | None = None) -> Round | None:
        """The newest round up to `number`, and with no higher `index`, that is remembered."""
        return next(
            (
                it
                for it in reversed(self.rounds)
                if it.number <= number and (index is None or it.index <= index)
            ),
            None,
        )


Role = Follower | PreCandidate | Candidate | Leader

TRANSITIONS: frozenset[tuple[type[Role], type[Role]]] = frozenset(
    {
        (Follower, Follower),  # a later term, another leader, silence
        (Follower, PreCandidate),  # timed out
        (Follower, Candidate),  # its leader told it to campaign at once
        (PreCandidate, PreCandidate),  # timed out again
        (PreCandidate, Candidate),  # a quorum would vote for it
        (PreCandidate, Follower),  # heard a leader, a later term, voted, or its disk stands still
        (Candidate, Leader),  # a quorum voted for it
        (Candidate, PreCandidate),  # timed out: ask again before the next term
        (Candidate, Follower),  # heard the winner, or a later term
        (
            Leader,
            Follower,
        ),  # a later term, no majority answers, unfit, removed, stalled, or asked to
    }
)
"Figure 3.3, with pre-vote between follower and candidate."


WAIT_TIMEOUTS = 20
"Election timeouts for which the log is kept for a follower that is silent amid a snapshot."


# ── state ────────────────────────────────────────────────────────────────────────────────────────────


@attrs.define(kw_only=True)
class Reception:
    """A snapshot that is being received, of whichever leaders offer this very one."""

    snapshot: SnapshotMeta
    "Which one."
    offset: int = 0
    "Bytes received without a gap."
    checksum: int = 0
    "CRC-32 of those bytes."
    write: int = 0
    "Sequence of the write that holds the last of them; answered when it is durable. 0: nothing to answer."
    sought: int | None = None
    "The bytes from here on are sought at other servers than the leader; None: none are."
    found: bool = False
    "What was sought last was there."
    others: Identity | None = None
    "Who of them gave some of it, last."
    leader_only: bool = False
    "Some of them gave what was wrong in the end: nothing is sought."


@attrs.define(kw_only=True)
class State:
    """Everything a server knows. [persistent] fields survive a crash, the others are made anew."""

    config: Config
    "Local settings."
    rng: random.Random
    "The only source of chance: election timeouts."

    current_term: Term
    "[persistent] The latest term seen. Never decreases."
    voted_for: Identity | None
    "[persistent] Whom it voted for in `current_term`. Set at most once a term."
    log: Log
    "[persistent]"
    snapshot: SnapshotMeta | None
    "[persistent] The newest snapshot. At or after `log.base_index`."
    configurations: list[tuple[Index, Configuration]]
    "[persistent] Of the snapshot and of the log after it, with their indexes. The last is in force (§4.1)."

    durability: Durability
    "What of the persistent state is on disk."
    commit_index: Index
    "Highest index known committed. Never decreases. At most `log.last_index`."
    verified_index: Index
    "Followers: highest index proven equal to the log of this term's leader. At least `commit_index`."
    applying_index: Index
    "Highest index given out to be applied. At most min(commit_index, durable index)."
    applied_index: Index
    "Highest index reported applied. At most `applying_index`."
    applying: deque[tuple[Index, int]] = attrs.field(factory=deque[tuple[Index, int]])
    "Last index and bytes of what is given out and not reported applied."
    applying_bytes: int = 0
    "Sum of those bytes."

    role: Role
    "Follower, PreCandidate, Candidate or Leader."
    now: int = 0
    "Ticks since the start."
    wall_ns: int = 0
    "Wall clock of the last tick."
    monotonic_ns: int = 0
    "Monotonic clock of the last tick."
    heard_leader_at: int | None = None
    "Tick at which a leader was last heard, or an election stood: others' campaigns wait (§4.2.3)."
    election_deadline: int
    "Campaign at this tick, or once more, unless a leader is heard before."
    barred: str | None = None
    "Why this node may not vote, campaign or acknowledge; None if it may."
    confirmed: Round | None = None
    "The last round that a quorum had answered when this server last led; None if it never did."
    unfit: str | None = None
    "Why this node may vote and acknowledge, but not campaign or lead; None if it may."
    priorities: dict[NodeId, int] = attrs.field(factory=dict[NodeId, int])
    "With which the other members campaign, as far as they said so; 0 of the rest."
    reception: Reception | None = None
    "The snapshot being received, if any."
    installing: tuple[int, SnapshotMeta] | None = None
    "A received snapshot that replaced the log, and the write that makes it durable."
    out: Outbox = attrs.field(factory=Outbox)
    "What the step in progress obliges the driver to do."

    # ── who ──

    @property
    def identity(self) -> Identity:
        """This server's name and incarnation."""
        return self.config.identity

    @property
    def configuration(self) -> Configuration:
        """The configuration in force: the newest in the log, committed or not (§4.1)."""
        return self.configurations[-1][1]

    @property
    def possible_configurations(self) -> tuple[Configuration, ...]:
        """The newest that is known committed and what was appended after it: one of them will stay."""
        found = self.configurations
        settled = [place for place, (index, _) in enumerate(found) if index <= self.commit_index]
        return tuple(it for _, it in found[max(settled, default=0) :])

    @property
    def leader(self) -> NodeId | None:
        """The leader of this term, as far as known."""
        match self.role:
            case Leader():
                return self.identity.id
            case Follower(leader=Identity() as leader):
                return leader.id
            case _:
                return None

    @property
    def others(self) -> tuple[NodeId, ...]:
        """All other members, in the order of their ids."""
        me = self.identity.id
        return tuple([m.id for m in self.configuration.members if m.id != me])

    @property
    def other_voters(self) -> tuple[NodeId, ...]:
        """All other voters, of either half, in the order of their ids."""
        voters = {*self.configuration.voters, *self.configuration.outgoing}
        return tuple(sorted(voters - {self.identity.id}))

    @property
    def may_campaign(self) -> bool:
        """Whether this server is a voter in good standing, fit to lead, and its disk at work.

        Of its newest configuration, or of one that this may still fall back to: until a removal is known
        committed, who is removed may hold the only log that can win, and be needed to commit it (§4.2.2).
        """
        return (
            self.barred is None
            and self.unfit is None
            and not self.durability.stalled
            and any(
                it.votes(self.identity.id) and it.knows(self.identity)
                for it in self.possible_configurations
            )
        )

    @property
    def resigns(self) -> bool:
        """Whether this server, if it leads, is about to stop: unfit, or no voter as is committed (§4.2.2)."""
        index, configuration = self.configurations[-1]
        gone = index <= self.commit_index and not configuration.votes(self.identity.id)
        return gone or self.unfit is not None

    def heir(self, leader: Leader, voters: Iterable[NodeId]) -> NodeId | None:
        """Who of `voters` is asked to lead next: it holds the whole log, so can be elected at once.

        Of several the one of the highest priority, and of these the one heard last. (§3.10)
        """
        progress, last = leader.progress, self.log.last_index
        able = [it for it in voters if progress[it].match_index == last]
        return max(
            able, key=lambda it: (self.priorities.get(it, 0), progress[it].heard_at), default=None
        )

    # ── time ──

    @property
    def election_ticks(self) -> tuple[int, int]:
        """Bounds of the election timeout in force, in ticks (§3.4)."""
        low, high = self.configuration.settings.election_timeout_ms
        return self.config.ticks(low), self.config.ticks(high)

    @property
    def _timer_ticks(self) -> tuple[int, int]:
        """Bounds of what the role waits for: a leader's word, or the end of a round of votes."""
        bounds = self.config.vote_timeout_ms
        if bounds is None or not isinstance(self.role, PreCandidate | Candidate):
            return self.election_ticks
        low, high = bounds
        return self.config.ticks(low), self.config.ticks(high)

    def restart_election_timer(self) -> None:
        """Draw a new timeout, so that servers rarely campaign together (§3.4). Low priority waits longer."""
        low, high = self._timer_ticks
        late = -self.config.priority * (high - low)
        self.election_deadline = self.now + late + self.rng.randint(low, high)

    # ── moves ──

    def become(self, role: Role) -> None:
        """Take another role. What the old one still owed is answered."""
        assert (type(self.role), type(role)) in TRANSITIONS
        self._refuse_reads()
        self._end_transfer()
        self._end_changes()
        lost = self.leader
        if isinstance(self.role, Leader):
            self.confirmed = self.role.sent_before(self.confirmed_round())
            # A leader's own log was never proven by another, and its election timer stood still.
            self.verified_index = self.commit_index
            self.restart_election_timer()
        before, self.role = self.role_name, role
        if lost is not None and self.leader is None:
            self.out.events.append(LeaderLost(leader=lost, term=self.current_term))
        changed = RoleChanged(role=self.role_name, before=before, term=self.current_term)
        self.out.events.append(changed)

    def adopt_term(self, term: Term) -> None:
        """§3.3: whoever sees a later term joins it as a follower, with its vote unused."""
        self._enter(term, None)
        self.become(Follower())

    def campaign(self) -> None:
        """§3.4: begin the next term as a candidate, which votes for itself."""
        self._enter(Term(self.current_term + 1), self.identity)
        self.become(Candidate())
        self.restart_election_timer()

    def _enter(self, term: Term, vote: Identity | None) -> None:
        assert term > self.current_term
        self.current_term = term
        self.voted_for = vote
        self.verified_index = self.commit_index  # nothing is proven of this term's leader yet

    def follow(self, leader: Identity) -> bool:
        """A leader of `current_term` spoke. False, and nothing done, if that cannot be (§3.4)."""
        match self.role:
            case Follower(leader=None) | PreCandidate() | Candidate():
                self.become(Follower(leader=leader))
                self.out.events.append(LeaderElected(leader=leader.id, term=self.current_term))
            case Follower(leader=known) if known == leader:
                pass
            case _:
                self.misbehaved(leader, f"claims term {self.current_term}, led by {self.leader}")
                return False
        self.heard_leader_at = self.now
        self.restart_election_timer()
        return True

    def progress_of(self, peer: Identity) -> Progress | None:
        """What is known of `peer`, if this server leads and feeds that very identity."""
        if isinstance(self.role, Leader):
            progress = self.role.progress.get(peer.id)
            if progress is not None and progress.identity == peer:
                return progress
        return None

    def send_snapshot(self, progress: Progress, *, gone: SnapshotMeta | None = None) -> None:
        """Begin to send a follower what another one is getting just now, or else the newest snapshot.

        So all share one file, which stays on disk for as long as the log reaches back to it; not `gone`.
        """
        assert self.snapshot is not None, "what is compacted is in a snapshot"
        shared = [
            it
            for other, it in self.waited_for()
            if isinstance(other.mode, Snapshotting) and it.snapshot != gone
        ]
        newest = CatchingUp(snapshot=self.snapshot, written_bytes=self.log.written_bytes)
        progress.send_snapshot(next(iter(shared), newest), self.now)

    def waited_for(self) -> list[tuple[Progress, CatchingUp]]:
        """Followers of this leader that catch up after a snapshot, and for which the log is kept so far.

        Not for one that is silent, or was away when its snapshot was chosen; nor when as much was written
        meanwhile as the snapshot has bytes: a link that is slower than the writers could not carry the log.
        """
        if not isinstance(self.role, Leader):
            return []
        silent = self.now - WAIT_TIMEOUTS * self.election_ticks[1]
        least = self.config.compaction_wait_bytes
        return [
            (progress, it)
            for progress in self.role.progress.values()
            if (it := progress.catching_up) is not None
            and progress.was_heard(silent)
            and progress.needs_after >= self.log.base_index
            and self.log.written_bytes - it.written_bytes <= max(least, it.snapshot.size)
        ]

    def misbehaved(self, peer: Identity, what: str) -> None:
        """`peer` sent what a correct server can't have sent; it is dropped, and told to people."""
        self.out.events.append(PeerMisbehaved(peer=peer, what=what))

    def confirmed_round(self, match_index: Index = Index(0)) -> int:
        """The highest round of heartbeats that a quorum has answered. Only of a leader.

        Counts only voters that are known to hold the log up to `match_index`.
        """
        assert isinstance(self.role, Leader)
        progress, last, me = self.role.progress, self.role.round, self.identity.id

        def answered(voter: NodeId) -> int:
            if voter == me:
                return last
            it = progress[voter]
            return it.round if it.match_index >= match_index else 0

        return quorum.confirmed(self.configuration, answered)

    def advance_commit_to(self, index: Index) -> None:
        """Entries up to `index` are known committed. Lower ones change nothing."""
        assert index <= self.log.last_index
        self.commit_index = max(self.commit_index, index)

    # ── log ──

    def append(self, run: Run) -> None:
        """Append to the log; a configuration in it is in force from here on (§4.1)."""
        self.log.append(run)
        if run.kinds is None or Kind.CONFIGURATION not in run.kinds:
            return
        for entry in run:
            if entry.kind is Kind.CONFIGURATION:
                self.configurations.append((entry.index, Configuration.decode(entry.payload)))
                self._announce_configuration()

    def truncate(self, first: Index) -> None:
        """Remove `first` and what follows; the configuration before them is in force again (§4.1)."""
        assert first > self.commit_index, "State Machine Safety: committed entries stay"
        assert not isinstance(self.role, Leader), "Leader Append-Only"
        self.log.truncate(first)
        self.durability.truncate(first)
        self.verified_index = min(self.verified_index, Index(first - 1))
        if self.configurations[-1][0] >= first:
            while self.configurations[-1][0] >= first:
                self.configurations.pop()
            self._announce_configuration()

    def reset_log(self, snapshot: SnapshotMeta) -> None:
        """A received snapshot takes the place of the whole log (§5.3)."""
        assert snapshot.index > self.commit_index
        # What was durable up to the old commit index is part of the snapshot; the rest is void.
        self.durability.disclaim(Index(self.commit_index + 1))
        self.durability.issued_index = snapshot.index
        self.durability.truncated_from = None
        self.log.reset(snapshot.index, snapshot.term, snapshot.time_ns, snapshot.elapsed_ns)
        self.snapshot = snapshot
        self.configurations = [(snapshot.configuration_index, snapshot.configuration)]
        self.commit_index = self.verified_index = self.applying_index = snapshot.index
        self.applying.clear()
        self.applying_bytes = 0
        self._announce_configuration()

    # ── words ──

    @property
    def role_name(self) -> str:
        """follower, learner, pre-candidate, candidate or leader."""
        match self.role:
            case Follower():
                member = self.configuration.member(self.identity.id)
                learns = member is not None and member.role.learns
                return "learner" if learns else "follower"
            case PreCandidate():
                return "pre-candidate"
            case Candidate():
                return "candidate"
            case _:
                return "leader"

    def _announce_configuration(self) -> None:
        index, configuration = self.configurations[-1]
        self.out.events.append(ConfigurationChanged(index=index, configuration=configuration))

    def _end_transfer(self) -> None:
        """Who asked this leader to make room hears that it has."""
        match self.role:
            case Leader(transfer=Transfer(ticket=int() as ticket)):
                self.out.answers.append(SteppedDown(ticket=ticket, term=self.current_term))
            case _:
                pass

    def _end_changes(self) -> None:
        """Who asked this leader for a change can't be told what becomes of it."""
        if isinstance(self.role, Leader):
            for ticket in self.role.changes:
                self.out.answers.append(MembershipUnknown(ticket=ticket))

    def _refuse_reads(self) -> None:
        """Reads of this server that can't be confirmed any more are refused; others' find out by the term."""
        match self.role:
            case Follower():
                tickets = list(self.role.reads)
            case Leader():
                asked = [*self.role.reads_waiting, *self.role.reads]
                tickets = [ticket for node, ticket in asked if node == self.identity.id]
                tickets += self.role.reads_by_lease
            case _:
                tickets = []
        for ticket in tickets:
            self.out.answers.append(Refused(ticket=ticket, reason=Refusal.LEADER_LOST, leader=None))
