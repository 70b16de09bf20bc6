"""§3.5: how logs become equal, what is acknowledged, and what a message may never do."""

from __future__ import annotations

import random

import attrs
import pytest

from raftkit.errors import RaftInternalError
from raftkit.messages import (
    AppendAccepted,
    AppendEntries,
    AppendRejected,
    Effects,
    HeartbeatReply,
    PeerMisbehaved,
    Persisted,
    PreVoteReply,
    Proposed,
    Send,
    Write,
)
from raftkit.model import Identity, Index, Term
from tests.paper.cluster import Cluster, cluster
from tests.paper.server import (
    RETRY,
    Server,
    append,
    commands,
    follower,
    group,
    heartbeat,
    leader,
    messages_to,
    server,
    snapshot_of,
    who,
)

# ── the consistency check ────────────────────────────────────────────────────────────────────────────


def test_entries_are_taken_over_after_an_equal_one() -> None:
    """§3.5: entries that follow one which both logs have are written, then acknowledged."""
    a = follower("1 1", of="b")

    effects = a.receive("b", append(1, (2, 1), "1 1"))

    assert effects == Effects(
        send_now=(accepted(1, 2),),  # proven by this message, and on disk for long
        persist=Write(sequence=1, runs=commands("1 1", first=3)),
    )
    assert a.persist() == Effects(send_now=(accepted(1, 4),))


def accepted(term: int, index: int) -> Send:
    """The acknowledgement to leader b."""
    return Send(targets=("b",), message=AppendAccepted(term=Term(term), index=Index(index)))


def rejected(term: int, prev: int, hint: tuple[int, int]) -> Send:
    """The refusal to leader b."""
    message = AppendRejected(
        term=Term(term), prev_index=Index(prev), hint_index=Index(hint[0]), hint_term=Term(hint[1])
    )
    return Send(targets=("b",), message=message)


@pytest.mark.parametrize(
    "prev, hint",
    [
        ((9, 2), (4, 2)),  # the follower's log is too short
        ((4, 3), (4, 2)),  # another entry is there, of an earlier term
        ((3, 1), (2, 1)),  # …of a later term: all of that term is skipped
    ],
)
@pytest.mark.parametrize("terms", ["", "3 3"])
def test_entries_after_an_unequal_one_are_refused(
    prev: tuple[int, int], hint: tuple[int, int], terms: str
) -> None:
    """§3.5: without the entry before them nothing is taken, cut or committed; empty or not (B2, B10)."""
    a = follower("1 1 2 2", term=3, of="b")

    effects = a.receive("b", append(3, prev, terms, commit=9))

    assert effects == Effects(send_now=(rejected(3, prev[0], hint),))
    assert (a.terms, a.raft.commit_index) == ("1 1 2 2", 0)


def test_repeated_entries_change_nothing() -> None:
    """§3.7: what was already obeyed is acknowledged again, and no more."""
    a = follower("1 1", of="b")
    a.receive("b", append(1, (2, 1), "1 1"))
    a.persist()

    effects = a.receive("b", append(1, (2, 1), "1 1"))

    assert effects == Effects(send_now=(accepted(1, 4),))


@pytest.mark.parametrize("terms", ["", "1"])
def test_delayed_message_does_not_cut_what_follows(terms: str) -> None:
    """§3.5: a shorter or older message proves no conflict, so nothing is removed (B1)."""
    a = follower("1 1", of="b")
    a.receive("b", append(1, (2, 1), "1 1 1"))
    a.persist()

    effects = a.receive("b", append(1, (2, 1), terms))

    assert effects.persist is None
    assert a.terms == "1 1 1 1 1"


def test_log_is_cut_at_the_first_conflict() -> None:
    """§3.5: an entry of another term at the same index goes, with all after it; equal ones stay (B14)."""
    a = follower("1 1 1 2 2 2", term=3, of="b")

    effects = a.receive("b", append(3, (2, 1), "1 3"))

    assert effects == Effects(
        send_now=(accepted(3, 3),),
        persist=Write(sequence=1, truncate_from=Index(4), runs=commands("3", first=4)),
    )
    assert a.terms == "1 1 1 3"


def test_equal_entries_beyond_the_conflict_are_not_looked_for() -> None:
    """§3.5: what follows a removed entry goes with it, whatever its term."""
    a = follower("1 1 2 2", term=4, of="b")

    a.receive("b", append(4, (2, 1), "3 4"))

    assert a.terms == "1 1 3 4"


def test_committed_entries_are_never_cut() -> None:
    """§3.6.3: a leader that would replace a committed entry shows that something is badly wrong."""
    a = follower("1 1 1", term=2, of="b")
    a.receive("b", append(2, (3, 1), "2", commit=4))

    with pytest.raises(RaftInternalError, match="would replace committed entry 4"):
        a.receive("b", append(2, (2, 1), "1 1"))


def test_prefix_that_is_compacted_counts_as_equal() -> None:
    """§5.1: what lies below the base is committed; a message that begins there is no conflict (B12)."""
    snapshot = snapshot_of(b"state", index=5, term=2)
    a = follower("2 2", snapshot=snapshot, term=3, of="b")

    effects = a.receive("b", append(3, (2, 1), "1 2 2 2 2 3"))

    assert effects == Effects(
        send_now=(accepted(3, 7),), persist=Write(sequence=1, runs=commands("3", first=8))
    )
    assert a.persist() == Effects(send_now=(accepted(3, 8),))


@pytest.mark.parametrize("terms", ["", "1", "1 2 2"])
def test_message_wholly_below_the_base_changes_nothing(terms: str) -> None:
    """§5.1: all of it is known, and what follows stays (B12)."""
    a = follower("2 2", snapshot=snapshot_of(b"state", index=5, term=2), term=3, of="b")

    effects = a.receive("b", append(3, (2, 1), terms))

    assert effects == Effects(send_now=(accepted(3, 5),))
    assert (a.raft.last_index, a.raft.last_term) == (7, 2)


# ── the commit index of a follower ───────────────────────────────────────────────────────────────────


def test_follower_commits_only_what_is_proven_equal() -> None:
    """§3.5: min(leader's commit, last entry of this message), not the end of one's own log (B3)."""
    a = follower("1 1 2", term=3, of="b")

    a.receive("b", append(3, (1, 1), "1", commit=3))

    assert a.raft.commit_index == 2


def test_follower_commits_no_further_than_its_leader() -> None:
    """§3.5: what is proven equal is not yet committed."""
    a = follower("1 1", term=2, of="b")

    a.receive("b", append(2, (2, 1), "2 2 2", commit=3))

    assert a.raft.commit_index == 3


def test_heartbeat_commits_only_what_is_proven_equal() -> None:
    """§3.5: a heartbeat proves nothing about a log, so it commits what was proven before (B4)."""
    a = follower("1 1 2", term=3, of="b")
    a.receive("b", heartbeat(3, commit=3))
    unproven = a.raft.commit_index
    a.receive("b", append(3, (2, 1), ""))

    a.receive("b", heartbeat(3, commit=3))

    assert (unproven, a.raft.commit_index) == (0, 2)


def test_proof_ends_with_the_term() -> None:
    """§3.5: what was equal to one leader's log need not be equal to the next one's (B4)."""
    a = follower("1 1", term=2, of="b")
    a.receive("b", append(2, (2, 1), "2 2", commit=2))

    a.receive("c", heartbeat(3, commit=4))

    assert a.raft.commit_index == 2


def test_own_campaign_ends_the_proof() -> None:
    """§3.5: a candidate has joined another term, and follows its winner from the committed entries on."""
    a = follower("1 1", term=2, of="b")
    a.receive("b", append(2, (2, 1), "2 2", commit=2))
    a.persist_all()
    a.time_out()
    a.receive("b", PreVoteReply(term=Term(3), granted=True))

    a.receive("c", heartbeat(3, commit=4))

    assert (a.raft.leader, a.raft.commit_index) == ("c", 2)


def test_leaders_own_log_is_not_proven_to_the_next_leader() -> None:
    """§3.5: a leader that steps down has entries that the next one may not have."""
    a = leader("1 1", term=1)
    a.propose(b"lost")
    committed = a.raft.commit_index

    a.receive("b", heartbeat(9, commit=4))

    assert a.raft.commit_index == committed == 3


def test_commit_index_never_decreases() -> None:
    """§3.5: delayed messages carry old commit indexes (C9)."""
    a = follower("1 1", term=2, of="b")
    a.receive("b", append(2, (2, 1), "2 2", commit=4))

    a.receive("b", append(2, (2, 1), "2", commit=2), heartbeat(2, commit=1))

    assert a.raft.commit_index == 4


# ── acknowledgements ─────────────────────────────────────────────────────────────────────────────────


def test_acknowledgement_covers_only_what_the_leader_proved() -> None:
    """§3.5: later entries of one's own may be an older leader's (B5)."""
    a = follower("1 1 2 2 2", term=3, of="b")

    effects = a.receive("b", append(3, (1, 1), "1"))

    assert effects == Effects(send_now=(accepted(3, 2),))


def test_acknowledgement_waits_for_the_disk() -> None:
    """§3.8: entries are durable before they are acknowledged; earlier writes speak for earlier ones."""
    a = follower("1 1", of="b")
    a.receive("b", append(1, (2, 1), ""))

    told = [
        a.receive("b", append(1, (2, 1), "1")),
        a.receive("b", append(1, (3, 1), "1")),
        a.persist(1),
        a.persist(1),
    ]

    assert [it.send_now for it in told] == [(), (), (accepted(1, 3),), (accepted(1, 4),)]


def test_heartbeat_is_answered_without_waiting_for_entries() -> None:
    """§10.2.1: a slow disk is no silence; the answer claims only what is durable."""
    a = follower("1 1", of="b")
    a.receive("b", append(1, (2, 1), "1 1"))

    effects = a.receive("b", heartbeat(1, round=7))

    reply = HeartbeatReply(term=Term(1), round=7, index=Index(2), wall_ns=a.raft.state.wall_ns)
    assert effects == Effects(send_now=(Send(targets=("b",), message=reply),))


def test_answers_of_one_batch_are_one_message_of_each_kind() -> None:
    """§10.2.2: acknowledgements are composed from the state at the end of a step."""
    a = follower("1 1 1 1", of="b")

    effects = a.receive(
        "b",
        append(1, (1, 1), "1"),
        heartbeat(1, round=2),
        append(1, (2, 1), "1"),
        heartbeat(1, round=3),
    )

    assert [type(it) for it in messages_to("b", effects)] == [AppendAccepted, HeartbeatReply]
    assert effects.send_now[0] == accepted(1, 3)


def test_highest_round_of_a_batch_is_answered() -> None:
    """§6.4: datagrams overtake each other; an answer to the later round serves for both."""
    a = follower("1 1", of="b")

    effects = a.receive("b", heartbeat(1, round=5), heartbeat(1, round=4))

    assert [it.round for it in messages_to("b", effects) if isinstance(it, HeartbeatReply)] == [5]


def test_overwritten_write_speaks_for_nothing() -> None:
    """§10.2.1: the first write of an index that was cut and written again says nothing of it (B6)."""
    a = follower("1 1", of="b")
    a.receive("b", append(1, (2, 1), "1 1"))
    a.receive("c", append(2, (2, 1), "2 2"))
    a.receive("b", append(3, (2, 1), "3 3"))
    overwritten = Persisted(sequence=a.unwritten[1].sequence)
    a.perform(2)

    told = a.step(overwritten)

    assert a.raft.durable_index == 2
    assert messages_to("b", told) == []
    assert a.persist().send_now == (accepted(3, 4),)


def test_write_of_the_same_entries_again_is_waited_for() -> None:
    """§10.2.1: even index and term alike, the first write of them was cut in between (B6)."""
    a = follower("1 1", term=1, of="b")
    a.receive("b", append(1, (2, 1), "1"))  # entry (3, 1) …
    a.receive("c", append(2, (2, 1), "2"))  # … is cut …
    # … and a third leader, which never heard of term 2, brings (3, 1) again.
    a.receive("d", append(3, (2, 1), "1 3"))
    a.perform(1)

    a.step(Persisted(sequence=1))

    assert a.raft.durable_index == 2


# ── the leader ───────────────────────────────────────────────────────────────────────────────────────


def test_proposal_is_sent_and_written_at_once() -> None:
    """§3.5, §10.2.1: the leader's disk works while the entries travel."""
    a = leader("1 1", term=1)

    effects = a.propose(b"x", b"y", ticket=7)

    (run,) = a.unwritten[-1].runs
    assert (run.first, run.term, run.payloads) == (4, 2, (b"x", b"y"))
    message = AppendEntries(
        term=Term(2), prev_index=Index(3), prev_term=Term(2), commit_index=Index(3), runs=(run,)
    )
    assert effects == Effects(
        send_now=(Send(targets=("b", "c"), message=message),),
        persist=Write(sequence=a.unwritten[-1].sequence, runs=(run,)),
        answer=(Proposed(ticket=7, first=Index(4), term=Term(2)),),
    )


def test_leader_never_cuts_its_own_log() -> None:
    """§3.5: whatever followers and would-be leaders of its term say, a leader only appends (B13)."""
    a = leader("1 1", term=1)
    a.propose(b"x")

    a.receive("b", append(2, (2, 1), "1 1"), _rejection(a, prev=3, hint=(1, 1)))
    a.receive("b", attrs.evolve(append(2, (0, 0), "1 1"), term=Term(2)))

    assert a.terms == "1 1 2 2"


def _rejection(a: Server, *, prev: int, hint: tuple[int, int]) -> AppendRejected:
    return AppendRejected(
        term=a.raft.term, prev_index=Index(prev), hint_index=Index(hint[0]), hint_term=Term(hint[1])
    )


def probed(a: Server, name: str = "b") -> tuple[str, int, int]:
    """How follower `id` is fed: mode, match_index, next_index."""
    (it,) = (peer for peer in a.raft.peers() if peer.id == name)
    return it.mode, it.match_index, it.next_index


def test_new_leader_begins_at_the_end_of_its_log() -> None:
    """§3.5: next_index starts right after the last entry that was there at the election."""
    a = leader("1 1 1", term=1, matched=False)

    assert probed(a) == ("probing", 0, 4)


def test_one_probe_is_in_flight() -> None:
    """§10.2.2: until the logs are known to agree somewhere, a follower gets one message at a time."""
    a = leader("1 1 1", term=1, matched=False)

    effects = a.propose(b"x")

    assert messages_to("b", effects) == []


def test_refusal_steps_back_by_whole_terms() -> None:
    """§3.5: the leader skips what the follower can't have, by the follower's hint and its own log (B10)."""
    a = leader("1 1 2 2 2 4 4", term=4, matched=False)

    effects = a.receive("b", _rejection(a, prev=7, hint=(6, 3)))

    assert probed(a) == ("probing", 0, 6)
    (sent,) = messages_to("b", effects)
    assert isinstance(sent, AppendEntries)
    assert (sent.prev_index, sent.prev_term) == (5, 2)


def test_repeated_refusal_is_ignored() -> None:
    """§3.5: the second copy of a refusal answers a probe that is over (B10, B15)."""
    a = leader("1 1 2 2 2 4 4", term=4, matched=False)
    refusal = _rejection(a, prev=7, hint=(6, 3))
    a.receive("b", refusal)

    assert a.receive("b", refusal) == Effects()


def test_refusal_overtaken_by_an_acknowledgement_is_ignored() -> None:
    """§3.5: next_index stays above match_index (B9)."""
    a = leader("1 1 1 1 1", term=1)
    assert probed(a) == ("streaming", 6, 7)

    a.receive("b", _rejection(a, prev=5, hint=(1, 1)), _rejection(a, prev=6, hint=(3, 1)))

    assert probed(a) == ("streaming", 6, 7)


@pytest.mark.parametrize("hint", [(0, 0), (1, 1), (4, 9), (2**63 - 1, 2**63 - 1), (2**63 - 1, 0)])
def test_next_index_stays_in_bounds_whatever_the_hint(hint: tuple[int, int]) -> None:
    """§3.5: match_index < next_index <= last + 1, and each refusal leads further back (B8)."""
    a = leader("1 1 2 2 3", term=3, matched=False)

    for _ in range(200):
        _, match, next_index = probed(a)
        assert match < next_index <= a.raft.last_index + 1
        if next_index == 1:
            break
        a.receive("b", _rejection(a, prev=next_index - 1, hint=hint))

    assert probed(a) == ("probing", 0, 1)


@pytest.mark.parametrize("sender", [who("z"), who("b", 2), who("a")])
def test_refusal_of_a_stranger_is_ignored(sender: Identity) -> None:
    """S29: nor that of another incarnation, nor one's own that came back."""
    a = leader("1 1 1", term=1, matched=False)
    refusal = _rejection(a, prev=3, hint=(1, 1))

    assert a.receive(sender, refusal) == Effects()
    assert probed(a) == ("probing", 0, 4)


def test_refusal_of_what_was_never_sent_is_ignored() -> None:
    """§3.5: a refusal beyond next_index answers nothing of this leadership (B8)."""
    a = leader("1 1 1", term=1, matched=False)

    a.receive("b", _rejection(a, prev=2**62, hint=(1, 1)))

    assert probed(a) == ("probing", 0, 4)


def test_refusal_of_an_earlier_probe_is_ignored() -> None:
    """§3.5: only the probe in flight can be refused (B9, B10)."""
    a = leader("1 1 1 1 1", term=1, matched=False)

    a.receive("b", _rejection(a, prev=3, hint=(1, 1)))

    assert probed(a) == ("probing", 0, 6)


@pytest.mark.parametrize("hint", [(3, 2), (1, 1), (0, 0)])
def test_refusal_in_a_stream_goes_back_to_probing(hint: tuple[int, int]) -> None:
    """§10.2.2: a message of the stream was lost, so the next one does not fit; what matched, matches."""
    a = leader("1 1", term=1)
    a.propose(b"x")
    a.propose(b"y")

    effects = a.receive("b", _rejection(a, prev=4, hint=hint))

    assert probed(a) == ("probing", 3, 4)
    (sent,) = messages_to("b", effects)
    assert isinstance(sent, AppendEntries)
    assert (sent.prev_index, sent.last_index) == (3, 5)


def test_acknowledgement_of_an_older_leadership_does_not_count() -> None:
    """§3.5: the entry that was acknowledged then is another one now (B7)."""
    a = leader("1 1", term=1)
    a.propose(b"x")
    held = AppendAccepted(term=a.raft.term, index=Index(4))
    a.receive("c", append(3, (3, 2), "3"))
    a.persist_all()
    a.win()
    before = probed(a)

    effects = a.receive("b", held)

    assert a.terms == "1 1 2 3 4"
    assert effects == Effects()
    assert probed(a) == before == ("probing", 0, 5)


@pytest.mark.parametrize("size", [0, 1, 1000])
def test_at_least_one_entry_goes_whatever_its_size(size: int) -> None:
    """§10.2.2: a bound on the bytes of a message must not stop a large entry (B17)."""
    a = leader("1 1", term=1, append_bytes_max=100)

    a.propose(*[bytes(size)] * 3)

    sizes = [it.last_index - it.prev_index for it in sent_entries(a, "b")]
    assert sizes == ([3] if size * 3 <= 100 else [1, 1, 1])


def sent_entries(a: Server, target: str) -> list[AppendEntries]:
    """The AppendEntries that have left for `target`."""
    return [
        send.message
        for send in a.sent
        if target in send.targets and isinstance(send.message, AppendEntries)
    ]


@pytest.mark.parametrize("bytes_max, expected", [(99, [1, 1, 1]), (100, [2, 1]), (101, [2, 1])])
def test_message_is_filled_to_its_bound_and_not_beyond(bytes_max: int, expected: list[int]) -> None:
    """§10.2.2: entries that fit exactly go together (B17)."""
    a = leader("1 1", term=1, append_bytes_max=bytes_max)

    a.propose(*[bytes(50)] * 3)

    assert [it.last_index - it.prev_index for it in sent_entries(a, "b")] == expected


def test_same_entries_are_one_send_for_all_targets() -> None:
    """What followers lack alike is sent once for all of them, which multicast turns into one datagram."""
    a = leader("1 1", term=1, configuration=group("abcde"))

    effects = a.propose(b"x")

    assert [send.targets for send in effects.send_now] == [("b", "c", "d", "e")]


# ── convergence ──────────────────────────────────────────────────────────────────────────────────────


def converges(s: Cluster) -> bool:
    """Whether all logs are those of the leader, all of it committed."""
    (lead,) = (it for it in s.servers.values() if it.raft.role == "leader")
    return all(
        (it.terms, it.raft.commit_index) == (lead.terms, lead.raft.last_index)
        for it in s.servers.values()
    )


FIGURE_7 = {
    "a": "1 1 1 4 4 5 5 6 6",
    "b": "1 1 1 4",
    "c": "1 1 1 4 4 5 5 6 6 6 6",
    "d": "1 1 1 4 4 5 5 6 6 6 7 7",
    "e": "1 1 1 4 4 4 4",
    "f": "1 1 1 2 2 2 3 3 3 3 3",
}


def test_every_follower_of_figure_7_converges() -> None:
    """Paper Figure 7: missing, extra and other entries, all at once, end in the leader's log (C2)."""
    seven = group("abcdefl")
    leading = server("1 1 1 4 4 5 5 6 6 6", "l", term=7, configuration=seven)
    others = (server(terms, name, term=7, configuration=seven) for name, terms in FIGURE_7.items())
    s = cluster(leading, *others)
    s.elect("l", "abef")

    s.pass_time(2 * RETRY)

    assert s["l"].terms == "1 1 1 4 4 5 5 6 6 6 8"
    assert converges(s)


def test_figure_7_leader_wins_only_the_votes_of_those_it_beats() -> None:
    """§3.6.1, paper Figure 7: c and d have more than the leader, so they refuse it (C2)."""
    seven = group("abcdefl")
    granted = []
    for name, terms in FIGURE_7.items():
        s = cluster(
            server("1 1 1 4 4 5 5 6 6 6", "l", term=7, configuration=seven),
            server(terms, name, term=7, configuration=seven),
        )
        s.campaign("l", name)
        state = s["l"].raft.state.role
        if name in getattr(state, "granted", ()):
            granted.append(name)

    assert granted == ["a", "b", "e", "f"]


@pytest.mark.parametrize("entries", [100, 500])
def test_long_divergence_of_one_term_takes_few_probes(entries: int) -> None:
    """§3.5: however long the wrong tail, a term costs at most one round trip (B10, B11)."""
    tail = " ".join(["2"] * entries)
    other = " ".join(["3"] * entries)
    s = cluster(
        server(f"1 {tail}", "a", term=4, configuration=group("abc")),
        server(f"1 {other}", "b", term=4),
        server(f"1 {other}", "c", term=4),
    )
    s.elect("b", "c")
    s.delivered.clear()

    s.pass_time(2 * RETRY)

    assert converges(s)
    assert len(s.delivered) < 40


def test_probes_are_bounded_by_the_number_of_terms() -> None:
    """§3.5: logs that alternate in their terms agree after one probe a term at most (B10)."""
    odd = " ".join(str(term) for term in range(1, 40, 2) for _ in range(5))
    even = "1 " + " ".join(str(term) for term in range(2, 40, 2) for _ in range(5))
    s = cluster(server(odd, "a", term=41), server(even, "b", term=41), server(odd, "c", term=41))
    s.elect("a", "c")

    s.pass_time(RETRY, "ab")

    assert s["b"].terms == s["a"].terms
    assert len([it for it in s.delivered if isinstance(it.message, AppendRejected)]) <= 20


@pytest.mark.parametrize("seed", range(5))
def test_any_two_logs_converge_over_a_bad_wire(seed: int) -> None:
    """§3.5: loss, repetition and reordering delay replication and never break it (B10, S7)."""
    rng = random.Random(seed)
    s = cluster(
        server("1 1 3 3 5", "a", term=6),
        server("1 2 2 2 4 4", "b", term=6),
        server("1 1 3", "c", term=6),
    )
    s.elect("a", "c")

    for n in range(60):
        s["a"].propose(f"{n}".encode())
        for it in s.servers.values():
            it.tick()
            it.persist_all()
        s.collect()
        rng.shuffle(s.wire)
        arriving = [letter for letter in s.wire if rng.random() < 0.7]
        arriving += [letter for letter in s.wire if rng.random() < 0.3]
        s.wire.clear()
        for letter in arriving:
            s.deliver(letter)
    s.pass_time(4 * RETRY)

    assert s["a"].raft.role == "leader"
    assert converges(s)


def test_misplaced_acknowledgement_is_dropped() -> None:
    """A peer can't hold what the leader does not have."""
    a = leader("1 1", term=1)

    effects = a.receive("b", AppendAccepted(term=Term(2), index=Index(99)))

    assert effects == Effects(events=(PeerMisbehaved(peer=who("b"), what="acknowledges 99 of 3"),))


def test_rejection_of_what_was_never_sent_is_dropped() -> None:
    """S29: a leader never cuts its log, so nobody can have been asked about what lies beyond it."""
    a = leader("1 1", term=1)
    message = AppendRejected(
        term=Term(2), prev_index=Index(4), hint_index=Index(0), hint_term=Term(0)
    )

    effects = a.receive("b", message)

    assert effects == Effects(events=(PeerMisbehaved(peer=who("b"), what="rejects 4 of 3"),))
