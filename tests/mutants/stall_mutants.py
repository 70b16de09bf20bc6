"""Mistakes about disks that stand still (catalogue I1): see `mutants.py`."""

from __future__ import annotations

from tests.mutants.mutants import Mutant

__all__ = ["STALL_MUTANTS"]

_PAPER = frozenset({"paper"})
_SCRIPTED = frozenset({"paper", "scenarios"})
_ALL = frozenset({"paper", "scenarios", "worlds"})

STALL_MUTANTS = (
    Mutant(
        "stalled-leader-leads-on",
        "a leader whose own disk alone stands still makes room (I1)",
        "transfer.py",
        "    if not durability.stalled or leader.transfer is not None:\n",
        "    if True:\n",
        _ALL,
    ),
    Mutant(
        "own-disk-alone-decides",
        "on one slow disk that all share, a slow leader is better than none (I1)",
        "transfer.py",
        "leader.progress[it].match_index >= waits]",
        "leader.progress[it].match_index >= 0]",
        _SCRIPTED,
    ),
    Mutant(
        "stalled-leader-asks-the-silent",
        "only who is heard can take over (I1)",
        "transfer.py",
        "[it for it in better if _unable(state, leader, it) is None]",
        "better",
        _PAPER,
    ),
    Mutant(
        "makes-room-for-who-can-not-win",
        "whoever takes over needs a quorum without this disk (I1)",
        "transfer.py",
        """    if not quorum.won(
        state.configuration, [it for it in better if _unable(state, leader, it) is None]
    ):
""",
        "    if all(_unable(state, leader, it) for it in better):\n",
        _SCRIPTED,
    ),
    Mutant(
        "makes-room-though-the-disk-is-back",
        "what nobody asked for ends with its reason",
        "transfer.py",
        "    if transfer.ticket is None and transfer.told_at is None and not state.durability.stalled:\n",
        "    if False:\n",
        _PAPER,
    ),
    Mutant(
        "appends-after-it-told-its-successor",
        "§3.10 who told another to campaign appends nothing, also when its own disk is back",
        "transfer.py",
        "    if transfer.ticket is None and transfer.told_at is None and not state.durability.stalled:\n",
        "    if transfer.ticket is None and not state.durability.stalled:\n",
        _PAPER,
    ),
    Mutant(
        "stalled-server-campaigns",
        "who is stalled begins no campaign: its vote could not be durable soon (I1)",
        "state.py",
        "            and not self.durability.stalled\n",
        "",
        _PAPER,
    ),
    Mutant(
        "stalled-candidate-asks-again",
        "on disks slower than election timeouts a candidate waits for its own vote (I1)",
        "election.py",
        "    if state.durability.stalled and isinstance(state.role, Candidate):\n",
        "    if False:\n",
        _SCRIPTED,
    ),
    Mutant(
        "stalled-server-promises-its-vote",
        "it would come too late, in one term after the other",
        "election.py",
        "        and not state.durability.stalled\n",
        "",
        _PAPER,
    ),
    Mutant(
        "stalled-pre-candidate-goes-on",
        "who is stalled begins no campaign, and promises that are on their way don't either",
        "raft.py",
        "    if state.durability.stalled and isinstance(state.role, PreCandidate):\n",
        "    if False:\n",
        _PAPER,
    ),
    Mutant(
        "stall-never-ends",
        "with the write on disk the server is like any other",
        "durability.py",
        "            self.stalled_write = None\n",
        "            pass\n",
        _PAPER,
    ),
    Mutant(
        "any-write-ends-a-stall",
        "a later write that takes too long does so whatever was done before it",
        "durability.py",
        "if self.stalled_write is not None and self.stalled_write <= sequence:",
        "if self.stalled_write is not None:",
        _PAPER,
    ),
    Mutant(
        "late-report-of-a-stall-counts",
        "the report and the completion may cross",
        "durability.py",
        "        if sequence > self.completed:\n",
        "        if True:\n",
        _PAPER,
    ),
)
