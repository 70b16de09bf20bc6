"""§4.1 one change at a time, §4.2.1 catching up, §4.2.2 who removes itself, §4.3 joint consensus."""

from __future__ import annotations

import attrs
import pytest

from raftkit.changes import (
    AddLearner,
    Change,
    ChangeMembership,
    ChangeSettings,
    Demote,
    MembershipChanged,
    MembershipUnknown,
    Promote,
    Readdress,
    Remove,
)
from raftkit.core.progress import Probing
from raftkit.leadership import TransferLeadership
from raftkit.membership import Configuration, Role, Settings
from raftkit.messages import (
    Answer,
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
    Unfit,
    VoteReply,
)
from raftkit.model import Index, Kind
from tests.paper.cluster import Cluster, cluster
from tests.paper.server import (
    ABC,
    ELECTION_MAX,
    ELECTION_MIN,
    HEARTBEAT,
    Server,
    accepted_by,
    append,
    beat,
    entry,
    everyone_answers,
    follower,
    group,
    heartbeat,
    leader,
    messages_to,
    server,
    who,
)

ADD_D = AddLearner(id="d", incarnation=1, address="d:1")


def ask(*changes: Change, based_on: int | None = None, ticket: int = 7) -> ChangeMembership:
    """Somebody asks for these."""
    index = None if based_on is None else Index(based_on)
    return ChangeMembership(ticket=ticket, changes=changes, based_on=index)


def answer_to(it: Server, *changes: Change, based_on: int | None = None) -> Refused | None:
    """How the server refuses these changes; None if it takes them up."""
    answers = it.step(ask(*changes, based_on=based_on)).answer
    assert len(answers) <= 1
    return next((answer for answer in answers if isinstance(answer, Refused)), None)


def committed(a: Server, *names: str) -> list[Answer]:
    """The leader's log is durable here and at these; what it answers."""
    answers: list[Answer] = []
    while a.unwritten:
        answers += a.persist().answer
    for name in names:
        answers += accepted_by(a, name).answer
    return answers


def configuration_of(a: Server) -> Configuration:
    """The one in force."""
    return a.raft.configuration


def roles(a: Server) -> str:
    """Members and their roles: `a b c d-learner`."""
    return " ".join(
        m.id if m.role is Role.VOTER else f"{m.id}-{m.role.name.lower()}"
        for m in configuration_of(a).members
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


# ── who leaves ───────────────────────────────────────────────────────────────────────────────────────


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


# ── joint ────────────────────────────────────────────────────────────────────────────────────────────


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
