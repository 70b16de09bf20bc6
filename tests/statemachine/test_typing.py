"""What type checkers make of a machine and its node: results have their types, mistakes are found."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

SNIPPET = """
from __future__ import annotations

from typing import Annotated, assert_type

import attrs

from raftkit.errors import Rejected
from raftkit.node import Node
from raftkit.statemachine import BytesStateMachine, Command, Query, StateMachine, command, query, since


@attrs.frozen
class Empty(Rejected):
    missing: int


@attrs.define
class Counter(StateMachine):
    total: int = 0

    @command
    def add(self, amount: int = 1, *, note: Annotated[str, since(2)] = "") -> int:
        self.total += amount
        return self.total

    @command(rejects=(Empty,))
    def reset(self) -> None:
        self.total = self.ctx.rng.randrange(10)

    @query
    def value(self) -> list[int]:
        return [self.total]


@attrs.define
class Wider(Counter):
    @command
    def add(self, amount: int = 1, *, note: str = "") -> int:
        return super().add(amount)


@attrs.define
class Other(StateMachine):
    @command
    def go(self) -> str:
        return ""

    @query
    def look(self) -> str:
        return ""


async def right(node: Node[Counter], wider: Node[Wider], raw: Node[BytesStateMachine]) -> None:
    assert_type(Counter.add(amount=5), Command[Counter, int])
    assert_type(Counter.value(), Query[Counter, list[int]])
    assert_type(Counter().add(5), int)
    assert_type(Counter(total=1).value(), list[int])
    assert_type(await node.execute(Counter.add(amount=5, note="n")), int)
    assert_type(await node.execute(Counter.add(), timeout=5), int)
    assert_type(await node.read(Counter.value()), list[int])
    assert_type(await node.read(lambda it: it.total, consistency="local"), int)
    assert_type(await wider.execute(Counter.add()), int)
    assert_type(await raw.execute(b"x"), bytes)


async def wrong(node: Node[Counter], wider: Node[Wider]) -> None:
    Counter.add(amount="5")                      # planted: type of an argument
    Counter.add(5, "n")                          # planted: keyword-only by position
    Counter.add(amonut=5)                        # planted: misspelt argument
    Counter.reset(1)                             # planted: too many arguments
    Counter.vlaue()                              # planted: misspelt method
    Counter().add("5")                           # planted: plain call
    Counter(totl=1)                              # planted: misspelt field
    await node.execute(Other.go())               # planted: command of another machine
    await node.read(Other.look())                # planted: query of another machine
    await node.execute(Counter.value())          # planted: query executed
    await node.execute(Counter().add())          # planted: called, not built
    await node.execute(Wider.add())              # planted: command of a subclass
    total: str = await node.execute(Counter.add())   # planted: type of a result
    await node.read(lambda it: it.totl)          # planted: misspelt field in a function
    Counter.add(5).name = "x"                    # planted: a value is frozen
    node.execute(Counter.add()).real             # planted: forgotten await


@attrs.define
class Wrong(StateMachine):
    @command(sinse=2)                            # planted: misspelt option
    def go(self) -> None: ...

    @command(rejects=(ValueError,))              # planted: not a rejection
    def come(self) -> None: ...
"""
PLANTED = {at for at, line in enumerate(SNIPPET.splitlines(), 1) if "# planted" in line}


@pytest.mark.slow
@pytest.mark.parametrize(
    "checker",
    [
        pytest.param(["mypy", "--strict"], id="mypy"),
        pytest.param(["pyright", "--pythonpath", sys.executable], id="pyright"),
    ],
)
def test_results_have_their_types_and_every_planted_mistake_is_found(
    checker: list[str], tmp_path: Path
) -> None:
    snippet = tmp_path / "snippet.py"
    snippet.write_text(SNIPPET, encoding="utf-8")

    done = subprocess.run(
        [sys.executable, "-m", *checker, str(snippet)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )

    found = {int(it) for it in re.findall(r"snippet\.py:(\d+):(?:\d+ -)?.*error", done.stdout)}
    assert found == PLANTED, done.stdout + done.stderr
