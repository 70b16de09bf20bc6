"""The command line as somebody types it: in this process, or in one of its own."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import TypeVar
from unittest.mock import patch

import pytest

from raftkit.cli.app import run
from tests.house.source import ROOT

R = TypeVar("R")

MACHINE = f"{ROOT}/tests/node/machines.py:Counter"


def typed(*words: object) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of `raftkit …`."""
    out, err = io.StringIO(), io.StringIO()
    with (
        redirect_stdout(out),
        redirect_stderr(err),
        patch.object(sys, "argv", ["raftkit", *map(str, words)]),
        pytest.raises(SystemExit) as ended,
    ):
        run()
    assert isinstance(ended.value.code, int)
    return ended.value.code, out.getvalue(), err.getvalue()


def refused(*words: object) -> str:
    """The one line on stderr, of a command that exits with 2."""
    code, out, err = typed(*words)
    assert (code, out) == (2, ""), err
    assert err.startswith(f"raftkit: {words[0]}: ")
    assert err.count("\n") == 1
    return err


@contextmanager
def terminal(screen: Path, *words: object) -> Generator[subprocess.Popen[bytes]]:
    """`raftkit …` as a process, its output in the file `screen`. Killed at the end."""
    with (
        screen.open("ab") as stream,
        subprocess.Popen(
            [sys.executable, "-W", "error", "-m", "raftkit", *map(str, words)],
            cwd=ROOT,
            stdout=stream,
            stderr=stream,
            env=os.environ | {"COLUMNS": "200"},
        ) as process,
    ):
        try:
            yield process
        finally:
            process.kill()


def end_politely(process: subprocess.Popen[bytes], number: int = signal.SIGINT) -> int:
    """Its exit code after Ctrl-C, or another signal."""
    process.send_signal(number)
    return process.wait(20)


def poll(what: Callable[[], R | None]) -> R:
    """The first answer of `what` that is true. Fails after 30 s."""
    ends = time.monotonic() + 30
    while not (found := what()):
        assert time.monotonic() < ends, "not within 30 s"
        time.sleep(0.05)
    return found
