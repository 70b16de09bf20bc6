"""§4.1 which configuration is in force, §4.2.1 learners, §4.2.3 disturbers, and who is asked for votes."""

from __future__ import annotations

from random import Random

import attrs
import pytest

from raftkit.config import Config
from raftkit.core import Raft
from raftkit.errors import LocalProtocolError
from raftkit.membership import Configuration, Settings
from raftkit.messages import (
    Applied,
    ConfigurationChanged,
    Effects,
    HeartbeatReply,
    PersistentState,
    PreVoteReply,
    PreVoteRequest,
    RoleChanged,
    Send,
    SnapshotTaken,
    VoteReply,
    VoteRequest,
)
from raftkit.model import Index, Kind, Run, Term
from tests.paper.cluster import cluster
from tests.paper.server import (
    ABC,
    ELECTION_MAX,
    ELECTION_MIN,
    Server,
    append,
    candidate,
    entry,
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

ABCD = group("abcd")


def with_configuration(a: Server, configuration: Configuration, index: int) -> Effects:
    """The leader b brings `configuration` as the entry at `index`, the log's next."""
    log = a.raft.state.log
    assert index == log.last_index + 1
    run = entry(index, a.raft.term, kind=Kind.CONFIGURATION, payload=configuration.encode())
    message = append(a.raft.term, (log.last_index, log.last_term))
    return a.receive("b", attrs.evolve(message, runs=(run,)))


# ── in force ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.accept("Q-49")
def test_configuration_is_in_force_when_appended() -> None:
    """§4.1: from the moment it is in the log, committed or not."""
    a = follower("1 1", of="b")

    effects = with_configuration(a, ABCD, 3)

    assert effects.events == (ConfigurationChanged(index=Index(3), configuration=ABCD),)
    assert (a.raft.configuration, a.raft.commit_index) == (ABCD, 0)


def test_configuration_is_found_amid_other_entries() -> None:
    """§4.1: wherever in a message it stands."""
    a = follower("1 1", of="b")
    run = Run(
        first=Index(3),
        term=Term(1),
        time_ns=0,
        elapsed_ns=0,
        kinds=(Kind.COMMAND, Kind.CONFIGURATION, Kind.COMMAND),
        payloads=(b"x", ABCD.encode(), b"y"),
    )

    a.receive("b", attrs.evolve(append(1, (2, 1)), runs=(run,)))

    assert a.raft.state.configurations[-1] == (4, ABCD)


def test_configuration_is_rolled_back_when_truncated() -> None:
    """§4.1: with the entry goes what it said; the one before is in force again (E6)."""
    a = follower("1 1", of="b")
    with_configuration(a, ABCD, 3)
    with_configuration(a, group("abcde"), 4)

    effects = a.receive("c", append(2, (2, 1), "2"))

    assert ConfigurationChanged(index=Index(1), configuration=ABC) in effects.events
    assert a.raft.configuration == ABC


def test_configuration_before_the_truncated_one_is_in_force_again() -> None:
    """§4.1: the latest that remains, not the first (E6)."""
    a = follower("1 1", of="b")
    with_configuration(a, ABCD, 3)
    with_configuration(a, group("abcde"), 4)

    a.receive("c", append(2, (3, 1), "2"))

    assert a.raft.configuration == ABCD


def test_truncation_above_the_configuration_leaves_it_in_force() -> None:
    """§4.1: only what is removed is undone."""
    a = follower("1 1", of="b")
    with_configuration(a, ABCD, 3)
    a.receive("b", append(1, (3, 1), "1 1"))

    a.receive("c", append(2, (4, 1), "2"))

    assert a.raft.configuration == ABCD


def test_configuration_is_rolled_back_to_that_of_the_snapshot() -> None:
    """§4.1, §5.1: also when the previous configuration entry is compacted (E6)."""
    a = follower("1 1", of="b", compaction_tail_entries=0)
    a.receive("b", append(1, (2, 1), commit=2))
    a.step(Applied(index=Index(2)))
    a.step(SnapshotTaken(snapshot=snapshot_of(b"x", index=2, term=1)))
    with_configuration(a, ABCD, 3)

    a.receive("c", append(2, (2, 1), "2"))

    assert a.raft.configuration == ABC


def test_uncommitted_configuration_is_in_force_after_a_restart() -> None:
    """§4.1: the latest one in the log, whatever was known of its commit (E7)."""
    a = follower("1 1", of="b")
    with_configuration(a, ABCD, 3)
    a.persist_all()

    a.restart()

    assert a.raft.configuration == ABCD


def test_settings_of_the_configuration_are_in_force_when_appended() -> None:
    """Ours: the election bounds are in the configuration entry, and so take effect with it."""
    a = follower("1 1", of="b")
    slow = group("abc", settings=Settings(election_timeout_ms=(1000, 2000)))

    with_configuration(a, slow, 3)
    a.receive("b", heartbeat(1, round=2))

    assert a.raft.state.election_deadline - a.raft.state.now >= 100


def test_server_without_configuration_is_not_born() -> None:
    """Ours: a core begins with a founding entry, or a snapshot."""
    with pytest.raises(LocalProtocolError, match="needs a configuration"):
        Raft(Config(identity=who("a")), PersistentState(), Random(1))


# ── who is asked, and who answers ────────────────────────────────────────────────────────────────────


def test_learner_does_not_campaign() -> None:
    """§4.2.1: a server without a vote waits for a leader, however long (E11)."""
    a = follower("1 1", name="d", of="b", configuration=group("abc", learners="d"))
    name = a.raft.role

    effects = a.tick(10 * ELECTION_MAX)

    assert (name, a.raft.role, a.raft.leader) == ("learner", "learner", None)
    assert effects.send_now == ()


def test_removed_server_does_not_campaign() -> None:
    """§4.2.3: who knows that its removal is committed stays quiet."""
    a = follower("1 1", of="b")
    with_configuration(a, group("bcd"), 3)
    a.receive("b", append(1, (3, 1), commit=3))

    effects = a.tick(10 * ELECTION_MAX)

    assert effects.send_now == ()


def test_wiped_server_does_not_campaign() -> None:
    """E13: another incarnation than the configuration names has no vote."""
    configuration = group("abc")
    it = server("1 1", configuration=configuration)
    it.raft = Raft(Config(identity=who("a", 2)), it.disk.found(), Random(1))

    effects = it.tick(10 * ELECTION_MAX)

    assert effects == Effects()


def test_silent_learner_forgets_its_leader() -> None:
    """§3.4: a learner campaigns never, but it too notices that its leader is gone."""
    a = follower("1 1", name="d", of="b", configuration=group("abc", learners="d"))

    a.time_out()

    assert a.raft.leader is None


def test_learners_are_not_asked_for_votes() -> None:
    """§4.2.1: only voters are asked."""
    a = pre_candidate("1 1", configuration=group("abc", learners="d"))

    asked = {target for send in a.sent for target in send.targets}

    assert asked == {"b", "c"}


def test_learners_votes_are_not_counted() -> None:
    """§4.2.1: should one vote all the same, it does not help (E12)."""
    a = candidate("1 1", configuration=group("abc", learners="de"))

    a.receive("d", VoteReply(term=a.raft.term, granted=True))
    a.receive("e", VoteReply(term=a.raft.term, granted=True))

    assert a.raft.role == "candidate"


def test_votes_of_another_incarnation_are_not_counted() -> None:
    """E13: the vote of a server whose disk was wiped may be its second."""
    a = candidate("1 1")

    a.receive(who("b", 2), VoteReply(term=a.raft.term, granted=True))

    assert a.raft.role == "candidate"


def test_voters_of_both_halves_are_asked() -> None:
    """§4.3: while joint, old and new voters alike."""
    a = pre_candidate("1 1", configuration=group("abe", learners="cd", outgoing="abcd"))

    (question,) = a.sent

    assert question.targets == ("b", "c", "d", "e")


def test_joint_leader_needs_both_halves_to_win() -> None:
    """§4.3: an election too is won in each half (E5)."""
    a = candidate("1 1", configuration=group("ade", learners="bc", outgoing="abc"))
    a.receive("d", VoteReply(term=a.raft.term, granted=True))
    a.receive("e", VoteReply(term=a.raft.term, granted=True))
    half = a.raft.role

    a.receive("b", VoteReply(term=a.raft.term, granted=True))

    assert (half, a.raft.role) == ("candidate", "leader")


@pytest.mark.parametrize(
    "configuration",
    [group("bc", learners="a"), group("bc"), group("abc")],
    ids=["as a learner", "no member", "of an unknown"],
)
def test_vote_is_given_whatever_the_voters_own_configuration_says(
    configuration: Configuration,
) -> None:
    """§4.1: the voter's configuration may be behind; the candidate counts by its own (E10)."""
    a = server("1 1", configuration=configuration)
    a.tick(ELECTION_MIN)

    effects = a.receive("z", VoteRequest(term=Term(2), last_index=Index(2), last_term=Term(1)))

    assert messages_to("z", effects) == [VoteReply(term=Term(2), granted=True)]


def test_entries_are_taken_from_a_leader_that_the_own_configuration_does_not_name() -> None:
    """§4.1: or a new server could never learn of the configuration that it is in."""
    a = server("1 1", configuration=group("bc"))

    a.receive("z", append(1, (2, 1), "1"))

    assert (a.raft.leader, a.terms) == ("z", "1 1 1")


def test_promoted_server_that_has_not_heard_of_it_votes() -> None:
    """§4.1: c counts its vote, and so a group that lost b goes on (E10)."""
    promoted = group("abc")
    behind = group("ab", learners="c")
    s = cluster(
        server("1 1", "a", configuration=promoted), server("1 1", "c", configuration=behind)
    )

    s.elect("a", "c")

    assert s["a"].raft.role == "leader"


# ── disturbers ───────────────────────────────────────────────────────────────────────────────────────


def test_campaign_is_not_listened_to_while_a_leader_is_heard() -> None:
    """§4.2.3: within the lower election bound neither the vote nor even the term is taken (E9)."""
    a = follower("1 1", of="b")
    a.tick(ELECTION_MIN - 1)

    effects = a.receive("c", VoteRequest(term=Term(9), last_index=Index(9), last_term=Term(8)))

    assert effects == Effects()
    assert a.raft.term == 1


def test_campaign_is_listened_to_once_the_leader_was_silent() -> None:
    """§4.2.3, I8: stickiness lapses, or nobody could ever be elected."""
    a = follower("1 1", of="b")
    while a.raft.state.now < ELECTION_MIN:
        a.tick()

    effects = a.receive("c", VoteRequest(term=Term(9), last_index=Index(9), last_term=Term(8)))

    assert messages_to("c", effects) == [VoteReply(term=Term(9), granted=True)]


def test_leader_does_not_listen_to_campaigns() -> None:
    """§4.2.3, §6.2: a leader that a majority answers hears itself."""
    a = leader("1 1")

    effects = a.receive("c", VoteRequest(term=Term(9), last_index=Index(9), last_term=Term(8)))

    assert (effects, a.raft.role) == (Effects(), "leader")


def test_transfer_is_listened_to_at_once() -> None:
    """§3.10: the leader itself asked for this election."""
    a = follower("1 1", of="b")
    request = VoteRequest(term=Term(2), last_index=Index(2), last_term=Term(1), transfer=True)

    effects = a.receive("c", request)

    assert messages_to("c", effects) == [VoteReply(term=Term(2), granted=True)]


def test_server_that_has_just_started_keeps_still() -> None:
    """Ours: before the crash it may have heard a leader that still counts on it (D9)."""
    a = server("1 1")
    a.tick(ELECTION_MIN - 1)
    request = VoteRequest(term=Term(2), last_index=Index(2), last_term=Term(1))
    early = a.receive("c", request)

    a.tick()
    later = a.receive("c", request)

    assert early == Effects()
    assert messages_to("c", later) == [VoteReply(term=Term(2), granted=True)]


def test_removed_server_cannot_drive_terms_up() -> None:
    """§4.2.3, §9.6: cut off and never told, it asks for ever and nobody's term rises (E9)."""
    removed = server("1", "d", configuration=group("abcd"))
    s = cluster(*(server("1", it) for it in "abc"), removed)
    s.pass_time(4 * ELECTION_MAX, "abc")
    terms = {s[it].raft.term for it in "abc"}

    s.pass_time(6 * ELECTION_MAX)

    assert removed.raft.role == "pre-candidate"
    assert {s[it].raft.term for it in "abcd"} == terms
    assert len({s[it].raft.leader for it in "abc"}) == 1


def test_leader_ignores_answers_of_strangers() -> None:
    """S29: who is no member, or no longer, is not counted and does no harm (E19)."""
    a = leader("1 1")
    before = a.raft.peers()

    for stranger in (who("z"), who("b", 2)):
        effects = a.receive(
            stranger, HeartbeatReply(term=Term(2), round=1, index=Index(2), wall_ns=0)
        )
        assert effects == Effects()

    assert a.raft.peers() == before


def test_pre_votes_of_strangers_are_not_counted() -> None:
    """E13: neither in the question nor in the vote."""
    a = pre_candidate("1 1")

    a.receive(who("b", 2), PreVoteReply(term=Term(2), granted=True))

    assert a.raft.role == "pre-candidate"


def test_question_names_the_next_term_and_the_log() -> None:
    """§9.6: asked of voters only, with what a vote request would say."""
    a = pre_candidate("1 1 2", name="b", configuration=group("ab", learners="c"))

    question = PreVoteRequest(term=Term(3), last_index=Index(3), last_term=Term(2))
    assert a.sent == [Send(targets=("a",), message=question)]
    assert a.events == [RoleChanged(before="follower", role="pre-candidate", term=Term(2))]
