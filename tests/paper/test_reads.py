"""§6.4: linearizable reads that write nothing, at the leader and at followers."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from raftkit.messages import (
    Effects,
    Heartbeat,
    PeerUnreachable,
    Read,
    ReadConfirmed,
    ReadReply,
    ReadRequest,
    Refusal,
    Refused,
    Send,
)
from raftkit.model import Index, Term
from tests.paper.cluster import cluster
from tests.paper.server import (
    ELECTION_MAX,
    HEARTBEAT,
    RETRY,
    Server,
    accepted_by,
    beat,
    candidate,
    follower,
    group,
    heartbeat,
    leader,
    messages_to,
    pre_candidate,
    server,
    who,
)


def confirmed(ticket: int, index: int) -> ReadConfirmed:
    """Serve it at `index`."""
    return ReadConfirmed(ticket=ticket, index=Index(index))


# ── at the leader ────────────────────────────────────────────────────────────────────────────────────


def test_read_waits_until_a_majority_answers_a_later_round() -> None:
    """§6.4: the read starts a round; a quorum's answer to it proves that nobody else leads (D3)."""
    a = leader("1 1")
    last = a.leadership.round

    asked = a.step(Read(ticket=7))
    answered = a.receive("b", beat(a, index=3))

    message = Heartbeat(term=Term(2), round=last + 1, commit_index=Index(3))
    assert asked == Effects(send_now=(Send(targets=("b", "c"), message=message),))
    assert answered == Effects(answer=(confirmed(7, 3),))


def test_answers_to_an_earlier_round_do_not_confirm() -> None:
    """§6.4: what was answered before the read came proves nothing about after (D2)."""
    a = leader("1 1")
    old = beat(a)
    a.step(Read(ticket=7))

    for other in "bcbc":
        assert a.receive(other, old) == Effects()


def test_read_joins_the_round_after_the_last_one_sent() -> None:
    """§6.4: a read that comes while a round is out waits for the next one (D2)."""
    a = leader("1 1")
    a.step(Read(ticket=1))
    first = beat(a)
    a.step(Read(ticket=2))

    effects = a.receive("b", first)

    assert effects.answer == (confirmed(1, 3),)
    assert [type(it) for it in messages_to("b", effects)] == [Heartbeat]
    assert a.receive("c", beat(a)).answer == (confirmed(2, 3),)


def test_answer_to_a_later_round_confirms_too() -> None:
    """§6.4: an answer to a later heartbeat was given after the read as well."""
    a = leader("1 1")
    a.step(Read(ticket=7))
    a.tick(HEARTBEAT)

    effects = a.receive("b", beat(a))

    assert effects.answer == (confirmed(7, 3),)


def test_repeated_answers_of_one_follower_do_not_confirm() -> None:
    """§6.4: a majority is of different voters (D2)."""
    a = leader("1 1", configuration=group("abcde"))
    a.step(Read(ticket=7))

    a.receive("b", beat(a), beat(a))
    a.receive("b", beat(a))
    alone = dict(a.leadership.reads)
    effects = a.receive("c", beat(a))

    assert len(alone) == 1
    assert effects.answer == (confirmed(7, 3),)


def test_late_answer_takes_no_confirmation_back() -> None:
    """§6.4: who has answered a later round has answered it, whatever arrives after."""
    a = leader("1 1", configuration=group("abcde"))
    late = beat(a)
    a.step(Read(ticket=7))
    a.receive("b", beat(a))
    a.receive("b", late)

    effects = a.receive("c", beat(a))

    assert effects.answer == (confirmed(7, 3),)


def test_answers_of_learners_do_not_confirm() -> None:
    """§6.4: only voters could have elected another leader (D10)."""
    a = leader("1 1", configuration=group("abc", learners="xyz"))
    a.step(Read(ticket=7))

    assert [a.receive(name, beat(a)) for name in "xyz"] == [Effects()] * 3


def test_answers_of_strangers_do_not_confirm() -> None:
    """S29: nor another incarnation, nor who is no member."""
    a = leader("1 1")
    a.step(Read(ticket=7))

    assert [a.receive(it, beat(a)) for it in (who("b", 2), who("z"))] == [Effects()] * 2


def test_acknowledged_entries_do_not_confirm() -> None:
    """§6.4: an acknowledgement does not say when its message was sent."""
    a = leader("1 1")
    a.step(Read(ticket=7))

    assert accepted_by(a, "b").answer == ()


def test_no_read_before_the_first_commit_of_the_term() -> None:
    """§6.4: until then the leader may not know the latest commit (D1)."""
    a = leader("1 1", matched=False)
    a.step(Read(ticket=7))
    a.receive("b", beat(a))
    a.tick(HEARTBEAT)
    waiting = a.receive("b", beat(a))

    effects = accepted_by(a, "b")

    assert waiting.answer == ()
    assert effects.answer == (confirmed(7, 3),)


def test_read_index_covers_all_that_is_committed_when_it_comes() -> None:
    """§6.4: what was answered to anybody before the read is seen by it (LIN)."""
    a = leader("1 1")
    a.propose(b"x")
    a.persist()
    accepted_by(a, "b")
    a.step(Read(ticket=7))

    effects = a.receive("b", beat(a))

    assert effects.answer == (confirmed(7, 4),)


def test_single_server_confirms_at_once() -> None:
    """§6.4: alone, it is its own majority; but its no-op must be committed (D8)."""
    a = server("1", configuration=group("a"))
    a.time_out()
    a.persist()
    early = a.step(Read(ticket=1))

    written = a.persist()
    later = a.step(Read(ticket=2))

    assert early.answer == ()
    assert written.answer == (confirmed(1, 2),)
    assert later.answer == (confirmed(2, 2),)


def test_isolated_leader_confirms_nothing() -> None:
    """§6.4: others may lead by now, and have written (D3)."""
    s = cluster(*(server("1", it) for it in "abc"))
    s.elect("a", "bc")
    s.pass_time(HEARTBEAT)
    answers = list(s.step("a", Read(ticket=7)).answer)
    s.lose()

    s.elect("b", "c")
    for _ in range(ELECTION_MAX + 1):
        answers += s["a"].tick().answer
    s.lose()

    assert answers == [Refused(ticket=7, reason=Refusal.LEADER_LOST, leader=None)]


def test_reads_are_refused_when_the_leader_is_deposed() -> None:
    """§6.4: waiting or asked, they did not happen here (D2)."""
    a = leader("1 1")
    a.step(Read(ticket=1))
    a.step(Read(ticket=2))

    effects = a.receive("b", heartbeat(9))

    assert effects.answer == tuple(
        Refused(ticket=ticket, reason=Refusal.LEADER_LOST, leader=None) for ticket in (2, 1)
    )


@pytest.mark.parametrize("make", [server, pre_candidate, candidate])
def test_read_without_a_leader_is_refused(make: Callable[..., Server]) -> None:
    """§6.4: nobody can confirm it."""
    a = make("1 1")

    effects = a.step(Read(ticket=7))

    assert effects == Effects(answer=(Refused(ticket=7, reason=Refusal.NOT_LEADER, leader=None),))


# ── at a follower ────────────────────────────────────────────────────────────────────────────────────


def test_follower_asks_its_leader() -> None:
    """§6.4: any server can serve a read at an index that the leader confirmed."""
    a = follower("1 1", of="b")

    asked = a.step(Read(ticket=7))
    answered = a.receive("b", ReadReply(term=Term(1), ticket=7, index=Index(2)))

    request = ReadRequest(term=Term(1), ticket=7)
    assert asked == Effects(send_now=(Send(targets=("b",), message=request),))
    assert answered == Effects(answer=(confirmed(7, 2),))


def test_leader_confirms_a_followers_read_by_a_round_of_its_own() -> None:
    """§6.4: exactly as if the read had come to the leader."""
    a = leader("1 1")
    last = a.leadership.round

    asked = a.receive("c", ReadRequest(term=Term(2), ticket=7))
    answered = a.receive("b", beat(a))

    message = Heartbeat(term=Term(2), round=last + 1, commit_index=Index(3))
    assert asked == Effects(send_now=(Send(targets=("b", "c"), message=message),))
    reply = ReadReply(term=Term(2), ticket=7, index=Index(3))
    assert answered == Effects(send_now=(Send(targets=("c",), message=reply),))


def test_follower_that_reads_hears_of_the_commit_at_once() -> None:
    """Ours: the round of its read told it of an earlier one, and its waiter shall not wait longer."""
    a = leader("1 1", matched=False)
    a.receive("b", beat(a))
    a.receive("c", ReadRequest(term=Term(2), ticket=7))
    a.receive("b", beat(a))

    effects = accepted_by(a, "b")

    assert messages_to("c", effects) == [
        ReadReply(term=Term(2), ticket=7, index=Index(3)),
        Heartbeat(term=Term(2), round=a.leadership.round, commit_index=Index(3)),
    ]


def test_request_asked_twice_is_confirmed_once() -> None:
    """§6.4: a repeated request joins no second round (D2)."""
    a = leader("1 1")
    request = ReadRequest(term=Term(2), ticket=7)
    a.receive("c", request)
    a.receive("c", request, request)

    effects = a.receive("b", beat(a))

    assert len(messages_to("c", effects)) == 1
    assert not a.leadership.reads
    assert not a.leadership.reads_waiting


def test_repeated_confirmation_answers_once() -> None:
    """§6.4: the second copy of a reply finds nobody waiting."""
    a = follower("1 1", of="b")
    reply = ReadReply(term=Term(1), ticket=7, index=Index(2))
    a.step(Read(ticket=7))

    a.receive("b", reply)

    assert a.receive("b", reply) == Effects()


def test_confirmation_by_another_than_the_leader_is_ignored() -> None:
    """§6.4: only the leader that was asked can confirm."""
    a = follower("1 1", of="b")
    a.step(Read(ticket=7))

    assert a.receive("c", ReadReply(term=Term(1), ticket=7, index=Index(2))) == Effects()


def test_unanswered_request_is_asked_again() -> None:
    """A datagram was lost: the follower asks once more, and not in every tick."""
    a = follower("1 1", of="b")
    a.step(Read(ticket=7))
    early = a.tick(RETRY - 1)

    due = a.tick()
    after = a.tick()

    request = ReadRequest(term=Term(1), ticket=7)
    assert (early, after) == (Effects(), Effects())
    assert due == Effects(send_now=(Send(targets=("b",), message=request),))


@pytest.mark.parametrize(
    "loss",
    [
        pytest.param(lambda it: it.tick(ELECTION_MAX), id="silence"),
        pytest.param(lambda it: it.step(PeerUnreachable(peer="b")), id="a closed connection"),
        pytest.param(lambda it: it.receive("c", heartbeat(9)), id="a later term"),
    ],
)
def test_followers_reads_are_refused_when_it_loses_its_leader(
    loss: Callable[[Server], Effects],
) -> None:
    """§6.4: however it was lost, nobody will confirm them."""
    a = follower("1 1", of="b")
    a.step(Read(ticket=7))

    effects = loss(a)

    assert effects.answer == (Refused(ticket=7, reason=Refusal.LEADER_LOST, leader=None),)


@pytest.mark.parametrize("make", [follower, candidate])
def test_request_to_a_server_that_does_not_lead_is_ignored(make: Callable[..., Server]) -> None:
    """§6.4: the asker finds out by itself."""
    a = make("1 1")

    assert a.receive("c", ReadRequest(term=a.raft.term, ticket=7)) == Effects()


def test_requests_of_strangers_are_ignored() -> None:
    """S29: who is no member has nothing to read."""
    a = leader("1 1")

    assert a.receive("z", ReadRequest(term=Term(2), ticket=7)) == Effects()


def test_restarted_follower_reads_nothing_older_than_the_group() -> None:
    """§6.4: it serves at the leader's index, which it must apply first (D7)."""
    s = cluster(*(server("1", it) for it in "abc"))
    s.elect("a", "bc")
    s.pass_time(HEARTBEAT)
    s["a"].propose(b"x")
    s.pass_time(HEARTBEAT)
    s["c"].restart()
    s.pass_time(HEARTBEAT + 1)
    s.step("c", Read(ticket=7))

    answers: list[object] = []
    while s.wire:
        answers += s.deliver(s.wire.pop(0)).answer

    assert answers == [confirmed(7, s["a"].raft.commit_index)]
    assert s["a"].raft.commit_index == 3
