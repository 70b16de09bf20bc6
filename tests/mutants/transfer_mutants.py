"""Mistakes in handing leadership over (§3.10): see `mutants.py`."""

from __future__ import annotations

from tests.mutants.mutants import Mutant

__all__ = ["TRANSFER_MUTANTS"]

_PAPER = frozenset({"paper"})
_SCRIPTED = frozenset({"paper", "scenarios"})
_ALL = frozenset({"paper", "scenarios", "worlds"})

TRANSFER_MUTANTS = (
    Mutant(
        "told-before-it-can-win",
        "§3.10 the target is told when it holds the whole log (G1)",
        "transfer.py",
        "leader.progress[target].match_index < state.log.last_index",
        "leader.progress[target].match_index < 0",
        _ALL,
    ),
    Mutant(
        "proposals-while-handing-over",
        "§3.10 no commands are taken meanwhile (G1)",
        "replication.py",
        "    if state.role.transfer is not None:\n",
        "    if state.role.transfer is not None and False:\n",
        _ALL,
    ),
    Mutant(
        "hands-over-to-learners",
        "§4.2.1 a learner can't lead (G2)",
        "transfer.py",
        "    if not state.configuration.votes(target):\n",
        "    if not state.configuration.votes(target) and False:\n",
        _SCRIPTED,
    ),
    Mutant(
        "learner-obeys",
        "the target itself knows whether it may campaign (G2)",
        "election.py",
        "    if not told or not state.may_campaign:\n",
        "    if not told:\n",
        _PAPER,
    ),
    Mutant(
        "waits-for-the-silent",
        "who has not been heard for an election timeout takes over nothing (G3)",
        "transfer.py",
        "    if state.now - leader.progress[target].heard_at >= low:\n",
        "    if state.now - leader.progress[target].heard_at >= low * 1000:\n",
        _SCRIPTED,
    ),
    Mutant(
        "transfer-never-ends",
        "§3.10 it is abandoned after an election timeout (G3)",
        "transfer.py",
        "    if state.now >= transfer.deadline:\n",
        "    if state.now >= transfer.deadline * 1000:\n",
        _SCRIPTED,
    ),
    Mutant(
        "told-once",
        "what tells the target may be lost (G3)",
        "transfer.py",
        "state.now - transfer.told_at < again",
        "True",
        _PAPER,
    ),
    Mutant(
        "told-in-every-step",
        "it is told again after a pause, not with every step",
        "transfer.py",
        "state.now - transfer.told_at < again",
        "state.now - transfer.told_at < 0",
        _PAPER,
    ),
    Mutant(
        "successor-comes-unasked",
        "§3.10 voters that have heard the leader listen to whom it sent (G4)",
        "election.py",
        "    _stand(state, transfer=True)\n",
        "    _stand(state, transfer=False)\n",
        _ALL,
    ),
    Mutant(
        "anybody-may-send-it",
        "only this term's leader is obeyed (G5)",
        "transfer.py",
        "    if state.follow(sender):\n        assert isinstance(state.role, Follower)\n",
        "    if isinstance(state.role, Follower):\n",
        _PAPER,
    ),
    Mutant(
        "second-transfer-replaces-the-first",
        "one transfer at a time (G6)",
        "transfer.py",
        "    if leader.transfer is not None:\n        return HandOverRefusal.UNDER_WAY\n",
        "",
        _SCRIPTED,
    ),
    Mutant(
        "who-asked-never-hears",
        "a transfer is answered when it has succeeded",
        "state.py",
        "        self._end_transfer()\n",
        "",
        _SCRIPTED,
    ),
    Mutant(
        "does-not-insist",
        "who is asked to step down does, whoever takes over",
        "transfer.py",
        "    if transfer.insists:\n",
        "    if transfer.insists and False:\n",
        _PAPER,
    ),
    Mutant(
        "comes-back-at-once",
        "who was asked to make room lets the others campaign first",
        "transfer.py",
        "    state.election_deadline += high\n",
        "",
        _PAPER,
    ),
    Mutant(
        "forgets-that-it-told",
        "§6.4.1 no lease holds in a term in which somebody was told (D5)",
        "transfer.py",
        "    leader.timeout_now_sent = True\n",
        "",
        _PAPER,
    ),
    Mutant(
        "priority-ignored",
        "who has lower priority campaigns later",
        "state.py",
        "        late = -self.config.priority * (high - low)\n",
        "        late = 0\n",
        _PAPER,
    ),
    Mutant(
        "anybody-campaigns",
        "only the appointed leader campaigns by itself",
        "election.py",
        " or state.config.appointed_leader not in (None, state.identity.id):",
        ":",
        _PAPER,
    ),
    Mutant(
        "one-successor-for-ever",
        "§3.10 whoever takes nothing over is followed by the next (J5)",
        "transfer.py",
        "leader.heir(busy, last) or leader.heir(fresh, last) or leader.heir(able, last)",
        "next(iter(transfer.tried), None) or leader.heir(able, last)",
        _SCRIPTED,
    ),
    Mutant(
        "two-successors-at-a-time",
        "§3.10 two candidates at a time would take each other's votes",
        "transfer.py",
        "leader.heir(busy, last) or leader.heir(fresh, last) or leader.heir(able, last)",
        "leader.heir(fresh, last) or leader.heir(able, last)",
        _PAPER,
    ),
    Mutant(
        "unfit-leader-leaves-to-the-silent",
        "who is unfit goes when another that is heard can be elected (J5)",
        "contact.py",
        "    heard = [it for it in voters if state.now - leader.progress[it].heard_at < low]\n",
        "    heard = [it for it in voters if low]\n",
        _SCRIPTED,
    ),
)
