"""Real hosts on a real switch, all in this machine's kernel: network namespaces, for as long as a test lasts.

A host is a network namespace, kept alive by an idle process in it that ends when its standard input does.
So whatever becomes of the test, when its process is gone the idle processes end, and with them the
namespaces, the interfaces in them and the switch: nothing is left behind, no name on this machine is taken.

Needs root, and `ip`, `unshare` and `nsenter`; `require_namespaces` skips a test where they are missing.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import time
from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager
from functools import cache
from typing import Any, Final

import attrs
import pytest

__all__ = ["INTERFACE", "Host", "Network", "enter", "network", "require_namespaces"]

SECONDS: Final = 10.0
"For any command here."
INTERFACE: Final = "eth0"
"Of each host."
_CLONE_NEWNET: Final = 0x40000000
_PROGRAMS: Final = {"ip": "iproute2", "unshare": "util-linux", "nsenter": "util-linux"}


def require_namespaces() -> None:
    """Skip the test, with one line that says why, where it can't have hosts of its own."""
    why = _obstacle()
    if why:
        pytest.skip(why)


@cache
def _obstacle() -> str:
    for program, package in _PROGRAMS.items():
        if shutil.which(program) is None:
            return f"needs `{program}`: apt-get install {package}"
    if os.geteuid() != 0:
        return "needs root, for network namespaces"
    done = subprocess.run(
        ["unshare", "-n", "true"], capture_output=True, text=True, timeout=SECONDS, check=False
    )
    return "" if done.returncode == 0 else f"needs network namespaces: {done.stderr.strip()}"


@attrs.define(eq=False)
class Namespace:
    """A network namespace that lives as long as an idle process in it."""

    idle: subprocess.Popen[bytes]

    @classmethod
    def make(cls) -> Namespace:
        idle = subprocess.Popen(
            ["unshare", "-n", "--", "sh", "-c", "echo; exec cat"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert idle.stdout is not None
        assert idle.stdout.readline() == b"\n"  # from now on it is in a namespace of its own
        return cls(idle)

    def inside(self, *command: str) -> list[str]:
        """The command line that runs `command` in there, as the same process."""
        return ["nsenter", "-t", str(self.idle.pid), "-n", "--", *command]

    def ip(self, *lines: str) -> None:
        """Run lines of `ip` there. Raises AssertionError if one fails."""
        self.run("ip", "-batch", "-", text="\n".join(lines))

    def run(self, *command: str, text: str = "") -> str:
        """Run a command there to its end. Raises AssertionError if it fails."""
        done = subprocess.run(
            self.inside(*command),
            input=text,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        assert done.returncode == 0, f"{command}: {done.stderr}"
        return done.stdout

    def end(self) -> None:
        assert self.idle.stdin is not None
        assert self.idle.stdout is not None
        self.idle.stdin.close()
        self.idle.wait(SECONDS)
        self.idle.stdout.close()


@attrs.define(eq=False, kw_only=True)
class Host:
    """A host with one interface, `eth0`, on the switch."""

    namespace: Namespace
    "Its own."
    switch: Namespace
    "Where the other end of its cable is."
    number: int
    "From 1 on."
    mtu: int
    "Of its interface."

    @property
    def ipv4(self) -> str:
        return f"10.77.0.{self.number}"

    @property
    def ipv6(self) -> str:
        return f"fd77::{self.number:x}"

    @property
    def port(self) -> str:
        """The switch's end of its cable."""
        return f"port{self.number}"

    def popen(self, command: Sequence[str], **settings: Any) -> subprocess.Popen[Any]:
        """A process on this host. It is the caller's to end."""
        return subprocess.Popen(self.namespace.inside(*command), **settings)

    @contextmanager
    def entered(self) -> Generator[None]:
        """Whatever this thread opens meanwhile is on this host, and stays there."""
        home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        try:
            enter(self.namespace.idle.pid)
            try:
                yield
            finally:
                _set_namespace(home)
        finally:
            os.close(home)

    def plug_in(self) -> None:
        """Give it an interface, on the switch. Again, after `unplug`: a new one of the same name."""
        mtu = f"mtu {self.mtu}"
        pid = self.namespace.idle.pid
        self.switch.ip(
            f"link add {self.port} {mtu} type veth peer name {INTERFACE} {mtu} netns {pid}",
            f"link set {self.port} master switch up",
        )
        ipv6 = [f"addr add {self.ipv6}/64 dev {INTERFACE} nodad"] if self.mtu >= 1280 else []
        self.namespace.ip(
            f"link set {INTERFACE} up",
            f"addr add {self.ipv4}/24 dev {INTERFACE}",
            *ipv6,
        )
        self.wait_ready()

    def wait_ready(self) -> None:
        """Wait until packets pass: the kernel opens a port of a bridge when it gets round to it."""
        deadline = time.monotonic() + SECONDS
        while not self._ready():
            assert time.monotonic() < deadline, f"{self.port} stays closed"
            time.sleep(0.01)

    def _ready(self) -> bool:
        link = self.switch.run("bridge", "link", "show", "dev", self.port)
        addresses = self.namespace.run("ip", "-6", "addr", "show", "dev", INTERFACE)
        return "state forwarding" in link and "tentative" not in addresses

    def unplug(self) -> None:
        """Take its interface away, as if it were a USB stick."""
        self.switch.ip(f"link del {self.port}")

    def isolate(self, *, isolated: bool = True) -> None:
        """Have the switch silently lose what comes from it and what is for it, or no more."""
        self.switch.ip(f"link set {self.port} " + ("nomaster" if isolated else "master switch"))

    def deafen(self, *, deaf: bool = True) -> None:
        """Have the switch forward no multicasts to it, as those do that snoop on IGMP; unicast goes on."""
        flood = "off" if deaf else "on"
        self.switch.run("bridge", "link", "set", "dev", self.port, "mcast_flood", flood)


def enter(process: int) -> None:
    """Have this thread be, from now on, on the host where that process is."""
    there = os.open(f"/proc/{process}/ns/net", os.O_RDONLY)
    try:
        _set_namespace(there)
    finally:
        os.close(there)


def _set_namespace(file: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(file, _CLONE_NEWNET):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


@attrs.define(eq=False)
class Network:
    """A switch, and hosts on it."""

    switch: Namespace
    hosts: list[Host]


@contextmanager
def network(hosts: int, *, mtu: int = 1500) -> Generator[Network]:
    """So many hosts that hear each other, by IPv4, and by IPv6 if `mtu` is large enough for it (1280)."""
    with ExitStack() as stack:
        switch = Namespace.make()
        stack.callback(switch.end)
        # Snooping needs minutes to learn and a querier to remember: hosts are deafened by hand.
        switch.ip("link add switch type bridge mcast_snooping 0", "link set switch up")
        made = Network(switch, [])
        for number in range(1, hosts + 1):
            namespace = Namespace.make()
            stack.callback(namespace.end)
            namespace.ip("link set lo up")
            # Nobody else has these addresses: no need to ask around for a second or two.
            namespace.run("sh", "-c", "echo 0 > /proc/sys/net/ipv6/conf/default/accept_dad")
            host = Host(namespace=namespace, switch=switch, number=number, mtu=mtu)
            host.plug_in()
            made.hosts.append(host)
        yield made
