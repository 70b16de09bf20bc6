from __future__ import annotations

import itertools
import logging
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import attrs
import pytest
from hypothesis import given, strategies as st

from raftkit.driver.replica import Replica, UnknownCommand
from raftkit.driver.replies import (
    Expired,
    Failed,
    RejectedReply,
    Value,
    Void,
    decode_reply,
    rejected,
)
from raftkit.driver.sessions import pack_header
from raftkit.encoding import MalformedError, dumps
from raftkit.errors import (
    CommandFailed,
    ConfigError,
    DidNotHappen,
    LocalProtocolError,
    NotYetEnabled,
    OutcomeUnknown,
    RaftInternalError,
    Rejected,
    SessionExpired,
    StateMachineFailed,
)
from raftkit.membership import Configuration, Member, Settings
from raftkit.model import Index, Kind, Run, Term
from raftkit.statemachine import Batch, BytesStateMachine, StateMachine, command, query
from raftkit.testing.applying import unchanged
from tests.statemachine.bank import Account, Bank, Colour, Insufficient, Owner

NONCE = 1 << 63
Entry = tuple[Kind, bytes]


def run(first: int, *entries: Entry, term: int = 1) -> Run:
    """A run whose stamps are made from its place, so that two cuts of one log have the same."""
    return Run(
        first=Index(first),
        term=Term(term),
        time_ns=1_000,
        elapsed_ns=10,
        kinds=None if not any(kind for kind, _ in entries) else tuple(kind for kind, _ in entries),
        payloads=tuple(payload for _, payload in entries),
    )


SESSION: Entry = (Kind.SESSION, pack_header(NONCE, 1, 0))


def ask(built: Any, seq: int, session: int = 1, ack_below: int = 0) -> Entry:
    body = built if isinstance(built, bytes) else Replica(Bank).encode(built)
    return Kind.COMMAND, pack_header(session, seq, ack_below) + body


def replica_with(*entries: Entry, factory: Any = Bank) -> Replica[Any]:
    """A replica with a session, and these applied."""
    replica = Replica(factory)
    replica.apply([run(1, SESSION, *entries)])
    return replica


def apply_one(replica: Replica[Any], entry: Entry) -> bytes:
    [(_, _, reply)] = replica.apply([run(replica.applied + 1, entry)])
    return reply


# ── applying ─────────────────────────────────────────────────────────────────────────────────────────


def test_commands_are_applied_in_order_and_answered_by_session_and_number() -> None:
    replica = Replica(Bank)
    outcomes = replica.apply(
        [
            run(1, SESSION, (Kind.NOOP, b""), ask(Bank.put("ann", 5), 1)),
            run(4, ask(Bank.take("ann", 2), 2), ask(Bank.put("bob"), 1, session=NONCE + 5), term=3),
        ]
    )

    assert [it[:2] for it in outcomes] == [(NONCE, 1), (1, 1), (1, 2), (NONCE + 5, 1)]
    assert decode_reply(outcomes[0][2]) == Value(data=(1).to_bytes(8, "big"))
    assert [replica.result_of(None, it[2]) for it in outcomes[1:]] == [5, 3, 1]
    assert replica.machine.accounts["ann"].balance == 3
    assert (replica.applied, replica.applied_term) == (5, 3)
    assert (replica.time_ns, replica.elapsed_ns) == (1_000, 10)


def test_entries_come_in_order_each_once() -> None:
    with pytest.raises(AssertionError, match="in order"):
        Replica(Bank).apply([run(2, SESSION)])


def test_a_command_knows_its_entry_and_the_same_chance_everywhere() -> None:
    first, second = Replica(Bank, cluster=b"c" * 16), Replica(Bank)
    second.cluster = b"c" * 16
    replies = [apply_one(it, ask(Bank.draw(), 1, NONCE)) for it in (first, second)]

    assert replies[0] == replies[1]
    assert first.result_of(Bank.draw(), replies[0])[:4] == (1, 1, 1_000, 10)
    assert apply_one(Replica(Bank), ask(Bank.draw(), 1, NONCE)) != replies[0]


def test_a_copy_is_answered_alike_and_not_applied_again() -> None:
    replica = replica_with(ask(Bank.put("ann", 5), 1))
    entry = ask(Bank.put("ann", 5), 1)

    assert replica.result_of(None, apply_one(replica, entry)) == 5
    assert replica.machine.log == [("ann", 5)]
    assert replica.stored_reply(1, 1) == apply_one(replica, entry)
    assert replica.stored_reply(1, 2) is None


def test_at_most_once_is_applied_as_often_as_it_stands_in_the_log() -> None:
    replica = replica_with(*[ask(Bank.put("ann"), 1, session=NONCE)] * 2)

    assert replica.machine.log == [("ann", 1)] * 2


def test_a_command_of_no_session_is_expired_and_not_applied() -> None:
    replica = Replica(Bank)
    reply = apply_one(replica, ask(Bank.put("ann"), 1, session=1))

    assert decode_reply(reply) == Expired()
    assert replica.machine.accounts == {}
    with pytest.raises(SessionExpired) as caught:
        replica.result_of(None, reply, "token")
    assert caught.value.token == "token"


def test_a_void_closes_a_number() -> None:
    replica = replica_with(ask(Bank.put("ann"), 1))
    late = ask(Bank.put("bob"), 2)

    assert replica.result_of(None, apply_one(replica, (Kind.VOID, pack_header(1, 1, 0)))) == 1
    for entry in (Kind.VOID, pack_header(1, 2, 0)), late:
        reply = apply_one(replica, entry)
        assert decode_reply(reply) == Void()
        with pytest.raises(DidNotHappen):
            replica.result_of(None, reply)
    assert list(replica.machine.accounts) == ["ann"]


def _configuration(**settings: Any) -> Configuration:
    members = (Member(id="a", incarnation=1, address="x"),)
    return Configuration(members=members, settings=Settings(**settings))


def test_settings_are_in_force_when_their_configuration_is_applied() -> None:
    small = _configuration(session_reply_bytes_max=8, sessions_max=1)
    replica = replica_with(ask(Bank.put("ann"), 1), (Kind.CONFIGURATION, small.encode()))

    assert (replica.configuration, replica.configuration_index) == (small, 3)
    reply = apply_one(replica, ask(Bank.put("ann"), 2))
    assert replica.result_of(None, reply) == 2  # whoever waits gets it
    with pytest.raises(OutcomeUnknown, match="it did, but its reply exceeded"):
        replica.result_of(None, apply_one(replica, ask(Bank.put("ann"), 2)))
    apply_one(replica, SESSION)
    assert decode_reply(apply_one(replica, ask(Bank.put("ann"), 3))) == Expired()


# ── what commands raise ──────────────────────────────────────────────────────────────────────────────


def test_a_rejection_reaches_the_caller_typed_and_changes_nothing() -> None:
    replica = replica_with(ask(Bank.put("ann", 5), 1))
    before = replica.machine.log.copy()
    reply = apply_one(replica, ask(Bank.take("ann", 7), 2))

    assert decode_reply(reply) == RejectedReply(plain=("take", "Insufficient", 2, "ann"))
    with pytest.raises(Insufficient) as caught:
        replica.result_of(Bank.take("ann", 7), reply)
    assert (caught.value.missing, caught.value.owner) == (2, "ann")
    assert replica.machine.log == before
    with pytest.raises(Rejected, match="no account of bob") as plain:
        replica.result_of(None, apply_one(replica, ask(Bank.take("bob", 7), 3)))
    assert type(plain.value) is Rejected


@pytest.mark.parametrize(
    "how, type_",
    [
        ("x", "ZeroDivisionError"),
        ("words", "OSError"),
        ("result", "TypeError"),
        ("rejected", "TypeError"),
    ],
)
def test_a_command_whose_code_raises_is_answered_alike_everywhere_and_logged_once(
    how: str, type_: str, caplog: pytest.LogCaptureFixture
) -> None:
    replica = replica_with()
    with caplog.at_level(logging.ERROR, "raftkit"):
        reply = apply_one(replica, ask(Bank.stumble(how), 1))
        assert apply_one(replica, ask(Bank.stumble(how), 1)) == reply

    assert decode_reply(reply) == Failed(type=type_, index=2)
    assert apply_one(replica_with(), ask(Bank.stumble(how), 1)) == reply
    with pytest.raises(CommandFailed) as caught:
        replica.result_of(None, reply)
    assert (caught.value.type, caught.value.index) == (type_, 2)
    assert replica.machine.drawn == 1  # what it had changed stays changed
    [record] = [it for it in caplog.records if it.exc_info]
    assert f"index 2, Bank.stumble('{how}')" in record.getMessage()


@pytest.mark.parametrize("how", ["memory", "stack", "exit", "disk"])
def test_what_is_the_nodes_own_trouble_halts_it(how: str) -> None:
    replica = replica_with()

    with pytest.raises(
        StateMachineFailed, match=r"Bank\.stumble at index 2 met this node's own trouble"
    ):
        apply_one(replica, ask(Bank.stumble(how), 1))
    with pytest.raises(LocalProtocolError):
        replica.machine.ctx


def test_unchanged_notices_a_command_that_changes_before_it_rejects() -> None:
    bank = Bank(accounts={"ann": Account(Owner("ann"), 1)})

    with unchanged(bank), pytest.raises(Insufficient):
        bank.take("ann", 5)
    with (
        pytest.raises(AssertionError, match="Bank changed: drawn"),
        unchanged(bank),
        pytest.raises(Rejected),
    ):
        bank.stumble("rejected")


# ── newer code ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "entry",
    [
        ask(dumps(["vanish", 1]), 2),
        ask(dumps(["put", "ann", 1, "note", 4]), 2),
        ask(b"", 2),
        ask(dumps(["vanish"]), 2, NONCE),
        (Kind.COMMAND, b"short"),
        (Kind.VOID, b"short"),
        (Kind.SESSION, b""),
        (Kind.CONFIGURATION, b"?"),
        (Kind.VERSION, b""),
        (Kind.OUTBOX, b""),
    ],
)
def test_an_entry_of_newer_code_stops_applying_and_leaves_no_trace(entry: Entry) -> None:
    replica = replica_with()
    expected = replica_with(ask(Bank.put("ann"), 1)).digest()

    with pytest.raises(UnknownCommand, match="upgrade this node's code") as caught:
        replica.apply(
            [run(2, ask(Bank.put("ann"), 1)), run(3, entry, ask(Bank.put("bob"), 3), term=2)]
        )

    assert caught.value.index == 3
    assert [it[:2] for it in caught.value.outcomes] == [(1, 1)]
    assert (replica.applied, replica.applied_term) == (2, 1)
    assert replica.digest() == expected


# ── reads ────────────────────────────────────────────────────────────────────────────────────────────


def test_queries_are_answered_and_functions_are_lent_the_machine() -> None:
    replica = replica_with(ask(Bank.put("ann", 5), 1))

    assert replica.query(Bank.balance("ann")) == 5
    assert replica.query(lambda bank: bank.balance("ann")) == 5
    assert replica.query(Bank.history()) is not replica.machine.log
    with pytest.raises(LocalProtocolError, match=r"await node\.execute\(Bank\.put\('ann'\)\)"):
        replica.query(lambda bank: bank.put("ann"))
    with pytest.raises(LocalProtocolError, match=r"await node\.read\(Bank\.balance\('ann'\)\)"):
        replica.machine.balance("ann")
    with pytest.raises(LocalProtocolError, match="takes a query or a function"):
        replica.query(5)  # type: ignore[call-overload]
    with pytest.raises(LocalProtocolError, match="execute takes a command"):
        replica.encode(Bank.balance("ann"))
    with pytest.raises(NotYetEnabled):
        replica.encode(Bank.close("ann"))


def test_a_paranoid_replica_notices_a_read_that_writes() -> None:
    replica = Replica(Bank, paranoid=True)

    assert replica.query(lambda bank: bank.drawn) == 0
    with pytest.raises(StateMachineFailed, match="a read changed the state"):
        replica.query(lambda bank: bank.log.append(("x", 1)))


def test_the_factory_makes_a_new_machine_each_time() -> None:
    bank = Bank()
    Replica(lambda: bank)

    with pytest.raises(ConfigError, match="make a new one each time"):
        Replica(lambda: bank)
    with pytest.raises(ConfigError, match="neither a StateMachine nor a BytesStateMachine"):
        Replica(dict)  # type: ignore[type-var]


# ── snapshots and digests ────────────────────────────────────────────────────────────────────────────


def _full() -> Replica[Any]:
    replica = replica_with(
        (Kind.CONFIGURATION, _configuration().encode()),
        *(ask(Bank.put(f"owner {it % 100}", it * 2**60), it) for it in range(150)),
        ask(Bank.take("nobody", 1), 200),
        ask(Bank.stumble("x"), 201),
        ask(Bank.paint(Colour.GREEN), 202),
        (Kind.VOID, pack_header(1, 203, 0)),
        (Kind.CLOCK, b""),
    )
    return replica


def test_a_snapshot_holds_everything() -> None:
    full, fresh = _full(), Replica(Bank)
    data = b"".join(full.snapshot())

    fresh.restore([data])

    assert b"".join(fresh.snapshot()) == data
    assert fresh.digest() == full.digest()
    assert fresh.machine == full.machine
    assert list(fresh.machine.accounts) == list(full.machine.accounts)
    for name in [
        "applied",
        "applied_term",
        "time_ns",
        "elapsed_ns",
        "version",
        "configuration",
        "configuration_index",
    ]:
        assert getattr(fresh, name) == getattr(full, name), name
    assert decode_reply(apply_one(fresh, ask(Bank.put("late"), 203))) == Void()
    assert (
        fresh.result_of(None, apply_one(fresh, ask(Bank.put("owner 1", 2**60), 101))) == 102 * 2**60
    )
    with pytest.raises(LocalProtocolError):
        fresh.machine.put("x")


@pytest.mark.parametrize("size", [1, 3, 64, 4096])
def test_a_snapshot_is_read_in_chunks_of_any_size(size: int) -> None:
    data = b"".join(_full().snapshot())
    fresh = Replica(Bank)

    fresh.restore(data[at : at + size] for at in range(0, len(data), size))

    assert b"".join(fresh.snapshot()) == data


def test_the_bytes_of_a_snapshot_are_golden() -> None:
    replica = replica_with(
        ask(Bank.put("ann", 5), 1), ask(Bank.paint(Colour.GREEN), 2, ack_below=1)
    )

    assert b"".join(replica.snapshot()).hex() == GOLDEN


GOLDEN = (
    "0000001c8667726166746b697401666669656c6473018403011903e80a8200f600000000000000238401010a84014700"
    "82637075740502530082657061696e74826352454465475245454e000000000000003882686163636f756e7473782c64"
    "6963745b7374722c204163636f756e74286f776e65723a207374722c2062616c616e63653a20696e74295d0000000b82"
    "63616e6e8263616e6e05000000000000001b82636c6f67756c6973745b7475706c655b7374722c20696e745d5d000000"
    "07818263616e6e05000000000000000f8266636f6c6f757266436f6c6f7572000000078165475245454e000000000000"
    "000b8265647261776e63696e7400000002810000000000"
)


def test_applying_goes_on_while_a_snapshot_is_written() -> None:
    full = _full()
    expected = b"".join(full.snapshot())
    writing = iter(full.capture())
    head = next(writing)

    for _ in range(3):
        full.apply(
            [run(full.applied + 1, ask(Bank.put("owner 3"), 300 + _, ack_below=300), term=9)]
        )

    assert head + b"".join(writing) == expected
    assert b"".join(full.snapshot()) != expected


@given(st.data())
def test_any_cut_or_flip_is_refused_whole_or_read_whole(data: st.DataObject) -> None:
    snapshot = b"".join(_SMALL.snapshot())
    at = data.draw(st.integers(0, len(snapshot) - 1))
    flip = data.draw(st.integers(0, 255))
    bad = (
        snapshot[:at]
        if flip == 0
        else snapshot[:at] + bytes([snapshot[at] ^ flip]) + snapshot[at + 1 :]
    )
    replica = replica_with(ask(Bank.put("zoe"), 1))
    before, machine = replica.digest(), replica.machine

    try:
        replica.restore([bad])
    except (StateMachineFailed, UnknownCommand):
        assert replica.digest() == before
        assert replica.machine is machine
    else:
        # Whether the bytes are the right ones is for checksums to say.
        assert flip
        assert replica.machine is not machine


_SMALL = replica_with(ask(Bank.put("ann", 5), 1))


def _refusing() -> Iterable[bytes]:
    yield from [b"".join(_SMALL.snapshot())[:40]]
    raise OSError(5, "Input/output error")


def test_a_read_that_fails_half_way_leaves_the_old_state() -> None:
    replica = replica_with(ask(Bank.put("zoe"), 1))
    before = replica.digest()

    with pytest.raises(OSError, match="Input/output"):
        replica.restore(_refusing())
    with pytest.raises(StateMachineFailed, match="goes on after its end"):
        replica.restore([*_SMALL.snapshot(), b"x"])

    assert replica.digest() == before


@attrs.define
class Renamed(StateMachine):
    accounts: dict[str, int] = attrs.field(factory=dict)


def test_a_snapshot_of_other_fields_or_of_newer_code_is_refused() -> None:
    with pytest.raises(
        StateMachineFailed, match=r"it has the field \['accounts', 'dict\[str, Account"
    ):
        Replica(Renamed).restore(_SMALL.snapshot())
    with pytest.raises(
        StateMachineFailed, match="it is of a machine of fields, this one is of bytes"
    ):
        Replica(Echo).restore(_SMALL.snapshot())
    data = b"".join(_SMALL.snapshot())
    newer = data.replace(b"\x67raftkit\x01", b"\x67raftkit\x02")
    with pytest.raises(UnknownCommand, match="a snapshot of format 2, this code knows 1"):
        Replica(Renamed).restore([newer])
    later = data.replace(b"\x66fields\x01", b"\x66fields\x02")
    with pytest.raises(UnknownCommand, match="a snapshot of version 2"):
        Replica(Renamed).restore([later])


def test_a_later_version_reads_a_snapshot_with_its_fields() -> None:
    replica = Replica(Bank)
    replica.restore(_SMALL.snapshot())

    assert replica.machine.label == "plain"
    assert replica.newest_version == 2
    assert b"label" not in b"".join(_SMALL.snapshot())


@attrs.define
class Sloppy(StateMachine):
    total: int = 0
    names: dict[str, int] = attrs.field(factory=dict)

    @command
    def spoil(self, how: str) -> None:
        match how:
            case "value":
                self.total = "x"  # type: ignore[assignment]
            case "element":
                self.names["a"] = None  # type: ignore[assignment]
            case _:
                self.names = None  # type: ignore[assignment]


@pytest.mark.parametrize(
    "how, line",
    [
        ("value", "total: expected int, got str 'x'"),
        ("element", r"names\['a'\]: expected int, got None"),
        ("field", r"names: expected dict\[str, int\], got None"),
    ],
)
def test_a_field_that_is_not_as_annotated_can_not_be_written(how: str, line: str) -> None:
    replica = Replica(Sloppy)
    apply_one(replica, ask(replica.encode(Sloppy.spoil(how)), 1, NONCE))

    with pytest.raises(StateMachineFailed, match=f"Sloppy can't be written: {line}"):
        replica.digest()


@attrs.define
class Nested(StateMachine):
    snapshot_mode = "pause"
    queues: dict[str, list[int]] = attrs.field(factory=dict)

    @command
    def push(self, name: str, item: int) -> None:
        self.queues.setdefault(name, []).append(item)

    @query
    def all(self) -> dict[str, list[int]]:
        return self.queues


def test_a_machine_that_pauses_is_written_at_the_point() -> None:
    replica = Replica(Nested)
    push = replica.encode(Nested.push("a", 1))
    apply_one(replica, ask(push, 1, NONCE))
    expected, capture = b"".join(replica.snapshot()), replica.capture()
    apply_one(replica, ask(push, 2, NONCE))

    assert b"".join(capture) == expected
    assert replica.query(Nested.all()) == {"a": [1, 1]}


# ── determinism ──────────────────────────────────────────────────────────────────────────────────────

_CALLS = st.one_of(
    st.builds(Bank.put, st.sampled_from("abc"), st.integers(0, 9)),
    st.builds(Bank.take, st.sampled_from("abc"), st.integers(0, 9)),
    st.builds(Bank.stumble, st.just("x")),
    st.builds(Bank.draw),
)
_ENTRIES = st.lists(
    st.one_of(
        st.builds(
            ask, _CALLS, st.integers(0, 9), st.sampled_from([1, 2, NONCE]), st.integers(0, 5)
        ),
        st.builds(
            lambda seq, ack: (Kind.VOID, pack_header(1, seq, ack)),
            st.integers(0, 9),
            st.integers(0, 5),
        ),
        st.sampled_from(
            [
                SESSION,
                (Kind.CLOCK, b""),
                (
                    Kind.CONFIGURATION,
                    _configuration(session_reply_bytes_max=30, sessions_max=2).encode(),
                ),
            ]
        ),
    ),
    min_size=1,
    max_size=30,
)


def _cut(entries: Sequence[Entry], cuts: Iterable[int]) -> list[Run]:
    marks = [0, *sorted({it for it in cuts if 0 < it < len(entries)}), len(entries)]
    return [run(a + 1, *entries[a:b]) for a, b in itertools.pairwise(marks)]


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    logger = logging.getLogger("raftkit")
    logger.setLevel(logging.CRITICAL)
    yield
    logger.setLevel(logging.NOTSET)


@pytest.mark.parametrize("factory", ["typed", "bytes"])
@given(_ENTRIES, st.lists(st.integers(1, 30)), st.integers(1, 30))
def test_replicas_fed_the_same_log_are_equal_however_it_was_cut(
    factory: str, entries: list[Entry], cuts: list[int], restart: int
) -> None:
    make: Any = Bank if factory == "typed" else Echo
    whole, parts, restored = Replica(make), Replica(make), Replica(make)
    answers = whole.apply(_cut(entries, []))

    seen = [outcome for it in _cut(entries, cuts) for outcome in parts.apply([it])]
    for it in _cut(entries, [restart]):
        restored.apply([it])
        data = list(restored.snapshot())
        restored = Replica(make)
        restored.restore(data)

    assert seen == answers
    assert parts.digest() == whole.digest() == restored.digest()
    assert b"".join(parts.snapshot()) == b"".join(whole.snapshot())


HASHED = """
import logging
logging.disable()
from tests.driver.test_replica import _full
print(_full().digest().hex())
"""


@pytest.mark.slow
def test_digests_do_not_depend_on_the_hash_seed() -> None:
    digests = {
        subprocess.run(
            [sys.executable, "-c", HASHED],
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        ).stdout
        for seed in ("0", "1", "77")
    }

    assert digests == {_full().digest().hex() + "\n"}


# ── bytes machines ───────────────────────────────────────────────────────────────────────────────────


class Echo(BytesStateMachine):
    def __init__(self) -> None:
        self.seen: list[bytes] = []
        self.batches: list[Batch] = []

    def apply(self, batch: Batch) -> list[bytes]:
        self.batches.append(batch)
        if b"raise" in batch.commands:
            raise ValueError("no")
        self.seen += batch.commands
        return [
            b"%d:" % index + it for index, it in zip(batch.indexes, batch.commands, strict=True)
        ]

    def snapshot(self) -> Iterable[bytes]:
        return list(self.seen)

    def restore(self, chunks: Iterable[bytes]) -> None:
        self.seen = list(chunks)


def test_a_bytes_machine_gets_what_is_new_in_one_batch() -> None:
    replica = replica_with(factory=Echo)
    outcomes = replica.apply(
        [
            run(2, ask(b"a", 1), ask(b"b", 2, NONCE), ask(b"c", 3)),
            run(5, ask(b"d", 4), ask(b"d", 4), ask(b"a", 1), ask(b"e", 5), term=2),
        ]
    )

    assert [it.commands for it in replica.machine.batches] == [[b"a", b"b", b"c"], [b"d"], [b"e"]]
    assert replica.machine.batches[0] == Batch(
        term=1, time_ns=1_000, elapsed_ns=10, indexes=[2, 3, 4], commands=[b"a", b"b", b"c"]
    )
    assert [replica.result_of(None, it[2]) for it in outcomes] == [
        b"2:a", b"3:b", b"4:c", b"5:d", b"5:d", b"2:a", b"8:e",
    ]  # fmt: skip
    assert replica.encode(b"x") == b"x"
    assert replica.query(lambda echo: len(echo.seen)) == 5
    fresh = Replica(Echo)
    fresh.restore(replica.snapshot())
    assert (fresh.machine.seen, fresh.digest()) == (replica.machine.seen, replica.digest())


class Broken(Echo):
    how = ""

    def apply(self, batch: Batch) -> Any:
        match batch.commands[0]:
            case b"few":
                return []
            case b"str":
                return ["x"]
            case b"exit":
                raise SystemExit(1)
            case _:
                raise ValueError("no")


@pytest.mark.parametrize(
    "body, line",
    [
        (b"few", "must return 1 results of type bytes"),
        (b"str", "must return 1 results of type bytes"),
        (b"raise", r"Broken\.apply raised ValueError: no"),
        (b"exit", r"Broken\.apply raised SystemExit: 1"),
    ],
)
def test_any_exception_of_a_bytes_machine_halts_the_node(body: bytes, line: str) -> None:
    with pytest.raises(StateMachineFailed, match=line):
        apply_one(Replica(Broken), ask(body, 1, NONCE))


class Half(Echo):
    def restore(self, chunks: Iterable[bytes]) -> None:
        self.seen = [next(iter(chunks))]


class Raising(Echo):
    def restore(self, chunks: Iterable[bytes]) -> None:
        raise KeyError("no")


def test_a_bytes_machine_that_can_not_be_restored_leaves_the_old_state() -> None:
    data = list(replica_with(ask(b"a", 1), ask(b"b", 2), factory=Echo).snapshot())

    for factory, line in (
        (Half, r"Half\.restore left a part of it unread"),
        (Raising, "raised KeyError"),
    ):
        replica = Replica(factory)
        before = replica.machine
        with pytest.raises(StateMachineFailed, match=line):
            replica.restore(data)
        assert (replica.machine, replica.applied) == (before, 0)


class Digesting(Echo):
    def digest(self) -> bytes:
        return bytes([len(self.seen)])


def test_a_bytes_machine_may_have_a_digest_of_its_own() -> None:
    a, b = (replica_with(ask(it, 1, NONCE), factory=Digesting) for it in (b"a", b"b"))

    assert a.digest() == b.digest()
    assert b"".join(a.snapshot()) != b"".join(b.snapshot())
    assert a.digest() != replica_with(factory=Digesting).digest()


def test_only_bytes_are_commands_of_a_bytes_machine() -> None:
    replica = Replica(Echo)

    assert replica.newest_version == 1
    with pytest.raises(RaftInternalError):
        replica.result_of(None, rejected(["Rejected", "no"]))
    for other in "x", bytearray(b"x"), Bank.draw():
        with pytest.raises(LocalProtocolError, match="commands are bytes"):
            replica.encode(other)
    with pytest.raises(LocalProtocolError, match="takes a function of the machine"):
        replica.query(Bank.history())


# ── replies ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "data", [b"", b"\x01", b"\x01" + dumps([]), b"\x02" + dumps(["x"]), b"\x03x", b"\x06"]
)
def test_what_no_replica_writes_is_no_reply(data: bytes) -> None:
    with pytest.raises(MalformedError):
        decode_reply(data)


@pytest.mark.parametrize(
    "entry, golden",
    [
        (ask(Bank.put("ann", 5), 1), "00 82 63 707574 05"),
        (
            ask(Bank.take("ann", 5), 1),
            "01 83 64 74616b65 68 52656a6563746564 71 6e6f206163636f756e74206f6620616e6e",
        ),
        (ask(Bank.stumble("x"), 1), "02 82 71 5a65726f4469766973696f6e4572726f72 02"),
        (ask(Bank.put("ann"), 1, session=9), "03"),
        ((Kind.VOID, pack_header(1, 1, 0)), "04"),
    ],
)
def test_the_bytes_of_a_reply_are_golden(entry: Entry, golden: str) -> None:
    assert apply_one(replica_with(), entry) == bytes.fromhex(golden)
