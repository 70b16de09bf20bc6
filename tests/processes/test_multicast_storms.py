"""Groups that talk by multicast, in processes, on one host and on several: as over TCP, nothing is lost."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import trio

from tests.netns import INTERFACE, Network, network, require_namespaces
from tests.processes.multicasting import program
from tests.processes.report import Report
from tests.processes.storm import Storm
from tests.processes.strikes import kill_in_turn, kill_leaders, wait_whole
from tests.transports.multicast_places import a_group

pytestmark = pytest.mark.slow

GROUP = "239.192.7.1:7400"
GROUP_IPV6 = "[ff15::7:1]:7400"


def assert_weathered(report: Report) -> None:
    """Nothing was violated, and enough happened for that to mean something."""
    assert report.violations == []
    assert report.calls["appends acknowledged"] > 100
    assert report.calls["reads answered"] > 50


async def test_members_on_one_host_are_killed_in_turn_and_nothing_is_lost(tmp_path: Path) -> None:
    members = program(group=a_group(), interface="lo", cluster="storm", insecure=True)
    storm = Storm(directory=tmp_path, seed=1, clients=8, program=members)

    report = await storm.run(lambda: kill_in_turn(storm))

    assert_weathered(report)
    assert report.starts == 6
    assert [it.blow for it in report.gaps] == ["kill"]
    assert report.gaps[0].seconds < 10


def storm_on(net: Network, directory: Path, *, ipv6: bool = False, clients: int = 8) -> Storm:
    """A storm with a member on each host, and a key."""
    key = directory / "cluster.key"
    key.write_bytes(os.urandom(32))
    key.chmod(0o600)
    names = "abcdefg"[: len(net.hosts)]
    members = program(
        group=GROUP_IPV6 if ipv6 else GROUP,
        interface=INTERFACE,
        cluster="storm",
        key=str(key),
        hosts={name: it.namespace.idle.pid for name, it in zip(names, net.hosts, strict=True)},
    )
    data = directory / "data"
    data.mkdir()
    storm = Storm(directory=data, seed=2, clients=clients, nodes=len(net.hosts), program=members)
    storm.group.addresses = {
        name: f"[{it.ipv6}]:7401" if ipv6 else f"{it.ipv4}:7401"
        for name, it in zip(names, net.hosts, strict=True)
    }
    return storm


@pytest.mark.parametrize("ipv6", [False, True], ids=["IPv4", "IPv6"])
async def test_a_leader_on_a_host_of_its_own_is_killed_and_replaced_soon(
    tmp_path: Path, ipv6: bool
) -> None:
    require_namespaces()
    with network(3) as net:
        storm = storm_on(net, tmp_path, ipv6=ipv6)

        async def strike() -> None:
            await kill_leaders(storm, 1)
            await grow(storm, 100)

        report = await storm.run(strike)

    assert_weathered(report)
    assert report.leaders >= 2
    assert len(report.gaps) == 1
    assert report.gaps[0].seconds < 10


async def test_hosts_that_lose_the_switch_or_multicast_alone_do_no_harm(tmp_path: Path) -> None:
    """A leader without multicast goes on by unicast; one that nobody hears is replaced and comes back."""
    require_namespaces()
    with network(3) as net:
        storm = storm_on(net, tmp_path)
        hosts = dict(zip("abc", net.hosts, strict=True))

        async def strike() -> None:
            leader, term = await wait_whole(storm)
            follower = next(it for it in hosts if it != leader)
            for deaf in (follower, leader):
                hosts[deaf].deafen()
            await grow(storm, 100)
            assert storm.group.leaders == {
                term: leader
            }  # whoever is deaf is reached alone, in time
            for deaf in (follower, leader):
                hosts[deaf].deafen(deaf=False)
            hosts[leader].isolate()
            await storm.group.wait_for(lambda: max(storm.group.leaders) > term)
            await grow(storm, 50)
            hosts[leader].isolate(isolated=False)
            await grow(storm, 50)

        report = await storm.run(strike)

    assert_weathered(report)
    assert report.starts == 3


async def grow(storm: Storm, appends: int) -> None:
    """Wait until so many more appends are acknowledged."""
    counts = storm.load.counts
    wanted = counts["appends acknowledged"] + appends
    with trio.fail_after(30):
        while counts["appends acknowledged"] < wanted:  # noqa: ASYNC110 - clients do not tell
            await trio.sleep(0.02)


async def test_an_interface_that_is_made_anew_is_joined_anew(tmp_path: Path) -> None:
    """As when a virtual machine's network is unplugged and plugged in again."""
    require_namespaces()
    with network(3) as net:
        storm = storm_on(net, tmp_path)

        async def strike() -> None:
            leader, term = await wait_whole(storm)
            host = dict(zip("abc", net.hosts, strict=True))[leader]
            host.unplug()
            await storm.group.wait_for(lambda: max(storm.group.leaders) > term)
            host.namespace.ip("link add other type bridge")  # its old number is taken
            host.plug_in()
            with trio.fail_after(30):
                while "239.192.7.1" not in host.namespace.run("ip", "maddr"):  # noqa: ASYNC110
                    await trio.sleep(0.1)
            await grow(storm, 100)

        report = await storm.run(strike)

    assert_weathered(report)
