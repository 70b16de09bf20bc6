"""Looks for the shortest log in which a machine breaks a promise.

Law: what is reported happened. If it does not happen again with the same log, which is what a clock or
chance looks like, it is reported as it was seen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from raftkit.statemachine import StateMachine
from raftkit.testing.machine_copy import Factory
from raftkit.testing.machine_story import DefectFound, Step
from raftkit.testing.machine_strategies import commands as commands_of
from raftkit.testing.with_hypothesis import UNWATCHED, Flaky, hypothesis, st

__all__ = ["Commands", "explore", "logs"]

Commands = st.SearchStrategy[Any] | Iterable[Any] | None
"A strategy for one command; or the commands of one log; or None: those that the annotations allow."

_INT_BITS_MAX = 72
"Sums and products of a log stay below the limit, and one int is of the other form of bytes."
_STEPS_MAX = 20
_GAPS_NS = (1_000_000, 1_000_000_000, 3_600_000_000_000)
"Between steps: as in a busy group, a quiet one, an idle one."


def logs(
    factory: Factory, commands: st.SearchStrategy[Any] | None
) -> st.SearchStrategy[list[Step]]:
    """Logs of a few of `commands`, by default of any that the machine's annotations allow.

    Raises LocalProtocolError for a bytes machine without `commands`.
    """
    if commands is None:
        machine = factory()
        # Any: for a BytesStateMachine the strategy says what is missing.
        kind: Any = type(machine) if isinstance(machine, StateMachine) else machine
        commands = commands_of(kind, int_bits_max=_INT_BITS_MAX)
    step = st.builds(Step, command=commands, after_ns=st.sampled_from(_GAPS_NS))
    return st.lists(step, min_size=1, max_size=_STEPS_MAX)


def explore(
    factory: Factory,
    commands: Commands,
    check: Callable[[Sequence[Step]], None],
    *,
    examples: int,
) -> None:
    """Run `check` on `examples` logs, or on the one that `commands` is.

    Raises DefectFound with the shortest log that could be found, and whatever else `check` raises.
    """
    if commands is not None and not isinstance(commands, st.SearchStrategy):
        check([Step(command=it) for it in commands])
        return
    found: list[DefectFound] = []

    @hypothesis.settings(
        max_examples=examples,
        deadline=None,
        database=None,
        phases=(hypothesis.Phase.generate, hypothesis.Phase.shrink),
        suppress_health_check=UNWATCHED,
        report_multiple_bugs=False,
    )
    @hypothesis.given(log=logs(factory, commands))
    def search(log: list[Step]) -> None:
        try:
            check(log)
        except DefectFound as defect:
            found.append(defect)
            raise

    try:
        search()
    except (DefectFound, Flaky):
        # Hypothesis ends with its simplest. A new one, without its notes, which are for its own users.
        last = _without_needless_steps(found[-1], check)
        raise DefectFound(last.check, last.fact, last.log) from last.__cause__


def _without_needless_steps(
    defect: DefectFound, check: Callable[[Sequence[Step]], None]
) -> DefectFound:
    """One each of whose steps is needed: now and then Hypothesis stops looking before that."""
    place = 0
    while place < len(defect.log):
        try:
            check([*defect.log[:place], *defect.log[place + 1 :]])
        except DefectFound as shorter:
            defect = shorter
        else:
            place += 1
    return defect
