"""What must hold across servers, kept by the harness and never seen by them (§3.6.3, Figure 3.2).

Their names (S1 ElectionSafety …) are what a failure prints. Each check costs what has changed, not what
there is: a term's entries are made by one leader one after the other (§3.5), so a log is known by its terms,
and two logs are compared by one term at one index.

Laws: `leader_of` and `votes` outlive every crash; the committed sequence only grows; it grows only at the
leader that counted, and only by what a majority of disks would give back at that instant.
"""

from __future__ import annotations

import zlib
from bisect import bisect_left, bisect_right
from collections.abc import Sequence

import attrs

from raftkit.changes import MembershipChanged, MembershipUnknown
from raftkit.core import Raft
from raftkit.core.state import Leader
from raftkit.leadership import NotHandedOver, SteppedDown
from raftkit.membership import Configuration
from raftkit.messages import (
    Answer,
    AppendAccepted,
    AppendEntries,
    AppendRejected,
    ConfigurationChanged,
    Effects,
    Event,
    Heartbeat,
    HeartbeatReply,
    Input,
    Message,
    PeerMisbehaved,
    PreVoteReply,
    PreVoteRequest,
    Propose,
    Proposed,
    Read,
    ReadConfirmed,
    ReadReply,
    ReadRequest,
    Receive,
    Refused,
    RoleChanged,
    SnapshotChunk,
    SnapshotReply,
    TimeoutNow,
    VoteReply,
    VoteRequest,
    Write,
)
from raftkit.model import Identity, Index, Kind, NodeId, Run, Term
from raftkit.snapshot import SnapshotMeta
from raftkit.testing.world.callers import Callers
from raftkit.testing.world.configurations import Configurations, agree
from raftkit.testing.world.disk import LogImage, WorldDisk
from raftkit.testing.world.shadows import Shadow, TermChain, fail

__all__ = ["Ghosts"]

CENSUS_STEPS = 64
"Steps between two looks at all servers together."
_ANSWERS = (AppendAccepted, HeartbeatReply, SnapshotReply)
"After these a leader may know more of a follower."


class Ghosts:
    """The invariants of one world."""

    def __init__(self, configuration: Configuration, founding: Run) -> None:
        """`founding` is entry 1, which every server begins with."""
        self.configurations = Configurations([founding.first], [configuration])
        self.shadows: dict[Identity, Shadow] = {}
        self.leader_of: dict[Term, Identity] = {}
        self.votes: dict[tuple[Identity, Term], Identity] = {}
        self.chains: dict[Term, TermChain] = {}
        self.committed_terms: list[Term] = []
        self.committed_payloads: list[bytes] = []
        self.callers = Callers()
        self.steps = 0
        self.snapshots_installed = 0
        self.changes_made = 0
        self._counted: list[tuple[Term, Index]] = []
        self._digest = (0, 0)
        self._disks_lost = False
        self._suspects: set[tuple[NodeId, Identity, Term]] = set()
        self._misled: set[Identity] = set()
        chain = TermChain(first=founding.first, previous_term=Term(0))
        chain.extend(founding)
        self.chains[founding.term] = chain
        self.committed_terms.append(founding.term)
        self.committed_payloads.extend(founding.payloads)

    @property
    def commit_index(self) -> Index:
        """How much is committed in this world."""
        return Index(len(self.committed_terms))

    # ── life ──

    def started(self, shadow: Shadow, raft: Raft) -> None:
        """`raft` was made from what was on disk."""
        disk = shadow.disk
        shadow.raft = raft
        shadow.issued = LogImage(
            disk.log.base_index, disk.log.base_term, list(disk.log.terms), list(disk.log.runs)
        )
        if raft.term != disk.term:
            fail(
                "S4 TermMonotone",
                f"{shadow.identity} starts in {raft.term}, on disk is {disk.term}",
            )
        shadow.term = raft.term
        shadow.vote = (disk.term, disk.voted_for)
        shadow.leads = None
        shadow.last_index = raft.last_index
        shadow.commit_index = shadow.verified_index = raft.commit_index
        shadow.handed_index = Index(0) if disk.snapshot is None else disk.snapshot.index
        if raft.commit_index > self.commit_index:
            fail(
                "S11 StateMachineSafety",
                f"{shadow.identity} starts with {raft.commit_index} committed",
            )
        self.configurations.in_force(shadow, raft)

    def crashed(self, shadow: Shadow) -> None:
        """The server is gone; its disk remains."""
        shadow.raft = None
        shadow.leads = None
        self._quorum_log()

    def disk_lost(self, shadow: Shadow) -> None:
        """The server and its disk are gone: a majority may hold what is committed no more."""
        shadow.raft = None
        shadow.leads = None
        self._disks_lost = True

    def rolled_back(self, shadow: Shadow, image: WorldDisk) -> None:
        """The disk of a server that is down is as it once was: nothing that it says may count any more.

        What others have counted still holds: whoever is elected without its vote has asked one of the others
        that have what is committed.
        """
        shadow.forgotten, shadow.disk = shadow.disk, image

    def forged(self, shadow: Shadow, sender: Identity, message: Message) -> None:
        """The server gets, as if from `sender`, what nobody sent: it may say so, but must lose nothing.

        Should it take `sender` for its leader, it may take the true one for the other of two, and whoever
        has that name gets its answers.
        """
        term = message.term
        self._suspects.add((shadow.identity.id, sender, term))
        leader = self.leader_of.get(term)
        if isinstance(message, AppendEntries | Heartbeat) and leader is not None:
            self._suspects.add((shadow.identity.id, leader, term))
            self._suspects.add((sender.id, shadow.identity, term))

    def misled(self, shadow: Shadow) -> None:
        """This server is given bytes that are not those of the snapshot it receives."""
        self._misled.add(shadow.identity)

    # ── a step ──

    def stepped(self, shadow: Shadow, inputs: Sequence[Input], effects: Effects) -> None:
        """A server made a step, and nothing of `effects` was done yet."""
        raft = shadow.raft
        assert raft is not None
        state = raft.state
        term, before = state.current_term, shadow.term
        if term < before:
            fail("S4 TermMonotone", f"{shadow.identity}: {before} → {term}")
        shadow.term = term
        for event in effects.events:
            self._happened(shadow, event, before)
        for it in inputs:
            match it:
                case Receive(sender=sender, message=message):
                    if term < message.term:
                        _joins_not(shadow, message, term)
                    if isinstance(message, _ANSWERS) and isinstance(state.role, Leader):
                        self._match_holds(shadow, raft, sender)
                case Propose(ticket=ticket, payloads=payloads):
                    self.callers.proposes((shadow.identity.id, ticket), payloads)
                case Read(ticket=ticket):
                    self.callers.reads((shadow.identity.id, ticket), self.commit_index)
                case _:
                    pass
        if len(inputs) == 1:
            _pre_vote_pure(shadow, inputs[0], effects, before)
        if effects.persist is not None:
            self._issued(shadow, effects.persist)
        if state.commit_index != shadow.commit_index:
            self._committed(shadow, state.commit_index)
        if any(isinstance(event, ConfigurationChanged) for event in effects.events):
            self.configurations.in_force(shadow, raft)
        if not isinstance(state.role, Leader):
            shadow.leads = None
            shadow.told_at = None
        self._bounds(shadow, raft)
        shadow.last_index = raft.last_index
        if effects.install is not None:
            self._installed(shadow, effects.install)
        for run in effects.apply:
            self._handed(shadow, run)
        for answer in effects.answer:
            self._answered(shadow, answer)
        if any(isinstance(answer, NotHandedOver) for answer in effects.answer):
            shadow.told_at = None
        if shadow.told_at not in (None, raft.last_index):
            fail("S27 TransferSanity", f"{shadow.identity} appends, and told another to take over")
        self.steps += 1
        if self.steps % CENSUS_STEPS == 0:
            self._quorum_log()
            self._more_up_to_date()

    def _happened(self, shadow: Shadow, event: Event, before: Term) -> None:
        match event:
            case RoleChanged(role="leader", term=term):
                self._won(shadow, term)
            case RoleChanged(role="pre-candidate"):
                assert shadow.raft is not None
                self.configurations.campaigns(shadow, shadow.raft)
            case PeerMisbehaved(peer=peer):
                # Everything else in a world was sent by a correct core.
                terms = range(before, shadow.term + 1)
                if "checksum" in event.what and shadow.identity in self._misled:
                    return  # whoever gave the last part is named
                if not any((shadow.identity.id, peer, it) in self._suspects for it in terms):
                    fail("S29 NobodyMisbehaves", f"{shadow.identity}: {event}")
            case _:
                pass

    def _won(self, shadow: Shadow, term: Term) -> None:
        identity = shadow.identity
        if self.leader_of.setdefault(term, identity) != identity:
            fail("S1 ElectionSafety", f"{identity} and {self.leader_of[term]} lead {term}")
        assert shadow.raft is not None
        configuration = shadow.raft.configuration
        if not agree(configuration, lambda it: self.votes.get((it, term)) == identity):
            votes = [
                str(who)
                for (who, when), whom in self.votes.items()
                if (when, whom) == (term, identity)
            ]
            fail("S6 QuorumWin", f"{identity} leads {term} by durable votes of {votes} alone")
        # Not of what a later term has committed: votes for this one may have been long on their way.
        earlier = bisect_left(self._counted, (term, Index(0)))
        if earlier:
            counted, committed = self._counted[earlier - 1]
            if not shadow.issued.holds(committed, counted):
                fail("S15 LeaderCompleteness", f"{identity} leads {term} without entry {committed}")
        shadow.leads = term
        shadow.matches.clear()

    def _issued(self, shadow: Shadow, write: Write) -> None:
        raft, issued = shadow.raft, shadow.issued
        assert raft is not None
        if write.hard_state is not None:
            term, vote = write.hard_state
            if shadow.vote[0] == term and shadow.vote[1] not in (None, vote):
                fail("S2 OneVote", f"{shadow.identity} changes {shadow.vote} to {write.hard_state}")
            shadow.vote = write.hard_state
        if write.chunk is not None and write.chunk.last:
            snapshot = write.chunk.snapshot
            self._sound(shadow, snapshot)
            if raft.role == "leader":
                fail(
                    "S9 LeaderAppendOnly", f"{shadow.identity} replaces its log by {snapshot.index}"
                )
            if issued.term(snapshot.index) == snapshot.term:
                fail(
                    "S10 NoCommittedTruncation",
                    f"{shadow.identity} drops what follows {snapshot.index}",
                )
        if write.truncate_from is not None:
            if raft.role == "leader":
                fail("S9 LeaderAppendOnly", f"{shadow.identity} truncates {write.truncate_from}")
            self._truncates(shadow, write.truncate_from)
        # Writes are applied in the order of their fields: the checks of `runs` need what is before.
        issued.change(attrs.evolve(write, runs=(), compact_to=None))
        for run in write.runs:
            self._appends(shadow, run)
            issued.append(run)
        if write.compact_to is not None:
            if shadow.disk.snapshot is None or write.compact_to > shadow.disk.snapshot.index:
                fail(
                    "S23 SnapshotSound",
                    f"{shadow.identity} compacts {write.compact_to} without snapshot",
                )
            issued.compact(write.compact_to)

    def _truncates(self, shadow: Shadow, first: Index) -> None:
        if first <= shadow.commit_index:
            fail(
                "S10 NoCommittedTruncation", f"{shadow.identity}: {first} <= {shadow.commit_index}"
            )
        if (
            first <= self.commit_index
            and shadow.issued.term(first) == self.committed_terms[first - 1]
        ):
            fail(
                "S10 NoCommittedTruncation",
                f"{shadow.identity} truncates {first}, which is committed",
            )

    def _appends(self, shadow: Shadow, run: Run) -> None:
        issued, term = shadow.issued, run.term
        if run.first != issued.last_index + 1:
            fail("S7 LogMatching", f"{shadow.identity} after {issued.last_index}: {run}")
        if not issued.last_term <= term <= shadow.term:
            fail(
                "S8 TermOrder", f"{shadow.identity} in {shadow.term}, log {issued.last_term}: {run}"
            )
        chain = self.chains.get(term)
        if chain is None:
            chain = TermChain(first=run.first, previous_term=issued.last_term)
            self.chains[term] = chain
        previous_term = chain.previous_term if run.first == chain.first else term
        if issued.last_term != previous_term or not chain.first <= run.first <= chain.end:
            fail("S7 LogMatching", f"{shadow.identity}, log {issued.last_term}: {run} of {chain}")
        if not chain.agrees(run):
            fail("S7 LogMatching", f"{shadow.identity}: {run}, its leader made {chain}")
        if run.last >= chain.end:
            if shadow.leads != term:
                fail("S8 TermOrder", f"{shadow.identity} makes {run}, but does not lead")
            if run.kinds is not None and Kind.CONFIGURATION in run.kinds:
                self._changes(shadow, run, chain.first)
            chain.extend(run.cut(max(run.first, chain.end), run.last))

    def _changes(self, shadow: Shadow, run: Run, first: Index) -> None:
        assert shadow.raft is not None
        for entry in run:
            if entry.kind is Kind.CONFIGURATION:
                self.configurations.made(shadow, shadow.raft, entry.index, entry.payload, first)

    def _committed(self, shadow: Shadow, commit_index: Index) -> None:
        issued, known, before = shadow.issued, self.commit_index, shadow.commit_index
        if commit_index < before:
            fail("S14 CommitMonotone", f"{shadow.identity}: {before} → {commit_index}")
        if commit_index > issued.last_index:
            fail("S14 Bounds", f"{shadow.identity}: {commit_index} > {issued.last_index}")
        base = issued.base_index
        start, stop = max(before, base), min(commit_index, known)
        if issued.terms[start - base : stop - base] != self.committed_terms[start:stop]:
            fail(
                "S11 StateMachineSafety", f"{shadow.identity}: other entries from {start} to {stop}"
            )
        shadow.commit_index = commit_index
        if commit_index <= known:
            return
        term = issued.term(commit_index)
        assert term is not None
        if shadow.leads != term:
            where = f"{shadow.identity}, leader of {shadow.leads}"
            fail("S12 CommitRule", f"{where}: {known} → {commit_index} of term {term}")
        self._counted_well(shadow, commit_index, term)
        self._counted.append((term, commit_index))
        self._grow(issued.terms[known - base : commit_index - base])

    def _counted_well(self, shadow: Shadow, index: Index, term: Term) -> None:
        """S13: enough voters of the configuration that the leader had in force hold the entry durably."""
        assert shadow.raft is not None
        # One that was made in this very step may have come into force before the count or after it.
        found = shadow.raft.state.configurations
        counted = max(0, sum(at <= shadow.last_index for at, _ in found) - 1)
        if not any(
            agree(it, lambda who: self._holds(who, index, term), it.settings.replication_factor)
            for _, it in found[counted:]
        ):
            holders = [str(it) for it in self.shadows if self._holds(it, index, term)]
            fail(
                "S13 CommittedDurable", f"{index} of term {term} is on the disks of {holders} alone"
            )

    def _grow(self, terms: list[Term]) -> None:
        """These entries are committed, for ever."""
        for term in terms:
            chain = self.chains[term]
            place = len(self.committed_terms) + 1 - chain.first
            payload = chain.payloads[place]
            match chain.marks[place][0]:
                case Kind.COMMAND:
                    self.callers.committed(payload)
                case Kind.CONFIGURATION:
                    self.configurations.grow(Index(len(self.committed_terms) + 1), payload)
                case _:
                    pass
            self.committed_terms.append(term)
            self.committed_payloads.append(payload)

    def _bounds(self, shadow: Shadow, raft: Raft) -> None:
        state, issued, log = raft.state, shadow.issued, shadow.disk.log
        last, durable = state.log.last_index, state.durability.index
        if last != issued.last_index:
            fail("S14 Bounds", f"{shadow.identity}: last {last}, written {issued.last_index}")
        if durable > log.last_index or (
            durable >= issued.base_index and log.term(durable) not in (issued.term(durable), None)
        ):
            fail("S3 DurableTruth", f"{shadow.identity} takes {durable} for durable")
        verified = state.verified_index
        if verified != shadow.verified_index:
            shadow.verified_index = verified
            if raft.leader is not None and raft.leader != shadow.identity.id:
                self._equal_to_leader(shadow, issued, verified, shadow.term)

    def _equal_to_leader(self, shadow: Shadow, log: LogImage, index: Index, term: Term) -> None:
        """`log` and that of the leader of `term`, if it still leads, are the same up to `index`."""
        leader = self.leader_of.get(term)
        if leader is None:
            return
        other = self.shadows[leader]
        if other.leads == term and index >= max(log.base_index, other.issued.base_index):
            mine, its = log.term(index), other.issued.term(index)
            if mine is None or mine != its:
                fail(
                    "S3 VerifiedTruth",
                    f"{shadow.identity}: {index} has term {mine}, leader's {its}",
                )

    def _match_holds(self, shadow: Shadow, raft: Raft, follower: Identity) -> None:
        """S24: what a leader takes for held is on the follower's disk, unless that has left the term."""
        if follower not in self.shadows:
            return  # forged, of nobody
        progress, disk = raft.state.progress_of(follower), self.shadows[follower].promised
        if progress is None:
            return  # removed
        index = progress.match_index
        known, before = shadow.matches.get(follower, (progress, Index(0)))
        if known is progress and index < before:
            fail("S24 MatchMonotone", f"{shadow.identity} at {follower}: {before} → {index}")
        shadow.matches[follower] = (progress, index)
        term = raft.state.log.term(index)
        if disk.term == shadow.term and term is not None and not disk.log.holds(index, term):
            fail("S24 ProgressTruth", f"{shadow.identity} counts {index} at {follower}")

    # ── disks and messages ──

    def performed(self, shadow: Shadow, write: Write) -> None:
        """A write became durable."""
        if write.hard_state is not None:
            term, vote = write.hard_state
            if vote is not None and self.votes.setdefault((shadow.identity, term), vote) != vote:
                fail("S2 OneVote", f"{shadow.identity} voted for others in {term} than {vote}")

    def sent(self, shadow: Shadow, target: NodeId, message: Message) -> None:
        """A message leaves: what it claims must be on disk, or true of the leader that claims it."""
        disk, me = shadow.disk, shadow.identity
        if shadow.forgotten is not None and _promises(message):
            fail("S33 BarredIsSilent", f"{me}, which was rolled back: {message}")
        match message:
            case AppendEntries() | Heartbeat() | SnapshotChunk() | ReadReply():
                if self.leader_of.get(message.term) != me or disk.term < message.term:
                    fail("S3 SentByLeader", f"{me}: {message}, on disk term {disk.term}")
            case AppendAccepted() | HeartbeatReply():
                index = message.index
                if disk.term < message.term or disk.log.last_index < index:
                    fail(
                        "S3 SaidDurable",
                        f"{me}: {message}, on disk {disk.term}, {disk.log.last_index}",
                    )
                if index:
                    self._equal_to_leader(shadow, disk.log, index, message.term)
            case TimeoutNow():
                self._told(shadow, target, message)
            case VoteRequest(term=term):
                self._votes(shadow, term, me)
            case VoteReply(term=term, granted=True):
                self._votes(shadow, term, self.votes.get((me, term)) or self._named(target))
            case SnapshotReply(index=index, installed=True):
                if disk.term < message.term or disk.log.last_index < index:
                    fail(
                        "S3 SaidDurable",
                        f"{me}: {message}, on disk {disk.term}, {disk.log.last_index}",
                    )
            case VoteReply() | AppendRejected() | SnapshotReply():
                if disk.term < message.term:
                    fail("S3 SaidDurable", f"{me}: {message}, on disk term {disk.term}")
            case PreVoteRequest() | PreVoteReply() | ReadRequest():
                pass

    def _told(self, shadow: Shadow, target: NodeId, message: TimeoutNow) -> None:
        """A leader tells a server to campaign, which must be able to win (§3.10).

        The server that it knows: another one, which has that name by now, does not obey.
        """
        assert shadow.raft is not None
        told = next(it for it in shadow.raft.configuration.members if it.id == target)
        issued, disk = shadow.issued, self.shadows[told.identity].promised
        if self.leader_of.get(message.term) != shadow.identity:
            fail("S3 SentByLeader", f"{shadow.identity}: {message}")
        # Unless it has left the term meanwhile: then it does not obey.
        if disk.term == message.term and not disk.log.holds(issued.last_index, issued.last_term):
            fail("S27 TransferSanity", f"{target} is told without entry {issued.last_index}")
        shadow.told_at = issued.last_index

    def _votes(self, shadow: Shadow, term: Term, candidate: Identity) -> None:
        """A vote is told: it must be durable, or a later term be, after which there is no other in `term`."""
        disk, voter = shadow.disk, shadow.identity
        if (disk.term, disk.voted_for) != (term, candidate) and disk.term <= term:
            fail("S3 VoteBeforeSend", f"{voter} tells its vote in {term} for {candidate} too early")
        if self.votes.setdefault((voter, term), candidate) != candidate:
            fail("S2 OneVote", f"{voter} votes for {candidate} and others in {term}")

    def _named(self, name: NodeId) -> Identity:
        """The server of that name, the latest one."""
        return max((it for it in self.shadows if it.id == name), key=lambda it: it.incarnation)

    # ── state machines and callers ──

    def snapshot_of(self, index: Index) -> bytes:
        """The state machine's snapshot at `index`: the same on every server, as only the log decides it."""
        start, digest = self._digest if self._digest[0] <= index else (0, 0)
        for payload in self.committed_payloads[start:index]:
            digest = zlib.crc32(payload, digest)
        self._digest = (index, digest)
        return digest.to_bytes(4, "big") * (digest % 64)

    def snapshot_at(self, index: Index) -> tuple[SnapshotMeta, bytes]:
        """That snapshot and what describes it, as any server would take it."""
        data = self.snapshot_of(index)
        time_ns, elapsed_ns = self.stamps_of(index)
        configuration_index, configuration = self.configurations.at(index)
        snapshot = SnapshotMeta(
            index=index,
            term=self.committed_terms[index - 1],
            configuration=configuration,
            configuration_index=configuration_index,
            time_ns=time_ns,
            elapsed_ns=elapsed_ns,
            size=len(data),
            checksum=zlib.crc32(data),
        )
        return snapshot, data

    def stamps_of(self, index: Index) -> tuple[int, int]:
        """Stamps of the committed entry at `index`."""
        chain = self.chains[self.committed_terms[index - 1]]
        return chain.marks[index - chain.first][1:]

    def _sound(self, shadow: Shadow, snapshot: SnapshotMeta) -> None:
        index, data = snapshot.index, self.snapshot_of(snapshot.index)
        if (
            index > self.commit_index
            or snapshot.term != self.committed_terms[index - 1]
            or (snapshot.configuration_index, snapshot.configuration)
            != self.configurations.at(index)
            or (snapshot.time_ns, snapshot.elapsed_ns) != self.stamps_of(index)
            or (snapshot.size, snapshot.checksum) != (len(data), zlib.crc32(data))
        ):
            fail("S23 SnapshotSound", f"{shadow.identity}: {snapshot}")

    def _installed(self, shadow: Shadow, snapshot: SnapshotMeta) -> None:
        self._sound(shadow, snapshot)
        if snapshot != shadow.disk.snapshot:
            fail(
                "S3 SaidDurable",
                f"{shadow.identity} installs {snapshot.index} before it is durable",
            )
        if snapshot.index < shadow.handed_index:
            fail("S22 ApplyOrder", f"{shadow.identity}: {shadow.handed_index} → {snapshot.index}")
        shadow.handed_index = snapshot.index
        self.snapshots_installed += 1

    def _handed(self, shadow: Shadow, run: Run) -> None:
        payloads = self.committed_payloads[run.first - 1 : run.last]
        if run.first != shadow.handed_index + 1 or payloads != list(run.payloads):
            fail("S22 ApplyOrder", f"{shadow.identity} after {shadow.handed_index}: {run}")
        if run.last > shadow.commit_index or run.last > shadow.disk.log.last_index:
            fail("S14 Bounds", f"{shadow.identity} applies {run.last} too early")
        shadow.handed_index = run.last

    def _answered(self, shadow: Shadow, answer: Answer) -> None:
        call = shadow.identity.id, answer.ticket
        match answer:
            case Proposed(term=term):
                self.callers.proposed(call, answer, self.chains.get(term))
            case Refused():
                self.callers.refused(call)
            case ReadConfirmed(index=index):
                self.callers.confirmed(call, index, self.commit_index)
            case MembershipChanged(index=index):
                self.changes_made += 1
                if self.configurations.at(index)[0] != index:
                    fail(
                        "S18 ChangeDone", f"{call}: there is no committed configuration at {index}"
                    )
            case MembershipUnknown() | SteppedDown() | NotHandedOver():
                pass

    # ── all servers together ──

    def _holds(self, identity: Identity, index: Index, term: Term) -> bool:
        """Whether that server's disk would give back this entry."""
        return self.shadows[identity].promised.log.holds(index, term)

    def _quorum_log(self) -> None:
        """S16: no quorum of the newest committed configuration can be elected without what is committed."""
        index, term = self.commit_index, self.committed_terms[-1]
        newest = self.configurations.newest
        if agree(newest, lambda it: not self._holds(it, index, term)) and not self._disks_lost:
            fail("S16 QuorumLog", f"a quorum of {newest.halves} lacks entry {index} of term {term}")

    def _more_up_to_date(self) -> None:
        """S17: a log that may win against one that ends in a committed entry contains that entry.

        Only of entries that a leader of their own term committed: those below them are not compared with,
        since a follower may have got so far only, and an older leader's longer log lack them.
        """
        for shadow in self.shadows.values():
            if shadow.forgotten is not None:
                continue  # it can't win
            log = shadow.issued if shadow.raft is not None else shadow.disk.log
            place = bisect_right(self._counted, (log.last_term, log.last_index))
            if place:
                term, index = self._counted[place - 1]
                if not log.holds(index, term):
                    fail("S17 MoreUpToDate", f"{shadow.identity} has a newer log, but not {index}")


def _promises(message: Message) -> bool:
    """Whether others may count on this: a vote, a campaign, or what is durable."""
    match message:
        case VoteRequest() | PreVoteRequest() | AppendAccepted() | SnapshotReply():
            return True
        case VoteReply(granted=granted) | PreVoteReply(granted=granted):
            return granted
        case HeartbeatReply(round=answered):
            return answered > 0
        case _:
            return False


def _joins_not(shadow: Shadow, message: Message, term: Term) -> None:
    """S5: whoever is told of a later term joins it, unless it sticks to its leader or is only asked."""
    match message:
        case PreVoteRequest() | PreVoteReply(granted=True) | VoteRequest():
            pass
        case _:
            fail("S5 TermAbsorb", f"{shadow.identity} stays in {term}: {message}")


def _pre_vote_pure(shadow: Shadow, it: Input, effects: Effects, before: Term) -> None:
    """S31: being asked whether one would vote changes nothing."""
    match it:
        case Receive(message=PreVoteRequest()):
            if effects.persist is not None or effects.events or shadow.term != before:
                fail("S31 PreVotePure", f"{shadow.identity}: {effects}")
        case _:
            pass
