"""`raftkit doctor` on this machine: nodes that run, doctors that listen, and what it refuses."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Generator, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import trio

from raftkit import Node, open_node
from raftkit.cli.child import free_addresses
from raftkit.cli.doctor.case import case_of
from raftkit.cli.doctor.connections import connect, greet
from raftkit.cli.node_file import read_node_file
from raftkit.transports.tcp.sockets import as_stream, dial
from tests.cli.doctor_page import CHECKS
from tests.cli.typed import end_politely, poll, refused, terminal, typed
from tests.node.machines import Counter

pytestmark = pytest.mark.slow


def examined(*words: object) -> tuple[int, dict[str, Any]]:
    """Exit code and what --json says."""
    code, out, err = typed("doctor", *words, "--json")
    assert err == ""
    said = json.loads(out)
    for it in said["checks"]:
        assert set(it["facts"]) <= CHECKS[it["check"]]
    return code, said


def marks(said: dict[str, Any], peer: str | None = None) -> dict[str, str]:
    return {it["check"]: it["mark"] for it in said["checks"] if it["peer"] == peer}


def check(said: dict[str, Any], name: str, peer: str | None = None) -> dict[str, Any]:
    (found,) = [it for it in said["checks"] if (it["check"], it["peer"]) == (name, peer)]
    return dict(found)


@contextmanager
def listening(screen: Path, *words: object) -> Generator[Path]:
    """A doctor that listens, in a process of its own, until Ctrl-C."""
    with terminal(screen, "doctor", *words, "--listen") as process:
        poll(lambda: "doctors are answered at" in screen.read_text())
        yield screen
        assert end_politely(process) == 0


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Directories of a, b and c over multicast on lo, with a key; a and b run here, and one leads."""
    home = tmp_path_factory.mktemp("doctor")
    places = dict(free_addresses(("a", "b", "c", "group"), socket.SOCK_DGRAM))
    key = home / "cluster.key"
    key.touch(mode=0o600)
    key.write_text("17" * 32)
    group = f"239.192.7.1:{places.pop('group').rpartition(':')[2]}"
    over = ("--group", group, "--interface", "lo", "--cluster", "ours", "--key", key)
    members = ",".join(f"{it}={address}" for it, address in places.items())
    for name in "abc":
        made = typed("init", home / name, "--id", name, "--members", members, *over)
        assert made[::2] == (0, "")
    running, stop = threading.Event(), trio.Event()
    token: list[trio.lowlevel.TrioToken] = []

    async def run() -> None:
        token.append(trio.lowlevel.current_trio_token())
        async with opened(home / "a") as a, opened(home / "b"):
            async with opened(home / "c"):
                if await a.wait_leader() == "c":
                    await a.transfer_leadership("a")
            running.set()
            await stop.wait()

    thread = threading.Thread(target=trio.run, args=(run,))
    thread.start()
    try:
        assert running.wait(60)
        yield home
    finally:
        with suppress(trio.RunFinishedError):  # it failed, and has said why
            token[0].run_sync_soon(stop.set)
        thread.join(20)


def opened(directory: Path) -> AbstractAsyncContextManager[Node[Counter]]:
    """The node of a directory, in this process."""
    file = read_node_file(directory)
    transport = file.transport(directory)
    return open_node(Counter, **file.settings, data_dir=directory, transport=transport)


@pytest.mark.accept("Q-14", "P-40")
def test_nodes_that_run_answer_and_who_does_not_run_is_named(home: Path) -> None:
    code, said = examined(home / "a", "--seconds", 3)

    assert code == 1
    assert check(said, "quorum.leader")["mark"] == "ok"
    assert check(said, "quorum.voters")["words"] == "3 voters: 2 decide, 1 may fail"
    assert check(said, "membership.member", "b")["mark"] == "ok"
    assert check(said, "membership.member", "c")["mark"] == "wrong"
    assert marks(said, "b") == {
        "membership.member": "ok",
        "network.unicast": "ok",
        "network.multicast_out": "ok",
        "network.multicast_in": "ok",
        "network.peer": "ok",
        "network.round_trip": check(said, "network.round_trip", "b")["mark"],
        "network.tcp": "ok",
    }
    trips = check(said, "network.round_trip", "b")["facts"]
    assert 0 < trips["least_ms"] <= trips["median_ms"] <= trips["most_ms"] < 3000
    silent = check(said, "network.unicast", "c")
    assert "nobody listens" in silent["words"]
    assert said["next"] == silent["advice"]
    for it in ("network.interface", "network.send_buffer", "disk.room", "host.versions"):
        assert check(said, it)["mark"] in ("ok", "warning")
    assert check(said, "disk.fsync")["facts"]["median_ms"] > 0
    # The tree, in its order.
    branches = list(dict.fromkeys(it["check"].partition(".")[0] for it in said["checks"]))
    assert branches == ["quorum", "membership", "network", "disk", "clock", "host"]


def test_probing_makes_no_link_and_changes_no_member(
    home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = json.loads(typed("status", home / "b", "--json")[1])
    examined(home / "a", "--seconds", 2)
    after = json.loads(typed("status", home / "b", "--json")[1])

    assert (after["term"], after["leader"]) == (before["term"], before["leader"])
    assert [it["id"] for it in after["members"]] == ["a", "b", "c"]
    assert "doctor" not in caplog.text


def test_people_are_told_what_to_do(home: Path) -> None:
    code, out, err = typed("doctor", home / "a", "--seconds", 2)

    assert (code, err) == (1, "")
    assert "→ start it on c's host: raftkit run, or raftkit doctor --listen" in out
    assert out.splitlines()[-1].startswith("next: network.unicast (c): start it on c's host")


def test_a_peer_that_is_only_an_address_is_asked_for_its_name(home: Path) -> None:
    places = json.loads(typed("status", home / "a", "--json")[1])["members"]
    address = {it["id"]: it["address"] for it in places}["b"]
    code, said = examined(home / "a", "--peer", address)

    assert code == 1  # for c, of which the node says that it is not here
    assert {it["mark"] for it in said["checks"] if it["peer"] == address} <= {"ok", "warning"}
    assert marks(said, address)["network.multicast_out"] == "ok"
    assert check(said, "network.unicast", address)["facts"]["answered"]["unicast"] > 0
    _, other = examined(home / "a", "--peer", f"d={address}", "--seconds", 2)
    assert check(other, "network.peer", "d")["words"] == f"at {address} is b, not d"


@pytest.mark.accept("U-18")
def test_another_key_and_another_cluster_are_told_from_silence(home: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.key"
    other.touch(mode=0o600)
    other.write_text("18" * 32)

    def told(*words: object) -> str:
        code, said = examined(home / "a", "--peer", f"b={address}", "--seconds", 2, *words)
        assert code == 1
        return str(check(said, "network.unicast", "b")["words"])

    places = json.loads(typed("status", home / "a", "--json")[1])["members"]
    address = {it["id"]: it["address"] for it in places}["b"]
    assert "a key that is not in use here" in told("--key", other)
    assert "refused here: of another cluster" in told("--cluster", "theirs")


def test_settings_that_differ_are_told(home: Path) -> None:
    file = home / "a" / "node.toml"
    kept = file.read_text()
    try:
        file.write_text(kept.replace("[multicast]", "[multicast]\npacing_rate = 1000000", 1))
        _, said = examined(home / "a", "--seconds", 2)
    finally:
        file.write_text(kept)

    assert "other settings" in check(said, "network.peer", "b")["words"]


def test_a_doctor_listens_where_no_node_runs_and_says_how_it_is_heard(home: Path) -> None:
    with listening(home / "listening.txt", home / "c") as screen:
        code, said = examined(home / "a")

        assert marks(said, "c") | {"network.round_trip": "ok"} == {
            "membership.member": "wrong",
            "network.unicast": "ok",
            "network.multicast_out": "ok",
            "network.multicast_in": "ok",
            "network.peer": "ok",
            "network.round_trip": "ok",
            "network.tcp": "ok",
        }
        assert code == 1  # no node takes it for the member, which is away
        assert check(said, "membership.member", "c")["mark"] == "wrong"
        assert check(said, "network.tcp", "c")["words"].startswith("a doctor listens at")
        for way in ("unicast", "multicast", "TCP"):
            poll(lambda way=way: f"is heard by {way}" in screen.read_text())  # type: ignore[misc]
        assert "answers doctors by itself" in refused("doctor", home / "c", "--listen")


def test_a_key_that_can_not_be_used_is_a_finding(home: Path, tmp_path: Path) -> None:
    key = tmp_path / "open.key"
    key.write_text("17" * 32)
    key.chmod(0o644)
    code, said = examined(home / "a", "--key", key)

    assert code == 1
    assert "chmod 600" in check(said, "network.interface")["words"]
    assert "chmod 600" in said["next"]


# ── TCP ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.accept("Q-14")
async def test_a_node_over_tcp_answers_with_its_hello(tmp_path: Path) -> None:
    address = free_addresses(("a",))["a"]
    async with open_node(
        Counter, id="a", members={"a": address}, data_dir=tmp_path / "a", found=True
    ) as node:
        await node.wait_leader()
        met = await connect(address, insecure=False)
        with as_stream(await dial(address, insecure=False)) as sock:
            assert await greet(sock) is not None
            beside = await connect(address, insecure=False)
        foreign = await connect("10.0.0.1:1", insecure=False)

        assert met.who is not None
        assert (met.who.id, met.cluster, met.failure) == ("a", node.statistics().cluster, "")
        assert len(met.connects) == 5
        assert beside.silence == ""  # another doctor is at work
        assert [it.id for it in node.statistics().members] == ["a"]
    nobody = await connect(address, insecure=False)

    assert (nobody.failure, nobody.who) == ("refused", None)
    assert "not loopback, and nothing is encrypted" in foreign.forbidden


@pytest.mark.parametrize(
    "answer,silence",
    [(b"", "closed the connection"), (b"HTTP/1.1 400 no\r\n\r\n", "a frame of")],
)
async def test_what_speaks_no_raftkit_is_told(answer: bytes, silence: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            for _ in range(7):
                with suppress(OSError):  # the doctor hangs up, and the listener ends
                    sock, _ = listener.accept()
                    with sock:
                        if answer:
                            sock.sendall(answer)
                        else:
                            sock.recv(1)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        met = await connect(f"127.0.0.1:{listener.getsockname()[1]}", insecure=False)

    assert met.who is None
    assert silence in met.silence


def test_a_group_over_tcp_is_examined_by_tcp(tmp_path: Path) -> None:
    places = free_addresses(("a", "b"))
    members = ",".join(f"{it}={address}" for it, address in places.items())
    for name in "ab":
        typed("init", tmp_path / name, "--id", name, "--members", members)
    with listening(tmp_path / "screen.txt", "--address", places["b"], "--peer", places["a"]):
        code, said = examined(tmp_path / "a")
        alone, plain = examined("--peer", places["b"])

    assert (code, alone) == (0, 0)
    assert {it["check"] for it in said["checks"] if it["peer"]} == {
        "network.tcp",
        "network.round_trip",
    }
    assert check(said, "quorum.leader")["mark"] == "unknown"
    assert check(plain, "network.tcp", places["b"])["mark"] == "ok"
    code, said = examined(tmp_path / "a")
    assert (code, check(said, "network.tcp", "b")["mark"]) == (1, "wrong")


# ── what it is asked ─────────────────────────────────────────────────────────────────────────────


def test_what_can_not_be_understood_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    assert "nothing to look at: give a data directory" in refused("doctor")
    assert "No such file" in refused("doctor", tmp_path / "missing")
    assert "node.toml: No such file" in refused("doctor", tmp_path)
    assert "--peer =127.0.0.1:1: give NAME" in refused("doctor", "--peer", "=127.0.0.1:1")
    assert "is not" in refused("doctor", "--peer", "b=nowhere")
    assert "--listen needs --address" in refused("doctor", "--listen", "--peer", "127.0.0.1:1")
    assert "multicast needs interface" in refused("doctor", "--group", "239.192.7.1:7400")


@pytest.mark.accept("U-15")
def test_a_config_yaml_says_the_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By itself, or over a directory that it is found beside, as `raftkit run` finds it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RAFTKIT_CONFIG", raising=False)
    config = tmp_path / "config.yaml"
    config.write_text('ip: "127.0.0.1"\nudp: {socket: {group: "239.192.7.8:7400", interface: lo}}')
    nothing: dict[str, Any] = {"config": None, "peers": (), "address": None}
    case = case_of(config, **nothing, multicast={"insecure": True})
    over = ("--group", "239.192.7.1:7400", "--interface", "lo", "--cluster", "c", "--insecure")
    members = ("--members", "a=127.0.0.1:7401,b=127.0.0.1:7402")
    assert typed("init", "a", "--id", "a", *members, *over)[0] == 0
    beside = case_of(Path("a"), **nothing, multicast={})

    for it in (case, beside):
        assert it.multicast is not None
        assert it.multicast.group == "239.192.7.8:7400"
    assert (case.own, beside.own) == ("127.0.0.1:0", "127.0.0.1:7401")
