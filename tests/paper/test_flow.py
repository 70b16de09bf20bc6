"""§10.2.2 windows and retries, back-pressure, and a budget of messages under duplication."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from itertools import pairwise

import pytest

from raftkit.membership import Settings
from raftkit.messages import (
    AppendAccepted,
    AppendEntries,
    AppendRejected,
    Effects,
    HeartbeatReply,
    Message,
    PeerUnreachable,
    Propose,
    Proposed,
    Receive,
    Refusal,
    Refused,
    SnapshotTaken,
)
from raftkit.model import Index, Kind, Term
from raftkit.snapshot import SnapshotMeta
from tests.paper.cluster import Cluster, cluster
from tests.paper.server import (
    ELECTION_MAX,
    HEARTBEAT,
    RETRY,
    Server,
    accepted_by,
    append,
    beat,
    candidate,
    everyone_answers,
    follower,
    group,
    heartbeat,
    leader,
    messages_to,
    pre_candidate,
    server,
    who,
)

PATIENT = group("abc", settings=Settings(election_timeout_ms=(30_000, 40_000)))
"With election timeouts that bear rare heartbeats."


def fed(a: Server, name: str = "b") -> tuple[str, int, int]:
    """How a follower is fed: mode, match_index, next_index."""
    (it,) = (peer for peer in a.raft.peers() if peer.id == name)
    return it.mode, it.match_index, it.next_index


def entries(effects: Effects, target: str = "b") -> list[AppendEntries]:
    """The AppendEntries that a step sends to `target`."""
    return [it for it in messages_to(target, effects) if isinstance(it, AppendEntries)]


# ── windows ──────────────────────────────────────────────────────────────────────────────────────────


def test_entries_are_sent_ahead_of_acknowledgements() -> None:
    """§10.2.2: a follower known to agree is streamed to."""
    a = leader("1 1")

    sent = [entries(a.propose(b"x")) for _ in range(3)]

    assert [[it.prev_index for it in step] for step in sent] == [[3], [4], [5]]


def test_window_of_messages_is_bounded() -> None:
    """§10.2.2: beyond it entries wait for acknowledgements, and then go together (I9)."""
    a = leader("1 1", inflight_messages_max=2)
    sent = [len(entries(a.propose(b"x"))) for _ in range(4)]

    effects = a.receive("b", AppendAccepted(term=Term(2), index=Index(4)))

    assert sent == [1, 1, 0, 0]
    assert [(it.prev_index, it.last_index) for it in entries(effects)] == [(5, 7)]


def test_window_of_a_stream_with_a_gap_is_halved_and_grows_again() -> None:
    """§10.2.2: what comes behind a gap is sent in vain, so less is sent ahead, and more with each success."""
    a = leader("1 1", inflight_messages_max=8, append_bytes_max=1)
    for _ in range(8):
        a.propose(b"x")
    gap = AppendRejected(term=Term(2), prev_index=Index(5), hint_index=Index(3), hint_term=Term(2))
    a.receive("b", gap)
    a.propose(*[b"y"] * 20)

    sent = [
        len(entries(a.receive("b", AppendAccepted(term=Term(2), index=Index(index)))))
        for index in (4, 9, 15)
    ]

    assert sent == [5, 6, 7]


def test_window_of_bytes_is_bounded() -> None:
    """§10.2.2: but one message goes whatever its size."""
    a = leader("1 1", inflight_bytes_max=100)

    sent = [len(entries(a.propose(bytes(size)))) for size in (200, 1)]
    accepted_by(a, "b")
    sent += [len(entries(a.propose(bytes(size)))) for size in (60, 60, 60)]

    assert sent == [1, 0, 1, 1, 0]


def test_acknowledgement_frees_the_window_up_to_its_index() -> None:
    """§10.2.2: one for many, or one for some; repeated it frees nothing more."""
    a = leader("1 1", inflight_messages_max=3)
    for _ in range(5):
        a.propose(b"x")
    message = AppendAccepted(term=Term(2), index=Index(5))

    sent = [entries(a.receive("b", message)) for _ in range(2)]

    assert [[(it.prev_index, it.last_index) for it in step] for step in sent] == [[(6, 8)], []]


def test_full_window_drains_by_heartbeat_when_acknowledgements_are_lost() -> None:
    """§10.2.2: the follower has everything and says so in its next answer (I9)."""
    a = leader("1 1", inflight_messages_max=2)
    for _ in range(3):
        a.propose(b"x")

    effects = a.receive("b", beat(a, index=5))

    assert fed(a) == ("streaming", 5, 7)
    assert len(entries(effects)) == 1


def test_stream_that_stands_still_is_asked_and_goes_on() -> None:
    """§10.2.2: what is not acknowledged for a while was lost or is not durable: the follower knows (I9)."""
    a = leader("1 1")
    a.propose(b"x")
    a.tick(RETRY - 1)
    early = entries(a.receive("b", beat(a, index=3)))
    a.tick()

    question = entries(a.receive("b", beat(a, index=3)))
    next_ones = entries(a.propose(b"y"))

    assert early == []
    assert [(it.prev_index, it.last_index) for it in question] == [(4, 4)]
    assert [(it.prev_index, it.last_index) for it in next_ones] == [(4, 5)]
    assert fed(a) == ("streaming", 3, 6)


def test_lost_stream_is_sent_again_when_the_follower_refuses_the_question() -> None:
    """§10.2.2: its refusal says what it has, and the leader goes there (I9)."""
    a = leader("1 1")
    a.propose(b"x")
    a.tick(RETRY)
    (question,) = entries(a.receive("b", beat(a, index=3)))

    effects = a.receive(
        "b",
        AppendRejected(
            term=Term(2), prev_index=question.prev_index, hint_index=Index(3), hint_term=Term(2)
        ),
    )

    assert fed(a) == ("probing", 3, 4)
    assert [(it.prev_index, it.last_index) for it in entries(effects)] == [(3, 4)]


def test_lost_probe_is_found_when_the_follower_is_heard() -> None:
    """§10.2.2: heartbeat answers free a stuck probe, in an idle group too (I10)."""
    a = leader("1 1", matched=False)
    a.tick(RETRY - 1)
    early = a.receive("b", beat(a))
    a.tick()

    question = a.receive("b", beat(a))
    effects = a.receive("b", AppendAccepted(term=Term(2), index=Index(2)))

    assert entries(early) == []
    assert [(it.prev_index, it.last_index) for it in entries(question)] == [(2, 2)]
    assert [(it.prev_index, it.last_index) for it in entries(effects)] == [(2, 3)]


def test_probe_that_is_acknowledged_in_part_is_not_sent_again() -> None:
    """§10.2.2: the follower has all of it, and its disk is at work on the rest."""
    a = leader("1 1", matched=False)

    effects = a.receive("b", AppendAccepted(term=Term(2), index=Index(2)))
    next_ones = entries(a.propose(b"x"))

    assert entries(effects) == []
    assert [(it.prev_index, it.last_index) for it in next_ones] == [(3, 4)]
    assert fed(a) == ("streaming", 2, 5)


def test_probe_counts_in_the_window_until_all_of_it_is_acknowledged() -> None:
    """§10.2.2: its message and its bytes are in flight like any other (I9)."""
    a = leader("1 1", matched=False, inflight_messages_max=2)
    a.receive("b", AppendAccepted(term=Term(2), index=Index(2)))

    sent = [len(entries(a.propose(b"x"))) for _ in range(2)]
    effects = a.receive("b", AppendAccepted(term=Term(2), index=Index(3)))

    assert sent == [1, 0]
    assert [(it.prev_index, it.last_index) for it in entries(effects)] == [(4, 5)]


def test_probe_that_was_lost_before_an_older_answer_came_is_found_by_time() -> None:
    """§10.2.2: the answer looks like one of a disk at work; the follower knows (I10)."""
    a = leader("1 1", matched=False)
    a.receive("b", AppendAccepted(term=Term(2), index=Index(2)))
    a.tick(RETRY)
    (question,) = entries(a.receive("b", beat(a, index=2)))

    effects = a.receive(
        "b",
        AppendRejected(
            term=Term(2), prev_index=question.prev_index, hint_index=Index(2), hint_term=Term(1)
        ),
    )

    assert question.prev_index == 3
    assert fed(a) == ("probing", 2, 3)
    assert [(it.prev_index, it.last_index) for it in entries(effects)] == [(2, 3)]


def streaming_cluster() -> Cluster:
    """Its leader a streams to b and c, who hold its whole log."""
    s = cluster(*(server("1 1", it) for it in "abc"))
    s.elect("a", "bc")
    s.pass_time(2 * RETRY)
    assert fed(s["a"], "b") == fed(s["a"], "c") == ("streaming", 3, 4)
    return s


@pytest.mark.parametrize("lost", [1, 2, 3])
def test_lost_end_of_a_stream_is_repaired_within_a_retry_and_a_heartbeat(lost: int) -> None:
    """§10.2.2: nothing comes behind it that would show the gap, so time does."""
    s = streaming_cluster()
    for _ in range(lost):
        s["a"].propose(b"x")
    s.lose()

    s.pass_time(RETRY + HEARTBEAT)

    assert s["b"].raft.last_index == s["c"].raft.last_index == s["a"].raft.last_index == 3 + lost
    assert s["a"].raft.commit_index == 3 + lost


def test_lost_middle_of_a_stream_is_repaired_at_once() -> None:
    """§10.2.2: what comes behind the gap is refused, and nobody waits."""
    s = streaming_cluster()
    s["a"].propose(b"x")
    s.lose()
    s["a"].propose(b"y")

    s.settle()

    assert s["b"].raft.last_index == s["c"].raft.last_index == 5


def test_question_is_not_asked_of_a_follower_whose_entries_were_compacted_meanwhile() -> None:
    """§5.3: it needs a snapshot first, and that stands for any question."""
    a = leader("1 1", matched=False, compaction_tail_entries=0)
    a.receive("c", AppendAccepted(term=Term(2), index=Index(3)))
    a.apply_all()
    a.tick(RETRY)
    taken = SnapshotMeta(
        index=Index(3),
        term=Term(2),
        configuration=a.raft.configuration,
        configuration_index=Index(1),
        time_ns=0,
        elapsed_ns=0,
        size=1,
        checksum=0,
    )

    effects = a.step(Receive(sender=who("b"), message=beat(a)), SnapshotTaken(snapshot=taken))

    assert entries(effects) == []
    assert [it.target for it in effects.read_snapshot] == ["b"]


def test_nothing_is_sent_again_to_a_follower_that_is_not_heard() -> None:
    """§10.2.2: silence is answered with heartbeats only."""
    a = leader("1 1", matched=False)

    sent = [entries(a.tick(HEARTBEAT)) for _ in range(8)]

    assert sent == [[]] * 8


def test_idle_stream_is_not_probed() -> None:
    """§10.2.2: who has everything needs nothing."""
    a = leader("1 1")

    for _ in range(10):
        a.tick(RETRY)
        for other in "bc":
            assert entries(a.receive(other, beat(a, index=3)), other) == []


def test_acknowledged_probe_starts_the_stream_where_the_logs_agree() -> None:
    """§10.2.2: from match_index on, all at once."""
    a = leader("1 1", matched=False)
    a.propose(b"x")

    effects = a.receive("b", AppendAccepted(term=Term(2), index=Index(3)))

    assert fed(a) == ("streaming", 3, 5)
    assert [(it.prev_index, it.last_index) for it in entries(effects)] == [(3, 4)]


def test_late_acknowledgement_moves_nothing_back() -> None:
    """§3.5: match_index never decreases (S24)."""
    a = leader("1 1 1 1")

    a.receive("b", AppendAccepted(term=Term(2), index=Index(2)), beat(a, index=1))

    assert fed(a) == ("streaming", 5, 6)


def test_restarted_follower_in_an_idle_group_learns_of_the_commit() -> None:
    """§3.5: nothing is proven to it any more, so it is probed though all was acknowledged once (I10)."""
    s = cluster(*(server("1 1", it) for it in "abc"))
    s.elect("a", "bc")
    s.pass_time(4 * RETRY)
    s["c"].restart()

    s.pass_time(4 * RETRY)

    assert s["a"].raft.role == "leader"
    assert s["c"].raft.commit_index == s["a"].raft.commit_index == 3


def test_follower_whose_write_is_slow_is_asked_and_sent_nothing_again() -> None:
    """§10.2.2: it has what it has not acknowledged, and so it does not refuse."""
    a = leader("1 1", append_bytes_max=10)
    for _ in range(10):
        a.propose(bytes(10))

    sent = [question for _, question in questions(a, 20 * RETRY)]

    assert [(it.prev_index, it.runs) for it in sent] == [(13, ())] * 4


def questions(a: Server, ticks: int) -> list[tuple[int, AppendEntries]]:
    """What the leader asks b in so many ticks, and when; b and c answer heartbeats, and no more."""
    asked = []
    for now in range(1, ticks + 1):
        told = a.tick()
        told_b = a.receive("b", beat(a, index=3))
        a.receive("c", beat(a, index=3))
        asked += [(now, it) for effects in (told, told_b) for it in entries(effects)]
    return asked


def pauses(asked: Iterable[tuple[int, AppendEntries]]) -> list[int]:
    """Ticks before each question."""
    return [later - now for now, later in pairwise([0, *(now for now, _ in asked)])]


@pytest.mark.accept("U-38")
@pytest.mark.parametrize("retry_ms", [100, 30])
def test_follower_that_is_asked_in_vain_is_asked_ever_less_often(retry_ms: int) -> None:
    """§3.5: the leader retries for ever, but a slow follower is not made slower by questions."""
    a = leader("1 1", retry_ms=retry_ms)
    a.propose(b"x")

    asked = questions(a, 5 * retry_ms)

    retry = retry_ms // 10
    assert pauses(asked)[:6] == [retry * it for it in (1, 2, 4, 8, 8, 8)]


@pytest.mark.accept("U-38")
@pytest.mark.parametrize("news", ["acknowledgement", "refusal", "another link"])
def test_follower_that_gets_further_is_asked_as_soon_as_at_first(news: str) -> None:
    """§3.5: what is lost next has waited for nothing yet."""
    a = leader("1 1")
    a.propose(b"x")
    a.propose(b"y")
    questions(a, 8 * RETRY)

    match news:
        case "acknowledgement":
            a.receive("b", AppendAccepted(term=Term(2), index=Index(4)))
        case "refusal":
            refusal = AppendRejected(
                term=Term(2), prev_index=Index(5), hint_index=Index(3), hint_term=Term(2)
            )
            a.receive("b", refusal)
        case _:
            a.step(PeerUnreachable(peer="b"))

    assert pauses(questions(a, 4 * RETRY)) == [RETRY, 2 * RETRY]


def test_probed_follower_is_asked_soon_when_it_has_another_link() -> None:
    """§3.5: what was asked in vain was asked of the old one."""
    a = leader("1 1", matched=False)
    before = pauses(questions(a, 8 * RETRY))

    a.step(PeerUnreachable(peer="b"))

    assert fed(a)[0] == "probing"
    assert max(before) == 4 * RETRY
    assert pauses(questions(a, 4 * RETRY))[0] <= RETRY


def test_follower_that_is_sent_something_anew_is_asked_as_soon_as_at_first() -> None:
    """§3.5: what was asked in vain, of one that has restarted, was about something else."""
    a = leader("1 1")
    for _ in range(8):
        a.tick(RETRY)
        a.receive("b", beat(a, index=1))
        a.receive("c", beat(a, index=3))

    a.propose(b"x")

    assert pauses(questions(a, 4 * RETRY)) == [RETRY, 2 * RETRY]


@pytest.mark.accept("U-38")
def test_where_heartbeats_are_rare_a_silent_follower_is_asked_by_time_alone() -> None:
    """§3.5: its answers would say so late that an entry is missing."""
    a = leader("1 1", heartbeat_ms=10_000, retry_ms=100, configuration=PATIENT)
    a.propose(b"x")

    waits, asked = [], []
    for _ in range(4):
        wait = a.raft.ticks_until_next_deadline
        assert wait is not None
        early = entries(a.tick(wait - 1))
        waits.append(wait)
        asked += [*early, *entries(a.tick())]

    assert waits == [RETRY, 2 * RETRY, 4 * RETRY, 8 * RETRY]
    assert [(it.prev_index, it.runs) for it in asked] == [(4, ())] * 4


@pytest.mark.accept("U-38")
def test_where_heartbeats_are_rare_nobody_is_asked_who_owes_nothing() -> None:
    a = leader("1 1", heartbeat_ms=10_000, retry_ms=100, configuration=PATIENT)
    idle = a.raft.ticks_until_next_deadline
    a.propose(b"x")

    a.receive("b", AppendAccepted(term=Term(2), index=Index(4)))
    a.receive("c", AppendAccepted(term=Term(2), index=Index(4)))

    assert idle == a.raft.ticks_until_next_deadline == 1000
    assert entries(a.tick(500)) == []


@pytest.mark.slow
@pytest.mark.parametrize("write_ticks", [HEARTBEAT, 4 * RETRY, 10 * RETRY])
def test_entries_are_sent_once_to_a_follower_whose_disk_is_slow(write_ticks: int) -> None:
    """§10.2.2: a command a tick, and a disk that takes many for each write, however much is in it."""
    s = streaming_cluster()
    ticks = 300
    written = 0

    for now in range(ticks + 5 * write_ticks):
        if now < ticks:
            s["a"].propose(bytes(100))
        for name in "abc":
            s[name].tick()
        if now % write_ticks == 0:
            s["b"].persist(written)
            written = len(s["b"].unwritten)
        deliver_all(s, writing="ac")

    sent = sum(
        run.size
        for letter in s.delivered
        if letter.target == "b" and isinstance(letter.message, AppendEntries)
        for run in letter.message.runs
    )
    assert s["a"].raft.role == "leader"
    assert fed(s["a"]) == ("streaming", 3 + ticks, 4 + ticks)
    assert sent <= 1.05 * 100 * ticks


def deliver_all(s: Cluster, *, writing: str) -> None:
    """All letters arrive, and those that follow from them; the disks of these write at once."""
    while True:
        for name in writing:
            s[name].persist_all()
        s.collect()
        if not s.wire:
            return
        s.deliver(s.wire.pop(0))


# ── a budget ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("seed", range(3))
def test_idle_group_sends_a_bounded_number_of_messages_under_duplication(seed: int) -> None:
    """S30: half of all messages come twice, and nothing multiplies (B15)."""
    rng = random.Random(seed)
    s = cluster(*(server("1 1 2" if it == "a" else "1 1", it, term=2) for it in "abc"))
    s.elect("a", "bc")
    rounds = 40

    for _ in range(rounds * HEARTBEAT):
        for it in s.servers.values():
            it.tick()
            it.persist_all()
        s.collect()
        for letter in [*s.wire]:
            s.wire.remove(letter)
            for _ in range(2 if rng.random() < 0.5 else 1):
                s.deliver(letter)

    beats_and_answers = 2 * 2 * rounds
    assert s["a"].raft.role == "leader"
    assert len(s.delivered) <= 2 * beats_and_answers + 20


@pytest.mark.parametrize("seed", range(3))
def test_busy_group_sends_a_bounded_number_of_messages_under_duplication(seed: int) -> None:
    """S30: with a command in every tick, a message and an answer for each follower and no more (B15)."""
    rng = random.Random(seed)
    s = cluster(*(server("1 1", it) for it in "abc"))
    s.elect("a", "bc")
    ticks = 100

    for _ in range(ticks):
        s["a"].propose(b"x")
        for it in s.servers.values():
            it.tick()
            it.persist_all()
        s.collect()
        waiting, s.wire = s.wire, []
        rng.shuffle(waiting)
        for letter in waiting:
            for _ in range(2 if rng.random() < 0.5 else 1):
                s.deliver(letter)

    needed = ticks * 2 * 2 + ticks // HEARTBEAT * 2 * 2
    assert s["a"].raft.role == "leader"
    assert len(s.delivered) <= 4 * needed


# ── back-pressure ────────────────────────────────────────────────────────────────────────────────────


def test_proposals_beyond_the_bound_are_refused_definitely() -> None:
    """Ours: uncommitted bytes are bounded; what is refused did not happen (I12)."""
    a = leader("1 1", uncommitted_bytes_max=100)
    a.propose(bytes(60))
    last = a.raft.last_index

    effects = a.propose(bytes(41), ticket=7)

    assert effects == Effects(answer=(Refused(ticket=7, reason=Refusal.OVERLOADED, leader="a"),))
    assert a.raft.last_index == last


def test_proposals_up_to_the_bound_are_taken() -> None:
    """Ours: exactly as many bytes as may be held."""
    a = leader("1 1", uncommitted_bytes_max=100)
    a.propose(bytes(60))

    effects = a.propose(bytes(40), ticket=7)

    assert effects.answer == (Proposed(ticket=7, first=Index(5), term=Term(2)),)


def test_one_proposal_is_taken_whatever_its_size() -> None:
    """Ours: or a large one could never be made."""
    a = leader("1 1", uncommitted_bytes_max=10)

    effects = a.propose(bytes(11), ticket=7)

    assert effects.answer == (Proposed(ticket=7, first=Index(4), term=Term(2)),)


def test_commit_frees_what_was_held() -> None:
    """Ours: the count is of uncommitted bytes, no more and no less (I11)."""
    a = leader("1 1", uncommitted_bytes_max=100)
    for size in (30, 30, 40):
        a.propose(bytes(size))
    held = [a.leadership.uncommitted_bytes]
    a.persist_all()
    a.receive("b", AppendAccepted(term=Term(2), index=Index(5)))
    held.append(a.leadership.uncommitted_bytes)

    accepted_by(a, "b")

    assert [*held, a.leadership.uncommitted_bytes] == [100, 40, 0]


def test_refused_proposals_are_not_counted() -> None:
    """Ours: or the count would never come back to nothing (I11)."""
    a = leader("1 1", uncommitted_bytes_max=100)
    a.propose(bytes(60))
    for _ in range(5):
        a.propose(bytes(60))

    assert a.leadership.uncommitted_bytes == 60


def test_no_op_is_exempt_from_back_pressure() -> None:
    """Ours: a leader's first entry is what lets everything else commit."""
    a = leader("1 1", matched=False, uncommitted_bytes_max=1)

    assert (a.terms, a.leadership.uncommitted_bytes) == ("1 1 2", 0)


def test_count_begins_anew_with_each_leadership() -> None:
    """Ours: what an earlier leadership left uncommitted is not held by clients any more (I11)."""
    a = leader("1 1", uncommitted_bytes_max=100)
    a.propose(bytes(90))
    a.receive("b", heartbeat(5))
    a.persist_all()
    a.win()

    effects = a.propose(bytes(90))

    assert [type(it) for it in effects.answer] == [Proposed]


@pytest.mark.accept("U-24")
def test_payload_over_the_entry_limit_is_refused() -> None:
    """Ours: the limit is in the configuration, so all servers agree on it."""
    a = leader("1 1", configuration=group("abc", settings=Settings(entry_bytes_max=1024)))

    fits = a.propose(bytes(1024))
    effects = a.propose(b"", bytes(1025), ticket=7)

    assert [type(it) for it in fits.answer] == [Proposed]
    assert effects == Effects(answer=(Refused(ticket=7, reason=Refusal.TOO_LARGE, leader="a"),))


@pytest.mark.parametrize("make, known", [(follower, "b"), (pre_candidate, None), (candidate, None)])
def test_proposal_to_a_server_that_does_not_lead_is_refused(
    make: Callable[..., Server], known: str | None
) -> None:
    """§6.2: it did not happen, and who leads is said where it is known."""
    a = make("1 1")

    effects = a.propose(b"x", ticket=7)

    assert effects == Effects(answer=(Refused(ticket=7, reason=Refusal.NOT_LEADER, leader=known),))


def test_kinds_of_entries_are_kept() -> None:
    """Ours: sessions, clocks and voids are entries like commands."""
    a = leader("1 1")

    a.step(Propose(ticket=1, payloads=(b"s", b"c"), kinds=(Kind.SESSION, Kind.COMMAND), origin="b"))

    (run,) = a.unwritten[-1].runs
    assert [entry.kind for entry in run] == [Kind.SESSION, Kind.COMMAND]


def test_uncommitted_run_is_freed_only_as_a_whole() -> None:
    """I11: a message may end within a proposal, and so may the commit."""
    a = leader("1 1", append_bytes_max=10)
    a.propose(bytes(10), bytes(10))
    a.persist_all()
    a.receive("b", AppendAccepted(term=Term(2), index=Index(4)))
    held = a.leadership.uncommitted_bytes

    everyone_answers(a)

    assert (held, a.leadership.uncommitted_bytes) == (20, 0)
    assert a.raft.ticks_until_next_deadline is not None
    assert a.raft.ticks_until_next_deadline < ELECTION_MAX


def test_follower_answers_each_step_at_most_once() -> None:
    """B15: a storm of repeated messages is answered with one acknowledgement and one heartbeat reply."""
    a = follower("1 1", of="b")

    storm: list[Message] = [append(1, (2, 1)), heartbeat(1)] * 50

    effects = a.receive("b", *storm)

    kinds = [type(it) for it in messages_to("b", effects)]
    assert kinds == [AppendAccepted, HeartbeatReply]
