"""§4.3 joint consensus: two entries change any number of voters."""

from __future__ import annotations

from raftkit.changes import MembershipChanged, Promote, Remove
from raftkit.leadership import TransferLeadership
from raftkit.messages import Refusal
from raftkit.model import Index
from tests.paper.changes import answer_to, ask, committed, configuration_of, roles
from tests.paper.server import HEARTBEAT, append, beat, everyone_answers, follower, group, leader


def test_two_voters_at_once_change_in_two_entries() -> None:
    """§4.3: a joint configuration first; when it is committed by both halves, the new one alone."""
    a = leader("1 1", configuration=group("abc", learners="de"))
    a.step(ask(Promote(id="d"), Promote(id="e"), Remove(id="b"), Remove(id="c")))
    joint = configuration_of(a)
    by_new = committed(a, "d", "e")
    waits = a.raft.configuration_index
    by_both = committed(a, "b")
    second = configuration_of(a)

    done = committed(a, "d")

    assert joint == group("ade", leaving="bc", outgoing="abc")
    assert (by_new, waits, by_both) == ([], 4, [])
    assert second == group("ade")
    assert done == [MembershipChanged(ticket=7, index=Index(5))]


def test_joint_configuration_is_committed_by_both_halves() -> None:
    """§4.3, E5: neither the old half nor the new one alone."""
    a = leader("1 1", configuration=group("a", learners="bc"))
    a.step(ask(Promote(id="b"), Promote(id="c")))

    by_old = committed(a)
    index = a.raft.commit_index
    committed(a, "b")

    assert (by_old, index, a.raft.configuration_index) == ([], 3, 5)


def test_leader_that_leaves_with_others_leads_to_the_end() -> None:
    """§4.2.2, §4.3: a leader of the old half alone goes on until the new configuration is committed."""
    a = leader("1 1", configuration=group("abc", learners="de"))
    a.step(ask(Promote(id="d"), Promote(id="e"), Remove(id="a"), Remove(id="b")))
    committed(a, "c", "d")
    between = (roles(a), a.raft.role)

    done = committed(a, "c", "d")

    assert between == ("c d e", "leader")
    assert (done, a.raft.role) == ([MembershipChanged(ticket=7, index=Index(5))], "follower")


def test_new_leader_leaves_the_joint_configuration_that_it_finds() -> None:
    """§4.3, E3: whoever leads then, and only once its no-op commits the joint entry (E2)."""
    joint = group("ade", leaving="bc", outgoing="abc")
    a = leader("1 1", configuration=joint, matched=False)
    committed(a, "d", "e")
    early = configuration_of(a)

    committed(a, "b")

    assert (early, configuration_of(a)) == (joint, group("ade"))


def test_joint_configuration_known_committed_is_not_left_before_the_no_op_commits() -> None:
    """§4.1, E2: a new leader changes nothing before it has committed an entry of its term."""
    joint = group("ade", leaving="bc", outgoing="abc")
    a = follower("1 1", of="b", configuration=joint)
    a.receive("b", append(1, (2, 1), commit=2))
    a.forget_leader()
    a.win()
    early = configuration_of(a)

    committed(a, "b", "d")

    assert (a.raft.state.commit_index >= 3, early) == (True, joint)
    assert configuration_of(a) == group("ade")


def test_joint_configuration_is_not_left_while_leadership_is_handed_over() -> None:
    """§3.10: nothing is appended meanwhile; it is left when that is over, by whoever leads."""
    a = leader("1 1", configuration=group("abc", learners="de"))
    a.step(ask(Promote(id="d"), Promote(id="e")))
    a.step(TransferLeadership(ticket=1, target="b"))
    committed(a, "b", "d", "e")
    meanwhile = (a.raft.commit_index, roles(a), configuration_of(a).outgoing)
    while a.leadership.transfer is not None:
        a.tick(HEARTBEAT)
        everyone_answers(a)

    assert meanwhile == (4, "a b c d e", ("a", "b", "c"))
    assert configuration_of(a).outgoing == ()


def test_nothing_is_begun_while_joint() -> None:
    """§4.3: also after the joint entry is committed, until the new configuration is."""
    a = leader("1 1", configuration=group("abc", learners="de"))
    a.step(ask(Promote(id="d"), Promote(id="e")))
    joint = answer_to(a, Remove(id="b"))
    committed(a, "b", "d", "e")
    last = answer_to(a, Remove(id="b"))
    committed(a, "b", "d")

    assert joint is not None
    assert last is not None
    assert (joint.reason, last.reason) == (Refusal.UNDER_WAY, Refusal.UNDER_WAY)
    assert answer_to(a, Remove(id="b")) is None


def test_those_who_leave_are_fed_and_told_to_the_end() -> None:
    """§4.3: members while joint, and then let go like anybody who is removed."""
    a = leader("1 1", configuration=group("abc", learners="de"))
    a.step(ask(Promote(id="d"), Promote(id="e"), Remove(id="b"), Remove(id="c")))
    committed(a, "b", "d")
    fed = sorted(a.leadership.progress), sorted(a.leadership.departing)
    committed(a, "b", "c", "d", "e")
    a.tick(HEARTBEAT)
    for peer in "bcde":
        a.receive(peer, beat(a, index=5))

    assert fed == (["b", "c", "d", "e"], ["b", "c"])
    assert list(a.leadership.progress) == ["d", "e"]
