"""What every state machine must do, checked by applying generated logs to it. Needs the extra `testing`.

    def test_my_machine() -> None: check_machine(Counter)

    check_deterministic        the same log, two processes, the same state and answers; no clock, no chance
    check_snapshot_round_trip  a snapshot is the whole state, as it was when it was captured
    check_rejections           Rejected changes nothing, and nothing else is raised
    check_wire_stability       what was written yesterday is read today

A `BytesStateMachine` is checked in the same way, with `commands=` to say what its commands are. Each raises
`DefectFound` with one line that says what is wrong, and the shortest log that shows it.
`docs/testing-your-machine.md` is the tutorial.
"""

from __future__ import annotations

from pathlib import Path

from raftkit.errors import LocalProtocolError
from raftkit.statemachine import StateMachine
from raftkit.testing.machines.copy import Factory
from raftkit.testing.machines.determinism import check_deterministic
from raftkit.testing.machines.exploring import Commands
from raftkit.testing.machines.golden import check_wire_stability
from raftkit.testing.machines.rejections import check_rejections
from raftkit.testing.machines.snapshots import check_snapshot_round_trip
from raftkit.testing.machines.story import DefectFound, Step

__all__ = [
    "Commands",
    "DefectFound",
    "Step",
    "check_deterministic",
    "check_machine",
    "check_rejections",
    "check_snapshot_round_trip",
    "check_wire_stability",
]


def check_machine(
    factory: Factory,
    *,
    commands: Commands = None,
    examples: int = 100,
    golden: Path | None = None,
    rewrite: bool = False,
) -> None:
    """Check everything that raftkit asks of a machine; the last only with `golden`, the file to compare with.

    `commands` is a strategy for one command, by default any that the annotations allow; or the commands of
    one log. `examples` is the number of logs for each check. Takes about a second for the second process, and
    a few milliseconds for each log.

    Raises DefectFound for the first promise that is broken; LocalProtocolError for a bytes machine without
    `commands` or with `golden`, and for a factory without a name in a module.
    """
    check_rejections(factory, commands=commands, examples=examples)
    check_deterministic(factory, commands=commands, examples=examples)
    check_snapshot_round_trip(factory, commands=commands, examples=examples)
    if golden is None:
        return
    machine = factory()
    if not isinstance(machine, StateMachine):
        raise LocalProtocolError(
            f"{type(machine).__name__} makes its bytes itself: keep golden vectors of your own for it"
        )
    check_wire_stability(type(machine), golden, rewrite=rewrite)
