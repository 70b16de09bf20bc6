"""Log replication (§3.5), what counts as committed (§3.6.2), and feeding followers (§10.2.1).

Handlers append what a leader sent and record what followers hold. `advance_commit` and `feed_followers`
conclude. A log is cut only where it is proven to differ; a leader never cuts its own.
"""

from __future__ import annotations

from raftkit.core import quorum
from raftkit.core.progress import Probing, Progress, Snapshotting, Streaming
from raftkit.core.stamps import stamp
from raftkit.core.state import Follower, Leader, State
from raftkit.errors import RaftInternalError
from raftkit.messages import (
    AppendAccepted,
    AppendEntries,
    AppendRejected,
    Fetch,
    Fetched,
    Propose,
    Proposed,
    Refusal,
    Refused,
)
from raftkit.model import Identity, Index, Kind, NodeId, Run

__all__ = [
    "advance_commit",
    "ask_between_heartbeats",
    "feed_followers",
    "is_no_news",
    "next_question_due",
    "on_append_accepted",
    "on_append_entries",
    "on_append_rejected",
    "on_fetched",
    "on_propose",
]

_ENTRIES_MAX = 32_768
"Entries of one AppendEntries, however small: receivers bound what a message may hold (`wire.Limits`)."

# ── at the leader: proposals ─────────────────────────────────────────────────────────────────────────


def on_propose(state: State, propose: Propose) -> None:
    """Append a client's entries to the leader's log, or refuse them: definitely, they did not happen."""
    refusal = _refusal(state, propose)
    if refusal is not None:
        # Who is about to resign does not know who will be next.
        leader = None if isinstance(state.role, Leader) and state.resigns else state.leader
        state.out.answers.append(Refused(ticket=propose.ticket, reason=refusal, leader=leader))
        return
    assert isinstance(state.role, Leader)
    time_ns, elapsed_ns = stamp(state)
    run = Run(
        first=Index(state.log.last_index + 1),
        term=state.current_term,
        time_ns=time_ns,
        elapsed_ns=elapsed_ns,
        kinds=propose.kinds if propose.kinds and any(propose.kinds) else None,
        payloads=propose.payloads,
    )
    state.append(run)
    size = run.size
    state.role.uncommitted.append((run.last, size))
    state.role.uncommitted_bytes += size
    if propose.origin in state.role.progress:
        state.role.progress[propose.origin].awaits = run.last
    state.out.answers.append(
        Proposed(ticket=propose.ticket, first=run.first, term=state.current_term)
    )


def _refusal(state: State, propose: Propose) -> Refusal | None:
    assert propose.payloads
    assert propose.kinds is None or not {Kind.NOOP, Kind.CONFIGURATION} & set(propose.kinds)
    if not isinstance(state.role, Leader) or state.resigns:
        return Refusal.NOT_LEADER
    if state.role.transfer is not None:
        return Refusal.TRANSFERRING  # §3.10: or the target's log would never be as long as this one
    sizes = [len(payload) for payload in propose.payloads]
    if max(sizes) > state.configuration.settings.entry_bytes_max:
        return Refusal.TOO_LARGE
    held = state.role.uncommitted_bytes
    if held and held + sum(sizes) > state.config.uncommitted_bytes_max:
        return Refusal.OVERLOADED
    return None


# ── at the follower ──────────────────────────────────────────────────────────────────────────────────


def on_append_entries(state: State, sender: Identity, message: AppendEntries) -> None:
    """Take over the leader's entries where the log before them is proven equal (§3.5)."""
    if not state.follow(sender):
        return
    assert isinstance(state.role, Follower)
    log = state.log
    # What lies at or below the base is committed, so it is equal without looking.
    if message.prev_index > log.base_index and log.term(message.prev_index) != message.prev_term:
        _reject(state, sender, message)
        return
    for run in message.runs:
        if run.last > log.base_index:
            _take_over(state, run.cut(Index(max(run.first, log.base_index + 1)), run.last))
    # Later entries of this log may be those of an older leader: nothing is known of them (§3.5).
    state.verified_index = max(state.verified_index, min(message.last_index, log.last_index))
    state.advance_commit_to(min(message.commit_index, state.verified_index))
    state.role.owes_acknowledgement = True


def _take_over(state: State, run: Run) -> None:
    """Append what is missing of `run`; cut the log only where it has another entry (§3.5)."""
    conflict = state.log.first_conflict(run)
    if conflict is None:
        return  # a repeated or delayed message: all of it is here, and what follows stays
    if conflict <= state.log.last_index:
        if conflict <= state.commit_index:
            raise RaftInternalError(
                f"{state.identity}: the leader of term {state.current_term} would replace committed "
                f"entry {conflict}"
            )
        state.truncate(conflict)
    state.append(run.cut(conflict, run.last))


def _reject(state: State, sender: Identity, message: AppendEntries) -> None:
    """Say where the logs may agree at best, so that the leader skips whole terms (§3.5)."""
    hint = state.log.last_index_of_term_up_to(message.prev_index, message.prev_term)
    hint_term = state.log.term(hint)
    assert hint_term is not None
    state.out.send(
        AppendRejected(
            term=state.current_term,
            prev_index=message.prev_index,
            hint_index=hint,
            hint_term=hint_term,
        ),
        sender.id,
    )


# ── at the leader: answers ───────────────────────────────────────────────────────────────────────────


def on_append_accepted(state: State, sender: Identity, message: AppendAccepted) -> None:
    """Record how much of the log a follower holds durably. Of this term: others never get here."""
    progress = state.progress_of(sender)
    if progress is None:
        return
    if message.index > state.log.last_index:
        state.misbehaved(sender, f"acknowledges {message.index} of {state.log.last_index}")
        return
    progress.heard_at = state.now
    progress.acknowledge(message.index, state.now)
    progress.stream()


def is_no_news(state: State, leader: Leader, sender: Identity, message: AppendAccepted) -> bool:
    """Whether an acknowledgement tells the leader nothing on which it acts: a majority has it already.

    Not where the follower is to be sent more, or somebody waits for what it holds; nor where it would be
    asked soon for what it has just acknowledged.
    """
    progress = state.progress_of(sender)
    return (
        progress is not None
        and message.term == state.current_term
        and message.index <= state.commit_index
        and progress.next_index > state.log.last_index
        and state.configuration.votes(sender.id)
        and leader.transfer is None
        and not state.resigns
        and not state.durability.stalled
        and not _asks_by_itself(state)
    )


def on_append_rejected(state: State, sender: Identity, message: AppendRejected) -> None:
    """The logs differ at `prev_index`: go back, as far as both sides' hints allow at once."""
    progress = state.progress_of(sender)
    if progress is None:
        return
    if message.prev_index > state.log.last_index:
        state.misbehaved(sender, f"rejects {message.prev_index} of {state.log.last_index}")
        return
    progress.heard_at = state.now
    if message.prev_index <= progress.match_index or message.prev_index >= progress.next_index:
        return  # overtaken by a later answer
    if isinstance(progress.mode, Probing) and message.prev_index != progress.next_index - 1:
        return  # answers an earlier probe
    if isinstance(progress.mode, Snapshotting):
        return
    progress.narrow()
    agree = state.log.last_index_of_term_up_to(message.hint_index, message.hint_term)
    agree = min(agree, Index(message.prev_index - 1))
    progress.probe(Index(max(agree, progress.match_index) + 1), state.now)


def on_fetched(state: State, fetched: Fetched) -> None:
    """Entries that were read back, for followers too far behind for those in memory."""
    fetch = fetched.fetch
    if isinstance(state.role, Leader) and fetch.first in state.role.fetching:
        state.role.fetching.remove(fetch.first)
        wanted = [run for run in fetched.runs if run.first <= fetch.last]
        if wanted:
            wanted[-1] = wanted[-1].cut(wanted[-1].first, min(wanted[-1].last, fetch.last))
            state.role.fetched[fetch.first] = tuple(wanted)


# ── conclusions ──────────────────────────────────────────────────────────────────────────────────────


def advance_commit(state: State, leader: Leader) -> bool:
    """§3.5: an entry that enough servers hold durably is committed, and everything before it."""
    if state.commit_index == state.log.last_index:
        return False
    me = state.identity.id
    index = quorum.committed(
        state.configuration,
        lambda voter: state.durability.index if voter == me else leader.progress[voter].match_index,
    )
    # §3.6.2: an entry of an earlier term is never committed by counting those who hold it.
    if index <= state.commit_index or state.log.term(index) != state.current_term:
        return False
    state.advance_commit_to(index)
    while leader.uncommitted and leader.uncommitted[0][0] <= index:
        leader.uncommitted_bytes -= leader.uncommitted.popleft()[1]
    return True


def ask_between_heartbeats(state: State, leader: Leader) -> bool:
    """Doubt what is not acknowledged in time, where no heartbeat would be answered so soon."""
    if not _asks_by_itself(state):
        return False
    retry = state.config.ticks(state.config.retry_ms)
    late = [
        progress
        for progress in leader.progress.values()
        if (due := progress.question_due(retry)) is not None and due <= state.now
    ]
    for progress in late:
        progress.doubt(state.now)
    return bool(late)


def next_question_due(state: State, leader: Leader) -> int:
    """The tick at which somebody is asked next, or else that of the next heartbeat."""
    due = [leader.heartbeat_due]
    if _asks_by_itself(state):
        retry = state.config.ticks(state.config.retry_ms)
        due += [at for it in leader.progress.values() if (at := it.question_due(retry)) is not None]
    return min(due)


def _asks_by_itself(state: State) -> bool:
    """Whether heartbeats are too far apart for their answers to say in time what to ask for."""
    return state.config.retry_ms < state.config.heartbeat_ms


def feed_followers(state: State, leader: Leader) -> bool:
    """Send each follower what it lacks, as far as its window allows; what is the same, once for all."""
    batches: dict[Index, tuple[AppendEntries, list[NodeId]]] = {}
    asked = False
    for peer, progress in leader.progress.items():
        _choose_mode(state, progress)
        asked |= progress.doubted and _ask(state, peer, progress)
        while _has_room(state, progress):
            at = progress.next_index
            if at not in batches:
                message = _append_entries(state, leader, at)
                if message is None:
                    break
                batches[at] = (message, [])
            message, targets = batches[at]
            targets.append(peer)
            _record_sent(state, progress, message)
    for _, (message, targets) in sorted(batches.items()):
        state.out.send(message, *targets)
    leader.fetched.clear()
    return asked or bool(batches)


def _ask(state: State, peer: NodeId, progress: Progress) -> bool:
    """Ask a doubted follower whether it has what it was sent: it refuses if not, and says what it has.

    If it has, it is only not durable there yet, and would drop what is sent again.
    """
    progress.doubted = False
    if isinstance(progress.mode, Snapshotting):
        return False
    question = _message(state, progress.next_index, ())
    state.out.send(question, peer)
    if isinstance(progress.mode, Probing) and progress.mode.sent is not None:
        # What answers the question says nothing of the probe, which may be lost.
        progress.mode.sent = question.last_index, 0
    return True


def _choose_mode(state: State, progress: Progress) -> None:
    """A follower whose next entry is compacted needs a snapshot; one that has caught up does not."""
    if not isinstance(progress.mode, Snapshotting):
        if progress.next_index > state.log.base_index:
            return
        state.send_snapshot(progress)
    elif progress.match_index >= state.log.base_index:
        progress.probe(Index(progress.match_index + 1), state.now)
    elif progress.mode.snapshot.index <= progress.match_index:
        state.send_snapshot(progress)


def _has_room(state: State, progress: Progress) -> bool:
    """Whether another message may be sent to this follower now."""
    match progress.mode:
        case Probing(sent=sent):
            return sent is None
        case Streaming() as mode:
            return (
                progress.next_index <= state.log.last_index
                and len(mode.in_flight) < min(progress.window, state.config.inflight_messages_max)
                and (not mode.in_flight or mode.bytes_in_flight < state.config.inflight_bytes_max)
            )
        case _:
            return False  # it gets a snapshot first


def _append_entries(state: State, leader: Leader, first: Index) -> AppendEntries | None:
    """The message that begins at `first`; None while storage is asked for its entries."""
    log = state.log
    if first > log.last_index:
        runs: tuple[Run, ...] = ()
    elif first >= log.first_held:
        last = min(log.last_index, Index(first + _ENTRIES_MAX - 1))
        runs = log.slice(first, state.config.append_bytes_max, last)
    elif first in leader.fetched:
        runs = leader.fetched[first]
    else:
        if first not in leader.fetching:
            leader.fetching.add(first)
            # What was evicted from memory was applied, so it is the same in every leadership.
            last = Index(log.first_held - 1)
            state.out.fetches.append(
                Fetch(first=first, last=last, bytes_max=state.config.append_bytes_max)
            )
        return None
    return _message(state, first, runs)


def _message(state: State, first: Index, runs: tuple[Run, ...]) -> AppendEntries:
    prev = Index(first - 1)
    prev_term = state.log.term(prev)
    assert prev_term is not None
    return AppendEntries(
        term=state.current_term,
        prev_index=prev,
        prev_term=prev_term,
        commit_index=state.commit_index,
        runs=runs,
    )


def _record_sent(state: State, progress: Progress, message: AppendEntries) -> None:
    progress.told_commit = state.commit_index
    mode = progress.mode
    last, size = message.last_index, sum(run.size for run in message.runs)
    if isinstance(mode, Probing):
        mode.sent = last, size
        progress.moves(state.now)
        return
    assert isinstance(mode, Streaming), "a follower that gets a snapshot is sent no entries"
    if not mode.in_flight:
        progress.moves(state.now)
    mode.sent(last, size)
    progress.next_index = Index(last + 1)
