"""`raftkit doctor` between hosts, on a switch that loses what each test says: see `tests/netns.py`.

One network for all tests: a asks, and doctors listen on b and c. Whoever breaks something mends it.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest

from tests.cli.typed import poll
from tests.house.source import ROOT
from tests.netns import INTERFACE, Host, network, require_namespaces

pytestmark = pytest.mark.slow

GROUP = "239.192.7.1:7400"
WAYS = ("unicast", "multicast_out", "multicast_in")


@attrs.define(eq=False)
class Ward:
    """Three hosts."""

    a: Host
    b: Host
    c: Host
    key: Path
    screens: dict[str, Path]
    "What the doctors on b and c have said."

    def command(self, *words: object, group: str = GROUP) -> list[str]:
        """A doctor's command line, over multicast."""
        over = ("--group", group, "--interface", INTERFACE, "--cluster", "c", "--key", self.key)
        return [sys.executable, "-m", "raftkit", "doctor", *map(str, (*words, *over))]

    def examine(self, *words: object, group: str = GROUP) -> tuple[int, dict[str, Any]]:
        """What a doctor on a says of b and c."""
        peers = [f"{name}={host.ipv4}:7401" for name, host in (("b", self.b), ("c", self.c))]
        named = [word for it in peers for word in ("--peer", it)]
        address = ("--address", f"{self.a.ipv4}:7401", "--seconds", 2, "--json")
        with self.a.popen(
            self.command(*named, *address, *words, group=group), cwd=ROOT, stdout=subprocess.PIPE
        ) as process:
            out, _ = process.communicate(timeout=60)
        return process.returncode, json.loads(out)


@pytest.fixture(scope="module")
def ward(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ward]:
    require_namespaces()
    home = tmp_path_factory.mktemp("ward")
    key = home / "cluster.key"
    key.touch(mode=0o600)
    key.write_text("17" * 32)
    with network(3) as net, ExitStack() as stack:
        a, b, c = net.hosts
        ward = Ward(a, b, c, key, {it: home / f"{it}.txt" for it in "bc"})
        for name, host in (("b", b), ("c", c)):
            command = ward.command("--listen", "--address", f"{host.ipv4}:7401")
            file = stack.enter_context(ward.screens[name].open("wb"))
            stack.callback(_end, host.popen(command, cwd=ROOT, stdout=file, stderr=file))
        for screen in ward.screens.values():
            poll(lambda screen=screen: "doctors are answered at" in screen.read_text())  # type: ignore[misc]
        yield ward


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait(10)


def ways(said: dict[str, Any], peer: str) -> dict[str, str]:
    """The marks of the ways to and from `peer`."""
    found = {
        it["check"].partition(".")[2]: it["mark"] for it in said["checks"] if it["peer"] == peer
    }
    return {it: found[it] for it in WAYS if it in found}


def words(said: dict[str, Any], check: str, peer: str) -> str:
    (found,) = [
        it for it in said["checks"] if (it["check"], it["peer"]) == (f"network.{check}", peer)
    ]
    return f"{found['words']} → {found['advice']}"


@contextmanager
def deaf(*hosts: Host) -> Generator[None]:
    """These get no multicasts."""
    for it in hosts:
        it.deafen()
    try:
        yield
    finally:
        for it in hosts:
            it.deafen(deaf=False)


@contextmanager
def mute(host: Host, to: Host) -> Generator[None]:
    """What `host` sends to `to` alone is lost: it believes that another card has that address."""
    neighbour = f"{to.ipv4} dev {INTERFACE}"
    host.namespace.ip(f"neigh replace {neighbour} lladdr 02:00:00:00:00:99 nud permanent")
    try:
        yield
    finally:
        host.namespace.ip(f"neigh del {neighbour}")


ALL_WELL = dict.fromkeys(WAYS, "ok")


@pytest.mark.accept("Q-14", "P-16")
def test_all_ways_between_healthy_hosts_are_well(ward: Ward) -> None:
    code, said = ward.examine()

    assert (code, said["counts"]["wrong"]) == (0, 0)
    for peer in "bc":
        assert ways(said, peer) == ALL_WELL
        assert words(said, "tcp", peer).startswith("a doctor listens at 10.77.0.")
        screen = ward.screens[peer].read_text()
        for way in ("unicast", "multicast", "TCP"):
            assert f"a doctor at {ward.a.ipv4} is heard by {way}\n" in screen
    assert f"{INTERFACE} is up" in json.dumps(said)


@pytest.mark.accept("Q-14", "P-40")
def test_multicast_that_arrives_nowhere_is_told_from_unicast_that_does(ward: Ward) -> None:
    with deaf(ward.a, ward.b, ward.c):
        code, said = ward.examine()

    assert code == 1
    for peer in "bc":
        assert ways(said, peer) == {
            "unicast": "ok",
            "multicast_out": "wrong",
            "multicast_in": "wrong",
        }
    assert "a switch that snoops on IGMP while nobody queries" in said["next"]
    assert "falls back to unicast" in said["next"]


@pytest.mark.accept("Q-14")
def test_multicast_that_is_lost_one_way_is_told_with_its_direction(ward: Ward) -> None:
    with deaf(ward.a):
        _, inward = ward.examine()
    with deaf(ward.b):
        _, outward = ward.examine()

    assert ways(inward, "b") == ALL_WELL | {"multicast_in": "wrong"}
    assert words(inward, "multicast_in", "b").startswith(
        "multicast from b does not arrive here, unicast does →"
    )
    assert ways(outward, "b") == ALL_WELL | {"multicast_out": "wrong"}
    assert ways(outward, "c") == ALL_WELL


@pytest.mark.accept("Q-14")
def test_unicast_that_is_lost_one_way_is_told_with_its_direction(ward: Ward) -> None:
    """TCP needs both ways and can only say that it does not connect."""
    with mute(ward.b, ward.a):
        _, inward = ward.examine()
    with mute(ward.a, ward.b):
        _, outward = ward.examine()

    assert ways(inward, "b") == ALL_WELL | {"unicast": "wrong"}
    assert words(inward, "unicast", "b").startswith("unicast from b does not arrive here;")
    assert ways(outward, "b") == ALL_WELL | {"unicast": "wrong"}
    assert words(outward, "unicast", "b").startswith("our unicast does not arrive at b")
    assert "no answer in" in words(outward, "tcp", "b")
    assert ways(outward, "c") == ALL_WELL


@pytest.mark.accept("Q-14", "P-40")
def test_a_host_that_is_away_is_silent(ward: Ward) -> None:
    ward.c.isolate()
    try:
        code, said = ward.examine()
    finally:
        ward.c.isolate(isolated=False)
        ward.c.wait_ready()

    assert code == 1
    assert ways(said, "b") == ALL_WELL
    assert ways(said, "c") == {"unicast": "wrong"}
    assert words(said, "unicast", "c").startswith(f"c at {ward.c.ipv4}:7401 is silent: nobody runs")
    assert "start it on c's host" in said["next"]


@pytest.mark.accept("U-18")
def test_another_group_is_silence_that_names_the_group(ward: Ward) -> None:
    """Nothing on the network can tell another group from a switch that loses multicasts."""
    code, said = ward.examine(group="239.192.7.2:7400")

    assert code == 1
    assert ways(said, "b") == {"unicast": "ok", "multicast_out": "wrong", "multicast_in": "wrong"}
    assert "or its group is not 239.192.7.2:7400" in words(said, "multicast_in", "b")


def test_an_interface_that_is_down_is_the_first_to_mend(ward: Ward) -> None:
    ward.a.namespace.ip(f"link set {INTERFACE} multicast off")
    try:
        code, said = ward.examine()
    finally:
        ward.a.namespace.ip(f"link set {INTERFACE} multicast on")

    assert code == 1
    assert f"interface {INTERFACE} does not do multicast" in said["next"]
