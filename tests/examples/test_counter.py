"""`examples/counter.py` in three terminals, started as slowly as a person types."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from raftkit.cli.child import free_addresses
from tests.house.source import ROOT

TYPING_SECONDS = 1.5
Start = Callable[[str], subprocess.Popen[str]]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts a terminal; its output is in a file of its own. The ports are free ones."""
    program = (ROOT / "examples" / "counter.py").read_text(encoding="utf-8")
    for name, address in free_addresses(("a", "b", "c")).items():
        place = f"127.0.0.1:700{'abc'.index(name) + 1}"
        assert place in program
        program = program.replace(place, address)
    (tmp_path / "counter.py").write_text(program, encoding="utf-8")
    with ExitStack() as terminals:

        def start_one(name: str) -> subprocess.Popen[str]:
            with (tmp_path / name).open("a") as screen:
                process = subprocess.Popen(
                    # Tests that run in a shell's background ignore Ctrl-C, and would hand that down.
                    [
                        "env",
                        "--default-signal=INT",
                        sys.executable,
                        "-W",
                        "error",
                        "counter.py",
                        name,
                    ],
                    cwd=tmp_path,
                    stdout=screen,
                    stderr=screen,
                    text=True,
                )
            terminals.enter_context(process)
            terminals.callback(process.kill)
            return process

        yield start_one


def _wait_shown(screen: Path, words: str) -> str:
    """Everything on the screen, once it shows these words."""
    ends = time.monotonic() + 20
    while words not in (shown := screen.read_text()):
        assert time.monotonic() < ends, f"no {words!r} within 20 s in:\n{shown}"
        time.sleep(0.05)
    return shown


@pytest.mark.slow
def test_three_terminals_count_together_and_one_comes_back(start: Start, tmp_path: Path) -> None:
    terminals: dict[str, subprocess.Popen[str]] = {}
    for name in "abc":
        terminals[name] = start(name)
        if name != "c":
            _wait_shown(tmp_path / name, f"{name}: at 127.0.0.1:")
            time.sleep(TYPING_SECONDS)
    shown = [_wait_shown(tmp_path / name, f"{name}: the total is 15") for name in "abc"]

    made = sorted(int(it.partition("which made it ")[2].split()[0]) for it in shown)
    assert made == [5, 10, 15]

    terminals["a"].send_signal(signal.SIGINT)
    assert terminals["a"].wait(10) == 0
    start("a")
    for name in "abc":
        _wait_shown(tmp_path / name, f"{name}: the total is 20")
    for name in "abc":
        assert "Traceback" not in (tmp_path / name).read_text()


@pytest.mark.slow
def test_who_is_not_one_of_the_three_is_told(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / "counter.py"), "d"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "usage: python examples/counter.py a|b|c\n"
