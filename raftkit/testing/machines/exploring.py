"""Looks for the shortest log in which a machine breaks a promise.

Laws: a machine goes through all its versions, with commands of each, as its group's log did or will. What
is reported happened. If it does not happen again with the same log, which is what a clock or
chance looks like, it is reported as it was seen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from raftkit.driver.replica import Replica
from raftkit.errors import LocalProtocolError
from raftkit.statemachine import StateMachine
from raftkit.testing.machines.copy import Factory
from raftkit.testing.machines.story import DefectFound, InForce, Step
from raftkit.testing.machines.strategies import commands as commands_of
from raftkit.testing.with_hypothesis import UNWATCHED, Flaky, hypothesis, st

__all__ = ["Commands", "explore", "logs"]

Commands = st.SearchStrategy[Any] | Iterable[Any] | None
"A strategy for one command; or the commands of one log; or None: those that the annotations allow."

_INT_BITS_MAX = 72
"Sums and products of a log stay below the limit, and one int is of the other form of bytes."
_STEPS_MAX = 20
"Of all versions together."
_GAPS_NS = (1_000_000, 1_000_000_000, 3_600_000_000_000)
"Between steps: as in a busy group, a quiet one, an idle one."


def logs(
    factory: Factory, commands: st.SearchStrategy[Any] | None
) -> st.SearchStrategy[list[Step]]:
    """Logs of a few of `commands`, by default of any that the machine's annotations allow in each version.

    Those that are given are of the newest. Raises LocalProtocolError for a bytes machine without `commands`.
    """
    newest = _newest(factory)
    if commands is not None:
        steps = _steps(commands, size=(1, _STEPS_MAX))
        return steps.map(lambda steps: [*_up_to(newest), *steps])
    machine = factory()
    # Any: for a BytesStateMachine the strategy says what is missing.
    kind: Any = type(machine) if isinstance(machine, StateMachine) else machine
    longest = max(1, _STEPS_MAX // newest)
    own = commands_of(kind, version=newest, int_bits_max=_INT_BITS_MAX)
    log = _steps(own, size=(1, longest))
    for version in range(newest, 1, -1):
        before = _steps_before(kind, version, longest)
        log = st.builds(_joined, before, st.just(version), log)
    return log


def _steps(
    commands: st.SearchStrategy[Any], size: tuple[int, int]
) -> st.SearchStrategy[list[Step]]:
    """Steps, so many at least and at most."""
    step = st.builds(Step, command=commands, after_ns=st.sampled_from(_GAPS_NS))
    return st.lists(step, min_size=size[0], max_size=size[1])


def _steps_before(kind: Any, version: int, longest: int) -> st.SearchStrategy[list[Step]]:
    """Steps of the version before `version`; none where it has no commands."""
    try:
        commands = commands_of(kind, version=version - 1, int_bits_max=_INT_BITS_MAX)
    except LocalProtocolError:
        return st.just([])
    return _steps(commands, size=(0, longest))


def _joined(before: list[Step], version: int, after: list[Step]) -> list[Step]:
    return [*before, Step(command=InForce(version)), *after]


def _newest(factory: Factory) -> int:
    return Replica(factory).newest_version


def _up_to(version: int) -> list[Step]:
    """What a log begins with whose commands are of `version`."""
    return [Step(command=InForce(version))] if version > 1 else []


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
        check([*_up_to(_newest(factory)), *(Step(command=it) for it in commands)])
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
        if isinstance(defect.log[place].command, InForce):
            place += 1  # what follows is of that version
            continue
        try:
            check([*defect.log[:place], *defect.log[place + 1 :]])
        except DefectFound as shorter:
            defect = shorter
        else:
            place += 1
    return defect
