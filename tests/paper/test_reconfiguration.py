"""§4.1 one change at a time, §4.2.1 catching up, and whole groups that change."""

from __future__ import annotations

import attrs
import pytest

from raftkit.changes import (
    AddLearner,
    Change,
    ChangeSettings,
    MembershipChanged,
    MembershipUnknown,
    Promote,
    Readdress,
    Remove,
)
from raftkit.core.progress import Probing
from raftkit.leadership import TransferLeadership
from raftkit.membership import Role, Settings
from raftkit.messages import AppendAccepted, AppendEntries, Effects, Refusal, Refused, Unfit
from raftkit.model import Index
from tests.paper.changes import ADD_D, answer_to, ask, committed, configuration_of, roles
from tests.paper.cluster import Cluster, cluster
from tests.paper.server import (
    ABC,
    ELECTION_MAX,
    ELECTION_MIN,
    HEARTBEAT,
    Server,
    accepted_by,
    everyone_answers,
    follower,
    group,
    heartbeat,
    leader,
    messages_to,
    server,
)

# ── one change at a time ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.accept("Q-23")
def test_change_is_in_force_when_appended_and_done_when_committed() -> None:
    """§4.1: the leader uses the new configuration at once; who asked is told when it can't be lost."""
    a = leader("1 1")

    taken = a.step(ask(ADD_D))
    in_force = roles(a)
    early = committed(a)
    done = committed(a, "b")

    assert (taken.answer, early) == ((), [])
    assert in_force == "a b c d-learner"
    assert done == [MembershipChanged(ticket=7, index=Index(4))]


def test_either_configuration_may_stay_until_the_newer_is_committed() -> None:
    """§4.1: what is only appended can be rolled back, so who decides for good looks at both."""
    a = leader("1 1")
    a.step(ask(ADD_D))

    before = a.raft.possible_configurations
    committed(a, "b")
    after = a.raft.possible_configurations

    assert before == (ABC, configuration_of(a))
    assert after == (configuration_of(a),)


def test_new_member_is_fed_at_once() -> None:
    """§4.1: it is probed from the end of the log, with the entry that admits it."""
    a = leader("1 1")

    effects = a.step(ask(ADD_D))

    (message,) = messages_to("d", effects)
    assert isinstance(message, AppendEntries)
    assert (message.prev_index, message.last_index) == (3, 4)
    assert isinstance(a.leadership.progress["d"].mode, Probing)


def test_progress_of_those_who_stay_is_kept() -> None:
    """E18: a change takes nothing back of what is known of the others."""
    a = leader("1 1")
    before = dict(a.leadership.progress)

    a.step(ask(AddLearner(id="bb", incarnation=1, address="bb:1")))

    after = a.leadership.progress
    assert list(after) == ["b", "bb", "c"]
    assert all(after[peer] is it for peer, it in before.items())


def test_quorums_are_those_of_the_new_configuration_at_once() -> None:
    """§4.1: with d as fourth voter, two of three are no majority any more."""
    a = _with_learner(caught_up=True)
    a.step(ask(Promote(id="d")))

    two = committed(a, "b")
    three = accepted_by(a, "d").answer

    assert (two, three) == ([], (MembershipChanged(ticket=7, index=Index(5)),))


def test_second_change_waits_for_the_first() -> None:
    """§4.1, E20: majorities of the first and the third configuration need not meet."""
    a = leader("1 1")
    a.step(ask(ADD_D))

    refusal = answer_to(a, Remove(id="c"))
    committed(a, "b")

    assert refusal == Refused(ticket=7, reason=Refusal.UNDER_WAY, leader=None)
    assert answer_to(a, Remove(id="c")) is None


def test_no_change_before_an_entry_of_the_term_is_committed() -> None:
    """§4.1 as corrected in 2015, E1: another leader's change may be committed, and not be known here."""
    a = leader("1 1", matched=False)

    early = answer_to(a, ADD_D)
    accepted_by(a, "b")

    assert early == Refused(ticket=7, reason=Refusal.TOO_EARLY, leader=None)
    assert answer_to(a, ADD_D) is None


def test_factor_may_be_lowered_before_anything_is_committed() -> None:
    """Ours: or a group that lost a disk for good could never commit again. No quorum of voters moves."""
    three = group("abc", settings=Settings(replication_factor=3))
    a = leader("1 1", configuration=three, matched=False)
    accepted_by(a, "b")
    stuck = a.raft.commit_index

    a.step(ask(ChangeSettings(settings=Settings(replication_factor=1))))
    done = committed(a, "b")

    assert (stuck, done) == (0, [MembershipChanged(ticket=7, index=Index(4))])
    assert configuration_of(a) == attrs.evolve(three, settings=Settings())


def test_factor_may_be_lowered_while_another_change_is_under_way() -> None:
    """Ours: that change may be what can't be committed. Both are done at once."""
    three = group("abc", settings=Settings(replication_factor=3))
    a = leader("1 1", configuration=three)
    a.step(ask(ADD_D, ticket=1))
    stuck = committed(a, "b")

    a.step(ask(ChangeSettings(settings=Settings(replication_factor=2)), ticket=2))
    done = committed(a, "b")

    assert stuck == []
    assert done == [MembershipChanged(ticket=it, index=Index(5)) for it in (1, 2)]


def test_change_is_based_on_the_configuration_in_force() -> None:
    """Ours: who asks may have seen an older group than there is."""
    a = leader("1 1")

    refusal = answer_to(a, ADD_D, based_on=2)

    assert refusal == Refused(ticket=7, reason=Refusal.OVERTAKEN, leader=None)
    assert answer_to(a, ADD_D, based_on=1) is None


def test_follower_does_not_change_the_group() -> None:
    """§6.2: it says who may."""
    a = follower("1 1", of="b")

    assert answer_to(a, ADD_D) == Refused(ticket=7, reason=Refusal.NOT_LEADER, leader="b")


def test_leader_that_resigns_changes_nothing() -> None:
    """Its log must end, so that somebody else can hold all of it."""
    a = leader("1 1")
    a.propose(b"x")
    a.step(Unfit(reason="old"))

    assert answer_to(a, ADD_D) == Refused(ticket=7, reason=Refusal.NOT_LEADER, leader=None)


def test_nothing_is_changed_while_leadership_is_handed_over() -> None:
    """§3.10: the target's log would never be as long as this one."""
    a = leader("1 1")
    a.step(TransferLeadership(ticket=1, target="b"))

    refusal = answer_to(a, ADD_D)

    assert refusal == Refused(ticket=7, reason=Refusal.TRANSFERRING, leader=None)


@pytest.mark.parametrize(
    "change, why",
    [
        (Remove(id="z"), "'z' is no member; there are: a, b, c"),
        (Readdress(id="a", address="b:1"), "b:1 is the address of b: a needs another"),
        (
            ChangeSettings(settings=Settings(election_timeout_ms=(90, 200))),
            (
                "heartbeat_interval 50 ms must be at most half of the lower election_timeout 90 ms, "
                "or healthy leaders are deposed"
            ),
        ),
    ],
)
def test_change_that_can_not_be_is_refused_in_words(change: Change, why: str) -> None:
    """What it would be, and what to do; nothing is appended."""
    a = leader("1 1")

    effects = a.step(ask(change))

    refused = Refused(ticket=7, reason=Refusal.INVALID, leader=None, detail=why)
    assert effects == Effects(answer=(refused,))


def test_configuration_entries_are_exempt_from_back_pressure() -> None:
    """Ours: a log full of undecided entries may need another group to decide them."""
    a = leader("1 1", uncommitted_bytes_max=1)
    a.propose(b"xx")
    full = a.propose(b"y").answer

    assert isinstance(full[0], Refused)
    assert answer_to(a, ADD_D) is None


def test_change_whose_leader_is_lost_may_happen() -> None:
    """§4.1: the entry is in a log or two; the next leader decides."""
    a = leader("1 1")
    a.step(ask(ADD_D))

    effects = a.receive("b", heartbeat(a.raft.term + 1))

    assert effects.answer == (MembershipUnknown(ticket=7),)


@pytest.mark.accept("P-14")
def test_address_of_a_member_is_changed() -> None:
    """§4.4: like any other change; no quorum moves by it."""
    a = leader("1 1")

    a.step(ask(Readdress(id="c", address="c:2")))
    done = committed(a, "b")

    assert done == [MembershipChanged(ticket=7, index=Index(4))]
    member = configuration_of(a).member("c")
    assert member is not None
    assert (member.address, member.role) == ("c:2", Role.VOTER)


# ── learners ─────────────────────────────────────────────────────────────────────────────────────────


def _with_learner(*, promote: bool = False, caught_up: bool = False) -> Server:
    """A leader of a, b and c with the learner d, committed; d holds all of it, or has said nothing yet."""
    a = leader("1 1")
    a.step(ask(AddLearner(id="d", incarnation=1, address="d:1", promote=promote)))
    committed(a, "b", "c")
    if caught_up:
        a.receive("d", AppendAccepted(term=a.raft.term, index=a.raft.last_index))
    return a


@pytest.mark.parametrize("caught_up", [False, True])
def test_learner_that_is_behind_is_not_promoted(*, caught_up: bool) -> None:
    """§4.2.1, E12: it would count at once, and the group wait for it."""
    a = _with_learner(caught_up=caught_up)

    refusal = answer_to(a, Promote(id="d"))

    behind = Refused(ticket=7, reason=Refusal.BEHIND, leader=None, detail="d")
    assert refusal == (None if caught_up else behind)


def test_learner_that_fell_silent_is_not_promoted() -> None:
    """§4.2.1: it held everything an election timeout ago; now it may be down."""
    a = _with_learner(caught_up=True)
    for _ in range(ELECTION_MIN // HEARTBEAT + 1):
        a.tick(HEARTBEAT)
        everyone_answers(a, "bc")

    refusal = answer_to(a, Promote(id="d"))

    assert refusal is not None
    assert refusal.reason is Refusal.BEHIND


@pytest.mark.accept("Q-23")
def test_joining_learner_is_promoted_when_it_has_caught_up() -> None:
    """§4.2.1: by an entry of its own, after the one that admitted it is committed."""
    a = _with_learner(promote=True)
    before = roles(a)

    a.receive("d", AppendAccepted(term=a.raft.term, index=a.raft.last_index))

    assert (before, roles(a)) == ("a b c d-joining", "a b c d")
    assert a.raft.configuration_index == 5


def test_joining_learner_is_not_promoted_while_its_admission_is_uncommitted() -> None:
    """§4.1: one change at a time, also where the group makes it by itself."""
    a = leader("1 1")
    a.step(ask(AddLearner(id="d", incarnation=1, address="d:1", promote=True)))
    accepted_by(a, "d")

    assert roles(a) == "a b c d-joining"


def test_round_that_takes_an_election_timeout_is_followed_by_another() -> None:
    """§4.2.1: what was appended meanwhile may be as much; the next, shorter round decides."""
    a = _with_learner(promote=True)
    for _ in range(ELECTION_MIN // HEARTBEAT + 1):
        a.tick(HEARTBEAT)
        everyone_answers(a, "bc")
    a.propose(b"x")
    committed(a, "b", "c")

    a.receive("d", AppendAccepted(term=a.raft.term, index=Index(4)))
    slow = roles(a)
    accepted_by(a, "d")

    assert (slow, roles(a)) == ("a b c d-joining", "a b c d")


def test_who_holds_everything_has_caught_up_however_long_that_took() -> None:
    """§4.2.1: the next round has nothing to bring, so it is over at once, in the step that says so."""
    a = _with_learner(promote=True)
    for _ in range(ELECTION_MIN // HEARTBEAT + 1):
        a.tick(HEARTBEAT)
        everyone_answers(a, "bc")

    accepted_by(a, "d")

    assert roles(a) == "a b c d"


def test_new_leader_goes_on_with_who_joins() -> None:
    """§4.2.1: it is in the log who is to become a voter, so no leader has to be told."""
    a = leader("1 1", configuration=group("abc", joining="d"))

    assert roles(a) == "a b c d"


def test_two_who_join_are_promoted_one_after_the_other() -> None:
    """§4.1: each is a change of its own."""
    a = leader("1 1", configuration=group("abc", joining="de"))
    first = roles(a)
    committed(a, "b", "c")

    assert (first, roles(a)) == ("a b c d e-joining", "a b c d e")


def test_learners_are_not_counted_before_they_are_promoted() -> None:
    """§4.2.1: who joins has no vote yet."""
    a = leader("1 1", configuration=group("abc", joining="de"), matched=False)

    committed(a, "d", "e")

    assert a.raft.commit_index == 0


# ── together ─────────────────────────────────────────────────────────────────────────────────────────


def grown(*names: str) -> Cluster:
    """A group of a, b and c led by a, and these servers, which hold its founding entry and wait."""
    servers = [server("1 1", name) for name in "abc"]
    fresh = [server("1", name, configuration=ABC) for name in names]
    s = cluster(*servers, *fresh)
    s.elect("a", "bc")
    s.pass_time(3 * HEARTBEAT)
    return s


@pytest.mark.accept("U-68", "Q-23")
def test_server_that_joins_becomes_a_voter_and_may_lead() -> None:
    """§4.2.1: learner, caught up, voter, without anybody asking again."""
    s = grown("d")
    s.step("a", ask(AddLearner(id="d", incarnation=1, address="d:1", promote=True)))
    s.settle()

    roles_at_d = roles(s["d"])
    s.elect("d", "bc")

    assert roles_at_d == "a b c d"
    assert s["d"].raft.role == "leader"


@pytest.mark.accept("C-40")
def test_removed_leader_is_followed_by_another() -> None:
    """§4.2.2: the group goes on without it, and it stays quiet."""
    s = grown()
    s.step("a", ask(Remove(id="a")))
    s.settle()
    s.lose()

    s.pass_time(6 * ELECTION_MAX)

    assert s["a"].raft.role == "follower"
    assert {s["b"].raft.role, s["c"].raft.role} == {"leader", "follower"}
    assert roles(s["b"]) == roles(s["c"]) == "b c"


def test_whole_group_is_replaced() -> None:
    """§4.3: every server by another, in one change."""
    s = grown("x", "y", "z")
    s.step("a", ask(*(AddLearner(id=it, incarnation=1, address=f"{it}:1") for it in "xyz")))
    s.settle()

    s.step("a", ask(*(Promote(id=it) for it in "xyz"), *(Remove(id=it) for it in "abc")))
    s.settle()
    s.pass_time(6 * ELECTION_MAX, "xyz")

    assert sorted(s[it].raft.role for it in "xyz") == ["follower", "follower", "leader"]
    assert {roles(s[it]) for it in "xyz"} == {"x y z"}
    assert all(s[it].raft.role == "follower" for it in "abc")
