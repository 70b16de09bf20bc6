"""More mistakes in the core: bugs that other Rafts had, each told by a scenario of the same letter.

See `mutants.py`. These are known by their stories; who else notices is asked, but not demanded.
"""

from __future__ import annotations

from tests.mutants.mutants import Mutant

__all__ = ["LITERATURE_MUTANTS"]

_SCENARIOS = frozenset({"scenarios"})

LITERATURE_MUTANTS = (
    Mutant(
        "term-without-vote-not-persisted",
        "Figure 2: currentTerm is persistent, with or without a vote (A2)",
        "raft.py",
        "changed = hard_state if hard_state != durability.issued_hard_state else None",
        "changed = hard_state if hard_state != durability.issued_hard_state and hard_state[1] else None",
        _SCENARIOS,
    ),
    Mutant(
        "refused-vote-restarts-timer",
        "§3.4 only a vote that was given restarts the election timer (A14)",
        "election.py",
        "    if granted:\n        state.voted_for = sender\n        state.restart_election_timer()\n",
        "    state.restart_election_timer()\n    if granted:\n        state.voted_for = sender\n",
        _SCENARIOS,
    ),
    Mutant(
        "same-patience-for-all",
        "§3.4 election timeouts are drawn anew each time (A15)",
        "state.py",
        "self.now + self.rng.randint(low, high)",
        "self.now + high",
        _SCENARIOS,
    ),
    Mutant(
        "rejection-believed-again-and-again",
        "a rejection is of what is asked now, or of nothing (B8)",
        "replication.py",
        "    if message.prev_index <= progress.match_index or message.prev_index >= progress.next_index:\n"
        "        return  # overtaken by a later answer\n"
        "    if isinstance(progress.mode, Probing) and message.prev_index != progress.next_index - 1:\n",
        "    if message.prev_index <= progress.match_index:\n",
        _SCENARIOS,
    ),
    Mutant(
        "batch-cut-one-short",
        "§3.5 a batch holds what fits, and at least one entry (B17)",
        "log.py",
        "at_least_one=not found",
        "at_least_one=False",
        _SCENARIOS,
    ),
    Mutant(
        "applied-again-after-restart",
        "§5.1 what a snapshot covers is not applied again (C7)",
        "raft.py",
        "        applying_index=start,",
        "        applying_index=Index(max(0, start - 1)),",
        _SCENARIOS,
    ),
    Mutant(
        "learners-commit",
        "§4.2.1 learners are not counted (C10)",
        "quorum.py",
        "            _nth(half, match, max(majority(len(half)), min(factor, len(half))))",
        "            _nth(tuple(it.id for it in configuration.members), match, majority(len(half)))",
        _SCENARIOS,
    ),
    Mutant(
        "barred-server-votes",
        "who was rolled back has no vote (H15)",
        "election.py",
        "        and state.leader is None\n        and state.barred is None\n",
        "        and state.leader is None\n",
        _SCENARIOS,
    ),
    Mutant(
        "refused-bytes-are-counted",
        "§3.5 what was refused takes no room (I11)",
        "replication.py",
        "        return Refusal.OVERLOADED\n",
        "        state.role.uncommitted_bytes += sum(sizes)\n        return Refusal.OVERLOADED\n",
        _SCENARIOS,
    ),
    Mutant(
        "no-bound-on-what-is-undecided",
        "a leader without followers takes no more than a bound (I12)",
        "replication.py",
        "    if held and held + sum(sizes) > state.config.uncommitted_bytes_max:",
        "    if False:",
        _SCENARIOS,
    ),
)
"By the letters of their scenarios."
