"""`raftkit demo` as people run it: nodes in processes of their own, over loopback, ended by SIGKILL."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import trio

from raftkit import Session
from raftkit.cli.child import STDERR, free_addresses
from raftkit.cli.demo import processes
from raftkit.cli.demo.member import NodeEnded, Refused, Unanswered
from raftkit.cli.demo.processes import Processes
from raftkit.cli.demo.report import DemoFailed
from tests.cli.running import node_processes, wait_gone
from tests.cli.test_demo import FIELDS
from tests.cli.typed import refused
from tests.house.source import ROOT

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where child processes put temporary directories."""
    path = tmp_path / "temporary"
    path.mkdir()
    monkeypatch.setenv("TMPDIR", str(path))
    return path


@pytest.fixture
def text(tmp_path: Path) -> Path:
    """Two hundred short lines."""
    path = tmp_path / "text"
    path.write_bytes(b"".join(b"line %d\n" % number for number in range(200)))
    return path


def _command(*arguments: object) -> list[str]:
    return [sys.executable, "-W", "error", "-m", "raftkit", "demo", *map(str, arguments), "--json"]


def _start(*arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        _command(*arguments),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _demo(*arguments: object) -> tuple[int, dict[str, Any], str]:
    """Exit code, JSON and stderr of a demo that goes as fast as it can."""
    with _start("--seconds", 0, *arguments) as running:
        stdout, stderr = running.communicate(timeout=60)
    assert "Traceback" not in stderr, stderr
    assert len(stdout.splitlines()) == 1, stdout + stderr
    return running.returncode, json.loads(stdout), stderr


def _wait_for(words: str, running: subprocess.Popen[str]) -> None:
    assert running.stderr is not None
    while words not in (line := running.stderr.readline()):
        assert line, f"it ended before it said {words!r}"


# ── all is well ──────────────────────────────────────────────────────────────────────────────────


def test_every_line_survives_the_kill_of_the_leader_exactly_once(
    text: Path, tmp_path: Path, temporary: Path
) -> None:
    code, said, stderr = _demo("--input", text)

    assert set(said) == FIELDS
    assert (code, said["verified"], said["why"]) == (0, True, "")
    assert (said["nodes"], said["lines"], said["applied"]) == (3, 200, 200)
    assert said["kills"] == 1
    assert said["failover_gap_ms"] > 0
    assert len(said["leaders"]) == len(said["terms"]) >= 2
    assert re.search(r"[abc], leader of term \d+, is killed", stderr)
    assert "opens its directory again" in stderr
    assert stderr.splitlines()[-1] == "verified"
    assert list(temporary.iterdir()) == []


@pytest.mark.accept("U-03")
def test_over_multicast_every_line_survives_the_kill_of_the_leader(
    text: Path, tmp_path: Path
) -> None:
    """Somebody else on the group hears the nodes: it is the network that carries their lines."""
    data = tmp_path / "data"
    command = ("--transport", "multicast", "--input", text, "--seconds", 1, "--data", data)
    with _start(*command) as running:
        _wait_for("leads", running)
        with _heard(_group(data)) as datagrams:
            stdout, stderr = running.communicate(timeout=60)
            heard = list(datagrams())

    said = json.loads(stdout)
    assert (running.returncode, said["verified"], said["why"]) == (0, True, "")
    assert (said["lines"], said["applied"], said["kills"]) == (200, 200, 1)
    assert re.search(r"[abc], leader of term \d+, is killed", stderr)
    assert len(heard) > 50
    assert all(it.startswith(b"RK") for it in heard)
    wait_gone(data)


def test_nodes_of_one_process_have_no_transport_to_choose() -> None:
    assert "leave out --transport" in refused("demo", "--in-process", "--transport", "multicast")


def _group(data: Path) -> str:
    """The group of the nodes that run there, as their command line says."""
    pid = node_processes(data)["a"]
    words = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
    group = json.loads(words[5])["group"]
    assert isinstance(group, str)
    return group


@contextmanager
def _heard(group: str) -> Generator[Callable[[], Iterator[bytes]]]:
    """Be on the group, and take what the kernel has kept of it so far."""
    host, _, port = group.rpartition(":")
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, int(port)))
        on_loopback = struct.pack("4s4s", socket.inet_aton(host), socket.inet_aton("127.0.0.1"))
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, on_loopback)
        sock.setblocking(False)

        def taken() -> Iterator[bytes]:
            with suppress(BlockingIOError):
                while True:
                    yield sock.recv(65536)

        yield taken


@pytest.mark.parametrize("victim, kills", [("follower", 1), ("none", 0)])
def test_another_victim_or_none_is_verified(text: Path, victim: str, kills: int) -> None:
    code, said, stderr = _demo("--input", text, "--kill", victim)

    assert (code, said["verified"], said["applied"], said["kills"]) == (0, True, 200, kills)
    assert (said["failover_gap_ms"] is None) == (kills == 0)
    assert ("follower of term" in stderr and "is killed" in stderr) == (kills == 1)


def test_a_group_that_stops_without_the_killed_node_is_verified(text: Path) -> None:
    code, said, _ = _demo("--input", text, "--nodes", 2)

    assert (code, said["verified"], said["applied"], said["kills"]) == (0, True, 200, 1)
    assert said["failover_gap_ms"] > 1000  # the node was down so long


def test_a_line_over_the_entry_limit_is_refused_and_the_rest_is_unharmed(tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.write_bytes(b"\n".join([b"first", b"", b"\xff\xfe", b"x" * 5_000_000, b"", b"last"]))

    code, said, stderr = _demo("--input", text, "--clients", 1, "--kill", "none")

    assert (code, said["verified"], said["refused"], said["applied"]) == (1, True, 1, 5)
    assert "refused: line 4, 5,000,000 bytes" in stderr


# ── processes that end otherwise ─────────────────────────────────────────────────────────────────


def test_a_node_that_somebody_else_kills_is_told_and_started_again(
    text: Path, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    with _start("--input", text, "--seconds", 2, "--kill", "none", "--data", data) as running:
        _wait_for("leads", running)
        pid = node_processes(data)["b"]
        os.kill(pid, signal.SIGKILL)
        stdout, stderr = running.communicate(timeout=40)

    said = json.loads(stdout)
    assert (running.returncode, said["verified"], said["kills"]) == (0, True, 0)
    assert f"b ended by itself: process {pid} got SIGKILL" in stderr
    assert "b opens its directory again" in stderr
    wait_gone(data)


def test_ctrl_c_leaves_no_process_behind(text: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    with _start("--input", text, "--seconds", 50, "--data", data) as running:
        _wait_for("leads", running)
        assert sorted(node_processes(data)) == ["a", "b", "c"]
        running.send_signal(signal.SIGINT)
        stdout, stderr = running.communicate(timeout=20)

    assert node_processes(data) == {}
    assert (running.returncode, stdout) == (130, "")
    assert stderr.splitlines()[-1] == "interrupted: nothing was verified"


def test_a_demo_that_is_killed_takes_its_nodes_along(text: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    with _start("--input", text, "--seconds", 50, "--data", data) as running:
        _wait_for("leads", running)
        running.kill()

    wait_gone(data)


def test_a_node_that_must_not_go_on_ends_the_demo_with_its_words(tmp_path: Path) -> None:
    data = tmp_path / "data"
    done = subprocess.run(
        [  # no file above 100 KiB
            *("bash", "-c", 'ulimit -f 100; exec "$@"', "_"),
            *_command("--data", data, "--seconds", 0),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    said = json.loads(done.stdout)
    assert (done.returncode, said["verified"]) == (1, False)
    assert said["why"].startswith("node ")
    assert "File too large" in said["why"]
    assert "Traceback" not in done.stderr
    assert node_processes(data) == {}


# ── one process ──────────────────────────────────────────────────────────────────────────────────


async def _nothing(_: object) -> None:
    pass


async def test_a_remote_node_answers_until_it_is_killed(tmp_path: Path) -> None:
    home = Processes(directory=tmp_path, names=("a",))
    async with home.open("a") as member, trio.open_nursery() as nursery:
        nursery.start_soon(member.watch, _nothing)
        session = await member.session()
        token = session.token()
        reign = await member.write(1, b"\xff", token)
        assert reign.leader == "a"
        assert session.ack_below == 2
        with pytest.raises(Refused, match="entry_bytes_max"):
            await member.write(2, bytes(600_000), session.token())
        again = session.token()
        await member.write(2, b"", again)
        assert await member.page(1, 3) == (b"\xff", b"", None)
        assert (await member.holdings()).repeats == {}
        nursery.cancel_scope.cancel()
    with pytest.raises(Unanswered):
        await member.session()


async def test_sending_again_after_a_restart_applies_once(tmp_path: Path) -> None:
    home = Processes(directory=tmp_path, names=("a",))
    async with home.open("a") as member, trio.open_nursery() as nursery:
        nursery.start_soon(member.watch, _nothing)
        session = await member.session()
        token = session.token()
        await member.write(1, b"once", token)
        nursery.cancel_scope.cancel()
    unanswered = Session(session.id)  # as if that answer had been lost
    async with home.open("a") as member, trio.open_nursery() as nursery:
        nursery.start_soon(member.watch, _nothing)
        await member.write(1, b"once", unanswered.token())
        held = await member.holdings()
        nursery.cancel_scope.cancel()

    assert (held.count, held.repeats) == (1, {})


async def test_how_a_process_ended_is_told(tmp_path: Path) -> None:
    home = Processes(directory=tmp_path, names=("a",))
    async with home.open("a") as member:
        os.kill(member._child.process.pid, signal.SIGTERM)
        with pytest.raises(NodeEnded, match="got SIGTERM"):
            await member.watch(_nothing)
    (tmp_path / "a" / "identity-1").write_bytes(b"not what was there")
    (tmp_path / "a" / "identity-2").write_bytes(b"not what was there")
    with pytest.raises(DemoFailed, match=r"^node a: .*identity-") as failed:
        async with home.open("a"):
            pytest.fail("it can't be opened")

    assert str(failed.value) in (tmp_path / "a" / STDERR).read_text()


async def test_a_process_that_hangs_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "ANSWER_SECONDS", 0.2)
    async with Processes(directory=tmp_path, names=("a",)).open("a") as member:
        os.kill(member._child.process.pid, signal.SIGSTOP)
        with pytest.raises(Unanswered, match="a hangs"):
            await member.holdings()
        with pytest.raises(NodeEnded, match="gave no answer"):
            await member.watch(_nothing)


async def test_a_node_that_has_ended_is_not_asked(tmp_path: Path) -> None:
    async with Processes(directory=tmp_path, names=("a",)).open("a") as member:
        with trio.move_on_after(0):
            await member.watch(_nothing)
        # Its process still runs and takes the request, but nobody would hear the answer.
        with trio.fail_after(5), pytest.raises(Unanswered, match="has ended"):
            await member.session()


def test_addresses_are_different_and_on_loopback() -> None:
    addresses = free_addresses(tuple("abcdefghi"))

    assert len(set(addresses.values())) == 9
    assert all(address.startswith("127.0.0.1:") for address in addresses.values())
