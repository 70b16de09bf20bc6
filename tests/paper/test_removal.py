"""§4.2.2 a leader that removes itself, §4.2.3 what becomes of those who are removed."""

from __future__ import annotations

import attrs
import pytest

from raftkit.changes import AddLearner, Demote, MembershipChanged, Remove
from raftkit.messages import (
    AppendAccepted,
    AppendEntries,
    Effects,
    Heartbeat,
    Propose,
    Read,
    ReadConfirmed,
    ReadReply,
    ReadRequest,
    Refusal,
    Refused,
    VoteReply,
)
from raftkit.model import Index, Kind
from tests.paper.changes import ask, committed, roles
from tests.paper.cluster import cluster
from tests.paper.server import (
    ELECTION_MAX,
    HEARTBEAT,
    accepted_by,
    append,
    beat,
    entry,
    everyone_answers,
    group,
    heartbeat,
    leader,
    messages_to,
    server,
    who,
)


def test_removed_peer_is_told_before_it_is_let_go() -> None:
    """§4.2.3: or it would never know, and campaign; it is fed until an answer shows that it knows."""
    a = leader("1 1")
    told = messages_to("c", a.step(ask(Remove(id="c"))))
    (entry,) = told
    assert isinstance(entry, AppendEntries)
    assert entry.last_index == 4
    committed(a, "b")
    fed = list(a.leadership.progress)
    told = messages_to("c", accepted_by(a, "c"))

    a.tick(HEARTBEAT)
    a.receive("c", beat(a, index=4))

    assert fed == ["b", "c"]
    assert told == []  # of the commit it was told when that came about
    assert list(a.leadership.progress) == ["b"]
    assert a.leadership.departing == {}


def test_removed_peer_hears_of_the_commit_at_once() -> None:
    """§4.2.3: as who waits for an entry does."""
    a = leader("1 1")
    a.step(ask(Remove(id="c")))
    a.persist()

    effects = accepted_by(a, "b")

    heard = Heartbeat(term=a.raft.term, round=a.leadership.round, commit_index=Index(4))
    assert messages_to("c", effects) == [heard]


def test_removed_peer_that_is_silent_is_let_go() -> None:
    """Ours: it may be gone for good, which is why it was removed."""
    a = leader("1 1")
    a.step(ask(Remove(id="c")))
    committed(a, "b")
    for _ in range(ELECTION_MAX // HEARTBEAT + 1):
        a.tick(HEARTBEAT)
        everyone_answers(a, "b")

    assert list(a.leadership.progress) == ["b"]


def test_removed_peer_is_not_counted() -> None:
    """§4.1: from the moment its removal is in the log."""
    a = leader("1 1")
    a.step(ask(Remove(id="c")))

    assert committed(a, "c") == []
    assert a.raft.commit_index == 3


def test_answers_of_who_was_let_go_do_nothing() -> None:
    """E19: they may be long on their way."""
    a = leader("1 1")
    a.step(ask(Remove(id="c")))
    committed(a, "b", "c")
    a.tick(HEARTBEAT)
    a.receive("c", beat(a, index=4))

    late = a.receive("c", beat(a, index=4), AppendAccepted(term=a.raft.term, index=Index(4)))

    assert late == Effects()


def test_reads_of_who_was_let_go_are_forgotten() -> None:
    """E19: nobody is there to be answered; others' reads go on."""
    a = leader("1 1", configuration=group("abc", learners="d"))
    a.receive("d", ReadRequest(term=a.raft.term, ticket=5))
    a.step(ask(Remove(id="d")))
    a.receive("d", ReadRequest(term=a.raft.term, ticket=6))
    committed(a, "b", "d")
    a.step(Read(ticket=8))
    a.tick(HEARTBEAT)
    a.receive("d", beat(a, index=4))

    effects = a.receive("b", beat(a, index=4))

    assert effects.answer == (ReadConfirmed(ticket=8, index=Index(4)),)
    assert not any(isinstance(message, ReadReply) for message in messages_to("d", effects))


def test_peer_that_is_added_again_at_once_is_fed_on() -> None:
    """E18: the same disk, the same log."""
    a = leader("1 1")
    a.step(ask(Remove(id="c")))
    committed(a, "b", "c")
    before = a.leadership.progress["c"]

    a.step(ask(AddLearner(id="c", incarnation=1, address="c:1")))

    assert a.leadership.progress["c"] is before
    assert a.leadership.departing == {}


def test_new_incarnation_starts_from_nothing() -> None:
    """E13: what the old one held is gone; neither its answers nor its reads count."""
    a = leader("1 1")
    a.receive("c", ReadRequest(term=a.raft.term, ticket=5))
    a.step(ask(AddLearner(id="c", incarnation=2, address="c:2")))

    old = a.receive(who("c", 1), AppendAccepted(term=a.raft.term, index=Index(4)))
    match_index = a.leadership.progress["c"].match_index
    accepted_by(a, "c", incarnation=2)

    assert (old, match_index) == (Effects(), 0)
    assert a.leadership.progress["c"].match_index == 4
    assert roles(a) == "a b c-learner"


@pytest.mark.accept("C-40")
def test_leader_commits_its_own_removal_and_resigns() -> None:
    """§4.2.2, E4: it leads until that is committed, and is not counted for it; others are told first."""
    a = leader("1 1")
    a.step(ask(Remove(id="a")))
    alone = committed(a)
    one = accepted_by(a, "b").answer
    leads = a.raft.role

    effects = accepted_by(a, "c")

    assert (alone, one, leads) == ([], (), "leader")
    assert effects.answer == (MembershipChanged(ticket=7, index=Index(4)),)
    assert a.raft.role == "follower"
    for peer in "bc":
        assert [it for it in messages_to(peer, effects) if isinstance(it, Heartbeat)]


def test_leader_that_is_demoted_becomes_a_learner() -> None:
    """§4.2.2: the same, but it stays."""
    a = leader("1 1")
    a.step(ask(Demote(id="a")))

    committed(a, "b", "c")

    assert (a.raft.role, roles(a)) == ("learner", "a-learner b c")


def test_removed_leader_takes_no_more_proposals() -> None:
    """§3.6.1: its log must end, so that another holds all of it and can be elected."""
    a = leader("1 1")
    a.step(ask(Remove(id="a")))
    a.propose(b"x")
    accepted = AppendAccepted(term=a.raft.term, index=Index(4))
    a.receive("b", accepted)
    a.receive("c", accepted)
    assert (a.raft.commit_index, a.raft.role) == (4, "leader")

    refused = a.step(Propose(ticket=9, payloads=(b"y",))).answer
    accepted_by(a, "b")

    assert refused == (Refused(ticket=9, reason=Refusal.NOT_LEADER, leader=None),)
    assert a.raft.role == "follower"


def test_removed_server_campaigns_while_its_removal_may_be_lost() -> None:
    """§4.2.2, E15: b, which never heard of it, can't win against the longer log of a; a can, uncounted."""
    s = cluster(
        server("1 1", "a", configuration=group("ab")), server("1 1", "b", configuration=group("ab"))
    )
    s.elect("a", "b")
    s.pass_time(3 * HEARTBEAT)
    s.step("a", ask(Remove(id="a")))
    s["a"].persist_all()
    s.lose()
    s["a"].restart()

    s.pass_time(8 * ELECTION_MAX)

    assert s["b"].raft.role == "leader"
    assert roles(s["b"]) == "b"
    assert s["a"].raft.commit_index >= 4


def test_removed_server_that_campaigns_does_not_count_itself() -> None:
    """§4.2.2: not a member of its newest configuration."""
    a = server("1 1")
    a.receive("b", heartbeat(1))
    removal = entry(3, 1, kind=Kind.CONFIGURATION, payload=group("bcd").encode())
    a.receive("b", attrs.evolve(append(1, (2, 1)), runs=(removal,)))
    a.persist_all()
    a.stand()
    a.receive("b", VoteReply(term=a.raft.term, granted=True))
    one = a.raft.role

    a.receive("c", VoteReply(term=a.raft.term, granted=True))

    assert (one, a.raft.role) == ("candidate", "leader")
