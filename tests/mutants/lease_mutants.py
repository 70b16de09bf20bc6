"""One-line mistakes with leases (§6.4.1): at the leader that has one, and at voters that promise it.

What is worst about them is that nothing happens for long: clocks must differ, or a leader be replaced while
it still believes in itself. See `mutants.py`.
"""

from __future__ import annotations

from functools import partial

from tests.mutants.mutants import Mutant, beside_the_core

__all__ = ["LEASE_MUTANTS"]

_mistake = partial(beside_the_core, package="driver")

_PAPER = frozenset({"paper"})
_SCRIPTED = frozenset({"paper", "scenarios"})

LEASE_MUTANTS = (
    Mutant(
        "lease-begins-at-the-answer",
        "§6.4.1 it begins when the round was sent (D4)",
        "leases.py",
        "return counted.sent_ns + settings",
        "return max(it.heard_at for it in leader.progress.values()) * 10 * _NS + settings",
        _SCRIPTED,
    ),
    Mutant(
        "lease-from-an-unanswered-round",
        "§6.4.1 a quorum has answered the round (D3, D10)",
        "leases.py",
        "leader.sent_before(state.confirmed_round(rests_on))",
        "leader.sent_before(leader.round)",
        _SCRIPTED,
    ),
    Mutant(
        "lease-never-ends",
        "§6.4.1 it is judged by the clock when the read comes (D4)",
        "reads.py",
        "holds = until_ns is not None and state.monotonic_ns < until_ns",
        "holds = until_ns is not None",
        _SCRIPTED,
    ),
    Mutant(
        "lease-lasts-the-whole-bound",
        "§6.4.1 clocks differ in rate (D6)",
        "leases.py",
        "LEASE_PERCENT = 90",
        "LEASE_PERCENT = 100",
        _SCRIPTED,
    ),
    Mutant(
        "lease-by-the-wall-clock",
        "§6.4.1 somebody may set it (D6)",
        "contact.py",
        "leader.next_round(state.commit_index, state.monotonic_ns)",
        "leader.next_round(state.commit_index, state.wall_ns)",
        _SCRIPTED,
    ),
    Mutant(
        "lease-survives-timeout-now",
        "§6.4.1 whom the leader sent waits for no promise (D5)",
        "leases.py",
        "if not settings.leases or leader.timeout_now_sent:",
        "if not settings.leases:",
        _SCRIPTED,
    ),
    Mutant(
        "lease-before-no-op",
        "§6.4.1 a new leader may not know the latest commit (D1)",
        "leases.py",
        "if state.commit_index < max(rests_on, leader.first_index):",
        "if state.commit_index < rests_on:",
        _PAPER,
    ),
    Mutant(
        "lease-without-the-setting",
        "§6.4.1 where leases are off, voters waive what it rests on",
        "leases.py",
        "if not settings.leases or leader.timeout_now_sent:",
        "if leader.timeout_now_sent:",
        _PAPER,
    ),
    Mutant(
        "lease-on-settings-that-may-be-rolled-back",
        "§4.1 bounds that are not committed may be void",
        "leases.py",
        "if state.commit_index < max(rests_on, leader.first_index):",
        "if state.commit_index < leader.first_index:",
        _PAPER,
    ),
    Mutant(
        "lease-by-who-lacks-the-settings",
        "§4.1 who may not hold the entry has promised nothing by it",
        "leases.py",
        "state.confirmed_round(rests_on)",
        "state.confirmed_round()",
        _PAPER,
    ),
    Mutant(
        "promise-ends-with-its-term",
        "§6.4.1 it binds in each term that the voter comes to (D9)",
        "election.py",
        "        and (message.transfer or not leases.promised(state))\n",
        "",
        _SCRIPTED,
    ),
    Mutant(
        "own-vote-is-not-promised",
        "§6.4.1 whoever promised does not campaign either (D9)",
        "election.py",
        "    if leases.promised(state):\n",
        "    if False:\n",
        _PAPER,
    ),
    Mutant(
        "promise-of-part-of-a-tick",
        "§6.4.1 the tick of the heartbeat may be nearly over",
        "leases.py",
        "return state.config.ticks(low) + bind(state)",
        "return state.config.ticks(low)",
        _PAPER,
    ),
    Mutant(
        "promise-by-the-newest-bounds",
        "§4.1 they may be rolled back, and a lease rest on those before",
        "leases.py",
        "low = max(it.settings.election_timeout_ms[0] for it in possible)",
        "low = possible[-1].settings.election_timeout_ms[0]",
        _PAPER,
    ),
    Mutant(
        "waiver-by-the-newest-configuration",
        "§4.1 leases that are turned off are off when that is committed",
        "leases.py",
        "return any(it.settings.leases for it in state.possible_configurations)",
        "return state.configuration.settings.leases",
        _PAPER,
    ),
    Mutant(
        "waives-under-a-lease",
        "§6.4.1 a closed connection frees nobody from a promise (D9)",
        "contact.py",
        "elif state.leader == lost.peer and not leases.bind(state):",
        "elif state.leader == lost.peer:",
        _PAPER,
    ),
    Mutant(
        "copy-is-as-new-as-the-last-round",
        "a copy lacks what was committed by a later round",
        "raft.py",
        "state.role.sent_before(state.confirmed_round(), applied_index)",
        "state.role.sent_before(state.confirmed_round())",
        _PAPER,
    ),
    # ── reads of a node ──
    _mistake(
        "lease-not-judged-again",
        "a process may sleep between the answer and the read (D4)",
        "server.py",
        "if expires_ns is not None and self.plan.clock.monotonic_ns() >= expires_ns:",
        "if False:",
        "tests/node/test_reads.py",
    ),
    _mistake(
        "age-counted-from-the-answer",
        "what was decided since the question may be missed",
        "reading.py",
        "self.freshness.confirmed(answer.index, question.asked_ns)",
        "self.freshness.confirmed(answer.index, self.monotonic_ns())",
        "tests/driver/test_reading.py",
    ),
    _mistake(
        "age-of-what-is-not-applied",
        "a copy behind the confirmed index may miss anything",
        "freshness.py",
        "while self._ahead and self._ahead[0][0] <= applied:",
        "while self._ahead:",
        "tests/driver/test_freshness.py",
    ),
    _mistake(
        "bounded-reads-ask-nobody",
        "a copy that is too old is not served",
        "consistency.py",
        "return staleness is not None and staleness <= self.staleness_max",
        "return True",
        "tests/node/test_reads.py",
    ),
)
