"""Everything that enters and leaves the core: messages, inputs, effects, and what is on disk at the start.

Laws: all of it is frozen data. A message is well formed when it exists: `wire/codec.py` refuses what is
not, before the core sees it. `DURABLE_BEFORE` says what must be on disk before a message may leave.
A recorded run of a node is a list of inputs; it is also a scenario, a bug report and a benchmark.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum

import attrs

from raftkit.changes import ChangeMembership, MembershipChanged, MembershipUnknown
from raftkit.leadership import NotHandedOver, StepDown, SteppedDown, TransferLeadership
from raftkit.membership import Configuration
from raftkit.model import Identity, Index, Kind, NodeId, Run, Term
from raftkit.snapshot import SeekSnapshot, SnapshotBeginning, SnapshotFound, SnapshotMeta

# ── messages between cores ───────────────────────────────────────────────────────────────────────────


@attrs.frozen(kw_only=True)
class PreVoteRequest:
    """Asks for a promise of a vote (§9.6). Nothing is changed or persisted by asking or by answering."""

    term: Term
    "The term the sender would campaign in: its own plus 1."
    last_index: Index
    "Of the sender's log."
    last_term: Term
    "Of the sender's log."


@attrs.frozen(kw_only=True)
class PreVoteReply:
    """Answer to PreVoteRequest."""

    term: Term
    "Granted: the term asked about. Refused: the refuser's own term, so that laggards catch up."
    granted: bool
    "Whether a vote request now would be granted."


@attrs.frozen(kw_only=True)
class VoteRequest:
    """Vote for me in this term (§3.4)."""

    term: Term
    "The candidate's term, durable at the candidate."
    last_index: Index
    "Of the candidate's log."
    last_term: Term
    "Of the candidate's log."
    transfer: bool = False
    "The leader asked for this election (§3.10): voters don't stick to that leader."


@attrs.frozen(kw_only=True)
class VoteReply:
    """Answer to VoteRequest."""

    term: Term
    "The voter's term."
    granted: bool
    "Whether the voter's vote of this term is the candidate's."


@attrs.frozen(kw_only=True)
class AppendEntries:
    """Entries for the log, from this term's leader (§3.5)."""

    term: Term
    "The leader's term."
    prev_index: Index
    "Index of the entry before the first of `runs`."
    prev_term: Term
    "Its term."
    commit_index: Index
    "The leader's commit index."
    runs: tuple[Run, ...]
    "Contiguous from prev_index + 1; terms never decrease and never exceed `term`. May be empty."

    @property
    def last_index(self) -> Index:
        """Index of the last entry sent, or of `prev_index` where there is none."""
        return self.runs[-1].last if self.runs else self.prev_index


@attrs.frozen(kw_only=True)
class AppendAccepted:
    """My log equals yours up to `index`, and is durable up to there."""

    term: Term
    "The follower's term."
    index: Index
    "min(verified_index, durable_index) of the follower."


@attrs.frozen(kw_only=True)
class AppendRejected:
    """I don't have the entry before those you sent (§3.5)."""

    term: Term
    "The follower's term."
    prev_index: Index
    "That of the rejected AppendEntries."
    hint_index: Index
    "The highest index at which the two logs may agree, as far as the follower can tell."
    hint_term: Term
    "The follower's term at `hint_index`: the leader skips everything later than it."


@attrs.frozen(kw_only=True)
class Heartbeat:
    """I lead this term (§3.4). The same for every follower, since it claims nothing about their logs."""

    term: Term
    "The leader's term."
    round: int
    "Counts this leader's heartbeats; an answer to a later one proves contact after an earlier one."
    commit_index: Index
    "The leader's; a follower takes min(this, its verified_index)."


@attrs.frozen(kw_only=True)
class HeartbeatReply:
    """I follow you. Also the answer to any message of a deposed leader, whom its `term` deposes."""

    term: Term
    "The follower's term."
    round: int
    "The round answered; 0 answers no heartbeat."
    index: Index
    "min(verified_index, durable_index) of the follower; 0 for a deposed leader."
    wall_ns: int
    "The follower's wall clock at its last tick, in ns since 1970."


@attrs.frozen(kw_only=True)
class ReadRequest:
    """Asks from which index on a read, asked for now, is linearizable (§6.4)."""

    term: Term
    "The follower's term."
    ticket: int
    "u64, unique for the asking node for ever (its boot number is in the high bits)."


@attrs.frozen(kw_only=True)
class ReadReply:
    """The read may be served once `index` is applied."""

    term: Term
    "The leader's term."
    ticket: int
    "That of the request."
    index: Index
    "A commit index of the leader, confirmed after the request arrived."


@attrs.frozen(kw_only=True)
class SnapshotChunk:
    """A part of the leader's snapshot, for a follower whose next entry is compacted (§5.3)."""

    term: Term
    "The leader's term."
    snapshot: SnapshotMeta
    "Which snapshot."
    offset: int
    "Place of `data` in the file, in bytes."
    data: bytes
    "Not empty but in an empty snapshot; the chunk that reaches `snapshot.size` is the last."


@attrs.frozen(kw_only=True)
class SnapshotReply:
    """How much of a snapshot I have."""

    term: Term
    "The follower's term."
    index: Index
    "Of the snapshot."
    offset: int
    "Bytes received without a gap; the next chunk should start here."
    installed: bool
    "The snapshot, or something later, is durable here: go on at `index` + 1."
    elsewhere: bool = False
    "It is not, and what comes next is being fetched from another server: there is no need to send it."


@attrs.frozen(kw_only=True)
class TimeoutNow:
    """Campaign at once: I lead this term, and you hold all of my log (§3.10)."""

    term: Term
    "The leader's term."


Message = (
    PreVoteRequest
    | PreVoteReply
    | VoteRequest
    | VoteReply
    | AppendEntries
    | AppendAccepted
    | AppendRejected
    | Heartbeat
    | HeartbeatReply
    | ReadRequest
    | ReadReply
    | SnapshotChunk
    | SnapshotReply
    | TimeoutNow
)
"What cores say to each other. Tag numbers are in `wire/tags.py`."


class Durable(Enum):
    """What must be on the sender's disk before a message leaves."""

    NOTHING = "nothing"
    TERM = "the term that the message carries"
    TERM_AND_VOTE = "the term and the vote of that term"
    LOG = "the term, and the log up to the index that the message claims"


DURABLE_BEFORE: dict[type[Message], Durable] = {
    PreVoteRequest: Durable.NOTHING,
    PreVoteReply: Durable.NOTHING,
    VoteRequest: Durable.TERM_AND_VOTE,
    VoteReply: Durable.TERM_AND_VOTE,
    AppendEntries: Durable.NOTHING,  # §10.2.1: the leader's own disk is one of the majority, no more
    AppendAccepted: Durable.LOG,
    AppendRejected: Durable.TERM,
    Heartbeat: Durable.NOTHING,
    HeartbeatReply: Durable.LOG,
    ReadRequest: Durable.NOTHING,
    ReadReply: Durable.NOTHING,
    SnapshotChunk: Durable.NOTHING,
    SnapshotReply: Durable.LOG,
    TimeoutNow: Durable.NOTHING,
}
"The table of `docs/architecture.md`. A leader's term is durable before it leads, by the second row of votes."


# ── what is on disk ──────────────────────────────────────────────────────────────────────────────────


@attrs.frozen(kw_only=True)
class PersistentState:
    """What storage found on opening, and the core starts from."""

    term: Term = Term(0)
    "current_term (§3.3)."
    voted_for: Identity | None = None
    "The candidate voted for in `term`, if any."
    base_index: Index = Index(0)
    "The entry before the first in `runs`."
    base_term: Term = Term(0)
    "Its term."
    snapshot: SnapshotMeta | None = None
    "The newest whole snapshot; at or after `base_index`. None only while base_index is 0."
    runs: Iterable[Run] = ()
    "The log, contiguous from base_index + 1. Read once, lazily where storage can."
    write_sequence: int = 0
    "Sequence of the last write in an earlier life; the next `Write` has a higher one."
    received: SnapshotBeginning | None = None
    "What was received of a snapshot that reaches further than all of the above, if any was."


@attrs.frozen(kw_only=True)
class Write:
    """A step of what is on disk, performed in the order of its fields: a crash leaves a prefix of it."""

    sequence: int
    "Strictly increasing over the life of the directory."
    hard_state: tuple[Term, Identity | None] | None = None
    "current_term and voted_for, in one record. None: unchanged."
    chunk: SnapshotWrite | None = None
    "Bytes of a snapshot being received."
    truncate_from: Index | None = None
    "Remove this entry and all after it. None: nothing to remove."
    runs: tuple[Run, ...] = ()
    "Append, contiguous with what is there."
    compact_to: Index | None = None
    "Entries up to this index are not needed any more (they are in a durable snapshot)."


@attrs.frozen(kw_only=True)
class SnapshotWrite:
    """A received part of a snapshot. The last one makes the file durable and the log begin after it."""

    snapshot: SnapshotMeta
    "Which snapshot. Another one than before: what was received before is dropped."
    offset: int
    "Place of `data`; 0 starts anew, otherwise it follows what was written."
    data: bytes
    "May be empty only in an empty snapshot."

    @property
    def last(self) -> bool:
        """This part completes the file: sync, rename, sync the directory, write the log-reset record.

        The log is then empty and begins after the snapshot: a server whose log agrees with a snapshot at its
        index never asks for one to be written.
        """
        return self.offset + len(self.data) == self.snapshot.size


# ── inputs ───────────────────────────────────────────────────────────────────────────────────────────


@attrs.frozen(kw_only=True)
class Tick:
    """Time passed. First in its batch, at most once."""

    count: int
    "Ticks since the last one; each timer fires once however many it spans."
    wall_ns: int
    "The wall clock, ns since 1970. Only for stamps."
    monotonic_ns: int
    "The monotonic clock, ns from an arbitrary start. Only for stamps."


@attrs.frozen(kw_only=True)
class Receive:
    """A message arrived. Its sender is authenticated as far as the transport can."""

    sender: Identity
    "Who sent it; votes and acknowledgements count only for the identity in the configuration."
    message: Message
    "Well formed."


@attrs.frozen(kw_only=True)
class Propose:
    """Append these entries, if this server leads. Answered by Proposed or Refused."""

    ticket: int
    "Chosen by the driver, echoed in the answer."
    payloads: tuple[bytes, ...]
    "At least one."
    kinds: tuple[Kind, ...] | None = None
    "One a payload; None: all commands. Never NOOP or CONFIGURATION."
    origin: NodeId | None = None
    "The node that waits for them to be applied, if not this one: it is told of the commit at once."


@attrs.frozen(kw_only=True)
class Read:
    """From which index on is a read, asked for now, linearizable? Answered by ReadConfirmed or Refused."""

    ticket: int
    "u64, unique for this node for ever."
    lease: bool = False
    "Whether a leader may say so by its lease (§6.4.1). If it has none, and elsewhere, it changes nothing."


@attrs.frozen(kw_only=True)
class Persisted:
    """The write with this sequence and all before it are on disk."""

    sequence: int
    "Of a `Write`."


@attrs.frozen(kw_only=True)
class StorageStalled:
    """This server's disk stands still: a write takes far too long. Over when `Persisted` covers it."""

    sequence: int
    "Of the oldest `Write` that is under way."


@attrs.frozen(kw_only=True)
class Applied:
    """The state machine has applied every entry up to `index`."""

    index: Index
    "Never decreases."


@attrs.frozen(kw_only=True)
class Fetched:
    """What an effect `fetch` asked for."""

    fetch: Fetch
    "The question."
    runs: tuple[Run, ...]
    "From `fetch.first` on, at least one entry; after `fetch.last` they are ignored. Empty: compacted."


@attrs.frozen(kw_only=True)
class SnapshotRead:
    """What an effect `read_snapshot` asked for."""

    request: ReadSnapshot
    "The question."
    data: bytes | None
    "At most `bytes_max` bytes, fewer only at the end of the file. None: that snapshot is gone."


@attrs.frozen(kw_only=True)
class SnapshotTaken:
    """The state machine's state at `snapshot.index` is durable in a file: the log may be compacted."""

    snapshot: SnapshotMeta
    "At or below the applied index."


@attrs.frozen(kw_only=True)
class PeerUnreachable:
    """A transport lost its connection to `peer`, or was refused one."""

    peer: NodeId
    "Messages to it may be lost."
    succession: tuple[NodeId, ...] = ()
    "Who was heard lately, by what they said the furthest log first: so they campaign, if it led. Or unknown."


@attrs.frozen(kw_only=True)
class PriorityHeard:
    """A member has said with which priority it campaigns. It orders who is asked to lead, never who wins."""

    peer: NodeId
    "Which."
    priority: int
    "At most 0, see `Config`. Of who was not heard it is 0."


@attrs.frozen(kw_only=True)
class Barred:
    """This node may not vote, campaign or acknowledge until it is admitted again."""

    reason: str
    "In words, for status and events."


@attrs.frozen(kw_only=True)
class Unfit:
    """This node can't apply what is committed, so it may not lead; it votes and acknowledges."""

    reason: str
    "In words."


@attrs.frozen
class Fit:
    """What made this node unfit to lead is mended."""


Input = (
    Tick
    | Receive
    | Propose
    | Read
    | ChangeMembership
    | Persisted
    | StorageStalled
    | Applied
    | Fetched
    | SnapshotRead
    | SnapshotTaken
    | SnapshotFound
    | PeerUnreachable
    | PriorityHeard
    | Barred
    | Unfit
    | TransferLeadership
    | StepDown
    | Fit
)
"Everything that can happen to a core."


# ── effects ──────────────────────────────────────────────────────────────────────────────────────────


@attrs.frozen(kw_only=True)
class Send:
    """One message, the same for every target. TCP sends it once each, multicast once."""

    targets: tuple[NodeId, ...]
    "Sorted, at least one, never this node."
    message: Message
    "What to send."


@attrs.frozen(kw_only=True)
class Fetch:
    """Read entries back from storage."""

    first: Index
    "The first one wanted."
    last: Index
    "The last one wanted. It is committed, so an answer can't be overtaken by another leader's entries."
    bytes_max: int
    "As many as fit, but at least one."


@attrs.frozen(kw_only=True)
class ReadSnapshot:
    """Read a part of the newest snapshot's file."""

    target: NodeId
    "The follower it is for."
    snapshot: SnapshotMeta
    "Which one."
    offset: int
    "From here."
    bytes_max: int
    "At most so many bytes."


class Refusal(Enum):
    """Why a proposal, a read or a change was refused. In each case it did not happen."""

    NOT_LEADER = "this server does not lead"
    OVERLOADED = "too many bytes are uncommitted"
    TOO_LARGE = "a payload exceeds entry_bytes_max"
    LEADER_LOST = "the leader was lost before the read was confirmed"
    TRANSFERRING = "the leader is handing over: ask again"
    UNDER_WAY = "another change of the group is under way"
    TOO_EARLY = "the leader has committed nothing of its term yet"
    OVERTAKEN = "the configuration in force is not the one that the change is based on"
    BEHIND = "a learner has not caught up"
    INVALID = "the group can't be changed so"


@attrs.frozen(kw_only=True)
class Proposed:
    """The entries of a Propose are in the leader's log. They may still be lost."""

    ticket: int
    "Of the Propose."
    first: Index
    "Index of its first payload."
    term: Term
    "Their term. If another term's entry commits at an index, the one proposed there is lost for good."


@attrs.frozen(kw_only=True)
class Refused:
    """A Propose, a Read or a ChangeMembership did not happen."""

    ticket: int
    "Of the input."
    reason: Refusal
    "Why."
    leader: NodeId | None
    "Where to try instead, if known."
    detail: str = ""
    "What exactly, where the reason alone does not say it."


@attrs.frozen(kw_only=True)
class ReadConfirmed:
    """Serve the read once `index` is applied here."""

    ticket: int
    "Of the Read."
    index: Index
    "See `ReadReply`."
    expires_ns: int | None = None
    "It goes by a lease: serve the read before the monotonic clock says so, or ask again. None: any time."


Answer = (
    Proposed
    | Refused
    | ReadConfirmed
    | SteppedDown
    | NotHandedOver
    | MembershipChanged
    | MembershipUnknown
)


@attrs.frozen(kw_only=True)
class RoleChanged:
    """This server's role is another, or the same one in a later term."""

    role: str
    "follower, learner, pre-candidate, candidate or leader."
    before: str
    "Which it was until now."
    term: Term
    "Its current term."


@attrs.frozen(kw_only=True)
class LeaderElected:
    """This server knows the leader of its term."""

    leader: NodeId
    "Maybe this server."
    term: Term
    "Of that leader."


@attrs.frozen(kw_only=True)
class LeaderLost:
    """This server had a leader and has none."""

    leader: NodeId
    "The one it had, maybe itself."
    term: Term
    "This server's current term."


@attrs.frozen(kw_only=True)
class ConfigurationChanged:
    """Another configuration is in force here: appended, or returned to by truncation or snapshot."""

    index: Index
    "Where it stands."
    configuration: Configuration
    "Which."


@attrs.frozen(kw_only=True)
class ClockStepRefused:
    """A leader's wall clock jumped, or stands apart from the voters' clocks: stamps don't follow it."""

    step_ms: int
    "How far, against its monotonic clock, or against the median of the voters' wall clocks."


@attrs.frozen(kw_only=True)
class PeerMisbehaved:
    """A message that a correct peer can't have sent was dropped."""

    peer: Identity
    "Who."
    what: str
    "In words."


@attrs.frozen(kw_only=True)
class SnapshotInstalled:
    """A leader's snapshot has replaced this server's log up to `index`."""

    index: Index
    "Of the snapshot."


Event = (
    RoleChanged
    | LeaderElected
    | LeaderLost
    | ConfigurationChanged
    | ClockStepRefused
    | PeerMisbehaved
    | SnapshotInstalled
)


@attrs.frozen(kw_only=True)
class Effects:
    """What a step obliges the driver to do, in this order. The field's name is the obligation."""

    send_now: tuple[Send, ...] = ()
    "At once, in parallel with the write."
    persist: Write | None = None
    "Write and sync; then report Persisted. Writes are done in the order of their sequences."
    send_after_persist: tuple[Send, ...] = ()
    "When this step's write and all earlier ones are on disk; one FIFO."
    fetch: tuple[Fetch, ...] = ()
    "Read back and report Fetched."
    read_snapshot: tuple[ReadSnapshot, ...] = ()
    "Read back and report SnapshotRead."
    seek_snapshot: SeekSnapshot | None = None
    "Ask other servers that hold it, and report SnapshotFound."
    install: SnapshotMeta | None = None
    "Replace the state machine by this snapshot, which is durable, before applying what follows."
    apply: tuple[Run, ...] = ()
    "Committed and durable here: hand to the state machine, in order; then report Applied."
    answer: tuple[Answer, ...] = ()
    "Answer these callers. Results of commands come from applying them."
    events: tuple[Event, ...] = ()
    "Publish."

    def __bool__(self) -> bool:
        """Whether there is anything to do."""
        return self != _NOTHING


_NOTHING = Effects()
