"""One of every message and a frame, each field with a value of its own: what the golden bytes are of."""

from __future__ import annotations

from raftkit.changes import (
    AddLearner,
    ChangeSettings,
    Demote,
    Promote,
    Readdress,
    Remove,
)
from raftkit.driver_messages import (
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
    Membership,
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
from raftkit.membership import Configuration, Epoch, Member, Role, Settings
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
from raftkit.model import Identity, Index, Kind, Run, Term
from raftkit.snapshot import SnapshotMeta

EPOCH = Epoch(number=3, nonce=0x0123456789ABCDEF)
SCOPE = Scope(cluster=bytes(range(16)), epoch=EPOCH, group=9)
SENDER = Identity(id="ä", incarnation=0xFEDCBA9876543210)

CONFIGURATION = Configuration(
    members=(
        Member(id="a", incarnation=0xA1, address="10.0.0.1:7001"),
        Member(id="b", incarnation=0xB1, address="10.0.0.2:7001", role=Role.LEARNER),
    ),
    outgoing=("a", "b"),
    settings=Settings(
        election_timeout_ms=(250, 500),
        leases=True,
        replication_factor=2,
        entry_bytes_max=65_536,
        snapshot_entries=101,
        snapshot_bytes=102,
        snapshot_elapsed_ms=103,
        sessions_max=104,
        session_idle_ms=105,
        session_reply_bytes_max=106,
        epoch=EPOCH,
        version=7,
    ),
)

COMMANDS = Run(
    first=Index(42),
    term=Term(5),
    time_ns=1_700_000_000_000_000_000,
    elapsed_ns=987_654_321,
    payloads=(b"one", b"", b"three" * 10),
)
MIXED = Run(
    first=Index(45),
    term=Term(6),
    time_ns=1_700_000_000_000_000_001,
    elapsed_ns=987_654_322,
    kinds=(Kind.NOOP, Kind.COMMAND, Kind.CONFIGURATION, Kind.SESSION),
    payloads=(b"", b"x", CONFIGURATION.encode(), b"s"),
)
FOUNDING = FoundingRecord(
    scope=SCOPE,
    entry=Run(
        first=Index(1),
        term=Term(1),
        time_ns=1_699_999_999_000_000_000,
        elapsed_ns=0,
        kinds=(Kind.CONFIGURATION,),
        payloads=(CONFIGURATION.encode(),),
    ),
)
SNAPSHOT = SnapshotMeta(
    index=Index(1000),
    term=Term(4),
    configuration=CONFIGURATION,
    configuration_index=Index(900),
    time_ns=1_700_000_000_000_000_002,
    elapsed_ns=987_654_323,
    size=5000,
    checksum=0xDEADBEEF,
)
HELLO = Hello(
    wire_format=1,
    boot=12,
    nonce=0x1122334455667788,
    address="10.0.0.1:7001",
    founders=("a", "b", "c"),
    settings_hash=bytes(range(32)),
    founding=FOUNDING,
    remembered=Remembered(boot=11, nonce=13, term=Term(5), index=Index(41)),
    machine_version=2,
    fingerprint=bytes(range(32, 64)),
    python=(3, 11),
)

MESSAGES: dict[str, Message | DriverMessage] = {
    "pre-vote request": PreVoteRequest(term=Term(8), last_index=Index(48), last_term=Term(6)),
    "pre-vote reply": PreVoteReply(term=Term(8), granted=True),
    "vote request": VoteRequest(
        term=Term(8), last_index=Index(48), last_term=Term(6), transfer=True
    ),
    "vote reply": VoteReply(term=Term(8), granted=False),
    "append entries": AppendEntries(
        term=Term(6),
        prev_index=Index(41),
        prev_term=Term(4),
        commit_index=Index(40),
        runs=(COMMANDS, MIXED),
    ),
    "append entries without entries": AppendEntries(
        term=Term(1), prev_index=Index(0), prev_term=Term(0), commit_index=Index(0), runs=()
    ),
    "append accepted": AppendAccepted(term=Term(6), index=Index(48)),
    "append rejected": AppendRejected(
        term=Term(6), prev_index=Index(41), hint_index=Index(30), hint_term=Term(3)
    ),
    "heartbeat": Heartbeat(term=Term(6), round=77, commit_index=Index(48)),
    "heartbeat reply": HeartbeatReply(
        term=Term(6), round=77, index=Index(47), wall_ns=1_700_000_000_000_000_003
    ),
    "read request": ReadRequest(term=Term(6), ticket=0x0001000000000002),
    "read reply": ReadReply(term=Term(6), ticket=0x0001000000000002, index=Index(48)),
    "snapshot chunk": SnapshotChunk(
        term=Term(6), snapshot=SNAPSHOT, offset=4096, data=b"the end of a snapshot"
    ),
    "snapshot reply": SnapshotReply(term=Term(6), index=Index(1000), offset=4117, installed=False),
    "snapshot reply of who is served elsewhere": SnapshotReply(
        term=Term(6), index=Index(1000), offset=4117, installed=False, elsewhere=True
    ),
    "timeout now": TimeoutNow(term=Term(6)),
    "membership": Membership(index=Index(47), configuration=CONFIGURATION),
    "presence": Presence(
        term=Term(6),
        leader="ä",
        last_index=Index(1003),
        last_term=Term(5),
        first_index=Index(1001),
        commit_index=Index(1002),
        applied_index=Index(1000),
        configuration_index=Index(47),
        missing=("b", "d"),
    ),
    "presence of a low priority": Presence(
        term=Term(6),
        leader=None,
        last_index=Index(3),
        last_term=Term(5),
        first_index=Index(1),
        commit_index=Index(2),
        applied_index=Index(1),
        configuration_index=Index(1),
        missing=(),
        priority=-2,
    ),
    "hello": HELLO,
    "goodbye": Goodbye(why="another node named ä is alive"),
    "forward": Forward(
        request=0x0001000000000003,
        payloads=(b"register", b"command"),
        kinds=(Kind.SESSION, Kind.COMMAND),
    ),
    "forward accepted": ForwardAccepted(request=0x0001000000000003, first=Index(49), term=Term(6)),
    "forward refused": ForwardRefused(
        request=0x0001000000000003, reason=Refusal.OVERLOADED, leader="b"
    ),
    "state digests": StateDigests(
        digests=(
            StateDigest(index=Index(1000), format=2, version=3, size=5000, digest=bytes(range(32))),
            StateDigest(
                index=Index(2000), format=2, version=3, size=5001, digest=bytes(range(32, 64))
            ),
        )
    ),
    "snapshot wanted": SnapshotWanted(index=Index(1000), offset=4096),
    "snapshot wanted of a checksum": SnapshotWanted(
        index=Index(1000), offset=4096, checksum=0xFEDCBA98
    ),
    "snapshot part": SnapshotPart(index=Index(1000), offset=4096, data=b"the rest of it"),
    "change referral": ChangeReferral(
        request=0x0001000000000004,
        within_ms=29_000,
        changes=(
            AddLearner(id="d", incarnation=0xD1, address="10.0.0.4:7001", promote=True),
            Promote(id="b"),
            Demote(id="a"),
            Remove(id="c"),
            Readdress(id="e", address="10.0.0.5:7001"),
            ChangeSettings(settings=CONFIGURATION.settings),
        ),
        based_on=Index(900),
    ),
    "transfer referral": TransferReferral(request=0x0001000000000005, within_ms=29_001, target="b"),
    "change made": ChangeMade(request=0x0001000000000004, index=Index(50)),
    "leadership moved": LeadershipMoved(request=0x0001000000000005, leader="b"),
    "referral failed": ReferralFailed(
        request=0x0001000000000005,
        outcome=ReferralOutcome.REFUSED,
        why="b is a learner and can't lead: name a voter",
        leader="a",
    ),
}

FRAME = Frame(scope=SCOPE, sender=SENDER, body=MESSAGES["heartbeat"])


def reason_of(value: object) -> str:
    """The id of a refusal among others: why, not which bytes."""
    return value if isinstance(value, str) else ""
