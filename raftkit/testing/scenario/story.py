"""Scenarios as text: commands to a small group of real cores, and below them what happens.

A file is a story. Lines of commands, then `----`, then one line for each thing that came of them, up to an
empty line; `#` begins a comment. `run` plays it and gives it back as it should read: the same text where
all happens as written, and otherwise one whose difference is what changed. `docs/scenarios.md` has the
commands.

Laws: a scenario depends on its text alone. The ghosts of the random worlds look on after every step; what
they object to, or what an `expect` denies, ends the scenario and is never written down as expected.
"""

from __future__ import annotations

from collections.abc import Iterator

from raftkit.errors import ConfigError, LocalProtocolError, RaftError
from raftkit.testing.scenario.commands import act, final_claims
from raftkit.testing.scenario.play import Play
from raftkit.testing.scenario.server import Batching

__all__ = ["Batching", "ScenarioFailed", "claims", "run"]

RULE = "----"
"Between commands and what comes of them."


class ScenarioFailed(RaftError):
    """A scenario could not be played to its end: a command was not understood, or a law was broken."""

    def __init__(self, name: str, line: int, what: str, trace: list[str]) -> None:
        told = "".join(f"\n    {it}" for it in trace)
        super().__init__(f"{name}:{line}: {what}{told}")
        self.name = name
        self.line = line
        self.what = what
        self.trace = trace


def run(text: str, name: str = "scenario", *, batching: Batching = Batching.AS_WRITTEN) -> str:
    """Play `text`; returns it as it should read. `name` is what failures call it.

    Raises ScenarioFailed.
    """
    return _run(Play(batching=batching), text, name)


def claims(text: str, name: str = "scenario", *, batching: Batching) -> list[str]:
    """What `text` says that is so, if servers step like this: what it shows of them, and their last state.

    Raises ScenarioFailed, also where an `expect` does not hold.
    """
    play = Play(batching=batching)
    _run(play, text, name)
    return [*play.claims, *final_claims(play)]


def _run(play: Play, text: str, name: str) -> str:
    told: list[str] = []
    for first, lines in _blocks(text):
        told += lines
        if commands := _commands(first, lines):
            told += [RULE, *(_played(play, commands, name) or ["ok"])]
    return "".join(f"{line}\n" for line in told)


def _played(play: Play, commands: list[tuple[int, str]], name: str) -> list[str]:
    """What comes of these commands, each with the number of its line."""
    lines: list[str] = []
    for number, command in commands:
        try:
            act(play, command)
        except (LocalProtocolError, ConfigError) as misuse:
            raise ScenarioFailed(name, number, str(misuse), []) from misuse
        except Exception as broken:
            # A law of the ghosts, of the core, or of the simulated disk; or a crash of any of them.
            what = f"{type(broken).__name__}: {broken}"
            raise ScenarioFailed(name, number, what, [*lines, *play.take_lines()]) from broken
        lines += play.take_lines()
    return lines


def _blocks(text: str) -> Iterator[tuple[int, list[str]]]:
    """The parts that empty lines and rules divide, without what is below the rules; and their first lines."""
    lines: list[str] = []
    below = False
    number = 0
    for number, line in enumerate(text.splitlines(), 1):
        if below and line.strip():
            continue  # what was expected
        below = line.strip() == RULE
        if below or not line.strip():
            yield number - len(lines), lines
            lines = []
        else:
            lines.append(line)
        if not line.strip():
            yield number, [""]
    yield number + 1 - len(lines), lines


def _commands(first: int, lines: list[str]) -> list[tuple[int, str]]:
    """The lines that are no comments, without the comments behind them."""
    bare = ((number, line.partition("#")[0].strip()) for number, line in enumerate(lines, first))
    return [(number, command) for number, command in bare if command]
