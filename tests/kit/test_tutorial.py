"""What the tutorials in docs show, happens: their files are written and their commands run, in order."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.house.source import ROOT

TUTORIALS = ("changing-your-machine", "testing-your-machine")


def blocks_of(tutorial: str) -> list[tuple[str, str]]:
    """Language and content of each block."""
    text = (ROOT / "docs" / f"{tutorial}.md").read_text(encoding="utf-8")
    return re.findall(r"^```(\w+)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


def run(command: str, where: Path) -> str:
    """What it prints, on either stream."""
    program, *arguments = shlex.split(command)
    assert program == "python"
    done = subprocess.run(
        [sys.executable, "-B", "-W", "error", *arguments],
        cwd=where,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=110,
        check=False,
    )
    # Which of the shortest names Hypothesis ends with is a matter of luck.
    return re.sub(r"'[bc]?'", "'a'", done.stdout)


def shown_in_order(shown: list[str], printed: str) -> None:
    """Each line that the tutorial shows stands in what was printed, in that order."""
    rest = printed
    for line in shown:
        assert line.strip() in rest, f"{line!r} is not in {printed}"
        rest = rest.partition(line.strip())[2]


@pytest.mark.slow
@pytest.mark.timeout(300)  # ten programs, each of which starts pytest and Hypothesis
@pytest.mark.parametrize("tutorial", TUTORIALS)
def test_the_tutorial_does_what_it_says(tmp_path: Path, tutorial: str) -> None:
    for kind, text in blocks_of(tutorial):
        match kind:
            case "python":
                name = re.match(r"# (\w+\.py)\n", text)
                assert name is not None, "a block of Python begins with the name of its file"
                (tmp_path / name[1]).write_text(text, encoding="utf-8")
            case "console":
                for command, *shown in (it.splitlines() for it in text.split("$ ")[1:]):
                    shown_in_order(shown, run(command, tmp_path))
            case _:
                assert kind == "text"
