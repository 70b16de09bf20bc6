"""§3.8, §10.2.1: what leaves at once, what waits for the disk, and how the disk's words are understood."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from raftkit.core.durability import Durability
from raftkit.leadership import TransferLeadership
from raftkit.messages import (
    DURABLE_BEFORE,
    AppendAccepted,
    AppendEntries,
    AppendRejected,
    Applied,
    Effects,
    Heartbeat,
    HeartbeatReply,
    Message,
    PeerUnreachable,
    Persisted,
    PreVoteReply,
    PreVoteRequest,
    Propose,
    Read,
    ReadReply,
    ReadRequest,
    Receive,
    SnapshotChunk,
    SnapshotReply,
    StorageStalled,
    Unfit,
    VoteReply,
    VoteRequest,
)
from raftkit.model import Identity, Index, NodeId, Term
from tests.paper.server import (
    ELECTION_MAX,
    ELECTION_MIN,
    Server,
    accepted_by,
    append,
    beat,
    follower,
    group,
    heartbeat,
    leader,
    messages_to,
    pre_candidate,
    server,
    snapshot_of,
    who,
)


def test_table_names_every_message() -> None:
    """Ours: for each message it is said what must be durable first."""
    assert set(DURABLE_BEFORE) == set(Message.__args__)


def leaves_at_once(effects: Effects) -> set[type[Message]]:
    """Kinds of messages that don't wait for the disk."""
    return {type(send.message) for send in effects.send_now}


def waits(effects: Effects) -> set[type[Message]]:
    """Kinds of messages that wait for it."""
    return {type(send.message) for send in effects.send_after_persist}


CHUNK = SnapshotChunk(
    term=Term(5), snapshot=snapshot_of(b"xy", index=9, term=4), offset=1, data=b"y"
)


@pytest.mark.parametrize(
    "message, answer",
    [
        (heartbeat(5), HeartbeatReply),
        (append(5, (9, 4)), AppendRejected),
        (append(5, (2, 1)), AppendAccepted),
        (CHUNK, SnapshotReply),
        (VoteRequest(term=Term(5), last_index=Index(9), last_term=Term(4)), VoteReply),
        (VoteRequest(term=Term(5), last_index=Index(1), last_term=Term(1)), VoteReply),
    ],
    ids=lambda it: type(it).__name__ if not isinstance(it, type) else it.__name__,
)
def test_answers_in_a_new_term_wait_until_it_is_durable(
    message: Message, answer: type[Message]
) -> None:
    """§3.8: an answer lets others build on this server's term, so a crash must not take it back."""
    a = server("1 1", term=1)
    a.tick(25)

    effects = a.receive("b", message)

    assert (leaves_at_once(effects), waits(effects)) == (set(), {answer})


@pytest.mark.parametrize("message", [heartbeat(1), append(1, (9, 1)), append(1, (2, 1))])
def test_answers_in_a_durable_term_leave_at_once(message: Message) -> None:
    """§10.2.1: nothing waits for what it does not claim."""
    a = follower("1 1", of="b")
    a.receive("b", append(1, (2, 1), "1"))  # a write that is not done

    effects = a.receive("b", message)

    assert waits(effects) == set()


def test_questions_never_wait() -> None:
    """§9.6: pre-votes claim nothing durable, asked or answered."""
    a = server("1 1", term=1)
    a.receive("z", heartbeat(4))  # a term that is not durable yet
    asked = a.tick(2 * ELECTION_MAX)

    question = PreVoteRequest(term=Term(5), last_index=Index(9), last_term=Term(4))
    answered = a.receive("b", question)

    assert leaves_at_once(asked) == {PreVoteRequest}
    assert leaves_at_once(answered) == {PreVoteReply}


def test_vote_request_waits_for_the_candidates_own_vote() -> None:
    """§3.8: a candidate that forgot its campaign could vote for another in the same term (A1)."""
    a = pre_candidate("1 1")

    effects = a.receive("b", PreVoteReply(term=Term(2), granted=True))

    assert (leaves_at_once(effects), waits(effects)) == (set(), {VoteRequest})


def test_leaders_messages_do_not_wait_for_its_disk() -> None:
    """§10.2.1: entries, heartbeats and reads travel while the leader's disk works."""
    a = leader("1 1")
    kinds = set()

    for effects in (
        a.step(Propose(ticket=1, payloads=(b"x",))),
        a.step(Read(ticket=1)),
        a.receive("b", ReadRequest(term=Term(2), ticket=2)),
        a.receive("c", beat(a)),
        a.receive("c", beat(a)),
    ):
        assert waits(effects) == set()
        kinds |= leaves_at_once(effects)

    assert kinds == {AppendEntries, Heartbeat, ReadReply}


def test_followers_reads_do_not_wait() -> None:
    """§6.4: the leader's term is durable elsewhere, or it would not lead."""
    a = server("1 1", term=1)
    a.receive("b", heartbeat(3))

    assert leaves_at_once(a.step(Read(ticket=1))) == {ReadRequest}


def test_vote_given_in_a_later_term_covers_the_earlier_one() -> None:
    """§3.4: two votes in one batch are one write; after it nobody can vote in the earlier term again."""
    a = server("1 1", term=1)
    a.tick(25)

    effects = a.step(
        Receive(
            sender=who("b"),
            message=VoteRequest(term=Term(2), last_index=Index(2), last_term=Term(1)),
        ),
        Receive(
            sender=who("c"),
            message=VoteRequest(term=Term(3), last_index=Index(2), last_term=Term(1)),
        ),
    )

    assert effects.send_now == ()
    assert messages_to("b", effects) == [VoteReply(term=Term(2), granted=True)]
    assert effects.persist is not None
    assert effects.persist.hard_state == (3, who("c"))


def test_one_write_a_step_holds_all_that_changed() -> None:
    """§10.2: term, truncation and entries of a batch go to the disk together."""
    a = follower("1 1 1", of="b")

    effects = a.receive("c", heartbeat(2), append(2, (2, 1), "2"), append(2, (3, 2), "2 2"))

    write = effects.persist
    assert write is not None
    assert (write.hard_state, write.truncate_from) == ((2, None), 3)
    assert [(run.first, run.last) for run in write.runs] == [(3, 3), (4, 5)]


def test_entries_that_come_and_go_in_one_step_are_not_written() -> None:
    """§10.2: only the outcome of a batch goes to the disk."""
    a = follower("1 1", of="b")

    effects = a.step(*_both(append(1, (2, 1), "1 1"), append(2, (2, 1), "2")))

    write = effects.persist
    assert write is not None
    assert (write.truncate_from, [run.term for run in write.runs]) == (None, [2])
    a.persist_all()
    assert a.disk.runs[-1].last == 3


def _both(first: Message, second: Message) -> list[Receive]:
    return [Receive(sender=who("b"), message=first), Receive(sender=who("c"), message=second)]


def test_write_sequences_go_on_after_a_restart() -> None:
    """Ours: a sequence is never used twice in a directory."""
    a = follower("1 1", of="b")
    a.receive("b", append(1, (2, 1), "1"))
    a.persist()
    a.restart()

    a.receive("b", append(1, (3, 1), "1"))

    assert [write.sequence for write in a.unwritten] == [2]


def test_one_report_speaks_for_all_earlier_writes() -> None:
    """§10.2.1: completions come in order, so the last one is enough."""
    a = follower("1 1", of="b")
    for index in (2, 3, 4):
        a.receive("b", append(1, (index, 1), "1"))
    a.perform()

    a.step(Persisted(sequence=a.disk.written))

    assert a.raft.durable_index == 5


def written(it: Server) -> Persisted:
    """What its disk will report when it is done."""
    return Persisted(sequence=it.unwritten[-1].sequence)


def test_what_a_leader_wrote_can_wait_until_a_follower_has_it_too() -> None:
    """§3.6: its own copy is one of a majority, and decides nothing as long as nobody else has one."""
    a = leader()
    a.propose(b"x")
    alone = a.raft.can_wait(written(a))
    accepted_by(a, "b")

    assert (alone, a.raft.can_wait(written(a))) == (True, False)


def test_what_the_only_voter_wrote_can_not_wait() -> None:
    """§3.6: it is the majority."""
    a = leader(configuration=group("a"))
    a.propose(b"x")

    assert not a.raft.can_wait(written(a))


def test_what_a_follower_or_a_candidate_wrote_can_not_wait() -> None:
    """§10.2.1: an acknowledgement, and the candidate's own vote, wait for it."""
    obeys, stands = follower(of="b"), server()
    obeys.receive("b", append(obeys.raft.term, (1, 1), "1"))
    stands.time_out()
    stands.receive("b", PreVoteReply(term=Term(stands.raft.term + 1), granted=True))

    assert not obeys.raft.can_wait(written(obeys))
    assert not stands.raft.can_wait(written(stands))


def test_what_is_committed_and_not_written_here_is_applied_as_soon_as_it_is_written() -> None:
    """§10.2.1: the others commit without this leader's disk, whose word it then waits for."""
    a = leader()
    a.propose(b"x")
    for peer in ("b", "c"):
        accepted_by(a, peer)

    assert a.raft.commit_index == a.raft.last_index
    assert not a.raft.can_wait(written(a))


def test_what_was_applied_can_wait_if_nothing_is_left_to_apply() -> None:
    """Ours: by it the core knows only that there is room for more."""
    a = leader(apply_bytes_max=1)
    a.propose(b"x", b"y")
    a.persist_all()
    accepted_by(a, "b")
    half = Applied(index=a.raft.state.applying_index)
    in_the_middle = a.raft.can_wait(half)
    a.step(half)
    at_the_end = a.raft.can_wait(Applied(index=a.raft.state.applying_index))

    assert (in_the_middle, at_the_end) == (False, True)


def test_what_a_follower_applied_can_wait_too() -> None:
    """Ours: its leader is not told."""
    obeys = follower(of="b")
    obeys.receive("b", append(obeys.raft.term, (1, 1), "1", commit=2))
    obeys.persist_all()

    assert obeys.raft.state.applying_index == 2
    assert obeys.raft.can_wait(Applied(index=Index(2)))


def acknowledged(
    it: Server, by: NodeId | Identity = "c", *, index: int = 0, term: int = 0
) -> Receive:
    """That follower has the leader's whole log on its disk, or as much as is said."""
    message = AppendAccepted(
        term=Term(term or it.raft.term), index=Index(index or it.raft.last_index)
    )
    return Receive(sender=who(by) if isinstance(by, str) else by, message=message)


def decided(it: Server) -> Server:
    """It wrote an entry, and so did b: a majority."""
    it.propose(b"x")
    it.persist_all()
    it.apply_all()
    accepted_by(it, "b")
    it.apply_all()
    return it


def test_what_the_last_of_all_wrote_can_wait() -> None:
    """§3.5: a majority has it already, and nothing is committed or sent by another copy."""
    a = leader()
    a.propose(b"x")
    a.persist_all()
    a.apply_all()
    decides = acknowledged(a)
    first = a.raft.can_wait(decides)
    accepted_by(a, "b")
    a.apply_all()

    assert (first, a.raft.can_wait(decides)) == (False, True)


@pytest.mark.parametrize(
    "say",
    [
        lambda a: acknowledged(a, "d"),
        lambda a: acknowledged(a, who("c", 2)),
        lambda a: acknowledged(a, term=a.raft.term + 1),
        lambda a: acknowledged(a, term=a.raft.term - 1),
        lambda a: acknowledged(a, index=a.raft.last_index + 1),
        lambda a: Receive(sender=who("c"), message=beat(a)),
    ],
    ids=["a learner", "another incarnation", "a later term", "an earlier one", "more", "a beat"],
)
def test_what_others_say_can_not_wait(say: Callable[[Server], Receive]) -> None:
    """§3.3, §4.2.1: a learner may have caught up, a leader be deposed, and a stranger is nobody."""
    a = decided(leader(configuration=group("abc", learners="d")))

    assert a.raft.can_wait(acknowledged(a))
    assert not a.raft.can_wait(say(a))


def stall(it: Server) -> Effects:
    """Its oldest write is reported to stand still."""
    return it.step(StorageStalled(sequence=it.unwritten[0].sequence))


@pytest.mark.parametrize(
    "happens",
    [
        lambda a: a.step(TransferLeadership(ticket=1, target="c")),
        lambda a: (a.propose(b"y"), stall(a)),
        lambda a: (a.tick(ELECTION_MIN), a.step(Unfit(reason="older code"))),
        lambda a: a.step(PeerUnreachable(peer="c", succession=())),
    ],
    ids=["handing over", "stalled", "unfit", "probing"],
)
def test_what_somebody_waits_for_can_not_wait(happens: Callable[[Server], object]) -> None:
    """§3.10, §10.2.1: who holds the whole log is handed over to, and a probe's answer is sent more."""
    a = decided(leader())
    last = acknowledged(a)
    before = a.raft.can_wait(last)

    happens(a)

    assert (before, a.raft.can_wait(last)) == (True, False)


def test_acknowledgement_that_makes_room_for_more_can_not_wait() -> None:
    """§10.2.1: the window of that follower was full."""
    a = leader(inflight_messages_max=1)
    half = a.raft.last_index + 1
    for command in (b"x", b"y"):
        a.propose(command)
        a.persist_all()
    a.step(acknowledged(a, "b", index=half))
    a.apply_all()

    assert a.raft.commit_index == half
    assert not a.raft.can_wait(acknowledged(a, index=half))


def test_acknowledgement_that_would_be_asked_for_can_not_wait() -> None:
    """§3.5: where questions come between heartbeats, the next would be one for it."""
    a = decided(leader(retry_ms=20))

    assert not a.raft.can_wait(acknowledged(a))


def durability(index: int = 5) -> Durability:
    """A log that is durable up to `index`."""
    return Durability(
        hard_state=(Term(1), None),
        issued_hard_state=(Term(1), None),
        index=Index(index),
        issued_index=Index(index),
        sequence=0,
    )


def test_truncation_disclaims_what_is_durable_and_what_is_under_way() -> None:
    """§10.2.1: neither an earlier write nor one in progress speaks for what was cut (B6)."""
    d = durability()
    d.issue(Index(8), None)

    d.truncate(Index(4))
    d.complete(1)

    assert (d.index, d.truncated_from, d.issued_index) == (3, 4, 3)


def test_truncation_of_what_was_never_issued_costs_no_write() -> None:
    """§10.2.1: the disk never heard of it."""
    d = durability()

    d.truncate(Index(6))

    assert (d.index, d.truncated_from) == (5, None)


def test_lowest_of_several_truncations_is_written() -> None:
    """§10.2.1: one step may cut twice."""
    d = durability()

    d.truncate(Index(4))
    d.issued_index = Index(5)
    d.truncate(Index(5))

    assert d.truncated_from == 4


def test_completed_is_the_last_write_known_to_be_on_disk() -> None:
    """§10.2.1: by it snapshots know when they are durable."""
    d = durability()
    before = d.completed
    first = d.issue(Index(6), (Term(2), None))
    second = d.issue(Index(7), None)
    d.complete(first)
    between = d.completed, d.hard_state
    d.complete(second)

    assert (before, between, d.completed) == (0, (1, (2, None)), 2)
