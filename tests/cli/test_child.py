"""A process that is asked while it is stopped: whoever asks is told in time, and the pipe stays whole."""

from __future__ import annotations

import signal
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from raftkit.cli.child import Child, ChildKilled, NoAnswer, open_child

ROOT = Path(__file__).resolve().parents[2]
"Where `tests.cli.echo` is imported from."
MUCH = bytes(1_000_000)
"More than a pipe holds."

pytestmark = pytest.mark.slow


@asynccontextmanager
async def open_echo(directory: Path) -> AsyncGenerator[Child]:
    """A process that answers with the question, once it is up."""
    async with open_child("a", "tests.cli.echo", directory, (), cwd=ROOT) as child:
        assert await child.hear() == ["open"]
        yield child


async def listen(child: Child) -> None:
    """Have its answers delivered."""
    while True:
        await child.hear()


async def test_a_process_runs_where_it_is_told_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    async with open_echo(tmp_path / "a") as child:
        assert await trio.Path(f"/proc/{child.process.pid}/cwd").samefile(ROOT)


@pytest.mark.parametrize("argument", [b"", MUCH], ids=["read later", "more than the pipe holds"])
async def test_a_stopped_process_that_is_not_to_be_killed_goes_on_and_answers_again(
    tmp_path: Path, argument: bytes
) -> None:
    """What it was asked meanwhile it was asked, so it may happen; its answer is nobody's any more."""
    async with open_echo(tmp_path / "a") as child, trio.open_nursery() as nursery:
        nursery.start_soon(listen, child)
        child.process.send_signal(signal.SIGSTOP)

        async def go_on() -> None:
            await trio.sleep(0.3)
            child.process.send_signal(signal.SIGCONT)

        nursery.start_soon(go_on)
        with trio.fail_after(30), pytest.raises(NoAnswer, match="no answer in time"):
            await child.ask("late", argument, within=0.1, kill=False)
        answer = await child.ask("next", within=30, kill=False)
        nursery.cancel_scope.cancel()

    assert answer == ["next"]


async def test_a_stopped_process_is_killed_in_time_though_the_question_does_not_fit_its_pipe(
    tmp_path: Path,
) -> None:
    async with open_echo(tmp_path / "a") as child:
        child.process.send_signal(signal.SIGSTOP)

        with trio.fail_after(30), pytest.raises(NoAnswer, match="a hangs"):
            await child.ask("x", MUCH, within=0.1)
        with pytest.raises(ChildKilled, match="gave no answer"):
            await listen(child)
