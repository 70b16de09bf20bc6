"""§3.5, §3.6.2: what counts as committed, and how it is counted (§4.3 for joint configurations)."""

from __future__ import annotations

import pytest

from raftkit.core import quorum
from raftkit.membership import Settings
from raftkit.messages import AppendAccepted, Applied, Effects, Heartbeat, Propose, Send
from raftkit.model import Index, Kind, NodeId, Term
from tests.paper.cluster import cluster
from tests.paper.server import (
    ELECTION_MAX,
    Server,
    accepted_by,
    append,
    everyone_answers,
    follower,
    group,
    leader,
    server,
)

FIVE = group("abcde")


# ── counting ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("voters, needed", [(1, 1), (2, 2), (3, 2), (4, 3), (5, 3), (6, 4), (7, 4)])
@pytest.mark.accept("P-21", "P-27", "O-16")
def test_majority_is_more_than_half(voters: int, needed: int) -> None:
    """§3.4: any two majorities share a server; of an even number it is more than half (C3)."""
    ids = "abcdefg"[:voters]
    configuration = group(ids, learners="xyz")

    assert quorum.majority(voters) == needed
    for count in range(voters + 1):
        acting = ids[:count]
        assert quorum.won(configuration, set(acting) | set("xyz")) == (count >= needed)
        at_nine = quorum.committed(configuration, lambda name: Index(9 if name in acting else 4))  # noqa: B023
        assert at_nine == (9 if count >= needed else 4)
        confirmed = quorum.confirmed(configuration, lambda name: int(name in acting))  # noqa: B023
        assert confirmed == int(count >= needed)


def test_no_majority_of_nobody() -> None:
    """A half without voters is never asked for."""
    with pytest.raises(AssertionError):
        quorum.majority(0)


@pytest.mark.accept("U-34")
def test_commit_index_is_what_the_middle_voter_holds() -> None:
    """§3.5: a majority holds everything up to the median of what voters hold."""
    held: dict[NodeId, int] = {"a": 9, "b": 3, "c": 7, "d": 1, "e": 5}

    assert quorum.committed(FIVE, lambda name: Index(held[name])) == 5


@pytest.mark.parametrize(
    "acting, agreed",
    [("abc", False), ("cde", False), ("abde", True), ("bcd", True), ("abcd", True)],
)
def test_both_halves_of_a_joint_configuration_must_agree(acting: str, *, agreed: bool) -> None:
    """§4.3: old majority and new majority, each by itself (C3, E5)."""
    joint = group("cde", learners="ab", outgoing="abc")

    assert quorum.won(joint, set(acting)) is agreed
    assert (quorum.committed(joint, lambda name: Index(name in acting)) == 1) is agreed
    assert (quorum.confirmed(joint, lambda name: int(name in acting)) == 1) is agreed


@pytest.mark.parametrize("factor, expected", [(1, 7), (3, 7), (4, 4), (5, 2), (9, 2)])
def test_replication_factor_raises_the_quorum_and_never_lowers_it(
    factor: int, expected: int
) -> None:
    """Ours: more copies than a majority where asked for, all voters at most."""
    configuration = group("abcde", settings=Settings(replication_factor=factor))
    held: dict[NodeId, int] = {"a": 9, "b": 8, "c": 7, "d": 4, "e": 2}

    assert quorum.committed(configuration, lambda name: Index(held[name])) == expected


def test_replication_factor_does_not_change_elections() -> None:
    """Ours: it raises what commit needs, not what a vote needs."""
    configuration = group("abc", settings=Settings(replication_factor=3))

    assert quorum.won(configuration, {"a", "b"})


def test_entry_commits_with_the_copy_that_completes_the_factor() -> None:
    """Ours: with factor 3 of 3, two durable copies are not enough."""
    a = leader("1", configuration=group("abc", settings=Settings(replication_factor=3)))
    a.propose(b"x")
    a.persist()
    accepted_by(a, "b")
    two = a.raft.commit_index

    accepted_by(a, "c")

    assert (two, a.raft.commit_index) == (2, 3)


# ── when the leader commits ──────────────────────────────────────────────────────────────────────────


def test_entry_on_a_majority_of_disks_commits_and_is_applied() -> None:
    """§3.5: the leader counts itself when its own disk has the entry; then the machine gets it."""
    a = leader("1 1")
    a.propose(b"x")
    a.persist()

    effects = accepted_by(a, "b")

    (run,) = effects.apply
    assert effects == Effects(apply=(run,))
    assert (run.first, run.payloads) == (4, (b"x",))


def test_leader_is_not_counted_before_its_own_disk_has_the_entry() -> None:
    """§3.8, §10.2.1: the leader's log is one of the copies, no more and no earlier (C4)."""
    a = leader("1 1", configuration=FIVE)
    a.propose(b"x")
    accepted_by(a, "b")
    accepted_by(a, "c")
    two_others = a.raft.commit_index

    a.persist()

    assert (two_others, a.raft.commit_index) == (3, 4)


def test_entry_commits_without_the_leaders_disk() -> None:
    """§10.2.1: a majority of followers is a majority; but nothing is applied here before it is here (C5)."""
    a = leader("1 1")
    a.propose(b"x")
    accepted_by(a, "b")

    effects = accepted_by(a, "c")
    applied = a.persist().apply

    assert a.raft.commit_index == 4
    assert effects.apply == ()
    assert [run.payloads for run in applied] == [(b"x",)]


def test_single_server_commits_when_its_disk_has_the_entry() -> None:
    """§3.8: alone too, an entry is committed when it is durable and not before (C4)."""
    a = leader("1", configuration=group("a"))

    proposed = a.propose(b"x")
    before = a.raft.commit_index
    written = a.persist()

    assert (before, proposed.apply) == (2, ())
    assert a.raft.commit_index == 3
    assert [run.payloads for run in written.apply] == [(b"x",)]


def test_learners_are_not_counted() -> None:
    """§4.2.1: however many learners hold an entry, it is not committed (C3, D10)."""
    a = leader("1", configuration=group("abc", learners="wxyz"))
    a.propose(b"x")
    a.persist()

    for learner in "wxyz":
        accepted_by(a, learner)

    assert a.raft.commit_index == 2


def test_another_incarnation_is_not_counted() -> None:
    """E13: what a wiped server held is gone, whatever the one with its name now says."""
    a = leader("1")
    a.propose(b"x")
    a.persist()

    accepted_by(a, "b", incarnation=2)

    assert a.raft.commit_index == 2


def test_commit_index_reaches_followers_with_the_next_message() -> None:
    """§3.5: followers learn of commits from the leader, by entries or by heartbeats."""
    a = leader("1")
    a.propose(b"x")
    a.persist()
    accepted_by(a, "b")

    effects = a.tick(5)

    beat = Heartbeat(term=Term(2), round=a.leadership.round, commit_index=Index(3))
    assert effects.send_now[0] == Send(targets=("b", "c"), message=beat)


def test_origin_of_a_command_is_told_of_its_commit_at_once() -> None:
    """Ours: a node with a waiter does not wait for the next heartbeat."""
    a = leader("1")
    a.step(Propose(ticket=1, payloads=(b"x",), origin="c"))
    a.persist()

    effects = accepted_by(a, "b")

    beat = Heartbeat(term=Term(2), round=a.leadership.round, commit_index=Index(3))
    assert effects.send_now == (Send(targets=("c",), message=beat),)


# ── earlier terms ────────────────────────────────────────────────────────────────────────────────────


def test_entry_of_an_earlier_term_is_not_committed_by_counting() -> None:
    """§3.6.2: a majority holds it, and still another leader could replace it (C1)."""
    a = leader("1 1 2", configuration=FIVE, matched=False)

    for other in "bcde":
        a.receive(other, AppendAccepted(term=a.raft.term, index=Index(3)))

    assert a.raft.commit_index == 0


def test_entry_of_the_own_term_commits_all_before_it() -> None:
    """§3.6.2: once an entry of the leader's own term is on a majority, no one else can win (C1)."""
    a = leader("1 1 2", configuration=FIVE, matched=False)

    accepted_by(a, "b")
    effects = accepted_by(a, "c")

    assert a.raft.commit_index == 4
    assert [run.first for run in effects.apply] == [1, 2, 3, 4]


def test_new_leader_commits_old_entries_without_a_client() -> None:
    """§6.4: its term begins with an empty entry, so nothing waits for the next command (C8)."""
    s = cluster(server("1 1 2", "a"), server("1 1 2", "b"), server("1 1", "c", term=2))

    s.pass_time(6 * ELECTION_MAX)

    assert [it.raft.commit_index for it in s.servers.values()] == [4, 4, 4]
    (lead,) = (it for it in s.servers.values() if it.raft.role == "leader")
    entry = next(e for run in lead.applied for e in run if e.index == 4)
    assert (entry.kind, entry.payload) == (Kind.NOOP, b"")


def five(*terms: str) -> list[Server]:
    """a to e, with these logs."""
    return [
        server(log, name, term=3, configuration=FIVE)
        for name, log in zip("abcde", terms, strict=True)
    ]


def test_figure_8_entry_on_a_majority_is_replaced_before_its_leader_commits() -> None:
    """Figure 3.7 (paper Figure 8), a to d: term 2's entry is on three of five servers, and lost (C1).

    Servers a and b hold an entry of term 2 at index 2, e holds one of term 3.
    """
    s = cluster(*five("1 2", "1 2", "1", "1", "1 3"))
    s.elect("a", "bc")
    assert s["a"].terms == "1 2 4"  # (c): a leads term 4 and brings entry 2 to c …
    s["c"].receive("a", append(4, (1, 1), "2"))
    s["c"].persist_all()
    s.lose()
    s["a"].receive("b", AppendAccepted(term=Term(4), index=Index(2)))
    s["a"].receive("c", AppendAccepted(term=Term(4), index=Index(2)))
    on_three = [it.terms.split()[1:2] for it in s.servers.values()].count(["2"])
    committed = s["a"].raft.commit_index
    for voter in "bcd":
        s[voter].restart()
    s.elect("e", "bcd")  # (d): … but e can still win, and replaces it
    s.pass_time(20, "bcde")

    assert (on_three, committed) == (3, 0)
    assert {s[name].terms for name in "bcde"} == {"1 3 5"}
    assert s["e"].raft.commit_index == 3


def test_figure_8_entry_of_the_own_term_on_a_majority_is_safe() -> None:
    """Figure 3.7 (paper Figure 8), e: with an entry of term 4 on three servers, e can't win any more."""
    s = cluster(*five("1 2", "1 2", "1", "1", "1 3"))
    s.elect("a", "bc")
    s.pass_time(20, "abc")
    committed = s["a"].raft.commit_index

    s.campaign("e", "bcd")

    assert committed == 3
    assert s["e"].raft.role == "pre-candidate"
    assert {s[name].terms for name in "abc"} == {"1 2 4"}


# ── applying ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.accept("Q-11")
def test_follower_applies_what_is_committed_and_durable_here() -> None:
    """§3.5: in order, once, and not before its own disk has it (C5)."""
    a = follower("1 1", of="b")
    first = a.receive("b", append(1, (2, 1), "1", commit=3)).apply
    second = a.persist().apply

    assert [run.first for run in first] == [1, 2]
    assert [run.first for run in second] == [3]


def test_entries_to_apply_are_bounded_by_what_is_not_applied_yet() -> None:
    """Ours: a slow machine is not handed the whole log (at least one run goes)."""
    a = leader("1", apply_bytes_max=8)
    for _ in range(3):
        a.propose(b"12345678")
    a.persist_all()
    everyone_answers(a, "b")
    a.tick()
    given = [run.first for run in a.applied]

    a.step(Applied(index=Index(3)))

    assert a.raft.commit_index == 5
    assert given == [3]
    assert [run.first for run in a.applied] == [3, 4]


def test_restarted_server_applies_again_from_its_snapshot() -> None:
    """§3.8, Figure 2: commit index and applied index are volatile (C7 is the machine's business)."""
    a = follower("1 1 1", of="b")
    a.receive("b", append(1, (3, 1), commit=3))
    a.restart()
    a.applied.clear()

    a.receive("b", append(1, (3, 1), commit=3))

    assert [run.first for run in a.applied] == [1, 2]
    assert a.applied[-1].last == 3
