"""Hypothesis strategies for everything that is written to wires and disks, and for what users write.

`commands(Counter)` draws commands of a machine; the others draw what raftkit itself sends and stores.

Law: what these make is well formed, with numbers up to the bounds of the formats; whoever wants
malformed values spoils them.
"""

from __future__ import annotations

from raftkit.changes import (
    AddLearner,
    Change,
    ChangeSettings,
    Demote,
    Promote,
    Readdress,
    Remove,
)
from raftkit.config import PRIORITY_MIN
from raftkit.driver_messages import (
    DIGESTS_MAX,
    UNBORN,
    ChangeMade,
    ChangeReferral,
    DriverMessage,
    Forward,
    ForwardAccepted,
    ForwardRefused,
    FoundingRecord,
    Frame,
    Goodbye,
    Hello,
    LeadershipMoved,
    Presence,
    ReferralFailed,
    ReferralOutcome,
    Remembered,
    Scope,
    SnapshotPart,
    SnapshotWanted,
    StateDigest,
    StateDigests,
    TransferReferral,
)
from raftkit.encoding import U63_MAX, U64_MAX
from raftkit.membership import ADDRESS_MAX, Configuration, Epoch, Member, Role, Settings
from raftkit.messages import (
    AppendAccepted,
    AppendEntries,
    AppendRejected,
    Heartbeat,
    HeartbeatReply,
    Message,
    PreVoteReply,
    PreVoteRequest,
    ReadReply,
    ReadRequest,
    Refusal,
    SnapshotChunk,
    SnapshotReply,
    TimeoutNow,
    VoteReply,
    VoteRequest,
)
from raftkit.model import Identity, Index, Kind, NodeId, Run, Term
from raftkit.snapshot import SnapshotMeta
from raftkit.testing.machines.strategies import commands, queries
from raftkit.testing.with_hypothesis import assume, st

__all__ = [
    "append_entries",
    "commands",
    "configurations",
    "driver_messages",
    "founding_records",
    "frames",
    "identities",
    "messages",
    "queries",
    "runs",
    "scopes",
    "snapshot_metas",
]

_OPAQUE = (Kind.COMMAND, Kind.SESSION, Kind.CLOCK, Kind.VOID, Kind.VERSION, Kind.OUTBOX)


def _numbers(lowest: int = 0, highest: int = U64_MAX) -> st.SearchStrategy[int]:
    """Small ones as often as any, so that lengths of the formats change."""
    return st.integers(lowest, min(highest, lowest + 30)) | st.integers(lowest, highest)


def _terms(lowest: int = 1, highest: int = U63_MAX) -> st.SearchStrategy[Term]:
    return _numbers(lowest, highest).map(Term)


def _indexes(lowest: int = 0, highest: int = U63_MAX) -> st.SearchStrategy[Index]:
    return _numbers(lowest, highest).map(Index)


@st.composite
def _places(draw: st.DrawFn, *, term_max: int) -> tuple[Index, Term]:
    """Index and term of an entry, or 0 and 0. Far enough from the end for entries to follow."""
    if term_max == 0 or draw(st.booleans()):
        return Index(0), Term(0)
    return draw(_indexes(1, U63_MAX - 100)), draw(_terms(1, term_max))


def _texts(longest: int, *, shortest: int = 0) -> st.SearchStrategy[str]:
    """Printable ones."""
    printable = st.characters(exclude_categories=("C", "Z"))
    return st.text(printable, min_size=shortest, max_size=longest)


def _names() -> st.SearchStrategy[NodeId]:
    return st.sampled_from("abcde") | _texts(64, shortest=1)


def _addresses() -> st.SearchStrategy[str]:
    return st.just("127.0.0.1:7001") | _texts(ADDRESS_MAX)


def _name_tuples() -> st.SearchStrategy[tuple[NodeId, ...]]:
    """Sorted, each once."""
    return st.lists(_names(), unique=True, max_size=5).map(lambda names: tuple(sorted(names)))


def identities() -> st.SearchStrategy[Identity]:
    """Name and incarnation of a node."""
    return st.builds(Identity, id=_names(), incarnation=_numbers())


# ── configurations and runs ──────────────────────────────────────────────────────────────────────


def _epochs() -> st.SearchStrategy[Epoch]:
    return st.builds(Epoch, number=_numbers(1), nonce=_numbers())


@st.composite
def _settings(draw: st.DrawFn) -> Settings:
    low = draw(_numbers(1, U64_MAX - 1))
    return Settings(
        election_timeout_ms=(low, draw(_numbers(low + 1))),
        leases=draw(st.booleans()),
        replication_factor=draw(_numbers(1)),
        entry_bytes_max=draw(_numbers()),
        snapshot_entries=draw(_numbers()),
        snapshot_bytes=draw(_numbers()),
        snapshot_elapsed_ms=draw(_numbers()),
        sessions_max=draw(_numbers()),
        session_idle_ms=draw(_numbers()),
        session_reply_bytes_max=draw(_numbers()),
        epoch=draw(_epochs()),
        version=draw(_numbers(1)),
    )


def _members() -> st.SearchStrategy[Member]:
    return st.builds(
        Member,
        id=_names(),
        incarnation=_numbers(),
        address=_addresses(),
        role=st.sampled_from(Role),
    )


@st.composite
def configurations(draw: st.DrawFn) -> Configuration:
    """Groups with at least one voter, joint or not, with any settings that the format can hold."""
    members = draw(st.lists(_members(), min_size=1, max_size=5, unique_by=lambda it: it.id))
    leaving = {member.id for member in members if member.role is Role.LEAVING}
    others = sorted({member.id for member in members} - leaving)
    outgoing = leaving | draw(st.just(set[str]()) | st.sets(st.sampled_from(others or [""])))
    found = Configuration(
        members=tuple(members),
        outgoing=tuple(sorted(outgoing)),
        settings=draw(st.just(Settings()) | _settings()),
    )
    assume(found.voters)
    return found


def _payloads(kind: Kind) -> st.SearchStrategy[bytes]:
    match kind:
        case Kind.NOOP:
            return st.just(b"")
        case Kind.CONFIGURATION:
            return configurations().map(Configuration.encode)
        case _:
            return st.binary(max_size=300)


@st.composite
def _proposals(
    draw: st.DrawFn, *, kinds: tuple[Kind, ...] = tuple(Kind)
) -> tuple[tuple[Kind, ...] | None, tuple[bytes, ...]]:
    """Kinds, or None where all are commands; and as many payloads as there are kinds."""
    found = tuple(draw(st.lists(st.just(Kind.COMMAND) | st.sampled_from(kinds), min_size=1)))
    return found if any(found) else None, tuple(draw(_payloads(kind)) for kind in found)


@st.composite
def runs(
    draw: st.DrawFn, *, first: int | None = None, term_min: int = 1, term_max: int = U63_MAX
) -> Run:
    """Runs from index `first` (or any) on, of a term from `term_min` to `term_max`."""
    kinds, payloads = draw(_proposals())
    highest = U63_MAX - len(payloads) + 1
    return Run(
        first=draw(_indexes(1, highest)) if first is None else Index(first),
        term=draw(_terms(term_min, term_max)),
        time_ns=draw(_numbers()),
        elapsed_ns=draw(_numbers()),
        kinds=kinds,
        payloads=payloads,
    )


# ── messages between cores ───────────────────────────────────────────────────────────────────────


@st.composite
def _vote_requests(draw: st.DrawFn) -> VoteRequest | PreVoteRequest:
    term = draw(_terms())
    index, last_term = draw(_places(term_max=term - 1))
    if draw(st.booleans()):
        return PreVoteRequest(term=term, last_index=index, last_term=last_term)
    transfer = draw(st.booleans())
    return VoteRequest(term=term, last_index=index, last_term=last_term, transfer=transfer)


def _vote_replies() -> st.SearchStrategy[VoteReply | PreVoteReply]:
    granted = {"term": _terms(), "granted": st.just(value=True)}
    refused = {"term": _terms(0), "granted": st.just(value=False)}
    return st.one_of(
        st.builds(VoteReply, **granted),
        st.builds(VoteReply, **refused),
        st.builds(PreVoteReply, **granted),
        st.builds(PreVoteReply, **refused),
    )


@st.composite
def append_entries(draw: st.DrawFn) -> AppendEntries:
    """Up to three runs that follow each other, from any leader."""
    term = draw(_terms())
    prev_index, prev_term = draw(_places(term_max=term))
    found: list[Run] = []
    last, newest = prev_index, max(prev_term, 1)
    for _ in range(draw(st.integers(0, 3))):
        found.append(draw(runs(first=last + 1, term_min=newest, term_max=term)))
        last, newest = found[-1].last, found[-1].term
    return AppendEntries(
        term=term,
        prev_index=prev_index,
        prev_term=prev_term,
        commit_index=draw(_indexes()),
        runs=tuple(found),
    )


@st.composite
def _append_rejected(draw: st.DrawFn) -> AppendRejected:
    term = draw(_terms())
    hint_index, hint_term = draw(_places(term_max=term))
    return AppendRejected(
        term=term,
        prev_index=draw(_indexes(max(1, hint_index))),
        hint_index=hint_index,
        hint_term=hint_term,
    )


@st.composite
def snapshot_metas(
    draw: st.DrawFn, *, size: int | None = None, term_max: int = U63_MAX
) -> SnapshotMeta:
    """Snapshots of any state, of `size` bytes where that is given."""
    index = draw(_indexes(1))
    return SnapshotMeta(
        index=index,
        term=draw(_terms(1, term_max)),
        configuration=draw(configurations()),
        configuration_index=draw(_indexes(0, index)),
        time_ns=draw(_numbers()),
        elapsed_ns=draw(_numbers()),
        size=draw(_numbers(0, 1 << 40)) if size is None else size,
        checksum=draw(_numbers(0, (1 << 32) - 1)),
    )


@st.composite
def _snapshot_chunks(draw: st.DrawFn) -> SnapshotChunk:
    term = draw(_terms())
    data = draw(st.binary(max_size=300))
    before, after = (draw(_numbers(0, 1 << 38)) for _ in range(2)) if data else (0, 0)
    snapshot = draw(snapshot_metas(size=before + len(data) + after, term_max=term))
    return SnapshotChunk(term=term, snapshot=snapshot, offset=before, data=data)


def messages() -> st.SearchStrategy[Message]:
    """Every message between cores."""
    term, index, number = _terms(), _indexes(), _numbers()
    return st.one_of(
        _vote_requests(),
        _vote_replies(),
        append_entries(),
        st.builds(AppendAccepted, term=term, index=index),
        _append_rejected(),
        st.builds(Heartbeat, term=term, round=number, commit_index=index),
        st.builds(HeartbeatReply, term=term, round=number, index=index, wall_ns=number),
        st.builds(ReadRequest, term=term, ticket=number),
        st.builds(ReadReply, term=term, ticket=number, index=index),
        _snapshot_chunks(),
        st.builds(
            SnapshotReply, term=term, index=_indexes(1), offset=index, installed=st.booleans()
        ),
        st.builds(
            SnapshotReply,
            term=term,
            index=_indexes(1),
            offset=index,
            installed=st.just(False),
            elsewhere=st.just(True),
        ),
        st.builds(TimeoutNow, term=term),
    )


# ── messages between drivers, and frames ─────────────────────────────────────────────────────────


def scopes() -> st.SearchStrategy[Scope]:
    """Of a born group."""
    return st.builds(
        Scope,
        cluster=st.binary(min_size=16, max_size=16).filter(any),
        epoch=_epochs(),
        group=_numbers(0, (1 << 32) - 1),
    )


@st.composite
def founding_records(draw: st.DrawFn) -> FoundingRecord:
    """Of any group."""
    entry = Run(
        first=Index(1),
        term=Term(1),
        time_ns=draw(_numbers()),
        elapsed_ns=draw(_numbers()),
        kinds=(Kind.CONFIGURATION,),
        payloads=(draw(configurations()).encode(),),
    )
    return FoundingRecord(scope=draw(scopes()), entry=entry)


def _hellos() -> st.SearchStrategy[Hello]:
    remembered = st.builds(
        Remembered, boot=_numbers(), nonce=_numbers(), term=_terms(0), index=_indexes()
    )
    return st.builds(
        Hello,
        wire_format=_numbers(1),
        boot=_numbers(1),
        nonce=_numbers(),
        address=st.just("127.0.0.1:7001"),
        founders=_name_tuples(),
        settings_hash=st.binary(min_size=32, max_size=32),
        founding=st.none() | founding_records(),
        remembered=st.none() | remembered,
        machine_version=_numbers(1),
        fingerprint=st.binary(min_size=32, max_size=32),
        python=st.tuples(_numbers(), _numbers()),
    )


@st.composite
def _forwards(draw: st.DrawFn) -> Forward:
    kinds, payloads = draw(_proposals(kinds=_OPAQUE))
    return Forward(request=draw(_numbers()), payloads=payloads, kinds=kinds)


def _digests() -> st.SearchStrategy[StateDigests]:
    digests = st.builds(
        StateDigest,
        index=_indexes(1),
        format=_numbers(1, (1 << 32) - 1),
        version=_numbers(1, (1 << 32) - 1),
        size=_numbers(0, 1 << 40),
        digest=st.binary(min_size=32, max_size=32),
    )
    several = st.lists(digests, min_size=1, max_size=DIGESTS_MAX, unique_by=lambda it: it.index)
    return several.map(
        lambda found: StateDigests(digests=tuple(sorted(found, key=lambda it: it.index)))
    )


def _changes() -> st.SearchStrategy[Change]:
    return st.one_of(
        st.builds(
            AddLearner,
            id=_names(),
            incarnation=_numbers(),
            address=_addresses(),
            promote=st.booleans(),
        ),
        st.builds(Promote, id=_names()),
        st.builds(Demote, id=_names()),
        st.builds(Remove, id=_names()),
        st.builds(Readdress, id=_names(), address=_addresses()),
        st.builds(ChangeSettings, settings=_settings()),
    )


def _referrals() -> st.SearchStrategy[DriverMessage]:
    request, leaders = _numbers(), st.none() | _names()
    return st.one_of(
        st.builds(
            ChangeReferral,
            request=request,
            within_ms=_numbers(),
            changes=st.lists(_changes(), min_size=1, max_size=3).map(tuple),
            based_on=st.none() | _indexes(1),
        ),
        st.builds(TransferReferral, request=request, within_ms=_numbers(), target=leaders),
        st.builds(ChangeMade, request=request, index=_indexes(1)),
        st.builds(LeadershipMoved, request=request, leader=_names()),
        st.builds(
            ReferralFailed,
            request=request,
            outcome=st.sampled_from(ReferralOutcome),
            why=_texts(80),
            leader=leaders,
        ),
    )


@st.composite
def _presences(draw: st.DrawFn) -> Presence:
    term = draw(_terms())
    last_index, last_term = draw(_places(term_max=term))
    commit_index = draw(_indexes(0, last_index))
    return Presence(
        term=term,
        leader=draw(st.none() | _names()),
        last_index=last_index,
        last_term=last_term,
        first_index=draw(_indexes(1, last_index + 1)),
        commit_index=commit_index,
        applied_index=draw(_indexes(0, commit_index)),
        configuration_index=draw(_indexes(0, last_index)),
        missing=draw(_name_tuples()),
        priority=draw(st.integers(PRIORITY_MIN, 0)),
    )


def driver_messages() -> st.SearchStrategy[DriverMessage]:
    """Every message between drivers."""
    return st.one_of(
        _hellos(),
        _forwards(),
        st.builds(ForwardAccepted, request=_numbers(), first=_indexes(1), term=_terms()),
        st.builds(
            ForwardRefused,
            request=_numbers(),
            reason=st.sampled_from(Refusal),
            leader=st.none() | _names(),
        ),
        _presences(),
        st.builds(Goodbye, why=_texts(80)),
        _digests(),
        st.builds(
            SnapshotWanted,
            index=_indexes(1),
            offset=_numbers(0, U63_MAX),
            checksum=st.none() | _numbers(0, 0xFFFF_FFFF),
        ),
        st.builds(
            SnapshotPart,
            index=_indexes(1),
            offset=_numbers(0, U63_MAX),
            data=st.binary(max_size=40),
        ),
        _referrals(),
    )


def frames() -> st.SearchStrategy[Frame]:
    """Any message of any scope from any sender."""
    return st.builds(
        Frame,
        scope=st.just(UNBORN) | scopes(),
        sender=identities(),
        body=messages() | driver_messages(),
    )
