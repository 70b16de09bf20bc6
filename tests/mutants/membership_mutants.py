"""Mistakes in changing the group (§4), each a way in which some Raft once went wrong. See `mutants.py`."""

from __future__ import annotations

from tests.mutants.mutants import Mutant

__all__ = ["MEMBERSHIP_MUTANTS"]

_PAPER = frozenset({"paper"})
_SCRIPTED = frozenset({"paper", "scenarios"})

MEMBERSHIP_MUTANTS = (
    # ── one at a time ──
    Mutant(
        "changes-before-no-op",
        "§4.1 (2015) no change before an entry of the term is committed (E1)",
        "reconfiguration.py",
        "    if state.commit_index < leader.first_index:\n        # Ongaro's",
        "    if False:\n        # Ongaro's",
    ),
    Mutant(
        "two-changes-at-once",
        "§4.1 the next change waits until the one before is committed (E16, E20)",
        "reconfiguration.py",
        "return Refusal.UNDER_WAY if index > state.commit_index or configuration.outgoing else None",
        "return None",
    ),
    Mutant(
        "any-basis-will-do",
        "who asks may have seen an older group",
        "reconfiguration.py",
        "if asked.based_on not in (None, index):",
        "if False:",
        _SCRIPTED,
    ),
    Mutant(
        "lost-change-is-not-told",
        "what may have happened is answered so",
        "state.py",
        "self.out.answers.append(MembershipUnknown(ticket=ticket))",
        "del ticket",
        _SCRIPTED,
    ),
    # ── in force ──
    Mutant(
        "in-force-when-applied",
        "§4.1 in force when appended (E7, E8)",
        "state.py",
        "        return self.configurations[-1][1]\n",
        "        return [c for i, c in self.configurations if i <= max(self.applied_index, 1)][-1]\n",
        _SCRIPTED,
    ),
    Mutant(
        "restart-forgets-changes",
        "§4.1 in force is what is in the log, also after a restart (E7)",
        "raft.py",
        "if position == 0 or it[0] > start",
        "if position == 0",
    ),
    Mutant(
        "truncated-change-stays",
        "§4.1 with the entry goes what it said (E6)",
        "state.py",
        "        if self.configurations[-1][0] >= first:",
        "        if False:",
    ),
    Mutant(
        "all-changes-are-truncated",
        "§4.1 the latest that remains is in force, not the first (E6)",
        "state.py",
        "            while self.configurations[-1][0] >= first:",
        "            while len(self.configurations) > 1:",
    ),
    # ── joint ──
    Mutant(
        "joint-left-uncommitted",
        "§4.3 the new configuration follows when the joint one is committed (E2)",
        "reconfiguration.py",
        "    if index > state.commit_index or state.commit_index < leader.first_index:",
        "    if not configuration.outgoing and index > state.commit_index:",
    ),
    Mutant(
        "joint-left-before-no-op",
        "§4.1 a leader appends no configuration before it has committed anything (E2)",
        "reconfiguration.py",
        "    if index > state.commit_index or state.commit_index < leader.first_index:",
        "    if index > state.commit_index:",
        _PAPER,
    ),
    Mutant(
        "joint-for-ever",
        "§4.3 whoever leads leaves the joint configuration that it finds (E3)",
        "reconfiguration.py",
        "    if configuration.outgoing:\n        if not ends:",
        "    if configuration.outgoing:\n        if not ends and leader.changes:",
    ),
    Mutant(
        "elected-by-the-new-half",
        "§4.3 each half agrees by itself on who leads (E5)",
        "quorum.py",
        "        sum(voter in granted for voter in half) >= majority(len(half))\n"
        "        for half in configuration.halves",
        "        sum(voter in granted for voter in half) >= majority(len(half))\n"
        "        for half in configuration.halves[:1]",
        _SCRIPTED,
    ),
    Mutant(
        "committed-by-the-old-half",
        "§4.3 each half agrees by itself on what is committed (E5)",
        "quorum.py",
        "                _nth(half, match, max(majority(len(half)), min(factor, len(half))))\n"
        "                for half in configuration.halves\n",
        "                _nth(half, match, max(majority(len(half)), min(factor, len(half))))\n"
        "                for half in configuration.halves[-1:]\n",
    ),
    # ── who joins ──
    Mutant(
        "promotes-who-is-behind",
        "§4.2.1 a learner becomes a voter when it has caught up (E12)",
        "reconfiguration.py",
        "    behind = _behind(state, leader, target)",
        "    behind = list[NodeId]()",
        _SCRIPTED,
    ),
    Mutant(
        "promotes-who-was-slow",
        "§4.2.1 a round that took an election timeout is followed by another",
        "reconfiguration.py",
        "rounds.quick = has_all or took < state.election_ticks[0]",
        "rounds.quick = True",
        _PAPER,
    ),
    Mutant(
        "whoever-has-it-all-is-slow",
        "§4.2.1 who holds the whole log has caught up, however long that took",
        "reconfiguration.py",
        "rounds.quick = has_all or took < state.election_ticks[0]",
        "rounds.quick = took < state.election_ticks[0]",
        _PAPER,
    ),
    Mutant(
        "promotes-who-is-silent",
        "§4.2.1 who does not answer may be gone",
        "reconfiguration.py",
        "since = min(progress.rounds.began_at, progress.heard_at)",
        "since = progress.rounds.began_at",
        _PAPER,
    ),
    Mutant(
        "joining-is-forgotten",
        "§4.2.1 who joins is promoted by whoever leads",
        "reconfiguration.py",
        "    return not ends and _promote(state, leader, configuration)",
        "    return False",
    ),
    Mutant(
        "votes-by-its-own-configuration",
        "§4.1 who is asked answers, whatever its own configuration says (E10)",
        "election.py",
        "        state.voted_for in (None, sender)\n",
        "        state.voted_for in (None, sender)\n"
        "        and state.configuration.votes(state.identity.id)\n",
        _SCRIPTED,
    ),
    Mutant(
        "learners-campaign",
        "§4.2.1 a learner asks for no votes (E11)",
        "state.py",
        "it.votes(self.identity.id) and it.knows",
        "it.member(self.identity.id) and it.knows",
        _SCRIPTED,
    ),
    Mutant(
        "a-name-is-enough",
        "who is a member is a name and an incarnation (E14)",
        "state.py",
        "it.votes(self.identity.id) and it.knows(self.identity)",
        "it.votes(self.identity.id)",
        _SCRIPTED,
    ),
    Mutant(
        "new-disk-old-progress",
        "of a new incarnation nothing is known (E13)",
        "reconfiguration.py",
        "if known is not None and known.identity != member.identity:",
        "if False:",
    ),
    # ── who leaves ──
    Mutant(
        "removed-leader-leads-on",
        "§4.2.2 a leader that is removed resigns when that is committed (E4)",
        "state.py",
        "return gone or self.unfit is not None",
        "return self.unfit is not None",
    ),
    Mutant(
        "removed-leader-resigns-at-once",
        "§4.2.2 it leads until its removal is committed (E4)",
        "state.py",
        "gone = index <= self.commit_index and not",
        "gone = not",
        _SCRIPTED,
    ),
    Mutant(
        "removed-server-is-silent-too-early",
        "§4.2.2 who is removed may be needed until that is committed (E15)",
        "state.py",
        "for it in self.possible_configurations",
        "for it in [self.configuration]",
        _SCRIPTED,
    ),
    Mutant(
        "removed-peer-is-never-told",
        "§4.2.3 who is removed is fed until it knows (E19)",
        "reconfiguration.py",
        "            leader.departing[peer] = Departure(index=Index(last + 1))\n"
        "            leader.progress[peer].awaits = Index(last + 1)\n",
        "            _forget(leader, peer)\n",
        _SCRIPTED,
    ),
    Mutant(
        "removed-peer-is-never-let-go",
        "who is gone is not fed for ever",
        "reconfiguration.py",
        "        if told or state.now",
        "        if told and state.now",
        _SCRIPTED,
    ),
    Mutant(
        "reads-of-the-removed",
        "who was let go is answered no read (E19)",
        "reconfiguration.py",
        "            del asked[read]",
        "            pass",
        _PAPER,
    ),
)
