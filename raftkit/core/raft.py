"""`Raft`: one server as a pure function of its inputs (§3; the paper's Figure 2).

Rule 1: only this module calls a handler. Rule 2: a handler records facts, RULES draw the conclusions.
Rule 3: no clock, no chance of its own, no I/O; the same inputs give the same effects, byte for byte.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from typing import Never, cast

import attrs

from raftkit.changes import ChangeMembership
from raftkit.config import Config
from raftkit.core import (
    contact,
    election,
    invariants,
    reads,
    reconfiguration,
    replication,
    snapshots,
    transfer,
)
from raftkit.core.durability import Durability
from raftkit.core.log import Log
from raftkit.core.stamps import elapsed_at
from raftkit.core.state import (
    Candidate,
    Follower,
    Leader,
    PreCandidate,
    Reception,
    Role,
    State,
)
from raftkit.errors import LocalProtocolError
from raftkit.leadership import StepDown, TransferLeadership
from raftkit.membership import Configuration
from raftkit.messages import (
    AppendAccepted,
    AppendEntries,
    AppendRejected,
    Applied,
    Barred,
    Effects,
    Fetched,
    Fit,
    Heartbeat,
    HeartbeatReply,
    Input,
    Message,
    PeerUnreachable,
    Persisted,
    PersistentState,
    PreVoteReply,
    PreVoteRequest,
    PriorityHeard,
    Propose,
    Read,
    ReadReply,
    ReadRequest,
    Receive,
    SnapshotChunk,
    SnapshotRead,
    SnapshotReply,
    SnapshotTaken,
    StorageStalled,
    Tick,
    TimeoutNow,
    Unfit,
    VoteReply,
    VoteRequest,
    Write,
)
from raftkit.model import Identity, Index, NodeId, Run, Term
from raftkit.snapshot import SnapshotBeginning, SnapshotFound

__all__ = ["HANDLERS", "LOCAL_HANDLERS", "RULES", "PeerStatus", "Raft"]


# ── the tables ───────────────────────────────────────────────────────────────────────────────────────

HANDLERS: dict[type[Message], Callable[[State, Identity, Never], None]] = {
    PreVoteRequest: election.on_pre_vote_request,
    PreVoteReply: election.on_pre_vote_reply,
    VoteRequest: election.on_vote_request,
    VoteReply: election.on_vote_reply,
    AppendEntries: replication.on_append_entries,
    AppendAccepted: replication.on_append_accepted,
    AppendRejected: replication.on_append_rejected,
    Heartbeat: contact.on_heartbeat,
    HeartbeatReply: contact.on_heartbeat_reply,
    ReadRequest: reads.on_read_request,
    ReadReply: reads.on_read_reply,
    SnapshotChunk: snapshots.on_snapshot_chunk,
    SnapshotReply: snapshots.on_snapshot_reply,
    TimeoutNow: transfer.on_timeout_now,
}
"What a message of the current term is for."

RULES: dict[type[Role], tuple[Callable[[State, Never], bool], ...]] = {
    Follower: (
        snapshots.acknowledge,
        reads.ask_again,
        # After the whole batch: what the leader sent with it is still of its term.
        election.campaign_when_told,
    ),
    PreCandidate: (snapshots.acknowledge, election.campaign),
    Candidate: (snapshots.acknowledge, election.take_office),
    Leader: (
        # Before anything is concluded from answers: a leader that woke from a pause has none that count.
        contact.step_down,
        replication.advance_commit,
        # After the commit index has moved: what is committed may be concluded, and whoever leaves be told.
        reconfiguration.conclude,
        reconfiguration.let_go,
        # After the commit index has moved: a read needs the latest, and the no-op's commit.
        reads.confirm_by_lease,
        reads.confirm,
        # After reads were confirmed: the next round takes those that wait.
        contact.beat,
        # Before anything is sent: who is doubted is asked first.
        replication.ask_between_heartbeats,
        # What is sent carries everything concluded above.
        replication.feed_followers,
        snapshots.read_next_chunks,
        # After entries, which carry the commit index to most.
        contact.announce_commit,
        # With all said that a leader has to say: what follows may end its term.
        transfer.make_room,
        transfer.hand_over,
        # Last, so that who can't lead goes even where nobody takes over.
        contact.resign,
    ),
}
"Conclusions of each role, in order, until none changes anything: conditions of Figure 2, not events."

_SETTLE_MAX = 32
"Rounds of RULES after which something is wrong: each strictly advances something bounded."


# ── the server ───────────────────────────────────────────────────────────────────────────────────────


@attrs.frozen(kw_only=True)
class PeerStatus:
    """What a leader knows of one other member."""

    id: NodeId
    "Who."
    match_index: Index
    "Its log is known equal and durable up to here."
    next_index: Index
    "The next entry to send."
    mode: str
    "probing, streaming or snapshotting."
    silent_ticks: int
    "Ticks since it last answered."


class Raft:
    """One server. `step` is its only verb.

    `rng` is the only source of chance; equal inputs, state and seed give equal effects.
    Raises LocalProtocolError if `persistent` holds no configuration: the node is unborn.
    """

    def __init__(self, config: Config, persistent: PersistentState, rng: random.Random) -> None:
        self.state = _start(config, persistent, rng)
        invariants.check(self.state)

    # ── what it knows ──

    @property
    def role(self) -> str:
        """follower, learner, pre-candidate, candidate or leader."""
        return self.state.role_name

    @property
    def term(self) -> Term:
        """current_term."""
        return self.state.current_term

    @property
    def leader(self) -> NodeId | None:
        """The leader of this term, as far as known."""
        return self.state.leader

    @property
    def leads_since(self) -> Index | None:
        """The no-op with which this server began to lead its term; None if it does not lead."""
        leader = self.state.role
        return leader.first_index if isinstance(leader, Leader) else None

    @property
    def commit_index(self) -> Index:
        """Highest index known committed."""
        return self.state.commit_index

    @property
    def last_index(self) -> Index:
        """Highest index in the log."""
        return self.state.log.last_index

    @property
    def last_term(self) -> Term:
        """The term of that entry."""
        return self.state.log.last_term

    @property
    def first_index(self) -> Index:
        """The first entry that the log still has, or will have: what came before is in a snapshot."""
        return Index(self.state.log.base_index + 1)

    @property
    def durable_index(self) -> Index:
        """The log is on this server's disk up to here."""
        return self.state.durability.index

    @property
    def configuration(self) -> Configuration:
        """The configuration in force."""
        return self.state.configuration

    @property
    def possible_configurations(self) -> tuple[Configuration, ...]:
        """The newest that is known committed and what was appended after it: one of them will stay."""
        return self.state.possible_configurations

    @property
    def configuration_index(self) -> Index:
        """Where it stands in the log."""
        return self.state.configurations[-1][0]

    def elapsed_at(self, monotonic_ns: int) -> int | None:
        """The `elapsed_ns` of an entry made when the monotonic clock reads so; None if this doesn't lead."""
        leader = self.state.role
        return elapsed_at(self.state, leader, monotonic_ns) if isinstance(leader, Leader) else None

    def peers(self) -> tuple[PeerStatus, ...]:
        """The other members as this leader sees them; empty at a server that doesn't lead."""
        if not isinstance(self.state.role, Leader):
            return ()
        return tuple(
            PeerStatus(
                id=peer,
                match_index=it.match_index,
                next_index=it.next_index,
                mode=type(it.mode).__name__.lower(),
                silent_ticks=self.state.now - it.heard_at,
            )
            for peer, it in self.state.role.progress.items()
        )

    def confirmed_ns(self, applied_index: Index) -> int | None:
        """A copy at `applied_index` misses nothing that was committed by then, on the monotonic clock.

        The newest such moment that rounds prove, of this leadership or the last; None if none does.
        """
        state, found = self.state, None
        if isinstance(state.role, Leader):
            found = state.role.sent_before(state.confirmed_round(), applied_index)
        if found is None and state.confirmed is not None and state.confirmed.index <= applied_index:
            found = state.confirmed
        return None if found is None else found.sent_ns

    @property
    def ticks_until_next_deadline(self) -> int | None:
        """How long the driver may sleep if nothing arrives; None: for ever. At least 0.

        A leader judges at its heartbeats whether a majority answers, so silence has no deadline of its own.
        """
        state = self.state
        match state.role:
            case Leader() as leader:
                if not leader.progress:
                    return None
                question_due = replication.next_question_due(state, leader)
                due = min(question_due, snapshots.next_chunk_due(state, leader))
                return max(0, due - state.now)
            case Follower(reads=asked) if asked:
                again = min(asked.values()) + state.config.ticks(state.config.retry_ms)
                return max(0, min(state.election_deadline, again) - state.now)
            case _:
                return max(0, state.election_deadline - state.now)

    def can_wait(self, news: Applied | Persisted | Receive) -> bool:
        """Whether nothing would come of `news` by itself: it may be told with whatever is next.

        Nothing comes of what was applied if nothing is left to apply, nor of a leader's own disk as long as
        its followers have nothing more than is committed (§3.6: the leader counts only itself), nor of a
        follower that acknowledges what others committed before.
        """
        state, leader = self.state, self.state.role
        if state.applying_index < min(state.commit_index, state.durability.index):
            return False
        if isinstance(news, Applied):
            return True
        if not isinstance(leader, Leader):
            return False
        if isinstance(news, Receive):
            message = news.message
            return isinstance(message, AppendAccepted) and replication.is_no_news(
                state, leader, news.sender, message
            )
        return (
            state.durability.index >= state.commit_index
            and len(self.configuration.voters) > 1
            and all(it.match_index <= state.commit_index for it in leader.progress.values())
        )

    # ── what it does ──

    def step(self, inputs: Iterable[Input]) -> Effects:
        """Take in a batch, conclude, and say what must be done about it.

        A `Tick`, at most one, comes first. Any batch equals some sequence of single inputs whose answers
        wait for the end. Raises RaftInternalError if a law of the protocol is broken.
        """
        state = self.state
        before = invariants.scalars(state)
        ticked = settled = False
        for position, item in enumerate(inputs):
            if isinstance(item, Tick):
                assert position == 0, "a tick comes first in its batch"
                _on_tick(state, item)
                if item.count:  # else nothing is due now that was not at the end of the last step
                    _settle(state)
                ticked = settled = True
            else:
                self._take(item)
                settled = False
        if ticked and election.time_out(state):
            settled = False
        if not settled:  # or the rules have spoken, and nothing has happened since
            _settle(state)
        effects = _effects(state)
        if state.config.paranoid:
            invariants.check(state)
            invariants.check_step(before, invariants.scalars(state))
        return effects

    def _take(self, item: Input) -> None:
        if isinstance(item, Receive):
            # What comes back to this server, or from an earlier incarnation of it, is nobody's word.
            if item.sender.id == self.state.identity.id:
                return
            if _obeys_terms(self.state, item.sender, item.message):
                handler = HANDLERS[type(item.message)]
                handler(self.state, item.sender, cast("Never", item.message))
        else:
            LOCAL_HANDLERS[type(item)](self.state, cast("Never", item))


def _obeys_terms(state: State, sender: Identity, message: Message) -> bool:
    """§3.3: a later term is joined, an earlier one is answered and ignored. True: of the current term now."""
    match message:
        case PreVoteRequest() | PreVoteReply(granted=True):
            return True  # about a term that nobody is in yet
        case VoteRequest(transfer=False) if message.term > state.current_term and (
            election.sticks_to_leader(state)
        ):
            return False  # §4.2.3: not even the term is taken over
        case _:
            pass
    if message.term > state.current_term:
        state.adopt_term(message.term)
    elif message.term < state.current_term:
        _answer_earlier_term(state, sender, message)
        return False
    return True


def _answer_earlier_term(state: State, sender: Identity, message: Message) -> None:
    """Let a deposed leader or a late candidate learn the current term; late answers need none."""
    match message:
        case VoteRequest():
            state.out.send(VoteReply(term=state.current_term, granted=False), sender.id)
        case AppendEntries() | Heartbeat() | SnapshotChunk() | ReadRequest():
            state.out.send(
                HeartbeatReply(
                    term=state.current_term, round=0, index=Index(0), wall_ns=state.wall_ns
                ),
                sender.id,
            )
        case _:
            pass


# ── inputs that are not messages ─────────────────────────────────────────────────────────────────────


def _on_tick(state: State, tick: Tick) -> None:
    assert tick.count >= 0
    state.now += tick.count
    state.wall_ns = tick.wall_ns
    state.monotonic_ns = tick.monotonic_ns


def _on_persisted(state: State, persisted: Persisted) -> None:
    state.durability.complete(persisted.sequence)


def _on_storage_stalled(state: State, stalled: StorageStalled) -> None:
    state.durability.stall(stalled.sequence)
    if state.durability.stalled and isinstance(state.role, PreCandidate):
        state.become(Follower())


def _on_applied(state: State, applied: Applied) -> None:
    assert applied.index <= state.applying_index
    state.applied_index = max(state.applied_index, applied.index)
    while state.applying and state.applying[0][0] <= applied.index:
        state.applying_bytes -= state.applying.popleft()[1]


def _on_barred(state: State, barred: Barred) -> None:
    state.barred = barred.reason
    if not isinstance(state.role, Follower):
        state.become(Follower())


def _on_unfit(state: State, unfit: Unfit) -> None:
    state.unfit = unfit.reason
    if isinstance(state.role, PreCandidate | Candidate):
        state.become(Follower())


def _on_fit(state: State, fit: Fit) -> None:  # noqa: ARG001 - a handler's form
    state.unfit = None


LOCAL_HANDLERS: dict[type[Input], Callable[[State, Never], None]] = {
    Propose: replication.on_propose,
    Read: reads.on_read,
    ChangeMembership: reconfiguration.on_change_membership,
    Persisted: _on_persisted,
    StorageStalled: _on_storage_stalled,
    Applied: _on_applied,
    Fetched: replication.on_fetched,
    SnapshotRead: snapshots.on_snapshot_read,
    SnapshotFound: snapshots.on_snapshot_found,
    SnapshotTaken: snapshots.on_snapshot_taken,
    PeerUnreachable: contact.on_peer_unreachable,
    PriorityHeard: transfer.on_priority_heard,
    Barred: _on_barred,
    Unfit: _on_unfit,
    TransferLeadership: transfer.on_transfer_leadership,
    StepDown: transfer.on_step_down,
    Fit: _on_fit,
}
"What the driver reports, and what its callers ask."


# ── conclusions and effects ──────────────────────────────────────────────────────────────────────────


def _settle(state: State) -> None:
    """Run RULES until none of them changes anything."""
    rounds = 0
    while _conclude(state):
        rounds += 1
        assert rounds < _SETTLE_MAX, "the rules settle"


def _conclude(state: State) -> bool:
    """One round of the role's rules, ending early where it takes another role. Whether any said yes."""
    role, changed = state.role, False
    rules = cast("tuple[Callable[[State, Role], bool], ...]", RULES[type(role)])
    for rule in rules:
        changed |= rule(state, role)
        if state.role is not role:
            break
    return changed


def _effects(state: State) -> Effects:
    """What this step obliges the driver to do."""
    _acknowledge(state)
    write = _issue(state)
    durable = state.durability.hard_state
    send_now, send_after_persist = state.out.split(
        term_durable=durable[0] == state.current_term,
        vote_durable=durable == (state.current_term, state.voted_for),
    )
    apply = _release(state)
    state.log.evict(state.config.tail_bytes_max, state.applied_index)
    out = state.out
    effects = Effects(
        send_now=send_now,
        persist=write,
        send_after_persist=send_after_persist,
        fetch=tuple(out.fetches),
        read_snapshot=tuple(out.snapshot_reads),
        seek_snapshot=out.seek,
        install=out.install,
        apply=apply,
        answer=tuple(out.answers),
        events=tuple(out.events),
    )
    out.clear()
    return effects


def _acknowledge(state: State) -> None:
    """Tell the leader, in one message of each kind, what is proven equal *and* durable here."""
    follower = state.role
    if not isinstance(follower, Follower) or follower.leader is None or state.barred is not None:
        return
    index = min(state.verified_index, state.durability.index)
    if follower.owes_acknowledgement and (
        index > follower.acknowledged or index == state.verified_index
    ):
        state.out.send(AppendAccepted(term=state.current_term, index=index), follower.leader.id)
        follower.acknowledged = index
        follower.owes_acknowledgement = index < state.verified_index
    if follower.owes_round is not None:
        state.out.send(
            HeartbeatReply(
                term=state.current_term,
                round=follower.owes_round,
                index=index,
                wall_ns=state.wall_ns,
            ),
            follower.leader.id,
        )
        follower.owes_round = None


def _issue(state: State) -> Write | None:
    """What changed in the persistent state and has not been issued to storage (Figure 2)."""
    durability, log, out = state.durability, state.log, state.out
    hard_state = (state.current_term, state.voted_for)
    changed = hard_state if hard_state != durability.issued_hard_state else None
    truncate_from = durability.truncated_from
    runs: tuple[Run, ...] = ()
    if durability.issued_index < log.last_index:
        runs = log.slice(Index(durability.issued_index + 1), _ALL)
    if not (changed or truncate_from or runs or out.chunk or out.compact_to):
        return None
    return Write(
        sequence=durability.issue(log.last_index, changed),
        hard_state=changed,
        chunk=out.chunk,
        truncate_from=truncate_from,
        runs=runs,
        compact_to=out.compact_to,
    )


_ALL = 1 << 62
"A bound in bytes that nothing reaches."


def _release(state: State) -> tuple[Run, ...]:
    """Entries to apply now: committed, durable here, and not more at once than is bounded."""
    limit = min(state.commit_index, state.durability.index)
    room = state.config.apply_bytes_max - state.applying_bytes
    if state.applying_index >= limit or (state.applying and room <= 0):
        return ()
    runs = state.log.slice(Index(state.applying_index + 1), max(room, 0), limit)
    for run in runs:
        size = run.size
        state.applying.append((run.last, size))
        state.applying_bytes += size
    state.applying_index = runs[-1].last
    return runs


# ── the beginning ────────────────────────────────────────────────────────────────────────────────────


def _start(config: Config, persistent: PersistentState, rng: random.Random) -> State:
    """Figure 2: persistent state as storage found it, everything else at its initial value."""
    snapshot = persistent.snapshot
    log = Log(
        base_index=persistent.base_index,
        base_term=persistent.base_term,
        last_index=persistent.base_index,
    )
    start = Index(0)
    if snapshot is not None:
        start = snapshot.index
        log.base_time_ns, log.base_elapsed_ns = snapshot.time_ns, snapshot.elapsed_ns
    hard_state = (persistent.term, persistent.voted_for)
    state = State(
        config=config,
        rng=rng,
        current_term=persistent.term,
        voted_for=persistent.voted_for,
        log=log,
        snapshot=snapshot,
        configurations=(
            [] if snapshot is None else [(snapshot.configuration_index, snapshot.configuration)]
        ),
        durability=Durability(
            hard_state=hard_state,
            issued_hard_state=hard_state,
            index=persistent.base_index,
            issued_index=persistent.base_index,
            sequence=persistent.write_sequence,
        ),
        commit_index=start,
        verified_index=start,
        applying_index=start,
        applied_index=start,
        role=Follower(),
        heard_leader_at=0,
        election_deadline=0,
        reception=_reception(persistent.received),
    )
    for run in persistent.runs:
        state.append(run)
    if not state.configurations:
        raise LocalProtocolError(
            "a core needs a configuration: found the group, or be admitted to it"
        )
    state.durability.index = state.durability.issued_index = log.last_index
    # Configurations that the snapshot covers were read again from the tail before it.
    state.configurations = [
        it for position, it in enumerate(state.configurations) if position == 0 or it[0] > start
    ]
    state.out.clear()
    state.restart_election_timer()
    return state


def _reception(received: SnapshotBeginning | None) -> Reception | None:
    """What an earlier life received of a snapshot is not asked for again."""
    if received is None:
        return None
    return Reception(snapshot=received.snapshot, offset=received.size, checksum=received.checksum)
