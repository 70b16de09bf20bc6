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
        "        state.restart_election_timer()\n    state.out.send(VoteReply(",
        "    state.restart_election_timer()\n    state.out.send(VoteReply(",
        _SCENARIOS,
    ),
    Mutant(
        "same-patience-for-all",
        "§3.4 election timeouts are drawn anew each time (A15)",
        "state.py",
        "self.now + late + self.rng.randint(low, high)",
        "self.now + late + high",
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
    Mutant(
        "term-written-before-its-vote",
        "Figure 2: currentTerm and votedFor are one record (A3)",
        "raft.py",
        "    hard_state = (state.current_term, state.voted_for)\n    changed",
        "    first = state.current_term > durability.issued_hard_state[0]\n"
        "    hard_state = (state.current_term, None if first else state.voted_for)\n    changed",
        _SCENARIOS,
    ),
    Mutant(
        "own-vote-counts-after-the-election",
        "§3.4 a vote is for one election, one's own as well (A10)",
        "raft.py",
        "    state.durability.complete(persisted.sequence)\n",
        "    state.durability.complete(persisted.sequence)\n"
        "    mine = state.durability.hard_state == (state.current_term, state.identity)\n"
        "    if mine and isinstance(state.role, Follower):\n"
        "        state.role = Candidate(granted={state.identity.id})\n",
        _SCENARIOS,
    ),
    Mutant(
        "searches-within-a-window",
        "§3.5 the search for the last common entry reaches the first one (B11)",
        "replication.py",
        "    agree = min(agree, Index(message.prev_index - 1))\n",
        "    agree = max(min(agree, Index(message.prev_index - 1)), state.log.last_index - 100)\n",
        _SCENARIOS,
    ),
    Mutant(
        "no-entry-of-its-own-term",
        "§6.4 a leader begins with a no-op (C8)",
        "election.py",
        '    state.append(stamped(state, Kind.NOOP, b""))\n',
        "",
        _SCENARIOS,
    ),
    Mutant(
        "empty-disk-is-a-member",
        "who knows no configuration is nobody yet (E13)",
        "raft.py",
        "        raise LocalProtocolError(\n"
        '            "a core needs a configuration: found the group, or be admitted to it"\n'
        "        )\n",
        "        state.configurations.append((Index(0), Configuration(members=())))\n",
        _SCENARIOS,
    ),
    Mutant(
        "clings-to-a-snapshot-that-is-gone",
        "§5.3 the newest snapshot is sent, from its beginning (F8)",
        "snapshots.py",
        "        state.send_snapshot(progress, gone=request.snapshot)\n    elif mode.offset",
        "        mode.asked = False\n    elif mode.offset",
        _SCENARIOS,
    ),
    Mutant(
        "candidate-takes-no-snapshot",
        "§3.4 a candidate follows the leader of its term, whatever it hears from it (F14)",
        "snapshots.py",
        "    if not state.follow(sender):\n        return\n    snapshot = message.snapshot\n",
        "    if not isinstance(state.role, Follower) or not state.follow(sender):\n"
        "        return\n    snapshot = message.snapshot\n",
        _SCENARIOS,
    ),
    Mutant(
        "campaigns-without-asking",
        "§9.6 who can't win doesn't drive terms up (I4)",
        "election.py",
        "    if not quorum.won(state.configuration, role.granted):\n"
        "        return False\n"
        "    _stand(state, transfer=False)\n",
        "    _stand(state, transfer=False)\n",
        _SCENARIOS,
    ),
    Mutant(
        "sticks-longer-than-it-waits",
        "§4.2.3 stickiness ends before anybody campaigns (I8)",
        "election.py",
        "state.now - heard < leases.patience(state)",
        "state.now - heard < state.election_ticks[1]",
        _SCENARIOS,
    ),
    Mutant(
        "one-append-a-step",
        "any batch of inputs equals some sequence of them",
        "replication.py",
        "    log = state.log\n    # What lies at or below the base is committed",
        "    log = state.log\n"
        "    if state.role.owes_acknowledgement:\n"
        "        return\n"
        "    # What lies at or below the base is committed",
        _SCENARIOS,
    ),
)
"By the letters of their scenarios."
