"""Proposals on their way: asked once, refused or accepted once, sent again to the next leader (J1, J7)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import attrs
import pytest
import trio
import trio.testing
from outcome import Error, Outcome

from raftkit.driver.forwarding import Forwarding
from raftkit.driver.origin import REQUESTS_MAX
from raftkit.driver.relay import Relay
from raftkit.driver.tokens import Session
from raftkit.driver.waiters import Call, Waiters
from raftkit.driver_messages import DriverMessage, Forward, ForwardAccepted, ForwardRefused
from raftkit.errors import OutcomeUnknown
from raftkit.membership import Configuration, Member
from raftkit.messages import Propose, Proposed, Refusal, Refused
from raftkit.model import Identity, Index, Kind, NodeId, Term

PAYLOAD = bytes(24)


@attrs.define
class Core:
    """What forwarding reads of a core."""

    leader: NodeId | None = "b"
    term: Term = Term(1)
    configuration: Configuration = attrs.field(
        factory=lambda: Configuration(members=(Member(id="a", incarnation=1, address=""),))
    )


@attrs.define
class Bench:
    """A node a, and what it sends."""

    waiters: Waiters = attrs.field(factory=Waiters)
    sent: list[tuple[NodeId, DriverMessage]] = attrs.field(factory=list)
    tickets: int = 0
    core: Any = attrs.field(factory=Core)
    silence: float = 0.0
    "Of everybody else, in seconds."
    forwarding: Forwarding = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.forwarding = Forwarding(
            id="a",
            waiters=self.waiters,
            new_ticket=self.new_ticket,
            send=self.send,
            retry_seconds=0.5,
            silence=lambda _: self.silence,
        )

    def new_ticket(self) -> int:
        self.tickets += 1
        return self.tickets

    def send(self, targets: Sequence[NodeId], body: DriverMessage) -> None:
        self.sent += [(target, body) for target in targets]

    def submit(self, number: int = 1, **facts: Any) -> Call:
        call = Call(session=7, number=number, payload=PAYLOAD, **facts)
        call.wake = lambda _: None  # as if somebody waited
        self.waiters.add(call, 10.0)
        self.forwarding.submit(call)
        return call

    def collect(self, now: float = 0.0) -> list[Propose]:
        return self.forwarding.collect(self.core, now)

    def hear(
        self, message: Forward | ForwardAccepted | ForwardRefused, sender: NodeId = "b"
    ) -> Propose | None:
        identity = Identity(id=sender, incarnation=1)
        return self.forwarding.on_message(identity, message, self.core)


async def test_a_follower_forwards_what_waits_in_one_message() -> None:
    bench = Bench()
    calls = [bench.submit(number) for number in (1, 2)]

    assert bench.collect() == []
    assert bench.sent == [("b", Forward(request=1, payloads=(PAYLOAD, PAYLOAD)))]
    assert [it.sendings for it in calls] == [1, 1]


async def test_a_leader_proposes_it_itself() -> None:
    bench = Bench(core=Core(leader="a"))
    bench.submit(1)
    bench.submit(2, kind=Kind.VOID)

    assert bench.collect() == [
        Propose(ticket=1, payloads=(PAYLOAD, PAYLOAD), kinds=(Kind.COMMAND, Kind.VOID))
    ]
    assert bench.sent == []


async def test_without_a_leader_it_waits() -> None:
    bench = Bench(core=Core(leader=None))
    call = bench.submit()

    assert bench.collect() == []
    assert call.sendings == 0


async def test_nothing_is_sent_to_a_leader_whose_heartbeats_are_overdue() -> None:
    """What was not sent goes to whoever leads next, though it may be sent only once; or when it speaks."""
    bench = Bench(silence=0.126)
    call = bench.submit(once=True)
    bench.collect()
    assert bench.sent == []
    assert call.sendings == 0
    assert not bench.forwarding.is_ready(bench.core, 0.0)  # or the loop would spin
    assert bench.forwarding.deadline(0.0) == math.inf

    bench.silence = 0.125
    bench.collect()

    assert bench.sent == [("b", Forward(request=1, payloads=(PAYLOAD,)))]


async def test_a_leader_need_not_hear_itself() -> None:
    bench = Bench(core=Core(leader="a"), silence=math.inf)
    bench.submit()

    assert len(bench.collect()) == 1


async def test_what_was_given_up_without_a_leader_leaves_the_queue(
    autojump_clock: trio.testing.MockClock,
) -> None:
    bench = Bench(core=Core(leader=None))
    patient = Call(session=7, number=10_000, payload=PAYLOAD)  # first in the queue, and stays
    bench.waiters.add(patient, math.inf)
    patient.wake = lambda _: None
    bench.forwarding.submit(patient)
    for number in range(1000):
        bench.submit(number)
        await trio.sleep(1.0)  # each is given up after 10 s
        bench.waiters.expire(trio.current_time())
        bench.collect()
        assert len(bench.waiters) <= 11
        assert bench.forwarding.pending_bytes <= 3 * 11 * len(PAYLOAD)
    bench.core.leader = "b"
    bench.collect()

    assert bench.sent == [("b", Forward(request=1, payloads=(PAYLOAD,) * len(bench.waiters)))]
    assert patient.sendings == 1
    assert bench.forwarding.pending_bytes == 0


async def test_an_unanswered_forward_is_sent_again_under_the_same_number() -> None:
    bench = Bench()
    call = bench.submit()
    bench.collect(0.0)
    assert bench.forwarding.deadline(0.0) == 0.5
    bench.collect(0.4)
    assert len(bench.sent) == 1
    bench.collect(0.5)

    assert bench.sent == [("b", Forward(request=1, payloads=(PAYLOAD,)))] * 2
    assert call.sendings == 1  # the receiver knows the number


async def test_an_overdue_forward_without_a_leader_wakes_nobody() -> None:
    bench = Bench()
    bench.submit()
    bench.collect(0.0)
    bench.core.leader = None
    bench.collect(1.0)

    assert bench.forwarding.deadline(1.0) == math.inf


async def test_an_accepted_forward_is_not_sent_again() -> None:
    bench = Bench()
    call = bench.submit()
    bench.collect(0.0)
    bench.hear(ForwardAccepted(request=1, first=Index(9), term=Term(1)))
    bench.collect(100.0)

    assert len(bench.sent) == 1
    assert (call.index, call.term) == (9, 1)


async def test_a_refused_forward_did_not_happen_and_is_tried_again_after_a_pause() -> None:
    bench = Bench()
    call = bench.submit()
    bench.collect(0.0)
    bench.hear(ForwardRefused(request=1, reason=Refusal.NOT_LEADER, leader=None))

    assert call.sendings == 0
    now = trio.current_time()
    bench.collect(now)
    assert len(bench.sent) == 1
    assert now < bench.forwarding.deadline(now) < now + 1
    bench.collect(now + 1)
    assert bench.sent[-1] == ("b", Forward(request=2, payloads=(PAYLOAD,)))


async def test_the_pause_after_a_refusal_is_of_that_leader_alone() -> None:
    bench = Bench()
    bench.submit()
    bench.collect()
    bench.hear(ForwardRefused(request=1, reason=Refusal.NOT_LEADER, leader=None))
    bench.collect()
    assert len(bench.sent) == 1
    bench.core.leader, bench.core.term = "c", Term(2)
    bench.collect()

    assert bench.sent[1:] == [("c", Forward(request=2, payloads=(PAYLOAD,)))]


async def test_only_who_was_asked_can_answer() -> None:
    bench = Bench(core=Core(leader="c"))
    call = bench.submit()
    bench.collect()
    bench.hear(ForwardRefused(request=1, reason=Refusal.NOT_LEADER, leader=None))
    bench.hear(ForwardAccepted(request=1, first=Index(9), term=Term(1)))

    assert (call.sendings, call.index) == (1, 0)


async def test_a_duplicated_refusal_counts_once() -> None:
    bench = Bench()
    call = bench.submit()
    bench.collect(0.0)
    for _ in range(2):
        bench.hear(ForwardRefused(request=1, reason=Refusal.NOT_LEADER, leader=None))
    bench.collect(trio.current_time() + 1)
    bench.hear(ForwardRefused(request=1, reason=Refusal.NOT_LEADER, leader=None))

    assert call.sendings == 1


async def test_a_new_leader_is_sent_what_is_open_and_the_old_sending_still_counts() -> None:
    bench = Bench()
    call = bench.submit()
    bench.collect()
    bench.core.leader, bench.core.term = "c", Term(2)
    bench.collect()
    assert bench.sent[-1] == ("c", Forward(request=2, payloads=(PAYLOAD,)))
    assert call.sendings == 2
    bench.hear(ForwardRefused(request=1, reason=Refusal.NOT_LEADER, leader=None))  # too late
    assert call.sendings == 2
    bench.hear(ForwardRefused(request=2, reason=Refusal.NOT_LEADER, leader=None), "c")

    assert call.sendings == 1
    assert not bench.waiters.is_definite(call)


async def test_what_went_over_a_link_that_closed_may_have_happened() -> None:
    # The next life of b has forgotten that it proposed this, and would refuse it.
    bench = Bench()
    call = bench.submit()
    bench.collect()
    bench.forwarding.on_link_lost("c")
    assert len(bench.sent) == 1
    bench.forwarding.on_link_lost("b")
    bench.collect()
    assert bench.sent[-1] == ("b", Forward(request=2, payloads=(PAYLOAD,)))
    bench.hear(ForwardRefused(request=1, reason=Refusal.NOT_LEADER, leader=None))
    bench.hear(ForwardRefused(request=2, reason=Refusal.NOT_LEADER, leader=None))

    assert call.sendings == 1
    assert not bench.waiters.is_definite(call)


async def test_what_is_sent_at_most_once_is_not_sent_again() -> None:
    bench = Bench()
    bench.submit(1, once=True)
    bench.submit(2)
    bench.collect(0.0)
    assert [it[1].request for it in bench.sent if isinstance(it[1], Forward)] == [1, 2]
    bench.collect(0.5)
    bench.forwarding.on_link_lost("b")
    bench.core.leader, bench.core.term = "c", Term(2)
    bench.collect(1.0)

    assert [it[1].request for it in bench.sent if isinstance(it[1], Forward)] == [1, 2, 2, 3]


def heard_by(call: Call) -> list[Outcome[bytes]]:
    """What the call's caller hears, from now on."""
    heard: list[Outcome[bytes]] = []
    call.wake = heard.append
    return heard


def unknown(heard: list[Outcome[bytes]]) -> str:
    """Why the caller was told, once, that the outcome is unknown."""
    (told,) = heard
    assert isinstance(told, Error)
    assert isinstance(told.error, OutcomeUnknown)
    return told.error.why


async def test_what_a_leader_of_before_refuses_is_sent_to_the_next_though_only_once() -> None:
    """A hand-over: the refusal may come when the next leader is known already. That one gets no rest."""
    bench = Bench()
    call = bench.submit(once=True)
    bench.collect()
    bench.core.leader, bench.core.term = "c", Term(2)
    bench.collect()
    assert len(bench.sent) == 1
    bench.hear(ForwardRefused(request=1, reason=Refusal.TRANSFERRING, leader="b"))
    bench.collect()

    assert bench.sent[1:] == [("c", Forward(request=2, payloads=(PAYLOAD,)))]
    assert call.sendings == 1
    assert bench.waiters.is_open(7, 1)


async def test_what_a_leader_of_before_accepted_has_a_place() -> None:
    bench = Bench()
    call = bench.submit(once=True)
    bench.collect()
    bench.core.leader, bench.core.term = "c", Term(2)
    bench.collect()
    bench.hear(ForwardAccepted(request=1, first=Index(9), term=Term(1)), "c")
    assert call.index == 0  # nobody asked it
    bench.hear(ForwardAccepted(request=1, first=Index(9), term=Term(1)))
    heard = heard_by(call)
    bench.collect(1000.0)

    assert (call.index, call.term) == (9, 1)
    assert heard == []  # the log will tell


async def test_a_caller_is_not_kept_waiting_for_a_leader_of_before_that_is_silent() -> None:
    bench = Bench()
    heard = heard_by(bench.submit(1, once=True))
    bench.collect(0.0)
    bench.core.leader, bench.core.term = "c", Term(2)
    bench.collect(1.0)
    assert bench.forwarding.deadline(1.0) == 1.125
    bench.core.leader = None  # whoever leads now, or nobody
    bench.collect(1.12)
    assert heard == []
    bench.collect(1.125)

    assert unknown(heard) == "b did not answer before another was elected"
    assert bench.forwarding.deadline(1.125) == math.inf
    assert len(bench.waiters) == 0


async def test_a_connection_that_closes_ends_what_was_sent_over_it_only_once() -> None:
    """It may have happened, and nobody will say. What has not been sent goes to the next leader."""
    bench = Bench()
    sent = bench.submit(1, once=True)
    heard = heard_by(sent)
    bench.collect()
    waits = bench.submit(2, once=True)
    bench.forwarding.on_link_lost("c")
    assert heard == []
    bench.forwarding.on_link_lost("b")
    bench.core.leader, bench.core.term = "c", Term(2)
    bench.collect()

    assert unknown(heard) == "the connection to b closed before it answered"
    assert sent.over
    assert bench.sent[1:] == [("c", Forward(request=2, payloads=(PAYLOAD,)))]
    assert waits.sendings == 1


async def test_the_connection_to_a_leader_of_before_closes() -> None:
    bench = Bench()
    heard = heard_by(bench.submit(1, once=True))
    bench.collect()
    bench.core.leader, bench.core.term = "c", Term(2)
    bench.collect()
    bench.forwarding.on_link_lost("b")
    bench.hear(ForwardRefused(request=1, reason=Refusal.NOT_LEADER, leader=None))  # another life
    bench.collect()

    assert unknown(heard) == "the connection to b closed before it answered"
    assert len(bench.sent) == 1


async def test_overload_ends_a_call_only_if_it_certainly_did_not_happen() -> None:
    bench = Bench()
    fresh, resent = bench.submit(1), bench.submit(2, sendings=1)
    fresh.wake = resent.wake = None
    bench.forwarding._pending.clear()
    calls = [fresh, resent]
    for call in calls:
        call.sendings += 1
    bench.forwarding._on_refusal(calls, Refusal.OVERLOADED, 100)

    assert fresh.over
    assert not resent.over
    assert resent.queued


async def test_of_refused_entries_the_largest_is_too_large() -> None:
    bench = Bench()
    small, large = bench.submit(1), bench.submit(2)
    large.payload += b"x"
    small.wake = large.wake = None
    bench.forwarding._pending.clear()
    small.queued = large.queued = False
    small.sendings = large.sendings = 1
    bench.forwarding._on_refusal([small, large], Refusal.TOO_LARGE, 24)

    assert large.over
    assert small.queued


async def test_an_abandoned_command_is_sent_again_as_a_void() -> None:
    bench, ledger = Bench(), Session(7)
    call = bench.submit(ledger.take(), ledger=ledger)
    bench.collect()
    call.wake = None
    bench.core.leader, bench.core.term = "c", Term(2)
    bench.collect()

    (target, message) = bench.sent[-1]
    assert target == "c"
    assert isinstance(message, Forward)
    assert message.kinds == (Kind.VOID,)


async def test_an_abandoned_command_with_a_held_token_is_left_to_its_holder() -> None:
    bench, ledger = Bench(), Session(7)
    token = ledger.token()
    call = bench.submit(token.number, ledger=ledger)
    bench.collect()
    call.wake = None
    bench.core.leader, bench.core.term = "c", Term(2)
    bench.collect()

    assert len(bench.sent) == 1
    assert len(bench.waiters) == 0
    assert ledger.ack_below == token.number


async def test_a_token_that_was_sent_anywhere_is_known_to_be() -> None:
    bench, ledger = Bench(), Session(7)
    token = ledger.token()
    bench.submit(token.number, ledger=ledger)
    assert ledger.sendings(token.number) == 0
    bench.collect()
    assert ledger.sendings(token.number) == 1
    bench.hear(ForwardRefused(request=1, reason=Refusal.NOT_LEADER, leader=None))

    assert ledger.sendings(token.number) == 0


async def test_batches_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raftkit.driver.forwarding.BATCH_BYTES_MAX", 50)
    bench = Bench()
    for number in range(5):
        bench.submit(number)
    bench.collect()

    assert [len(it[1].payloads) for it in bench.sent if isinstance(it[1], Forward)] == [2, 2, 1]


# ── the receiving side ───────────────────────────────────────────────────────────────────────────────


@attrs.define
class Receiver:
    """A leader b that relays."""

    sent: list[DriverMessage] = attrs.field(factory=list)
    tickets: int = 0
    core: Any = attrs.field(factory=Core)
    relay: Relay = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.relay = Relay("b", self.new_ticket, lambda _, body: self.sent.append(body))

    def new_ticket(self) -> int:
        self.tickets += 1
        return self.tickets

    def hear(self, request: int, **given: Any) -> Propose | None:
        facts: dict[str, Any] = {"payloads": (PAYLOAD,)} | given
        forward = Forward(request=request, **facts)
        return self.relay.on_forward(Identity(id="a", incarnation=1), forward, self.core)


def test_a_repeated_forward_is_proposed_once_and_answered_each_time() -> None:
    receiver = Receiver()
    expected = Propose(ticket=1, payloads=(PAYLOAD,), origin="a")
    assert receiver.hear(5) == expected
    assert receiver.hear(5) is None
    assert receiver.sent == []
    assert receiver.relay.on_answer(Proposed(ticket=1, first=Index(9), term=Term(1)))
    assert receiver.hear(5) is None

    assert receiver.sent == [ForwardAccepted(request=5, first=Index(9), term=Term(1))] * 2


def test_a_refused_forward_stays_refused() -> None:
    receiver = Receiver()
    receiver.hear(5)
    receiver.relay.on_answer(Refused(ticket=1, reason=Refusal.OVERLOADED, leader="b"))
    assert receiver.hear(5) is None

    assert receiver.sent == [ForwardRefused(request=5, reason=Refusal.OVERLOADED, leader="b")] * 2


def test_nothing_is_forwarded_on() -> None:
    receiver = Receiver(core=Core(leader="c"))
    assert receiver.hear(5) is None
    receiver.core.leader = "b"
    assert receiver.hear(5) is None  # said once, it holds

    assert receiver.sent == [ForwardRefused(request=5, reason=Refusal.NOT_LEADER, leader="c")] * 2


def test_what_is_older_than_anything_remembered_is_ignored() -> None:
    receiver = Receiver()
    for request in range(1, REQUESTS_MAX + 11):
        assert receiver.hear(request) is not None

    assert receiver.hear(10) is None
    assert receiver.sent == []
    assert receiver.hear(REQUESTS_MAX + 11) is not None


@pytest.mark.parametrize(
    "given",
    [
        {"payloads": (b"short",)},
        {"kinds": (Kind.CONFIGURATION,)},
        {"kinds": (Kind.NOOP,)},
        {"kinds": (Kind.CLOCK,)},
        {"kinds": (Kind.VERSION,)},
        {"kinds": (Kind.VERSION,), "payloads": (bytes(31),)},
        {"kinds": (Kind.COMMAND, Kind.VERSION), "payloads": (bytes(32), bytes(33))},
    ],
)
def test_what_no_correct_node_forwards_is_ignored(given: dict[str, Any]) -> None:
    receiver = Receiver()

    assert receiver.hear(5, **given) is None
    assert receiver.sent == []


def test_a_version_is_proposed_for_another_node() -> None:
    given = {"kinds": (Kind.VERSION, Kind.COMMAND), "payloads": (bytes(32), bytes(24))}

    assert Receiver().hear(5, **given) is not None


def test_an_answer_to_another_ticket_is_not_ours() -> None:
    assert not Receiver().relay.on_answer(Proposed(ticket=1, first=Index(9), term=Term(1)))
