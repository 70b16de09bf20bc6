"""A table of one-line mistakes in the core, each a way in which some Raft once went wrong.

Each breaks one rule (§ of the dissertation; letters are those of a catalogue of known bugs). `killed_by`
says who must notice: `paper` the tests of tests/paper and tests/core, `scenarios` those of tests/scenarios,
`worlds` the random worlds.

Law: `old` stands exactly once in its file; a change of the core that moves it must move it here as well.
"""

from __future__ import annotations

import attrs

__all__ = ["MUTANTS", "Mutant", "beside_the_core"]


@attrs.frozen
class Mutant:
    """One mistake."""

    name: str
    "What the mistaken core does."
    rule: str
    "Which rule it breaks."
    file: str
    "Of the package."
    old: str
    "The right text."
    new: str
    "The wrong one."
    killed_by: frozenset[str] = frozenset({"paper", "scenarios", "worlds"})
    "Who must notice: of the core paper, scenarios and worlds, of all else `tests` and full."
    package: str = "core"
    "Where `file` is."
    tests: tuple[str, ...] = ()
    "Those of `tests`, as pytest names them."

    @property
    def path(self) -> str:
        """The file, from the root of the tree."""
        return f"raftkit/{self.package}/{self.file}"


def beside_the_core(
    name: str, rule: str, file: str, old: str, new: str, *tests: str, package: str
) -> Mutant:
    """A mistake in another package, which these tests must notice."""
    killed_by = frozenset({"tests"})
    return Mutant(name, rule, file, old, new, killed_by, package=package, tests=tests)


_PAPER = frozenset({"paper"})
_SCRIPTED = frozenset({"paper", "scenarios"})

MUTANTS = (
    # ── terms, votes, elections ──
    Mutant(
        "votes-twice",
        "§3.4 one vote a term (A1, A4)",
        "election.py",
        "state.voted_for in (None, sender)",
        "True",
    ),
    Mutant(
        "votes-for-any-log",
        "§3.6.1 only for a log that is up to date",
        "election.py",
        "return (last_term, last_index) >= (state.log.last_term, state.log.last_index)",
        "return True",
    ),
    Mutant(
        "votes-for-the-longer-log",
        "§3.6.1 the later last term wins, not the longer log (A7)",
        "election.py",
        "return (last_term, last_index) >= (state.log.last_term, state.log.last_index)",
        "return (last_index, last_term) >= (state.log.last_index, state.log.last_term)",
    ),
    Mutant(
        "own-vote-before-durable",
        "§10.2.1 one's own vote counts when it is durable",
        "election.py",
        "if state.durability.hard_state != (state.current_term, state.identity):",
        "if state.voted_for != state.identity:",
    ),
    Mutant(
        "elected-by-half",
        "§3.4 more than half (C3)",
        "quorum.py",
        "return voters // 2 + 1",
        "return max(1, voters // 2)",
    ),
    Mutant(
        "votes-of-strangers-count",
        "§4.1 only members of the configuration are counted (S29)",
        "election.py",
        "isinstance(state.role, Candidate) and state.configuration.knows(sender):",
        "isinstance(state.role, Candidate):",
        _SCRIPTED,
    ),
    Mutant(
        "any-incarnation-acknowledges",
        "§4.1 only members of the configuration are counted (S29)",
        "state.py",
        "if progress is not None and progress.identity == peer:",
        "if progress is not None:",
    ),
    Mutant(
        "acknowledgement-beyond-the-log",
        "§3.5 a follower holds no more than its leader sent (B5)",
        "replication.py",
        "    if message.index > state.log.last_index:\n",
        "    if message.index > state.log.last_index + 1000:\n",
        _SCRIPTED,
    ),
    Mutant(
        "ignores-stickiness",
        "§4.2.3 who hears a leader does not listen to campaigns",
        "election.py",
        "return heard is not None and state.now - heard < leases.patience(state)",
        "return False",
        _SCRIPTED,
    ),
    Mutant(
        "misses-its-leader-by-the-timeout-of-rounds",
        "§3.4 silence is judged by the group's bounds, a round of votes by this server's (U-27)",
        "state.py",
        "        if bounds is None or not isinstance(self.role, PreCandidate | Candidate):\n",
        "        if bounds is None:\n",
        _PAPER,
    ),
    Mutant(
        "election-lasts-as-long-as-silence",
        "§3.4 a round of votes has a timeout of its own, the election as well as the question (U-31)",
        "state.py",
        "not isinstance(self.role, PreCandidate | Candidate):\n",
        "not isinstance(self.role, PreCandidate):\n",
        _PAPER,
    ),
    Mutant(
        "pre-vote-restarts-timer",
        "§9.6 asking changes nothing (A12)",
        "election.py",
        "    # A refusal carries the refuser's term",
        "    state.restart_election_timer()\n    # A refusal carries the refuser's term",
        _SCRIPTED,
    ),
    Mutant(
        "refusal-without-term",
        "§9.6 a laggard learns the term from a refused pre-vote",
        "election.py",
        "term = message.term if granted else state.current_term",
        "term = message.term if granted else min(state.current_term, message.term)",
        _SCRIPTED,
    ),
    Mutant(
        "old-messages-obeyed",
        "§3.3 a message of an earlier term is not acted upon (A9, B7)",
        "raft.py",
        "        _answer_earlier_term(state, sender, message)\n        return False",
        "        _answer_earlier_term(state, sender, message)\n        return True",
    ),
    Mutant(
        "later-term-ignored",
        "§3.3 whoever sees a later term joins it",
        "raft.py",
        "if message.term > state.current_term:\n        state.adopt_term",
        "if message.term > state.current_term + 1:\n        state.adopt_term",
    ),
    Mutant(
        "vote-survives-term",
        "§3.3 a new term begins without a vote",
        "state.py",
        "        self._enter(term, None)",
        "        self._enter(term, self.voted_for)",
    ),
    Mutant(
        "leader-never-steps-down",
        "§6.2 a leader that hears from no majority stops",
        "contact.py",
        "if state.now - heard <= high:",
        "if state.now >= heard:",
    ),
    # ── what must be durable first ──
    Mutant(
        "vote-sent-before-durable",
        "Figure 2: respond after updating stable storage (A1)",
        "outbox.py",
        "Durable.TERM_AND_VOTE: vote_durable,",
        "Durable.TERM_AND_VOTE: True,",
    ),
    Mutant(
        "term-sent-before-durable",
        "Figure 2: respond after updating stable storage (A2)",
        "outbox.py",
        "Durable.LOG: term_durable,",
        "Durable.LOG: True,",
    ),
    Mutant(
        "vote-not-persisted",
        "Figure 2: votedFor is persistent (A1)",
        "raft.py",
        "changed = hard_state if hard_state != durability.issued_hard_state else None",
        "changed = hard_state if hard_state[0] != durability.issued_hard_state[0] else None",
    ),
    Mutant(
        "acknowledges-before-durable",
        "§3.8 entries are durable before they are acknowledged",
        "raft.py",
        "    index = min(state.verified_index, state.durability.index)\n",
        "    index = state.verified_index\n",
    ),
    Mutant(
        "leader-counts-itself-early",
        "§10.2.1 the leader counts itself when its own disk has the entry (C4)",
        "replication.py",
        "lambda voter: state.durability.index if voter == me",
        "lambda voter: state.log.last_index if voter == me",
    ),
    Mutant(
        "overtaken-write-counts",
        "a completion speaks for nothing that was overwritten since (B6, ABA)",
        "durability.py",
        "            write.last = min(write.last, Index(first - 1))",
        "            pass",
    ),
    Mutant(
        "truncation-stays-durable",
        "what is cut is durable no more (B5, B6)",
        "durability.py",
        "        self.index = min(self.index, Index(first - 1))",
        "        self.index = min(self.index, first)",
    ),
    Mutant(
        "truncation-not-written",
        "§3.5 conflicting entries are removed, on disk too",
        "raft.py",
        "        truncate_from=truncate_from,",
        "        truncate_from=None,",
    ),
    Mutant(
        "applies-before-durable",
        "applied is never ahead of one's own disk (C5)",
        "raft.py",
        "limit = min(state.commit_index, state.durability.index)",
        "limit = state.commit_index",
    ),
    Mutant(
        "old-log-vouches-for-snapshot",
        "§5.3 what a snapshot replaced speaks for nothing after it (F6)",
        "state.py",
        "        self.durability.disclaim(Index(self.commit_index + 1))\n",
        "",
    ),
    # ── the log ──
    Mutant(
        "cuts-without-conflict",
        "§3.5 a log is cut only where it differs (B1)",
        "replication.py",
        "conflict = state.log.first_conflict(run)",
        "conflict = run.first",
    ),
    Mutant(
        "skips-consistency-check",
        "§3.5 the entry before must be the leader's (B2)",
        "replication.py",
        "log.term(message.prev_index) != message.prev_term:",
        "log.term(message.prev_index) is None:",
    ),
    Mutant(
        "takes-all-for-verified",
        "a follower vouches for what was proven, not for all it has (B3, B5)",
        "replication.py",
        "max(state.verified_index, min(message.last_index, log.last_index))",
        "log.last_index",
    ),
    Mutant(
        "append-commits-unverified",
        "commit is at most what is proven equal (B3)",
        "replication.py",
        "state.advance_commit_to(min(message.commit_index, state.verified_index))",
        "state.advance_commit_to(min(message.commit_index, log.last_index))",
    ),
    Mutant(
        "heartbeat-commits-unverified",
        "commit is at most what is proven equal (B4)",
        "contact.py",
        "state.advance_commit_to(min(message.commit_index, state.verified_index))",
        "state.advance_commit_to(min(message.commit_index, state.log.last_index))",
    ),
    Mutant(
        "verified-outlives-term",
        "nothing is proven of a new leader's log",
        "state.py",
        "        self.verified_index = self.commit_index  # nothing",
        "        # nothing",
    ),
    Mutant(
        "match-goes-back",
        "§3.5 a late acknowledgement takes nothing back (B9)",
        "progress.py",
        "if index > self.match_index:",
        "if index != self.match_index:",
    ),
    Mutant(
        "late-rejection-obeyed",
        "§3.5 a rejection that was overtaken means nothing (B9)",
        "replication.py",
        "if message.prev_index <= progress.match_index or message.prev_index >= progress.next_index:",
        "if message.prev_index >= progress.next_index:",
        _SCRIPTED,
    ),
    Mutant(
        "every-rejection-is-answered",
        "one probe at a time, or duplicates multiply (B10, B15)",
        "replication.py",
        "if isinstance(progress.mode, Probing) and message.prev_index != progress.next_index - 1:",
        "if False:",
        _SCRIPTED,
    ),
    Mutant(
        "lost-entries-stay-lost",
        "§3.5 the leader retries for ever",
        "contact.py",
        "    progress.revive(message.index, state.now, state.config.ticks(state.config.retry_ms))\n",
        "",
    ),
    Mutant(
        "asks-in-vain-as-often",
        "§3.5 a follower that is asked in vain is asked ever less often (U-38)",
        "progress.py",
        "        return retry_ticks << min(self.asked, _ASK_DOUBLINGS_MAX)\n",
        "        return retry_ticks\n",
        _PAPER,
    ),
    Mutant(
        "asks-less-often-without-end",
        "§3.5 and yet it is asked for ever (U-38)",
        "progress.py",
        "min(self.asked, _ASK_DOUBLINGS_MAX)\n",
        "self.asked\n",
        _PAPER,
    ),
    Mutant(
        "asks-slow-for-ever",
        "§3.5 who got further is asked as soon as at first (U-38)",
        "progress.py",
        "        self.moved_at, self.asked = now, 0\n",
        "        self.moved_at = now\n",
        _PAPER,
    ),
    Mutant(
        "rare-heartbeats-find-what-is-lost",
        "§3.5 a leader retries in time, however rare its heartbeats are (U-38)",
        "replication.py",
        "    return state.config.retry_ms < state.config.heartbeat_ms\n",
        "    return False\n",
        _PAPER,
    ),
    Mutant(
        "sleeps-over-a-question",
        "§3.5 and wakes for it (U-38)",
        "raft.py",
        "                question_due = replication.next_question_due(state, leader)\n",
        "                question_due = leader.heartbeat_due\n",
        _PAPER,
    ),
    Mutant(
        "what-decides-waits",
        "§3.5 an acknowledgement that commits is told at once",
        "replication.py",
        "        and message.index <= state.commit_index\n",
        "",
        _PAPER,
    ),
    Mutant(
        "what-makes-room-waits",
        "§10.2.1 so is one after which there is more to send",
        "replication.py",
        "        and progress.next_index > state.log.last_index\n",
        "",
        _PAPER,
    ),
    Mutant(
        "successor-waits",
        "§3.10 and one of whom leadership may go to",
        "replication.py",
        "        and leader.transfer is None\n        and not state.resigns\n",
        "",
        _PAPER,
    ),
    Mutant(
        "never-asks",
        "§10.2.2 the lost end of a stream shows by no gap, so the follower is asked (I9)",
        "progress.py",
        "self.doubted, self.moved_at = True, now",
        "self.doubted, self.moved_at = False, now",
    ),
    Mutant(
        "asks-what-it-knows",
        "§10.2.2 the question is whether all that was sent is there",
        "replication.py",
        "_message(state, progress.next_index, ())",
        "_message(state, Index(progress.match_index + 1), ())",
    ),
    Mutant(
        "sends-again-what-is-slow",
        "§10.2.2 what is not durable yet was not lost",
        "progress.py",
        "self.doubted, self.moved_at = True, now",
        "self.probe(Index(self.match_index + 1), now)",
        _SCRIPTED,
    ),
    Mutant(
        "sends-chunks-again-that-are-slow",
        "§5.3 a chunk may take as long to write as the one before",
        "progress.py",
        "self.pause = 2 * (now - self.moved_at)",
        "self.pause = 0",
        _PAPER,
    ),
    Mutant(
        "waits-for-ever-for-a-chunk",
        "§5.3 what took long may have been a broken link (F12)",
        "progress.py",
        "min(max(self.pause, retry_ticks), PAUSE_MAX * retry_ticks)",
        "max(self.pause, retry_ticks)",
        _PAPER,
    ),
    Mutant(
        "below-base-is-a-conflict",
        "§5.1 what is compacted is committed, and so equal (B12)",
        "replication.py",
        "if message.prev_index > log.base_index and log.term(message.prev_index)",
        "if log.term(message.prev_index)",
        _SCRIPTED,
    ),
    Mutant(
        "evicts-what-is-not-applied",
        "only applied entries leave memory",
        "log.py",
        "self._runs[gone].last <= applied",
        "self._runs[gone].last <= applied + 1",
    ),
    # ── commit and reads ──
    Mutant(
        "commits-earlier-terms",
        "§3.6.2 entries of earlier terms are not committed by counting (C1)",
        "replication.py",
        "if index <= state.commit_index or state.log.term(index) != state.current_term:",
        "if index <= state.commit_index:",
    ),
    Mutant(
        "reads-before-no-op",
        "§6.4 a new leader may not know the latest commit (D1)",
        "reads.py",
        "if not leader.reads or state.commit_index < leader.first_index:",
        "if not leader.reads:",
    ),
    Mutant(
        "reads-join-the-round-before",
        "§6.4 contact after the read arrived, not before (D2)",
        "state.py",
        "PendingRead(round=self.round, index=index)",
        "PendingRead(round=self.round - 1, index=index)",
        _SCRIPTED,
    ),
    Mutant(
        "reads-without-quorum",
        "§6.4 a leader answers no read alone (D3)",
        "reads.py",
        "    confirmed = state.confirmed_round()",
        "    confirmed = leader.round",
    ),
    # ── who is fit to lead ──
    Mutant(
        "unfit-server-campaigns",
        "who can't apply what is committed does not seek election",
        "state.py",
        "            and self.unfit is None\n",
        "",
        _SCRIPTED,
    ),
    Mutant(
        "unfit-leader-leads-on",
        "who can't apply what is committed leads no more",
        "contact.py",
        "    if not state.resigns:\n        return False\n",
        "    if not state.resigns or state.unfit is not None:\n        return False\n",
        _SCRIPTED,
    ),
    Mutant(
        "unfit-leader-leaves-nobody-to-win",
        "§3.6.1 whose log is longer than all others refuses them its vote",
        "state.py",
        "progress[it].match_index == last]",
        "progress[it].match_index <= last]",
        _SCRIPTED,
    ),
    Mutant(
        "unfit-leader-says-nothing",
        "what it knows committed is told before it resigns",
        "contact.py",
        "lambda progress: progress.told_commit < state.commit_index)",
        "lambda progress: False)",
        _SCRIPTED,
    ),
    Mutant(
        "unfit-leader-takes-proposals",
        "its log must end, or nobody catches up",
        "replication.py",
        "if not isinstance(state.role, Leader) or state.resigns:",
        "if not isinstance(state.role, Leader):",
        _SCRIPTED,
    ),
    Mutant(
        "unfit-for-good",
        "who is fit again may lead",
        "raft.py",
        "    state.unfit = None\n",
        "    pass\n",
        _PAPER,
    ),
    Mutant(
        "snapshot-at-one-index-stays-the-first",
        "what took its place on disk is what is sent on",
        "snapshots.py",
        "snapshot.index < state.snapshot.index:",
        "snapshot.index <= state.snapshot.index:",
        _PAPER,
    ),
    # ── log time ──
    Mutant(
        "clocks-mean",
        "one wild clock moves nothing: the median of the voters' clocks",
        "stamps.py",
        "median = sorted(clocks.values())[(len(clocks) - 1) // 2]",
        "median = sum(clocks.values()) // len(clocks)",
        frozenset({"paper", "worlds"}),
    ),
    Mutant(
        "clock-judged-by-any",
        "a wall clock is judged by those of a quorum",
        "stamps.py",
        "    if not quorum.won(state.configuration, clocks):",
        "    if not clocks:",
        _PAPER,
    ),
    Mutant(
        "correction-forgotten",
        "what corrects a leader's clock is kept for its leadership",
        "stamps.py",
        "        leader.correction_ns -= _jump(state, leader, advance)",
        "        leader.correction_ns = -_jump(state, leader, advance)",
        _PAPER,
    ),
    Mutant(
        "late-clock-heard",
        "an answer to an earlier round may have been long on its way",
        "contact.py",
        "    if message.round > progress.round:\n",
        "    if message.round:\n",
        _PAPER,
    ),
    Mutant(
        "only-voter-waits",
        "§3.6 the only voter's disk decides",
        "raft.py",
        "            and len(self.configuration.voters) > 1\n",
        "",
        _PAPER,
    ),
    Mutant(
        "leader-waits-with-the-deciding-copy",
        "§3.6 where a follower has an entry, the leader's own copy may commit it",
        "raft.py",
        "            and all(it.match_index <= state.commit_index for it in leader.progress.values())\n",
        "",
        _PAPER,
    ),
    Mutant(
        "committed-waits-for-nothing",
        "§10.2.1 what others committed is applied when it is on this disk",
        "raft.py",
        "            state.durability.index >= state.commit_index\n            and len(",
        "            len(",
        _PAPER,
    ),
    Mutant(
        "rest-is-not-applied",
        "what was applied makes room for what is left",
        "raft.py",
        "        if state.applying_index < min(state.commit_index, state.durability.index):\n",
        "        if False:\n",
        _PAPER,
    ),
    Mutant(
        "third-clock-ignored",
        "a clock heard for the first time may change the judgement",
        "stamps.py",
        "        leader.correction_ns = None\n    leader.clocks",
        "        pass\n    leader.clocks",
        _PAPER,
    ),
    Mutant(
        "time-goes-back",
        "stamps never decrease along the log",
        "stamps.py",
        "return max(last_time, min(time_ns, STAMP_MAX)), elapsed_ns",
        "return min(time_ns, STAMP_MAX), elapsed_ns",
        _PAPER,
    ),
    Mutant(
        "elapsed-counts-the-gap",
        "no clock measured the time between two leaders",
        "election.py",
        "stamped_at=(state.wall_ns, state.monotonic_ns),",
        "stamped_at=(state.wall_ns, 0),",
        _PAPER,
    ),
)
