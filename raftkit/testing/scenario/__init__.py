"""Scenarios as text: stories of a few real cores, played step by step (`docs/scenarios.md`).

story     plays a text and gives it back as it should read
play      the words of its lines: whom they name, which letters, which links
commands  how each command is written, and what it does to the group
changes   how another group is asked for
group     letters arrive, disks write and time passes when asked to
server    a core, a disk and a state machine that do what they are told
network   letters stay where they are until a command says what becomes of them
words     one short line for each message, write, event and answer
"""

from raftkit.testing.scenario.story import Batching, ScenarioFailed, claims, run

__all__ = ["Batching", "ScenarioFailed", "claims", "run"]
