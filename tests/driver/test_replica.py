"""What is applied, and how it is answered: the same on every replica."""

from __future__ import annotations

import itertools
import logging
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
    Rejected,
    SessionExpired,
    StateMachineFailed,
)
from raftkit.model import Kind, Run
from raftkit.statemachine import StateMachine, command, upgrade
from raftkit.testing.applying import unchanged
from tests.driver.replicas import (
    NONCE,
    SESSION,
    Echo,
    Entry,
    apply_one,
    ask,
    configuration,
    replica_with,
    run,
)
from tests.statemachine.bank import Account, Bank, Insufficient, Owner

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


@attrs.define
class Asking(StateMachine):
    """Asks for `ctx` more than once, and not at all."""

    seen: int = 5

    @upgrade(to=2)
    def begin_again(self) -> None:
        self.seen = 0

    @command
    def draw(self) -> tuple[bool, int, int]:
        return (
            self.ctx is self.ctx,
            self.ctx.rng.randrange(1 << 60),
            self.ctx.rng.randrange(1 << 60),
        )

    @command
    def clear(self) -> int:
        self.begin_again()
        return self.seen


def test_a_command_has_one_context_however_often_it_asks() -> None:
    replica = Replica(Asking)

    drawn = [
        replica.result_of(None, apply_one(replica, ask(replica.encode(Asking.draw()), 1, NONCE)))
        for _ in range(2)
    ]

    assert [same for same, *_ in drawn] == [True, True]
    assert len({number for _, *both in drawn for number in both}) == 4


def test_a_command_that_never_asks_for_its_context_may_call_an_upgrade() -> None:
    replica = Replica(Asking)

    reply = apply_one(replica, ask(replica.encode(Asking.clear()), 1, NONCE))

    assert replica.result_of(None, reply) == 0


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


def test_settings_are_in_force_when_their_configuration_is_applied() -> None:
    small = configuration(session_reply_bytes_max=8, sessions_max=1)
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
                    configuration(
                        session_reply_bytes_max=30, sessions_max=2, snapshot_entries=4
                    ).encode(),
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
